"""The subordinate side of AXI4-Lite: one access at a time, as a request and an answer."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.axi.ports import AXILite, Response

__all__ = ["AXILiteSubordinate"]


class AXILiteSubordinate(wiring.Component):
    """Turns the channels of AXI4-Lite into one request after the other.

    Address and data of a write are taken in the same cycle. Where a read and a write wait, they
    take turns. No signal passes from the bus to the bus without a register.

    Parameters
    ----------
    address_bits : int

    Members
    -------
    bus : In(AXILite(address_bits))
    read, write : Out(1)
        A request, for one cycle; the next one comes after ``done``.
    address : Out(address_bits)
        From the request to ``done``; any byte address.
    write_data, write_strobe : Out(32), Out(4)
        Likewise.
    done : In(1)
        The answer, for one cycle, after the request or later.
    read_data : In(32)
        Looked at with ``done``.
    error : In(1)
        Likewise: answer with SLVERR.

    Raises
    ------
    ValueError
        ``address_bits`` is not from 1 to 64.
    """

    def __init__(self, *, address_bits: int):
        super().__init__(
            {
                "bus": In(AXILite(address_bits)),
                "read": Out(1),
                "write": Out(1),
                "address": Out(address_bits),
                "write_data": Out(32),
                "write_strobe": Out(4),
                "done": In(1),
                "read_data": In(32),
                "error": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        bus = self.bus
        wrote_last = Signal()
        response = Signal(2)
        m.d.comb += [
            bus.bresp.eq(response),
            bus.rresp.eq(response),
            bus.awready.eq(self.write),
            bus.wready.eq(self.write),
            bus.arready.eq(self.read),
        ]
        m.d.sync += [self.read.eq(0), self.write.eq(0)]

        def wait(respond: str) -> None:
            with m.If(self.done):
                m.d.sync += response.eq(0)
                with m.If(self.error):
                    m.d.sync += response.eq(Response.SLVERR)
                m.next = respond

        with m.FSM():
            with m.State("WAIT"):
                with m.If(bus.awvalid & bus.wvalid & ~(bus.arvalid & wrote_last)):
                    m.d.sync += [
                        wrote_last.eq(1),
                        self.write.eq(1),
                        self.address.eq(bus.awaddr),
                        self.write_data.eq(bus.wdata),
                        self.write_strobe.eq(bus.wstrb),
                    ]
                    m.next = "WRITE"
                with m.Elif(bus.arvalid):
                    m.d.sync += [wrote_last.eq(0), self.read.eq(1), self.address.eq(bus.araddr)]
                    m.next = "READ"
            with m.State("WRITE"):
                wait("RESPOND_WRITE")
            with m.State("READ"):
                m.d.sync += bus.rdata.eq(self.read_data)
                wait("RESPOND_READ")
            with m.State("RESPOND_WRITE"):
                m.d.comb += bus.bvalid.eq(1)
                with m.If(bus.bready):
                    m.next = "WAIT"
            with m.State("RESPOND_READ"):
                m.d.comb += bus.rvalid.eq(1)
                with m.If(bus.rready):
                    m.next = "WAIT"
        return m
