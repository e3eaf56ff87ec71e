import numpy as np
import pytest

from hw.fractional import FractionalMVAU
from sim.cases import Case, pack
from sim.reference import classes, fractional, int_for

FRAMES = 2

# height, width, rows, columns, pe, simd, border classes, memory
GEOMETRIES = [
    (2, 3, 1, 1, 1, 1, 1, "auto"),
    (3, 3, 4, 9, 1, 1, 3, "auto"),
    (3, 2, 8, 36, 2, 9, 3, "auto"),
    (3, 3, 6, 18, 6, 18, 2, "auto"),
    (2, 2, 4, 64, 4, 16, 1, "block"),
    (2, 2, 16, 27, 1, 27, 1, "distributed"),
    (1, 1, 10, 144, 2, 36, 1, "auto"),
    (2, 2, 8, 144, 4, 144, 2, "block"),
    (1, 2, 2, 288, 1, 288, 2, "auto"),
]


def _case(index: int, geometry: tuple) -> Case:
    height, width, rows, columns, pe, simd, border, memory = geometry
    generator = np.random.default_rng(900 + index)
    weights = generator.choice([-1, 1], (rows, columns))
    gate = generator.integers(-4, 5, rows)
    gate = np.where(
        generator.random(rows) < 0.3, generator.choice([-columns, columns + 1], rows), gate
    )
    gate[0] = 0
    row_classes = classes(generator, height, border)
    column_classes = classes(generator, width, border)
    number = (max(row_classes) + 1) * (max(column_classes) + 1)
    # Each class of pixels has columns of its own that are padding, and come as zero bits.
    padded = generator.random((number, columns)) < 0.3
    initial = padded.astype(int) @ weights.T
    pixel_class = np.add.outer(np.array(row_classes) * (max(column_classes) + 1), column_classes)
    padding = np.tile(padded[pixel_class.ravel()], (FRAMES, 1))
    vectors = generator.integers(0, 4, (FRAMES * height * width, columns))
    # Sums of the first row that are as far from zero as they can be, and the other way around.
    vectors[0] = np.where(weights[0] > 0, 3, 0)
    vectors[-1] = np.where(weights[0] > 0, 1, 2)
    vectors[padding] = 0
    sums = fractional(weights, gate, vectors, padding)
    output = int_for(3 * columns)
    return Case(
        f"{height}x{width}_{rows}x{columns}_pe{pe}_simd{simd}_{memory}",
        lambda: FractionalMVAU(
            rows=rows,
            cols=columns,
            weights=weights.tolist(),
            gate=gate.tolist(),
            initial=initial.tolist(),
            height=height,
            width=width,
            row_classes=row_classes,
            column_classes=column_classes,
            output=output,
            simd=simd,
            pe=pe,
            ram_style=memory,
        ),
        {"i": pack("uint2", simd, vectors)},
        {"o": pack(output, pe, sums)},
    )


CASES = [_case(index, geometry) for index, geometry in enumerate(GEOMETRIES)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_row_is_the_gated_sum_of_its_planes(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_interval_is_that_of_the_fold(geometry):
    height, width, rows, columns, pe, simd, *_ = geometry
    unit = CASES[GEOMETRIES.index(geometry)].make()
    assert unit.interval == height * width * (rows // pe) * (columns // simd)
