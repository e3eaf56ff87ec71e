import itertools
import random

import pytest
from amaranth.hdl import Signal

from boards.axi.ports import Response
from boards.axi.writer import MemoryWriter
from tests.axi_memory import (
    MemoryContent,
    WriteModel,
    beats_of,
    bursts_of,
    play,
    random_regions,
    simulate,
)
from tests.streams import Source

#: Cycles after everything has arrived, in which nothing more may come.
AFTER = 30


class Transfer:
    """Random bytes that are written into regions, from the first cycle of ``run`` on."""

    def __init__(self, writer, regions, *, seed=None, **options):
        self.writer = writer
        self.regions = regions
        self.memory = MemoryContent(0)
        self.model = WriteModel(writer.memory, self.memory, idle=writer.idle, seed=seed, **options)
        length = sum(length for _, length in regions)
        self.content = random.Random(f"content {seed}").randbytes(length)
        words = [address | length << writer.address_bits for address, length in regions]
        self.source = Source("i", writer.i, seed, beats_of(self.content, writer.lanes))
        self.region_source = Source("i_region", writer.i_region, seed, words)
        self.players = [self.model, self.source, self.region_source]
        self.watch = {name: getattr(writer, name) for name in ("idle", "done", "slverr", "decerr")}
        self.cycle = 0
        self.done: list[int] = []

    @property
    def wanted(self) -> dict[int, int]:
        places = itertools.chain.from_iterable(range(a, a + length) for a, length in self.regions)
        return dict(zip(places, self.content, strict=True))

    @property
    def planned(self) -> list[tuple[int, int]]:
        writer = self.writer
        return bursts_of(self.regions, writer.data_bits // 8, writer.burst_beats)

    async def run(self, ctx, until, *, patience=1000):
        """Go on until ``until`` holds; the cycles in which each output was 1."""
        self.cycle, found = await play(
            ctx, self.players, until, watch=self.watch, start=self.cycle, patience=patience
        )
        self.done += found["done"]
        return found

    async def wait(self, ctx, cycles: int):
        end = self.cycle + cycles
        return await self.run(ctx, lambda: self.model.cycle >= end)

    async def drain(self, ctx):
        """Run until all that was offered is answered."""
        model = self.model
        await self.run(ctx, lambda: model.offered == model.answered)

    async def finish(self, ctx):
        """Run to the end and check what is in memory."""
        model, bursts = self.model, self.planned
        await self.run(ctx, lambda: model.answered >= len(bursts))
        found = await self.wait(ctx, AFTER)
        assert model.bursts == bursts
        # No byte but those of the regions, and each of these once.
        assert self.memory.written == self.wanted
        assert set(model.writes.values()) == {1}
        assert found["idle"][-1:] == [self.cycle - 1]
        assert not found["slverr"] and not found["decerr"]
        assert self.done == self.done_cycles()

    def done_cycles(self) -> list[int]:
        """Two cycles after the answer to the last burst of each region that is in memory."""
        size, count = self.writer.data_bits // 8, 0
        cycles = []
        for region in self.regions:
            count += len(bursts_of([region], size, self.writer.burst_beats))
            if count <= self.model.answered:
                cycles.append(self.model.answer_cycles[count - 1] + 2)
        return cycles


def write(writer, regions, **options) -> Transfer:
    """A transfer that went to its end."""
    print(f"{writer.lanes} lanes, {writer.data_bits} bits, {options}, regions {regions}")
    transfer = Transfer(writer, regions, **options)
    simulate(writer, transfer.finish)
    return transfer


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("data_bits", [64, 128])
@pytest.mark.parametrize("lanes", [1, 3, 4, 16, 24])
def test_the_regions_are_written_and_nothing_else(lanes, data_bits, seed):
    source = random.Random(f"{lanes} {data_bits} {seed}")
    burst_beats = source.choice((1, 2, 8, 16))
    writer = MemoryWriter(
        lanes=lanes,
        data_bits=data_bits,
        burst_beats=burst_beats,
        depth=burst_beats * source.choice((1, 2, 4)) + source.randrange(2),
    )
    regions = random_regions(source, lanes, 5, 300)
    latency = source.choice(((1, 1), (1, 30), (20, 20)))
    write(writer, regions, seed=seed, latency=latency, shy=seed == 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_any_writer_does_so(seed):
    source = random.Random(f"any {seed}")
    burst_beats = 1 << source.randrange(6)
    lanes = source.randint(1, source.choice((4, 16, 40)))
    writer = MemoryWriter(
        lanes=lanes,
        data_bits=source.choice((32, 64, 128, 256)),
        burst_beats=burst_beats,
        depth=burst_beats + source.randrange(3 * burst_beats),
    )
    regions = random_regions(source, lanes, 8, source.choice((100, 3000)))
    latency = source.choice(((0, 0), (1, 30), (20, 20), (1, 200)))
    write(writer, regions, seed=seed, latency=latency, shy=source.random() < 0.3)


@pytest.mark.parametrize("lanes", [1, 3, 5, 8])
def test_a_region_begins_and_ends_at_any_byte(lanes):
    regions = [
        (4096 * (index + 1) - 8 + start, lanes * beats)
        for index, (start, beats) in enumerate(
            (start, beats) for start in range(16) for beats in range(1, 4)
        )
    ]
    write(MemoryWriter(lanes=lanes, data_bits=64, burst_beats=2, depth=8), regions)


def test_the_highest_and_the_lowest_address_are_written():
    writer = MemoryWriter(lanes=1, data_bits=64, burst_beats=4, depth=8)
    write(writer, [((1 << 40) - 9, 9), (0, 9)])


def test_a_region_of_more_than_64_kibibytes_is_written_to_its_end():
    # Bytes are counted down in two parts; the shortest region that needs both takes long.
    writer = MemoryWriter(lanes=128, data_bits=1024, burst_beats=32, depth=64)
    write(writer, [(4096 - 100, 1 << 16), (1 << 20, (1 << 16) + 256)])


@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("lanes", [3, 8, 16])
def test_memory_is_written_at_full_rate(lanes, offset):
    writer = MemoryWriter(lanes=lanes)
    regions = [(8192 + offset, 400 * lanes), (8192 + offset + 400 * lanes, 300 * lanes)]
    transfer = write(writer, regions, latency=(100, 100))
    assert transfer.source.when[0] == 1
    between = [b - a for a, b in itertools.pairwise(transfer.source.when)]
    # Where the last beat of a region lies in two words, another cycle is for the second one.
    gaps = {399: 2} if (offset + 400 * lanes) % 16 in range(1, lanes) else {}
    assert between == [gaps.get(k, 1) for k in range(699)]


def test_a_burst_begins_only_when_all_its_data_is_there():
    writer = MemoryWriter(lanes=4, burst_beats=4, depth=16)
    transfer = Transfer(writer, [(32, 4 * 400)])
    model, source = transfer.model, transfer.source
    words = source.words

    async def bench(ctx):
        # Bytes come only up to some beat, and then no more for a while.
        for given in (7, 8, 23, 24, 25, 40, 55, 100, 103):
            source.words = words[:given]
            found = await transfer.wait(ctx, 80)
            whole = list(itertools.accumulate(b for _, b in transfer.planned))
            assert len(model.bursts) == sum(4 * end <= given for end in whole)
            assert model.answered == len(model.bursts)
            assert found["idle"][-1:] == [transfer.cycle - 1]
        source.words = words
        await transfer.finish(ctx)

    simulate(writer, bench)


def test_no_more_bursts_are_outstanding_than_it_can_remember():
    writer = MemoryWriter(lanes=16, burst_beats=1, depth=128)
    transfer = Transfer(writer, [(64, 1600)], latency=(300, 300))

    async def bench(ctx):
        await transfer.wait(ctx, 250)
        assert len(transfer.model.bursts) == 32
        await transfer.finish(ctx)

    simulate(writer, bench)


async def clear(ctx, writer, reset):
    ctx.set(writer.stop, 0)
    ctx.set(writer.i.valid, 0)
    ctx.set(writer.i_region.valid, 0)
    ctx.set(reset, 1)
    await ctx.tick()
    ctx.set(reset, 0)


async def restart(ctx, writer, reset, seed):
    """Reset an idle writer, and see it write another region."""
    await clear(ctx, writer, reset)
    again = Transfer(writer, [(4090, 20 * writer.lanes), (100, writer.lanes)], seed=seed)
    await again.finish(ctx)


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
@pytest.mark.parametrize("seed", range(5))
def test_an_error_stops_the_writer_until_a_reset(seed, response):
    source = random.Random(f"{seed} {response}")
    lanes = source.choice((1, 3, 16))
    writer = MemoryWriter(lanes=lanes, burst_beats=4, depth=16)
    regions = random_regions(source, lanes, 4, 800)
    transfer = Transfer(writer, regions, seed=seed, latency=(1, 20))
    model = transfer.model
    at = source.randrange(len(transfer.planned))
    model.errors[at] = response
    print(f"{lanes} lanes, burst {at} of {len(transfer.planned)}")
    reset = Signal()

    async def bench(ctx):
        await transfer.run(ctx, lambda: model.answered > at)
        found = await transfer.wait(ctx, 3)
        assert len(found[response.name.lower()]) == 1
        assert not found["slverr" if response == Response.DECERR else "decerr"]
        # What is offered already goes on, and nothing else.
        offered = model.offered
        await transfer.drain(ctx)
        found = await transfer.wait(ctx, 60)
        assert model.offered == offered
        assert found["idle"][-50:] == list(range(transfer.cycle - 50, transfer.cycle))
        # No region is done from the one on that the error was in.
        sound = bursts_of(regions, 16, 4)[:at]
        whole = [len(bursts_of(regions[: k + 1], 16, 4)) for k in range(len(regions))]
        assert len(transfer.done) == sum(count <= len(sound) for count in whole)
        assert transfer.memory.written.items() <= transfer.wanted.items()
        await restart(ctx, writer, reset, seed)

    simulate(writer, bench, reset=reset)


def test_an_exclusive_okay_is_no_error():
    writer = MemoryWriter(lanes=4, burst_beats=4, depth=16)
    write(writer, [(60, 400)], errors={2: Response.EXOKAY})


@pytest.mark.parametrize("seed", range(8))
def test_stop_ends_what_is_under_way_and_no_more(seed):
    source = random.Random(f"stop {seed}")
    lanes = source.choice((1, 3, 16))
    writer = MemoryWriter(lanes=lanes, burst_beats=4, depth=32)
    regions = random_regions(source, lanes, 4, 1500)
    latency = source.choice(((1, 1), (1, 40)))
    transfer = Transfer(writer, regions, seed=seed, latency=latency, shy=seed % 3 == 0)
    model = transfer.model
    moment = source.randrange(300)
    print(f"{lanes} lanes, stop in cycle {moment}")
    reset = Signal()

    async def bench(ctx):
        await transfer.wait(ctx, moment)
        ctx.set(writer.stop, 1)
        # A burst may just have been decided on.
        await transfer.wait(ctx, 2)
        offered = model.offered
        await transfer.drain(ctx)
        start = transfer.cycle + 3
        # It is remembered.
        ctx.set(writer.stop, source.randrange(2))
        found = await transfer.wait(ctx, 40)
        idle = [cycle for cycle in found["idle"] if cycle >= start]
        assert idle == list(range(start, transfer.cycle))
        assert model.offered == offered
        assert transfer.memory.written.items() <= transfer.wanted.items()
        # What is in memory whole was reported as done.
        assert transfer.done == transfer.done_cycles()
        await restart(ctx, writer, reset, seed)

    simulate(writer, bench, reset=reset)


def test_what_is_idle_after_stop_stays_so():
    writer = MemoryWriter(lanes=8, burst_beats=4, depth=8)
    reset = Signal()

    async def bench(ctx):
        for moment in range(30):
            transfer = Transfer(writer, [(0, 200)], latency=(3, 3))
            await transfer.wait(ctx, moment)
            ctx.set(writer.stop, 1)
            found = await transfer.wait(ctx, 30)
            idle = found["idle"]
            assert idle == list(range(idle[0], transfer.cycle))
            await clear(ctx, writer, reset)

    simulate(writer, bench, reset=reset)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"lanes": 0}, "lanes must be an integer of at least 1, not 0"),
        ({"burst_beats": 3}, "burst_beats must be a power of two up to 256, not 3"),
        ({"depth": 15}, "depth must be at least burst_beats, 16, not 15"),
        ({"data_bits": 48}, "data_bits must be a power of two from 32 to 1024, not 48"),
        ({"address_bits": 65}, "address_bits must be from 1 to 64, not 65"),
        ({"address_bits": 11}, "address_bits must be at least 12, not 11"),
    ],
)
def test_parameters_are_checked(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        MemoryWriter(**{"lanes": 1, **wrong})
