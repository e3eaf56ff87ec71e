"""Stream plumbing: queues, forks and width converters. Nothing here knows about networks.

Every component has a `timing` of `hw.timing`, by which the cycle model predicts it exactly.
"""

from amaranth.hdl import (
    Cat,
    Module,
    Shape,
    ShapeLike,
    Signal,
    Value,
    unsigned,
)
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.lanes import lanes
from hw.timing import Broadcast, Queue, Steps

__all__ = ["Fork", "SkidBuffer", "StreamFIFO", "WidthConverter"]

# Up to this depth `ram_style="auto"` takes LUT memory: one or two primitives a bit, and a shorter
# way through the queue than a block RAM.
_LUT_MEMORY_DEPTH = 64


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")


def _up_or_down(count: Signal, up: Value) -> Value:
    """A counter's next value, by one carry chain."""
    return (count + Cat(1, (~up).replicate(len(count) - 1)))[: len(count)]


class StreamFIFO(wiring.Component):
    """First in, first out queue of typed beats.

    `amaranth.lib.fifo` is not used: its ports lose the payload's type, its memory takes no style,
    and its buffered queue is ready for more or fewer beats depending on when they are read, which
    a cycle model cannot state by one number.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    depth : int
        Beats that fit in, those at the output included.
    ram_style : "auto", "distributed" or "block"
        Memory behind the output: LUTs with asynchronous read or block RAM. "auto" takes block RAM
        for a depth over 64.
    high_water : bool
        Whether to make the port `high_water`.

    Members
    -------
    i, o : streams of `shape`
        `i.ready` does not depend on `o.ready`.
    level : range(depth + 1), out
        Beats inside.
    high_water : range(depth + 1), out
        Largest level since reset.

    Timing
    ------
    `Queue(depth, 1)` with LUT memory, `Queue(depth, 3)` with block RAM.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(
        self,
        shape: ShapeLike,
        depth: int,
        *,
        ram_style: str = "auto",
        high_water: bool = False,
    ):
        _check_count("depth", depth, 1)
        if ram_style not in ("auto", "distributed", "block"):
            raise ValueError(
                f"ram_style must be 'auto', 'distributed' or 'block', not {ram_style!r}"
            )
        if ram_style == "auto":
            ram_style = "block" if depth > _LUT_MEMORY_DEPTH else "distributed"
        self.shape = shape
        self.depth = depth
        self.ram_style = ram_style
        self.timing = Queue(depth, 3 if ram_style == "block" else 1)
        members = {
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        }
        if high_water:
            members["high_water"] = Out(range(depth + 1))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        block = self.ram_style == "block"

        # The output is a register, the memory behind it holds the rest. A beat goes straight to an
        # empty output, but not around a block RAM, whose own output register is then the last beat
        # but one: that RAM is slow from the clock to its output, and other logic faster without it.
        stored = Signal(range(self.depth + 1))
        # Compares of the counters, made where these change: other units wait for what is ready.
        some = Signal()  # stored != 0
        room = Signal(init=1)  # level != depth
        payload = Signal(self.shape, reset_less=True)
        put, get, free, straight, i_fire, o_fire = (
            Signal(name=name) for name in ("put", "get", "free", "straight", "i_fire", "o_fire")
        )
        m.d.comb += [
            self.i.ready.eq(room),
            self.o.payload.eq(payload),
            i_fire.eq(self.i.valid & self.i.ready),
            o_fire.eq(self.o.valid & self.o.ready),
            free.eq(self.o.ready | ~self.o.valid),
            straight.eq(0 if block else free & ~some),
            put.eq(i_fire & ~straight),
        ]
        # A beat that comes decides the direction of a change, so that `o.ready`, which comes late,
        # has but to enable it.
        with m.If(put ^ get):
            m.d.sync += [
                stored.eq(_up_or_down(stored, i_fire)),
                some.eq(i_fire | (stored != 1)),
            ]
        with m.If(i_fire ^ o_fire):
            m.d.sync += [
                self.level.eq(_up_or_down(self.level, i_fire)),
                room.eq(~i_fire | (self.level != self.depth - 1)),
            ]

        words = self.depth if block else self.depth - 1
        if words:
            memory = m.submodules.memory = Memory(
                # One word would be a memory without an address.
                shape=self.shape,
                depth=max(2, words),
                init=[],
                attrs={"ram_style": self.ram_style},
            )
            write = memory.write_port()
            read = memory.read_port(domain="sync" if block else "comb")
            self._count(m, write.addr, words, put)
            self._count(m, read.addr, words, get)
            m.d.comb += [write.data.eq(self.i.payload), write.en.eq(put)]
        if block:
            loaded = Signal()
            m.d.comb += [
                get.eq((free | ~loaded) & some),
                # No word is read while it is written, which this lets synthesis prove: it would
                # else put logic around the block RAM for that case.
                read.en.eq(get & ~(put & (write.addr == read.addr))),
            ]
            with m.If(free | ~loaded):
                m.d.sync += loaded.eq(get)
            with m.If(free):
                m.d.sync += [self.o.valid.eq(loaded), payload.eq(read.data)]
        else:
            m.d.comb += get.eq(free & some)
            with m.If(free):
                m.d.sync += [self.o.valid.eq(get | i_fire), payload.eq(self.i.payload)]
                if words:
                    with m.If(get):
                        m.d.sync += payload.eq(read.data)

        if hasattr(self, "high_water"):
            with m.If(self.level > self.high_water):
                m.d.sync += self.high_water.eq(self.level)
        return m

    @staticmethod
    def _count(m, address, modulo, enable):
        """Drive `address` by a counter modulo `modulo`."""
        if modulo == 1:
            return
        count = Signal(range(modulo))
        m.d.comb += address.eq(count)
        with m.If(enable):
            m.d.sync += count.eq(count + 1)
            with m.If(count == modulo - 1):
                m.d.sync += count.eq(0)


class SkidBuffer(wiring.Component):
    """Two registers that cut the combinational path of `ready`, at full throughput.

    Parameters
    ----------
    shape : ShapeLike
        Payload.

    Members
    -------
    i, o : streams of `shape`
        `i.ready`, `o.valid` and `o.payload` come from registers.

    Timing
    ------
    `Queue(2, 1)`.
    """

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        self.timing = Queue(2, 1)
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        payload = Signal(self.shape, reset_less=True)
        spare = Signal(self.shape, reset_less=True)
        room = Signal(init=1)  # There is nothing in spare.
        m.d.comb += [self.i.ready.eq(room), self.o.payload.eq(payload)]

        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | ~room),
                room.eq(1),
            ]
            with m.If(room):
                m.d.sync += payload.eq(self.i.payload)
            with m.Else():
                m.d.sync += payload.eq(spare)
        with m.Elif(self.i.valid):
            m.d.sync += room.eq(0)
        with m.If(room):
            m.d.sync += spare.eq(self.i.payload)
        return m


class Fork(wiring.Component):
    """Give every beat to each of several streams, each taking it when it is ready.

    Parameters
    ----------
    shape : ShapeLike
        Payload.
    n : int
        Output streams.

    Members
    -------
    i : stream of `shape`
        Taken in the cycle in which the last of the outputs takes the beat.
    o_0, o_1, ... : streams of `shape`

    Timing
    ------
    `Broadcast(n)`: combinational; a flag for each output remembers that it has the beat.

    Raises
    ------
    ValueError
        `n` is not a positive integer.
    """

    def __init__(self, shape: ShapeLike, n: int):
        _check_count("n", n, 1)
        self.shape = shape
        self.n = n
        self.timing = Broadcast(n)
        super().__init__(
            {"i": In(stream.Signature(shape))}
            | {f"o_{k}": Out(stream.Signature(shape)) for k in range(n)}
        )

    def elaborate(self, platform):
        m = Module()
        outputs = [getattr(self, f"o_{k}") for k in range(self.n)]
        done = Signal(self.n)
        satisfied = Signal(self.n)
        m.d.comb += self.i.ready.eq(satisfied.all())
        for k, o in enumerate(outputs):
            m.d.comb += [
                o.payload.eq(self.i.payload),
                o.valid.eq(self.i.valid & ~done[k]),
                satisfied[k].eq(done[k] | o.ready),
            ]
        with m.If(self.i.valid):
            with m.If(self.i.ready):
                m.d.sync += done.eq(0)
            with m.Else():
                m.d.sync += done.eq(satisfied)
        return m


class WidthConverter(wiring.Component):
    """Change the lanes of a stream by an integer factor, at full throughput.

    Parameters
    ----------
    element : str
    i_lanes, o_lanes : int
        Lanes of the two sides; one divides the other. Equal lanes make a plain register.

    Members
    -------
    i : stream of `lanes(element, i_lanes)`
    o : stream of `lanes(element, o_lanes)`

    Timing
    ------
    `Steps` of latency 1. Downward by f, a period takes a beat at the first of f steps and gives one
    at each; upward it takes one at each and gives one at the last. `interval` is f.

    Raises
    ------
    ValueError
        Neither number of lanes divides the other.
    """

    def __init__(self, element: str, i_lanes: int, o_lanes: int):
        i_shape, o_shape = lanes(element, i_lanes), lanes(element, o_lanes)
        if i_lanes % o_lanes and o_lanes % i_lanes:
            raise ValueError(
                f"i_lanes and o_lanes must divide one another, not {i_lanes} and {o_lanes}"
            )
        self.element = element
        self.i_lanes = i_lanes
        self.o_lanes = o_lanes
        self.interval = factor = max(i_lanes // o_lanes, o_lanes // i_lanes)
        every, first, last = (1,) * factor, (1,) + (0,) * (factor - 1), (0,) * (factor - 1) + (1,)
        if i_lanes > o_lanes:
            self.timing = Steps(consumes=(first,), emits=every, latency=1)
        else:
            self.timing = Steps(consumes=(every,), emits=last, latency=1)
        super().__init__({"i": In(stream.Signature(i_shape)), "o": Out(stream.Signature(o_shape))})

    def elaborate(self, platform):
        m = Module()
        i_width = Shape.cast(self.i.payload.shape()).width
        o_width = Shape.cast(self.o.payload.shape()).width
        down = self.i_lanes > self.o_lanes
        en = Signal()
        fire = Signal()
        held = Signal(unsigned(max(i_width, o_width)), reset_less=True)
        step = Signal(range(self.interval))
        first = step == 0
        last = step == self.interval - 1
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(en & first if down else en),
            fire.eq(en & (self.i.valid | ~first) if down else en & self.i.valid),
            self.o.payload.as_value().eq(held[:o_width]),
        ]
        with m.If(en):
            m.d.sync += self.o.valid.eq(fire & (1 if down else last))
        with m.If(fire):
            m.d.sync += step.eq(step + 1)
            with m.If(last):
                m.d.sync += step.eq(0)
            if down:
                with m.If(first):
                    m.d.sync += held.eq(self.i.payload.as_value())
                with m.Else():
                    m.d.sync += held.eq(held >> o_width)
            else:
                m.d.sync += held.eq(Cat(held, self.i.payload.as_value())[i_width:])
        return m
