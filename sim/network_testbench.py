"""The cocotb side of a composed network: lets the clock run and looks in every few cycles.

It reads the file named by BITWRIGHT_SETUP, which ``sim.composed`` writes.
"""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Timer

__all__ = ["play"]

_CHUNK = 4096
_AFTER = 256


@cocotb.test()
async def play(dut: object) -> None:
    """Run until every output beat has come, or nothing moves any more."""
    setup = json.loads(Path(os.environ["BITWRIGHT_SETUP"]).read_text())
    ports = setup["ports"]
    for port, values in ports.items():
        # A Verilog string holds its last character in the low byte.
        path = int.from_bytes(values["path"].encode(), "big")
        getattr(dut, f"{port}_path").value = path
        getattr(dut, f"{port}_seed").value = values["seed"]
        getattr(dut, f"{port}_rest").value = values["rest"]
        if values["source"]:
            getattr(dut, f"{port}_count").value = values["count"]
    dut.rst.value = 1
    Clock(dut.clk, 2, unit="ns", impl="gpi").start()
    await Timer(7, unit="ns")
    dut.rst.value = 0

    def taken(port: str) -> int:
        return int(getattr(dut, f"{port}_taken").value)

    done = False
    # Short looks at first, so that a small network does not run on for long.
    chunk = 64
    while not done and int(dut.idle.value) < setup["patience"]:
        await Timer(2 * chunk, unit="ns")
        chunk = min(2 * chunk, _CHUNK)
        done = all(taken(port) >= values["count"] for port, values in ports.items())
        Path(setup["progress"]).write_text(str(taken("o") // setup["per_frame"]))
    # Surplus beats would come now.
    await Timer(2 * _AFTER, unit="ns")
    ended = {
        "cycle": int(dut.cycle.value),
        "idle": 0 if done else int(dut.idle.value),
        "first": int(dut.i_first.value),
        "taken": {port: taken(port) for port in ports},
        "broken": {
            port: bool(getattr(dut, f"{port}_broken").value)
            for port, values in ports.items()
            if not values["source"]
        },
    }
    for probe in ("edge_valid", "edge_ready", "high_water"):
        value = getattr(dut, probe).value
        ended[probe] = int(value) if value.is_resolvable else 0
    Path(setup["results"]).write_text(json.dumps(ended))
