"""Bytes in beats of one width to beats of another."""

from math import gcd

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ByteGearbox", "byte_lanes"]


def byte_lanes(lanes: int) -> data.ArrayLayout:
    """The payload of a beat of ``lanes`` bytes; the first one is lane 0."""
    return data.ArrayLayout(unsigned(8), lanes)


class ByteGearbox(wiring.Component):
    """Regroup the bytes of a stream.

    Bytes that do not fill a beat of the output wait for the next ones.

    Parameters
    ----------
    i_bytes, o_bytes : int
        Bytes in a beat of each side; neither need divide the other.

    Members
    -------
    i, o : streams of an array of bytes

    Cycles
    ------
    Full rate: the narrower side moves a beat in every cycle. The first beat that fills the output
    is visible there in the next cycle.

    Raises
    ------
    ValueError
        A number of bytes is not a positive integer.
    """

    def __init__(self, *, i_bytes: int, o_bytes: int):
        for name, value in (("i_bytes", i_bytes), ("o_bytes", o_bytes)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
        self.i_bytes = i_bytes
        self.o_bytes = o_bytes
        super().__init__(
            {
                "i": In(stream.Signature(byte_lanes(i_bytes))),
                "o": Out(stream.Signature(byte_lanes(o_bytes))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # A step is what both sides are multiples of: all positions are whole steps.
        step = gcd(self.i_bytes, self.o_bytes)
        i_steps, o_steps = self.i_bytes // step, self.o_bytes // step
        width = 8 * step
        payload = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(payload)
        given = self.i.payload.as_value()
        taken = payload.as_value()
        en = Signal()
        m.d.comb += en.eq(self.o.ready | ~self.o.valid)
        if i_steps == o_steps:
            m.d.comb += self.i.ready.eq(en)
            with m.If(en):
                m.d.sync += [self.o.valid.eq(self.i.valid), taken.eq(given)]
        elif i_steps > o_steps:
            self._narrow(m, en, given, taken, width, i_steps, o_steps)
        else:
            self._widen(m, en, given, taken, width, i_steps, o_steps)
        return m

    def _narrow(self, m, en, given, taken, width, i_steps, o_steps):
        # Behind the output lies what is left of the last beat, `rest` steps, the first one low. The
        # next beat goes on top of them, at one of o_steps places, when they do not fill an output.
        spare = Signal(width * (i_steps - 1), reset_less=True)
        rest = Signal(range(i_steps))
        need = Signal(init=1)  # rest < o_steps
        o_width = len(taken)
        m.d.comb += self.i.ready.eq(en & need)
        with m.If(en):
            m.d.sync += self.o.valid.eq(self.i.valid | ~need)
            with m.If(~need):
                m.d.sync += [taken.eq(spare), spare.eq(spare >> o_width)]
                m.d.sync += [rest.eq(rest - o_steps), need.eq(rest < 2 * o_steps)]
            with m.Else():
                with m.Switch(rest):
                    for kept in range(o_steps):
                        with m.Case(kept):
                            both = Cat(spare[: kept * width], given)
                            m.d.sync += taken.eq(both)
                            with m.If(self.i.valid):
                                m.d.sync += spare.eq(both[o_width:])
                with m.If(self.i.valid):
                    left = rest + (i_steps - o_steps)
                    m.d.sync += [rest.eq(left), need.eq(left < o_steps)]

    def _widen(self, m, en, given, taken, width, i_steps, o_steps):
        # The latest bytes lie at the top of `kept`, the last `held` steps of it are not given yet.
        kept = Signal(width * (o_steps - 1), reset_less=True)
        held = Signal(range(o_steps))
        fills = Signal(init=int(i_steps >= o_steps))  # The next beat completes an output.
        both = Cat(kept, given)
        m.d.comb += self.i.ready.eq(en | ~fills)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += kept.eq(both[len(given) :])
            with m.If(fills):
                m.d.sync += held.eq(held + i_steps - o_steps)
                m.d.sync += fills.eq(held + 2 * i_steps >= 2 * o_steps)
            with m.Else():
                m.d.sync += held.eq(held + i_steps)
                m.d.sync += fills.eq(held + 2 * i_steps >= o_steps)
        with m.If(en):
            m.d.sync += self.o.valid.eq(self.i.valid & fills)
            with m.Switch(held):
                for extra in range(i_steps):
                    with m.Case(o_steps - i_steps + extra):
                        end = len(both) - extra * width
                        m.d.sync += taken.eq(both[end - len(taken) : end])
