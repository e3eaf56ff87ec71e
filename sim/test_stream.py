import numpy as np
import pytest

from hw.lanes import lanes
from hw.stream import Fork, SkidBuffer, StreamFIFO, WidthConverter
from sim.cases import Case, pack


def _words(seed: int, count: int = 60, width: int = 15) -> list[int]:
    return np.random.default_rng(seed).integers(0, 1 << width, count).tolist()


def _fifo(depth: int, ram_style: str) -> Case:
    words = _words(depth)
    return Case(
        f"fifo_{depth}_{ram_style}",
        lambda: StreamFIFO(shape=lanes("int5", 3), depth=depth, ram_style=ram_style),
        {"i": words},
        {"o": words},
    )


def _converter(element: str, i_lanes: int, o_lanes: int) -> Case:
    generator = np.random.default_rng(i_lanes * 100 + o_lanes)
    low, high = {"binary": (0, 2), "uint4": (0, 16), "int7": (-64, 64)}[element]
    channels = generator.integers(low, high, 240)
    return Case(
        f"converter_{element}_{i_lanes}_{o_lanes}",
        lambda: WidthConverter(element=element, i_lanes=i_lanes, o_lanes=o_lanes),
        {"i": pack(element, i_lanes, channels)},
        {"o": pack(element, o_lanes, channels)},
    )


CASES = [
    Case("skid", lambda: SkidBuffer(shape=lanes("int5", 3)), {"i": _words(1)}, {"o": _words(1)}),
    *(_fifo(depth, "distributed") for depth in (1, 2, 3, 7, 16)),
    *(_fifo(depth, "block") for depth in (1, 2, 3, 65)),
    *(
        Case(
            f"fork_{n}",
            lambda n=n: Fork(shape=lanes("int5", 3), n=n),
            {"i": _words(n)},
            {f"o_{k}": _words(n) for k in range(n)},
        )
        for n in (1, 2, 4)
    ),
    *(
        _converter(*sizes)
        for sizes in (
            ("binary", 1, 1), ("binary", 1, 8), ("binary", 12, 4), ("uint4", 3, 3),
            ("uint4", 5, 1), ("int7", 2, 6), ("int7", 20, 1), ("int7", 1, 3),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_beat_comes_once_and_in_order(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)
