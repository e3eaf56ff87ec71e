# amaranth: UnusedElaboratable=no
"""Parameters that are written at run time: every unit becomes another one of the same geometry."""

import random

import pytest
from amaranth.hdl import Module, ResetInserter, Shape, Signal
from amaranth.sim import Simulator

from hw.affine import AffineUnit, RPReLUUnit
from hw.depthwise import DepthwiseEngine
from hw.dsc import DSCEngine
from hw.fractional import FractionalMVAU
from hw.lanes import element_range
from hw.level_mvau import LevelMVAU
from hw.matrix import MatrixEngine
from hw.mvau import MVAU
from hw.threshold import ThresholdUnit
from hw.weights import WeightMemory
from tests.streams import beats, drive

MAP = {"height": 2, "width": 3, "row_classes": [0, 0], "column_classes": [0, 0, 0]}
BORDERS = {"height": 2, "width": 3, "row_classes": [0, 1], "column_classes": [0, 1, 2]}


def number(source, element):
    lo, hi = element_range(element)
    return source.choice((lo, hi)) if element == "binary" else source.randint(lo, hi)


def matrix(source, rows, cols, element):
    return [[number(source, element) for _ in range(cols)] for _ in range(rows)]


def starts(source, where, rows, reach=20):
    classes = (max(where["row_classes"]) + 1) * (max(where["column_classes"]) + 1)
    return [[source.randint(-reach, reach) for _ in range(rows)] for _ in range(classes)]


def engine(unit, *, rows, cols, where=MAP, weight="binary", **options):
    """A maker of matrix engines with random weights and initial sums."""

    def make(source, **more):
        gate = {"gate": [source.randint(-cols, cols + 1) for _ in range(rows)]}
        return unit(
            rows=rows,
            cols=cols,
            weights=matrix(source, rows, cols, weight),
            initial=starts(source, where, rows),
            **({} if unit in (FractionalMVAU, LevelMVAU) else {"weight": weight}),
            **(gate if unit is FractionalMVAU else {}),
            **where,
            **options,
            **more,
        )

    return make


def depthwise(channels, lanes, activation, weight, where=BORDERS, ram_style="auto"):
    def make(source, **more):
        return DepthwiseEngine(
            channels=channels,
            lanes=lanes,
            kernel_taps=9,
            weights=matrix(source, channels, 9, weight),
            initial=starts(source, where, channels),
            activation=activation,
            weight=weight,
            output="int16",
            ram_style=ram_style,
            **where,
            **more,
        )

    return make


def threshold(channels, lanes, count, output, input="int6", ways=(1, -1)):
    def make(source, **more):
        lo, hi = element_range(input)
        directions = [source.choice(ways) for _ in range(channels)]
        rows = [
            sorted((source.randint(lo - 1, hi + 1) for _ in range(count)), reverse=way < 0)
            for way in directions
        ]
        return ThresholdUnit(
            channels=channels,
            lanes=lanes,
            thresholds=rows,
            directions=directions,
            input=input,
            output=output,
            **more,
        )

    return make


def segments(channels, lanes, count, *, input="int8", output="int7", shift=5, large=False):
    """A maker of affine units, or of RPReLU units; ``large`` parameters saturate now and then."""

    def make(source, **more):
        scale, bias = ((1 << 17) - 1, 1 << 40) if large else (90, 3000)
        scales = [[source.randint(-scale, scale) for _ in range(channels)] for _ in range(count)]
        biases = [[source.randint(-bias, bias) for _ in range(channels)] for _ in range(count)]
        common = {"channels": channels, "lanes": lanes, "shift": shift}
        common |= {"input": input, "output": output, **more}
        if count == 1:
            return AffineUnit(scale=scales[0], bias=biases[0], **common)
        lo, hi = element_range(input)
        thresholds = [source.choice((lo, hi + 1, source.randint(lo, hi))) for _ in range(channels)]
        return RPReLUUnit(threshold=thresholds, scale=scales, bias=biases, **common)

    return make


