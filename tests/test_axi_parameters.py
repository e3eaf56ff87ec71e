"""Access to parameters, word after word, in front of a memory that answers late."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from boards.axi.parameters import ParameterAccess
from hw.weights import WeightMemory


def bench(depth, width, behaviour):
    """Run ``behaviour(ctx, access)`` on a memory of zeros behind an access."""
    m = Module()
    m.submodules.memory = memory = WeightMemory(
        depth=depth, width=width, init=[0] * depth, writable=True
    )
    space = memory.space
    m.submodules.access = access = ParameterAccess(bits=space.bits, latency=space.latency)
    wiring.connect(m, access.parameters, memory.parameters)
    sim = Simulator(m)
    sim.add_clock(1e-6)

    async def watched(ctx):
        await behaviour(ctx, access)

    sim.add_testbench(watched)
    sim.run()


async def seek(ctx, access, address):
    ctx.set(access.write_data, address)
    ctx.set(access.seek, 1)
    await ctx.tick()
    ctx.set(access.seek, 0)


async def write(ctx, access, word):
    ctx.set(access.write_data, word)
    ctx.set(access.write, 1)
    await ctx.tick()
    ctx.set(access.write, 0)


async def read(ctx, access):
    ctx.set(access.read, 1)
    await ctx.tick()
    ctx.set(access.read, 0)
    for cycles in range(1, 100):
        if ctx.get(access.done):
            assert cycles == access.latency + 2
            assert not ctx.get(access.busy)
            word = ctx.get(access.read_data)
            await ctx.tick()
            return word
        assert ctx.get(access.busy) == (cycles < access.latency + 2)
        await ctx.tick()
    raise AssertionError("no word came")


@pytest.mark.parametrize(("depth", "width"), [(1, 7), (1, 70), (6, 20), (40, 96), (3, 530)])
def test_words_are_read_as_they_were_written_and_the_address_counts_up(depth, width):
    source = random.Random(depth * width)

    async def behaviour(ctx, access):
        place = WeightMemory(depth=depth, width=width, init=[0] * depth, writable=True).space.places
        columns, shift = place[0].columns, place[0].column_bits
        count = depth << shift
        words = [source.getrandbits(32) for _ in range(count)]
        await seek(ctx, access, 0)
        for word in words:
            await write(ctx, access, word)
        assert ctx.get(access.address) == count
        await seek(ctx, access, 0)
        for address, word in enumerate(words):
            column = address % (1 << shift)
            bits = min(32, width - 32 * column) if column < columns else 0
            assert await read(ctx, access) == word & (1 << bits) - 1
        assert ctx.get(access.address) == count
        # In any order, too.
        for address in source.sample(range(count), min(count, 5)):
            await seek(ctx, access, address)
            await write(ctx, access, 0)
            await seek(ctx, access, address)
            assert await read(ctx, access) == 0

    bench(depth, width, behaviour)


def test_beyond_the_space_nothing_is_written_and_zero_is_read():
    async def behaviour(ctx, access):
        await seek(ctx, access, 0)
        for word in (11, 12, 13, 14):
            await write(ctx, access, word)
        await seek(ctx, access, 1 << access.bits)
        for word in (21, 22):
            await write(ctx, access, word)
        await seek(ctx, access, (1 << access.bits) - 1)
        assert [await read(ctx, access) for _ in range(3)] == [14, 0, 0]
        await seek(ctx, access, 0)
        assert [await read(ctx, access) for _ in range(4)] == [11, 12, 13, 14]

    bench(4, 32, behaviour)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bits": 0}, "bits must be an integer from 1 to 32, not 0"),
        ({"bits": 33}, "bits must be an integer from 1 to 32, not 33"),
        ({"latency": 0}, "latency must be a positive integer, not 0"),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ParameterAccess(**({"bits": 4, "latency": 3} | changes))
