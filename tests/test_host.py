"""The user's side, against a line with a board at its end that follows the protocol."""

import binascii
import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from boards import host
from boards.host import Connection, HostError, SerialTransport
from tests.uart_bench import stand_in_result

DIGEST = bytes(range(100, 132))
SHAPE = (4, 3, 2)
CLASSES = 5
IMAGE_BYTES = 24
GAP = 2000 * 10 / 1_000_000


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def expected(batch):
    results = [stand_in_result(image.tobytes(), CLASSES) for image in batch]
    return [label for label, _ in results], [scores for _, scores in results]


class Line:
    """A line with a board at its end; its clock advances only where the host waits.

    Parameters
    ----------
    damage_request, damage_reply : callable(number, bytes) -> bytes
        What becomes of the packet with that number on the way.
    buffered : bool
        Writing takes no time, and the bytes are sent one after the other from then on.
    gap : float
        Seconds of silence after which the board listens again.
    """

    baud = 1_000_000

    def __init__(
        self, *, damage_request=None, damage_reply=None, digest=DIGEST, version=1, buffered=False,
        gap=GAP,
    ):  # fmt: skip
        self.damage_request = damage_request or (lambda number, sent: sent)
        self.damage_reply = damage_reply or (lambda number, sent: sent)
        self.buffered, self.gap = buffered, gap
        self.digest = digest
        self.version = version
        self.now = self.last_byte = 0.0
        self.requests = self.replies = self.outstanding = self.most_outstanding = 0
        self.inbox = self.outbox = b""
        # When the board has what its answers are to, by the bytes of answers before them.
        self.heard: list[tuple[int, float]] = []
        self.taken = self.given = 0
        self.deaf = False
        self.closed = False
        self.gone = False

    def write(self, sent):
        if self.gone:
            raise OSError("device disconnected")
        start = max(self.now, self.last_byte)
        if start - self.last_byte > self.gap:
            self.deaf, self.inbox = False, b""
        self.last_byte = start + (len(sent) * 10 / self.baud if self.buffered else 0.0)
        self.inbox += self.damage_request(self.requests, bytes(sent))
        self.requests += 1
        self.outstanding += 1
        self.most_outstanding = max(self.most_outstanding, self.outstanding)
        self.listen()

    def read(self, size, timeout):
        if self.gone:
            raise OSError("device disconnected")
        if not self.outbox:
            self.now += timeout
            self.outstanding = 0
            return b""
        while self.heard and self.heard[0][0] <= self.taken:
            self.now = max(self.now, self.heard.pop(0)[1])
        # In dribs, as serial ports do it.
        taken, self.outbox = self.outbox[: min(size, 7)], self.outbox[min(size, 7) :]
        self.taken += len(taken)
        return taken

    def close(self):
        self.closed = True

    def listen(self):
        while not self.deaf:
            start = self.inbox.find(b"BW")
            self.inbox = self.inbox[start:] if start >= 0 else b""
            if len(self.inbox) < 8:
                return
            kind, sequence, length = struct.unpack("<BBI", self.inbox[2:8])
            if kind not in (1, 2) or length != (IMAGE_BYTES if kind == 2 else 0):
                self.answer(0x83, sequence, b"\x02")
                self.deaf = True
                return
            if len(self.inbox) < 12 + length:
                return
            body = self.inbox[: 8 + length]
            checksum = self.inbox[8 + length : 12 + length]
            self.inbox = self.inbox[12 + length :]
            if struct.pack("<I", binascii.crc32(body)) != checksum:
                self.answer(0x83, sequence, b"\x01")
                self.deaf = True
            elif kind == 1:
                self.answer(
                    0x81,
                    sequence,
                    struct.pack(
                        "<B32s4HBHIII",
                        *(self.version, self.digest, *SHAPE, CLASSES),
                        *(2, 2000, 50_000_000, 4000, 9000),
                    ),
                )
            else:
                label, scores = stand_in_result(body[8:], CLASSES)
                self.answer(0x82, sequence, struct.pack(f"<H{CLASSES}i", label, *scores))

    def answer(self, kind, sequence, payload):
        body = b"bw" + struct.pack("<BBI", kind, sequence, len(payload)) + payload
        packet = body + struct.pack("<I", binascii.crc32(body))
        packet = self.damage_reply(self.replies, packet)
        self.heard.append((self.given, self.last_byte))
        self.given += len(packet)
        self.outbox += packet
        self.replies += 1
        self.outstanding -= 1


def check(line, count=6, *, retried=None):
    batch = images(count)
    with Connection(line) as board:
        labels, scores = board.classify(batch)
        assert retried is None or board.retried == retried
    assert line.closed
    assert (labels.tolist(), scores.tolist()) == expected(batch)
    assert labels.dtype == np.int64 and scores.dtype == np.int32


