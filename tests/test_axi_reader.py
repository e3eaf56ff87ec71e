import itertools
import random

import pytest
from amaranth.hdl import Signal

from boards.axi.ports import Response
from boards.axi.reader import MemoryReader
from tests.axi_memory import (
    MemoryContent,
    ReadModel,
    beats_of,
    bursts_of,
    play,
    random_regions,
    simulate,
)
from tests.streams import Sink, Source

#: Cycles after everything has arrived, in which nothing more may come.
AFTER = 30


class Transfer:
    """Regions that are read from a memory, from the first cycle of ``run`` on."""

    def __init__(self, reader, regions, *, seed=None, **options):
        self.reader = reader
        self.content = MemoryContent(seed or 0)
        self.model = ReadModel(reader.memory, self.content, idle=reader.idle, seed=seed, **options)
        bits = reader.address_bits
        words = [address | length << bits for address, length in regions]
        self.source = Source("i", reader.i, seed, words)
        content = b"".join(self.content.read(*region) for region in regions)
        self.expected = beats_of(content, reader.lanes)
        self.sink = Sink("o", reader.o, seed, len(self.expected))
        self.players = [self.model, self.source, self.sink]
        self.watch = {name: getattr(reader, name) for name in ("idle", "slverr", "decerr")}
        self.cycle = 0

    def complete(self) -> bool:
        return len(self.sink.done) >= len(self.expected)

    async def run(self, ctx, until, *, patience=1000):
        """Go on until ``until`` holds; the cycles in which each output was 1."""
        self.cycle, found = await play(
            ctx, self.players, until, watch=self.watch, start=self.cycle, patience=patience
        )
        return found

    async def wait(self, ctx, cycles: int):
        end = self.cycle + cycles
        return await self.run(ctx, lambda: self.model.cycle >= end)

    async def finish(self, ctx):
        """Run to the end and check what came."""
        await self.run(ctx, self.complete)
        found = await self.wait(ctx, AFTER)
        assert self.sink.done == self.expected
        assert found["idle"][-1:] == [self.cycle - 1]
        assert not found["slverr"] and not found["decerr"]


