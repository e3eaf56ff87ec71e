"""The cocotb side of a board: ``boards.host`` at the two wires of a serial line.

It reads the file named by BITWRIGHT_SETUP, which ``sim.test_uart_top`` writes. Every scenario is a
connection of its own, on a line that does something to what passes.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import Event, FallingEdge, First, Timer

from boards.host import Connection, HostError

__all__ = ["SCENARIOS", "play"]

_Damage = Callable[[int, bytes], bytes]


def _replaced(number: int, at: int, new: Callable[[int], bytes]) -> _Damage:
    """Replace byte ``at`` of packet ``number``."""

    def damage(packet: int, sent: bytes) -> bytes:
        if packet != number:
            return sent
        return sent[:at] + new(sent[at]) + sent[at + 1 :]

    return damage


#: What becomes of requests and of reply bytes; packet 0 asks for the identity, 1 is an image.
SCENARIOS: dict[str, dict[str, object]] = {
    "clean": {},
    "dropped byte": {"request": _replaced(1, 40, lambda byte: b"")},
    "dropped first byte": {"request": _replaced(1, 0, lambda byte: b"")},
    "extra byte": {"request": _replaced(1, 40, lambda byte: bytes([byte, 0x5A]))},
    "extra byte at the end": {"request": lambda packet, sent: sent + b"\xff" * (packet == 1)},
    "flipped bit": {"request": _replaced(1, 300, lambda byte: bytes([byte ^ 8]))},
    "noise before": {"request": lambda packet, sent: b"\x00\xff\x42" * (packet == 0) + sent},
    "lost reply byte": {"lost_reply_byte": 6},
    "half a request and silence": {
        "request": lambda packet, sent: sent[: len(sent) // 2] if packet == 1 else sent
    },
    "fast line": {"bit": 0.98},
    "slow line": {"bit": 1.02},
}


class _Line:
    """The transport of ``boards.host`` in simulated time."""

    def __init__(self, dut: object, baud: int, scenario: dict[str, object]):
        self.dut = dut
        self.baud = baud
        self.bit = round(1e12 / baud)
        self.sent_bit = round(self.bit * scenario.get("bit", 1.0))
        self.damage = scenario.get("request", lambda packet, sent: sent)
        self.lost = scenario.get("lost_reply_byte")
        self.packets = 0
        self.inbox = bytearray()
        self.received = 0
        self.arrived = Event()
        self.listener = cocotb.start_soon(self._listen())

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(self.bit // 2, unit="ps")
            byte = 0
            for index in range(8):
                await Timer(self.bit, unit="ps")
                byte |= int(self.dut.tx.value) << index
            await Timer(self.bit, unit="ps")
            assert self.dut.tx.value == 1, "the stop bit of a reply is missing"
            # The identity comes first; the bytes of the first result are counted after it.
            if self.packets < 2 or self.received != self.lost:
                self.inbox.append(byte)
            self.received += self.packets >= 2
            self.arrived.set()

    async def _send(self, sent: bytes) -> None:
        for byte in self.damage(self.packets, sent):
            for level in (0, *(byte >> index & 1 for index in range(8)), 1):
                self.dut.rx.value = level
                await Timer(self.sent_bit, unit="ps")
        self.packets += 1

    async def _receive(self, size: int, timeout: float) -> bytes:
        if not self.inbox and timeout > 0:
            self.arrived.clear()
            await First(self.arrived.wait(), Timer(round(timeout * 1e12), unit="ps"))
        taken = bytes(self.inbox[:size])
        del self.inbox[:size]
        return taken

    def write(self, sent: bytes) -> None:
        resume(self._send)(bytes(sent))

    def read(self, size: int, timeout: float) -> bytes:
        return resume(self._receive)(size, timeout)

    def close(self) -> None:
        self.listener.cancel()


def _classify(line: _Line, images: np.ndarray, setup: dict) -> dict:
    try:
        with Connection(line, slack=0.002, gap_bytes=setup["gap_bytes"]) as board:
            labels, scores = board.classify(images)
            identity = board.identity
            return {
                "labels": labels.tolist(),
                "scores": scores.tolist(),
                "retried": board.retried,
                "digest": identity.digest.hex(),
                "interval": identity.interval,
                "latency": identity.latency,
            }
    except HostError as error:
        return {"error": str(error)}


@cocotb.test()
async def play(dut: object) -> None:
    """Classify in every scenario, one after the other, without a reset in between."""
    setup = json.loads(Path(os.environ["BITWRIGHT_SETUP"]).read_text())
    images = np.load(setup["images"])
    dut.rx.value = 1
    dut.rst.value = 1
    period = round(1e12 / setup["clock_hz"])
    Clock(dut.clk, period, unit="ps", impl="gpi").start()
    await Timer(5 * period, unit="ps")
    dut.rst.value = 0
    results = {}
    for index, (name, scenario) in enumerate(SCENARIOS.items()):
        # Another image for every scenario, so that no stale answer can pass for a new one.
        batch = images[index + 1 : index + 2] if index else images[:2]
        line = _Line(dut, setup["baud"], scenario)
        results[name] = await bridge(_classify)(line, batch, setup)
        results[name]["status"] = int(dut.status.value)
    Path(setup["results"]).write_text(json.dumps(results))
