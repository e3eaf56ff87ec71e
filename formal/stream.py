"""Properties of streams, and free inputs for them.

Units move payloads without looking at them, so that a proof with words of a bit or two holds for
any width.
"""

from amaranth.asserts import AnySeq
from amaranth.hdl import (
    Assert,
    Cover,
    Elaboratable,
    Module,
    Mux,
    ShapeLike,
    Signal,
    Value,
    ValueLike,
)
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Forking", "Offer", "Order", "Sink", "Source", "Steady", "Streaming"]


class Offer(Elaboratable):
    """Drives a channel with anything at any time; what was offered stays until it is taken.

    Parameters
    ----------
    valid, ready, payload : value
        Driven, but for `ready`.
    some : value
        Whether a beat can begin to be offered.
    """

    def __init__(self, valid: Value, ready: Value, payload: Value, *, some: ValueLike = 1):
        self.valid = valid
        self.ready = ready
        self.payload = Value.cast(payload)
        self.some = some

    def elaborate(self, platform):
        m = Module()
        waits = Signal()
        past = Signal(len(self.payload))
        m.d.comb += [
            self.valid.eq(waits | (AnySeq(1) & self.some)),
            self.payload.eq(Mux(waits, past, AnySeq(len(self.payload)))),
        ]
        m.d.sync += [waits.eq(self.valid & ~self.ready), past.eq(self.payload)]
        return m


