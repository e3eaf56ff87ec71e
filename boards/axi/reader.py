"""Reads regions of memory as a stream of bytes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.gearbox import ByteGearbox, byte_lanes
from boards.axi.ports import AXIRead, Burst, Response
from boards.axi.region import BurstPlanner, Region, check_engine, exact_log2, narrow_lanes
from boards.axi.unpacker import WordUnpacker
from hw.stream import StreamFIFO

__all__ = ["MemoryReader"]

#: Bursts that may be outstanding at once.
_OUTSTANDING = 32


class MemoryReader(wiring.Component):
    """Read regions of memory, one after the other, and give their bytes.

    Parameters
    ----------
    address_bits, data_bits : int
        Of the memory port.
    lanes : int
        Bytes in a beat.
    burst_beats : int
        Words in a full burst, a power of two.
    depth : int
        Words that may be asked for and not yet given. At full rate it covers the latency of the
        memory, in cycles, and one burst more.

    Members
    -------
    memory : AXIRead
        Bursts of whole words, INCR, of id 0; none crosses a multiple of 4 KiB. ``rready`` is always
        1, as there is room before a burst is asked for.
    i : stream of Region, in
        At any address; lengths are positive multiples of ``lanes``.
    o : stream of an array of ``lanes`` bytes, out
        The bytes of the regions, without a gap.
    stop : In(1)
        Begin no further bursts, and throw away the data of those that are outstanding. It is
        remembered until reset.
    idle : Out(1)
        Nothing is outstanding, and no address is offered. After ``stop`` this stays so: now it may
        be reset.
    slverr, decerr : Out(1)
        A word came with that response, one cycle each. This stops the reader as ``stop`` does.

    Cycles
    ------
    A burst every other cycle, a word each cycle from memory, a beat each cycle to the output,
    whichever is slowest. Where
    ``lanes`` are more than a word has bytes, as many of them at once as divide ``lanes`` and fit.

    Latency
    -------
    With a memory whose first word comes ``latency`` cycles after its address, the first beat comes
    ``latency + 12`` cycles after its region, and one more where it lies in two words.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(
        self,
        *,
        lanes: int,
        address_bits: int = 40,
        data_bits: int = 128,
        burst_beats: int = 16,
        depth: int = 256,
    ):
        memory = AXIRead(address_bits, data_bits)
        check_engine(
            address_bits=address_bits,
            data_bits=data_bits,
            lanes=lanes,
            burst_beats=burst_beats,
            depth=depth,
        )
        self.address_bits = address_bits
        self.data_bits = data_bits
        self.lanes = lanes
        self.burst_beats = burst_beats
        self.depth = depth
        super().__init__(
            {
                "memory": Out(memory),
                "i": In(stream.Signature(Region(address_bits))),
                "o": Out(stream.Signature(byte_lanes(lanes))),
                "stop": In(1),
                "idle": Out(1, init=1),
                "slverr": Out(1),
                "decerr": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word_bytes = self.data_bits // 8
        narrow = narrow_lanes(self.lanes, word_bytes)
        memory = self.memory
        m.submodules.planner = planner = BurstPlanner(
            address_bits=self.address_bits,
            data_bits=self.data_bits,
            burst_beats=self.burst_beats,
        )
        m.submodules.unpacker = unpacker = WordUnpacker(word_bytes=word_bytes, lanes=narrow)
        edges = unpacker.i.payload.edges.shape()
        m.submodules.asked = asked = StreamFIFO(shape=edges, depth=_OUTSTANDING)
        m.submodules.words = words = StreamFIFO(shape=unpacker.i.payload.shape(), depth=self.depth)
        wiring.connect(m, words=words.o, unpacker=unpacker.i)
        wiring.connect(m, wiring.flipped(self.i), planner=planner.i)
        given = unpacker.o
        if narrow != self.lanes:
            m.submodules.gearbox = gearbox = ByteGearbox(i_bytes=narrow, o_bytes=self.lanes)
            wiring.connect(m, unpacker=unpacker.o, gearbox=gearbox.i)
            given = gearbox.o
        wiring.connect(m, given, wiring.flipped(self.o))

        # What comes from far away is put into registers first.
        answer = Signal()
        word = Signal(byte_lanes(word_bytes), reset_less=True)
        response = Signal(2, reset_less=True)
        last = Signal(reset_less=True)
        m.d.sync += [
            answer.eq(memory.rvalid),
            word.eq(memory.rdata),
            response.eq(memory.rresp),
            last.eq(memory.rlast),
        ]
        failed = Signal()
        stopped = Signal()
        m.d.comb += failed.eq(answer & response[1])
        m.d.sync += [
            self.slverr.eq(failed & (response == Response.SLVERR)),
            self.decerr.eq(failed & (response == Response.DECERR)),
            stopped.eq(stopped | self.stop | failed),
        ]

        # Room that is neither taken by words nor promised to bursts. A word that leaves gives its
        # room back one cycle later.
        room = Signal(range(self.depth + 1), init=self.depth)
        after = Signal(range(-256, self.depth + 1))
        left = Signal()
        ask = Signal()
        burst = planner.o.payload
        m.d.comb += [
            after.eq(room - burst.beats - 1),
            ask.eq(planner.o.valid & (after >= 0) & asked.i.ready & ~memory.arvalid & ~stopped),
            planner.o.ready.eq(ask),
        ]
        m.d.sync += [
            left.eq(words.o.valid & words.o.ready),
            room.eq(Mux(ask, after, room) + left),
        ]

        address = Signal(self.address_bits, reset_less=True)
        beats = Signal(8, reset_less=True)
        m.d.comb += [
            memory.araddr.eq(address),
            memory.arlen.eq(beats),
            memory.arsize.eq(exact_log2(word_bytes)),
            memory.arburst.eq(Burst.INCR),
            # Modifiable and bufferable: the interconnect may widen or merge it.
            memory.arcache.eq(0b0011),
            memory.rready.eq(1),
        ]
        with m.If(memory.arready | ~memory.arvalid):
            m.d.sync += [
                memory.arvalid.eq(ask),
                address.eq(burst.address),
                beats.eq(burst.beats),
            ]

        # What the words of a burst need to know waits here for them, so there is a burst under way
        # as long as there is anything here.
        m.d.comb += [
            asked.i.valid.eq(ask),
            asked.i.payload.last.eq(burst.last),
            asked.i.payload.start.eq(burst.start),
            asked.i.payload.end.eq(burst.end),
            asked.o.ready.eq(answer & last),
            self.idle.eq(~asked.o.valid & (stopped | ~self.stop)),
            words.i.valid.eq(answer & ~failed & ~stopped),
            words.i.payload.bytes.eq(word),
            words.i.payload.edges.eq(asked.o.payload),
            words.i.payload.edges.last.eq(asked.o.payload.last & last),
        ]
        return m
