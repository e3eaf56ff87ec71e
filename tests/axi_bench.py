"""A shell behind AXI in Amaranth's simulator: its registers, and memory at its memory port."""

import random

from amaranth.sim import Simulator

from boards.axi.ports import Response
from boards.registers import Control, Register, Status
from tests.axi_memory import MemoryContent, ReadModel, WriteModel, play

__all__ = ["Lite", "ShellBench"]


class Lite:
    """The manager of an AXI4-Lite bus; with a seed, every channel rests now and then."""

    def __init__(self, ctx, bus, seed: int | None = None):
        self.ctx = ctx
        self.bus = bus
        self.random = random.Random(f"{seed} lite")
        self.rest = 0.0 if seed is None else 0.5
        self.patience = 2000

    async def _rest(self) -> None:
        while self.random.random() < self.rest:
            await self.ctx.tick()

    async def _until(self, *signals) -> list[int]:
        """Tick until the first of the signals was 1 at the edge; the values of the others then."""
        for _ in range(self.patience):
            _, _, first, *others = await self.ctx.tick().sample(*signals)
            if first:
                return others
        raise AssertionError("the bus does not answer")

    async def _send(self, prefix: str, **values: int) -> None:
        await self._rest()
        ctx, bus = self.ctx, self.bus
        for name, value in values.items():
            ctx.set(getattr(bus, prefix + name), value)
        ctx.set(getattr(bus, f"{prefix}valid"), 1)
        await self._until(getattr(bus, f"{prefix}ready"))
        ctx.set(getattr(bus, f"{prefix}valid"), 0)

    async def try_write(self, address: int, value: int, strobe: int = 0xF) -> Response:
        ctx, bus = self.ctx, self.bus
        await self._rest()
        # Address and data at once, as a subordinate may wait for both.
        waiting = {"aw": {"addr": address}, "w": {"data": value, "strb": strobe}}
        for prefix, values in waiting.items():
            for name, number in values.items():
                ctx.set(getattr(bus, prefix + name), number)
            ctx.set(getattr(bus, f"{prefix}valid"), 1)
        for _ in range(self.patience):
            _, _, *ready = await ctx.tick().sample(bus.awready, bus.wready)
            for prefix, taken in zip(("aw", "w"), ready, strict=True):
                if taken and prefix in waiting:
                    ctx.set(getattr(bus, f"{prefix}valid"), 0)
                    del waiting[prefix]
            if not waiting:
                break
        assert not waiting, "the bus does not take a write"
        await self._rest()
        ctx.set(bus.bready, 1)
        (response,) = await self._until(bus.bvalid, bus.bresp)
        ctx.set(bus.bready, 0)
        return Response(response)

    async def try_read(self, address: int) -> tuple[int, Response]:
        ctx, bus = self.ctx, self.bus
        await self._send("ar", addr=address)
        await self._rest()
        ctx.set(bus.rready, 1)
        value, response = await self._until(bus.rvalid, bus.rdata, bus.rresp)
        ctx.set(bus.rready, 0)
        return value, Response(response)

    async def write(self, address: int, value: int) -> None:
        assert await self.try_write(address, value) == Response.OKAY, hex(address)

    async def read(self, address: int) -> int:
        value, response = await self.try_read(address)
        assert response == Response.OKAY, hex(address)
        return value


class ShellBench:
    """Plays a test against a shell.

    Parameters
    ----------
    shell : boards.axi.shell.AXIShell
    seed : int or None
        Of all stalls and latencies; None for a memory without any.
    read_errors, write_errors : dict of int to Response
        By word that is read, and by burst that is written.
    """

    def __init__(self, shell, *, seed: int | None = None, read_errors=None, write_errors=None):
        self.shell = shell
        self.seed = seed
        self.content = MemoryContent(seed or 0)
        latency = (1, 1) if seed is None else (1, 40)
        common = {"seed": seed, "latency": latency}
        memory, reader, writer = shell.memory, shell._reader, shell._writer
        self.reads = ReadModel(memory, self.content, idle=reader.idle, errors=read_errors, **common)
        self.writes = WriteModel(
            memory, self.content, idle=writer.idle, errors=write_errors, **common
        )
        self.over = False

    def run(self, test, *, cycles: int = 40_000) -> None:
        """Run the coroutine ``test(lite, ctx)``, for so many cycles at most."""

        async def control(ctx):
            lite = self.lite = Lite(ctx, self.shell.control, self.seed)
            await test(lite, ctx)
            self.over = True

        async def memory(ctx):
            await play(ctx, [self.reads, self.writes], until=lambda: self.over, patience=cycles)

        simulator = Simulator(self.shell)
        simulator.add_clock(1e-6)
        simulator.add_testbench(control)
        simulator.add_testbench(memory)
        simulator.run()

    def idle(self, ctx) -> bool:
        """Whether nothing is under way at the memory port."""
        offered = [
            ctx.get(getattr(self.shell.memory, f"{name}valid")) for name in ("ar", "aw", "w")
        ]
        return not (
            any(offered) or self.reads.waiting or self.writes.offered > self.writes.answered
        )

    async def submit(self, lite: Lite, images: int, results: int, frames: int) -> None:
        for register, value in (
            (Register.IMAGES_LOW, images & 0xFFFF_FFFF),
            (Register.IMAGES_HIGH, images >> 32),
            (Register.RESULTS_LOW, results & 0xFFFF_FFFF),
            (Register.RESULTS_HIGH, results >> 32),
            (Register.FRAMES, frames),
            (Register.SUBMIT, 1),
        ):
            await lite.write(register, value)

    async def wait(self, lite: Lite, status: Status, value: Status, tries: int = 2000) -> int:
        """Read ``STATUS`` until its bits ``status`` are ``value``."""
        for _ in range(tries):
            found = await lite.read(Register.STATUS)
            if found & status == value:
                return found
        raise AssertionError(f"status stays {Status(found & 0x1F)!r}")

    async def reset(self, lite: Lite) -> None:
        await lite.write(Register.CONTROL, Control.RESET)
        await self.wait(lite, Status.RESETTING, Status(0))
