"""The registers of an accelerator behind AXI: the words that gateware and driver share.

All registers have 32 bits and are accessed whole; a 64-bit counter is two of them, and reading its
low half keeps its high half as it was then. Bits that are not mentioned read as 0. Writing a
register that cannot be written, or reading an address at which there is none, ends in SLVERR.

A *batch* is some frames whose images lie one behind the other in memory, without a gap, and whose
results are to lie so. The result of a frame is its scores as int32, raster order, channels minor,
and then, where the network has one, its label as uint32. Little-endian, at any byte address.
"""

import enum
import json
import zlib
from dataclasses import asdict, dataclass

__all__ = [
    "ADDRESS_BITS",
    "FIFO_MARKS",
    "IDENTITY",
    "INSIDE",
    "MAGIC",
    "STREAMS",
    "STREAM_STRIDE",
    "VERSION",
    "Control",
    "Fault",
    "Identity",
    "Interrupt",
    "Register",
    "Status",
    "StreamCounter",
]

#: Of the register space: 64 KiB.
ADDRESS_BITS = 16

#: First register of every accelerator: "BWXL".
MAGIC = int.from_bytes(b"BWXL", "little")

#: Version of this map; a driver refuses another one.
VERSION = 1


class Register(enum.IntEnum):
    """Byte addresses."""

    MAGIC = 0x000
    VERSION = 0x004
    #: Bytes of the identity at ``IDENTITY``.
    IDENTITY_BYTES = 0x008
    #: Write: bits of :class:`Control`. Reads as 0.
    CONTROL = 0x00C
    #: Bits of :class:`Status`; bits 8 to 15: batches for which there is room in the queue.
    STATUS = 0x010
    #: Bits of :class:`Fault`, kept until a reset.
    FAULT = 0x014
    #: Bits of :class:`Interrupt`: which of them raise the interrupt line.
    INTERRUPT_ENABLE = 0x018
    #: Bits of :class:`Interrupt`; writing a 1 clears a bit.
    INTERRUPT = 0x01C
    #: Byte address of the next batch's images, and of its results.
    IMAGES_LOW = 0x020
    IMAGES_HIGH = 0x024
    RESULTS_LOW = 0x028
    RESULTS_HIGH = 0x02C
    #: Frames of the next batch, 1 to 2**24 - 1.
    FRAMES = 0x030
    #: Writing anything puts the batch, as the registers before say, into the queue.
    SUBMIT = 0x034
    #: Batches whose results are all in memory, since reset; wraps.
    BATCHES = 0x038
    #: Frames that went into the accelerator whole, and those that came out of it, since reset.
    FRAMES_IN = 0x03C
    FRAMES_OUT = 0x040
    #: Clock cycles since reset or ``CLEAR``, and those of them in which a batch was under way.
    CYCLES_LOW = 0x048
    CYCLES_HIGH = 0x04C
    BUSY_LOW = 0x050
    BUSY_HIGH = 0x054
    #: SHA-256 of the network whose parameters are loaded, eight words, lowest first. Can be written
    #: where parameters can, by whom has written them.
    NETWORK = 0x060
    #: 32-bit words of parameters that can be written; 0 where they are fixed.
    PARAMETER_WORDS = 0x080
    #: Word that the next access of ``PARAMETER_DATA`` means; counts up by one after each access.
    PARAMETER_ADDRESS = 0x084
    #: While nothing is under way, parameters are written and read here.
    PARAMETER_DATA = 0x088


#: Counters of the shell's own streams: ``STREAM_STRIDE`` bytes each, in the order of
#: ``Identity.streams``; the members of :class:`StreamCounter` are offsets in them.
STREAMS = 0x400
STREAM_STRIDE = 16


class StreamCounter(enum.IntEnum):
    """Counters of a stream since reset or ``CLEAR``; each stops at its largest value."""

    #: Beats that went through.
    BEATS = 0
    #: Cycles in which a beat was there and was not taken.
    BLOCKED = 4
    #: Cycles, while a batch is under way, in which a beat could have been taken and none was there.
    STARVED = 8
    #: Now: bit 0 valid, bit 1 ready.
    STATE = 12


#: Most beats that were inside since reset or ``CLEAR``, one register for each of
#: ``Identity.fifos``.
FIFO_MARKS = 0x800

#: State now of the streams between the units, one register for 16 of ``Identity.inside``: valid of
#: number k in bit k, ready in bit 16 + k.
INSIDE = 0xC00

#: The identity: bytes as :meth:`Identity.pack` makes them, up to 8 KiB.
IDENTITY = 0x1000
IDENTITY_LIMIT = 0x2000


