"""The driver's own code at the complete tops of both Zynq boards: a small network, all that fails.

Their processing system is a model of its ports. What a real network does there is in
``sim.test_axi_hybnn``.
"""

import numpy as np
import pytest

from boards.parameters import parameters_of
from hw.structure import Structure
from model import golden
from sim.axi_network import small_network
from sim.axi_top import SimulatedTop

#: Board: width of its memory port, and whether its parameters can be written.
TOPS = {"ultra96v2": (64, False), "zcu102": (128, True)}

#: Cycles a frame to fold for; the small network takes 33.
TARGET_CYCLES = 40

SEEDS = (1, 2, 3)

#: Where in a page each buffer begins. A batch has 128 bytes of images and 64 of results.
OFFSETS = (1, 7, 15, 16, 63, 4033, 4093, 4095)

ERRORS = {
    ("read", 2): "reading images, the memory answered with an error (SLVERR)",
    ("read", 3): "reading images, nothing answered at that address (DECERR)",
    ("write", 2): "writing results, the memory answered with an error (SLVERR)",
    ("write", 3): "writing results, nothing answered at that address (DECERR)",
}

#: Byte of a buffer that answers with an error: in the first frame of a batch, and in its last.
PLACES = (0, 60)

#: Cycles after a batch was submitted; a frame takes 33 and the first one 300 with its latency.
RESET_CYCLES = (0, 3, 17, 40, 64, 90, 111, 150, 200, 301, 500)

#: Silent channel of the memory: the stream that the driver names, and how it stands.
SILENT = {
    "ar": "stream 'read address' is blocked, the memory does not answer a read",
    "r": "stream 'read data' is starved, the memory does not answer a read",
    "aw": "stream 'write address' is blocked, the memory does not answer a write",
    "w": "stream 'write data' is blocked, the memory does not answer a write",
    "b": "stream 'write response' is starved, the memory does not answer a write",
}

SOAK = {"ultra96v2": 2_000, "zcu102": 10_000}


#: Frames whose results are more than the shell has room for.
BACKED_UP = 160

#: Seeds of the networks whose parameters are written, the last one that of the bitstream.
RETRAINED = (5, 6, 0)


def scenarios(board: str, files: dict[str, str] | None = None) -> dict[str, dict]:
    everything = {
        "clean": {"kind": "classify", "frames": [0, 30]},
        "slow memory": {"kind": "classify", "frames": [1, 31], "latency": [1, 300]},
        "refusals": {"kind": "refusals", "frames": [3, 7]},
        "backed up": {"kind": "backed_up", "frames": BACKED_UP},
        "retrained": {"kind": "retrained", "files": files, "frames": [10, 20]},
        "nowhere": {"kind": "nowhere", "frames": [5, 13]},
        "reset": {"kind": "reset_in_the_middle", "cycles": RESET_CYCLES, "frames": [2, 12]},
        "many batches": {
            "kind": "measure", "frames": 100, "batch_frames": 10, "latency": [200, 200],
        },
        "soak": {
            "kind": "soak", "frames": SOAK[board], "batch_frames": 250, "latency": [1, 60],
        },
    }  # fmt: skip
    for seed in SEEDS:
        everything[f"stalls {seed}"] = {
            "kind": "classify", "frames": [seed, seed + 20], "stalls": seed,
            "latency": [1, 60], "offset": 1000 * seed + 1, "batch_frames": 2 + seed,
        }  # fmt: skip
    for offset in OFFSETS:
        everything[f"offset {offset}"] = {
            "kind": "classify", "frames": [offset % 5, 12], "offset": offset,
        }  # fmt: skip
    for (direction, response), place in ((error, place) for error in ERRORS for place in PLACES):
        everything[f"{direction} {response} {place}"] = {
            "kind": "bus_error", "direction": direction, "response": response, "buffer": place,
            "frames": [4, 18],
        }  # fmt: skip
    for channel in SILENT:
        everything[f"silent {channel}"] = {
            "kind": "dead_memory", "silent": [channel], "frames": [7, 15],
        }  # fmt: skip
    return everything


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 4, 4, 2), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(images) -> tuple[list, list]:
    outputs = golden.run(small_network(), images)
    return outputs["label"].ravel().tolist(), outputs["scores"].reshape(len(images), -1).tolist()


