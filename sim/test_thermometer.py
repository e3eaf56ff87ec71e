import numpy as np
import pytest

from hw.level_mvau import LevelMVAU
from hw.thermometer import ThermometerUnit
from sim.cases import Case, pack
from sim.reference import classes, int_for, matrix, thermometer

FRAMES = 2

# height, width, rows, lanes, levels, pe, lanes a cycle, border classes, memory
GEOMETRIES = [
    (2, 3, 1, 1, 1, 1, 1, 1, "auto"),
    (3, 3, 4, 9, 3, 1, 1, 3, "auto"),
    (3, 2, 8, 12, 4, 2, 6, 3, "distributed"),
    (2, 2, 8, 27, 32, 2, 27, 2, "block"),
    (2, 2, 4, 27, 32, 4, 9, 2, "auto"),
    (1, 1, 5, 10, 7, 5, 5, 1, "auto"),
]

# lanes, levels
THERMOMETERS = [(1, 1), (1, 2), (3, 32), (2, 7)]


def _levels(generator: np.random.Generator, levels: int, shape: tuple) -> np.ndarray:
    """Random levels; both ends are frequent."""
    numbers = generator.integers(0, levels, shape, endpoint=True)
    return np.where(generator.random(shape) < 0.3, generator.choice([0, levels], shape), numbers)


def _engine(index: int, geometry: tuple) -> Case:
    height, width, rows, lanes, levels, pe, folded, border, memory = geometry
    generator = np.random.default_rng(950 + index)
    columns = lanes * levels
    weights = generator.choice([-1, 1], (rows, columns))
    row_classes = classes(generator, height, border)
    column_classes = classes(generator, width, border)
    number = (max(row_classes) + 1) * (max(column_classes) + 1)
    initial = generator.integers(-20, 21, (number, rows))
    pixel_class = np.add.outer(np.array(row_classes) * (max(column_classes) + 1), column_classes)
    first = np.tile(initial[pixel_class].reshape(-1, rows), (FRAMES, 1))
    vectors = _levels(generator, levels, (FRAMES * height * width, lanes))
    sums = matrix(weights, first, thermometer(vectors, levels), "binary")
    output = int_for(columns + 20)
    return Case(
        f"{height}x{width}_{rows}x{lanes}_levels{levels}_pe{pe}_lanes{folded}_{memory}",
        lambda: LevelMVAU(
            rows=rows,
            cols=columns,
            levels=levels,
            weights=weights.tolist(),
            initial=initial.tolist(),
            height=height,
            width=width,
            row_classes=row_classes,
            column_classes=column_classes,
            output=output,
            simd=folded * levels,
            pe=pe,
            ram_style=memory,
        ),
        {"i": pack(f"uint{levels.bit_length()}", folded, vectors)},
        {"o": pack(output, pe, sums)},
    )


def _thermometer(index: int, lanes: int, levels: int) -> Case:
    numbers = _levels(np.random.default_rng(980 + index), levels, (20, lanes))
    return Case(
        f"thermometer_{lanes}x{levels}",
        lambda: ThermometerUnit(lanes=lanes, levels=levels),
        {"i": pack(f"uint{levels.bit_length()}", lanes, numbers)},
        {"o": pack("binary", lanes * levels, thermometer(numbers, levels))},
    )


CASES = [_engine(index, geometry) for index, geometry in enumerate(GEOMETRIES)]
CASES += [_thermometer(index, *pair) for index, pair in enumerate(THERMOMETERS)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_levels_count_as_their_bits(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)
