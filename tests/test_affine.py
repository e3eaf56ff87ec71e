import random
from fractions import Fraction
from math import floor

import pytest

from hw.affine import AffineUnit, RPReLUUnit
from hw.lanes import element_range
from hw.timing import Steps
from tests.check import check
from tests.streams import beats


def model(x, scale, bias, shift, output):
    """The nearest number to (x * scale + bias) / 2**shift, halves up, within the output's range."""
    lo, hi = element_range(output)
    rounded = floor(Fraction(x * scale + bias, 2**shift) + (Fraction(1, 2) if shift else 0))
    return min(max(rounded, lo), hi)


def numbers_of(element, count, source):
    lo, hi = element_range(element)
    return [source.choice((lo, hi, source.randint(lo, hi), 0)) for _ in range(count)]


def affine_case(channels, lanes, input, output, shift, *, scale=100, bias=2000, pixels=8):
    source = random.Random(f"{channels} {lanes} {input} {output} {shift}")
    parameters = {
        "channels": channels,
        "lanes": lanes,
        "scale": [source.randint(-scale, scale) for _ in range(channels)],
        "bias": [source.randint(-bias, bias) for _ in range(channels)],
        "shift": shift,
        "input": input,
        "output": output,
    }
    given = numbers_of(input, channels * pixels, source)
    expected = [
        model(x, parameters["scale"][k % channels], parameters["bias"][k % channels], shift, output)
        for k, x in enumerate(given)
    ]
    return parameters, beats(input, lanes, given), beats(output, lanes, expected)


def rprelu_case(channels, lanes, input, output, shift, *, scale=100, bias=2000, pixels=8):
    source = random.Random(f"{channels} {lanes} {input} {output} {shift}")
    lo, hi = element_range(input)
    threshold = [source.choice((lo, hi + 1, source.randint(lo, hi))) for _ in range(channels)]
    scales = [[source.randint(-scale, scale) for _ in range(channels)] for _ in range(2)]
    biases = [[source.randint(-bias, bias) for _ in range(channels)] for _ in range(2)]
    given, expected = [], []
    for _ in range(pixels):
        for channel, t in enumerate(threshold):
            near = min(max(t + source.choice((-1, 0, 1)), lo), hi)
            x = source.choice((near, *numbers_of(input, 1, source)))
            segment = 1 if x >= t else 0
            given.append(x)
            expected.append(
                model(x, scales[segment][channel], biases[segment][channel], shift, output)
            )
    parameters = {
        "channels": channels,
        "lanes": lanes,
        "threshold": threshold,
        "scale": scales,
        "bias": biases,
        "shift": shift,
        "input": input,
        "output": output,
    }
    return parameters, beats(input, lanes, given), beats(output, lanes, expected)


# Product, sum, and rounded result.
AFFINE = 3

UNITS = [(AffineUnit, affine_case), (RPReLUUnit, rprelu_case)]

# One channel, one lane, all lanes, and folds whose parameters are in logic or in a larger memory.
FOLDS = [(1, 1), (3, 1), (4, 4), (12, 4), (40, 2), (70, 1)]


@pytest.mark.parametrize(("unit", "case"), UNITS)
@pytest.mark.parametrize(("channels", "lanes"), FOLDS)
@pytest.mark.parametrize(
    ("input", "output", "shift"),
    [("int9", "int6", 8), ("int9", "int20", 0), ("uint4", "uint4", 5), ("int3", "uint8", 1)],
)
def test_scales_rounds_and_saturates(unit, case, channels, lanes, input, output, shift):
    parameters, given, expected = case(channels, lanes, input, output, shift)
    check(lambda: unit(**parameters), {"i": given}, {"o": expected})


