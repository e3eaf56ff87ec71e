"""A board behind a serial line.

    with Connection(SerialTransport("/dev/ttyUSB0"), network=network) as board:
        labels, scores = board.classify(images)

A transport is anything that moves bytes: the serial port here, or a simulated line. Nothing in this
module looks at the time of day; all waiting happens in the transport, so a simulated line
waits in simulated time.
"""

import os
from typing import Protocol

import numpy as np

from boards.host.error import HostError
from boards.host.images import check_images
from boards.protocol import (
    GAP_BYTES,
    PACKET_OVERHEAD,
    REPLY_MAGIC,
    REQUEST_MAGIC,
    Fault,
    Identity,
    Kind,
    Packet,
    PacketScanner,
    decode_result,
    encode_packet,
)

__all__ = ["Connection", "SerialTransport", "Transport"]


#: Longest payload that is expected before the board has said what it is built for.
_LONGEST_AT_FIRST = 256


class Transport(Protocol):
    """A line to the board.

    Members
    -------
    baud : int
        Bits a second, ten of which make a byte; time-outs are computed from it.
    """

    baud: int

    def write(self, sent: bytes) -> None:
        """Send all of ``sent``. Raises ``OSError`` if the line is gone."""

    def read(self, size: int, timeout: float) -> bytes:
        """Return at most ``size`` bytes as soon as there are some; none after ``timeout`` s.

        Raises ``OSError`` if the line is gone.
        """

    def close(self) -> None:
        """Let go of the line."""


class SerialTransport:
    """A serial port.

    Parameters
    ----------
    port : str
        As the system names it, such as ``/dev/ttyUSB0``.
    baud : int

    Raises
    ------
    HostError
        The port cannot be opened, ``baud`` is not positive, or pyserial is missing.
    """

    def __init__(self, port: str, baud: int = 1_000_000):
        try:
            import serial
        except ImportError:
            raise HostError("pyserial is missing; install it with `pip install pyserial`") from None
        if baud < 1:
            raise HostError(f"baud must be at least 1, not {baud}")
        self.baud = baud
        try:
            self._line = serial.Serial(port, baudrate=baud, timeout=0)
        except (OSError, ValueError) as error:
            raise HostError(f"the serial port {port} cannot be opened: {error}") from None

    def write(self, sent: bytes) -> None:
        self._line.write(sent)

    def read(self, size: int, timeout: float) -> bytes:
        self._line.timeout = timeout
        first = self._line.read(1)
        if not first or size == 1:
            return first
        self._line.timeout = 0
        return first + self._line.read(size - 1)

    def close(self) -> None:
        self._line.close()


