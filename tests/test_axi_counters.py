"""Counters and multiplexers behind AXI, against counting and choosing one by one."""

import random

import pytest
from amaranth.hdl import Const, Module, Signal
from amaranth.sim import Simulator

from boards.axi.counters import StreamCounters
from boards.axi.long_counter import LongCounter
from boards.axi.selector import LATENCY, select_word

STREAMS = 3


class Model:
    """Counts all events up to a cycle."""

    def __init__(self, bits: int):
        self.most = (1 << bits) - 1
        self.clear()

    def clear(self):
        self.counts = [[0, 0, 0] for _ in range(STREAMS)]

    def note(self, valid: int, ready: int, busy: int):
        for stream, counts in enumerate(self.counts):
            v, r = valid >> stream & 1, ready >> stream & 1
            for kind, event in enumerate((v and r, v and not r, r and not v and busy)):
                counts[kind] = min(self.most, counts[kind] + bool(event))


def play(seed: int, *, bits: int = 32, bursts: int = 6, length: int = 90) -> list[list[int]]:
    """Let things happen, look at each counter while nothing does, and compare."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    dut = StreamCounters(streams=STREAMS, bits=bits)
    model = Model(bits)
    seen = []

    async def read(ctx, index: int) -> int:
        ctx.set(dut.index, index)
        ctx.set(dut.read, 1)
        for cycle in range(dut.interval + 4):
            _, _, done, value = await ctx.tick().sample(dut.done, dut.value)
            if done:
                ctx.set(dut.read, 0)
                assert cycle <= dut.interval + 2
                return value
        raise AssertionError("no answer")

    async def bench(ctx):
        for burst in range(bursts):
            for _ in range(rng.randrange(length)):
                values = [rng.getrandbits(STREAMS), rng.getrandbits(STREAMS), rng.getrandbits(1)]
                for signal, value in zip((dut.valid, dut.ready, dut.busy), values, strict=True):
                    ctx.set(signal, value)
                await ctx.tick()
                model.note(*values)
            # Neither valid nor ready is an event, whatever busy is.
            ctx.set(dut.valid, 0)
            ctx.set(dut.ready, 0)
            await ctx.tick()
            if burst == bursts // 2:
                ctx.set(dut.clear, 1)
                await ctx.tick()
                ctx.set(dut.clear, 0)
                model.clear()
            order = [(stream, kind) for stream in range(STREAMS) for kind in range(3)]
            rng.shuffle(order)
            for stream, kind in order:
                assert await read(ctx, 4 * stream + kind) == model.counts[stream][kind]
            seen.append([count for counts in model.counts for count in counts])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_counters_hold_all_that_happened(seed):
    assert max(max(counts) for counts in play(seed)) > StreamCounters(streams=STREAMS).interval


def test_counters_stop_at_their_largest_value():
    assert 31 in play(4, bits=5)[2]


def test_the_state_is_that_of_now():
    dut = StreamCounters(streams=2)
    found = []

    async def bench(ctx):
        for valid, ready in ((0, 0), (2, 0), (0, 2), (2, 2)):
            ctx.set(dut.valid, valid)
            ctx.set(dut.ready, ready)
            await ctx.tick().repeat(2)
            ctx.set(dut.index, 7)
            ctx.set(dut.read, 1)
            (value,) = await ctx.tick().sample(dut.value).until(dut.done)
            ctx.set(dut.read, 0)
            found.append(value)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == [0, 1, 2, 3]


def test_counters_that_could_not_gather_are_refused():
    with pytest.raises(ValueError, match="bits must be at least 6 for 9 streams, not 5"):
        StreamCounters(streams=9, bits=5)
    with pytest.raises(ValueError, match="streams must be an integer of at least 1, not 0"):
        StreamCounters(streams=0)


@pytest.mark.parametrize("seed", [1, 2])
def test_both_halves_of_a_long_counter_are_of_one_moment(seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    dut = LongCounter(half_bits=3)
    shown = set()

    async def bench(ctx):
        count, kept = 0, 0
        for _ in range(600):
            event, keep, clear = rng.random() < 0.9, rng.random() < 0.5, rng.random() < 0.005
            ctx.set(dut.event, event)
            ctx.set(dut.keep, keep)
            ctx.set(dut.clear, clear)
            await ctx.tick()
            if keep:
                kept = count
            count = 0 if clear else (count + event) % 64
            assert ctx.get(dut.low) + 8 * ctx.get(dut.high) == kept
            shown.add(kept)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert {0, 7, 8, 63} <= shown


def test_halves_of_one_bit_are_refused():
    with pytest.raises(ValueError, match="half_bits must be an integer of at least 2, not 1"):
        LongCounter(half_bits=1)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 64, 65, 130])
def test_a_word_is_there_after_the_latency(count):
    words = [random.Random(count + at).getrandbits(16) for at in range(count)]
    index = Signal(9)
    beyond = 1 << (count - 1).bit_length()
    m = Module()
    word = select_word(m, "word", [Const(value, 16) for value in words], index, 16)

    async def bench(ctx):
        for at in range(count):
            for same in (at, (at | 0x1FF & -beyond)):
                ctx.set(index, same)
                await ctx.tick().repeat(LATENCY)
                assert ctx.get(word) == words[at]

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("count", [0, 513])
def test_words_that_cannot_be_chosen_from_are_refused(count):
    with pytest.raises(ValueError, match=f"words must be from 1 to 512, not {count}"):
        select_word(Module(), "word", [Const(0, 8)] * count, Signal(9), 8)