@pytest.mark.parametrize(("unit", "case"), UNITS)
@pytest.mark.parametrize(("scale", "bias"), [(0, 0), (0, 300), (1, 0), (70000, 5), (3, 1 << 30)])
def test_parameters_of_any_size(unit, case, scale, bias):
    parameters, given, expected = case(6, 2, "int16", "int12", 9, scale=scale, bias=bias)
    check(lambda: unit(**parameters), {"i": given}, {"o": expected}, seeds=(1,))


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
@pytest.mark.parametrize("output", ["int4", "uint3", "int2"])
def test_rounding_is_exhaustive_over_small_inputs(shift, output):
    values = list(range(-32, 32))
    for scale, bias in ((1, 0), (-1, 0), (1, 5), (-3, 7)):
        expected = [model(x, scale, bias, shift, output) for x in values]
        # Halves go up, not away from zero or to even numbers.
        if (scale, bias, shift, output) == (1, 0, 1, "int4"):
            assert [expected[values.index(x)] for x in (-3, -1, 1, 3)] == [-1, 0, 1, 2]
        check(
            lambda scale=scale, bias=bias: AffineUnit(
                channels=1,
                lanes=1,
                scale=[scale],
                bias=[bias],
                shift=shift,
                input="int6",
                output=output,
            ),
            {"i": beats("int6", 1, values)},
            {"o": beats(output, 1, expected)},
            seeds=(),
        )


@pytest.mark.parametrize(
    ("unit", "case", "channels", "lanes", "latency"),
    [
        (AffineUnit, affine_case, 4, 4, AFFINE),
        (AffineUnit, affine_case, 4, 1, AFFINE + 1),
        (AffineUnit, affine_case, 65, 1, AFFINE + 2),
        (RPReLUUnit, rprelu_case, 4, 4, AFFINE + 2),
        (RPReLUUnit, rprelu_case, 16, 1, AFFINE + 2),
        (RPReLUUnit, rprelu_case, 32, 1, AFFINE + 3),
        (RPReLUUnit, rprelu_case, 65, 1, AFFINE + 5),
    ],
)
def test_timing_and_interval(unit, case, channels, lanes, latency):
    parameters, given, expected = case(channels, lanes, "int8", "int8", 4, pixels=2)
    made = unit(**parameters)
    assert made.interval == channels // lanes
    assert made.timing == Steps(consumes=((1,),), emits=(1,), latency=latency)
    run = check(lambda: unit(**parameters), {"i": given}, {"o": expected}, seeds=())
    assert run.cycles["o"] == [latency + step for step in range(2 * made.interval)]


BAD = [
    ({"channels": 0}, "channels must be a positive integer, not 0"),
    ({"lanes": 0}, "lanes must be a positive integer, not 0"),
    ({"lanes": 3}, "channels must be a multiple of lanes, not 4 and 3"),
    ({"shift": -1}, "shift must be a non-negative integer, not -1"),
    ({"shift": 1.5}, "shift must be a non-negative integer, not 1.5"),
    ({"input": "binary"}, "input must be a number, not binary"),
    ({"output": "binary"}, "output must be a number, not binary"),
    ({"input": "byte"}, "element must be 'binary', 'uintK' or 'intK', not 'byte'"),
]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        *BAD,
        ({"scale": [1, 2, 3]}, "scale must be 4 integers, one for each channel"),
        ({"bias": [1, 2, 3, 0.5]}, "bias must be 4 integers, one for each channel"),
    ],
)
def test_affine_refuses_bad_parameters(changes, sentence):
    parameters, *_ = affine_case(4, 2, "int8", "int8", 2)
    with pytest.raises(ValueError, match=sentence):
        AffineUnit(**(parameters | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        *BAD,
        ({"threshold": [0] * 5}, "threshold must be 4 integers, one for each channel"),
        ({"scale": [[1] * 4, [1] * 3]}, "scale must be 4 integers, one for each channel"),
        ({"bias": [[1] * 4]}, "scale and bias must be given for two segments, not 2 and 1"),
    ],
)
def test_rprelu_refuses_bad_parameters(changes, sentence):
    parameters, *_ = rprelu_case(4, 2, "int8", "int8", 2)
    with pytest.raises(ValueError, match=sentence):
        RPReLUUnit(**(parameters | changes))
