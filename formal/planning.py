"""Properties of what divides regions into bursts."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring

from boards.axi.region import exact_log2
from formal.memory import past
from formal.stream import Offer, Steady

__all__ = ["Planning"]


class Planning(Elaboratable):
    """A planner of bursts, for regions anywhere in memory.

    Parameters
    ----------
    unit : wiring.Component
        With the members and the parameters of :class:`boards.axi.region.BurstPlanner`.
    """

    def __init__(self, unit: wiring.Component):
        self.unit = unit

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        i, o = unit.i, unit.o
        bits = unit.address_bits
        place = exact_log2(unit.data_bits // 8)
        full = place + exact_log2(unit.burst_beats)
        address = Signal(bits)
        length = Signal(bits + 1)
        m.submodules.regions = Offer(i.valid, i.ready, Cat(address, length))
        m.d.comb += [
            i.payload.address.eq(address),
            i.payload.length.eq(length),
            Assume((length != 0) & (address + length <= 1 << bits), "a region is in memory"),
            o.ready.eq(AnySeq(1)),
        ]
        m.submodules.steady = Steady("o", o.valid, o.ready, o.payload)

        # A burst counts when it is first offered; then the next region may be taken already.
        offered = Signal()
        busy = Signal()
        first = Signal()
        start = Signal(bits)
        end = Signal(bits + 1)
        reached = Signal(bits + 1)
        burst = o.payload
        after = burst.address + ((burst.beats + 1) << place)
        m.d.comb += offered.eq(o.valid & ~past(m, "o_waits", o.valid & ~o.ready))
        with m.If(offered):
            m.d.sync += [reached.eq(after), first.eq(0), busy.eq(~burst.last)]
            m.d.comb += [
                Assert(busy, "only regions are planned"),
                Assert(
                    burst.address == Mux(first, start >> place << place, reached),
                    "a burst begins where the one before ends, the first one at the region",
                ),
                Assert(
                    burst.address >> full == (after - 1) >> full,
                    "a burst crosses no multiple of the size of a full one",
                ),
                Assert(burst.last == (after >= end), "the last burst is marked"),
                Assert(
                    ~burst.last | (after == (end + (1 << place) - 1) >> place << place),
                    "the last burst ends with the region's last word",
                ),
                Assert(
                    (burst.start == start[:place]) & (burst.end == end[:place]),
                    "the places of the first and the last byte are told",
                ),
                Cover(first & burst.last & (burst.beats == 0), "a region is one word"),
                Cover(~first & burst.last & (start[:place] != 0), "a region has several bursts"),
            ]
        with m.If(i.valid & i.ready):
            m.d.sync += [busy.eq(1), first.eq(1), start.eq(address), end.eq(address + length)]
            m.d.comb += Assert(~busy | (offered & burst.last), "regions are planned one by one")
        return m
