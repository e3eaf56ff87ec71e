import random

import pytest

from hw.eltwise import AddUnit, ConcatUnit
from hw.lanes import element_range
from hw.timing import Steps
from tests.check import check
from tests.streams import beats


def random_channels(element, count, seed):
    """Numbers of an element, those at the ends of the range often among them."""
    source = random.Random(seed)
    lo, hi = element_range(element)
    if element == "binary":
        return [source.choice((lo, hi)) for _ in range(count)]
    return [source.choice((lo, hi, source.randint(lo, hi))) for _ in range(count)]


def stored(element, channels):
    return [(c + 1) // 2 for c in channels] if element == "binary" else channels


@pytest.mark.parametrize("lanes", [1, 3, 8])
@pytest.mark.parametrize(
    ("a", "b", "shifts", "output"),
    [
        ("int8", "int8", (0, 0), "int8"),
        ("int8", "int8", (0, 0), "int9"),
        ("uint4", "uint4", (0, 0), "uint4"),
        ("uint4", "uint4", (0, 0), "int4"),
        ("int6", "uint4", (0, 2), "uint5"),
        ("int3", "int12", (5, 0), "int10"),
        ("binary", "int4", (2, 0), "int4"),
        ("uint8", "binary", (0, 3), "uint8"),
        ("binary", "binary", (0, 0), "int3"),
        ("binary", "binary", (1, 0), "uint2"),
        ("int1", "uint1", (0, 0), "int2"),
    ],
)
def test_adds_with_shifts_and_saturation(a, b, shifts, output, lanes):
    i_0, i_1 = (random_channels(e, 48 * lanes, f"{e} {n} {output}") for n, e in enumerate((a, b)))
    lo, hi = element_range(output)
    sums = [
        max(lo, min(hi, x * 2 ** shifts[0] + y * 2 ** shifts[1]))
        for x, y in zip(i_0, i_1, strict=True)
    ]
    check(
        lambda: AddUnit(lanes=lanes, a=a, b=b, shifts=shifts, output=output),
        {"i_0": beats(a, lanes, stored(a, i_0)), "i_1": beats(b, lanes, stored(b, i_1))},
        {"o": beats(output, lanes, sums)},
        seeds=(1, 2, 3),
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lanes": 0}, "count of lanes must be a positive integer, not 0"),
        ({"a": "word"}, "element must be 'binary', 'uintK' or 'intK', not 'word'"),
        ({"b": "int0"}, "element must be 'binary', 'uintK' or 'intK', not 'int0'"),
        ({"shifts": (1,)}, "shifts must be two non-negative integers, not \\(1,\\)"),
        ({"shifts": (0, -1)}, "shifts must be two non-negative integers, not \\(0, -1\\)"),
        ({"output": "binary"}, "output must be a number, not binary"),
    ],
)
def test_add_refuses_bad_parameters(changes, sentence):
    parameters = {"lanes": 2, "a": "int4", "b": "int4", "shifts": (0, 0), "output": "int5"}
    with pytest.raises(ValueError, match=sentence):
        AddUnit(**(parameters | changes))


@pytest.mark.parametrize(
    ("channels", "lanes", "element"),
    [
        ((1,), 1, "binary"),
        ((1, 1), 1, "uint4"),
        ((4, 4), 4, "binary"),
        ((4, 2), 1, "int7"),
        ((2, 6, 4), 2, "uint4"),
        ((8, 1, 3, 2), 1, "binary"),
    ],
)
def test_concatenates_pixels_back_to_back(channels, lanes, element):
    pixels = 3 * 5
    inputs = [
        stored(element, random_channels(element, pixels * count, f"{k} {count}"))
        for k, count in enumerate(channels)
    ]
    joined = []
    for pixel in range(pixels):
        for count, values in zip(channels, inputs, strict=True):
            joined += values[pixel * count : (pixel + 1) * count]
    run = check(
        lambda: ConcatUnit(channels=channels, lanes=lanes, element=element),
        {f"i_{k}": beats(element, lanes, values) for k, values in enumerate(inputs)},
        {"o": beats(element, lanes, joined)},
        seeds=(1, 2, 3, 4),
    )
    assert run.cycles["o"] == list(range(1, pixels * sum(channels) // lanes + 1))


def test_concat_timing_takes_turns():
    unit = ConcatUnit(channels=(4, 2), lanes=2, element="uint4")
    assert unit.timing == Steps(consumes=((1, 1, 0), (0, 0, 1)), emits=(1, 1, 1), latency=1)
    assert unit.interval == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channels": ()}, "channels must be positive integers, not \\(\\)"),
        ({"channels": (2, 0)}, "channels must be positive integers, not \\(2, 0\\)"),
        ({"channels": (4, 3)}, "channels must be multiples of lanes, not 3 and 2"),
        ({"lanes": -1}, "count of lanes must be a positive integer, not -1"),
        ({"element": "int"}, "element must be 'binary', 'uintK' or 'intK', not 'int'"),
    ],
)
def test_concat_refuses_bad_parameters(changes, sentence):
    parameters = {"channels": (2, 4), "lanes": 2, "element": "uint4"}
    with pytest.raises(ValueError, match=sentence):
        ConcatUnit(**(parameters | changes))
