"""The driver of an accelerator behind AXI, against a stand-in that has its registers."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from boards.host import Accelerator, HostError
from boards.registers import Fault, Identity, Register, Status
from tests.axi_device import DIGEST, IDENTITY_OF_IT, Device, expected, images_of

NETWORK = SimpleNamespace(name="tiny", digest=lambda: DIGEST)
OTHER = SimpleNamespace(name="other", digest=lambda: "ab" * 32)


def check(device, count=50, *, batch_frames=8, **options):
    images = images_of(count)
    with Accelerator(device, network=NETWORK, batch_frames=batch_frames, **options) as board:
        labels, scores = board.classify(images)
    assert (labels.tolist(), scores.tolist()) == expected(images)
    assert labels.dtype == np.int64 and scores.dtype == np.int32
    assert device.closed == 1


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 50])
def test_labels_and_scores_come_back_in_order(count):
    device = Device()
    check(device, count)
    assert sum(device.submitted) == count


def test_no_images_give_empty_arrays():
    with Accelerator(Device()) as board:
        labels, scores = board.classify(images_of(0))
    assert labels.shape == (0,) and scores.shape == (0, 5)


def test_two_batches_are_in_the_queue_while_one_is_packed():
    device = Device()
    check(device)
    assert device.submitted == [8] * 6 + [2]
    assert device.most_waiting == 3


def test_more_batches_than_the_queue_holds_are_not_submitted():
    device = Device(replace(IDENTITY_OF_IT, queue=2))
    check(device, batches=9)
    assert device.most_waiting == 2


def test_memory_is_taken_once_and_given_back():
    device = Device()
    with Accelerator(device, batch_frames=8) as board:
        for seed in range(20):
            images = images_of(30, seed)
            assert board.classify(images)[1].tolist() == expected(images)[1]
        assert device.allocated == 3 * 8 * (24 + 24)
        assert device.given_back == 0
    assert device.given_back == 6


def test_images_need_not_lie_in_one_piece():
    images = images_of(40)[::2]
    with Accelerator(Device()) as board:
        assert board.classify(images)[0].tolist() == expected(images)[0]


def test_progress_counts_what_is_done():
    told = []
    with Accelerator(Device(), batch_frames=8) as board:
        board.classify(images_of(20), progress=told.append)
    assert told == [8, 16, 20]


def test_a_batch_counter_that_wraps_is_followed():
    device = Device()
    with Accelerator(device, batch_frames=2) as board:
        device.batches = 2**32 - 3
        board._runner._finished = 2**32 - 3
        images = images_of(20)
        assert board.classify(images)[0].tolist() == expected(images)[0]
    assert device.batches > 2**32


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (np.zeros((1, 4, 3, 2), dtype=np.float32), "images must be a uint8 array, not float32"),
        (np.zeros((1, 4, 3), dtype=np.uint8), "images must be N x 4 x 3 x 2, not 1 x 4 x 3$"),
        (np.zeros((1, 3, 4, 2), dtype=np.uint8), "not 1 x 3 x 4 x 2$"),
        ([[1]], "images must be a uint8 array, not list"),
    ],
)
def test_wrong_images_are_refused_before_anything_is_submitted(wrong, sentence):
    device = Device()
    with Accelerator(device) as board:
        with pytest.raises(ValueError, match=sentence):
            board.classify(wrong)
    assert device.submitted == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_frames": 0}, "a batch must have from 1 to 16777215 frames, not 0"),
        ({"batches": 0}, "batches must be 1 or more, not 0"),
    ],
)
def test_wrong_options_are_refused(options, sentence):
    device = Device()
    with pytest.raises(ValueError, match=sentence):
        Accelerator(device, **options)
    assert device.closed == 1


# What answers.


def refused(device, sentence, **options):
    with pytest.raises(HostError, match=sentence):
        Accelerator(device, **options)
    assert device.closed == 1


def test_something_else_at_the_address_is_named():
    device = Device()
    device.magic = 0xFFFFFFFF
    refused(device, "no accelerator answers.*must read 0x4c585742, not 0xffffffff")


def test_a_control_port_of_the_wrong_width_is_named():
    device = Device()
    device.version = 0
    refused(device, "only every fourth register can be read.*afi_fs")


def test_another_version_is_refused():
    device = Device()
    device.version = 7
    refused(device, "has version 7 of the registers, not 1")


@pytest.mark.parametrize(
    ("packed", "sentence"),
    [
        (b"\x00" * 64, "the identity is damaged"),
        (b"", "identity must have up to 8192 bytes, not 0"),
        (b"\x00" * 9000, "identity must have up to 8192 bytes, not 9000"),
    ],
)
def test_a_damaged_identity_is_named(packed, sentence):
    device = Device()
    device.packed = packed
    refused(device, sentence)


def test_another_network_is_refused():
    refused(Device(), f"another network.*{DIGEST[:12]}, that of other is abab", network=OTHER)


def test_registers_that_go_away_are_named():
    device = Device()
    board = Accelerator(device)
    device.gone = True
    with pytest.raises(HostError, match="register at 0x10 cannot be read: bus error"):
        board.classify(images_of(4))
    board.close()
    assert device.closed == 1


def test_a_closed_accelerator_is_named():
    board = Accelerator(Device())
    board.close()
    board.close()
    with pytest.raises(HostError, match="the accelerator is closed"):
        board.classify(images_of(1))


# Faults.


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("frame", [0, 11, 49])
def test_a_fault_is_named_and_the_next_call_is_right(fault, frame):
    device = Device()
    images = images_of(50)
    with Accelerator(device, batch_frames=8) as board:
        device.fault_at = (frame, fault)
        with pytest.raises(HostError, match=re.escape(fault.sentence)):
            board.classify(images)
        device.fault_at = None
        assert board.classify(images)[1].tolist() == expected(images)[1]
    assert device.resets == 2


def test_faults_that_come_together_are_all_named():
    device = Device()
    device.fault_at = (0, Fault.READ_SLVERR | Fault.WRITE_DECERR)
    with Accelerator(device) as board:
        with pytest.raises(HostError, match="reading images.*SLVERR.* and writing.*DECERR"):
            board.classify(images_of(1))


@pytest.mark.parametrize("what", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_call_leaves_nothing_behind(what):
    device = Device()
    images = images_of(50)

    def stop(done):
        raise what

    with Accelerator(device, batch_frames=8) as board:
        with pytest.raises(what):
            board.classify(images, progress=stop)
        assert not device.queue
        assert board.classify(images)[1].tolist() == expected(images)[1]


def test_closing_in_the_middle_stops_what_is_under_way_before_memory_is_given_back():
    device = Device()
    board = Accelerator(device, batch_frames=8)
    device.registers |= {Register.IMAGES_LOW: 0, Register.IMAGES_HIGH: 0, Register.FRAMES: 5}
    device.registers |= {Register.RESULTS_LOW: 0, Register.RESULTS_HIGH: 0}
    device.submit()
    board.close()
    assert not device.queue and device.resets == 2


# Time-outs.

FREE, OFFER, TAKE = 0b00, 0b01, 0b10


def stalled(status=Status.READ_IDLE | Status.WRITE_IDLE, inside=None, **states):
    device = Device()
    device.stops_at = 11
    device.status_of_stop = status
    names = {name.replace(" ", "_"): name for name in device.identity.streams}
    device.states = {names[name]: (812, 40, 99, state) for name, state in states.items()}
    if inside is not None:
        device.inside = inside
    with Accelerator(device, batch_frames=8, slack=0.01) as board:
        before = device.now
        with pytest.raises(HostError) as caught:
            board.classify(images_of(50))
        assert 0.01 < device.now - before < 0.012
        # Nothing holds it up any more: it must work again.
        device.stops_at = None
        assert board.classify(images_of(5))[1].tolist() == expected(images_of(5))[1]
    text = str(caught.value)
    assert "(11 frames went in, 11 came out)" in text and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (
            {"status": Status.WRITE_IDLE, "read_data": TAKE},
            "stream 'read data' is starved, the memory does not answer a read "
            "(812 beats, blocked 40 cycles, starved 99)",
        ),
        (
            {"status": Status.WRITE_IDLE, "read_address": OFFER},
            "stream 'read address' is blocked, the memory does not answer a read",
        ),
        (
            {"status": Status.READ_IDLE, "write_response": TAKE},
            "stream 'write response' is starved, the memory does not answer a write",
        ),
        (
            {"status": Status.READ_IDLE, "write_data": OFFER, "write_response": TAKE},
            "stream 'write data' is blocked, the memory does not answer a write",
        ),
        (
            {"images": OFFER, "inside": [OFFER] * 5 + [TAKE] * 13},
            "stream 'unit4 -> unit5' is blocked, what takes it has stopped",
        ),
        (
            {"images": OFFER, "inside": [OFFER] * 17 + [TAKE]},
            "stream 'unit16 -> unit17' is blocked",
        ),
        (
            {"images": OFFER, "inside": [OFFER] * 18, "scores": OFFER, "results": TAKE},
            "stream 'scores' is blocked",
        ),
        ({"images": OFFER, "inside": [TAKE] * 18}, "stream 'images' is blocked"),
        ({"images": TAKE, "inside": [TAKE] * 18}, "stream 'images' is starved, what feeds it"),
        ({"inside": [FREE] * 18, "images": FREE}, "stream 'scores' is starved"),
    ],
)
def test_a_time_out_names_the_stalled_stream(state, sentence):
    assert sentence in stalled(**state)


def test_a_slow_accelerator_is_no_time_out():
    # Each frame comes within its time, the whole batch does not.
    device = Device()
    with Accelerator(device, batch_frames=600, slack=1e-5) as board:
        images = images_of(600)
        assert board.classify(images)[0].tolist() == expected(images)[0]
    assert device.now > 50 * 1e-5


def test_a_reset_that_does_not_end_is_named_and_memory_is_kept():
    device = Device()
    board = Accelerator(device, batch_frames=8, slack=0.01)
    device.stops_at, device.reset_ends = 3, False
    device.status_of_stop = Status.WRITE_IDLE
    with pytest.raises(HostError, match="does not answer a read.*; a reset did not end in 0.01"):
        board.classify(images_of(8))
    board.close()
    assert device.given_back == 0 and device.closed == 1


# Counters.


def test_the_marks_of_fifos_come_with_their_depths():
    device = Device()
    device.marks = [17, 64]
    with Accelerator(device) as board:
        assert board.fifo_marks() == {"images": (17, 256), "results": (64, 64)}


def test_throughput_says_where_the_time_went():
    device = Device()
    images = images_of(40)
    with Accelerator(device, batch_frames=8) as board:
        before = device.now
        measured, scores = board.throughput(images)
        passed = device.now - before
    assert scores.tolist() == expected(images)[1]
    assert measured.frames == 40
    assert measured.compute == 16_000 / 100e6
    assert measured.busy == 24_000 / 100e6
    assert measured.transfer == measured.busy - measured.compute
    assert measured.pack + measured.wait + measured.unpack <= measured.seconds <= passed
    assert measured.wait > 0.5 * measured.seconds
    assert measured.frames_per_second == 40 / measured.seconds


# Networks of other shapes.


def test_a_map_without_a_label_comes_back_as_a_map():
    identity = replace(IDENTITY_OF_IT, result=(2, 3, 1), label=False)
    device = Device(identity)
    with Accelerator(device) as board:
        labels, scores = board.classify(images_of(3))
    # The stand-in's five scores and its label, read as the six values of a map.
    wanted = [[*s, label] for label, s in zip(*expected(images_of(3)), strict=True)]
    assert labels is None
    assert scores.shape == (3, 2, 3, 1) and scores.reshape(3, 6).tolist() == wanted


def test_the_identity_survives_its_way_through_the_registers():
    with Accelerator(Device()) as board:
        assert board.identity == IDENTITY_OF_IT == Identity.unpack(IDENTITY_OF_IT.pack())
