import numpy as np
import pytest

from hw.mvau import MVAU
from sim.cases import Case, pack
from sim.reference import classes, int_for, limits, matrix, meaning, some, some_weights

FRAMES = 2

# height, width, rows, columns, pe, simd, activation, weight, border classes, memory, multiplier
GEOMETRIES = [
    (2, 3, 1, 1, 1, 1, "binary", "binary", 1, "auto", "lut"),
    (3, 3, 4, 9, 1, 1, "binary", "binary", 3, "auto", "lut"),
    (3, 2, 8, 36, 2, 9, "binary", "binary", 3, "auto", "lut"),
    (3, 3, 6, 18, 6, 18, "binary", "binary", 2, "auto", "lut"),
    (2, 2, 4, 64, 4, 16, "binary", "binary", 1, "block", "lut"),
    (2, 2, 16, 27, 1, 27, "binary", "binary", 1, "distributed", "lut"),
    (1, 1, 10, 144, 2, 36, "binary", "binary", 1, "auto", "lut"),
    (4, 3, 4, 9, 4, 9, "uint8", "int8", 1, "auto", "lut"),
    (3, 3, 6, 9, 3, 1, "uint8", "int4", 1, "auto", "lut"),
    (2, 2, 8, 16, 4, 4, "uint4", "int4", 1, "block", "lut"),
    (2, 2, 8, 16, 4, 4, "uint4", "int4", 1, "auto", "dsp"),
    (2, 3, 5, 6, 5, 3, "int6", "int5", 1, "auto", "dsp"),
    (2, 2, 3, 25, 1, 5, "uint4", "binary", 1, "auto", "lut"),
    (2, 2, 6, 12, 2, 12, "int9", "binary", 1, "auto", "lut"),
    (3, 2, 4, 10, 2, 5, "binary", "int4", 3, "auto", "lut"),
    (1, 1, 10, 32, 1, 1, "int12", "int8", 1, "auto", "lut"),
    (1, 1, 3, 4, 3, 1, "int12", "int8", 1, "auto", "dsp"),
]


def _case(index: int, geometry: tuple) -> Case:
    height, width, rows, columns, pe, simd, activation, weight, border, memory, multiply = geometry
    generator = np.random.default_rng(400 + index)
    weights = some_weights(generator, weight, (rows, columns))
    row_classes = classes(generator, height, border)
    column_classes = classes(generator, width, border)
    number = (max(row_classes) + 1) * (max(column_classes) + 1)
    initial = generator.integers(-20, 21, (number, rows))
    pixel_class = np.add.outer(np.array(row_classes) * (max(column_classes) + 1), column_classes)
    first = np.tile(initial[pixel_class].reshape(-1, rows), (FRAMES, 1))
    vectors = some(generator, activation, (FRAMES * height * width, columns))
    # One vector for which the first row's sum is as far from zero as it can be.
    vectors[0] = np.where(weights[0] > 0, vectors.max(), vectors.min())
    sums = matrix(weights, first, vectors, activation)
    largest = int(max(abs(meaning(activation, np.array(limits(activation))))))
    output = int_for(largest * int(abs(weights).sum(axis=1).max()) + 20)
    return Case(
        f"{height}x{width}_{rows}x{columns}_pe{pe}_simd{simd}_{activation}_{weight}_{memory}_{multiply}",
        lambda: MVAU(
            rows=rows,
            cols=columns,
            weights=weights.tolist(),
            initial=initial.tolist(),
            height=height,
            width=width,
            row_classes=row_classes,
            column_classes=column_classes,
            activation=activation,
            weight=weight,
            output=output,
            simd=simd,
            pe=pe,
            ram_style=memory,
            multiplier=multiply,
        ),
        {"i": pack(activation, simd, vectors)},
        {"o": pack(output, pe, sums)},
    )


CASES = [_case(index, geometry) for index, geometry in enumerate(GEOMETRIES)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_row_is_the_exact_product(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_interval_is_that_of_the_fold(geometry):
    height, width, rows, columns, pe, simd, *_ = geometry
    unit = CASES[GEOMETRIES.index(geometry)].make()
    assert unit.interval == height * width * (rows // pe) * (columns // simd)