def read(reader, regions, **options) -> Transfer:
    """A transfer that went to its end, and gave the bytes of the regions."""
    print(f"{reader.lanes} lanes, {reader.data_bits} bits, {options}, regions {regions}")
    transfer = Transfer(reader, regions, **options)
    simulate(reader, transfer.finish)
    planned = bursts_of(regions, reader.data_bits // 8, reader.burst_beats)
    assert transfer.model.bursts == planned
    return transfer


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("data_bits", [64, 128])
@pytest.mark.parametrize("lanes", [1, 3, 4, 16, 24])
def test_the_bytes_of_the_regions_come_in_their_order(lanes, data_bits, seed):
    source = random.Random(f"{lanes} {data_bits} {seed}")
    burst_beats = source.choice((1, 2, 8, 16))
    reader = MemoryReader(
        lanes=lanes,
        data_bits=data_bits,
        burst_beats=burst_beats,
        depth=burst_beats * source.choice((1, 2, 4)),
    )
    regions = random_regions(source, lanes, 5, 300)
    latency = source.choice(((1, 1), (1, 30), (20, 20)))
    read(reader, regions, seed=seed, latency=latency)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_any_reader_does_so(seed):
    source = random.Random(f"any {seed}")
    burst_beats = 1 << source.randrange(6)
    lanes = source.randint(1, source.choice((4, 16, 40)))
    reader = MemoryReader(
        lanes=lanes,
        data_bits=source.choice((32, 64, 128, 256)),
        burst_beats=burst_beats,
        depth=burst_beats + source.randrange(3 * burst_beats),
    )
    regions = random_regions(source, lanes, 8, source.choice((100, 3000)))
    latency = source.choice(((0, 0), (1, 30), (20, 20), (1, 200)))
    read(reader, regions, seed=seed, latency=latency)


@pytest.mark.parametrize("lanes", [1, 3, 5, 8])
def test_a_region_begins_and_ends_at_any_byte(lanes):
    regions = [
        (4096 * (index + 1) - 8 + start, lanes * beats)
        for index, (start, beats) in enumerate(
            (start, beats) for start in range(16) for beats in range(1, 4)
        )
    ]
    read(MemoryReader(lanes=lanes, data_bits=64, burst_beats=2, depth=8), regions)


def test_the_highest_and_the_lowest_address_are_read():
    reader = MemoryReader(lanes=1, data_bits=64, burst_beats=4, depth=8)
    read(reader, [((1 << 40) - 9, 9), (0, 9)])


@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("lanes", [3, 8, 16])
def test_a_far_memory_is_read_at_full_rate(lanes, offset):
    latency = 200
    reader = MemoryReader(lanes=lanes)
    # The second one begins where the first one ends, so that no word is read for nothing.
    regions = [(8192 + offset, 500 * lanes), (8192 + offset + 500 * lanes, 300 * lanes)]
    transfer = read(reader, regions, latency=(latency, latency))
    # The first beat may lie in two words. Later ones do as well where all of a region's do, which
    # then is one word longer than its beats.
    assert transfer.sink.when[0] == latency + 12 + (offset > 16 - lanes)
    between = [b - a for a, b in itertools.pairwise(transfer.sink.when)]
    gaps = {499: 2} if lanes == 16 and offset else {}
    assert between == [gaps.get(k, 1) for k in range(799)]


def test_no_more_is_asked_for_than_there_is_room_for():
    reader = MemoryReader(lanes=16, burst_beats=4, depth=16)
    transfer = Transfer(reader, [(64, 1600)])

    async def bench(ctx):
        # Nothing takes the beats.
        transfer.players.remove(transfer.sink)
        await transfer.wait(ctx, 300)
        asked = sum(beats for _, beats in transfer.model.bursts)
        assert transfer.model.words == asked
        # A full queue, and the beats that have left it: two on their way out.
        assert 16 <= asked <= 16 + 4
        transfer.players.append(transfer.sink)
        await transfer.finish(ctx)

    simulate(reader, bench)


def test_no_more_bursts_are_outstanding_than_it_can_remember():
    reader = MemoryReader(lanes=16, burst_beats=1, depth=128)
    transfer = Transfer(reader, [(64, 1600)], latency=(300, 300))

    async def bench(ctx):
        await transfer.wait(ctx, 250)
        assert len(transfer.model.bursts) == 32
        await transfer.finish(ctx)

    simulate(reader, bench)


async def clear(ctx, reader, reset):
    ctx.set(reader.stop, 0)
    ctx.set(reader.i.valid, 0)
    ctx.set(reset, 1)
    await ctx.tick()
    ctx.set(reset, 0)


async def restart(ctx, reader, reset, seed):
    """Reset an idle reader, and see it read another region."""
    await clear(ctx, reader, reset)
    again = Transfer(reader, [(4090, 20 * reader.lanes), (100, reader.lanes)], seed=seed)
    await again.finish(ctx)


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
@pytest.mark.parametrize("seed", range(5))
def test_an_error_stops_the_reader_until_a_reset(seed, response):
    source = random.Random(f"{seed} {response}")
    lanes = source.choice((1, 3, 16))
    reader = MemoryReader(lanes=lanes, burst_beats=4, depth=16)
    regions = random_regions(source, lanes, 4, 800)
    words = sum(beats for _, beats in bursts_of(regions, 16, 4))
    at = source.randrange(words)
    print(f"{lanes} lanes, word {at} of {words}")
    transfer = Transfer(reader, regions, seed=seed, errors={at: response}, latency=(1, 20))
    model = transfer.model
    reset = Signal()

    async def bench(ctx):
        await transfer.run(ctx, lambda: model.words > at)
        found = await transfer.wait(ctx, 4)
        pulses = found[response.name.lower()]
        assert len(pulses) == 1
        assert not found["slverr" if response == Response.DECERR else "decerr"]
        # What is offered already goes on, and nothing else.
        asked = len(model.bursts) + (model.address.waiting is not None)
        await transfer.run(ctx, lambda: not model.waiting and model.address.waiting is None)
        found = await transfer.wait(ctx, 60)
        assert len(model.bursts) == asked
        assert found["idle"][-50:] == list(range(transfer.cycle - 50, transfer.cycle))
        assert not found["slverr"] and not found["decerr"]
        # What was read before the error comes, and nothing of the word or of later ones.
        bursts = bursts_of(regions, 16, 4)
        good = [first + 16 * k for first, beats in bursts for k in range(beats)][:at]
        places = [a + k for a, length in regions for k in range(length)]
        known = set(good)
        sound = next((n for n, a in enumerate(places) if a // 16 * 16 not in known), len(places))
        assert transfer.sink.done == transfer.expected[: len(transfer.sink.done)]
        assert len(transfer.sink.done) <= sound // lanes
        await restart(ctx, reader, reset, seed)

    simulate(reader, bench, reset=reset)


def test_an_exclusive_okay_is_no_error():
    reader = MemoryReader(lanes=4, burst_beats=4, depth=16)
    read(reader, [(60, 400)], errors={5: Response.EXOKAY})


@pytest.mark.parametrize("seed", range(8))
def test_stop_ends_what_is_under_way_and_no_more(seed):
    source = random.Random(f"stop {seed}")
    lanes = source.choice((1, 3, 16))
    reader = MemoryReader(lanes=lanes, burst_beats=4, depth=32)
    regions = random_regions(source, lanes, 4, 1500)
    latency = source.choice(((1, 1), (1, 40)))
    transfer = Transfer(reader, regions, seed=seed, latency=latency)
    model = transfer.model
    moment = source.randrange(300)
    print(f"{lanes} lanes, stop in cycle {moment}")
    reset = Signal()

    async def bench(ctx):
        await transfer.wait(ctx, moment)
        ctx.set(reader.stop, 1)
        found = await transfer.wait(ctx, 1)
        asked = len(model.bursts) + (model.address.waiting is not None)
        if not found["idle"]:
            # A burst may just have been decided on.
            found = await transfer.wait(ctx, 1)
            asked = len(model.bursts) + (model.address.waiting is not None)
            await transfer.run(ctx, lambda: not model.waiting and model.address.waiting is None)
        start = transfer.cycle + 3
        # It is remembered.
        ctx.set(reader.stop, source.randrange(2))
        found = await transfer.wait(ctx, 40)
        assert [cycle for cycle in found["idle"] if cycle >= start] == list(
            range(start, transfer.cycle)
        )
        assert len(model.bursts) == asked
        assert transfer.sink.done == transfer.expected[: len(transfer.sink.done)]
        await restart(ctx, reader, reset, seed)

    simulate(reader, bench, reset=reset)


def test_what_is_idle_after_stop_stays_so():
    reader = MemoryReader(lanes=8, burst_beats=4, depth=8)
    reset = Signal()

    async def bench(ctx):
        for moment in range(30):
            transfer = Transfer(reader, [(0, 200)], latency=(3, 3))
            await transfer.wait(ctx, moment)
            ctx.set(reader.stop, 1)
            found = await transfer.wait(ctx, 30)
            idle = found["idle"]
            assert idle == list(range(idle[0], transfer.cycle))
            await clear(ctx, reader, reset)

    simulate(reader, bench, reset=reset)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"lanes": 0}, "lanes must be an integer of at least 1, not 0"),
        ({"lanes": 1.5}, "lanes must be an integer of at least 1, not 1.5"),
        ({"burst_beats": 3}, "burst_beats must be a power of two up to 256, not 3"),
        ({"burst_beats": 512}, "burst_beats must be a power of two up to 256, not 512"),
        (
            {"data_bits": 512, "burst_beats": 128},
            "burst_beats must be a power of two up to 64, not 128",
        ),
        ({"depth": 15}, "depth must be at least burst_beats, 16, not 15"),
        ({"data_bits": 48}, "data_bits must be a power of two from 32 to 1024, not 48"),
        ({"address_bits": 65}, "address_bits must be from 1 to 64, not 65"),
        ({"address_bits": 11}, "address_bits must be at least 12, not 11"),
    ],
)
def test_parameters_are_checked(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        MemoryReader(**{"lanes": 1, **wrong})
