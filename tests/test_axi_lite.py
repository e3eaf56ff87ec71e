"""AXI4-Lite: the subordinate, and the bridge from AXI4 to it."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from boards.axi.bridge import AXILiteBridge
from boards.axi.lite import AXILiteSubordinate
from boards.axi.ports import AXI, Burst, Response
from tests.axi_bench import Lite

ID_BITS = 4

#: Addresses that answer with an error.
ERRORS = [at for at in range(0x800, 0x1000) if at // 8 % 2]


def value_at(address: int) -> int:
    return address * 0x9E3779B1 & 0xFFFF_FFFF


class Bridged(wiring.Component):
    """A bridge, and behind it a subordinate."""

    def __init__(self):
        self.lite = AXILiteSubordinate(address_bits=16)
        super().__init__({"axi": In(AXI(40, 32, ID_BITS)), "requests": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = AXILiteBridge(id_bits=ID_BITS)
        m.submodules.lite = self.lite
        wiring.connect(m, wiring.flipped(self.axi), bridge.i)
        wiring.connect(m, bridge.o, self.lite.bus)
        m.d.comb += self.requests.eq(self.lite.read | self.lite.write)
        return m


class Answers:
    """Answers the requests of a subordinate, and notes them; some addresses have errors."""

    def __init__(self, lite: AXILiteSubordinate, seed: int, errors=()):
        self.lite = lite
        self.random = random.Random(seed)
        self.errors = set(errors)
        self.requests: list[tuple] = []

    async def play(self, ctx):
        lite = self.lite
        signals = (lite.read, lite.write, lite.address, lite.write_data, lite.write_strobe)
        while True:
            _, _, read, write, address, data, strobe = await ctx.tick().sample(*signals)
            if not (read or write):
                continue
            assert not (read and write)
            self.requests.append(("read", address) if read else ("write", address, data, strobe))
            for _ in range(self.random.randrange(3)):
                _, _, read, write, there = await ctx.tick().sample(
                    lite.read, lite.write, lite.address
                )
                assert (read, write, there) == (0, 0, address), "a request before the answer"
            ctx.set(lite.done, 1)
            ctx.set(lite.read_data, value_at(address))
            ctx.set(lite.error, address in self.errors)
            await ctx.tick()
            ctx.set(lite.done, 0)
            ctx.set(lite.read_data, 0xDEAD_BEEF)
            ctx.set(lite.error, 0)


def simulate(dut, *benches, answers: Answers) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.add_testbench(answers.play, background=True)
    simulator.run()


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_reads_and_writes_are_requests_and_answers(seed):
    print(f"seed {seed}")
    dut = AXILiteSubordinate(address_bits=16)
    answers = Answers(dut, seed or 0, errors=[0x14])
    rng = random.Random(seed)
    accesses = [(rng.random() < 0.5, 4 * rng.randrange(8), rng.getrandbits(32)) for _ in range(40)]

    async def bench(ctx):
        lite = Lite(ctx, dut.bus, seed)
        for write, address, value in accesses:
            response = Response.SLVERR if address == 0x14 else Response.OKAY
            if write:
                assert await lite.try_write(address, value, value & 0xF) == response
            else:
                assert await lite.try_read(address) == (value_at(address), response)

    simulate(dut, bench, answers=answers)
    assert answers.requests == [
        ("write", address, value, value & 0xF) if write else ("read", address)
        for write, address, value in accesses
    ]


def test_reads_and_writes_that_wait_take_turns():
    dut = AXILiteSubordinate(address_bits=16)
    answers = Answers(dut, 0)

    async def reads(ctx):
        lite = Lite(ctx, dut.bus)
        for _ in range(10):
            await lite.try_read(0x10)

    async def writes(ctx):
        lite = Lite(ctx, dut.bus)
        for _ in range(10):
            await lite.try_write(0x20, 1)

    simulate(dut, reads, writes, answers=answers)
    kinds = [request[0] for request in answers.requests]
    assert kinds == ["write", "read"] * 10


def beats_of(burst: Burst, address: int, length: int, size: int) -> list[int]:
    """Addresses of a burst's beats, as the AXI specification has them (A3.4.1)."""
    step = 1 << size
    aligned = address // step * step
    if burst == Burst.FIXED:
        return [address] * length
    beats = [address, *(aligned + step * beat for beat in range(1, length))]
    if burst == Burst.WRAP:
        low = aligned // (step * length) * (step * length)
        beats = [low + (beat - low) % (step * length) for beat in beats]
    return beats


