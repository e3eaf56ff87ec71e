"""A small FracBNN with random parameters: RTL equal to golden, in the predicted cycles."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.folding import choose
from hw.level_mvau import LevelMVAU
from model import golden
from model.graph import (
    BINARY,
    Add,
    AvgPool,
    Concat,
    Conv,
    Dense,
    FractionalConv,
    GlobalPool,
    Input,
    LabelSelect,
    Network,
    Operation,
    RPReLU,
    Thermometer,
    Threshold,
    parse_element,
)
from sim.composed import simulate

SIZE = 16
LEVELS = 32
WIDTH = 4

# Cycles a frame to fold for, and frames without stalls and with.
TARGETS = {300: (12, 4), 1024: (12, 2), 5000: (6, 1)}


def _stage(
    rng: np.random.Generator, name: str, source: str, channels: int, outputs: int
) -> list[Operation]:
    """Quantiser, fractional convolution, RPReLU and shortcut, at stride 2 where channels grow."""
    stride = outputs // channels
    cuts = np.sort(rng.integers(-60, 61, (channels, 3)), axis=1)
    residual = parse_element("int12")
    operations = [
        Threshold(
            name=f"{name}_quantise",
            inputs=(source,),
            thresholds=cuts,
            directions=np.ones(channels, int),
            element=parse_element("uint2"),
        ),
        FractionalConv(
            name=f"{name}_conv",
            inputs=(f"{name}_quantise",),
            weights=rng.choice([-1, 1], (outputs, 3, 3, channels)),
            gate=rng.integers(-8, 12, outputs),
            stride=stride,
            padding=1,
        ),
        RPReLU(
            name=f"{name}_rprelu",
            inputs=(f"{name}_conv",),
            threshold=rng.integers(-10, 11, outputs),
            scale=rng.integers(-60, 61, (2, outputs)),
            bias=rng.integers(-900, 900, (2, outputs)),
            shift=4,
            element=residual,
        ),
    ]
    shortcut = source
    if stride == 2:
        operations += [
            AvgPool(name=f"{name}_mean", inputs=(source,), kernel=2, shift=2),
            Concat(name=f"{name}_twice", inputs=(f"{name}_mean", f"{name}_mean")),
        ]
        shortcut = f"{name}_twice"
    operations.append(Add(name=name, inputs=(f"{name}_rprelu", shortcut), element=residual))
    return operations


def mini_fracbnn(seed: int) -> Network:
    rng = np.random.default_rng(seed)
    return Network(
        "fracbnn-mini",
        (
            Input(name="image", height=SIZE, width=SIZE, channels=3),
            Thermometer(
                name="thermometer", inputs=("image",), thresholds=np.arange(LEVELS) * 8 + 4
            ),
            Conv(
                name="conv1",
                inputs=("thermometer",),
                weights=rng.choice([-1, 1], (WIDTH, 3, 3, 3 * LEVELS)),
                weight_type=BINARY,
                padding=1,
            ),
            *_stage(rng, "stage1", "conv1", WIDTH, WIDTH),
            *_stage(rng, "stage2", "stage1", WIDTH, 2 * WIDTH),
            *_stage(rng, "stage3", "stage2", 2 * WIDTH, 4 * WIDTH),
            GlobalPool(name="pool", inputs=("stage3",)),
            Dense(
                name="scores",
                inputs=("pool",),
                weights=rng.integers(-128, 128, (10, 4 * WIDTH)),
                weight_type=parse_element("int8"),
                bias=rng.integers(-5000, 5000, 10),
            ),
            LabelSelect(name="label", inputs=("scores",)),
        ),
        ("scores", "label"),
    )


@pytest.fixture(scope="module")
def network():
    return mini_fracbnn(3)


@pytest.fixture(scope="module")
def images():
    """Noise, smooth pictures, and images of one value: the ends and the middle."""
    rng = np.random.default_rng(4)
    shape = (SIZE, SIZE, 3)
    slopes = np.linspace(0, 255, SIZE)[:, None, None] * rng.random((4, 1, SIZE, 3))
    flat = [np.full(shape, value) for value in (0, 255, 128)]
    noise = rng.integers(0, 256, (5, *shape))
    return np.concatenate([noise[:3], flat, slopes, noise[3:]]).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(network, images):
    return golden.run(network, images, keep="all")


@pytest.fixture(scope="module")
def accelerator(network):
    return cache(
        lambda target: Accelerator(network=network, folding=choose(network, target_cycles=target))
    )


def assert_equal(outputs: dict, expected: dict, frames: int) -> None:
    assert set(outputs) == {"scores", "label"}
    for name, tensor in outputs.items():
        differing = (tensor != expected[name][:frames]).reshape(frames, -1).any(axis=1)
        assert not differing.any(), f"{name} differs in frames {np.flatnonzero(differing).tolist()}"


@pytest.mark.parametrize("target", TARGETS)
def test_scores_equal_golden_in_the_predicted_cycles(target, accelerator, images, expected):
    frames = TARGETS[target][0]
    chosen = accelerator(target)
    result = simulate(chosen, images[:frames], optimise=0)
    assert_equal(result.outputs, expected, frames)
    ends = result.ends["scores"]
    known = min(len(ends), len(chosen.ends))
    assert ends[:known] == chosen.ends[:known]
    assert ends[0] == chosen.latency
    assert ends[-1] - ends[-2] == chosen.interval <= target


@pytest.mark.parametrize("target", TARGETS)
def test_stalls_change_no_score(target, accelerator, images, expected):
    frames = TARGETS[target][1]
    result = simulate(accelerator(target), images[:frames], stalls=target, optimise=0)
    assert_equal(result.outputs, expected, frames)


def test_thermometer_levels_are_looked_up(accelerator):
    engines = [node.unit for node in accelerator(1024).nodes if node.name == "conv1_mvau"]
    assert [type(unit) for unit in engines] == [LevelMVAU]


def test_gates_open_and_close_and_scores_differ(network, images, expected):
    op = network.operation("stage1_conv")
    closed = replace(op, gate=np.full_like(op.gate, 9 * WIDTH + 1))
    operations = tuple(closed if other is op else other for other in network.operations)
    alike = Network(network.name, operations, network.outputs)
    upper = golden.run(alike, images, keep="all")[op.name] // 2
    assert 0.1 < (upper >= op.gate).mean() < 0.9
    scores = expected["scores"].reshape(len(images), -1)
    assert len({tuple(row) for row in scores.tolist()}) == len(scores)