@pytest.fixture(scope="module", params=TOPS)
def top(request) -> SimulatedTop:
    data_bits, writable = TOPS[request.param]
    return SimulatedTop(request.param, small_network(), TARGET_CYCLES, data_bits, writable)


@pytest.fixture(scope="module")
def answers(top, images, tmp_path_factory) -> dict:
    """What became of every scenario, played one after the other without a reset of the top."""
    files = {}
    folding = top.design.folding
    for seed in RETRAINED:
        files[str(seed)] = str(tmp_path_factory.mktemp("parameters") / f"{seed}.npz")
        built = Structure.of(small_network(), folding)
        np.savez(files[str(seed)], **parameters_of(small_network(seed), folding, built))
    return top.play(images, scenarios(top.board, files))


@pytest.fixture
def check(expected):
    """Labels and scores of ``frames`` are those of golden."""

    def equal(answer: dict, frames: list[int]) -> None:
        labels, scores = expected
        assert answer["scores"] == scores[slice(*frames)]
        assert answer["labels"] == labels[slice(*frames)]

    return equal


def test_the_driver_reads_back_what_the_accelerator_is(answers, top):
    identity = answers["clean"]["identity"]
    assert identity["board"] == top.board and identity["data_bits"] == top.data_bits
    assert identity["network"] == small_network().digest()
    assert identity["interval"] == top.interval == 33
    assert identity["clock_hz"] == top.identity.clock_hz
    assert identity["streams"] == list(top.identity.streams)
    assert answers["refusals"]["identity_by_bursts"]


@pytest.mark.parametrize("scenario", ["clean", "slow memory"])
def test_results_equal_golden(scenario, answers, top, check):
    answer = answers[scenario]
    check(answer, scenarios(top.board)[scenario]["frames"])
    assert answer["strays"] == 0
    assert answer["interrupts"] >= 1


def test_reads_overlap_on_a_slow_memory(answers):
    assert answers["slow memory"]["most_outstanding"] >= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_latency_and_back_pressure_on_all_channels_change_no_result(seed, answers, check):
    answer = answers[f"stalls {seed}"]
    check(answer, [seed, seed + 20])
    assert answer["strays"] == 0


@pytest.mark.parametrize("offset", OFFSETS)
def test_buffers_begin_at_any_byte_and_cross_pages(offset, answers, check):
    answer = answers[f"offset {offset}"]
    check(answer, [offset % 5, 12])
    assert answer["strays"] == 0
    # The memory refuses a burst that crosses a page, so more bursts than batches are the proof.
    batches = -(-(12 - offset % 5) // 4)
    crosses = offset > 4096 - 128
    assert answer["reads"] > batches if crosses else answer["reads"] >= batches


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("direction", "response"), ERRORS)
def test_a_bus_error_is_a_sentence_and_an_interrupt_and_soon_over(
    direction, response, place, answers, check
):
    answer = answers[f"{direction} {response} {place}"]
    assert answer["error"] == ERRORS[direction, response]
    assert answer["interrupts"] >= 1
    check(answer, [4, 18])


def test_an_address_without_memory_is_a_sentence(answers, check):
    answer = answers["nowhere"]
    assert answer["errors"] == [ERRORS["read", 3], ERRORS["write", 3]]
    check(answer, [5, 13])


@pytest.mark.parametrize("index", range(len(RESET_CYCLES)))
def test_a_soft_reset_in_the_middle_of_a_frame_leaves_nothing_behind(index, answers, check):
    answer = answers["reset"]["answers"][index]
    assert answer["left"] == [0, 0]
    check(answer, [2, 12])


