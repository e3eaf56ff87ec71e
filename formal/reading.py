"""Properties of an engine that reads memory."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring

from boards.axi.ports import Response
from boards.axi.region import exact_log2
from formal.axi import channel, steady, within
from formal.memory import Regions, Words, any_address, any_constant, burst_rules, halts, past
from formal.stream import Steady

__all__ = ["Reading"]


class Reading(Elaboratable):
    """A reader between any regions, any memory and anything that takes the bytes.

    The byte of memory that is followed is 1 and all others are 0, or the other way round, since the
    reader does not look at them. There is no reset but the first one.

    Parameters
    ----------
    unit : wiring.Component
        With the members and the parameters of :class:`boards.axi.reader.MemoryReader`.
    beats : int
        Beats of a region, at most.
    faults : bool
        Whether `stop` and error responses come.
    patience : int or None
        Cycles within which a beat that there is is offered, where memory answers at once; None to
        leave memory free.
    """

    def __init__(
        self, unit: wiring.Component, *, beats: int, faults: bool, patience: int | None = None
    ):
        self.unit = unit
        self.beats = beats
        self.faults = faults
        self.patience = patience

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        bus = unit.memory
        word_bits = exact_log2(unit.data_bits // 8)
        address = any_address(m, unit.address_bits)
        content = any_constant(m, "content", 1)
        m.d.comb += Assume(~ResetSignal(), "no reset")
        regions = Regions(
            m, unit.i, address=address, word_bits=word_bits, lanes=unit.lanes, beats=self.beats
        )
        words = Words(m, unit.depth, address=address, word_bits=word_bits)
        self._memory(m, bus, words, address[:word_bits], content)
        self._bytes(m, regions, content)
        self._halt(m, bus, words)

        # Regions that are yet to be asked for a word of theirs.
        due = Signal(4)
        m.d.sync += due.eq(due + regions.has_word - words.has)
        m.d.comb += Assert(
            ~words.has | (due != 0), "a word is read once for each region that it is of"
        )
        return m

    def _memory(self, m, bus, words, lane, content):
        """A memory that answers burst after burst."""
        ar = channel(bus, "ar")
        # Words are always taken, so that none needs to stay.
        r = channel(bus, "r")
        m.d.comb += [
            r.valid.eq((words.count != 0) & AnySeq(1)),
            bus.rlast.eq(words.last),
            bus.rresp.eq(AnySeq(2)),
        ]
        for k in range(1 << len(lane)):
            here = words.hit & (lane == k)
            m.d.comb += bus.rdata.word_select(k, 8).eq(Mux(here, content, ~content))
        words.move(ar.fire, bus.araddr, bus.arlen, r.fire)
        burst_rules(m, bus, "ar", exact_log2(self.unit.data_bits // 8))
        m.d.comb += [
            ar.ready.eq(AnySeq(1)),
            Assert(bus.rready, "words are always taken"),
        ]
        if self.faults:
            m.d.comb += Assume(bus.rresp != Response.EXOKAY, "no exclusive access")
        else:
            m.d.comb += Assume(bus.rresp == Response.OKAY, "memory is sound")
        if self.patience is not None:
            m.d.comb += [
                Assume(~ar.valid | ar.ready, "addresses are taken at once"),
                Assume(r.valid | (words.count == 0), "words come at once"),
            ]
        else:
            steady(m, "memory", bus, ("ar",))
            m.d.comb += Cover(words.count == self.unit.depth, "all room is asked for")

    def _bytes(self, m, regions, content):
        """The bytes come out as they are in memory, those of one region after the other."""
        o, lanes = self.unit.o, self.unit.lanes
        m.submodules.o_steady = Steady("o", o.valid, o.ready, o.payload)
        m.d.comb += o.ready.eq(AnySeq(1))
        gone = Signal.like(regions.bytes)
        pending = Signal.like(regions.bytes)
        left = Signal.like(regions.bytes)
        fire = Signal(name="o_fire")
        followed = Signal()
        ahead = Signal.like(regions.bytes)
        byte = Signal(8)
        m.d.comb += [
            pending.eq(regions.bytes - gone),
            fire.eq(o.valid & o.ready),
            left.eq(pending - Mux(fire, lanes, 0)),
            byte.eq(o.payload.as_value().word_select(ahead, 8)),
            Assert(~o.valid | (pending >= lanes), "only bytes of regions are given"),
        ]
        with m.If(fire):
            m.d.sync += gone.eq(gone + lanes)
        with m.If(followed & fire):
            m.d.sync += ahead.eq(ahead - lanes)
            with m.If(ahead < lanes):
                m.d.sync += followed.eq(0)
                m.d.comb += Assert(byte == content, "a byte is given as it is in memory")
                for k in range(lanes):
                    m.d.comb += Cover(ahead == k, f"a byte is given in lane {k}")
        with m.If(regions.has & ~followed & AnySeq(1)):
            m.d.sync += [followed.eq(1), ahead.eq(left + regions.distance)]
        if self.patience is not None:
            m.d.comb += Assert(
                within(m, "o", self.patience, waits=(pending >= lanes) & ~o.valid),
                f"a beat is offered within {self.patience} cycles",
            )

    def _halt(self, m, bus, words):
        """The reader stops, and is idle when memory has nothing to answer."""
        unit = self.unit
        ar, r = channel(bus, "ar"), channel(bus, "r")
        halts(
            m,
            unit,
            faults=self.faults,
            begins=ar.valid & ~past(m, "ar_waits", ar.valid & ~ar.ready),
            response=Mux(r.fire, bus.rresp, Response.OKAY),
            busy=ar.valid | (words.count != 0),
        )
        if self.faults:
            stopped = past(m, "past_stop", unit.stop)
            m.d.comb += Cover(stopped & (words.count > 1), "it is stopped in a burst")
