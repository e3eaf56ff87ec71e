"""FracBNN with its released parameters: RTL equal to golden on real images, in predicted cycles.

The parameters and the images are read from the folder that BITWRIGHT_DATA names.
"""

from functools import cache

import numpy as np
import pytest

from boards.devices import budget_of, find_device
from hw.accelerator import Accelerator
from hw.folding import choose
from model import golden, graph
from model.cifar10 import FOLDER
from model.data import dataset_folder, load_split, missing
from model.import_fracbnn import main as import_fracbnn
from sim.composed import simulate

# Cycles a frame: what is asked for everywhere, and with fewer cycles where time allows.
TARGETS = (4096, pytest.param(8192, marks=pytest.mark.slow))

IMAGES = 64


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    if missing("fracbnn"):
        pytest.skip(missing("fracbnn"))
    out = tmp_path_factory.mktemp("fracbnn")
    source = dataset_folder("fracbnn") / "fracbnn_cifar10_float.npz"
    assert import_fracbnn([str(source), "--out", str(out)]) == 0
    return graph.load(out)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Images of the test set, after them the darkest, the brightest and noise."""
    if missing(FOLDER):
        pytest.skip(missing(FOLDER))
    real = load_split("test", image=(32, 32, 3))[0][:IMAGES]
    noise = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    even = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (0, 255)])
    return np.concatenate([real, even, noise])


@pytest.fixture(scope="module")
def expected(network, images):
    return golden.run(network, images)


@pytest.fixture(scope="module")
def accelerator(network):
    device = budget_of(find_device("xczu3eg"))

    def make(target: int) -> Accelerator:
        folding = choose(network, target_cycles=target, device=device)
        return Accelerator(network=network, folding=folding)

    return cache(make)


def assert_equal(outputs: dict, expected: dict, frames: slice) -> None:
    for name, tensor in expected.items():
        right = tensor[frames]
        differing = (outputs[name] != right).reshape(len(right), -1).any(axis=1)
        assert not differing.any(), f"{name} differs in frames {np.flatnonzero(differing).tolist()}"


@pytest.mark.parametrize("target", TARGETS)
def test_scores_equal_golden_in_the_predicted_cycles(target, accelerator, images, expected):
    chosen = accelerator(target)
    result = simulate(chosen, images)
    assert_equal(result.outputs, expected, slice(None))
    ends = result.ends["scores"]
    assert ends[: len(chosen.ends)] == chosen.ends
    assert ends[0] == chosen.latency
    assert {*np.diff(ends[len(chosen.ends) - 2 :]).tolist()} == {chosen.interval}
    assert chosen.interval <= target


@pytest.mark.parametrize("target", TARGETS)
def test_stalls_change_no_score(target, accelerator, images, expected):
    few = slice(IMAGES - 4, None)
    for seed in (1, 2):
        result = simulate(accelerator(target), images[few], stalls=seed)
        assert_equal(result.outputs, expected, few)


@pytest.mark.parametrize("target", TARGETS)
def test_fifos_fill_as_far_as_predicted(target, accelerator, images):
    chosen = accelerator(target)
    marks = simulate(chosen, images[:3]).high_water
    predicted = chosen.play(frames=3).high_water
    assert marks == {name: predicted[name] for name in marks}
    # Those of the residual joins hold what their stage has not finished.
    assert max(marks.values()) > 100
