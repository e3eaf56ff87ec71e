"""Writes a stream of bytes into regions of memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from boards.axi.gearbox import ByteGearbox, byte_lanes
from boards.axi.packer import WordPacker
from boards.axi.ports import AXIWrite, Burst, Response
from boards.axi.region import (
    BurstPlanner,
    Region,
    check_engine,
    exact_log2,
    narrow_lanes,
)
from hw.stream import Fork, StreamFIFO

__all__ = ["MemoryWriter"]

#: Bursts that may be outstanding at once.
_OUTSTANDING = 32


class MemoryWriter(wiring.Component):
    """Write bytes into regions of memory, one after the other.

    Parameters
    ----------
    address_bits, data_bits : int
        Of the memory port.
    lanes : int
        Bytes in a beat.
    burst_beats : int
        Words in a full burst, a power of two.
    depth : int
        Words that wait for their burst to be complete, at least ``burst_beats``.

    Members
    -------
    memory : AXIWrite
        Bursts of whole words, INCR, of id 0; none crosses a multiple of 4 KiB. A burst begins when
        all its data is there, address and data in the same cycle. ``bready`` is always 1.
    i_region : stream of Region, in
        At any address; lengths are positive multiples of ``lanes``. Nothing but these bytes of
        memory changes.
    i : stream of an array of ``lanes`` bytes, in
        The bytes of the regions, without a gap.
    done : Out(1)
        All bytes of the next region are in memory: one cycle for each region, in their order.
    stop : In(1)
        Begin no further bursts. It is remembered until reset.
    idle : Out(1)
        Nothing is outstanding, and no address or data is offered. After ``stop`` this stays so:
        now it may be reset.
    slverr, decerr : Out(1)
        A burst was answered by that response, one cycle each. This stops the writer as ``stop``
        does, and no region is reported as done any more.

    Cycles
    ------
    A beat each cycle from the input, a word each cycle to memory, a burst every other cycle,
    whichever is slowest. Where
    ``lanes`` are more than a word has bytes, as many of them at once as divide ``lanes`` and fit.

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
        depth: int = 64,
    ):
        memory = AXIWrite(address_bits, data_bits)
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
                "i_region": In(stream.Signature(Region(address_bits))),
                "i": In(stream.Signature(byte_lanes(lanes))),
                "done": Out(1),
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
        m.submodules.fork = fork = Fork(shape=self.i_region.payload.shape(), n=2)
        m.submodules.planner = planner = BurstPlanner(
            address_bits=self.address_bits,
            data_bits=self.data_bits,
            burst_beats=self.burst_beats,
        )
        m.submodules.packer = packer = WordPacker(
            address_bits=self.address_bits,
            word_bytes=word_bytes,
            lanes=narrow,
            burst_beats=self.burst_beats,
        )
        m.submodules.store = store = Memory(
            shape=packer.o.payload.shape(),
            depth=self.depth,
            init=[],
            attrs={"ram_style": "distributed"},
        )
        m.submodules.sent = sent = StreamFIFO(shape=1, depth=_OUTSTANDING)
        wiring.connect(m, wiring.flipped(self.i_region), fork.i)
        wiring.connect(m, fork.o_0, planner.i)
        wiring.connect(m, fork.o_1, packer.i_region)
        given = wiring.flipped(self.i)
        if narrow != self.lanes:
            m.submodules.gearbox = gearbox = ByteGearbox(i_bytes=self.lanes, o_bytes=narrow)
            wiring.connect(m, given, gearbox.i)
            given = gearbox.o
        wiring.connect(m, given, packer.i)

        # What comes from far away is put into registers first.
        answer = Signal()
        response = Signal(2, reset_less=True)
        m.d.sync += [answer.eq(memory.bvalid), response.eq(memory.bresp)]
        failed = Signal()
        stopped = Signal()
        lost = Signal()
        m.d.comb += failed.eq(answer & response[1])
        m.d.sync += [
            self.slverr.eq(failed & (response == Response.SLVERR)),
            self.decerr.eq(failed & (response == Response.DECERR)),
            stopped.eq(stopped | self.stop | failed),
            lost.eq(lost | failed),
            self.done.eq(answer & sent.o.payload & ~failed & ~lost),
        ]

        # Bursts whose words are all in the store: those that have not begun, and those that have
        # and still have words there. So it needs no other way to know that there is a word.
        word = packer.o.payload
        put, take, begin = Signal(), Signal(), Signal()
        room, some_whole, some_begun = Signal(init=1), Signal(), Signal()
        write, read = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [
            packer.o.ready.eq(room),
            put.eq(packer.o.valid & room),
            write.en.eq(put),
            write.data.eq(word),
            take.eq(some_begun & (memory.wready | ~memory.wvalid)),
        ]
        for port, moves in ((write, put), (read, take)):
            place = Signal(range(max(2, self.depth)))
            m.d.comb += port.addr.eq(place)
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == self.depth - 1, 0, place + 1))
        for name, some, up, down in (
            ("whole", some_whole, put & word.last, begin),
            ("begun", some_begun, begin, take & read.data.last),
        ):
            count = Signal(range(self.depth + 1), name=name)
            # What comes early decides the direction of a change, what comes late makes it.
            with m.If(up ^ down):
                m.d.sync += [
                    count.eq(Mux(up, count + 1, count - 1)),
                    some.eq(up | (count != 1)),
                ]
        used = Signal(range(self.depth + 1))
        with m.If(put ^ take):
            m.d.sync += [
                used.eq(Mux(put, used + 1, used - 1)),
                room.eq(~put | (used != self.depth - 1)),
            ]
        burst = planner.o.payload
        m.d.comb += [
            begin.eq(planner.o.valid & some_whole & sent.i.ready & ~memory.awvalid & ~stopped),
            planner.o.ready.eq(begin),
            # What is to be told of a burst's response waits here for it, so there is a burst under
            # way as long as there is anything here.
            sent.i.valid.eq(begin),
            sent.i.payload.eq(burst.last),
            sent.o.ready.eq(answer),
            self.idle.eq(~sent.o.valid & (stopped | ~self.stop)),
        ]

        address = Signal(self.address_bits, reset_less=True)
        beats = Signal(8, reset_less=True)
        sending = Signal(word.shape(), reset_less=True)
        m.d.comb += [
            memory.awaddr.eq(address),
            memory.awlen.eq(beats),
            memory.awsize.eq(exact_log2(word_bytes)),
            memory.awburst.eq(Burst.INCR),
            # Modifiable and bufferable: the interconnect may widen or merge it.
            memory.awcache.eq(0b0011),
            memory.wdata.eq(sending.data),
            memory.wstrb.eq(sending.strobe),
            memory.wlast.eq(sending.last),
            memory.bready.eq(1),
        ]
        with m.If(memory.awready | ~memory.awvalid):
            m.d.sync += [
                memory.awvalid.eq(begin),
                address.eq(burst.address),
                beats.eq(burst.beats),
            ]
        with m.If(memory.wready | ~memory.wvalid):
            m.d.sync += [memory.wvalid.eq(some_begun), sending.eq(read.data)]
        return m
