"""The packets between host and board, in plain Python: the words that both sides use.

Every packet, in either direction, is

====== ====== ==========================================================
offset length meaning
====== ====== ==========================================================
0      2      magic: ``BW`` to the board, ``bw`` from the board
2      1      kind, one of :class:`Kind`
3      1      sequence number, chosen by the host and given back in the reply
4      4      length n of the payload in bytes, little-endian
8      n      payload
8+n    4      CRC-32 (that of zlib and Ethernet) of all bytes before it, little-endian
====== ====== ==========================================================

Requests:

* ``IDENTIFY``, no payload. Answered by ``IDENTITY`` with the fields of :class:`Identity`.
* ``CLASSIFY``, payload one image: uint8, raster order, channels last. Answered by ``RESULT``: the
  label as uint16, then one int32 score for each class, all little-endian.

Each request that is understood gets one reply, and replies come in the order of their requests. A
request that is not understood is answered by ``ERROR`` with one byte, a :class:`Fault`. The board
then ignores the line until no byte has come for ``GAP_BYTES`` byte times, so what it reads next
is the start of a packet again, whatever was lost or added before. The same silence in the middle
of a packet ends that packet. Between packets, bytes that are not the magic are skipped.

An image reaches the accelerator only after its checksum was found right.
"""

import enum
import struct
import zlib
from dataclasses import dataclass

__all__ = [
    "GAP_BYTES",
    "HEADER",
    "PACKET_OVERHEAD",
    "REPLY_MAGIC",
    "REQUEST_MAGIC",
    "VERSION",
    "Fault",
    "Identity",
    "Kind",
    "Packet",
    "PacketScanner",
    "decode_result",
    "encode_packet",
]

#: Version of this protocol; a host refuses a board that speaks another one.
VERSION = 1
REQUEST_MAGIC = b"BW"
REPLY_MAGIC = b"bw"
HEADER = struct.Struct("<2sBBI")
CHECKSUM = struct.Struct("<I")
PACKET_OVERHEAD = HEADER.size + CHECKSUM.size

#: Silence that ends a packet, in byte times. Operating systems and USB adapters send in bursts,
#: with pauses of a few milliseconds; 2,000 byte times are 20 ms at 1 Mbaud.
GAP_BYTES = 2000


class Kind(enum.IntEnum):
    """What a packet is."""

    IDENTIFY = 0x01
    CLASSIFY = 0x02
    IDENTITY = 0x81
    RESULT = 0x82
    ERROR = 0x83


class Fault(enum.IntEnum):
    """Why the board did not carry out a request."""

    CHECKSUM = 1
    LENGTH = 2
    KIND = 3
    INCOMPLETE = 4
    BUSY = 5

    @property
    def sentence(self) -> str:
        return {
            Fault.CHECKSUM: "the checksum of the request was wrong",
            Fault.LENGTH: "the length of the request was wrong",
            Fault.KIND: "the kind of the request is unknown to the board",
            Fault.INCOMPLETE: "the request stopped before its end",
            Fault.BUSY: "the board had no room for another image",
        }[self]