@pytest.mark.parametrize("number", [1, 2, 5])
def test_what_is_still_being_sent_is_waited_for_before_it_is_sent_again(number):
    # A gap of 40 bytes: a quarter of it is less than the request behind the damaged one.
    line = Line(
        damage_request=lambda n, sent: flip(20)(sent) if n == number else sent,
        buffered=True,
        gap=40 * 10 / Line.baud,
    )
    with Connection(line, gap_bytes=40) as board:
        labels, _ = board.classify(images(6))
        assert board.retried == 1
    assert labels.tolist() == expected(images(6))[0]


def test_labels_and_scores_come_back_in_order():
    check(Line(), retried=0)


def test_requests_are_pipelined_as_far_as_the_board_has_buffers():
    line = Line()
    # Answers that are not read yet do not count as outstanding, so hold them back by one.
    held = []

    def hold(number, packet):
        held.append(packet)
        return b"" if number == 1 else held[-2] + packet if number == 2 else packet

    line.damage_reply = hold
    check(line, 4)
    assert line.requests == 5


def test_sequence_numbers_go_round():
    check(Line(), 600, retried=0)


def test_no_images_give_empty_arrays():
    with Connection(Line()) as board:
        labels, scores = board.classify(images(0))
    assert labels.shape == (0,) and scores.shape == (0, CLASSES)


def drop(place):
    return lambda packet: packet[:place] + packet[place + 1 :]


def add(place):
    return lambda packet: packet[:place] + b"\x42" + packet[place:]


def flip(place):
    return lambda packet: packet[:place] + bytes([packet[place] ^ 4]) + packet[place + 1 :]


@pytest.mark.parametrize("side", ["damage_request", "damage_reply"])
@pytest.mark.parametrize("place", [0, 1, 2, 3, 4, 7, 8, 11])
@pytest.mark.parametrize("harm", [drop, add, flip])
@pytest.mark.parametrize("number", [0, 1, 3, 6])
def test_one_damaged_packet_in_either_direction_does_no_harm(side, place, harm, number):
    change = harm(place)
    line = Line(**{side: lambda n, packet: change(packet) if n == number else packet})
    check(line)


def test_a_reply_that_never_comes_is_asked_for_again():
    check(Line(damage_reply=lambda n, packet: b"" if n == 3 else packet), retried=1)


def test_the_last_line_noise_of_another_program_is_survived():
    line = Line()
    line.outbox = b"bw\x82\x00\xff\x00\x00\x00 half a reply, then bwbwbw"
    line.inbox = b"BW\x02\x00\x18\x00\x00\x00half an image"
    check(line)


def test_a_damaged_reply_never_becomes_a_result():
    line = Line(damage_reply=lambda n, packet: flip(9)(packet) if n else packet)
    with pytest.raises(HostError, match="image 0 was not classified after 4 attempts"):
        check(line)
    assert line.closed


def test_refusals_of_the_board_are_named():
    line = Line(damage_request=lambda n, packet: flip(9)(packet) if n else packet)
    with pytest.raises(HostError, match="the checksum of the request was wrong"):
        check(line)


def test_a_line_without_a_board_is_named():
    line = Line(damage_request=lambda n, packet: b"")
    with pytest.raises(HostError, match="no board answers on this line: there was no intact"):
        Connection(line)
    assert line.closed


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_line_that_goes_away_is_named(after):
    line = Line()

    def vanish(number, packet):
        line.gone = number >= after
        return packet

    line.damage_request = vanish
    with pytest.raises(HostError, match="line to the board is gone: device disconnected"):
        check(line)


def test_endless_noise_ends_in_a_sentence():
    line = Line()
    line.read = lambda size, timeout: b"\xa5" * size
    with pytest.raises(HostError, match="does not fall silent"):
        Connection(line)


def test_another_network_is_refused():
    network = SimpleNamespace(name="tiny", digest=lambda: "ab" * 32)
    with pytest.raises(HostError, match="built for another network.*tiny is abababababab"):
        Connection(Line(), network=network)
    same = SimpleNamespace(name="tiny", digest=lambda: DIGEST.hex())
    assert Connection(Line(), network=same).identity.classes == CLASSES


def test_another_version_of_the_protocol_is_refused():
    with pytest.raises(HostError, match="speaks version 2 of the protocol, not 1"):
        Connection(Line(version=2))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (np.zeros((1, *SHAPE), dtype=np.float32), "images must be a uint8 array, not float32"),
        ([[1]], "images must be a uint8 array, not list"),
        (np.zeros((1, 4, 3), dtype=np.uint8), "images must be N x 4 x 3 x 2, not 1 x 4 x 3$"),
        (np.zeros((1, 3, 4, 2), dtype=np.uint8), "not 1 x 3 x 4 x 2$"),
    ],
)
def test_wrong_images_are_refused_before_anything_is_sent(wrong, sentence):
    line = Line()
    with Connection(line) as board:
        sent = line.requests
        with pytest.raises(ValueError, match=sentence):
            board.classify(wrong)
        assert line.requests == sent


