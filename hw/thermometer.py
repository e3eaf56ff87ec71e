"""Thermometer: binary channels that say how far up a scale a number is."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lanes import lanes as lanes_of
from hw.timing import Steps

__all__ = ["ThermometerUnit", "level_element"]


def level_element(levels: int) -> str:
    """Element of a number of thresholds reached, of so many."""
    return f"uint{levels.bit_length()}"


class ThermometerUnit(wiring.Component):
    """The binary channels of levels: channel k of a level is +1 where the level is above k.

    A level is the number of thresholds that the thermometer's input has reached, as
    :class:`hw.threshold.ThresholdUnit` counts them.

    Parameters
    ----------
    lanes : int
        Levels a beat.
    levels : int
        Binary channels a level, which is at most this.

    Members
    -------
    i : stream of `lanes(level_element(levels), lanes)`
    o : stream of `lanes("binary", lanes * levels)`
        Channel k of lane n is lane ``n * levels + k``.

    Timing
    ------
    `Steps` of one step, which takes and gives a beat, with latency 1.

    Raises
    ------
    ValueError
        A parameter is not a positive integer.
    """

    def __init__(self, *, lanes: int, levels: int):
        for name, value in (("lanes", lanes), ("levels", levels)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        self.lanes = lanes
        self.levels = levels
        self.timing = Steps(consumes=((1,),), emits=(1,), latency=1)
        super().__init__(
            {
                "i": In(stream.Signature(lanes_of(level_element(levels), lanes))),
                "o": Out(stream.Signature(lanes_of("binary", lanes * levels))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = Signal(self.lanes * self.levels, reset_less=True)
        m.d.comb += [
            self.i.ready.eq(self.o.ready | ~self.o.valid),
            self.o.payload.as_value().eq(bits),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid),
                bits.eq(
                    Cat(
                        self.i.payload[lane] > level
                        for lane in range(self.lanes)
                        for level in range(self.levels)
                    )
                ),
            ]
        return m
