import pytest
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from formal.prove import prove, refute
from formal.stream import Forking, Streaming
from hw.stream import Fork, SkidBuffer, StreamFIFO, WidthConverter


def test_skid_buffer_keeps_every_beat_in_order_and_is_ready_where_it_has_room():
    prove(Streaming(SkidBuffer(2), capacity=2), method="pdr", cover=8)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("ram_style", ["distributed", "block"])
def test_fifo_keeps_every_beat_in_order_and_holds_its_depth(depth, ram_style):
    fifo = StreamFIFO(1, depth, ram_style=ram_style)
    design = Streaming(fifo, capacity=depth, latency=fifo.timing.latency, level=True)
    prove(design, method="pdr", cover=12)


@pytest.mark.parametrize(("i_lanes", "o_lanes"), [(1, 1), (1, 3), (3, 1), (2, 4), (4, 2)])
def test_width_converter_keeps_elements_in_order_at_full_rate(i_lanes, o_lanes):
    unit = WidthConverter("binary", i_lanes, o_lanes)
    design = Streaming(
        unit, capacity=max(i_lanes, o_lanes), i_lanes=i_lanes, o_lanes=o_lanes, through=True
    )
    prove(design, method="pdr", cover=12)


@pytest.mark.parametrize("n", [2, 3])
def test_fork_gives_every_beat_to_each_output_once(n):
    prove(Forking(Fork(2, n), n), method="pdr", cover=6)


class Broken(wiring.Component):
    """A skid buffer with one mistake."""

    def __init__(self, mistake: str):
        self.mistake = mistake
        super().__init__({"i": In(stream.Signature(2)), "o": Out(stream.Signature(2))})

    def elaborate(self, platform):
        m = Module()
        payload = Signal(2)
        spare = Signal(2)
        room = Signal(init=1)
        full = Signal()
        m.d.comb += [
            self.i.ready.eq(room & (self.o.ready | (self.mistake != "ready waits for ready"))),
            self.o.valid.eq(full & (self.o.ready | (self.mistake != "valid waits for ready"))),
            self.o.payload.eq(Mux(room | (self.mistake != "payload changes"), payload, spare)),
        ]
        with m.If(self.o.ready | ~full):
            m.d.sync += [
                full.eq(self.i.valid | ~room | (self.mistake == "given twice")),
                room.eq(1),
                payload.eq(Mux(room, self.i.payload, spare)),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += room.eq(self.mistake == "always ready")
        with m.If(room | (self.mistake == "spare overwritten")):
            m.d.sync += spare.eq(self.i.payload)
        return m


def test_the_skid_buffer_without_a_mistake_is_fine():
    prove(Streaming(Broken("none"), capacity=2), method="pdr", cover=8)


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ("spare overwritten", "unit gives element 0 of a beat as it went in"),
        ("payload changes", "o does not change until it is taken"),
        ("given twice", "unit gives only what went in"),
        ("always ready", "unit is ready where it has room and only there"),
        ("ready waits for ready", "unit is ready where it has room and only there"),
        ("valid waits for ready", "a beat is offered 1 cycle after it came"),
    ],
)
def test_a_broken_skid_buffer_is_found_out(mistake, sentence):
    assert sentence in refute(Streaming(Broken(mistake), capacity=2), depth=8)


class ForgetfulFork(Fork):
    """Does not remember which of its outputs have the beat."""

    def elaborate(self, platform):
        m = Module()
        outputs = [getattr(self, f"o_{k}") for k in range(self.n)]
        m.d.comb += self.i.ready.eq(Cat(o.ready for o in outputs).all())
        for o in outputs:
            m.d.comb += [o.valid.eq(self.i.valid), o.payload.eq(self.i.payload)]
        return m


def test_a_fork_that_forgets_who_has_the_beat_is_found_out():
    failed = refute(Forking(ForgetfulFork(2, 2), 2), depth=8)
    assert any("until it took it, and not again" in sentence for sentence in failed)


class Reversed(wiring.Component):
    """A converter that gives the lanes of a beat in the wrong order."""

    def __init__(self, converter: WidthConverter):
        self.converter = converter
        super().__init__(dict(converter.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.converter = inner = self.converter
        wiring.connect(m, wiring.flipped(self.i), inner.i)
        lanes = inner.o.payload.as_value()
        m.d.comb += [
            self.o.valid.eq(inner.o.valid),
            inner.o.ready.eq(self.o.ready),
            self.o.payload.as_value().eq(lanes[::-1]),
        ]
        return m


def test_a_converter_that_swaps_lanes_is_found_out():
    unit = Reversed(WidthConverter("binary", 2, 4))
    design = Streaming(unit, capacity=4, i_lanes=2, o_lanes=4, through=True)
    (sentence,) = refute(design, depth=8)
    assert sentence.startswith("unit gives element")
