"""From AXI4 to AXI4-Lite, beat by beat."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.axi.ports import AXI, BOUNDARY, AXILite, Burst

__all__ = ["AXILiteBridge"]

#: Bits of an address that change within a burst.
_OFFSET_BITS = BOUNDARY.bit_length() - 1


class _Beats:
    """The address of a burst, and how many beats are left of it."""

    def __init__(self, prefix: str, address_bits: int, id_bits: int):
        self.id = Signal(id_bits, name=f"{prefix}_id")
        self.address = Signal(address_bits, name=f"{prefix}_address")
        self.protection = Signal(3, name=f"{prefix}_protection")
        self.left = Signal(8, name=f"{prefix}_left")
        self._length = Signal(8, name=f"{prefix}_length")
        self._size = Signal(3, name=f"{prefix}_size")
        self._burst = Signal(2, name=f"{prefix}_burst")
        self._prefix = prefix

    def take(self, axi) -> list:
        """Statements that begin a burst."""
        names = {
            "id": self.id, "addr": self.address, "prot": self.protection, "len": self.left,
            "size": self._size, "burst": self._burst,
        }  # fmt: skip
        taken = {name: getattr(axi, f"{self._prefix}{name}") for name in names}
        return [
            *(register.eq(taken[name]) for name, register in names.items()),
            self._length.eq(taken["len"]),
        ]

    def next(self) -> list:
        """Statements that go on to the next beat."""
        offset = self.address[:_OFFSET_BITS]
        step = (1 << self._size)[:3]
        # Beats after the first are aligned to their size.
        following = ((offset & ~(step - 1)) + step)[:_OFFSET_BITS]
        # A burst that wraps begins at a whole beat, and has 16 of four bytes at most.
        inside = (self._length[:4] << self._size[:2])[:6]
        wraps = self._burst == Burst.WRAP
        moved = Cat(
            *(
                Mux(wraps & (~inside[bit] if bit < len(inside) else 1), offset[bit], following[bit])
                for bit in range(_OFFSET_BITS)
            )
        )
        new: Value = Mux(self._burst == Burst.FIXED, offset, moved)
        return [offset.eq(new), self.left.eq(self.left - 1)]


class AXILiteBridge(wiring.Component):
    """Passes the beats of AXI4 bursts to AXI4-Lite, one at a time.

    Reads and writes go their own ways. Bursts may be FIXED, INCR or WRAP, with beats of one, two or
    four bytes; the subordinate gets the address of each beat, of which it may ignore the two lowest
    bits. A write that is made of several beats has one response: the worst of theirs. Exclusive
    accesses are carried out as others and answered so (OKAY), which tells that they were not.

    Parameters
    ----------
    i_address_bits, o_address_bits : int
        Widths of the addresses; bits that the subordinate has no place for are dropped.
    id_bits : int

    Members
    -------
    i : In(AXI(i_address_bits, 32, id_bits))
    o : Out(AXILite(o_address_bits))

    Raises
    ------
    ValueError
        ``i_address_bits`` is less than ``o_address_bits`` or 12, or a width is not possible.
    """

    def __init__(self, *, i_address_bits: int = 40, o_address_bits: int = 16, id_bits: int = 16):
        least = max(o_address_bits, _OFFSET_BITS)
        if i_address_bits < least:
            raise ValueError(f"i_address_bits must be at least {least}, not {i_address_bits}")
        self.o_address_bits = o_address_bits
        self.id_bits = id_bits
        super().__init__(
            {
                "i": In(AXI(i_address_bits, 32, id_bits)),
                "o": Out(AXILite(o_address_bits)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self._read(m, wiring.flipped(self.i), self.o)
        self._write(m, wiring.flipped(self.i), self.o)
        return m

    def _read(self, m: Module, axi, lite) -> None:
        beats = _Beats("ar", max(self.o_address_bits, _OFFSET_BITS), self.id_bits)
        m.d.comb += [
            lite.araddr.eq(beats.address),
            lite.arprot.eq(beats.protection),
            axi.rid.eq(beats.id),
            axi.rlast.eq(beats.left == 0),
        ]
        with m.FSM(name="read"):
            with m.State("WAIT"):
                m.d.comb += axi.arready.eq(1)
                with m.If(axi.arvalid):
                    m.d.sync += beats.take(axi)
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += lite.arvalid.eq(1)
                with m.If(lite.arready):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += lite.rready.eq(1)
                m.d.sync += [axi.rdata.eq(lite.rdata), axi.rresp.eq(lite.rresp)]
                with m.If(lite.rvalid):
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += axi.rvalid.eq(1)
                with m.If(axi.rready):
                    m.d.sync += beats.next()
                    m.next = "ASK"
                    with m.If(axi.rlast):
                        m.next = "WAIT"

    def _write(self, m: Module, axi, lite) -> None:
        beats = _Beats("aw", max(self.o_address_bits, _OFFSET_BITS), self.id_bits)
        address_gone, data_gone = Signal(), Signal()
        m.d.comb += [
            lite.awaddr.eq(beats.address),
            lite.awprot.eq(beats.protection),
            axi.bid.eq(beats.id),
        ]
        with m.FSM(name="write"):
            with m.State("WAIT"):
                m.d.comb += axi.awready.eq(1)
                m.d.sync += axi.bresp.eq(0)
                with m.If(axi.awvalid):
                    m.d.sync += beats.take(axi)
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += axi.wready.eq(1)
                m.d.sync += [
                    lite.wdata.eq(axi.wdata),
                    lite.wstrb.eq(axi.wstrb),
                    address_gone.eq(0),
                    data_gone.eq(0),
                ]
                with m.If(axi.wvalid):
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += [lite.awvalid.eq(~address_gone), lite.wvalid.eq(~data_gone)]
                m.d.sync += [
                    address_gone.eq(address_gone | lite.awready),
                    data_gone.eq(data_gone | lite.wready),
                ]
                with m.If((address_gone | lite.awready) & (data_gone | lite.wready)):
                    m.next = "HEAR"
            with m.State("HEAR"):
                m.d.comb += lite.bready.eq(1)
                with m.If(lite.bvalid):
                    with m.If(lite.bresp > axi.bresp):
                        m.d.sync += axi.bresp.eq(lite.bresp)
                    m.d.sync += beats.next()
                    m.next = "TAKE"
                    with m.If(beats.left == 0):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += axi.bvalid.eq(1)
                with m.If(axi.bready):
                    m.next = "WAIT"
