"""The serial shell around a stand-in accelerator, at its two pins."""

import binascii
import random
import struct

import pytest
from amaranth.sim import Simulator

from boards.shells import UARTShell
from tests.uart_bench import (
    BIT,
    PERIOD,
    StandIn,
    receive_bytes,
    send_bytes,
    stand_in_result,
    watchdog,
)

# Refused designs are made and thrown away here.
pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")

DIGEST = bytes(range(32))
GAP_BYTES = 12
SHAPE = (3, 2, 2)
IMAGE_BYTES = 12
CLASSES = 4

CHECKSUM, LENGTH, KIND, INCOMPLETE, BUSY = 1, 2, 3, 4, 5


def request(kind, sequence, payload=b"", length=None):
    # Written out here instead of calling boards.protocol, which the shell itself is made from.
    length = len(payload) if length is None else length
    body = b"BW" + bytes([kind, sequence]) + struct.pack("<I", length) + payload
    return body + struct.pack("<I", binascii.crc32(body))


def reply(kind, sequence, payload):
    body = b"bw" + bytes([kind, sequence]) + struct.pack("<I", len(payload)) + payload
    return body + struct.pack("<I", binascii.crc32(body))


def classify(sequence, image):
    return request(2, sequence, image)


def result(sequence, image, classes=CLASSES):
    label, scores = stand_in_result(image, classes)
    return reply(0x82, sequence, struct.pack(f"<H{classes}i", label, *scores))


def error(sequence, fault):
    return reply(0x83, sequence, bytes([fault]))


def images(seed, count, size=IMAGE_BYTES):
    rng = random.Random(seed)
    return [rng.randbytes(size) for _ in range(count)]


def shell(*, lanes=2, score_lanes=1, classes=CLASSES, busy=0):
    accelerator = StandIn(
        beats=IMAGE_BYTES // lanes,
        lanes=lanes,
        classes=classes,
        score_lanes=score_lanes,
        busy=busy,
    )
    return UARTShell(
        accelerator=accelerator,
        digest=DIGEST,
        height=SHAPE[0],
        width=SHAPE[1],
        channels=SHAPE[2],
        classes=classes,
        clock_hz=BIT * 1e6,
        baud=1_000_000,
        gap_bytes=GAP_BYTES,
    )


def exchange(dut, *parts, settle=80, cycles=400_000):
    """Send ``parts``, where a number is a pause in byte times; return what comes back."""
    received = bytearray()

    async def drive(ctx):
        ctx.set(dut.rx, 1)
        await ctx.delay(2 * PERIOD)
        for part in parts:
            if isinstance(part, bytes):
                await send_bytes(ctx, dut.rx, part)
            else:
                await ctx.delay(part * 10 * BIT * PERIOD)
        await ctx.delay(settle * 10 * BIT * PERIOD)

    async def watch(ctx):
        await receive_bytes(ctx, dut.tx, received)

    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(watchdog(cycles), background=True)
    simulator.run()
    return bytes(received)


def test_identification_names_network_geometry_and_cycles():
    dut = shell()
    answer = exchange(dut, request(1, 77), settle=80)
    identity = struct.pack(
        "<B32s4HBHIII",
        1,
        DIGEST,
        *SHAPE,
        CLASSES,
        2,
        GAP_BYTES,
        8_000_000,
        dut.accelerator.interval,
        dut.accelerator.latency,
    )
    assert answer == reply(0x81, 77, identity)


@pytest.mark.parametrize(
    ("lanes", "score_lanes", "classes", "busy"),
    [(1, 1, 4, 0), (2, 2, 4, 3), (4, 4, 4, 0), (3, 1, 1, 1), (12, 5, 10, 1500)],
)
def test_images_sent_back_to_back_are_answered_in_order(lanes, score_lanes, classes, busy):
    dut = shell(lanes=lanes, score_lanes=score_lanes, classes=classes, busy=busy)
    sent = images(lanes, 3)
    # A reply may be longer than a request, so only two are on their way at a time.
    pause = 2 * (12 + 2 + 4 * classes) + busy // (10 * BIT)
    answer = exchange(
        dut,
        classify(254, sent[0]) + classify(255, sent[1]),
        pause,
        classify(0, sent[2]),
    )
    assert answer == b"".join(
        result(sequence, image, classes)
        for sequence, image in zip((254, 255, 0), sent, strict=True)
    )


