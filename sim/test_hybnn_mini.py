"""The shipped network as a whole: RTL equal to golden on real images, in the predicted cycles."""

import warnings
from functools import cache

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.folding import choose
from model import golden
from model.data import load_split
from model.graph import load
from sim.composed import simulate

# Cycles a frame to fold for, and images without stalls and with.
TARGETS = {4000: (200, 12), 1000: (48, 12), 16000: (26, 2)}


@pytest.fixture(scope="module")
def network():
    return load("hybnn-mini")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Images of the test set, or random ones where it is not installed."""
    try:
        return load_split("test")[0][:200]
    except ValueError as error:
        warnings.warn(f"random images instead of Fashion-MNIST: {error}", stacklevel=1)
        return np.random.default_rng(5).integers(0, 256, (200, 28, 28, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(network, images):
    return golden.run(network, images)


@pytest.fixture(scope="module")
def accelerator(network):
    return cache(
        lambda target: Accelerator(network=network, folding=choose(network, target_cycles=target))
    )


def assert_equal(outputs: dict, expected: dict, frames: int) -> None:
    for name, tensor in expected.items():
        differing = (outputs[name] != tensor[:frames]).reshape(frames, -1).any(axis=1)
        assert not differing.any(), f"{name} differs in frames {np.flatnonzero(differing).tolist()}"


@pytest.mark.parametrize("target", TARGETS)
def test_scores_equal_golden_in_the_predicted_cycles(target, accelerator, images, expected):
    frames = TARGETS[target][0]
    chosen = accelerator(target)
    result = simulate(chosen, images[:frames], optimise=0)
    assert_equal(result.outputs, expected, frames)
    ends = result.ends["scores"]
    assert ends[: len(chosen.ends)] == chosen.ends
    assert ends[0] == chosen.latency
    # Every frame of the steady state, not only one.
    assert {*np.diff(ends[len(chosen.ends) - 2 :]).tolist()} == {chosen.interval}
    assert chosen.interval <= target


@pytest.mark.parametrize("target", TARGETS)
def test_fifos_fill_as_far_as_predicted(target, accelerator, images):
    chosen = accelerator(target)
    marks = simulate(chosen, images[:3], optimise=0).high_water
    predicted = chosen.play(frames=3).high_water
    assert marks == {name: predicted[name] for name in marks}
    assert any(marks.values())


@pytest.mark.parametrize("target", TARGETS)
def test_stalls_change_no_score(target, accelerator, images, expected):
    frames = TARGETS[target][1]
    for seed in (1, 2):
        result = simulate(accelerator(target), images[:frames], stalls=seed, optimise=0)
        assert_equal(result.outputs, expected, frames)


def test_golden_labels_are_the_largest_scores(expected):
    scores = expected["scores"].reshape(len(expected["scores"]), -1)
    assert (expected["label"].ravel() == scores.argmax(axis=1)).all()
