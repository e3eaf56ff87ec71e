"""The operations with weights: convolutions and the dense layer, to the exact accumulator."""

from dataclasses import dataclass
from math import prod

import numpy as np

from model.elements import BINARY, ElementType, TensorType, int_for
from model.operation import Operation

__all__ = ["Conv", "Dense", "FractionalConv"]


def _require(weights: np.ndarray, weight_type: ElementType, op: Operation) -> None:
    if weights.size == 0:
        raise op.fail("weights must not be empty")
    if weight_type.is_binary:
        if not np.isin(weights, (-1, 1)).all():
            raise op.fail("binary weights must all be +1 or -1")
    elif weight_type.kind != "int":
        raise op.fail(f"weight_type must be binary or intK, not {weight_type}")
    elif weights.min() < weight_type.lo or weights.max() > weight_type.hi:
        raise op.fail(f"weights must lie in {weight_type.lo}..{weight_type.hi} ({weight_type})")


def _convolved(
    op: Operation, x: TensorType, kernel: tuple[int, int], stride: int, padding: int
) -> tuple[int, int]:
    """Height and width of a convolution's output; checks stride and padding."""
    op.check_integer("stride", stride, 1, 1 << 16)
    op.check_integer("padding", padding, 0, (min(kernel) - 1) // 2)
    height, width = (
        (size + 2 * padding - k) // stride + 1 for size, k in zip(x.shape[:2], kernel, strict=True)
    )
    if height < 1 or width < 1:
        raise op.fail(f"a {kernel[0]}x{kernel[1]} kernel does not fit its {x} input")
    return height, width


def _accumulator(
    x: ElementType, w: ElementType, taps: int, bias: np.ndarray | None, padded: bool
) -> ElementType:
    """The narrowest type of a sum of ``taps`` products and a bias, whatever the weights are."""
    products = [a * b for a in (x.lo, x.hi) for b in (w.lo, w.hi)]
    lo, hi = taps * min(products), taps * max(products)
    if padded:
        lo, hi = min(lo, 0), max(hi, 0)
    if bias is not None:
        lo, hi = lo + min(0, int(bias.min())), hi + max(0, int(bias.max()))
    return int_for(lo, hi)


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv(Operation):
    """Convolution to the exact accumulator, ``bias[o] + sum(w * x)``.

    Zero padding contributes 0, also where the input is binary. Output pixel (i, j) covers input
    rows ``i*stride - padding ...`` and columns ``j*stride - padding ...``.

    Parameters
    ----------
    weights : int array, (out channels, kernel height, kernel width, in channels / groups)
        +1/-1 where ``weight_type`` is binary. With ``depthwise`` (channels, kernel height, kernel
        width, 1): output channel c sees input channel c alone.
    padding : int
        At most (smaller kernel side - 1) // 2.
    bias : int array (out channels), or None
    """

    weights: np.ndarray
    weight_type: ElementType
    stride: int = 1
    padding: int = 0
    depthwise: bool = False
    bias: np.ndarray | None = None

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weights.shape[1:3]

    def output(self, x: TensorType) -> TensorType:
        if not isinstance(self.weights, np.ndarray) or self.weights.ndim != 4:
            raise self.fail("weights must be an array of four dimensions")
        outputs, *kernel, groups_in = self.weights.shape
        needed = (outputs, *kernel, 1 if self.depthwise else x.channels)
        self.check_numbers("weights", self.weights, needed)
        _require(self.weights, self.weight_type, self)
        if not isinstance(self.depthwise, bool):
            raise self.fail(f"depthwise must be true or false, not {self.depthwise!r}")
        if self.depthwise and outputs != x.channels:
            raise self.fail(
                f"depthwise weights are for {outputs} channels, but the input has {x.channels}"
            )
        if self.bias is not None:
            self.check_numbers("bias", self.bias, (outputs,))
        height, width = _convolved(self, x, tuple(kernel), self.stride, self.padding)
        taps = kernel[0] * kernel[1] * groups_in
        element = _accumulator(x.element, self.weight_type, taps, self.bias, self.padding > 0)
        return TensorType(height, width, outputs, element)


@dataclass(frozen=True, eq=False, kw_only=True)
class FractionalConv(Operation):
    """Convolution of two precisions, a gate for each output choosing between them.

    The uint2 input is two bit planes, ``x = 2*M + L``; each bit counts as +1 or -1. With the same
    weights on both, ``m = sum(w * M)`` and ``l = sum(w * L)``, the result is ``2*m + l`` where
    ``m >= gate[o]``, else ``2*m``. Zero padding contributes 0 to both sums. With the uint2 of a
    :class:`Threshold` at -2/3, 0, 2/3 the result is three times the fractional convolution of
    Zhang et al., "FracBNN" (FPGA 2021), on the levels -1, -1/3, 1/3, 1.

    Parameters
    ----------
    weights : array of +1 and -1, (out channels, kernel height, kernel width, in channels)
    gate : int array (out channels)
        From -n to n + 1, n being the products of one plane; n + 1 never opens.
    padding : int
        At most (smaller kernel side - 1) // 2.
    """

    weights: np.ndarray
    gate: np.ndarray
    stride: int = 1
    padding: int = 0

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weights.shape[1:3]

    def output(self, x: TensorType) -> TensorType:
        if x.element != ElementType("uint", 2):
            raise self.fail(f"needs a uint2 input, not {x.element}")
        if not isinstance(self.weights, np.ndarray) or self.weights.ndim != 4:
            raise self.fail("weights must be an array of four dimensions")
        outputs, *kernel, _ = self.weights.shape
        self.check_numbers("weights", self.weights, (outputs, *kernel, x.channels))
        _require(self.weights, BINARY, self)
        self.check_numbers("gate", self.gate, (outputs,))
        products = prod(kernel) * x.channels
        if self.gate.min() < -products or self.gate.max() > products + 1:
            raise self.fail(f"gate must lie in {-products}..{products + 1}")
        height, width = _convolved(self, x, tuple(kernel), self.stride, self.padding)
        return TensorType(height, width, outputs, int_for(-3 * products, 3 * products))


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Operation):
    """Matrix times the channels of a 1x1 map: ``bias[o] + sum(weights[o] * x)``.

    Parameters
    ----------
    weights : int array, (out channels, in channels)
    bias : int array (out channels), or None
    """

    weights: np.ndarray
    weight_type: ElementType
    bias: np.ndarray | None = None

    def output(self, x: TensorType) -> TensorType:
        if x.shape[:2] != (1, 1):
            raise self.fail(f"needs a 1x1 map, not {x}")
        if not isinstance(self.weights, np.ndarray) or self.weights.ndim != 2:
            raise self.fail("weights must be an array of two dimensions")
        outputs = self.weights.shape[0]
        self.check_numbers("weights", self.weights, (outputs, x.channels))
        _require(self.weights, self.weight_type, self)
        if self.bias is not None:
            self.check_numbers("bias", self.bias, (outputs,))
        element = _accumulator(x.element, self.weight_type, x.channels, self.bias, False)
        return TensorType(1, 1, outputs, element)
