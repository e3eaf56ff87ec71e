import numpy as np
import pytest

from hw.depthwise import DepthwiseEngine
from sim.cases import Case, pack
from sim.reference import classes, depthwise, int_for, limits, meaning, some, some_weights

FRAMES = 3

# height, width, channels, lanes, taps, activation, weight, border classes, multiplier
GEOMETRIES = [
    (4, 5, 1, 1, 9, "binary", "binary", 3, "lut"),
    (3, 3, 4, 1, 9, "binary", "binary", 3, "lut"),
    (4, 3, 6, 3, 25, "binary", "binary", 2, "lut"),
    (5, 2, 8, 8, 9, "binary", "binary", 3, "lut"),
    (3, 4, 1, 1, 1, "binary", "binary", 1, "lut"),
    (4, 4, 4, 2, 9, "uint4", "int4", 1, "lut"),
    (4, 4, 4, 2, 9, "uint4", "int4", 1, "dsp"),
    (3, 5, 3, 3, 9, "uint4", "int4", 1, "lut"),
    (2, 5, 5, 1, 25, "uint4", "int4", 1, "lut"),
    (3, 3, 6, 2, 9, "int8", "int8", 1, "lut"),
    (4, 4, 2, 1, 9, "uint4", "binary", 1, "lut"),
    (4, 4, 4, 4, 9, "binary", "int4", 3, "lut"),
    (5, 3, 3, 1, 4, "uint8", "int2", 2, "lut"),
]


def _case(index: int, geometry: tuple) -> Case:
    height, width, channels, lanes, taps, activation, weight, border, multiplier = geometry
    generator = np.random.default_rng(300 + index)
    weights = some_weights(generator, weight, (channels, taps))
    rows, columns = classes(generator, height, border), classes(generator, width, border)
    number = (max(rows) + 1) * (max(columns) + 1)
    initial = generator.integers(-20, 21, (number, channels))
    taken = some(generator, activation, (FRAMES, height, width, taps, channels))
    pixel_class = np.add.outer(np.array(rows) * (max(columns) + 1), columns)
    first = np.tile(initial[pixel_class].reshape(-1, channels), (FRAMES, 1))
    sums = depthwise(weights, first, taken.reshape(-1, taps, channels), activation)
    largest = int(max(abs(meaning(activation, np.array(limits(activation))))))
    output = int_for(largest * int(abs(weights).sum(axis=1).max()) + 20)
    # Beats are for each fold of channels tap by tap, lane by lane.
    folded = taken.reshape(FRAMES, height, width, taps, channels // lanes, lanes)
    return Case(
        f"{height}x{width}x{channels}_{lanes}_t{taps}_{activation}_{weight}_{multiplier}",
        lambda: DepthwiseEngine(
            channels=channels,
            lanes=lanes,
            kernel_taps=taps,
            weights=weights.tolist(),
            initial=initial.tolist(),
            height=height,
            width=width,
            row_classes=rows,
            column_classes=columns,
            activation=activation,
            weight=weight,
            output=output,
            multiplier=multiplier,
        ),
        {"i": pack(activation, taps * lanes, folded.transpose(0, 1, 2, 4, 3, 5))},
        {"o": pack(output, lanes, sums)},
    )


CASES = [_case(index, geometry) for index, geometry in enumerate(GEOMETRIES)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_channel_is_the_product_with_its_own_kernel(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)