def test_time_outs_follow_the_line_and_the_cycles():
    line = Line()
    with Connection(line, slack=0.25) as board:
        line.damage_request = lambda n, packet: b""
        before = line.now
        with pytest.raises(HostError):
            board.classify(images(1))
    # Four attempts, each with its time-out, and three times the silence between them.
    each = (line.now - before - 3 * 1.25 * GAP) / 4
    assert 0.25 + (9_000 + 4_000) / 50e6 < each < 0.27


# The command line.


@pytest.fixture
def files(tmp_path, monkeypatch):
    line = Line()
    monkeypatch.setattr("boards.host.command.SerialTransport", lambda port, baud: line)
    network = SimpleNamespace(name="tiny", digest=lambda: DIGEST.hex())
    monkeypatch.setattr("model.graph.load", lambda name: network)
    np.save(tmp_path / "x.npy", images(70))
    return SimpleNamespace(folder=tmp_path, line=line)


def run(files, images_file="x.npy"):
    source, out = files.folder / images_file, files.folder / "y.npy"
    return host.main(["tiny", "--port", "/dev/null", "--images", str(source), "--out", str(out)])


def test_command_writes_the_scores(files, capsys):
    assert run(files) == 0
    scores = np.load(files.folder / "y.npy")
    assert scores.tolist() == expected(images(70))[1]
    assert "70 images classified, 0 requests sent again" in capsys.readouterr().out
    assert sorted(path.name for path in files.folder.iterdir()) == ["x.npy", "y.json", "y.npy"]
    report = json.loads((files.folder / "y.json").read_text())
    assert (report["frames"], report["sent_again"], report["baud"]) == (70, 0, 1_000_000)


def test_scores_have_the_name_that_they_were_given(files, monkeypatch):
    source, out = files.folder / "x.npy", files.folder / "scores"
    arguments = ["tiny", "--images", str(source), "--out", str(out)]
    assert host.main([*arguments, "--port", "/dev/null"]) == 0
    assert {path.name for path in files.folder.iterdir()} == {"x.npy", "scores", "scores.json"}
    assert np.load(out).tolist() == expected(images(70))[1]


@pytest.mark.parametrize(
    "unsuited, sentence",
    [
        (["--port", "/dev/null", "--benchmark"], "--benchmark is not for one behind --port"),
        (["--port", "x", "--parameters", "y.npz"], "--parameters is not for one behind --port"),
        (["--baud", "9600"], "--baud is for a board behind --port"),
    ],
)
def test_options_of_the_other_kind_of_board_are_refused(files, capsys, unsuited, sentence):
    with pytest.raises(SystemExit):
        host.main(["tiny", "--images", "x.npy", "--out", "y.npy", *unsuited])
    assert sentence in capsys.readouterr().err


def fails(files, capsys, sentence, **arguments):
    assert run(files, **arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and sentence in error
    assert not (files.folder / "y.npy").exists()


def test_command_names_a_dropped_line(files, capsys):
    files.line.damage_request = lambda n, packet: b"" if n > 20 else packet
    fails(files, capsys, "was not classified after 4 attempts")


def test_command_names_images_of_wrong_shape(files, capsys):
    np.save(files.folder / "wrong.npy", images(2)[:, :3])
    fails(files, capsys, "images must be N x 4 x 3 x 2", images_file="wrong.npy")


def test_command_names_a_file_that_is_no_array(files, capsys):
    (files.folder / "text.npy").write_text("no array")
    fails(files, capsys, "text.npy' is no valid npy file", images_file="text.npy")


def test_command_names_a_missing_file(files, capsys):
    fails(files, capsys, "nowhere.npy' does not exist", images_file="nowhere.npy")


def test_command_names_a_port_that_cannot_be_opened(tmp_path, capsys):
    with pytest.raises(HostError, match="the serial port .*nowhere cannot be opened"):
        SerialTransport(str(tmp_path / "nowhere"))


def test_serial_transport_talks_to_a_terminal():
    import os
    import pty

    leader, follower = pty.openpty()
    transport = SerialTransport(os.ttyname(follower), baud=115_200)
    transport.write(b"\x00abc\xff")
    received = b""
    while len(received) < 5:
        received += os.read(leader, 16)
    assert received == b"\x00abc\xff"
    os.write(leader, b"xyz\x00")
    answer = transport.read(2, 1.0) + transport.read(16, 1.0)
    while len(answer) < 4:
        answer += transport.read(16, 1.0)
    assert answer == b"xyz\x00"
    assert transport.read(1, 0.01) == b""
    transport.close()
    os.close(leader)
    os.close(follower)
