"""Joins of two or more streams: sum and concatenation."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import lanes as elements
from hw.timing import Steps

__all__ = ["AddUnit", "ConcatUnit"]


class AddUnit(wiring.Component):
    """Sum of two streams, each scaled by a power of two: saturate((a << sa) + (b << sb)).

    Parameters
    ----------
    lanes : int
        Channels a beat.
    a, b : str
        Elements of the two streams; binary channels count as +1 and -1.
    shifts : (int, int)
        sa and sb.
    output : str
        Element to saturate to; not binary.

    Members
    -------
    i_0 : stream of `lanes(a, lanes)`
    i_1 : stream of `lanes(b, lanes)`
        Taken together, so that each input's `ready` looks at the other's `valid`.
    o : stream of `lanes(output, lanes)`

    Timing
    ------
    `Steps` of one step, which takes a beat of each and gives one; latency 2. `interval` is 1.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(self, *, lanes: int, a: str, b: str, shifts: Sequence[int], output: str):
        shapes = [elements.lanes(element, lanes) for element in (a, b, output)]
        shifts = tuple(shifts)
        if len(shifts) != 2 or not all(isinstance(s, int) and s >= 0 for s in shifts):
            raise ValueError(f"shifts must be two non-negative integers, not {shifts!r}")
        if elements.is_binary(output):
            raise ValueError("output must be a number, not binary")
        self.lanes = lanes
        self.a = a
        self.b = b
        self.shifts = shifts
        self.output = output
        self.interval = 1
        self.timing = Steps(consumes=((1,), (1,)), emits=(1,), latency=2)
        super().__init__(
            {
                "i_0": In(stream.Signature(shapes[0])),
                "i_1": In(stream.Signature(shapes[1])),
                "o": Out(stream.Signature(shapes[2])),
            }
        )

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        fired = Signal()
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            self.i_0.ready.eq(en & self.i_1.valid),
            self.i_1.ready.eq(en & self.i_0.valid),
        ]
        ranges = [elements.element_range(element) for element in (self.a, self.b)]
        lo, hi = (
            sum(ends[end] << shift for ends, shift in zip(ranges, self.shifts, strict=True))
            for end in (0, 1)
        )
        least, most = elements.element_range(self.output)
        total = Signal(data.ArrayLayout(Shape.cast(range(lo, hi + 1)), self.lanes), reset_less=True)
        output = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(output)
        with m.If(en):
            m.d.sync += [
                fired.eq(self.i_0.valid & self.i_1.valid),
                self.o.valid.eq(fired),
            ]
            for lane in range(self.lanes):
                a = _number(self.a, self.i_0.payload[lane]) << self.shifts[0]
                b = _number(self.b, self.i_1.payload[lane]) << self.shifts[1]
                saturated = total[lane]
                if hi > most:
                    saturated = Mux(total[lane] > most, most, saturated)
                if lo < least:
                    saturated = Mux(total[lane] < least, least, saturated)
                m.d.sync += [total[lane].eq(a + b), output[lane].eq(saturated)]
        return m


def _number(element, bits):
    """The number that a stored channel stands for."""
    return Mux(bits, 1, -1) if elements.is_binary(element) else bits


class ConcatUnit(wiring.Component):
    """Channels of several streams one after the other, pixel by pixel.

    Parameters
    ----------
    channels : sequence of int
        Channels of each stream.
    lanes : int
        Channels a beat; divides each of `channels`.
    element : str

    Members
    -------
    i_0, i_1, ... : streams of `lanes(element, lanes)`
        Of each pixel all beats of i_0 are taken, then those of i_1, and so on.
    o : stream of `lanes(element, lanes)`

    Timing
    ------
    `Steps` over a pixel of `interval` = sum(channels) / lanes steps; latency 1.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(self, *, channels: Sequence[int], lanes: int, element: str):
        shape = elements.lanes(element, lanes)
        channels = tuple(channels)
        if not channels or not all(isinstance(c, int) and c >= 1 for c in channels):
            raise ValueError(f"channels must be positive integers, not {channels!r}")
        for count in channels:
            if count % lanes:
                raise ValueError(f"channels must be multiples of lanes, not {count} and {lanes}")
        self.channels = channels
        self.lanes = lanes
        self.element = element
        self.interval = sum(channels) // lanes
        sources = [k for k, count in enumerate(channels) for _ in range(count // lanes)]
        self.timing = Steps(
            consumes=tuple(
                tuple(int(source == k) for source in sources) for k in range(len(channels))
            ),
            emits=(1,) * self.interval,
            latency=1,
        )
        super().__init__(
            {f"i_{k}": In(stream.Signature(shape)) for k in range(len(channels))}
            | {"o": Out(stream.Signature(shape))}
        )

    def elaborate(self, platform):
        m = Module()
        inputs = [getattr(self, f"i_{k}") for k in range(len(self.channels))]
        payload = Signal(self.o.payload.shape(), reset_less=True)
        en = Signal()
        fire = Signal()
        turn = Signal(len(inputs), init=1)  # One bit set: the input whose turn it is.
        beat = Signal(range(max(self.channels) // self.lanes))
        last = Signal()
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            self.o.payload.eq(payload),
        ]
        with m.If(en):
            m.d.sync += self.o.valid.eq(fire)
        for k, i in enumerate(inputs):
            m.d.comb += i.ready.eq(en & turn[k])
            with m.If(turn[k]):
                m.d.comb += [
                    fire.eq(en & i.valid),
                    last.eq(beat == self.channels[k] // self.lanes - 1),
                ]
                with m.If(en):
                    m.d.sync += payload.eq(i.payload)
        with m.If(fire):
            m.d.sync += beat.eq(beat + 1)
            with m.If(last):
                m.d.sync += [beat.eq(0), turn.eq(turn.rotate_left(1))]
        return m
