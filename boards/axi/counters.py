"""Counters of what happens on some streams, with one adder for all of them."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["StreamCounters"]

#: Registers of a stream: beats, blocked, starved, state.
_SLOTS = 4


class StreamCounters(wiring.Component):
    """Counts, for each of some streams, beats, cycles blocked and cycles starved.

    What happens is gathered in a few bits for each counter. One adder visits the counters in turn
    and adds these to words in a memory, which is much smaller than an adder for each.

    Parameters
    ----------
    streams : int
    bits : int
        Of a counter.

    Members
    -------
    valid, ready : In(streams), In(streams)
        Of each stream.
    busy : In(1)
        A stream is starved only while this is 1.
    clear : In(1)
        Set all counters to 0.
    read : In(1)
        A register is asked for, until ``done``.
    index : In(range(4 * streams))
        Which one: stream times 4, plus 0 for its beats, 1 for the cycles in which a
        beat was there and was not taken, 2 for those in which one could have been taken and was not
        there, 3 for its state: bit 0 valid, bit 1 ready.
    done : Out(1)
        For one cycle, at most ``interval + 2`` cycles after ``read`` began.
    value : Out(bits)
        With ``done``. Counters stop at their largest value. What happened up to the cycle before
        ``read`` began is in them.

    Attributes
    ----------
    interval : int
        Cycles in which the adder visits each counter once.

    Raises
    ------
    ValueError
        ``streams`` is not positive, or the counters are too small to gather for.
    """

    def __init__(self, *, streams: int, bits: int = 32):
        if not isinstance(streams, int) or streams < 1:
            raise ValueError(f"streams must be an integer of at least 1, not {streams!r}")
        self.streams = streams
        self.bits = bits
        self.interval = _SLOTS * streams
        if self.interval >= 1 << bits:
            raise ValueError(
                f"bits must be at least {self.interval.bit_length()} for {streams} streams, "
                f"not {bits}"
            )
        super().__init__(
            {
                "valid": In(streams),
                "ready": In(streams),
                "busy": In(1),
                "clear": In(1),
                "read": In(1),
                "index": In(range(self.interval)),
                "done": Out(1),
                "value": Out(bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = self.bits
        # The ready of a stream may come late in a cycle, so that nothing is done with it before.
        valid, ready = Signal(self.streams), Signal(self.streams)
        busy = Signal()
        m.d.sync += [valid.eq(self.valid), ready.eq(self.ready), busy.eq(self.busy)]

        slot = Signal(range(self.interval))
        m.d.sync += slot.eq(slot + 1)
        with m.If(slot == self.interval - 1):
            m.d.sync += slot.eq(0)

        gathered = []
        for stream in range(self.streams):
            v, r = valid[stream], ready[stream]
            for kind, event in enumerate((v & r, v & ~r, r & ~v & busy)):
                # It may happen in every cycle between two visits.
                count = Signal(range(self.interval + 1), name=f"gathered_{stream}_{kind}")
                with m.If(self.clear):
                    m.d.sync += count.eq(0)
                with m.Elif(slot == _SLOTS * stream + kind):
                    m.d.sync += count.eq(event)
                with m.Else():
                    m.d.sync += count.eq(count + event)
                gathered.append(count)
            gathered.append(Const(0))

        # After a reset or `clear`, what is in the memory does not count until all is visited.
        stale = Signal(range(self.interval + 1), init=self.interval)
        with m.If(self.clear):
            m.d.sync += stale.eq(self.interval)
        with m.Elif(stale != 0):
            m.d.sync += stale.eq(stale - 1)

        m.submodules.memory = memory = Memory(
            shape=unsigned(bits),
            depth=self.interval,
            init=[],
            attrs={"ram_style": "distributed"},
        )
        read = memory.read_port(domain="comb")
        write = memory.write_port()

        # Three stages: fetch, add, store.
        old, more = Signal(bits), Signal(range(self.interval + 1))
        state = Signal(2)
        fetched, added = Signal.like(slot), Signal.like(slot)
        asked, answered = Signal(), Signal()
        total = Signal(bits + 1)
        states = [Cat(v, r) for v, r in zip(valid, ready, strict=True)]
        m.d.comb += read.addr.eq(slot)
        m.d.sync += [
            old.eq(Mux(stale != 0, 0, read.data)),
            more.eq(Array(gathered)[slot]),
            state.eq(Array(states)[slot[2:]]),
            fetched.eq(slot),
            asked.eq(self.read & (slot == self.index)),
            total.eq(old + more),
            added.eq(fetched),
            answered.eq(asked),
        ]
        with m.If(fetched[:2] == _SLOTS - 1):
            m.d.sync += total.eq(state)
        stored = Signal(bits)
        m.d.comb += [
            stored.eq(total[:bits] | total[bits].replicate(bits)),
            write.addr.eq(added),
            write.data.eq(stored),
            write.en.eq(1),
        ]
        m.d.sync += [self.value.eq(stored), self.done.eq(answered)]
        return m
