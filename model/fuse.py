"""Real-valued layer parameters to integer operations: what the exporter computes with.

A tensor in the trained network is ``scale[c]*x + offset[c]`` of an integer tensor ``x``.
Batch-norm only changes scale and offset; integers come into being where a layer decides or
rounds:

* **Sign and quantisers** become integer thresholds, *exactly*: scale, offset and levels are taken
  as the rational numbers that the floats are, so that no integer falls on the wrong side.
* **Affine and RPReLU** become integer multipliers with a common shift, rounded to a stated width.
* **A shortcut around a binary block** costs one compare, one multiply and one add for batch-norm,
  addition and RPReLU together. The residual is kept in units of ``g[c] / 2**k``, where g is the
  scale that batch-norm gives the branch's accumulator: the accumulator, shifted left by the
  constant k, then adds directly, and RPReLU's per-channel multipliers undo the units. A negative
  g turns the signs of the channel's weights. :func:`shortcut_grid` chooses k, or finds that the
  channels' g differ too much; then both sides take an Affine to the grid of :func:`common_grid`
  before they are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import numpy as np

from model.graph import Affine, ElementType, RPReLU, int_for

__all__ = [
    "KEPT_BITS",
    "FixedPoint",
    "TwoSegments",
    "batch_norm",
    "classifier",
    "common_grid",
    "fixed_point",
    "gate_thresholds",
    "level_thresholds",
    "put_together",
    "round_half_up",
    "rprelu_range",
    "rprelu_segments",
    "shortcut_grid",
    "suits_grid",
]

#: Bits of a multiplier, its sign included.
SCALE_BITS = 12

#: Bits of a multiplier whose shift is that of another network: accelerators whose parameters can be
#: written have room for so many.
KEPT_BITS = 18

_MAX_SHIFT = 24

#: Shift and product that model.operations admits at most.
_LARGEST_SHIFT = 40
_PRODUCT_BITS = 47

#: Magnitudes up to this are 0: units made from them would leave the range of float64.
_NOTHING = 2.0**-100


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Integer arrays and shift: ``(x*scale + bias + half) >> shift``, as in Affine."""

    scale: np.ndarray
    bias: np.ndarray
    shift: int


@dataclass(frozen=True, eq=False)
class TwoSegments:
    """Parameters of an RPReLU operation."""

    threshold: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    shift: int


