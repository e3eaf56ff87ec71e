"""The cocotb side of a top with a processing system: the driver's own code at its AXI ports.

It reads the file named by BITWRIGHT_SETUP, which ``sim.axi_top`` writes. The processing system is
a manager on ``control_*``, a memory behind ``memory_*`` and an eye on ``interrupt``; the driver
waits for all three in simulated time.
"""

import json
import logging
import os
import random
import time
from collections.abc import Coroutine
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import (
    ClockCycles,
    First,
    RisingEdge,
    SimTimeoutError,
    Timer,
    with_timeout,
)
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiMaster, AxiResp

from boards.host import HostError
from sim.axi_memory import BASE, SimulatedMemory, StableChannel, stall
from sim.axi_scenarios import SCENARIOS

__all__ = ["SimulatedBoard", "play"]

#: Where the processing system has the registers.
_CONTROL = 0xA000_0000

_MEMORY_BYTES = 1 << 22

#: Simulated microseconds, thousands of cycles, for some hundred registers at most.
_BUS_TIMEOUT = 500


class _Buffer:
    """Memory that the simulated top reaches; nothing lies between it and Python."""

    def __init__(self, memory: SimulatedMemory, offset: int, size: int):
        self.address = BASE + offset
        self.data = memory.bytes[offset : offset + size]

    def flush(self) -> None:
        """There is no cache."""

    def invalidate(self) -> None:
        """There is no cache."""

    def close(self) -> None:
        """Memory is taken anew by every connection."""


class SimulatedBoard:
    """The transport of ``boards.host`` at a simulated top.

    Members
    -------
    memory : SimulatedMemory
    offset : int
        Where in a page each buffer begins.
    interrupts : int
        Times that the interrupt line rose.
    """

    def __init__(self, dut: object, period: int):
        self.dut = dut
        self.period = period
        self.memory = SimulatedMemory(dut, period, _MEMORY_BYTES)
        self.offset = self.taken = self.interrupts = 0
        self._master = AxiMaster(AxiBus.from_prefix(dut, "control"), dut.clk, dut.rst)
        write, read = self._master.write_if, self._master.read_if
        self._channels = {
            **{f"memory {name}": channel for name, channel in self.memory.channels.items()},
            "control aw": write.aw_channel,
            "control w": write.w_channel,
            "control b": write.b_channel,
            "control ar": read.ar_channel,
            "control r": read.r_channel,
        }
        #: All that the top drives.
        self._stable = [
            StableChannel(dut, "memory_ar", ("addr", "len", "size", "burst", "id")),
            StableChannel(dut, "memory_aw", ("addr", "len", "size", "burst", "id")),
            StableChannel(dut, "memory_w", ("data", "strb", "last")),
            StableChannel(dut, "control_r", ("data", "resp", "last", "id")),
            StableChannel(dut, "control_b", ("resp", "id")),
        ]
        self._random = random.Random(1)
        cocotb.start_soon(self._count_interrupts())

    def read32(self, address: int) -> int:
        return int.from_bytes(resume(self._read)(address, 4), "little")

    def read_burst(self, address: int, size: int) -> bytes:
        """Many registers by few bursts."""
        return resume(self._read)(address, size)

    def write32(self, address: int, value: int) -> None:
        resume(self._write)(address, value)

    def allocate(self, size: int) -> _Buffer:
        start = self.taken + self.offset
        # The next one begins in a page of its own, whatever lies behind the end of this one.
        self.taken = (start + size + 8191) // 4096 * 4096
        if start + size > _MEMORY_BYTES:
            raise HostError("the simulated memory is too small")
        return _Buffer(self.memory, start, size)

    def wait(self, timeout: float) -> None:
        resume(self._wait)(timeout)

    def stall(self, seed: int | None) -> None:
        """Stall all channels of both ports at random and watch that they bear it; or none."""
        resume(self._stall)(seed)

    def sleep(self, cycles: int) -> None:
        resume(self._sleep)(cycles)

    def clock(self) -> float:
        return get_sim_time("ps") * 1e-12

    def close(self) -> None:
        self.taken = 0

    async def _read(self, address: int, size: int) -> bytes:
        answer = await self._answered(
            self._master.read(_CONTROL + address, size, arid=self._random.getrandbits(16))
        )
        if answer.resp != AxiResp.OKAY:
            raise OSError(f"the bus answers {answer.resp.name}")
        return answer.data

    async def _write(self, address: int, value: int) -> None:
        content, name = value.to_bytes(4, "little"), self._random.getrandbits(16)
        answer = await self._answered(self._master.write(_CONTROL + address, content, awid=name))
        if answer.resp != AxiResp.OKAY:
            raise OSError(f"the bus answers {answer.resp.name}")

    async def _answered(self, access: Coroutine) -> object:
        """A simulation whose control port hangs must end too."""
        try:
            return await with_timeout(access, _BUS_TIMEOUT, "us")
        except SimTimeoutError:
            raise OSError(f"the bus does not answer in {_BUS_TIMEOUT} us") from None

    async def _wait(self, timeout: float) -> None:
        if not int(self.dut.interrupt.value):
            await First(RisingEdge(self.dut.interrupt), Timer(round(timeout * 1e12), unit="ps"))

    async def _stall(self, seed: int | None) -> None:
        stall(self._channels, seed)
        for channel in self._stable:
            channel.watch(seed is not None)

    async def _sleep(self, cycles: int) -> None:
        await ClockCycles(self.dut.clk, cycles)

    async def _count_interrupts(self) -> None:
        while True:
            await RisingEdge(self.dut.interrupt)
            self.interrupts += 1


@cocotb.test()
async def play(dut: object) -> None:
    """Play every scenario, one after the other, without a reset in between."""
    setup = json.loads(Path(os.environ["BITWRIGHT_SETUP"]).read_text())
    images = np.load(setup["images"])
    # An even number of picoseconds, near the real clock's.
    period = round(0.5e12 / setup["clock_hz"]) * 2
    # A line for each access is of no use to anyone, and takes its time.
    logging.getLogger("cocotb.top").setLevel(logging.WARNING)
    dut.rst.value = 1
    Clock(dut.clk, period, unit="ps", impl="gpi").start()
    board = SimulatedBoard(dut, period)
    await Timer(5 * period, unit="ps")
    dut.rst.value = 0
    await Timer(5 * period, unit="ps")
    results = {}
    for scenario in setup["scenarios"]:
        name = scenario.pop("name")
        play_it = SCENARIOS[scenario.pop("kind")]
        started, began = time.process_time(), get_sim_time("ps")
        results[name] = await bridge(play_it)(board, images, **scenario)
        results[name]["seconds"] = time.process_time() - started
        results[name]["cycles"] = (get_sim_time("ps") - began) // period
    Path(setup["results"]).write_text(json.dumps(results))
