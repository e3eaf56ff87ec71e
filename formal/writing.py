"""Properties of an engine that writes memory."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring

from boards.axi.ports import Response
from boards.axi.region import exact_log2
from formal.axi import channel, offer, steady
from formal.memory import Regions, Words, any_address, burst_rules, halts, past

__all__ = ["Writing"]


class Writing(Elaboratable):
    """A writer between any regions, any memory and bytes of all values.

    The bytes of the stream are numbered, so that no two of those that can be under way are equal.
    There is no reset but the first one.

    Parameters
    ----------
    unit : wiring.Component
        With the members and the parameters of :class:`boards.axi.writer.MemoryWriter`.
    beats : int
        Beats of a region, at most.
    faults : bool
        Whether `stop` and error responses come.
    prompt : bool
        Whether memory takes everything at once, and bytes are there when they are asked for.
    """

    def __init__(self, unit: wiring.Component, *, beats: int, faults: bool, prompt: bool = False):
        self.unit = unit
        self.beats = beats
        self.faults = faults
        self.prompt = prompt

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        bus = unit.memory
        word_bits = exact_log2(unit.data_bits // 8)
        address = any_address(m, unit.address_bits)
        regions = Regions(
            m, unit.i_region, address=address, word_bits=word_bits, lanes=unit.lanes,
            beats=self.beats,
        )  # fmt: skip
        self._bytes(m, len(regions.bytes))
        m.d.comb += Assume(~ResetSignal(), "no reset")

        aw, w = channel(bus, "aw"), channel(bus, "w")
        burst_rules(m, bus, "aw", word_bits)
        m.d.comb += [aw.ready.eq(AnySeq(1)), w.ready.eq(AnySeq(1))]
        begins = Signal()
        m.d.comb += begins.eq(aw.valid & ~past(m, "aw_waits", aw.valid & ~aw.ready))
        # One more is in the register at the port.
        words = Words(m, unit.depth + 1, address=address, word_bits=word_bits)
        words.move(begins, bus.awaddr, bus.awlen, w.fire)
        m.d.comb += [
            Assert(~w.valid | words.some, "data comes with its address or later"),
            Assert(~w.valid | (bus.wlast == words.last), "the last word of a burst is marked"),
            Assert(w.valid | (words.count == 0), "data comes without a pause once a burst began"),
            Assert(bus.bready, "responses are always taken"),
        ]

        # Bursts whose address, and whose data, were taken, less those that were answered.
        addressed = Signal(4)
        complete = Signal(4)
        outstanding = Signal(4)
        b = offer(m, "memory", bus, "b", some=(addressed != 0) & (complete != 0))
        m.d.sync += [
            addressed.eq(addressed + aw.fire - b.fire),
            complete.eq(complete + (w.fire & bus.wlast) - b.fire),
            outstanding.eq(outstanding + begins - b.fire),
        ]
        m.d.comb += Assume(~b.valid | (bus.bid == 0), "ids come back")
        if self.prompt:
            m.d.comb += [
                Assume(aw.ready & w.ready & unit.i.valid, "nothing has to wait"),
                Assume(b.valid | (addressed == 0) | (complete == 0), "responses come at once"),
            ]
        else:
            steady(m, "memory", bus, ("aw", "w"))
        if self.faults:
            m.d.comb += Assume(bus.bresp != Response.EXOKAY, "no exclusive access")
        else:
            m.d.comb += Assume(bus.bresp == Response.OKAY, "memory is sound")
        halts(
            m,
            unit,
            faults=self.faults,
            begins=begins,
            response=Mux(b.fire, bus.bresp, Response.OKAY),
            busy=aw.valid | w.valid | (outstanding != 0),
        )
        self._memory(m, bus, regions, words, address[:word_bits], complete)
        if self.faults:
            m.d.comb += Cover(
                past(m, "past_stop", unit.stop) & (words.count > 1), "it is stopped in a burst"
            )
        return m

    def _bytes(self, m, bits):
        """The stream of bytes."""
        unit = self.unit
        i, lanes = unit.i, unit.lanes
        first = Signal(bits, name="i_first")
        waits = past(m, "i_waits", i.valid & ~i.ready)
        with m.If(i.valid & i.ready):
            m.d.sync += first.eq(first + lanes)
        m.d.comb += i.valid.eq(waits | AnySeq(1))
        m.d.comb += [i.payload[k].eq((first + k)[:bits]) for k in range(lanes)]

    def _memory(self, m, bus, regions, words, lane, complete):
        """What becomes of the byte of memory, and of the region that it is of."""
        unit = self.unit
        w, b = channel(bus, "w"), channel(bus, "b")
        wanted = Signal()  # A region with the byte was taken, and is not done.
        byte = Signal.like(regions.bytes)  # That goes there.
        ahead = Signal(4)  # Regions that are to be done first.
        written = Signal()
        bursts = Signal(4)  # Those that are to be answered before the one with the byte.
        answered = Signal()
        regions_left = Signal(4)
        hit = Signal(name="byte_written")
        m.d.comb += [
            hit.eq(w.fire & words.hit & bus.wstrb.bit_select(lane, 1)),
            Assume(~(regions.has & wanted), "regions do not overlap until they are done"),
            Assert(~hit | (wanted & ~written), "each byte of a region is written once, no others"),
            Assert(
                ~(hit & wanted) | (bus.wdata.word_select(lane, 8) == byte),
                "a byte is written as it came",
            ),
            Assert(~unit.done | (regions_left != 0), "no more regions are done than were given"),
        ]
        m.d.sync += regions_left.eq(regions_left + regions.fire - unit.done)
        with m.If(b.fire & written & ~answered):
            m.d.sync += bursts.eq(bursts - 1)
            with m.If(bursts == 0):
                m.d.sync += answered.eq(1)
        with m.If(hit):
            m.d.sync += [written.eq(1), bursts.eq(complete - b.fire)]
        with m.If(unit.done & wanted):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.sync += [wanted.eq(0), written.eq(0), answered.eq(0)]
                m.d.comb += [
                    Assert(answered, "a region is done when all its bytes are in memory"),
                    Cover(byte > 1, "a region is done"),
                ]
        with m.If(regions.has):
            m.d.sync += [
                wanted.eq(1),
                byte.eq(regions.bytes + regions.distance),
                ahead.eq(regions_left - unit.done),
            ]
        failed = Signal(name="burst_failed")
        m.d.sync += failed.eq(failed | (b.fire & bus.bresp[1]))
        m.d.comb += Assert(
            ~unit.done | ~past(m, "burst_failed", failed, 1),
            "no region is done after a failure",
        )
