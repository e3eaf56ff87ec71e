import random

import pytest
from amaranth.hdl import unsigned

from hw.label_select import LabelSelect
from hw.lanes import element_range
from tests.check import check
from tests.streams import beats


def random_scores(element, channels, seed):
    """Frames of scores in which the largest one often stands more than once."""
    source = random.Random(seed)
    lo, hi = (0, 1) if element == "binary" else element_range(element)
    frames = [[source.randint(lo, hi) for _ in range(channels)] for _ in range(12)]
    frames += [[source.choice((lo, lo + 1)) for _ in range(channels)] for _ in range(6)]
    frames += [[source.choice((hi - 1, hi)) for _ in range(channels)] for _ in range(6)]
    # All equal; one winner at each place.
    frames += [[lo] * channels, [hi] * channels]
    frames += [[hi if c == k else lo for c in range(channels)] for k in range(channels)]
    return frames


@pytest.mark.parametrize("element", ["binary", "uint4", "int12"])
@pytest.mark.parametrize(
    ("channels", "lanes"),
    [
        (1, 1),
        (2, 1),
        (2, 2),
        (3, 3),
        (10, 1),
        (10, 2),
        (10, 5),
        (10, 10),
        (16, 4),
        (17, 1),
        (17, 17),
        (18, 6),
    ],
)
def test_lowest_index_of_the_largest_score(channels, lanes, element):
    frames = random_scores(element, channels, f"{channels} {lanes} {element}")
    check(
        lambda: LabelSelect(channels=channels, lanes=lanes, input=element),
        {"i": beats(element, lanes, [score for scores in frames for score in scores])},
        {"o": [scores.index(max(scores)) for scores in frames]},
        seeds=(1, 2, 3),
    )


def test_label_is_as_wide_as_the_largest_index():
    widths = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 10: 4, 16: 4, 17: 5}
    for channels, width in widths.items():
        unit = LabelSelect(channels=channels, lanes=1, input="int8")
        assert unit.o.payload.shape() == unit.label_shape == unsigned(width)


@pytest.mark.parametrize(("lanes", "latency"), [(1, 1), (2, 2), (3, 3), (4, 3), (6, 4), (12, 5)])
def test_latency_grows_with_the_rounds_of_a_beat(lanes, latency):
    unit = LabelSelect(channels=12, lanes=lanes, input="int8")
    assert unit.timing.latency == latency
    assert unit.interval == 12 // lanes


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"channels": 0}, "channels must be a positive integer, not 0"),
        ({"lanes": 3}, "channels must be a multiple of lanes, not 10 and 3"),
        ({"lanes": 0}, "count of lanes must be a positive integer, not 0"),
        ({"input": "score"}, "element must be 'binary', 'uintK' or 'intK', not 'score'"),
    ],
)
def test_refuses_bad_parameters(parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        LabelSelect(**({"channels": 10, "lanes": 1, "input": "int8"} | parameters))
