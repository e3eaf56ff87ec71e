import numpy as np
import pytest

from hw.window import SlidingWindow
from sim.cases import Case
from sim.reference import pack_map, pack_windows, some, windows

# height, width, channels, kernel, stride, padding, lanes, element
GEOMETRIES = [
    (5, 5, 1, (3, 3), 1, 1, 1, "binary"),
    (5, 4, 3, (3, 3), 1, 0, 1, "uint4"),
    (4, 6, 4, (3, 3), 1, 1, 4, "binary"),
    (7, 7, 2, (3, 3), 2, 1, 1, "int5"),
    (7, 5, 4, (3, 3), 2, 0, 2, "binary"),
    (6, 6, 6, (3, 3), 2, 1, 3, "uint8"),
    (9, 7, 2, (5, 5), 1, 2, 1, "binary"),
    (8, 9, 1, (5, 5), 2, 1, 1, "uint4"),
    (5, 5, 2, (5, 5), 1, 0, 2, "uint2"),
    (5, 5, 4, (1, 1), 2, 0, 2, "uint4"),
    (4, 3, 2, (1, 1), 1, 0, 2, "binary"),
    (6, 5, 2, (3, 1), 1, 0, 1, "int3"),
    (5, 8, 3, (2, 4), 3, 0, 3, "binary"),
    (3, 3, 5, (3, 3), 1, 1, 5, "binary"),
    (1, 1, 2, (3, 3), 1, 1, 1, "binary"),
    (1, 1, 3, (1, 1), 1, 0, 3, "uint8"),
    (7, 7, 8, (3, 3), 3, 1, 8, "binary"),
    (4, 5, 2, (2, 2), 2, 0, 1, "uint4"),
]


def _case(index: int, geometry: tuple) -> Case:
    height, width, channels, kernel, stride, padding, lanes, element = geometry
    maps = some(np.random.default_rng(index), element, (3, height, width, channels))
    taken = windows(maps, kernel, stride, padding)
    return Case(
        f"{height}x{width}x{channels}_k{kernel[0]}x{kernel[1]}_s{stride}_p{padding}_{lanes}_{element}",
        lambda: SlidingWindow(
            height=height,
            width=width,
            channels=channels,
            kernel=kernel,
            stride=stride,
            padding=padding,
            lanes=lanes,
            element=element,
        ),
        {"i": pack_map(element, lanes, maps)},
        {"o": pack_windows(element, lanes, taken)},
    )


CASES = [_case(index, geometry) for index, geometry in enumerate(GEOMETRIES)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_window_is_that_of_the_padded_map(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)
