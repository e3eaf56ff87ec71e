import numpy as np
import pytest

from hw.affine import AffineUnit, RPReLUUnit
from hw.threshold import ThresholdUnit
from sim.cases import Case, pack
from sim.reference import affine, limits, rprelu, some, threshold

PIXELS = 40


def _pixels(generator: np.random.Generator, element: str, channels: int) -> np.ndarray:
    return some(generator, element, (PIXELS, channels))


def _threshold(channels: int, lanes: int, count: int, element: str, output: str) -> Case:
    generator = np.random.default_rng(channels * 50 + count)
    low, high = limits(element)
    # From one below to one above what the input can be, some of them equal.
    thresholds = np.sort(generator.integers(low - 1, high + 2, (channels, count)), axis=1)
    if count > 2:
        thresholds[:, 1] = thresholds[:, 0]
    directions = generator.choice([-1, 1], channels)
    directions[0] = -1
    thresholds[directions < 0] = thresholds[directions < 0][:, ::-1]
    values = _pixels(generator, element, channels)
    # Values at the thresholds and beside them.
    near = thresholds[np.arange(channels), generator.integers(0, count, (PIXELS, channels))]
    near = np.clip(near + generator.integers(-1, 2, near.shape), low, high)
    values = np.where(generator.random(values.shape) < 0.5, near, values)
    return Case(
        f"threshold_{channels}_{lanes}_{count}_{element}_{output}",
        lambda: ThresholdUnit(
            channels=channels,
            lanes=lanes,
            thresholds=thresholds.tolist(),
            directions=directions.tolist(),
            input=element,
            output=output,
        ),
        {"i": pack(element, lanes, values)},
        {"o": pack(output, lanes, threshold(values, thresholds, directions))},
    )


def _affine(channels: int, lanes: int, element: str, shift: int, output: str) -> Case:
    generator = np.random.default_rng(channels * 70 + shift)
    scale = generator.integers(-60, 60, channels)
    bias = generator.integers(-500, 500, channels)
    values = _pixels(generator, element, channels)
    return Case(
        f"affine_{channels}_{lanes}_{element}_{shift}_{output}",
        lambda: AffineUnit(
            channels=channels,
            lanes=lanes,
            scale=scale.tolist(),
            bias=bias.tolist(),
            shift=shift,
            input=element,
            output=output,
        ),
        {"i": pack(element, lanes, values)},
        {"o": pack(output, lanes, affine(values, scale, bias, shift, output))},
    )


def _rprelu(channels: int, lanes: int, element: str, shift: int, output: str) -> Case:
    generator = np.random.default_rng(channels * 90 + shift)
    low, high = limits(element)
    bend = generator.integers(low, high + 2, channels)
    scale = generator.integers(-60, 60, (2, channels))
    bias = generator.integers(-500, 500, (2, channels))
    values = _pixels(generator, element, channels)
    at_bend = np.clip(bend + generator.integers(-1, 2, values.shape), low, high)
    values = np.where(generator.random(values.shape) < 0.4, at_bend, values)
    return Case(
        f"rprelu_{channels}_{lanes}_{element}_{shift}_{output}",
        lambda: RPReLUUnit(
            channels=channels,
            lanes=lanes,
            threshold=bend.tolist(),
            scale=scale.tolist(),
            bias=bias.tolist(),
            shift=shift,
            input=element,
            output=output,
        ),
        {"i": pack(element, lanes, values)},
        {"o": pack(output, lanes, rprelu(values, bend, scale, bias, shift, output))},
    )


CASES = [
    _threshold(1, 1, 1, "int5", "binary"),
    _threshold(8, 2, 1, "int9", "binary"),
    _threshold(6, 6, 1, "int12", "binary"),
    _threshold(4, 1, 1, "uint4", "uint1"),
    _threshold(3, 1, 3, "int8", "uint2"),
    _threshold(4, 4, 15, "int12", "uint4"),
    _threshold(8, 2, 15, "int16", "uint4"),
    _threshold(5, 1, 7, "uint8", "uint4"),
    _threshold(2, 2, 2, "int6", "uint2"),
    _threshold(4, 2, 11, "int10", "uint4"),
    _affine(1, 1, "int8", 0, "int16"),
    _affine(4, 2, "int9", 4, "int8"),
    _affine(6, 6, "uint4", 3, "uint4"),
    _affine(5, 1, "int12", 10, "int6"),
    _rprelu(1, 1, "int8", 3, "int8"),
    _rprelu(6, 2, "int9", 5, "int8"),
    _rprelu(4, 4, "int12", 7, "uint4"),
    _rprelu(3, 1, "uint6", 0, "int14"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_channel_has_its_own_parameters(case, played):
    played.check_beats(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beats_move_in_the_predicted_cycles(case, played):
    played.check_cycles(case)
