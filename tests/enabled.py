"""Test bench for pipelines with a clock enable."""

import random
from collections.abc import Sequence

from amaranth.hdl import Value
from amaranth.sim import Simulator

__all__ = ["pipeline", "words_of"]


def words_of(bits: int, count: int, seed: object) -> list[int]:
    """Seeded words: all zeros, all ones, a few with one bit set, and ``count`` random ones."""
    source = random.Random(f"{bits} {seed}")
    single = [1 << source.randrange(bits) for _ in range(4)]
    return [0, (1 << bits) - 1, *single, *(source.getrandbits(bits) for _ in range(count))]


def pipeline(
    m,
    inputs: Value,
    results: Sequence[Value],
    enable: Value,
    words: Sequence[int],
    latency: int,
    seed: int,
) -> list[list[int]]:
    """Feed one word each enabled cycle.

    Returns
    -------
    The values of ``results`` exactly ``latency`` enabled cycles after each word. Between enabled
    cycles there are random others, with random input.
    """
    source = random.Random(seed)
    found = []

    async def bench(ctx):
        for word in [*words, *[0] * latency]:
            while source.random() < 0.3:
                ctx.set(inputs, source.getrandbits(len(inputs)))
                ctx.set(enable, 0)
                await ctx.tick()
            ctx.set(inputs, word)
            ctx.set(enable, 1)
            _, _, *values = await ctx.tick().sample(*results)
            found.append(values)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return found[latency:]
