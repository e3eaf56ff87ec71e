import itertools
import random

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from amaranth.sim import Simulator

from hw.lanes import lanes
from hw.stream import Fork, SkidBuffer, StreamFIFO, WidthConverter
from hw.timing import Broadcast, Queue
from tests.check import check
from tests.streams import beats, drive

SHAPE = lanes("int5", 3)
DEPTHS = [1, 2, 3, 4, 5, 8, 13]


def random_words(seed, count, width=15):
    source = random.Random(seed)
    return [source.getrandbits(width) for _ in range(count)]


def test_payload_keeps_its_type():
    for unit in (
        StreamFIFO(shape=SHAPE, depth=2),
        SkidBuffer(shape=SHAPE),
        WidthConverter(element="int5", i_lanes=3, o_lanes=3),
    ):
        assert unit.i.payload.shape() == unit.o.payload.shape() == SHAPE
    fork = Fork(shape=SHAPE, n=2)
    assert fork.i.payload.shape() == fork.o_0.payload.shape() == fork.o_1.payload.shape() == SHAPE


@pytest.mark.parametrize("ram_style", ["distributed", "block"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_fifo_keeps_every_beat_in_order(depth, ram_style):
    words = random_words(depth, 60)
    check(
        lambda: StreamFIFO(shape=SHAPE, depth=depth, ram_style=ram_style),
        {"i": words},
        {"o": words},
        seeds=(1, 2, 3, 4, 5, 6),
    )


@pytest.mark.parametrize("ram_style", ["distributed", "block"])
def test_fifo_takes_any_shape(ram_style):
    for shape, width in (
        (unsigned(1), 1),
        (signed(7), 7),
        (data.StructLayout({"a": 3, "b": signed(2)}), 5),
    ):
        words = random_words(width, 20, width)
        check(
            lambda shape=shape: StreamFIFO(shape=shape, depth=3, ram_style=ram_style),
            {"i": words},
            {"o": words},
        )


def queue_trace(unit, offers, takes):
    """What a queue shows in each cycle, given when its neighbours are willing."""
    seen = []

    async def bench(ctx):
        word, valid = 1, False
        for offer, take in zip(offers, takes, strict=True):
            valid = valid or offer
            ctx.set(unit.i.valid, valid)
            ctx.set(unit.i.payload, word)
            ctx.set(unit.o.ready, take)
            _, _, i_ready, o_valid, o_payload = await ctx.tick().sample(
                unit.i.ready, unit.o.valid, unit.o.payload
            )
            seen.append((i_ready, o_valid, o_payload if o_valid else None))
            if valid and i_ready:
                word, valid = word + 1, False

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def queue_model(timing, offers, takes):
    inside, seen, word, valid = [], [], 1, False
    for now, (offer, take) in enumerate(zip(offers, takes, strict=True)):
        valid = valid or offer
        i_ready = len(inside) < timing.depth
        o_valid = bool(inside) and inside[0][1] <= now
        seen.append((i_ready, o_valid, inside[0][0] if o_valid else None))
        if o_valid and take:
            inside.pop(0)
        if valid and i_ready:
            inside.append((word, now + timing.latency))
            word, valid = word + 1, False
    return seen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "make",
    [lambda: SkidBuffer(shape=unsigned(12))]
    + [
        lambda depth=depth, ram_style=ram_style: StreamFIFO(
            shape=unsigned(12), depth=depth, ram_style=ram_style
        )
        for depth, ram_style in itertools.product(DEPTHS, ("distributed", "block"))
    ],
)
def test_queue_is_ready_and_valid_in_the_cycles_of_its_timing(make, seed):
    # Willingness that changes slowly fills and empties the queue; a fast one keeps it in between.
    source = random.Random(seed)
    offers, takes = [], []
    for _ in range(20):
        offer, take = source.choice((0.1, 0.5, 1.0)), source.choice((0.1, 0.5, 1.0))
        for _ in range(20):
            offers.append(source.random() < offer)
            takes.append(source.random() < take)
    unit = make()
    assert queue_trace(unit, offers, takes) == queue_model(unit.timing, offers, takes)


def test_fifo_counts_level_and_high_water():
    unit = StreamFIFO(shape=unsigned(8), depth=5, high_water=True)
    seen = []

    async def bench(ctx):
        # Three in, two out, four in (full), all out.
        for offer, take, times in ((1, 0, 3), (0, 1, 2), (1, 0, 6), (0, 1, 7)):
            for _ in range(times):
                ctx.set(unit.i.valid, offer)
                ctx.set(unit.o.ready, take)
                await ctx.tick()
                seen.append(ctx.get(unit.level))
        await ctx.tick()
        assert ctx.get(unit.high_water) == 5

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [1, 2, 3, 2, 1, 2, 3, 4, 5, 5, 5, 4, 3, 2, 1, 0, 0, 0]


def test_fifo_high_water_is_below_depth_when_it_never_fills():
    unit = StreamFIFO(shape=unsigned(8), depth=5, high_water=True)
    levels = []

    async def bench(ctx):
        ctx.set(unit.i.valid, 1)
        await ctx.tick().repeat(2)
        ctx.set(unit.o.ready, 1)
        await ctx.tick().repeat(10)
        levels.append(ctx.get(unit.high_water))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert levels == [2]


def test_fifo_memory_style_sets_latency():
    assert StreamFIFO(shape=1, depth=64).timing == Queue(64, 1)
    assert StreamFIFO(shape=1, depth=65).timing == Queue(65, 3)
    assert StreamFIFO(shape=1, depth=65, ram_style="distributed").timing == Queue(65, 1)
    assert StreamFIFO(shape=1, depth=4, ram_style="block").timing == Queue(4, 3)
    assert not hasattr(StreamFIFO(shape=1, depth=4), "high_water")


@pytest.mark.parametrize("depth", [0, -1, 2.0, "4", True])
def test_fifo_refuses_bad_depth(depth):
    with pytest.raises(ValueError, match="depth must be an integer of at least 1, not"):
        StreamFIFO(shape=1, depth=depth)


def test_fifo_refuses_unknown_ram_style():
    with pytest.raises(
        ValueError, match="ram_style must be 'auto', 'distributed' or 'block', not 'ultra'"
    ):
        StreamFIFO(shape=1, depth=2, ram_style="ultra")


def test_skid_buffer_keeps_every_beat_in_order():
    words = random_words(7, 100)
    check(lambda: SkidBuffer(shape=SHAPE), {"i": words}, {"o": words}, seeds=range(1, 9))


def test_skid_buffer_has_full_throughput():
    run = drive(SkidBuffer(shape=unsigned(4)), {"i": [1] * 20}, {"o": 20})
    assert run.cycles["o"] == list(range(1, 21))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_fork_gives_every_beat_to_every_output_once(n):
    words = random_words(n, 40)
    run = check(
        lambda: Fork(shape=SHAPE, n=n),
        {"i": words},
        {f"o_{k}": words for k in range(n)},
        seeds=range(1, 9),
    )
    assert run.cycles["o_0"] == list(range(40))
    assert Fork(shape=SHAPE, n=n).timing == Broadcast(n)


def test_fork_lets_a_fast_branch_go_ahead_by_one_beat():
    unit = Fork(shape=unsigned(8), n=2)
    taken = []

    async def bench(ctx):
        ctx.set(unit.i.valid, 1)
        ctx.set(unit.i.payload, 9)
        ctx.set(unit.o_0.ready, 1)
        for ready in (0, 0, 1):
            ctx.set(unit.o_1.ready, ready)
            _, _, *seen = await ctx.tick().sample(unit.o_0.valid, unit.o_1.valid, unit.i.ready)
            taken.append(tuple(seen))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert taken == [(1, 1, 0), (0, 1, 0), (0, 1, 1)]


def test_fork_refuses_no_output():
    with pytest.raises(ValueError, match="n must be an integer of at least 1, not 0"):
        Fork(shape=1, n=0)


@pytest.mark.parametrize("element", ["binary", "uint4", "int7"])
@pytest.mark.parametrize(
    ("i_lanes", "o_lanes"),
    [(1, 1), (4, 4), (1, 2), (1, 5), (2, 6), (3, 12), (2, 1), (5, 1), (6, 2), (12, 3)],
)
def test_width_converter_keeps_every_channel_in_order(element, i_lanes, o_lanes):
    shape = lanes(element, 1).elem_shape
    source = random.Random(f"{element} {i_lanes} {o_lanes}")
    low = -(1 << shape.width - 1) if shape.signed else 0
    channels = [source.randrange(low, low + (1 << shape.width)) for _ in range(120)]
    unit = WidthConverter(element=element, i_lanes=i_lanes, o_lanes=o_lanes)
    assert unit.interval == max(i_lanes, o_lanes) // min(i_lanes, o_lanes)
    run = check(
        lambda: WidthConverter(element=element, i_lanes=i_lanes, o_lanes=o_lanes),
        {"i": beats(element, i_lanes, channels)},
        {"o": beats(element, o_lanes, channels)},
        seeds=(1, 2, 3, 4),
    )
    # One side moves a beat in every cycle.
    assert max(run.cycles["i"][-1] + 1, run.cycles["o"][-1]) == 120 // min(i_lanes, o_lanes)


def test_width_converter_refuses_lanes_that_do_not_divide():
    with pytest.raises(
        ValueError, match="i_lanes and o_lanes must divide one another, not 4 and 6"
    ):
        WidthConverter(element="uint4", i_lanes=4, o_lanes=6)
    with pytest.raises(ValueError, match="count of lanes must be a positive integer, not 0"):
        WidthConverter(element="uint4", i_lanes=4, o_lanes=0)
    with pytest.raises(ValueError, match="element must be 'binary'"):
        WidthConverter(element="float", i_lanes=4, o_lanes=2)