def test_soft_resets_came_in_the_middle_of_batches(answers):
    assert sum(answer["busy"] for answer in answers["reset"]["answers"]) >= 6


@pytest.mark.parametrize("channel", SILENT)
def test_a_time_out_names_the_stalled_stream_and_the_next_call_is_right(channel, answers, check):
    answer = answers[f"silent {channel}"]
    assert SILENT[channel] in answer["error"]
    # The reset cannot end as long as the memory owes an answer, and the sentence says so.
    assert answer["error"].startswith("no result came for ")
    assert "a reset did not end in" in answer["error"] and "\n" not in answer["error"]
    check(answer, [7, 15])


def test_results_without_a_way_out_hold_up_all_before_them(answers, expected):
    answer = answers["backed up"]
    assert answer["explained"].startswith("stream 'write address' is blocked")
    assert {"images", "scores", "results", "write address"} <= set(answer["blocked"])
    assert answer["inside_blocked"]
    assert answer["frames_out"] < BACKED_UP
    # Nothing was lost.
    labels, scores = expected
    assert answer["scores"] == (scores * BACKED_UP)[:BACKED_UP]
    assert answer["labels"] == (labels * BACKED_UP)[:BACKED_UP]


@pytest.mark.parametrize("seed", RETRAINED)
def test_a_retrained_network_needs_no_other_bitstream(seed, answers, top, images):
    answer = answers["retrained"][str(seed)]
    if not top.writable:
        assert answer["error"].startswith("the parameters of this accelerator are fixed")
        return
    outputs = golden.run(small_network(seed), images[10:20])
    assert answer["scores"] == outputs["scores"].reshape(10, -1).tolist()
    assert answer["labels"] == outputs["label"].ravel().tolist()
    assert answer["network"] == small_network(seed).digest() and answer["same"]
    # Until they were written, the driver refused.
    assert answer["before"].startswith("the accelerator has another network")


def test_wrong_networks_and_images_are_refused(answers, check):
    errors = answers["refusals"]["errors"]
    digest = small_network().digest()[:12]
    assert errors["network"].endswith(f"its digest is {digest}, that of other is abababababab")
    assert errors["shape"] == "images must be N x 4 x 4 x 2, not 4 x 3 x 4 x 2"
    assert errors["type"] == "images must be a uint8 array, not int16"
    assert errors["dimensions"] == "images must be N x 4 x 4 x 2, not 4 x 4 x 2"
    assert errors["register"] == "the register at 0xfc cannot be read: the bus answers SLVERR"
    check(answers["refusals"], [3, 7])


def test_batches_follow_each_other_without_a_gap(answers, top):
    answer = answers["many batches"]
    ends = batch_ends(answer, 10)
    assert len(ends) == 10
    assert {later - ends[k] for k, later in enumerate(ends[1:])} == {10 * top.interval}


def test_the_counters_of_the_streams_are_exact(answers, top):
    # Two bytes of an image a beat, a score, a label and four words of a result.
    beats = answers["many batches"]["streams"]
    width = top.data_bits // 8
    assert beats["images"] == 100 * 16
    assert (beats["scores"], beats["label"], beats["results"]) == (300, 100, 400)
    assert beats["read data"] == 100 * 32 // width and beats["write data"] == 100 * 16 // width


def test_a_long_run_does_not_hang_or_err(answers, top, check):
    answer = answers["soak"]
    assert answer["frames"] == SOAK[top.board]
    assert answer["wrong"] == []
    check(answer, [0, 32])


def batch_ends(answer: dict, frames: int) -> list[int]:
    """Cycle in which the last byte of each batch was written."""
    ends, content = [], 0
    for size, cycle in answer["written"]:
        content += size
        if content % (frames * answer["result_bytes"]) == 0:
            ends.append(cycle)
    return ends
