"""The serial line at the level of bytes."""

import random

import pytest
from amaranth.sim import Simulator

from boards.uart import UARTReceiver, UARTTransmitter, phase_step
from tests.uart_bench import BIT, PERIOD, receive_bytes, send_bytes, watchdog


def run(component, *, test, background=(), cycles=100_000):
    """Run ``test`` to its end, but not for more than ``cycles``."""
    simulator = Simulator(component)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(test)
    for process in (*background, watchdog(cycles)):
        simulator.add_testbench(process, background=True)
    simulator.run()


def receive_all(sent: bytes, *, clock_hz=8e6, baud=1_000_000, bit=8.0, before=(), pause=0):
    dut = UARTReceiver(clock_hz=clock_hz, baud=baud)
    got = bytearray()
    finished = []

    async def drive(ctx):
        ctx.set(dut.rx, 1)
        for level, cycles in before:
            ctx.set(dut.rx, level)
            await ctx.delay(cycles * PERIOD)
        await send_bytes(ctx, dut.rx, sent, bit=bit, pause=pause)
        await ctx.delay(4 * bit * PERIOD)
        finished.append(True)

    async def watch(ctx):
        async for _, _, valid, value in ctx.tick().sample(dut.valid, dut.data):
            if valid:
                got.append(value)

    run(dut, test=drive, background=[watch])
    assert finished
    return bytes(got)


@pytest.mark.parametrize("bit", [8.0, 8.0 * 1.02, 8.0 * 0.98, 8.33])
def test_receiver_reads_every_byte_back_to_back(bit):
    sent = bytes(range(256))
    assert receive_all(sent, bit=bit) == sent


def test_receiver_follows_a_baud_rate_that_does_not_divide_the_clock():
    # 25 MHz over 3 Mbaud is 8 1/3 cycles a bit.
    sent = bytes(random.Random(1).randbytes(100))
    assert receive_all(sent, clock_hz=25e6, baud=3_000_000, bit=25 / 3) == sent


def test_receiver_ignores_a_spike_shorter_than_half_a_bit():
    assert receive_all(b"\x5a", before=[(0, 3), (1, 40)]) == b"\x5a"


def test_receiver_drops_a_byte_without_stop_bit_and_recovers():
    assert receive_all(b"\x5a", before=[(0, 12 * 8), (1, 8)]) == b"\x5a"


@pytest.mark.parametrize("seed", range(3))
def test_transmitter_sends_what_it_takes_with_and_without_pauses(seed):
    rng = random.Random(seed)
    sent = rng.randbytes(40)
    dut = UARTTransmitter(clock_hz=BIT * 1e6, baud=1_000_000)
    got = bytearray()

    async def drive(ctx):
        for value in sent:
            if seed:
                ctx.set(dut.i.valid, 0)
                await ctx.tick().repeat(rng.randrange(1, 200))
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, value)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        await ctx.delay(12 * BIT * PERIOD)

    async def watch(ctx):
        await receive_bytes(ctx, dut.tx, got)

    run(dut, test=drive, background=[watch])
    assert bytes(got) == sent


def test_transmitter_leaves_no_pause_between_waiting_bytes():
    dut = UARTTransmitter(clock_hz=BIT * 1e6, baud=1_000_000)
    taken = []

    async def drive(ctx):
        ctx.set(dut.i.valid, 1)
        for cycle in range(31 * BIT):
            _, _, ready = await ctx.tick().sample(dut.i.ready)
            if ready:
                taken.append(cycle)

    run(dut, test=drive)
    assert taken[0] == 0
    # The accumulator overflows one cycle before the bit ends, so the first byte is one longer.
    assert taken[3] - taken[2] == taken[2] - taken[1] == 10 * BIT
    assert 10 * BIT <= taken[1] - taken[0] <= 10 * BIT + 1


@pytest.mark.parametrize(
    ("clock_hz", "baud", "sentence"),
    [
        (7.9e6, 1_000_000, "clock must be at least 8 times the baud rate"),
        (50e6, 0, "clock must be at least 8 times the baud rate"),
        (100e6, 300, "300 baud is too slow"),
    ],
)
def test_impossible_baud_rates_are_refused(clock_hz, baud, sentence):
    with pytest.raises(ValueError, match=sentence):
        phase_step(clock_hz, baud)


def test_baud_rate_is_met_within_a_tenth_of_a_percent():
    for clock_hz in (25e6, 50e6, 78.125e6, 125e6):
        for baud in (115_200, 1_000_000, 3_000_000):
            actual = phase_step(clock_hz, baud) * clock_hz / (1 << 20)
            assert abs(actual / baud - 1) < 1e-3
