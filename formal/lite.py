"""Properties of a subordinate of AXI4-Lite that passes accesses on as requests."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring

from boards.axi.ports import Response
from formal.axi import channel, offer, steady, within

__all__ = ["Serving"]


class Serving(Elaboratable):
    """A subordinate between any manager and any registers.

    Parameters
    ----------
    unit : wiring.Component
        With the members of :class:`boards.axi.lite.AXILiteSubordinate`.
    patience : int or None
        Cycles in which each address is taken, where registers answer and the manager takes
        responses within two cycles; None to leave these free.
    """

    def __init__(self, unit: wiring.Component, *, patience: int | None = None):
        self.unit = unit
        self.patience = patience

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        bus = unit.bus
        aw, w, ar = (offer(m, "bus", bus, prefix) for prefix in ("aw", "w", "ar"))
        b, r = channel(bus, "b"), channel(bus, "r")
        steady(m, "bus", bus, ("b", "r"))
        m.d.comb += [b.ready.eq(AnySeq(1)), r.ready.eq(AnySeq(1))]

        # The registers answer what was asked, in the same cycle or later.
        request = Signal()
        pending = Signal()
        m.d.comb += [
            request.eq(unit.read | unit.write),
            unit.done.eq((request | pending) & AnySeq(1)),
            unit.read_data.eq(AnySeq(32)),
            unit.error.eq(AnySeq(1)),
        ]
        m.d.sync += pending.eq((request | pending) & ~unit.done)
        written = Cat(unit.write_data, unit.write_strobe)
        past_address = Signal.like(unit.address)
        past_written = Signal(len(written))
        with m.If(request):
            m.d.sync += [past_address.eq(unit.address), past_written.eq(written)]

        owes_b = Signal()
        owes_r = Signal()
        answer = Signal(34)
        is_write = Signal()
        with m.If(request):
            m.d.sync += is_write.eq(unit.write)
        with m.If(unit.done):
            write = Mux(request, unit.write, is_write)
            m.d.sync += [
                owes_b.eq(write),
                owes_r.eq(~write),
                answer.eq(Cat(unit.read_data, Mux(unit.error, Response.SLVERR, 0))),
            ]
        with m.Elif(b.fire | r.fire):
            m.d.sync += [owes_b.eq(0), owes_r.eq(0)]

        m.d.comb += [
            Assert(~(unit.read & unit.write), "a read and a write are never asked at once"),
            Assert(
                ~request | ~(pending | owes_b | owes_r),
                "nothing is asked before the last answer is given",
            ),
            Assert(
                (unit.write == aw.fire) & (unit.write == w.fire),
                "a write is asked when its address and its data are taken",
            ),
            Assert(unit.read == ar.fire, "a read is asked when its address is taken"),
            Assert(
                ~unit.write
                | ((unit.address == bus.awaddr) & (written == Cat(bus.wdata, bus.wstrb))),
                "a write is asked as it came",
            ),
            Assert(~unit.read | (unit.address == bus.araddr), "a read is asked as it came"),
            Assert(b.valid == owes_b, "a write has one response, once it is done"),
            Assert(r.valid == owes_r, "a read has one response, once it is done"),
            Assert(
                ~b.valid | (bus.bresp == answer[32:]), "a write's response is what was answered"
            ),
            Assert(
                ~r.valid | (Cat(bus.rdata, bus.rresp) == answer),
                "a read's response is what was answered",
            ),
            Cover(b.fire & (bus.bresp == Response.SLVERR), "a write fails"),
            Cover(r.fire & (bus.rdata == 0x12345678), "a read gives data"),
            Cover(unit.write & ar.valid, "a write overtakes a read"),
            Cover(unit.read & aw.valid & w.valid, "a read overtakes a write"),
        ]
        with m.If(pending):
            m.d.comb += Assert(
                (unit.address == past_address) & (~is_write | (written == past_written)),
                "what is asked stays until it is done",
            )
        if self.patience is not None:
            m.d.comb += [
                Assume(
                    within(m, "done", 2, waits=(request | pending) & ~unit.done), "registers answer"
                ),
                Assume(within(m, "b", 2, waits=b.valid & ~b.ready), "b is taken"),
                Assume(within(m, "r", 2, waits=r.valid & ~r.ready), "r is taken"),
                Assert(
                    within(m, "aw", self.patience, waits=aw.valid & w.valid & ~aw.ready),
                    f"a write is taken within {self.patience} cycles",
                ),
                Assert(
                    within(m, "ar", self.patience, waits=ar.valid & ~ar.ready),
                    f"a read is taken within {self.patience} cycles",
                ),
            ]
        return m
