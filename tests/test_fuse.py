"""Fused integer parameters against rational evaluation, for every integer of the input's range."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model import fuse
from model.graph import ElementType

INT8 = ElementType("int", 8)
INT7 = ElementType("int", 7)

# A busy machine is no failure.
unhurried = settings(deadline=None)

# Exponents far apart, 0 and both signs: a batch-norm may be nearly flat, or steep.
numbers = st.one_of(
    st.just(0.0),
    st.floats(-4, 4, width=32),
    st.floats(-(2.0**-12), 2.0**-12, width=32),
    st.integers(-64, 64).map(float),
)
dyadic = st.integers(-512, 512).map(lambda n: n / 64)


def line(scale: float, offset: float, x: int) -> Fraction:
    return Fraction(scale) * x + Fraction(offset)


def count(thresholds: np.ndarray, direction: int, x: int) -> int:
    return int((x >= thresholds if direction > 0 else x <= thresholds).sum())


@unhurried
@given(scale=numbers, offset=numbers)
@example(scale=2.0, offset=-4.0)
@example(scale=-2.0, offset=-4.0)
@example(scale=0.0, offset=0.0)
@example(scale=0.0, offset=-1.0)
@example(scale=1e-300, offset=-1.0)
@example(scale=-1e-300, offset=1.0)
def test_sign_of_a_line_is_exactly_one_compare(scale, offset):
    thresholds, directions = fuse.level_thresholds([scale], [offset], [0.0], INT8)
    for x in range(INT8.lo, INT8.hi + 1):
        expected = line(scale, offset, x) >= 0
        assert count(thresholds[0], directions[0], x) == expected


@unhurried
@given(
    scale=numbers,
    offset=numbers,
    step=st.floats(2.0**-6, 2, width=32),
    bits=st.integers(1, 4),
)
@example(scale=0.5, offset=0.25, step=0.5, bits=4)
@example(scale=-0.5, offset=0.25, step=0.5, bits=4)
def test_relu_and_quantiser_are_exactly_ordered_thresholds(scale, offset, step, bits):
    most = (1 << bits) - 1
    levels = [step * (t - 0.5) for t in range(1, most + 1)]
    thresholds, directions = fuse.level_thresholds([scale], [offset], levels, INT8)
    assert (np.diff(thresholds[0]) * directions[0] >= 0).all()
    assert thresholds.min() >= INT8.lo - 1 and thresholds.max() <= INT8.hi + 1
    for x in range(INT8.lo, INT8.hi + 1):
        level = floor(line(scale, offset, x) / Fraction(step) + Fraction(1, 2))
        assert count(thresholds[0], directions[0], x) == min(max(level, 0), most)


@unhurried
@given(
    gamma=st.floats(-2, 2, width=32),
    beta=st.floats(-2, 2, width=32),
    mean=st.floats(-50, 50, width=32),
    variance=st.floats(2.0**-10, 500, width=32),
)
def test_batch_norm_and_sign_agree_with_float_evaluation(gamma, beta, mean, variance):
    scale, offset = fuse.batch_norm([gamma], [beta], [mean], [variance], 1e-5)
    thresholds, directions = fuse.level_thresholds(scale, offset, [0.0], INT8)
    for x in range(INT8.lo, INT8.hi + 1):
        y = gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta
        # Where float64 itself cannot tell the side, there is nothing to agree with.
        if abs(y) > 1e-9:
            assert count(thresholds[0], directions[0], x) == (y >= 0)


def test_batch_norm_refuses_a_negative_variance_and_numbers_that_are_not_finite():
    with pytest.raises(ValueError, match="variance must not be negative"):
        fuse.batch_norm([1.0], [0.0], [0.0], [-1.0], 1e-5)
    with pytest.raises(ValueError, match="must be finite"):
        fuse.batch_norm([np.nan], [0.0], [0.0], [1.0], 1e-5)


def test_levels_must_ascend_and_be_finite():
    with pytest.raises(ValueError, match="levels must be ascending"):
        fuse.level_thresholds([1.0], [0.0], [1.0, 0.5], INT8)
    with pytest.raises(ValueError, match="must be finite"):
        fuse.level_thresholds([1.0], [np.inf], [0.0], INT8)


def apply(scale: int, bias: int, shift: int, x: int) -> int:
    return (x * scale + bias + ((1 << shift) >> 1)) >> shift


@unhurried
@given(scale=dyadic, offset=dyadic)
def test_fixed_point_is_exact_where_the_multiplier_holds_the_scale(scale, offset):
    points = fuse.fixed_point([scale], [offset], 12)
    for x in range(INT8.lo, INT8.hi + 1):
        expected = floor(line(scale, offset, x) + Fraction(1, 2))
        assert apply(int(points.scale[0]), int(points.bias[0]), points.shift, x) == expected


@unhurried
@given(
    scales=st.lists(numbers, min_size=1, max_size=4),
    offset=st.floats(-100, 100),
    bits=st.integers(9, 16),
)
def test_fixed_point_is_off_by_no_more_than_its_rounding(scales, offset, bits):
    points = fuse.fixed_point(scales, [offset] * len(scales), bits)
    assert np.abs(points.scale).max() < 1 << bits - 1
    unit = Fraction(1, 1 << points.shift)
    for channel, scale in enumerate(scales):
        for x in range(INT8.lo, INT8.hi + 1):
            y = apply(int(points.scale[channel]), int(points.bias[channel]), points.shift, x)
            bound = Fraction(1, 2) + unit / 2 * (abs(x) + 1) + Fraction(1, 10**9)
            assert abs(y - line(scale, offset, x)) <= bound


def test_fixed_point_uses_the_whole_multiplier():
    assert fuse.fixed_point([1.5], [0.0], 12).scale[0] == 1536
    assert fuse.fixed_point([2047.0], [0.0], 12).shift == 0


def test_fixed_point_refuses_a_scale_beyond_its_bits():
    with pytest.raises(ValueError, match="scale 2048 is too large for a multiplier of 12 bits"):
        fuse.fixed_point([1.0, 2048.0], [0.0, 0.0], 12)


@unhurried
@given(
    scale=st.integers(-64, 64).map(lambda n: n / 16),
    offset=dyadic,
    kink=dyadic,
    slope=st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]),
    lift=dyadic,
)
@example(scale=1.0, offset=0.0, kink=3.0, slope=0.25, lift=0.5)
@example(scale=-1.0, offset=0.0, kink=3.0, slope=0.25, lift=0.5)
@example(scale=0.0, offset=2.0, kink=3.0, slope=0.25, lift=0.0)
@example(scale=0.0, offset=4.0, kink=3.0, slope=0.25, lift=0.0)
@example(scale=-1.0, offset=-1000.0, kink=3.0, slope=0.25, lift=0.5)
def test_rprelu_of_a_line_is_exactly_one_compare_one_multiply_one_add(
    scale, offset, kink, slope, lift
):
    segments = fuse.rprelu_segments(
        [scale], [offset], kink=[kink], slope=[slope], lift=[lift], step=0.25, element=INT8,
        bits=16,
    )  # fmt: skip
    assert INT8.lo <= segments.threshold[0] <= INT8.hi + 1
    for x in range(INT8.lo, INT8.hi + 1):
        distance = line(scale, offset, x) - Fraction(kink)
        y = (distance if distance >= 0 else Fraction(slope) * distance) + Fraction(lift)
        s = int(x >= segments.threshold[0])
        result = apply(int(segments.scale[s, 0]), int(segments.bias[s, 0]), segments.shift, x)
        assert result == floor(y / Fraction(1, 4) + Fraction(1, 2))


@unhurried
@given(
    scale=st.floats(-2, 2),
    offset=st.floats(-20, 20),
    kink=st.floats(-20, 20),
    slope=st.floats(-1, 2),
    lift=st.floats(-5, 5),
)
def test_rprelu_is_off_by_no_more_than_its_rounding(scale, offset, kink, slope, lift):
    step = 0.0625
    segments = fuse.rprelu_segments(
        [scale], [offset], kink=[kink], slope=[slope], lift=[lift], step=step, element=INT7,
    )  # fmt: skip
    assert np.abs(segments.scale).max() < 1 << fuse.SCALE_BITS - 1
    for x in range(INT7.lo, INT7.hi + 1):
        distance = line(scale, offset, x) - Fraction(kink)
        y = (distance if distance >= 0 else Fraction(slope) * distance) + Fraction(lift)
        s = int(x >= segments.threshold[0])
        result = apply(int(segments.scale[s, 0]), int(segments.bias[s, 0]), segments.shift, x)
        unit = Fraction(1, 1 << segments.shift)
        bound = Fraction(1, 2) + unit / 2 * (abs(x) + 1) + Fraction(1, 10**9)
        assert abs(result - y / Fraction(step)) <= bound


@example(channels=[(1.0, 5e-324)], bits=8)
@example(channels=[(1.0, 5e-324), (0.5, 2.0)], bits=12)
@unhurried
@given(
    channels=st.lists(st.tuples(st.floats(2.0**-8, 4), st.floats(0, 100)), min_size=1, max_size=5),
    bits=st.integers(8, 16),
)
def test_shortcut_grid_holds_every_limit_in_its_bits_and_resolves_it(channels, bits):
    scale, limit = (np.array(column) for column in zip(*channels, strict=True))
    grid = fuse.shortcut_grid(scale, limit, bits=bits, levels=64)
    counts = [reach / s for s, reach in channels if reach > 2.0**-100]
    if not counts:
        assert grid == (0, ElementType("int", 2))
        return
    if grid is None:
        # Shift k would have to satisfy both ends: no k does.
        most = (1 << bits - 1) - 1
        assert not any(max(counts) * 2**k <= most and min(counts) * 2**k >= 64 for k in range(25))
        return
    shift, element = grid
    assert element.bits <= bits and shift >= 0
    for steps in counts:
        assert 64 <= steps * 2**shift <= element.hi


def test_shortcut_grid_takes_the_finest_shift_that_fits():
    # Limit 4 counts 16 accumulator steps of 1/4; 16 << 8 = 4096 would need 14 bits.
    shift, element = fuse.shortcut_grid([0.25], [4.0], bits=13)
    assert (shift, str(element)) == (7, "int13")


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, 5e-324])
def test_shortcut_grid_needs_positive_scales(scale):
    assert fuse.shortcut_grid([1.0, scale], [1.0, 1.0]) is None


def test_shortcut_grid_gives_up_when_channels_differ_too_much():
    assert fuse.shortcut_grid([1.0, 2.0**-10], [1.0, 1.0]) is None
    assert fuse.shortcut_grid([1.0, 2.0**-3], [1.0, 1.0]) is not None


def test_a_shortcut_that_is_always_zero_needs_no_range():
    assert fuse.shortcut_grid([1.0], [0.0]) == (0, ElementType("int", 2))


@example(scale=0.0, limit=5e-324, bits=6)
@example(scale=5e-324, limit=0.0, bits=6)
@example(scale=0.0, limit=0.0, bits=6)
@unhurried
@given(
    scale=st.floats(-4, 4), limit=st.floats(0, 100), bits=st.integers(6, 14)
)  # fmt: skip
def test_common_grid_holds_the_branch_and_the_shortcut(scale, limit, bits):
    step, element = fuse.common_grid([scale], INT7, [limit], bits=bits)
    assert element.bits == bits and step[0] > 0
    reach = max(abs(scale) * -INT7.lo, limit)
    assert floor(Fraction(reach) / Fraction(step[0]) + Fraction(1, 2)) <= element.hi


def test_rprelu_range_holds_every_result_and_no_more():
    random = np.random.default_rng(3)
    segments = fuse.TwoSegments(
        threshold=random.integers(-40, 41, 30),
        scale=random.integers(-99, 100, (2, 30)),
        bias=random.integers(-999, 1000, (2, 30)),
        shift=4,
    )
    # Among them channels that reach one segment alone.
    low = random.integers(-30, 0, 30)
    high = low + random.integers(0, 40, 30)
    lowest, highest = fuse.rprelu_range(segments, low, high)
    for c in range(30):
        x = np.arange(low[c], high[c] + 1)
        segment = (x >= segments.threshold[c]) * 1
        y = (x * segments.scale[segment, c] + segments.bias[segment, c] + 8) >> 4
        assert (lowest[c], highest[c]) == (y.min(), y.max())


def test_classifier_weights_use_all_their_bits():
    weights, bias, unit = fuse.classifier(np.array([[0.5, -2.0], [1.0, 0.0]]), np.ones(2), 8)
    assert weights.tolist() == [[32, -127], [64, 0]]
    assert unit == 2 / 127 and bias.tolist() == [64, 64]
    with pytest.raises(ValueError, match="weights must not all be 0"):
        fuse.classifier(np.zeros((2, 2)), np.ones(2), 8)
    with pytest.raises(ValueError, match="must be finite"):
        fuse.classifier(np.full((2, 2), np.inf), np.ones(2), 8)


@pytest.mark.parametrize(
    ("scale", "reach"),
    [(3e-7, 1), (3e-7, 2**15), (3e-7, 2**36), (2e-4, 2**36), (5.0, 2**36), (1e5, 2**15)],
)
def test_multipliers_use_their_bits_as_far_as_the_largest_product_permits(scale, reach):
    scales, offset = np.array([scale, -scale / 7]), np.array([0.5, -2.0])
    points = fuse.fixed_point(scales, offset, 18, reach=reach)
    assert abs(points.scale).max() < 1 << 17 and points.shift <= 40
    assert abs(points.scale).max() * reach + abs(points.bias).max() < 2**47
    # One more place would be too many: for the multiplier, the product, or the shift.
    more = [np.floor(x * 2.0 ** (points.shift + 1) + 0.5) for x in (scales, offset)]
    too_wide = abs(more[0]).max() >= 1 << 17
    too_large = abs(more[0]).max() * reach + abs(more[1]).max() >= 2**47
    assert too_wide or too_large or points.shift == 40
    assert (abs(points.scale / 2.0**points.shift - scales) <= 0.5 / 2.0**points.shift).all()
