from math import gcd

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.gearbox import ByteGearbox, byte_lanes
from formal.prove import prove, refute
from formal.stream import Streaming


def properties(unit, i_bytes: int, o_bytes: int) -> Streaming:
    step = gcd(i_bytes, o_bytes)
    return Streaming(
        unit,
        i_lanes=i_bytes,
        o_lanes=o_bytes,
        # An output, and what does not fill another one or is left of an input.
        capacity=i_bytes if i_bytes == o_bytes else o_bytes + max(i_bytes, o_bytes) - step,
        most=o_bytes - step if i_bytes > o_bytes else 2 * o_bytes - step - i_bytes,
        through=True,
    )


@pytest.mark.parametrize(("i_bytes", "o_bytes"), [(2, 2), (3, 1), (3, 2), (2, 3), (2, 5), (4, 6)])
def test_gearbox_keeps_bytes_in_order_at_full_rate(i_bytes, o_bytes):
    unit = ByteGearbox(i_bytes=i_bytes, o_bytes=o_bytes)
    prove(properties(unit, i_bytes, o_bytes), method="pdr", cover=12)


class Forgetful(wiring.Component):
    """Gives words of three bytes as words of two, without the third one."""

    def __init__(self):
        super().__init__(
            {"i": In(stream.Signature(byte_lanes(3))), "o": Out(stream.Signature(byte_lanes(2)))}
        )

    def elaborate(self, platform):
        m = Module()
        with m.If(self.o.ready | ~self.o.valid):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [
                self.o.valid.eq(self.i.valid),
                self.o.payload.as_value().eq(self.i.payload.as_value()),
            ]
        return m


def test_a_gearbox_that_drops_bytes_is_found_out():
    assert refute(properties(Forgetful(), 3, 2), depth=8)
