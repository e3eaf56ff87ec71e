import numpy as np
import pytest

from hw.depthwise import DepthwiseEngine
from hw.dsc import DSCEngine
from hw.mvau import MVAU
from hw.schedule import Pipeline
from hw.threshold import ThresholdUnit
from sim.cases import Case, pack
from sim.reference import (
    classes,
    depthwise,
    int_for,
    limits,
    matrix,
    meaning,
    some,
    some_weights,
    threshold,
)

FRAMES = 2

# height, width, channels, rows, taps, element, weight, levels, lanes, pe, simd, border classes
GEOMETRIES = [
    (3, 4, 4, 8, 9, "uint4", "int4", 15, 2, 4, 4, 1),
    (4, 3, 6, 3, 9, "uint4", "int4", 15, 6, 1, 2, 1),
    (3, 3, 1, 2, 9, "uint4", "int4", 7, 1, 1, 1, 1),
    (3, 4, 8, 4, 9, "binary", "binary", 1, 4, 4, 8, 3),
    (4, 3, 4, 4, 25, "uint4", "int4", 15, 2, 2, 4, 1),
    (2, 5, 6, 6, 25, "binary", "binary", 1, 2, 2, 3, 2),
    (1, 1, 4, 4, 1, "binary", "binary", 1, 1, 4, 4, 1),
]


def _largest(element: str) -> int:
    return int(max(abs(meaning(element, np.array(limits(element))))))


def _case(index: int, geometry: tuple) -> Case:
    height, width, channels, rows, taps, element, weight, levels, lanes, pe, simd, border = geometry
    generator = np.random.default_rng(700 + index)
    kernels = some_weights(generator, weight, (channels, taps))
    weights = some_weights(generator, weight, (rows, channels))
    row_classes, column_classes = (classes(generator, size, border) for size in (height, width))
    number = (max(row_classes) + 1) * (max(column_classes) + 1)
    initial = generator.integers(-6, 7, (number, channels))
    middle = int_for(_largest(element) * int(abs(kernels).sum(axis=1).max()) + 6)
    spread = taps if element == "binary" else 40
    thresholds = np.sort(generator.integers(-spread, spread, (channels, levels)), axis=1)
    directions = generator.choice([-1, 1], channels)
    thresholds[directions < 0] = thresholds[directions < 0][:, ::-1]
    output = int_for(_largest(element) * int(abs(weights).sum(axis=1).max()))

    taken = some(generator, element, (FRAMES, height, width, taps, channels))
    pixel_class = np.add.outer(np.array(row_classes) * (max(column_classes) + 1), column_classes)
    first = np.tile(initial[pixel_class].reshape(-1, channels), (FRAMES, 1))
    sums = depthwise(kernels, first, taken.reshape(-1, taps, channels), element)
    between = threshold(sums, thresholds, directions)
    result = matrix(weights, np.zeros((len(between), rows), dtype=int), between, element)

    def make() -> DSCEngine:
        return DSCEngine(
            depthwise=DepthwiseEngine(
                channels=channels,
                lanes=lanes,
                kernel_taps=taps,
                weights=kernels.tolist(),
                initial=initial.tolist(),
                height=height,
                width=width,
                row_classes=row_classes,
                column_classes=column_classes,
                activation=element,
                weight=weight,
                output=middle,
            ),
            threshold=ThresholdUnit(
                channels=channels,
                lanes=lanes,
                thresholds=thresholds.tolist(),
                directions=directions.tolist(),
                input=middle,
                output=element,
            ),
            pointwise=MVAU(
                rows=rows,
                cols=channels,
                weights=weights.tolist(),
                initial=[[0] * rows],
                height=height,
                width=width,
                row_classes=[0] * height,
                column_classes=[0] * width,
                activation=element,
                weight=weight,
                output=output,
                simd=simd,
                pe=pe,
            ),
        )

    folded = taken.reshape(FRAMES, height, width, taps, channels // lanes, lanes)
    return Case(
        f"{height}x{width}x{channels}_{rows}_t{taps}_{element}_{lanes}_{pe}_{simd}",
        make,
        {"i": pack(element, taps * lanes, folded.transpose(0, 1, 2, 4, 3, 5))},
        {"o": pack(output, pe, result)},
    )


CASES = [_case(index, geometry) for index, geometry in enumerate(GEOMETRIES)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_three_parts_follow_each_other_exactly(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    pipeline = Pipeline()
    pipeline.add_source("i", len(case.inputs["i"]))
    source = ("i", 0)
    for name, unit in case.make().units.items():
        pipeline.add(name, unit.timing, [source])
        source = (name, 0)
    pipeline.add_sink(source)
    given = pipeline.taken_at[source]
    pipeline.run(lambda: len(given) == len(case.expected["o"]), 100_000)
    assert played.cycles(case) == {"i": pipeline.taken_at["i", 0], "o": given}
