"""The queue of batches, and the packer of their results."""

import random

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from amaranth.sim import Simulator

from boards.axi.batches import BatchQueue
from boards.axi.results import ResultPacker
from tests.streams import beats, drive


def submit_all(batches, *, depth: int, image_bytes: int, result_bytes: int):
    """What comes of each batch: the regions of its images and results, or None if refused."""
    dut = BatchQueue(
        depth=depth, image_bytes=image_bytes, result_bytes=result_bytes, address_bits=40
    )
    found = []

    async def bench(ctx):
        for images, results, frames in batches:
            ctx.set(dut.images, images)
            ctx.set(dut.results, results)
            ctx.set(dut.frames, frames)
            ctx.set(dut.submit, 1)
            await ctx.tick()
            ctx.set(dut.submit, 0)
            (refused,) = await ctx.tick().sample(dut.refused).until(dut.submitted)
            if refused:
                found.append(None)
                continue
            assert ctx.get(dut.busy) == 1
            regions = []
            for port in (dut.o_images, dut.o_results):
                ctx.set(port.ready, 1)
                address, length = (
                    await ctx.tick()
                    .sample(port.payload.address, port.payload.length)
                    .until(port.valid)
                )
                ctx.set(port.ready, 0)
                regions.append((address, length))
            found.append(tuple(regions))
            ctx.set(dut.done, 1)
            await ctx.tick()
            ctx.set(dut.done, 0)
            await ctx.tick()
            assert ctx.get(dut.busy) == 0
        assert ctx.get(dut.completed) == sum(regions is not None for regions in found)
        assert ctx.get(dut.o_images.valid) == ctx.get(dut.o_results.valid) == 0

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize(
    ("image_bytes", "result_bytes"), [(784, 44), (1, 1), (12, 200_704), (150_528, 4004)]
)
def test_a_batch_is_two_regions_of_frames_times_bytes(image_bytes, result_bytes):
    rng = random.Random(image_bytes)
    most = min(2**24 - 1, (2**38 - 1) // max(image_bytes, result_bytes))
    counts = [1, most, 2**24 - 1, 0, *(rng.randrange(1, most) for _ in range(3))]
    batches = [(rng.getrandbits(40), rng.getrandbits(40), count) for count in counts]
    assert submit_all(batches, depth=2, image_bytes=image_bytes, result_bytes=result_bytes) == [
        ((images, count * image_bytes), (results, count * result_bytes))
        if count > 0 and count * max(image_bytes, result_bytes) < 2**38
        else None
        for images, results, count in batches
    ]


def test_a_queue_of_nothing_is_refused():
    with pytest.raises(ValueError, match="image_bytes must be an integer of at least 1, not 0"):
        BatchQueue(depth=2, image_bytes=0, result_bytes=1, address_bits=40)


def words_of(numbers) -> list[int]:
    return [number & 0xFFFF_FFFF for number in numbers]


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize(("lanes", "count"), [(1, 3), (5, 5), (2, 6)])
def test_a_record_is_the_scores_and_then_the_label(lanes, count, seed):
    rng = random.Random(lanes)
    frames = 6
    scores = [[rng.randrange(-2048, 2048) for _ in range(count)] for _ in range(frames)]
    labels = [rng.randrange(16) for _ in range(frames)]
    unit = ResultPacker(scores=data.ArrayLayout(signed(12), lanes), count=count, label_bits=4)
    assert unit.lanes == 4
    run = drive(
        unit,
        {
            "i": beats(signed(12), lanes, [score for frame in scores for score in frame]),
            "i_label": labels,
        },
        {"o": frames * (count + 1)},
        seed=seed,
    )
    expected = [word for frame, label in zip(scores, labels, strict=True)
                for word in (*words_of(frame), label)]  # fmt: skip
    assert run.beats["o"] == expected
    if seed is None:
        assert run.cycles["o"] == list(range(1, frames * (count + 1) + 1))


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("shape", [signed(7), unsigned(31), signed(32)])
def test_without_a_label_a_record_is_the_scores(shape, seed):
    rng = random.Random(shape.width)
    low = -(1 << shape.width - 1) if shape.signed else 0
    scores = [rng.randrange(low, low + (1 << shape.width)) for _ in range(24)]
    unit = ResultPacker(scores=data.ArrayLayout(shape, 3), count=6)
    run = drive(unit, {"i": beats(shape, 3, scores)}, {"o": 8}, seed=seed)
    words = words_of(scores)
    assert run.beats["o"] == [
        sum(words[at + lane] << 32 * lane for lane in range(3)) for at in range(0, 24, 3)
    ]
    if seed is None:
        assert run.cycles["o"] == list(range(8))


def test_scores_that_no_int32_holds_are_refused():
    with pytest.raises(ValueError, match="scores must fit 32 bits with a sign"):
        ResultPacker(scores=data.ArrayLayout(unsigned(32), 1), count=1)
    with pytest.raises(ValueError, match="label_bits must be from 1 to 32, not 33"):
        ResultPacker(scores=data.ArrayLayout(signed(8), 1), count=1, label_bits=33)
