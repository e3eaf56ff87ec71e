"""Memory behind an AXI port of a simulated top: latency, back-pressure, errors, silence.

The channels are those of cocotbext-axi; what lies between them is here, as its own memory answers
one request after the other, and a DRAM controller works on many at a time.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import cocotb
import numpy as np
from cocotb.queue import Queue
from cocotb.triggers import Event, RisingEdge, Timer
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus
from cocotbext.axi.axi_channels import AxiARSink, AxiAWSink, AxiBSource, AxiRSource, AxiWSink

__all__ = ["BASE", "ProtocolError", "SimulatedMemory", "StableChannel", "Traffic", "stall"]

#: Above 4 GiB, so that addresses need more than 32 bits.
BASE = 0x8_0000_0000

_OKAY, _SLVERR, _DECERR = 0, 2, 3
_INCREMENT = 1
_PAGE = 4096


class ProtocolError(AssertionError):
    """Something that AXI forbids, or that the port must not do."""


@dataclass
class Traffic:
    """What passed since the last :meth:`SimulatedMemory.forget`."""

    reads: int = 0
    writes: int = 0
    most_outstanding: int = 0
    #: Bytes of each burst that was written, and the cycle of its last beat.
    written: list[tuple[int, int]] = field(default_factory=list)


class SimulatedMemory:
    """The memory.

    Parameters
    ----------
    dut : cocotb handle
        The top, with ports ``memory_*``, ``clk`` and ``rst``.
    period : int
        Of the clock, in ps.
    size : int
        Bytes from ``BASE`` on; other addresses are answered by DECERR.

    Members
    -------
    bytes : uint8 array
    read_latency, write_latency : (int, int)
        Fewest and most cycles from a request to its answer. Requests overlap.
    errors : list of (str, int, int, int)
        "read" or "write", first and last address, and response.
    silent : set of str
        Channels that do nothing: "ar", "r", "aw", "w", "b".
    """

    def __init__(self, dut: object, period: int, size: int):
        self.period = period
        self.bytes = np.zeros(size, dtype=np.uint8)
        self.read_latency = self.write_latency = (20, 20)
        self.errors: list[tuple[str, int, int, int]] = []
        self.silent: set[str] = set()
        self.traffic = Traffic()
        self._random = random.Random(0)
        bus = AxiBus.from_prefix(dut, "memory")
        clock = (dut.clk, dut.rst)
        self.channels = {
            "ar": AxiARSink(bus.read.ar, *clock),
            "r": AxiRSource(bus.read.r, *clock),
            "aw": AxiAWSink(bus.write.aw, *clock),
            "w": AxiWSink(bus.write.w, *clock),
            "b": AxiBSource(bus.write.b, *clock),
        }
        self._width = len(bus.write.w.wstrb)
        self._reads, self._writes = Queue(), Queue()
        self._outstanding = 0
        self._woken = Event()
        for work in (self._take_reads, self._answer_reads, self._take_writes, self._answer_writes):
            cocotb.start_soon(work())

    def forget(self) -> None:
        self.traffic = Traffic()

    def silence(self, *channels: str) -> None:
        """Let these channels do nothing, and all others work."""
        self.silent = set(channels)
        for name in ("ar", "aw", "w"):
            self.channels[name].pause = name in self.silent
        self._woken.set()

    @property
    def cycle(self) -> int:
        return get_sim_time("ps") // self.period

    async def _take_reads(self) -> None:
        while True:
            request = await self.channels["ar"].recv()
            beats = self._check(request, "ar")
            self.traffic.reads += 1
            self._outstanding += 1
            self.traffic.most_outstanding = max(self.traffic.most_outstanding, self._outstanding)
            self._reads.put_nowait((self._due(self.read_latency), int(request.araddr), beats))

    async def _answer_reads(self) -> None:
        channel, width = self.channels["r"], self._width
        while True:
            due, address, beats = await self._reads.get()
            await self._until(due, "r")
            word = address // width * width
            for beat in range(beats):
                answer = channel._transaction_obj()
                start, response = word - BASE, self._response("read", word)
                data = self.bytes[start : start + width] if response == _OKAY else b""
                answer.rdata = int.from_bytes(bytes(data), "little")
                answer.rresp, answer.rid, answer.rlast = response, 0, beat == beats - 1
                channel.send_nowait(answer)
                word += width
            self._outstanding -= 1

    async def _take_writes(self) -> None:
        width = self._width
        while True:
            request = await self.channels["aw"].recv()
            beats = self._check(request, "aw")
            word = int(request.awaddr) // width * width
            worst, content = _OKAY, 0
            for beat in range(beats):
                taken = await self.channels["w"].recv()
                if bool(taken.wlast) != (beat == beats - 1):
                    raise ProtocolError(f"wlast in beat {beat} of {beats}")
                response = self._response("write", word)
                if response == _OKAY:
                    self._store(word - BASE, int(taken.wdata), int(taken.wstrb))
                worst = max(worst, response)
                content += int(taken.wstrb).bit_count()
                word += width
            self.traffic.writes += 1
            self.traffic.written.append((content, self.cycle))
            self._writes.put_nowait((self._due(self.write_latency), worst))

    async def _answer_writes(self) -> None:
        channel = self.channels["b"]
        while True:
            due, response = await self._writes.get()
            await self._until(due, "b")
            answer = channel._transaction_obj()
            answer.bid, answer.bresp = 0, response
            channel.send_nowait(answer)

    def _store(self, start: int, data: int, strobes: int) -> None:
        content = data.to_bytes(self._width, "little")
        for lane in range(self._width):
            if strobes >> lane & 1:
                self.bytes[start + lane] = content[lane]

    def _due(self, latency: tuple[int, int]) -> int:
        return get_sim_time("ps") + self._random.randint(*latency) * self.period

    async def _until(self, due: int, channel: str) -> None:
        wait = due - get_sim_time("ps")
        if wait > 0:
            await Timer(wait, unit="ps")
        while channel in self.silent:
            self._woken.clear()
            await self._woken.wait()

    def _response(self, kind: str, address: int) -> int:
        for of_kind, first, last, response in self.errors:
            if kind == of_kind and first < address + self._width and address <= last:
                return response
        return _OKAY if BASE <= address < BASE + len(self.bytes) else _DECERR

    def _check(self, request: object, prefix: str) -> int:
        """Beats of a burst, if it is one that the port may send."""
        address, beats, size, burst, name = (
            int(getattr(request, f"{prefix}{field}"))
            for field in ("addr", "len", "size", "burst", "id")
        )
        beats += 1
        first = address // self._width * self._width
        if first // _PAGE != (first + beats * self._width - 1) // _PAGE:
            raise ProtocolError(f"{beats} beats from {address:#x} cross 4 KiB")
        if (1 << size, burst, name) != (self._width, _INCREMENT, 0):
            raise ProtocolError(f"size {size}, burst {burst}, id {name} at {address:#x}")
        return beats


def stall(channels: dict[str, object], seed: int | None) -> None:
    """Stall these channels of cocotbext-axi at random, or none."""
    for name, channel in channels.items():
        if seed is None:
            channel.clear_pause_generator()
            channel.pause = False
        else:
            channel.set_pause_generator(_stalls(random.Random(f"{seed} {name}")))


def _stalls(source: random.Random) -> Iterator[bool]:
    """Runs of stalled cycles and of free ones, of random lengths."""
    while True:
        for stalled in (True, False):
            for _ in range(source.choice((0, 1, 1, 2, 3, 8))):
                yield stalled
        yield source.random() < 0.5


class StableChannel:
    """Watches that a channel keeps what it offers until it is taken.

    Parameters
    ----------
    dut : cocotb handle
    prefix : str
        Such as ``memory_ar``.
    fields : tuple of str
        What is offered, beside ``valid``.
    """

    def __init__(self, dut: object, prefix: str, fields: tuple[str, ...]):
        self.prefix = prefix
        self._valid = getattr(dut, f"{prefix}valid")
        self._ready = getattr(dut, f"{prefix}ready")
        self._fields = [getattr(dut, f"{prefix}{name}") for name in fields]
        self._clock = dut.clk
        self._task = None

    def watch(self, on: bool) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = cocotb.start_soon(self._watch()) if on else None

    async def _watch(self) -> None:
        kept = None
        while True:
            await RisingEdge(self._clock)
            valid = int(self._valid.value)
            offer = [int(signal.value) for signal in self._fields] if valid else None
            if kept is not None and offer != kept:
                raise ProtocolError(f"{self.prefix} must keep {kept} until ready, not {offer}")
            kept = offer if valid and not int(self._ready.value) else None
