"""Access to the parameters of an accelerator, word after word."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.parameters import WORD, ParameterPort

__all__ = ["ParameterAccess"]


class ParameterAccess(wiring.Component):
    """What is behind the registers for parameters: an address that counts up, and its word.

    One thing at a time: ``seek``, ``write`` and ``read`` are never 1 together, nor while ``busy``.

    Parameters
    ----------
    bits, latency : int
        Of the accelerator's parameter space.

    Members
    -------
    parameters : Out(ParameterPort(bits))
        To the accelerator's.
    seek : In(1)
        ``write_data`` is the address of what comes next.
    write : In(1)
        ``write_data`` is written, and the address is one more from the next cycle on.
    write_data : In(32)
    read : In(1)
        Begins to read a word.
    read_data : Out(32)
    done : Out(1)
        In this cycle, ``latency + 2`` after that of ``read``, ``read_data`` is the word; the
        address is one more from the next cycle on.
    busy : Out(1)
        A word is being read.
    address : Out(32)
        What lies beyond the space's addresses reads as 0, and nothing is written there.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(self, *, bits: int, latency: int):
        if not isinstance(bits, int) or not 1 <= bits <= WORD:
            raise ValueError(f"bits must be an integer from 1 to {WORD}, not {bits!r}")
        if not isinstance(latency, int) or latency < 1:
            raise ValueError(f"latency must be a positive integer, not {latency!r}")
        self.bits = bits
        self.latency = latency
        super().__init__(
            {
                "parameters": Out(ParameterPort(bits)),
                "seek": In(1),
                "write": In(1),
                "write_data": In(WORD),
                "read": In(1),
                "read_data": Out(WORD),
                "done": Out(1),
                "busy": Out(1),
                "address": Out(WORD),
            }
        )

    @classmethod
    def of(cls, accelerator: wiring.Component) -> "ParameterAccess | None":
        """That of an accelerator, or None where its parameters cannot be written."""
        if not hasattr(accelerator, "parameters"):
            return None
        return cls(bits=accelerator.space.bits, latency=accelerator.space.latency)

    def elaborate(self, platform):
        m = Module()
        within = Signal()
        left = Signal(range(self.latency + 2))
        m.d.comb += [
            within.eq(self.address[self.bits :] == 0),
            self.parameters.address.eq(self.address[: self.bits]),
            self.parameters.write.eq(self.write & within),
            self.parameters.write_data.eq(self.write_data),
            self.parameters.read.eq(self.busy),
            self.busy.eq(left != 0),
        ]
        # Access goes on for the cycle in which the answer is taken.
        m.d.sync += [
            self.done.eq(left == 1),
            self.read_data.eq(Mux(within, self.parameters.read_data, 0)),
        ]
        with m.If(self.busy):
            m.d.sync += left.eq(left - 1)
        with m.If(self.read):
            m.d.sync += left.eq(self.latency + 1)
        with m.If(self.seek):
            m.d.sync += self.address.eq(self.write_data)
        with m.If(self.write | self.done):
            m.d.sync += self.address.eq(self.address + 1)
        return m
