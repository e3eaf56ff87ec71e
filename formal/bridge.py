"""Properties of a bridge from AXI4 to AXI4-Lite."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring

from boards.axi.ports import Burst, Response
from formal.axi import beat_address, channel, legal_burst, offer, steady

__all__ = ["Bridging"]


class _Burst:
    """The burst under way in one direction, and how far it is."""

    def __init__(self, m: Module, axi, prefix: str, *, ends: Signal):
        address = channel(axi, prefix)
        names = ("id", "addr", "len", "size", "burst", "prot")
        port = {name: getattr(axi, f"{prefix}{name}") for name in names}
        self.active = Signal(name=f"{prefix}_active")
        for name, value in port.items():
            setattr(self, name, Signal(len(value), name=f"{prefix}_{name}_taken"))
        with m.If(address.fire):
            m.d.sync += self.active.eq(1)
            m.d.sync += [getattr(self, name).eq(value) for name, value in port.items()]
        with m.Elif(ends):
            m.d.sync += self.active.eq(0)
        legal = legal_burst(port["addr"], port["len"], port["size"], port["burst"], 2)
        m.d.comb += [
            Assume(~address.valid | legal, f"{prefix} is legal"),
            Assert(~address.fire | ~self.active, f"{prefix}: one burst at a time"),
        ]

    def address(self, beat: Signal):
        return beat_address(self.addr, self.len, self.size, self.burst, beat)


def _count(m: Module, name: str, fire, *, clear) -> Signal:
    count = Signal(9, name=name)
    with m.If(fire):
        m.d.sync += count.eq(count + 1)
    with m.If(clear):
        m.d.sync += count.eq(0)
    return count


class Bridging(Elaboratable):
    """A bridge between any manager of AXI4 and any subordinate of AXI4-Lite.

    Parameters
    ----------
    unit : wiring.Component
        With the members of :class:`boards.axi.bridge.AXILiteBridge`.
    half : "read" or "write"
        The direction in which anything happens.
    """

    def __init__(self, unit: wiring.Component, half: str):
        self.unit = unit
        self.half = half

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        if self.half == "read":
            self._read(m, unit.i, unit.o)
            steady(m, "i", unit.i, ("r",))
            steady(m, "o", unit.o, ("ar",))
        else:
            self._write(m, unit.i, unit.o)
            steady(m, "i", unit.i, ("b",))
            steady(m, "o", unit.o, ("aw", "w"))
        return m

    def _read(self, m, axi, lite):
        ar, r = offer(m, "i", axi, "ar"), channel(axi, "r")
        lite_ar, owed = channel(lite, "ar"), Signal(name="lite_owes_r")
        lite_r = offer(m, "o", lite, "r", some=owed)
        m.d.comb += [r.ready.eq(AnySeq(1)), lite_ar.ready.eq(AnySeq(1))]
        m.d.sync += owed.eq((owed | lite_ar.fire) & ~lite_r.fire)
        burst = _Burst(m, axi, "ar", ends=r.fire & axi.rlast)
        asked = _count(m, "reads_asked", lite_ar.fire, clear=ar.fire)
        fetched = _count(m, "reads_fetched", lite_r.fire, clear=ar.fire)
        given = _count(m, "reads_given", r.fire, clear=ar.fire)
        answer = Signal(34, name="read_answer")
        with m.If(lite_r.fire):
            m.d.sync += answer.eq(Cat(lite.rdata, lite.rresp))
        m.d.comb += [
            Assert(
                ~lite_ar.valid | (burst.active & (asked == given) & (asked <= burst.len)),
                "a read of the subordinate is for one beat, and the next one comes after it",
            ),
            Assert(
                ~lite_ar.valid
                | ((lite.araddr == burst.address(asked)) & (lite.arprot == burst.prot)),
                "a read has the address of its beat",
            ),
            Assert(
                ~r.valid | (burst.active & (fetched == given + 1)),
                "a beat is given when the subordinate gave it",
            ),
            Assert(
                ~r.valid
                | ((axi.rid == burst.id) & (axi.rlast == (given == burst.len))),
                "beats have the burst's id, and its last one is marked",
            ),
            Assert(~r.valid | (Cat(axi.rdata, axi.rresp) == answer), "a beat is what was read"),
            Cover(r.fire & axi.rlast & (burst.len == 2), "a burst of three beats is read"),
        ]  # fmt: skip
        wraps = r.fire & (burst.burst == Burst.WRAP) & (given == 1) & (lite.araddr < burst.addr)
        m.d.comb += Cover(wraps, "a burst wraps")

    def _write(self, m, axi, lite):
        aw, w, b = offer(m, "i", axi, "aw"), offer(m, "i", axi, "w"), channel(axi, "b")
        lite_aw, lite_w = channel(lite, "aw"), channel(lite, "w")
        burst = _Burst(m, axi, "aw", ends=b.fire)
        taken = _count(m, "writes_taken", w.fire, clear=aw.fire)
        addresses = _count(m, "write_addresses", lite_aw.fire, clear=aw.fire)
        passed = _count(m, "writes_passed", lite_w.fire, clear=aw.fire)
        heard = Signal(9, name="writes_heard")
        lite_b = offer(m, "o", lite, "b", some=(heard != addresses) & (heard != passed))
        with m.If(lite_b.fire):
            m.d.sync += heard.eq(heard + 1)
        with m.If(aw.fire):
            m.d.sync += heard.eq(0)
        m.d.comb += [
            b.ready.eq(AnySeq(1)), lite_aw.ready.eq(AnySeq(1)), lite_w.ready.eq(AnySeq(1)),
            Assume(~(w.valid & burst.active) | (axi.wlast == (taken == burst.len)), "wlast"),
            Assume(~lite_b.valid | (lite.bresp != Response.EXOKAY), "no exclusive access"),
        ]  # fmt: skip
        data = Signal(36, name="write_data")
        worst = Signal(2, name="worst_response")
        with m.If(w.fire):
            m.d.sync += data.eq(Cat(axi.wdata, axi.wstrb))
        with m.If(aw.fire):
            m.d.sync += worst.eq(0)
        with m.Elif(lite_b.fire):
            m.d.sync += worst.eq(Mux(lite.bresp > worst, lite.bresp, worst))
        m.d.comb += [
            Assert(
                ~w.fire | (burst.active & (taken <= burst.len) & (heard == taken)),
                "a beat is taken after its address, and when the one before is written",
            ),
            Assert(
                ~lite_aw.valid | (burst.active & (taken == addresses + 1)),
                "a write of the subordinate is for one beat",
            ),
            Assert(
                ~lite_w.valid | (burst.active & (taken == passed + 1)),
                "data goes to the subordinate once for each beat",
            ),
            Assert(
                ~lite_aw.valid
                | ((lite.awaddr == burst.address(addresses)) & (lite.awprot == burst.prot)),
                "a write has the address of its beat",
            ),
            Assert(~lite_w.valid | (Cat(lite.wdata, lite.wstrb) == data), "a write is as it came"),
            Assert(
                ~b.valid | (burst.active & (heard == burst.len + 1)),
                "a burst is answered once, when all of it is written",
            ),
            Assert(
                ~b.valid | ((axi.bid == burst.id) & (axi.bresp == worst)),
                "a burst's response has its id, and is the worst of its beats",
            ),
            Cover(
                b.fire & (burst.len == 1) & (worst == Response.SLVERR) & (lite.bresp == 0),
                "a burst of two beats fails",
            ),
        ]
