"""The AXI shell around a stand-in accelerator, at its two ports."""

import random
import struct

import pytest
from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.ports import Response
from boards.axi.shell import QUEUE, AXIShell
from boards.registers import (
    IDENTITY,
    INSIDE,
    MAGIC,
    STREAM_STRIDE,
    STREAMS,
    VERSION,
    Control,
    Fault,
    Identity,
    Interrupt,
    Register,
    Status,
    StreamCounter,
)
from tests.axi_bench import ShellBench
from tests.uart_bench import StandIn, stand_in_result

# Refused designs are made and thrown away here.
pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")

IMAGE_BYTES = 12
CLASSES = 4
RESULT_BYTES = 4 * (CLASSES + 1)

WRITABLE = {
    Register.CONTROL, Register.INTERRUPT_ENABLE, Register.INTERRUPT, Register.IMAGES_LOW,
    Register.IMAGES_HIGH, Register.RESULTS_LOW, Register.RESULTS_HIGH, Register.FRAMES,
    Register.SUBMIT,
}  # fmt: skip
PARAMETERS = {Register.PARAMETER_ADDRESS, Register.PARAMETER_DATA}


def identity(**changes) -> Identity:
    fields = {
        "name": "stand-in", "board": "none", "network": bytes(range(32)).hex(),
        "folding": bytes(32).hex(), "image": (3, 2, 2), "result": (1, 1, CLASSES), "label": True,
        "interval": 20, "latency": 20, "clock_hz": 1000,
    }  # fmt: skip
    return Identity(**fields | changes)


def shell(*, busy: int = 0, **more) -> AXIShell:
    accelerator = StandIn(beats=6, lanes=2, classes=CLASSES, score_lanes=2, busy=busy)
    return AXIShell(accelerator=accelerator, identity=identity(), **more)


def check_results(bench: ShellBench, images: int, results: int, frames: int) -> None:
    for frame in range(frames):
        image = bench.content.read(images + frame * IMAGE_BYTES, IMAGE_BYTES)
        label, scores = stand_in_result(image, CLASSES)
        found = bench.content.read(results + frame * RESULT_BYTES, RESULT_BYTES)
        assert found == struct.pack(f"<{CLASSES}iI", *scores, label), f"frame {frame}"


def test_registers_are_where_the_map_has_them():
    dut = shell()
    bench = ShellBench(dut)
    initial = {
        Register.MAGIC: MAGIC,
        Register.VERSION: VERSION,
        Register.IDENTITY_BYTES: len(dut.identity.pack()),
        Register.STATUS: Status.READ_IDLE | Status.WRITE_IDLE | QUEUE << 8,
        Register.NETWORK: 0x03020100,
    }

    async def test(lite, ctx):
        for register in sorted(set(Register) - PARAMETERS):
            value = await lite.read(register)
            if not register.name.startswith("CYCLES"):
                assert value == initial.get(register, 0), register
        assert await lite.read(Register.NETWORK + 28) == 0x1F1E1D1C
        size = initial[Register.IDENTITY_BYTES]
        words = [await lite.read(IDENTITY + at) for at in range(0, size, 4)]
        packed = b"".join(word.to_bytes(4, "little") for word in words)
        assert Identity.unpack(packed) == dut.identity

        # What can be written reads back, but for what acts when it is written.
        for register in sorted(WRITABLE - {Register.CONTROL, Register.SUBMIT, Register.INTERRUPT}):
            await lite.write(register, 0xFFFF_FFFF)
        assert [
            await lite.read(register)
            for register in (
                Register.INTERRUPT_ENABLE, Register.IMAGES_LOW, Register.IMAGES_HIGH,
                Register.RESULTS_LOW, Register.RESULTS_HIGH, Register.FRAMES,
            )
        ] == [3, 0xFFFF_FFFF, 0xFF, 0xFFFF_FFFF, 0xFF, 0xFF_FFFF]  # fmt: skip

    bench.run(test)