def test_requests_of_both_kinds_mix():
    first, second = images(3, 2)
    answer = exchange(shell(), classify(1, first) + request(1, 2) + classify(3, second), settle=200)
    assert answer.startswith(result(1, first) + b"bw\x81\x02")
    assert answer.endswith(result(3, second))


@pytest.mark.parametrize("place", [2, 3, 4, 8, 13, 19, 20, 23])
def test_a_damaged_byte_is_refused_and_the_next_image_is_right(place):
    damaged, good = images(place, 2)
    sent = bytearray(classify(5, damaged))
    sent[place] ^= 0x10
    fault = {2: KIND, 4: LENGTH}.get(place, CHECKSUM)
    sequence = 5 ^ (0x10 if place == 3 else 0)
    answer = exchange(shell(), bytes(sent), GAP_BYTES + 2, classify(6, good))
    assert answer == error(sequence, fault) + result(6, good)


@pytest.mark.parametrize("place", [0, 1, 5, 8, 15, 23])
def test_a_dropped_byte_costs_one_image_only(place):
    damaged, good = images(place, 2)
    sent = classify(5, damaged)
    answer = exchange(shell(), sent[:place] + sent[place + 1 :], GAP_BYTES + 2, classify(6, good))
    refusal = error(5, INCOMPLETE if place >= 8 else LENGTH) if place > 1 else b""
    assert answer == refusal + result(6, good)


@pytest.mark.parametrize("place", [9, 16])
def test_a_dropped_byte_with_the_next_request_right_behind_is_noticed(place):
    damaged, lost, good = images(place, 3)
    sent = classify(5, damaged)
    answer = exchange(
        shell(),
        sent[:place] + sent[place + 1 :] + classify(6, lost),
        GAP_BYTES + 2,
        classify(7, good),
    )
    assert answer == error(5, CHECKSUM) + result(7, good)


@pytest.mark.parametrize("place", [1, 2, 7, 12, 22])
def test_an_extra_byte_inside_costs_one_image_only(place):
    damaged, good = images(place, 2)
    sent = classify(5, damaged)
    answer = exchange(
        shell(), sent[:place] + b"\x99" + sent[place:], GAP_BYTES + 2, classify(6, good)
    )
    assert answer.endswith(result(6, good))
    assert len(answer) <= len(result(6, good)) + len(error(5, CHECKSUM))
    assert result(5, damaged) not in answer


@pytest.mark.parametrize("extra", [b"\x00", b"B", b"BB", b"W", b"BxBBB", b"\xff" * 5])
def test_extra_bytes_between_packets_are_skipped(extra):
    first, second = images(len(extra), 2)
    answer = exchange(shell(), classify(1, first) + extra + classify(2, second))
    assert answer == result(1, first) + result(2, second)


def test_silence_inside_an_image_discards_the_half_of_it():
    half, good = images(9, 2)
    answer = exchange(
        shell(), classify(1, half)[:14], GAP_BYTES + 2, classify(2, good), 30, classify(3, half)
    )
    assert answer == error(1, INCOMPLETE) + result(2, good) + result(3, half)


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_silence_inside_a_header_is_forgotten_without_a_reply(cut):
    first, good = images(cut, 2)
    answer = exchange(shell(), classify(1, first)[:cut], GAP_BYTES + 2, classify(2, good))
    assert answer == result(2, good)


def test_a_pause_shorter_than_the_gap_does_no_harm():
    (image,) = images(4, 1)
    sent = classify(1, image)
    assert exchange(shell(), sent[:6], GAP_BYTES - 3, sent[6:]) == result(1, image)