def bursts(seed: int, count: int) -> list[tuple]:
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        burst, size = rng.choice(list(Burst)), rng.randrange(3)
        step = 1 << size
        length = rng.choice([2, 4, 8, 16]) if burst == Burst.WRAP else rng.randint(1, 6)
        address = rng.randrange(0x800, 0xF00)
        if burst == Burst.WRAP:
            address = address // step * step
        if rng.random() < 0.3:
            # To the end of 4 KiB, which a burst must not cross.
            address = 0x1000 - step * length
        found.append((burst, address, length, size, rng.getrandbits(ID_BITS)))
    return found


class Manager:
    """An AXI4 manager, one burst at a time."""

    def __init__(self, ctx, bus, seed):
        self.lite = Lite(ctx, bus, seed)
        self.ctx = ctx
        self.bus = bus

    async def address(self, prefix, burst, address, length, size, id_):
        await self.lite._send(
            prefix, id=id_, addr=0xA0_0000_0000 | address, len=length - 1, size=size, burst=burst
        )

    async def read(self, burst, address, length, size, id_) -> list[tuple]:
        await self.address("ar", burst, address, length, size, id_)
        bus, found = self.bus, []
        for beat in range(length):
            await self.lite._rest()
            self.ctx.set(bus.rready, 1)
            data, response, rid, last = await self.lite._until(
                bus.rvalid, bus.rdata, bus.rresp, bus.rid, bus.rlast
            )
            self.ctx.set(bus.rready, 0)
            assert (rid, last) == (id_, beat == length - 1)
            found.append((data, response))
        return found

    async def write(self, burst, address, length, size, id_, words) -> int:
        await self.address("aw", burst, address, length, size, id_)
        bus = self.bus
        for beat, (data, strobe) in enumerate(words):
            await self.lite._send("w", data=data, strb=strobe, last=beat == length - 1)
        await self.lite._rest()
        self.ctx.set(bus.bready, 1)
        response, bid = await self.lite._until(bus.bvalid, bus.bresp, bus.bid)
        self.ctx.set(bus.bready, 0)
        assert bid == id_
        return response


@pytest.mark.parametrize("seed", [1, 2])
def test_the_bridge_reads_every_beat_of_a_burst(seed):
    dut = Bridged()
    wanted = bursts(seed, 12)
    answers = Answers(dut.lite, seed, errors=ERRORS)

    async def bench(ctx):
        manager = Manager(ctx, dut.axi, seed)
        for burst in wanted:
            found = await manager.read(*burst)
            assert found == [
                (value_at(at), Response.SLVERR if at in answers.errors else Response.OKAY)
                for at in beats_of(*burst[:-1])
            ]

    simulate(dut, bench, answers=answers)
    expected = [("read", at) for burst in wanted for at in beats_of(*burst[:-1])]
    assert answers.requests == expected
    assert any(at in answers.errors for _, at in expected), "no error was met"


@pytest.mark.parametrize("seed", [3, 4])
def test_the_bridge_writes_every_beat_and_tells_the_worst_response(seed):
    dut = Bridged()
    rng = random.Random(seed)
    wanted = [
        (burst, [(rng.getrandbits(32), rng.randrange(1, 16)) for _ in range(burst[2])])
        for burst in bursts(seed, 12)
    ]
    answers = Answers(dut.lite, seed, errors=ERRORS)
    responses = []

    async def bench(ctx):
        manager = Manager(ctx, dut.axi, seed)
        for burst, words in wanted:
            response = await manager.write(*burst, words)
            bad = any(at in answers.errors for at in beats_of(*burst[:-1]))
            assert response == (Response.SLVERR if bad else Response.OKAY)
            responses.append(response)

    simulate(dut, bench, answers=answers)
    assert answers.requests == [
        ("write", at, *word)
        for burst, words in wanted
        for at, word in zip(beats_of(*burst[:-1]), words, strict=True)
    ]
    assert {Response.SLVERR, Response.OKAY} <= set(responses), "one response was never met"


def test_the_bridge_reads_and_writes_at_once():
    dut = Bridged()
    answers = Answers(dut.lite, 0)

    async def reads(ctx):
        manager = Manager(ctx, dut.axi, None)
        for _ in range(5):
            assert await manager.read(Burst.INCR, 0x40, 1, 2, 1) == [(value_at(0x40), 0)]

    async def writes(ctx):
        manager = Manager(ctx, dut.axi, None)
        for _ in range(5):
            assert await manager.write(Burst.INCR, 0x80, 1, 2, 2, [(7, 15)]) == 0

    simulate(dut, reads, writes, answers=answers)
    assert sorted(answers.requests) == [("read", 0x40)] * 5 + [("write", 0x80, 7, 15)] * 5


def test_a_bridge_to_more_addresses_than_it_has_is_refused():
    with pytest.raises(ValueError, match="i_address_bits must be at least 32, not 20"):
        AXILiteBridge(i_address_bits=20, o_address_bits=32)