def test_what_is_no_register_answers_with_an_error():
    dut = shell()
    bench = ShellBench(dut)
    streams = len(dut.identity.streams) * STREAM_STRIDE
    nowhere = [
        0x044, 0x05C, 0x08C, 0x0FC, 0x100, 0x3FC, STREAMS + streams, 0x800, INSIDE, 0xFFC,
        IDENTITY + len(dut.identity.pack()), 0xFFFC, *PARAMETERS,
        # Within a register.
        Register.MAGIC + 1, STREAMS + 2, IDENTITY + 3,
    ]  # fmt: skip
    kept = [*sorted(set(Register) - WRITABLE), Register.NETWORK + 4, STREAMS, IDENTITY, *nowhere]

    async def test(lite, ctx):
        for address in nowhere:
            assert (await lite.try_read(address))[1] == Response.SLVERR, hex(address)
        for address in kept:
            assert await lite.try_write(address, 1) == Response.SLVERR, hex(address)
        # Only a part of a register.
        for strobe in (0, 1, 7, 14):
            assert await lite.try_write(Register.FRAMES, 5, strobe) == Response.SLVERR
        assert await lite.try_write(Register.FRAMES + 1, 5) == Response.SLVERR
        assert await lite.read(Register.FRAMES) == 0

    bench.run(test)


@pytest.mark.parametrize(("data_bits", "seed"), [(128, None), (64, 1), (128, 2)])
def test_batches_follow_each_other_and_are_counted(data_bits, seed):
    dut = shell(data_bits=data_bits)
    bench = ShellBench(dut, seed=seed)
    # Unaligned, and across a multiple of 4 KiB.
    batches = [(0x12FE5, 0x80_0000_0FD1, 9), (0x2_0000_0000, 0x5000, 1), (0x77, 0x6001, 4)]
    frames = sum(count for _, _, count in batches)

    async def test(lite, ctx):
        await lite.write(Register.INTERRUPT_ENABLE, Interrupt.DONE)
        for batch in batches:
            await bench.submit(lite, *batch)
        status = await bench.wait(lite, Status.BUSY, Status(0))
        assert status == Status.READ_IDLE | Status.WRITE_IDLE | QUEUE << 8
        for batch in batches:
            check_results(bench, *batch)
        # LEDs: a fault, a batch under way, and how many were done.
        assert ctx.get(dut.status) >> 1 & 3 == 0
        assert ctx.get(dut.status) >> 4 == len(batches)
        assert sum(bench.writes.writes.values()) == frames * RESULT_BYTES
        assert await lite.read(Register.BATCHES) == len(batches)
        assert await lite.read(Register.FRAMES_IN) == frames
        assert await lite.read(Register.FRAMES_OUT) == frames
        assert await lite.read(Register.FAULT) == 0

        assert ctx.get(dut.interrupt) == 1
        assert ctx.get(dut.status) >> 3 & 1 == 1
        assert await lite.read(Register.INTERRUPT) == Interrupt.DONE
        await lite.write(Register.INTERRUPT, Interrupt.FAULT)
        assert ctx.get(dut.interrupt) == 1
        await lite.write(Register.INTERRUPT, Interrupt.DONE)
        assert await lite.read(Register.INTERRUPT) == 0
        assert ctx.get(dut.interrupt) == 0

        beats = {
            "read address": len(bench.reads.bursts),
            "read data": bench.reads.words,
            "images": frames * IMAGE_BYTES // 2,
            "scores": frames * CLASSES // 2,
            "label": frames,
            "results": frames * (CLASSES + 1),
            "write address": len(bench.writes.bursts),
            "write data": len(bench.writes.word_cycles),
            "write response": len(bench.writes.bursts),
        }
        assert tuple(beats) == dut.identity.streams
        for index, (name, count) in enumerate(beats.items()):
            base = STREAMS + index * STREAM_STRIDE
            assert await lite.read(base + StreamCounter.BEATS) == count, name
        busy = await lite.read(Register.BUSY_LOW)
        cycles = await lite.read(Register.CYCLES_LOW)
        assert 0 < busy < cycles
        assert await lite.read(Register.BUSY_HIGH) == await lite.read(Register.CYCLES_HIGH) == 0

        await lite.write(Register.CONTROL, Control.CLEAR)
        assert await lite.read(Register.BUSY_LOW) == 0
        assert await lite.read(STREAMS + STREAM_STRIDE + StreamCounter.BEATS) == 0
        assert await lite.read(Register.BATCHES) == len(batches)

    bench.run(test)