def test_after_a_refusal_requests_are_ignored_until_the_line_was_silent():
    first, second, third = images(6, 3)
    answer = exchange(
        shell(),
        request(2, 1, first[:-1]),
        GAP_BYTES - 3,
        classify(2, second),
        GAP_BYTES + 2,
        classify(3, third),
    )
    assert answer == error(1, LENGTH) + result(3, third)


def test_unknown_kinds_and_lengths_are_refused():
    (image,) = images(8, 1)
    for sent, fault in (
        (request(9, 4), KIND),
        (request(0x82, 4, image), KIND),
        (request(1, 4, b"x"), LENGTH),
        (request(2, 4, image, length=1 << 31), LENGTH),
    ):
        assert exchange(shell(), sent, settle=30) == error(4, fault)


def test_more_images_than_the_board_has_room_for_are_refused_as_busy():
    sent = images(10, 4)
    busy = 8_000
    answer = exchange(
        shell(busy=busy),
        b"".join(classify(index, image) for index, image in enumerate(sent)),
        3 * busy // (10 * BIT),
    )
    # One is in the accelerator and two wait; the fourth finds no room.
    assert answer == (result(0, sent[0]) + result(1, sent[1]) + result(2, sent[2]) + error(3, BUSY))


def test_a_flood_of_identifications_drops_some_and_damages_none():
    (image,) = images(11, 1)
    flood = b"".join(request(1, index) for index in range(12))
    answer = exchange(shell(), flood, 560, classify(99, image))
    assert answer.endswith(result(99, image))
    size = len(exchange(shell(), request(1, 0), settle=80))
    identities = answer[: -len(result(99, image))]
    sequences = [identities[start + 3] for start in range(0, len(identities), size)]
    assert sequences == sorted(set(sequences))
    for start in range(0, len(identities), size):
        body, crc = identities[start : start + size - 4], identities[start + size - 4 :][:4]
        assert struct.pack("<I", binascii.crc32(body)) == crc


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_never_gives_a_wrong_result(seed):
    rng = random.Random(seed)
    sent = images(100 + seed, 12)
    parts = []
    for sequence, image in enumerate(sent):
        packet = bytearray(classify(sequence, image))
        place = rng.randrange(len(packet))
        match rng.choice(["none", "flip", "drop", "add", "cut"]):
            case "flip":
                packet[place] ^= 1 << rng.randrange(8)
            case "drop":
                del packet[place]
            case "add":
                packet.insert(place, rng.randrange(256))
            case "cut":
                del packet[place:]
        parts.append(bytes(packet))
        parts.append(GAP_BYTES + 20 if rng.random() < 0.7 else 0)
    last = images(200 + seed, 1)[0]
    answer = exchange(shell(), *parts, GAP_BYTES + 20, classify(200, last))
    assert answer.endswith(result(200, last))
    allowed = {result(sequence, image) for sequence, image in enumerate(sent)}
    allowed.add(result(200, last))
    length = len(result(0, last))
    position = 0
    while position < len(answer):
        if answer[position + 2] == 0x82:
            assert answer[position : position + length] in allowed
            position += length
        else:
            position += len(error(0, 1))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"digest": b"short"}, "digest must have 32 bytes, not 5"),
        ({"height": 5, "channels": 1}, "multiple of lanes"),
        ({"classes": 5}, "multiple of the scores in a beat, not 5 and 2"),
        ({"baud": 2_000_000}, "clock must be at least 8 times"),
        ({"height": 70_000}, "does not fit its packet"),
    ],
)
def test_what_does_not_fit_is_refused(change, sentence):
    arguments = dict(
        accelerator=StandIn(beats=6, lanes=4, classes=4, score_lanes=2),
        digest=DIGEST,
        height=3,
        width=2,
        channels=4,
        classes=4,
        clock_hz=8e6,
        baud=1_000_000,
    )
    with pytest.raises(ValueError, match=sentence):
        UARTShell(**{**arguments, **change})