class Control(enum.IntFlag):
    """Bits of ``CONTROL``."""

    #: Begin anew: no further bursts, those under way are let finish, then everything is reset but
    #: for interrupt enables, parameters and what the next batch is. ``Status.RESETTING`` tells how
    #: long it takes; until then a ``SUBMIT`` is lost.
    RESET = 1 << 0
    #: Set all counters and marks to 0.
    CLEAR = 1 << 1


class Status(enum.IntFlag):
    """Bits of ``STATUS``."""

    #: A batch is under way or waits.
    BUSY = 1 << 0
    RESETTING = 1 << 1
    #: ``FAULT`` is not 0; nothing goes on until a reset.
    FAULT = 1 << 2
    #: No read, and no write, is under way on the memory port.
    READ_IDLE = 1 << 3
    WRITE_IDLE = 1 << 4


class Fault(enum.IntFlag):
    """Bits of ``FAULT``."""

    READ_SLVERR = 1 << 0
    READ_DECERR = 1 << 1
    WRITE_SLVERR = 1 << 2
    WRITE_DECERR = 1 << 3
    #: ``SUBMIT`` while the queue was full, of no frames, or of 2**38 bytes or more: that batch is
    #: not in the queue.
    SUBMIT = 1 << 4

    @property
    def sentence(self) -> str:
        """What happened, for a user."""
        sentences = {
            Fault.READ_SLVERR: "reading images, the memory answered with an error (SLVERR)",
            Fault.READ_DECERR: "reading images, nothing answered at that address (DECERR)",
            Fault.WRITE_SLVERR: "writing results, the memory answered with an error (SLVERR)",
            Fault.WRITE_DECERR: "writing results, nothing answered at that address (DECERR)",
            Fault.SUBMIT: "a batch was submitted to a full queue, or had no frames or too many",
        }
        return " and ".join(text for fault, text in sentences.items() if fault in self)


class Interrupt(enum.IntFlag):
    """Bits of ``INTERRUPT`` and ``INTERRUPT_ENABLE``."""

    #: A batch is done.
    DONE = 1 << 0
    #: ``FAULT`` became other than 0.
    FAULT = 1 << 1


@dataclass(frozen=True)
class Identity:
    """What an accelerator behind AXI says of itself.

    Parameters
    ----------
    name, board : str
        Of the network that it was built for, and of the board.
    network, folding : str
        SHA-256 in hexadecimal of that network, and of its folding file's text.
    image : tuple of height, width, channels
        uint8, channels last.
    result : tuple of height, width, channels
        Of the scores, int32.
    label : bool
        Whether a uint32 label follows the scores.
    interval, latency : int
        Cycles a frame in steady state, and cycles from the first beat in to the last score out.
    clock_hz : int
    data_bits : int
        Width of the memory port.
    queue : int
        Batches that wait or are under way at once, at most.
    streams : tuple of str
        The shell's own streams, which have counters.
    inside : tuple of str
        The streams between the units of the accelerator, as "from -> to".
    fifos : tuple of (str, int)
        FIFOs with a high-water mark, and their depths.
    parameter_words : int
        32-bit words of parameters that can be written; 0 where they are fixed.
    """

    name: str
    board: str
    network: str
    folding: str
    image: tuple[int, int, int]
    result: tuple[int, int, int]
    label: bool
    interval: int
    latency: int
    clock_hz: int
    data_bits: int = 128
    queue: int = 0
    streams: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    fifos: tuple[tuple[str, int], ...] = ()
    parameter_words: int = 0

    @property
    def image_bytes(self) -> int:
        height, width, channels = self.image
        return height * width * channels

    @property
    def result_bytes(self) -> int:
        height, width, channels = self.result
        return 4 * (height * width * channels + self.label)

    def pack(self) -> bytes:
        """JSON, compressed, in whole 32-bit words.

        Raises
        ------
        ValueError
            It is too long for its place.
        """
        packed = zlib.compress(json.dumps(asdict(self), separators=(",", ":")).encode(), 9)
        packed += bytes(-len(packed) % 4)
        if len(packed) > IDENTITY_LIMIT:
            raise ValueError(f"an identity must fit {IDENTITY_LIMIT} bytes, not {len(packed)}")
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> "Identity":
        """The identity that :meth:`pack` packed.

        Raises
        ------
        ValueError
            It is damaged, or of another version.
        """
        try:
            fields = json.loads(zlib.decompressobj().decompress(packed))
            for name in ("image", "result", "streams", "inside"):
                fields[name] = tuple(fields[name])
            fields["fifos"] = tuple((name, depth) for name, depth in fields["fifos"])
            return cls(**fields)
        except (zlib.error, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"the identity is damaged ({error})") from None