class Source(wiring.Component):
    """Any beats at any time; a beat that was offered stays until it is taken.

    Parameters
    ----------
    shape : ShapeLike
        Payload.

    Members
    -------
    o : stream of `shape`
    """

    def __init__(self, shape: ShapeLike):
        super().__init__({"o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.offer = Offer(self.o.valid, self.o.ready, self.o.payload)
        return m


class Sink(wiring.Component):
    """Takes beats, or does not, at any time.

    Parameters
    ----------
    shape : ShapeLike
        Payload.

    Members
    -------
    i : stream of `shape`
    """

    def __init__(self, shape: ShapeLike):
        super().__init__({"i": In(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(AnySeq(1))
        return m


class Steady(Elaboratable):
    """What is offered stays, and stays the same, until it is taken.

    Parameters
    ----------
    name : str
        Of the stream or channel, for the messages.
    valid, ready, payload : value
    """

    def __init__(self, name: str, valid: Value, ready: Value, payload: Value):
        self.name = name
        self.valid = valid
        self.ready = ready
        self.payload = Value.cast(payload)

    def elaborate(self, platform):
        m = Module()
        waits = Signal()
        past = Signal(len(self.payload))
        m.d.sync += [waits.eq(self.valid & ~self.ready), past.eq(self.payload)]
        with m.If(waits):
            m.d.comb += [
                Assert(self.valid, f"{self.name} stays until it is taken"),
                Assert(self.payload == past, f"{self.name} does not change until it is taken"),
                Cover(self.ready, f"{self.name} is taken late"),
            ]
        return m


class Order(Elaboratable):
    """Elements come out in the order in which they went in: none lost, doubled, changed or made up.

    Any one element is followed from where it goes in: how many are ahead of it says when it must
    come out. As it can be every one, what holds for it holds for all.

    Parameters
    ----------
    name : str
        For the messages.
    i_fire, i_payload, i_lanes : value, value, int
        A beat of that many elements goes in.
    o_valid, o_ready, o_payload, o_lanes : value, value, value, int
        A beat of that many elements is offered, and taken.
    capacity : int
        Most elements inside.

    Attributes
    ----------
    inside : Signal
        Elements inside.
    left : Signal
        Elements inside, less those that go out in this cycle.
    """

    def __init__(
        self,
        name: str,
        *,
        i_fire: Value,
        i_payload: Value,
        o_valid: Value,
        o_ready: Value,
        o_payload: Value,
        capacity: int,
        i_lanes: int = 1,
        o_lanes: int = 1,
    ):
        self.name = name
        self.i_fire = i_fire
        self.i_payload = Value.cast(i_payload)
        self.o_valid = o_valid
        self.o_ready = o_ready
        self.o_payload = Value.cast(o_payload)
        self.capacity = capacity
        self.i_lanes = i_lanes
        self.o_lanes = o_lanes
        # One beat too many fits, so that it is noticed.
        self.inside = Signal(range(capacity + i_lanes + 1))
        self.left = Signal.like(self.inside)

    def elaborate(self, platform):
        m = Module()
        width = len(self.i_payload) // self.i_lanes
        o_fire = Signal()
        follow = Signal()
        followed = Signal()
        late = Signal()  # What is followed waited.
        word = Signal(width)
        ahead = Signal.like(self.inside)
        lane = Signal(range(self.i_lanes))
        any_lane = Signal(range(self.i_lanes))
        m.d.comb += [
            o_fire.eq(self.o_valid & self.o_ready),
            self.left.eq(self.inside - Mux(o_fire, self.o_lanes, 0)),
            follow.eq(AnySeq(1) & self.i_fire & ~followed),
            any_lane.eq(AnySeq(len(any_lane))),
            lane.eq(Mux(any_lane < self.i_lanes, any_lane, 0)),
        ]
        m.d.sync += self.inside.eq(self.left + Mux(self.i_fire, self.i_lanes, 0))
        m.d.comb += [
            Assert(self.inside <= self.capacity, f"{self.name} holds {self.capacity} at most"),
            Assert(
                ~self.o_valid | (self.inside >= self.o_lanes),
                f"{self.name} gives only what went in",
            ),
            Cover(self.inside == self.capacity, f"{self.name} is full"),
        ]
        with m.If(followed & o_fire):
            for k in range(self.o_lanes):
                with m.If(ahead == k):
                    m.d.sync += followed.eq(0)
                    m.d.comb += [
                        Assert(
                            self.o_payload.word_select(k, width) == word,
                            f"{self.name} gives element {k} of a beat as it went in",
                        ),
                        Cover(late, f"{self.name} gives what waited as element {k}"),
                    ]
            with m.If(ahead >= self.o_lanes):
                m.d.sync += ahead.eq(ahead - self.o_lanes)
        with m.If(followed & ~o_fire):
            m.d.sync += late.eq(1)
        with m.If(follow):
            m.d.sync += [
                followed.eq(1),
                late.eq(0),
                word.eq(self.i_payload.word_select(lane, width)),
                ahead.eq(self.left + lane),
            ]
        return m


class Streaming(Elaboratable):
    """A unit with one input and one output, and all that is to hold for it.

    Parameters
    ----------
    unit : wiring.Component
        With streams `i` and `o`.
    capacity, i_lanes, o_lanes : int
        As for :class:`Order`.
    most : int, or None for as many as leave room for a beat
        Elements inside up to which the unit is ready.
    through : bool
        Whether those that leave in this cycle are inside no more, for that.
    latency : int
        Cycles after which at the latest a beat is offered that is there.
    level : bool
        Whether the unit's `level` counts what is inside.
    """

    def __init__(
        self,
        unit: wiring.Component,
        *,
        capacity: int,
        i_lanes: int = 1,
        o_lanes: int = 1,
        most: int | None = None,
        through: bool = False,
        latency: int = 1,
        level: bool = False,
    ):
        self.unit = unit
        self.capacity = capacity
        self.i_lanes = i_lanes
        self.o_lanes = o_lanes
        self.most = capacity - i_lanes if most is None else most
        self.through = through
        self.latency = latency
        self.level = level

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.source = source = Source(unit.i.payload.shape())
        m.submodules.sink = sink = Sink(unit.o.payload.shape())
        wiring.connect(m, source=source.o, unit=unit.i)
        wiring.connect(m, unit=unit.o, sink=sink.i)
        m.submodules.steady = Steady("o", unit.o.valid, unit.o.ready, unit.o.payload)
        m.submodules.order = order = Order(
            "unit",
            i_fire=unit.i.valid & unit.i.ready,
            i_payload=unit.i.payload,
            i_lanes=self.i_lanes,
            o_valid=unit.o.valid,
            o_ready=unit.o.ready,
            o_payload=unit.o.payload,
            o_lanes=self.o_lanes,
            capacity=self.capacity,
        )
        room = (order.left if self.through else order.inside) <= self.most
        # A beat is there for so many cycles and is not offered.
        waited = Signal(range(self.latency + 1))
        cycles = "cycle" if self.latency == 1 else "cycles"
        m.d.sync += waited.eq(0)
        with m.If((order.inside >= self.o_lanes) & ~unit.o.valid):
            m.d.sync += waited.eq(waited + 1)
            m.d.comb += Assert(
                waited < self.latency - 1,
                f"a beat is offered {self.latency} {cycles} after it came",
            )
        m.d.comb += Assert(unit.i.ready == room, "unit is ready where it has room and only there")
        if self.level:
            m.d.comb += Assert(unit.level == order.inside, "level counts what is inside")
        return m


class Forking(Elaboratable):
    """A fork with streams `i` and `o_0`, `o_1`, ..., and all that is to hold for it.

    Parameters
    ----------
    unit : wiring.Component
    n : int
        Outputs.
    """

    def __init__(self, unit: wiring.Component, n: int):
        self.unit = unit
        self.n = n

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.source = source = Source(unit.i.payload.shape())
        wiring.connect(m, source.o, unit.i)
        taken = Signal(self.n)
        has = Signal(self.n)
        for k in range(self.n):
            o = getattr(unit, f"o_{k}")
            m.submodules[f"sink_{k}"] = sink = Sink(o.payload.shape())
            m.submodules[f"steady_{k}"] = Steady(f"o_{k}", o.valid, o.ready, o.payload)
            wiring.connect(m, o, sink.i)
            m.d.comb += [
                has[k].eq(taken[k] | (o.valid & o.ready)),
                Assert(
                    o.valid == (unit.i.valid & ~taken[k]),
                    f"o_{k} is offered every beat until it took it, and not again",
                ),
                Assert(~o.valid | (o.payload == unit.i.payload), f"o_{k} is offered the beat"),
            ]
        m.d.comb += [
            Assert(
                ~unit.i.valid | (unit.i.ready == has.all()),
                "a beat goes when every output has it, and no sooner",
            ),
            Cover(unit.i.valid & (taken == 1) & unit.i.ready, "o_0 is first"),
            Cover(unit.i.valid & ~taken.any() & unit.i.ready, "all outputs take a beat at once"),
        ]
        m.d.sync += taken.eq(has)
        with m.If(unit.i.valid & unit.i.ready):
            m.d.sync += taken.eq(0)
        return m
