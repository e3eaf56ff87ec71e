"""The operations of the integer network, each with its exact integer meaning.

Every operation is a frozen dataclass. ``output(*inputs)`` takes the types of its input tensors,
checks the operation against them and returns the type of its result. ``x`` is the input element as
a number: a binary element counts as +1 or -1.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from model.convolution import Conv, Dense, FractionalConv
from model.elements import BINARY, ElementType, TensorType, int_for
from model.operation import Operation

__all__ = [
    "OPERATIONS",
    "Add",
    "Affine",
    "AvgPool",
    "Concat",
    "Conv",
    "Dense",
    "FractionalConv",
    "GlobalPool",
    "Input",
    "LabelSelect",
    "MaxPool",
    "Operation",
    "RPReLU",
    "Thermometer",
    "Threshold",
]

UINT8 = ElementType("uint", 8)


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Operation):
    """The image: uint8, raster order, channels last."""

    height: int
    width: int
    channels: int
    element: ElementType = UINT8
    arity = 0

    def output(self) -> TensorType:
        if self.element != UINT8:
            raise self.fail(f"element must be uint8, not {self.element}")
        return TensorType(self.height, self.width, self.channels, self.element)


@dataclass(frozen=True, eq=False, kw_only=True)
class Thermometer(Operation):
    """Binary channels for each number: +1 where ``x >= thresholds[k]``, else -1.

    Output channel ``c * len(thresholds) + k`` is level k of input channel c.

    Parameters
    ----------
    thresholds : int array (levels,)
        Ascending; each from the lowest to one above the highest input number.
    """

    thresholds: np.ndarray

    def output(self, x: TensorType) -> TensorType:
        self.check_number_input(x)
        if not isinstance(self.thresholds, np.ndarray) or self.thresholds.ndim != 1:
            raise self.fail("thresholds must be an array of one dimension")
        levels = len(self.thresholds)
        self.check_numbers("thresholds", self.thresholds, (levels,))
        if not levels or (np.diff(self.thresholds) < 0).any():
            raise self.fail("thresholds must be ascending, one at least")
        if self.thresholds[0] < x.element.lo or self.thresholds[-1] > x.element.hi + 1:
            raise self.fail(f"thresholds must lie in {x.element.lo}..{x.element.hi + 1}")
        return TensorType(x.height, x.width, x.channels * levels, BINARY)


@dataclass(frozen=True, eq=False, kw_only=True)
class Threshold(Operation):
    """Per-channel ordered thresholds: batch-norm fused with sign or with a k-bit quantiser.

    Output: the number of thresholds t with ``x >= t`` where the channel's direction is +1
    (thresholds ascending), with ``x <= t`` where it is -1 (thresholds descending).

    Parameters
    ----------
    thresholds : int array, (channels, n)
        Each from one below the lowest to one above the highest input number.
    directions : int array, (channels,)
    element : ElementType
        binary (n = 1; count 1 means +1) or uintK with n < 2**K.
    """

    thresholds: np.ndarray
    directions: np.ndarray
    element: ElementType

    def output(self, x: TensorType) -> TensorType:
        self.check_number_input(x)
        if not isinstance(self.thresholds, np.ndarray) or self.thresholds.ndim != 2:
            raise self.fail("thresholds must be an array of two dimensions")
        count = self.thresholds.shape[1]
        self.check_numbers("thresholds", self.thresholds, (x.channels, count))
        self.check_numbers("directions", self.directions, (x.channels,))
        if not np.isin(self.directions, (-1, 1)).all():
            raise self.fail("directions must all be +1 or -1")
        if self.element.kind == "int":
            raise self.fail(f"element must be binary or uintK, not {self.element}")
        most = 1 if self.element.is_binary else self.element.hi
        if not 1 <= count <= most:
            raise self.fail(f"{count} thresholds a channel do not make a {self.element}")
        if self.thresholds.min() < x.element.lo - 1 or self.thresholds.max() > x.element.hi + 1:
            raise self.fail(
                f"thresholds must lie in {x.element.lo - 1}..{x.element.hi + 1}, as the input is "
                f"{x.element}"
            )
        steps = np.diff(self.thresholds, axis=1) * self.directions[:, None]
        if (steps < 0).any():
            channel = int(np.argwhere(steps < 0)[0][0])
            raise self.fail(
                f"thresholds of channel {channel} must be "
                f"{'ascending' if self.directions[channel] > 0 else 'descending'}"
            )
        return TensorType(*x.shape, self.element)


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(Operation):
    """Per channel ``saturate((x*scale + bias + half) >> shift)``.

    ``half`` is 2**(shift-1), 0 at shift 0; the shift is arithmetic, so that halves round up. The
    result saturates to ``element``.

    Parameters
    ----------
    scale, bias : int array, (channels,)
    """

    scale: np.ndarray
    bias: np.ndarray
    shift: int
    element: ElementType

    def output(self, x: TensorType) -> TensorType:
        self.check_number_input(x)
        self.check_numbers("scale", self.scale, (x.channels,))
        self.check_numbers("bias", self.bias, (x.channels,))
        self.check_integer("shift", self.shift, 0, 40)
        if self.element.is_binary:
            raise self.fail("element must be intK or uintK, not binary")
        _product_fits(self, x, self.scale, self.bias)
        return TensorType(*x.shape, self.element)


@dataclass(frozen=True, eq=False, kw_only=True)
class RPReLU(Operation):
    """Two affine segments, chosen per channel by one compare.

    Segment 1 where ``x >= threshold``, else segment 0; then
    ``saturate((x*scale[segment] + bias[segment] + half) >> shift)`` as in :class:`Affine`.

    Parameters
    ----------
    threshold : int array, (channels,)
    scale, bias : int array, (2, channels)
    """

    threshold: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    shift: int
    element: ElementType

    def output(self, x: TensorType) -> TensorType:
        self.check_number_input(x)
        self.check_numbers("threshold", self.threshold, (x.channels,))
        if self.threshold.min() < x.element.lo or self.threshold.max() > x.element.hi + 1:
            raise self.fail(f"threshold must lie in {x.element.lo}..{x.element.hi + 1}")
        self.check_numbers("scale", self.scale, (2, x.channels))
        self.check_numbers("bias", self.bias, (2, x.channels))
        self.check_integer("shift", self.shift, 0, 40)
        if self.element.is_binary:
            raise self.fail("element must be intK or uintK, not binary")
        _product_fits(self, x, self.scale, self.bias)
        return TensorType(*x.shape, self.element)


def _product_fits(op: Operation, x: TensorType, scale: np.ndarray, bias: np.ndarray) -> None:
    largest = max(-x.element.lo, x.element.hi) * int(np.abs(scale).max())
    if largest + int(np.abs(bias).max()) >= 1 << 47:
        raise op.fail("x*scale + bias must stay below 2**47")


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Operation):
    """Join of two streams: ``saturate((a << shifts[0]) + (b << shifts[1]))``."""

    element: ElementType
    shifts: tuple[int, int] = (0, 0)
    arity = 2

    def output(self, a: TensorType, b: TensorType) -> TensorType:
        for x in (a, b):
            self.check_number_input(x)
        if a.shape != b.shape:
            raise self.fail(f"inputs must have equal shapes, not {a} and {b}")
        if len(self.shifts) != 2:
            raise self.fail(f"shifts must be two integers, not {self.shifts!r}")
        for shift, x in zip(self.shifts, (a, b), strict=True):
            self.check_integer("shifts", shift, 0, 46 - x.element.bits)
        if self.element.is_binary:
            raise self.fail("element must be intK or uintK, not binary")
        return TensorType(*a.shape, self.element)


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Operation):
    """Join of streams of equal map and element: channels of the first input, then the next."""

    arity = None

    def output(self, *inputs: TensorType) -> TensorType:
        first = inputs[0]
        for x in inputs[1:]:
            if (x.height, x.width, x.element) != (
                first.height,
                first.width,
                first.element,
            ):
                raise self.fail(f"inputs must have equal maps and elements, not {first} and {x}")
        return TensorType(first.height, first.width, sum(x.channels for x in inputs), first.element)


def _pooled(op: Operation, x: TensorType, kernel: tuple[int, int]) -> tuple[int, int]:
    height, width = x.height // kernel[0], x.width // kernel[1]
    if height < 1 or width < 1:
        raise op.fail(f"a {kernel[0]}x{kernel[1]} kernel does not fit its {x} input")
    return height, width


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Operation):
    """Maximum over ``kernel`` x ``kernel`` squares side by side; what fills none is dropped."""

    kernel: int

    def output(self, x: TensorType) -> TensorType:
        self.check_integer("kernel", self.kernel, 1, 1 << 16)
        return TensorType(*_pooled(self, x, (self.kernel, self.kernel)), x.channels, x.element)


def _mean_type(op: Operation, x: TensorType, kernel: tuple[int, int], shift: int) -> ElementType:
    op.check_integer("shift", shift, 0, 40)
    half = (1 << shift) >> 1
    lo, hi = ((bound * prod(kernel) + half) >> shift for bound in (x.element.lo, x.element.hi))
    return ElementType("uint", max(1, hi.bit_length())) if lo >= 0 else int_for(lo, hi)


@dataclass(frozen=True, eq=False, kw_only=True)
class AvgPool(Operation):
    """``(sum + half) >> shift`` over squares as in :class:`MaxPool`.

    An exact mean, halves rounded up, where kernel**2 is 2**shift; the exact sum at shift 0.
    """

    kernel: int
    shift: int = 0

    def output(self, x: TensorType) -> TensorType:
        self.check_integer("kernel", self.kernel, 1, 1 << 16)
        kernel = (self.kernel, self.kernel)
        element = _mean_type(self, x, kernel, self.shift)
        return TensorType(*_pooled(self, x, kernel), x.channels, element)


@dataclass(frozen=True, eq=False, kw_only=True)
class GlobalPool(Operation):
    """``(sum + half) >> shift`` over the whole map."""

    shift: int = 0

    def output(self, x: TensorType) -> TensorType:
        return TensorType(1, 1, x.channels, _mean_type(self, x, x.shape[:2], self.shift))


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelSelect(Operation):
    """Index of the largest channel of a 1x1 map; the lowest index wins a tie."""

    def output(self, x: TensorType) -> TensorType:
        self.check_number_input(x)
        if x.shape[:2] != (1, 1):
            raise self.fail(f"needs a 1x1 map, not {x}")
        return TensorType(1, 1, 1, ElementType("uint", max(1, (x.channels - 1).bit_length())))


OPERATIONS = {
    cls.__name__: cls
    for cls in (
        Input, Thermometer, Conv, FractionalConv, Dense, Threshold, Affine, RPReLU, Add, Concat,
        MaxPool, AvgPool, GlobalPool, LabelSelect,
    )
}  # fmt: skip