class Connection:
    """A board that answers.

    Parameters
    ----------
    transport : Transport
        Closed together with the connection.
    network : model.graph.Network or None
        If given, a board that was built for another network is refused.
    slack : float
        Seconds that an answer may be late, beyond what line and accelerator need.
    retries : int
        Times that a request is sent again before the line is given up.
    gap_bytes : int
        Silence after which the board reads the start of a packet, in byte times.

    Members
    -------
    identity : Identity
        What the board says of itself.
    retried : int
        Requests that had to be sent again so far.

    Raises
    ------
    HostError
        No board answers, or it is built for another network.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        network=None,
        slack: float = 0.5,
        retries: int = 3,
        gap_bytes: int = GAP_BYTES,
    ):
        self.transport = transport
        self.retried = 0
        self._slack = slack
        self._retries = retries
        self._gap_bytes = gap_bytes
        self._byte_time = 10 / transport.baud
        self._sequence = os.urandom(1)[0]
        self._scanner = PacketScanner(REPLY_MAGIC, longest=_LONGEST_AT_FIRST)
        # Bytes and seconds of a frame, known once the board has said what it is built for.
        self._line_bytes = self._board_seconds = 0.0
        try:
            self.identity = identity = self._identify()
            self._scanner.longest = max(_LONGEST_AT_FIRST, identity.result_bytes)
            self._line_bytes = identity.image_bytes + identity.result_bytes
            self._board_seconds = max(identity.interval, identity.latency) / identity.clock_hz
            if network is not None:
                _check_network(self.identity, network)
        except BaseException:
            transport.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        self.transport.close()

    def classify(self, images: np.ndarray, progress=None) -> tuple[np.ndarray, np.ndarray]:
        """Classify ``images``.

        Parameters
        ----------
        images : uint8 array of N, height, width, channels
        progress : callable or None
            Called with the number of images that are done.

        Returns
        -------
        labels : int64 array of N
        scores : int32 array of N, classes

        Raises
        ------
        ValueError
            ``images`` has another shape or type.
        HostError
            The line is gone, or answers stay damaged.
        """
        identity = self.identity
        shape = (identity.height, identity.width, identity.channels)
        requests = [image.tobytes() for image in check_images(images, shape)]
        labels = np.zeros(len(requests), dtype=np.int64)
        scores = np.zeros((len(requests), self.identity.classes), dtype=np.int32)
        first = self._sequence
        self._sequence = (self._sequence + len(requests)) % 256
        done = sent = attempts = 0
        while done < len(requests):
            while sent < min(len(requests), done + self.identity.buffers):
                sequence = (first + sent) % 256
                self._send(Kind.CLASSIFY, sequence, requests[sent])
                sent += 1
            packet = self._receive(self._answer_time(sent - done))
            ahead = (packet.sequence - first - done) % 256 if packet is not None else None
            if packet is not None and packet.kind == Kind.RESULT:
                if ahead == 0 and len(packet.payload) == self.identity.result_bytes:
                    labels[done], scores[done] = decode_result(
                        packet.payload, self.identity.classes
                    )
                    done += 1
                    attempts = 0
                    if progress is not None:
                        progress(done)
                    continue
                if ahead >= sent - done:
                    # The second answer to a request that was sent again.
                    continue
            attempts += 1
            self.retried += 1
            if attempts > self._retries:
                raise HostError(
                    f"image {done} was not classified after {attempts} attempts: "
                    f"{_complaint(packet)}"
                )
            # Replies come in order, so everything from the missing one on is sent again.
            request = identity.image_bytes + PACKET_OVERHEAD
            self._wait_for_silence((sent - done) * request)
            sent = done
        return labels, scores

    def _identify(self) -> Identity:
        packet = None
        for attempt in range(self._retries + 1):
            if attempt:
                self.retried += 1
                self._wait_for_silence(PACKET_OVERHEAD)
            sequence = self._sequence
            self._sequence = (self._sequence + 1) % 256
            self._send(Kind.IDENTIFY, sequence)
            for _ in range(16):
                packet = self._receive(self._answer_time(1))
                if packet is None:
                    break
                if packet.kind == Kind.IDENTITY and packet.sequence == sequence:
                    try:
                        return Identity.unpack(packet.payload)
                    except ValueError as error:
                        raise HostError(str(error)) from None
                if packet.kind == Kind.ERROR:
                    break
        raise HostError(f"no board answers on this line: {_complaint(packet)}")

    def _send(self, kind: Kind, sequence: int, payload: bytes = b"") -> None:
        try:
            self.transport.write(encode_packet(REQUEST_MAGIC, kind, sequence, payload))
        except OSError as error:
            raise HostError(f"the line to the board is gone: {error}") from None

    def _receive(self, timeout: float) -> Packet | None:
        """The next good packet, or None if it is late or buried in noise."""
        packets = self._scanner.feed(b"")
        noise = 4 * self._scanner.longest
        while not packets:
            received = self._read(self._scanner.missing(), timeout)
            noise -= len(received)
            if not received or noise < 0:
                return None
            packets = self._scanner.feed(received)
        # One packet was missing when the scanner was asked, so at most one is complete now.
        return packets[0]

    def _read(self, size: int, timeout: float) -> bytes:
        try:
            return self.transport.read(size, timeout)
        except OSError as error:
            raise HostError(f"the line to the board is gone: {error}") from None

    def _wait_for_silence(self, written: int) -> None:
        """Wait until the board has seen its gap and has nothing more to say.

        Of the bytes written last, as many may still be on their way: a line takes them at once.
        """
        silence = (1.25 * self._gap_bytes + written) * self._byte_time
        for _ in range(1000):
            if not self._read(4096, silence):
                break
        else:
            raise HostError("the line to the board does not fall silent")
        self._scanner.clear()

    def _answer_time(self, outstanding: int) -> float:
        """Seconds in which something must come back."""
        line = 4 * PACKET_OVERHEAD + 256 + outstanding * self._line_bytes
        return line * self._byte_time + (1 + outstanding) * self._board_seconds + self._slack


def _complaint(packet: Packet | None) -> str:
    if packet is None:
        return "there was no intact answer in time"
    if packet.kind == Kind.ERROR:
        try:
            return Fault(packet.payload[0]).sentence
        except (ValueError, IndexError):
            return "the board reports an error that is not known here"
    return "the answer does not belong to the request"


def _check_network(identity: Identity, network) -> None:
    digest = bytes.fromhex(network.digest())
    if identity.digest != digest:
        raise HostError(
            f"the board is built for another network: its digest is "
            f"{identity.digest.hex()[:12]}, that of {network.name} is {digest.hex()[:12]}"
        )
