import random

import pytest

from hw.lanes import element_range
from hw.threshold import ThresholdUnit
from hw.timing import Steps
from tests.check import check
from tests.streams import beats


def model(x, thresholds, direction):
    """Thresholds of a channel that x has reached."""
    return sum(x >= t if direction == 1 else x <= t for t in thresholds)


def case(channels, lanes, input, output, count, *, pixels=6, ways=(1, -1), seed=0):
    """Parameters of a unit, its input beats and its expected output beats."""
    source = random.Random(f"{channels} {lanes} {input} {output} {count} {seed}")
    lo, hi = element_range(input)
    thresholds, directions = [], []
    for _ in range(channels):
        way = source.choice(ways)
        # Near each other and at the ends as well as anywhere.
        middle = source.randint(lo - 1, hi + 1)
        pool = [lo - 1, hi + 1, lo, hi, *(source.randint(lo - 1, hi + 1) for _ in range(count))]
        pool += [min(max(middle + k, lo - 1), hi + 1) for k in range(-3, 4)]
        row = sorted(source.choice(pool) for _ in range(count))
        thresholds.append(row if way == 1 else row[::-1])
        directions.append(way)
    given, expected = [], []
    for _ in range(pixels):
        for channel in range(channels):
            near = source.choice(thresholds[channel]) + source.choice((-1, 0, 0, 1))
            x = source.choice((lo, hi, source.randint(lo, hi), min(max(near, lo), hi)))
            given.append(x)
            expected.append(model(x, thresholds[channel], directions[channel]))
    parameters = {
        "channels": channels,
        "lanes": lanes,
        "thresholds": thresholds,
        "directions": directions,
        "input": input,
        "output": output,
    }
    return parameters, beats(input, lanes, given), beats(output, lanes, expected)


def run(parameters, given, expected, seeds=(1, 2, 3)):
    return check(lambda: ThresholdUnit(**parameters), {"i": given}, {"o": expected}, seeds=seeds)


# One channel, one lane, all lanes, and folds whose tables are read in no, one and two cycles.
FOLDS = [(1, 1), (5, 1), (6, 6), (12, 4), (34, 2), (70, 1)]


@pytest.mark.parametrize(("channels", "lanes"), FOLDS)
@pytest.mark.parametrize("input", ["int9", "uint4", "int2", "uint1", "int1"])
def test_sign(channels, lanes, input):
    run(*case(channels, lanes, input, "binary", 1))


@pytest.mark.parametrize(("channels", "lanes"), FOLDS)
@pytest.mark.parametrize(
    ("output", "count"), [("uint4", 15), ("uint4", 9), ("uint2", 3), ("uint2", 1), ("uint1", 1)]
)
def test_quantiser(channels, lanes, output, count):
    run(*case(channels, lanes, "int8", output, count), seeds=(1, 2))


@pytest.mark.parametrize("ways", [(1,), (-1,)])
@pytest.mark.parametrize(("output", "count"), [("binary", 1), ("uint3", 5)])
def test_channels_of_one_direction(output, count, ways):
    run(*case(6, 2, "int6", output, count, ways=ways))


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("threshold", [-5, -4, 0, 3, 4])
def test_every_input_against_every_kind_of_threshold(direction, threshold):
    values = list(range(-4, 4))
    expected = [model(x, [threshold], direction) for x in values]
    parameters = {
        "channels": 1,
        "lanes": 1,
        "thresholds": [[threshold]],
        "directions": [direction],
        "input": "int3",
        "output": "binary",
    }
    run(parameters, beats("int3", 1, values), expected, seeds=())


@pytest.mark.parametrize("direction", [1, -1])
def test_quantiser_is_exhaustive_over_small_inputs(direction):
    thresholds = [-9, -9, -3, 0, 0, 1, 7, 8, 8]
    values = list(range(-8, 8))
    parameters = {
        "channels": 1,
        "lanes": 1,
        "thresholds": [thresholds[::direction]],
        "directions": [direction],
        "input": "int4",
        "output": "uint4",
    }
    expected = [model(x, thresholds, direction) for x in values]
    run(parameters, beats("int4", 1, values), expected, seeds=())


@pytest.mark.parametrize("ram_style", ["block", "distributed"])
def test_ram_style_changes_no_result(ram_style):
    parameters, given, expected = case(70, 1, "int8", "uint2", 3)
    run(parameters | {"ram_style": ram_style}, given, expected)


@pytest.mark.parametrize(
    ("channels", "lanes", "count", "latency"),
    [
        (8, 8, 1, 1),
        (16, 1, 1, 1),
        (17, 1, 1, 2),
        (65, 1, 1, 3),
        (8, 8, 15, 4),
        (8, 8, 4, 3),
        (8, 1, 15, 1 + 1 + 2 + 2),
        (64, 1, 8, 2 + 3 + 3 + 3),
    ],
)
def test_timing_and_interval(channels, lanes, count, latency):
    parameters, given, expected = case(channels, lanes, "int8", "uint4", count, pixels=2)
    unit = ThresholdUnit(**parameters)
    assert unit.interval == channels // lanes
    assert unit.timing == Steps(consumes=((1,),), emits=(1,), latency=latency)
    found = run(parameters, given, expected, seeds=())
    assert found.cycles["o"] == [latency + step for step in range(2 * unit.interval)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channels": 0}, "channels must be a positive integer, not 0"),
        ({"lanes": 0}, "lanes must be a positive integer, not 0"),
        ({"lanes": 3}, "channels must be a multiple of lanes, not 2 and 3"),
        ({"input": "binary"}, "input must be a number, not binary"),
        ({"output": "int2"}, "output must be 'binary' or 'uintK', not 'int2'"),
        ({"output": "u2"}, "element must be 'binary', 'uintK' or 'intK', not 'u2'"),
        ({"thresholds": [[0, 1]]}, "thresholds must be given for 2 channels, not 1"),
        ({"directions": [1]}, "directions must be given for 2 channels, not 1"),
        ({"directions": [1, 0]}, "directions must be +1 or -1, not 0"),
        ({"output": "binary"}, "binary has 1..1 thresholds a channel, not 2"),
        ({"thresholds": [[], []]}, "uint2 has 1..3 thresholds a channel, not 0"),
        (
            {"thresholds": [[0, 1], [1]]},
            "channel 1 must have 2 thresholds, not 1",
        ),
        ({"thresholds": [[0, 9], [1, 0]]}, "thresholds of channel 0 must lie in -9..8"),
        ({"thresholds": [[0, -1], [1, 0]]}, "thresholds of channel 0 must ascend"),
        ({"thresholds": [[0, 1], [0, 1]]}, "thresholds of channel 1 must descend"),
        ({"ram_style": "x"}, "ram_style must be one of auto, block, distributed, not 'x'"),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    parameters = {
        "channels": 2,
        "lanes": 1,
        "thresholds": [[0, 1], [1, 0]],
        "directions": [1, -1],
        "input": "int4",
        "output": "uint2",
    }
    with pytest.raises(ValueError) as raised:
        ThresholdUnit(**(parameters | changes))
    assert sentence in str(raised.value)