@dataclass(frozen=True)
class Identity:
    """What the board is built for.

    Parameters
    ----------
    digest : bytes
        SHA-256 of the integer network, 32 bytes.
    height, width, channels : int
        Geometry of an image.
    classes : int
    buffers : int
        Images that the board takes in before it has answered the first of them.
    gap_bytes : int
        Silence that ends a packet, in byte times.
    clock_hz : int
        Clock of the accelerator.
    interval, latency : int
        Cycles a frame in steady state, and cycles from the first beat in to the label out.
    """

    digest: bytes
    height: int
    width: int
    channels: int
    classes: int
    buffers: int
    gap_bytes: int
    clock_hz: int
    interval: int
    latency: int

    _FIELDS = struct.Struct("<B32s4HBHIII")

    def __post_init__(self):
        if len(self.digest) != 32:
            raise ValueError(f"digest must have 32 bytes, not {len(self.digest)}")
        try:
            self.pack()
        except struct.error as error:
            raise ValueError(f"identity does not fit its packet: {error}") from None

    @property
    def image_bytes(self) -> int:
        return self.height * self.width * self.channels

    @property
    def result_bytes(self) -> int:
        """Payload of a result: label and scores."""
        return 2 + 4 * self.classes

    def pack(self) -> bytes:
        """The payload of an ``IDENTITY`` packet."""
        return self._FIELDS.pack(
            VERSION,
            self.digest,
            self.height,
            self.width,
            self.channels,
            self.classes,
            self.buffers,
            self.gap_bytes,
            self.clock_hz,
            self.interval,
            self.latency,
        )

    @classmethod
    def unpack(cls, payload: bytes) -> "Identity":
        """The identity in an ``IDENTITY`` packet.

        Raises
        ------
        ValueError
            The board speaks another version of the protocol.
        """
        if payload[:1] != bytes([VERSION]):
            spoken = payload[0] if payload else "none"
            raise ValueError(f"the board speaks version {spoken} of the protocol, not {VERSION}")
        if len(payload) != cls._FIELDS.size:
            raise ValueError(f"an identity must have {cls._FIELDS.size} bytes, not {len(payload)}")
        return cls(*cls._FIELDS.unpack(payload)[1:])


@dataclass(frozen=True)
class Packet:
    """A packet whose checksum was right."""

    kind: int
    sequence: int
    payload: bytes


def encode_packet(magic: bytes, kind: int, sequence: int, payload: bytes = b"") -> bytes:
    """The bytes of one packet."""
    body = HEADER.pack(magic, kind, sequence, len(payload)) + payload
    return body + CHECKSUM.pack(zlib.crc32(body))


def decode_result(payload: bytes, classes: int) -> tuple[int, list[int]]:
    """Label and scores in a ``RESULT`` packet."""
    label, *scores = struct.unpack(f"<H{classes}i", payload)
    return label, scores


class PacketScanner:
    """Finds the packets in a stream of bytes that may have lost, damaged or added ones.

    Parameters
    ----------
    magic : bytes
        Magic of the packets to find.
    longest : int
        Longest payload to expect; a header that promises more is not a header.
    """

    def __init__(self, magic: bytes, longest: int):
        self.magic = magic
        self.longest = longest
        self._pending = b""

    @property
    def partial(self) -> bool:
        """Whether there are bytes left over that are no whole packet."""
        return bool(self._pending)

    def clear(self) -> None:
        """Forget what was left over."""
        self._pending = b""

    def missing(self) -> int:
        """Bytes that the packet in front still lacks, at least 1."""
        if len(self._pending) < HEADER.size:
            return HEADER.size - len(self._pending)
        length = HEADER.unpack_from(self._pending)[3]
        return max(1, HEADER.size + length + CHECKSUM.size - len(self._pending))

    def feed(self, received: bytes) -> list[Packet]:
        """Take ``received`` in and return the packets that are complete now."""
        self._pending += received
        packets = []
        while True:
            self._seek()
            if len(self._pending) < HEADER.size:
                return packets
            _, kind, sequence, length = HEADER.unpack_from(self._pending)
            end = HEADER.size + length
            if length <= self.longest and len(self._pending) < end + CHECKSUM.size:
                return packets
            if length <= self.longest and CHECKSUM.unpack_from(self._pending, end)[0] == zlib.crc32(
                self._pending[:end]
            ):
                packets.append(Packet(kind, sequence, self._pending[HEADER.size : end]))
                self._pending = self._pending[end + CHECKSUM.size :]
            else:
                # A true packet may start inside a damaged one: look again one byte further on.
                self._pending = self._pending[1:]

    def _seek(self) -> None:
        start = self._pending.find(self.magic)
        if start >= 0:
            self._pending = self._pending[start:]
        else:
            cut = self._pending.endswith(self.magic[:1])
            self._pending = self.magic[:1] if cut else b""
