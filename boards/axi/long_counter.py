"""A counter that is wider than what can be read at once."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LongCounter"]


class LongCounter(wiring.Component):
    """Counts, and shows both halves of its count as they were at one moment.

    Parameters
    ----------
    half_bits : int

    Members
    -------
    event : In(1)
        Counts the cycles in which this is 1; wraps.
    clear : In(1)
        Set it to 0.
    keep : In(1)
        Show the count of this cycle from the next one on.
    low, high : Out(half_bits)
        What is shown.

    Raises
    ------
    ValueError
        ``half_bits`` is less than 2.
    """

    def __init__(self, *, half_bits: int = 32):
        if not isinstance(half_bits, int) or half_bits < 2:
            raise ValueError(f"half_bits must be an integer of at least 2, not {half_bits!r}")
        self.half_bits = half_bits
        super().__init__(
            {
                "event": In(1),
                "clear": In(1),
                "keep": In(1),
                "low": Out(half_bits),
                "high": Out(half_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        low, high = Signal(self.half_bits), Signal(self.half_bits)
        # Whether the low half is at its end, so that no carry goes through both halves.
        full = Signal()
        with m.If(self.clear):
            m.d.sync += [low.eq(0), high.eq(0), full.eq(0)]
        with m.Elif(self.event):
            m.d.sync += [
                low.eq(low + 1),
                full.eq(low == (1 << self.half_bits) - 2),
                high.eq(high + full),
            ]
        with m.If(self.keep):
            m.d.sync += [self.low.eq(low), self.high.eq(high)]
        return m
