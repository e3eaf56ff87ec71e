import numpy as np
import pytest

from hw.pool import PoolUnit
from sim.cases import Case
from sim.reference import pack_map, pool, some

# height, width, channels, lanes, kernel, mode, shift, input, output
GEOMETRIES = [
    (4, 4, 1, 1, (2, 2), "max", 0, "binary", "binary"),
    (5, 7, 4, 2, (2, 2), "max", 0, "uint4", "uint4"),
    (6, 6, 3, 3, (3, 3), "max", 0, "int6", "int6"),
    (4, 4, 2, 1, (1, 1), "max", 0, "int6", "int6"),
    (4, 5, 6, 2, (4, 5), "max", 0, "int6", "int6"),
    (5, 4, 4, 4, (2, 2), "sum", 2, "uint4", "uint4"),
    (7, 7, 2, 1, (3, 3), "sum", 0, "binary", "int5"),
    (4, 4, 4, 1, (2, 2), "sum", 1, "binary", "int3"),
    (7, 7, 8, 2, (7, 7), "sum", 6, "int9", "int9"),
    (3, 5, 1, 1, (3, 5), "sum", 4, "uint8", "uint8"),
    (1, 1, 4, 2, (1, 1), "sum", 0, "int5", "int5"),
    (6, 4, 3, 1, (3, 2), "sum", 3, "int5", "int5"),
]


def _case(index: int, geometry: tuple) -> Case:
    height, width, channels, lanes, kernel, mode, shift, element, output = geometry
    maps = some(np.random.default_rng(100 + index), element, (3, height, width, channels))
    return Case(
        f"{height}x{width}x{channels}_{lanes}_{mode}{kernel[0]}x{kernel[1]}_{element}",
        lambda: PoolUnit(
            height=height,
            width=width,
            channels=channels,
            lanes=lanes,
            kernel=kernel,
            mode=mode,
            shift=shift,
            input=element,
            output=output,
        ),
        {"i": pack_map(element, lanes, maps)},
        {"o": pack_map(output, lanes, pool(maps, kernel, mode, shift, element))},
    )


CASES = [_case(index, geometry) for index, geometry in enumerate(GEOMETRIES)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_window_is_pooled_and_the_rest_dropped(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)
