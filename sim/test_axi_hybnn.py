"""The shipped network at the complete tops of both Zynq boards, under the driver's own code."""

import warnings
from itertools import pairwise

import numpy as np
import pytest

from model import golden
from model.data import load_split
from model.graph import load
from sim.axi_top import SimulatedTop

#: The first batch fills the pipeline; the rate is that of the 100 frames behind it.
FRAMES = 110
BATCH_FRAMES = 10

#: Board, cycles a frame to fold for, and width of the memory port.
TOPS = [
    ("ultra96v2", 4000, 64),
    ("zcu102", 1000, 128),
    # The other way round takes as long again and shows little more.
    pytest.param(("ultra96v2", 1000, 128), marks=pytest.mark.slow),
    pytest.param(("zcu102", 4000, 64), marks=pytest.mark.slow),
]

SCENARIOS = {
    "clean": {"kind": "classify", "frames": [0, 9], "batch_frames": 4},
    # 784 bytes an image: every batch crosses pages, and begins at an odd address.
    "stalls": {
        "kind": "classify", "frames": [20, 26], "batch_frames": 3, "latency": [1, 200],
        "stalls": 5, "offset": 2047,
    },
    "reset": {"kind": "reset_in_the_middle", "cycles": [4500], "frames": [30, 32]},
    "rate": {
        "kind": "measure", "frames": FRAMES, "batch_frames": BATCH_FRAMES, "latency": [200, 200],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    return load("hybnn-mini")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Images of the test set, or random ones where it is not installed."""
    try:
        return load_split("test")[0][:FRAMES]
    except ValueError as error:
        warnings.warn(f"random images instead of Fashion-MNIST: {error}", stacklevel=1)
        return np.random.default_rng(5).integers(0, 256, (FRAMES, 28, 28, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(network, images) -> tuple[list, list]:
    outputs = golden.run(network, images)
    return outputs["label"].ravel().tolist(), outputs["scores"].reshape(len(images), -1).tolist()


@pytest.fixture(scope="module", params=TOPS, ids=lambda top: f"{top[0]}-{top[1]}-{top[2]}")
def top(request, network) -> SimulatedTop:
    board, target_cycles, data_bits = request.param
    return SimulatedTop(board, network, target_cycles, data_bits)


@pytest.fixture(scope="module")
def answers(top, images) -> dict:
    return top.play(images, SCENARIOS)


@pytest.mark.parametrize("scenario", ["clean", "stalls"])
def test_real_images_from_memory_give_the_results_of_golden(scenario, answers, expected):
    answer, frames = answers[scenario], slice(*SCENARIOS[scenario]["frames"])
    assert answer["labels"] == expected[0][frames]
    assert answer["scores"] == expected[1][frames]
    assert answer["strays"] == 0


def test_a_soft_reset_in_the_middle_of_a_frame_leaves_nothing_behind(answers, expected):
    for answer in answers["reset"]["answers"]:
        assert answer["busy"] and answer["left"] == [0, 0]
        assert answer["labels"] == expected[0][30:32]
        assert answer["scores"] == expected[1][30:32]


def test_the_sustained_rate_is_that_of_the_accelerator(answers, expected, top):
    answer = answers["rate"]
    assert answer["scores"] == expected[1]
    assert answer["most_outstanding"] >= 2
    ends = [0]
    content = 0
    for size, cycle in answer["written"]:
        content += size
        if content % (BATCH_FRAMES * answer["result_bytes"]) == 0:
            ends.append(cycle)
    assert len(ends) == 1 + FRAMES // BATCH_FRAMES
    # Within 1 % over 100 frames, and exactly in the steady state.
    cycles = ends[-1] - ends[1]
    frames = FRAMES - BATCH_FRAMES
    assert frames == 100
    assert abs(cycles - frames * top.interval) * 100 <= frames * top.interval
    steady = {int(later - before) for before, later in pairwise(ends[5:])}
    assert steady == {BATCH_FRAMES * top.interval}
    # All of it, filling the pipeline and the driver's first steps included.
    assert answer["busy_cycles"] < FRAMES * top.interval + 2 * top.identity.latency + 2000


def test_the_interval_is_that_which_was_folded_for(top, answers):
    assert answers["rate"]["interval"] == top.interval <= top.target_cycles


def test_fifos_fill_no_further_than_they_are_deep(answers):
    marks = answers["rate"]["marks"]
    assert all(0 < mark <= depth for mark, depth in marks.values())
    assert marks