def block(source, **more):
    return DSCEngine(
        depthwise=depthwise(4, 2, "uint4", "int4", MAP)(source, **more),
        threshold=threshold(4, 2, 15, "uint4", "int16")(source, **more),
        pointwise=engine(
            MVAU, rows=6, cols=4, simd=4, pe=2, activation="uint4", weight="int4", output="int12"
        )(source, **more),
    )


INT4 = {"activation": "uint4", "weight": "int4", "output": "int13"}
XNOR = {"activation": "binary", "output": "int9"}
MAKERS = {
    "constant": engine(MVAU, rows=2, cols=6, simd=6, pe=2, **XNOR),
    "merged": engine(MVAU, rows=8, cols=6, simd=3, pe=4, where=BORDERS, **XNOR),
    "folded": engine(MVAU, rows=12, cols=12, simd=2, pe=1, where=BORDERS, **XNOR),
    "wide": engine(MVAU, rows=40, cols=40, simd=40, pe=20, **XNOR),
    "block": engine(MVAU, rows=24, cols=6, simd=2, pe=1, where=BORDERS, ram_style="block", **XNOR),
    "distributed": engine(MVAU, rows=6, cols=4, simd=1, pe=2, ram_style="distributed", **INT4),
    "products": engine(MVAU, rows=6, cols=4, simd=2, pe=3, **INT4),
    "levels": engine(LevelMVAU, rows=4, cols=12, simd=6, pe=2, levels=3, output="int9"),
    "levels, block": engine(
        LevelMVAU, rows=4, cols=7, simd=7, pe=4, levels=7, output="int9", ram_style="block"
    ),
    "fractional": engine(
        FractionalMVAU, rows=6, cols=8, simd=4, pe=2, where=BORDERS, output="int9"
    ),
    "fractional, at once": engine(FractionalMVAU, rows=2, cols=5, simd=5, pe=2, output="int9"),
    "depthwise": depthwise(6, 2, "uint4", "int4"),
    "depthwise, binary": depthwise(40, 1, "binary", "binary"),
    "depthwise, at once": depthwise(3, 3, "binary", "binary", MAP),
    "depthwise, block": depthwise(6, 1, "binary", "int4", ram_style="block"),
    "sign": threshold(6, 2, 1, "binary"),
    "sign, at once": threshold(3, 3, 1, "binary", "uint5"),
    "quantiser": threshold(6, 2, 15, "uint4"),
    "quantiser, other levels": threshold(8, 1, 5, "uint3", "uint4"),
    "affine": segments(6, 2, 1),
    "affine, many channels": segments(70, 1, 1, output="uint5"),
    "affine, large": segments(6, 3, 1, large=True, shift=0),
    "rprelu": segments(6, 2, 2),
    "rprelu, many channels": segments(40, 1, 2, shift=0, input="uint6"),
    "rprelu, large": segments(6, 6, 2, large=True, output="int3"),
    "depthwise-separable": block,
}


def writes(words, ports, space, every=1):
    """Write all words, and read them back, or one in so many."""

    async def before(ctx):
        for address, word in enumerate(words):
            ctx.set(ports.address, address)
            ctx.set(ports.write_data, word)
            ctx.set(ports.write, 1)
            await ctx.tick()
        ctx.set(ports.write, 0)
        ctx.set(ports.read, 1)
        for address in range(0, len(words), every):
            ctx.set(ports.address, address)
            await ctx.tick().repeat(space.latency)
            assert ctx.get(ports.read_data) == words[address], f"at {address}"
        ctx.set(ports.read, 0)
        await ctx.tick().repeat(space.latency)

    return before


def beats_of(unit):
    """Beats in and out of a unit in one frame, or pixel."""
    pixels = MAP["height"] * MAP["width"]
    if isinstance(unit, MatrixEngine):
        return pixels * unit.sf, pixels * unit.nf
    if isinstance(unit, DepthwiseEngine):
        return pixels * unit.fold, pixels * unit.fold
    if isinstance(unit, DSCEngine):
        return pixels * unit.depthwise.fold, pixels * unit.pointwise.nf
    return unit.interval, unit.interval