def batch_norm(
    gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset per channel of a batch-norm in evaluation, in float64.

    Raises
    ------
    ValueError
        A variance is negative, or a parameter is not finite.
    """
    gamma, beta, mean, variance = (
        np.asarray(values, np.float64) for values in (gamma, beta, mean, variance)
    )
    if (variance + eps <= 0).any():
        raise ValueError("batch-norm variance must not be negative")
    scale = gamma / np.sqrt(variance + eps)
    offset = beta - mean * scale
    _finite("batch-norm parameters", scale, offset)
    return scale, offset


def _finite(what: str, *arrays: np.ndarray) -> None:
    if not all(np.isfinite(values).all() for values in arrays):
        raise ValueError(f"{what} must be finite numbers")


def level_thresholds(
    scale: np.ndarray, offset: np.ndarray, levels: Sequence[float], element: ElementType
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds and directions that count exactly the levels at or below ``scale*x + offset``.

    Parameters
    ----------
    scale, offset : float array (channels,)
    levels : ascending floats
        One level, 0.0, is the sign; (t - 1/2)*step for t = 1.. is a quantiser.
    element : ElementType
        Of x. A level that no x, or every x, reaches has its threshold at the end of this range.

    Returns
    -------
    thresholds : int array (channels, levels)
    directions : int array (channels,), +1 or -1
        -1 where the scale is negative.
    """
    scale, offset = np.asarray(scale, np.float64), np.asarray(offset, np.float64)
    _finite("scale, offset and levels", scale, offset, np.asarray(levels))
    if any(a > b for a, b in pairwise(levels)):
        raise ValueError("levels must be ascending")
    thresholds = np.empty((len(scale), len(levels)), np.int64)
    for channel, (a, b) in enumerate(zip(scale, offset, strict=True)):
        slope, start = Fraction(float(a)), Fraction(float(b))
        for index, level in enumerate(levels):
            distance = Fraction(float(level)) - start
            if slope > 0:
                t = ceil(distance / slope)
            elif slope < 0:
                t = floor(distance / slope)
            else:
                t = element.lo if distance <= 0 else element.hi + 1
            low, high = (element.lo - 1, element.hi) if slope < 0 else (element.lo, element.hi + 1)
            thresholds[channel, index] = min(max(t, low), high)
    return thresholds, np.where(scale < 0, -1, 1)


def round_half_up(values: np.ndarray) -> np.ndarray:
    """The nearest integers, of halves the larger."""
    return np.floor(np.asarray(values, np.float64) + 0.5).astype(np.int64)


def fixed_point(
    scale: np.ndarray,
    offset: np.ndarray,
    bits: int = SCALE_BITS,
    shift: int | None = None,
    reach: int | None = None,
) -> FixedPoint:
    """Integers for ``y = scale*x + offset``, the multipliers in ``bits`` bits, one shift for all.

    The shift is the largest that the widest multiplier permits, and the largest product of an x up
    to ``reach``. Every multiplier is then off by at most half of ``2**-shift``, so is the bias.
    Where a ``shift`` is given, it is that one, and multipliers may have ``KEPT_BITS`` bits if that
    is more.

    Raises
    ------
    ValueError
        A parameter is not finite, or a scale is too large for its bits at that or at no shift.
    """
    scale, offset = np.asarray(scale, np.float64), np.asarray(offset, np.float64)
    _finite("scale and offset", scale, offset)
    given = shift is not None
    bits = max(bits, KEPT_BITS) if given else bits
    most = (1 << bits - 1) - 1
    shift = shift if given else _MAX_SHIFT if reach is None else _LARGEST_SHIFT

    def fits() -> bool:
        # In floats: an integer would not hold what is much too large.
        multiplier, bias = (np.abs(np.floor(x * 2.0**shift + 0.5)).max() for x in (scale, offset))
        return multiplier <= most and multiplier * (reach or 0) + bias < 2.0**_PRODUCT_BITS

    while shift and not given and not fits():
        shift -= 1
    multipliers = round_half_up(scale * 2.0**shift)
    if np.abs(multipliers).max() > most:
        at = f" at shift {shift}" if given else ""
        raise ValueError(
            f"scale {np.abs(scale).max():g} is too large for a multiplier of {bits} bits{at}"
        )
    return FixedPoint(multipliers, round_half_up(offset * 2.0**shift), shift)


def rprelu_segments(
    scale: np.ndarray,
    offset: np.ndarray,
    *,
    kink: np.ndarray,
    slope: np.ndarray,
    lift: np.ndarray,
    step: np.ndarray | float,
    element: ElementType,
    bits: int = SCALE_BITS,
    shift: int | None = None,
) -> TwoSegments:
    """RPReLU of ``y = scale*x + offset``, in units of ``step``.

    With ``d = y - kink`` it is ``d + lift`` where ``d >= 0``, else ``slope*d + lift``. Which
    segment an integer x takes is exact; the segments are rounded as in :func:`fixed_point`.

    Parameters
    ----------
    scale, offset, kink, slope, lift : float array (channels,)
    step : float
        What 1 means in the result.
    element : ElementType
        Of x.
    shift : int or None
        See :func:`fixed_point`.
    """
    scale, offset = np.asarray(scale, np.float64), np.asarray(offset, np.float64)
    kink, slope, lift = (np.asarray(v, np.float64) for v in (kink, slope, lift))
    above = np.stack([scale, offset - kink + lift]) / step
    below = np.stack([slope * scale, slope * (offset - kink) + lift]) / step
    # Below 0 the compare is x <= t: the segment of x >= t + 1 is then the one below the kink.
    # Without a scale the output is a constant, on whichever side of the kink it is.
    constant = np.where(offset >= kink, above, below)
    falling, flat = scale < 0, scale == 0
    low = np.where(flat, constant, np.where(falling, above, below))
    high = np.where(flat, constant, np.where(falling, below, above))
    threshold = np.empty(len(scale), np.int64)
    for channel in range(len(scale)):
        one = slice(channel, channel + 1)
        t, direction = level_thresholds(scale[one], offset[one], [float(kink[channel])], element)
        threshold[channel] = t[0, 0] + (1 if direction[0] < 0 else 0)
    points = fixed_point(
        np.concatenate([low[0], high[0]]), np.concatenate([low[1], high[1]]), bits, shift
    )
    return TwoSegments(
        threshold, points.scale.reshape(2, -1), points.bias.reshape(2, -1), points.shift
    )


def rprelu_range(
    segments: TwoSegments, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest result of each channel for integers in ``low..high`` of each channel."""
    half = (1 << segments.shift) >> 1
    below = low, np.minimum(high, segments.threshold - 1)
    above = np.maximum(low, segments.threshold), high
    ends = []
    for segment, (first, last) in enumerate((below, above)):
        for x in (first, last):
            y = (x * segments.scale[segment] + segments.bias[segment] + half) >> segments.shift
            # A segment that no integer takes has no ends.
            ends.append(np.ma.masked_array(y, first > last))
    ends = np.ma.stack(ends)
    return ends.min(axis=0).data, ends.max(axis=0).data


def put_together(segments: RPReLU, units: Affine) -> RPReLU:
    """One RPReLU, with the name of the first, for two operations of which the first loses nothing:
    its shift is 0, and its element holds all of its results."""
    return replace(
        segments,
        scale=segments.scale * units.scale,
        bias=segments.bias * units.scale + units.bias,
        shift=units.shift,
        element=units.element,
    )


def gate_thresholds(threshold: np.ndarray, products: int) -> np.ndarray:
    """Lowest integer m with ``2/3*m > threshold``, for sums m of ``products`` signs.

    -products where every m opens the gate, products + 1 where none does.
    """
    threshold = np.asarray(threshold, np.float64)
    _finite("gate thresholds", threshold)
    lowest = [floor(Fraction(value) * 3 / 2) + 1 for value in threshold.tolist()]
    return np.array([min(max(t, -products), products + 1) for t in lowest], np.int64)


def classifier(
    weights: np.ndarray, bias: np.ndarray, bits: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Integer weights of ``bits`` bits and biases, and what 1 means in the scores."""
    weights, bias = np.asarray(weights, np.float64), np.asarray(bias, np.float64)
    _finite("classifier parameters", weights, bias)
    unit = float(np.abs(weights).max()) / ((1 << bits - 1) - 1)
    if unit <= _NOTHING:
        raise ValueError("classifier weights must not all be 0")
    return round_half_up(weights / unit), round_half_up(bias / unit), unit


def shortcut_grid(
    branch_scale: np.ndarray, limit: np.ndarray, *, bits: int = 13, levels: int = 64
) -> tuple[int, ElementType] | None:
    """Shift k and element type for a shortcut kept in units of ``branch_scale / 2**k``.

    k is the largest for which every channel's magnitudes up to ``limit`` fit into ``bits`` bits.

    Parameters
    ----------
    branch_scale : float array (channels,), positive
    limit : float array (channels,)
        Largest magnitude of the shortcut; beyond it, the element saturates.
    levels : int
        Steps that a channel's ``limit`` must count at least.

    Returns
    -------
    (k, element), or None
        None where the channels differ too much: the widest does not fit, or the finest has too few
        steps.
    """
    branch_scale, limit = np.asarray(branch_scale, np.float64), np.asarray(limit, np.float64)
    if not (branch_scale > _NOTHING).all() or not np.isfinite(limit / branch_scale).all():
        return None
    # A channel that is always 0 needs no steps.
    spans = (limit / branch_scale)[limit > _NOTHING]
    if not len(spans):
        return 0, ElementType("int", 2)
    most = (1 << bits - 1) - 1
    shift = min(floor(np.log2(most / spans.max())), _MAX_SHIFT)
    if shift < 0 or spans.min() * 2.0**shift < levels:
        return None
    reach = ceil(spans.max() * 2.0**shift)
    return shift, int_for(-reach, reach)


def suits_grid(
    branch_scale: np.ndarray, limit: np.ndarray, shift: int, element: ElementType
) -> bool:
    """Whether a shortcut can be kept in units of ``branch_scale / 2**shift`` in that element.

    No limit saturates then, and each counts a step at least.
    """
    branch_scale, limit = np.asarray(branch_scale, np.float64), np.asarray(limit, np.float64)
    if not (branch_scale > _NOTHING).all():
        return False
    spans = (limit / branch_scale)[limit > _NOTHING] * 2.0**shift
    return not len(spans) or bool(spans.max() <= element.hi and spans.min() >= 1)


def common_grid(
    branch_scale: np.ndarray, branch: ElementType, limit: np.ndarray, *, bits: int = 12
) -> tuple[np.ndarray, ElementType]:
    """Step per channel, and element type, for both sides of an addition.

    The steps are such that neither the branch's whole range nor a shortcut up to ``limit``
    saturates.
    """
    largest = max(-branch.lo, branch.hi)
    peak = np.maximum(np.abs(np.asarray(branch_scale, np.float64)) * largest, limit)
    step = np.where(peak > _NOTHING, peak, 1.0) / ((1 << bits - 1) - 1)
    return step, ElementType("int", bits)
