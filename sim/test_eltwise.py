import numpy as np
import pytest

from hw.eltwise import AddUnit, ConcatUnit
from hw.label_select import LabelSelect
from sim.cases import Case, pack
from sim.reference import add, some

PIXELS = 30


def _add(lanes: int, a: str, b: str, shifts: tuple[int, int], output: str) -> Case:
    generator = np.random.default_rng(lanes * 10 + shifts[0] + 3 * shifts[1])
    left, right = some(generator, a, (PIXELS, lanes)), some(generator, b, (PIXELS, lanes))
    return Case(
        f"add_{lanes}_{a}_{b}_{shifts[0]}_{shifts[1]}_{output}",
        lambda: AddUnit(lanes=lanes, a=a, b=b, shifts=shifts, output=output),
        {"i_0": pack(a, lanes, left), "i_1": pack(b, lanes, right)},
        {"o": pack(output, lanes, add(left, right, (a, b), shifts, output))},
    )


def _concat(channels: tuple[int, ...], lanes: int, element: str) -> Case:
    generator = np.random.default_rng(sum(channels) + lanes)
    parts = [some(generator, element, (PIXELS, count)) for count in channels]
    return Case(
        f"concat_{'_'.join(map(str, channels))}_{lanes}_{element}",
        lambda: ConcatUnit(channels=channels, lanes=lanes, element=element),
        {f"i_{k}": pack(element, lanes, part) for k, part in enumerate(parts)},
        {"o": pack(element, lanes, np.concatenate(parts, axis=1))},
    )


def _label(channels: int, lanes: int, element: str, alike: bool = False) -> Case:
    scores = some(np.random.default_rng(channels + lanes), element, (PIXELS, channels))
    if alike:
        # Ties everywhere, between beats and within them.
        scores = scores % 2
    labels = []
    for row in scores.tolist():
        best = 0
        for channel, score in enumerate(row):
            if score > row[best]:
                best = channel
        labels.append(best)
    return Case(
        f"label_{channels}_{lanes}_{element}{'_ties' if alike else ''}",
        lambda: LabelSelect(channels=channels, lanes=lanes, input=element),
        {"i": pack(element, lanes, scores)},
        {"o": labels},
    )


CASES = [
    _add(1, "int5", "int5", (0, 0), "int6"),
    _add(4, "int9", "int6", (0, 3), "int9"),
    _add(2, "uint4", "int7", (2, 0), "uint4"),
    _add(3, "uint4", "uint4", (0, 0), "uint5"),
    _add(2, "int4", "int12", (6, 1), "int8"),
    _concat((1, 1), 1, "binary"),
    _concat((4, 8), 4, "uint4"),
    _concat((3, 6, 3), 3, "int5"),
    _concat((2, 4, 6, 2), 1, "binary"),
    _label(10, 1, "int12"),
    _label(10, 2, "int12"),
    _label(10, 10, "int8"),
    _label(1, 1, "int4"),
    _label(2, 2, "int4"),
    _label(12, 3, "uint4"),
    _label(10, 5, "int8", alike=True),
    _label(9, 1, "uint4", alike=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_streams_are_joined_exactly(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)
