"""The cocotb side of the unit tests: all cases of a model, side by side, run after run.

It reads its stimulus from the file named by BITWRIGHT_STIMULUS and writes what went through the
ports to the file named by BITWRIGHT_RESULTS, both JSON; ``sim.cases`` writes and reads them.
"""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from sim.streams import ProtocolError, Sink, Source

__all__ = ["play"]

_RESET_CYCLES = 3


class _Case:
    """One device of the model in one run."""

    def __init__(self, dut: object, case: dict, seed: int | None):
        self.name = case["name"]
        self.patience = case["patience"]
        self.after = case["after"]
        own = None if seed is None else f"{seed} {self.name}"
        prefix = case["prefix"]

        def stream(port: str):
            return lambda part: getattr(dut, f"{prefix}_{port}_{part}")

        self.sources = [
            Source(i["port"], stream(i["port"]), own, i["width"], i["words"])
            for i in case["inputs"]
        ]
        self.sinks = [Sink(o["port"], stream(o["port"]), own, o["count"]) for o in case["outputs"]]
        self.ports = [*self.sources, *self.sinks]
        self.idle = 0
        self.error: str | None = None
        self.over = False

    def middle(self) -> None:
        try:
            for sink in self.sinks:
                sink.middle()
        except ProtocolError as error:
            self.fail(error)

    def fail(self, error: ProtocolError) -> None:
        self.error, self.over = f"{error}; {self.state()}", True

    def edge(self, cycle: int) -> None:
        if self.over:
            return
        moved = False
        try:
            for port in self.ports:
                moved |= port.edge(cycle)
        except ProtocolError as error:
            self.fail(error)
            return
        self.idle = 0 if moved else self.idle + 1
        complete = all(port.complete for port in self.ports)
        if complete:
            self.over = self.idle >= self.after
        elif self.idle >= self.patience:
            self.error = f"nothing moved for {self.idle} cycles up to {cycle}; {self.state()}"
            self.over = True

    def state(self) -> str:
        return "; ".join(port.state() for port in self.ports)

    def result(self) -> dict:
        ports = {port.name: {"beats": port.beats, "cycles": port.cycles} for port in self.ports}
        return {"error": self.error, "ports": ports}


async def _run(dut: object, cases: list[dict], seed: int | None, limit: int | None) -> list[_Case]:
    running = everything = [_Case(dut, case, seed) for case in cases]
    dut.rst.value = 1
    for case in running:
        for port in case.ports:
            port.rest_in_reset()
    for _ in range(_RESET_CYCLES):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    for case in running:
        for port in case.ports:
            port.start()
    cycle = 0
    while running and (limit is None or cycle < limit):
        if seed is not None:
            await FallingEdge(dut.clk)
            for case in running:
                case.middle()
        await RisingEdge(dut.clk)
        for case in running:
            case.edge(cycle)
        running = [case for case in running if not case.over]
        cycle += 1
    return everything


@cocotb.test()
async def play(dut: object) -> None:
    """Play every case with every seed, from a reset each."""
    stimulus = json.loads(Path(os.environ["BITWRIGHT_STIMULUS"]).read_text())
    Clock(dut.clk, 2, unit="ns", impl="gpi").start()
    # A reset must bring a device back from anywhere: begin with a run that is given up.
    await _run(dut, stimulus["cases"], 0, stimulus["abandoned"])
    runs = []
    for seed in stimulus["seeds"]:
        cases = await _run(dut, stimulus["cases"], seed, None)
        runs.append({"seed": seed, "cases": {case.name: case.result() for case in cases}})
    Path(os.environ["BITWRIGHT_RESULTS"]).write_text(json.dumps(runs))