def test_a_full_queue_and_empty_batches_are_faults():
    bench = ShellBench(shell())

    async def full(lite, ctx):
        # Without memory no batch ever ends.
        for count in range(QUEUE):
            status = await lite.read(Register.STATUS)
            assert status >> 8 == QUEUE - count
            await lite.write(Register.FRAMES, 1)
            await lite.write(Register.SUBMIT, 1)
        assert await lite.read(Register.FAULT) == 0
        await lite.write(Register.SUBMIT, 1)
        assert await lite.read(Register.FAULT) == Fault.SUBMIT
        assert (await lite.read(Register.STATUS)) & Status.FAULT
        assert await lite.read(Register.INTERRUPT) & Interrupt.FAULT
        # Nothing goes on, but for a burst that was offered before.
        bench.reads.rest["address"] = 0.0
        await ctx.tick().repeat(100)
        assert len(bench.reads.bursts) <= 1

    bench.reads.rest["address"] = 1.0
    bench.run(full)

    bench = ShellBench(shell())

    async def no_frames(lite, ctx):
        await lite.write(Register.SUBMIT, 1)
        assert await lite.read(Register.FAULT) == Fault.SUBMIT
        assert not (await lite.read(Register.STATUS)) & Status.BUSY
        await bench.reset(lite)
        assert await lite.read(Register.FAULT) == 0

    bench.run(no_frames)