def random_beats(unit, count, source):
    """Any beats that may come: a level is at most as high as there are thresholds."""
    shape = unit.i.payload.shape()
    if isinstance(unit, LevelMVAU):
        levels = [source.randint(0, unit.levels) for _ in range(count * shape.length)]
        return beats(shape.elem_shape, shape.length, levels)
    return [source.getrandbits(Shape.cast(shape).width) for _ in range(count)]


@pytest.mark.parametrize("name", MAKERS)
def test_a_unit_becomes_another_one_in_the_same_cycles(name):
    make = MAKERS[name]
    unit, other = (make(random.Random(seed), writable=True) for seed in (1, 2))
    before, after = (make(random.Random(seed)) for seed in (1, 2))
    assert not hasattr(after, "parameters")
    assert (unit.space.bits, unit.space.places) == (other.space.bits, other.space.places)
    taken, given = beats_of(unit)
    frames = 3 if taken > 1 else 20
    inputs = {"i": random_beats(unit, frames * taken, random.Random(name))}
    outputs = {"o": frames * given}
    expected = drive(after, inputs, outputs)
    assert drive(before, inputs, outputs).beats != expected.beats
    for seed in (None, 1):
        load = writes(other.space.words, unit.parameters, unit.space, every=5 if seed else 1)
        run = drive(unit, inputs, outputs, seed=seed, before=load)
        assert run.beats == expected.beats
        if seed is None:
            assert run.cycles == expected.cycles


@pytest.mark.parametrize("name", MAKERS)
def test_parameters_are_at_first_those_that_a_unit_was_made_with(name):
    make = MAKERS[name]
    unit, plain = make(random.Random(3), writable=True), make(random.Random(3))
    taken, given = beats_of(unit)
    frames = 3 if taken > 1 else 20
    inputs = {"i": random_beats(unit, frames * taken, random.Random(name))}
    runs = [drive(each, inputs, {"o": frames * given}) for each in (unit, plain)]
    assert runs[0] == runs[1]


def test_no_reset_changes_a_word():
    for depth in (1, 4):
        memory = WeightMemory(depth=depth, width=8, init=[5] * depth, writable=True)
        m = Module()
        reset = Signal()
        m.submodules.memory = ResetInserter(reset)(memory)
        seen = []

        async def bench(ctx, memory=memory, reset=reset, seen=seen):
            ctx.set(memory.en, 1)
            ctx.set(memory.parameters.write, 1)
            ctx.set(memory.parameters.write_data, 9)
            await ctx.tick()
            ctx.set(memory.parameters.write, 0)
            ctx.set(reset, 1)
            await ctx.tick().repeat(3)
            ctx.set(reset, 0)
            await ctx.tick().repeat(3)
            seen.append(ctx.get(memory.data))

        sim = Simulator(m)
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()
        assert seen == [9]


def test_what_no_training_changes_is_not_written():
    make = engine(MVAU, rows=8, cols=6, simd=3, pe=4, **XNOR)
    unit = make(random.Random(1), writable=True, fixed_initial=True)
    assert [place.name for place in unit.space.places] == ["weights"]
    make = depthwise(6, 2, "uint4", "int4", MAP)
    unit = make(random.Random(1), writable=True, fixed_initial=True)
    assert [place.name for place in unit.space.places] == ["kernels"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: AffineUnit(
                channels=1, lanes=1, scale=[1 << 17], bias=[0], shift=0, input="int8",
                output="int8", writable=True,
            ),
            "a scale to be written must have 18 bits, not 131072",
        ),
        (
            lambda: RPReLUUnit(
                channels=1, lanes=1, threshold=[129], scale=[[1], [1]], bias=[[0], [0]], shift=0,
                input="int8", output="int8", writable=True,
            ),
            "a threshold must lie in -128..128, not 129",
        ),
    ],
)  # fmt: skip
def test_refuses_what_other_parameters_would_not_fit(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