@pytest.mark.parametrize(
    ("errors", "fault"),
    [
        ({"read_errors": {5: Response.SLVERR}}, Fault.READ_SLVERR),
        ({"read_errors": {0: Response.DECERR}}, Fault.READ_DECERR),
        ({"write_errors": {0: Response.SLVERR}}, Fault.WRITE_SLVERR),
        ({"write_errors": {1: Response.DECERR}}, Fault.WRITE_DECERR),
    ],
)
def test_a_bus_error_is_a_fault_and_an_interrupt_and_a_reset_recovers(errors, fault):
    dut = shell()
    bench = ShellBench(dut, seed=5, **errors)

    async def test(lite, ctx):
        await lite.write(Register.INTERRUPT_ENABLE, Interrupt.FAULT)
        # Results over several bursts.
        await bench.submit(lite, 0x1000, 0x8FF8, 20)
        await bench.wait(lite, Status.FAULT, Status.FAULT)
        assert await lite.read(Register.FAULT) == fault
        assert ctx.get(dut.interrupt) == 1
        # It is told of once.
        await lite.write(Register.INTERRUPT, Interrupt.FAULT)
        assert await lite.read(Register.INTERRUPT) == 0
        assert ctx.get(dut.interrupt) == 0
        assert await lite.read(Register.BATCHES) == 0
        await bench.reset(lite)
        assert await lite.read(Register.FAULT) == 0
        assert ctx.get(dut.interrupt) == 0
        assert await lite.read(Register.INTERRUPT_ENABLE) == Interrupt.FAULT
        assert await lite.read(Register.STATUS) == (
            Status.READ_IDLE | Status.WRITE_IDLE | QUEUE << 8
        )
        assert bench.idle(ctx)
        bench.reads.errors.clear()
        bench.writes.errors.clear()
        await bench.submit(lite, 0x4321, 0x9001, 3)
        await bench.wait(lite, Status.BUSY, Status(0))
        check_results(bench, 0x4321, 0x9001, 3)
        assert await lite.read(Register.FRAMES_IN) == await lite.read(Register.FRAMES_OUT) == 3

    bench.run(test)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_reset_at_any_time_recovers(seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    bench = ShellBench(shell(), seed=seed)

    async def test(lite, ctx):
        for round_ in range(4):
            for batch in range(2):
                await bench.submit(lite, rng.randrange(1 << 20), 0x10_0000 + batch * 0x1000, 20)
            await ctx.tick().repeat(1 + rng.randrange(200))
            await bench.reset(lite)
            assert bench.idle(ctx), "the bus is not idle after a reset"
            assert await lite.read(Register.FRAMES_OUT) == 0
            assert await lite.read(STREAMS + STREAM_STRIDE + StreamCounter.BEATS) == 0
            images, results = rng.randrange(1 << 30), (round_ + 1) * 0x4000 + rng.randrange(16)
            await bench.submit(lite, images, results, 2)
            await bench.wait(lite, Status.BUSY, Status(0))
            check_results(bench, images, results, 2)
            assert await lite.read(Register.BATCHES) == 1

    bench.run(test, cycles=20_000)


@pytest.mark.parametrize("delay", [1, 6, 12])
def test_what_is_submitted_during_a_reset_is_lost(delay):
    bench = ShellBench(shell())

    async def test(lite, ctx):
        bench.reads.rest["data"] = 1.0
        await bench.submit(lite, 0x1000, 0x2000, 20)
        while not bench.reads.waiting:
            await ctx.tick()
        await lite.write(Register.CONTROL, Control.RESET)
        await ctx.tick().repeat(40)
        assert (await lite.read(Register.STATUS)) & Status.RESETTING
        assert await lite.read(STREAMS + StreamCounter.BEATS) > 0
        # The reset comes soon after, and so does a batch.
        bench.reads.rest["data"] = 0.0
        await ctx.tick().repeat(delay)
        await lite.write(Register.SUBMIT, 1)
        await bench.wait(lite, Status.RESETTING, Status(0))
        assert await lite.read(Register.STATUS) == (
            Status.READ_IDLE | Status.WRITE_IDLE | QUEUE << 8
        )
        assert await lite.read(Register.FAULT) == 0

    bench.run(test)


class Head(wiring.Component):
    """Scores without a label, a beat of eight numbers for each byte of the image."""

    interval = latency = 6

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(unsigned(8), 1))),
                "o": Out(stream.Signature(data.ArrayLayout(signed(10), 8))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        for lane in range(8):
            m.d.comb += self.o.payload[lane].eq(self.i.payload[0] * (lane & 1 or -1) - lane)
        return m


@pytest.mark.parametrize("seed", [None, 3])
def test_scores_without_a_label_go_out_whole_beats_at_a_time(seed):
    dut = AXIShell(
        accelerator=Head(),
        identity=identity(image=(2, 3, 1), result=(2, 3, 8), label=False),
    )
    bench = ShellBench(dut, seed=seed)

    async def test(lite, ctx):
        await bench.submit(lite, 0x101, 0x2003, 10)
        await bench.wait(lite, Status.BUSY, Status(0))
        image = bench.content.read(0x101, 60)
        scores = [byte * (lane & 1 or -1) - lane for byte in image for lane in range(8)]
        assert bench.content.read(0x2003, 4 * len(scores)) == struct.pack("<480i", *scores)
        if seed is None:
            # Two words of memory for each beat are all that holds it up.
            assert bench.writes.word_cycles[-1] - bench.writes.word_cycles[0] <= 2 * 60 + 10

    bench.run(test)


def test_other_accelerators_are_refused():
    stand_in = StandIn(beats=6, lanes=2, classes=CLASSES, score_lanes=2)
    for changes, sentence in (
        ({"label": False}, "the outputs of the accelerator must be o, not o, o_label"),
        ({"image": (3, 1, 1)}, "an image must fill beats of 2 bytes, not 3 bytes"),
        (
            {"result": (1, 1, 3)},
            "count must be a multiple of the scores in a beat, not 3 and 2",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            AXIShell(accelerator=stand_in, identity=identity(**changes))
    with pytest.raises(ValueError, match="data_bits must be 64 or 128, not 32"):
        AXIShell(accelerator=stand_in, identity=identity(), data_bits=32)
