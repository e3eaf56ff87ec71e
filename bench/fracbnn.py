"""FracBNN in an XCZU3EG: how long it takes to fold and to convert, how large and fast it becomes.

    python -m bench.fracbnn [--network DIR] [--device xczu3eg] [--targets 8192 0] [--fold-only]

DIR is an imported network; without it, the folder ``fracbnn-net`` in that which BITWRIGHT_DATA
names, and where there is none, a network of the same structure with random parameters. Target 0 is
the fastest that fits. Prints a table and writes build/bench/fracbnn.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from boards.devices import budget_of, find_device
from hw.accelerator import Accelerator
from hw.folding import choose
from hw.verilog import to_verilog
from model import graph
from model.cli import run_command, table_console, write_report
from tests.fracbnn_random import random_fracbnn

__all__ = ["find_network", "main", "measure"]

TARGETS = (8192, 0)

#: A board with each device, which estimates are asked of.
_BOARDS = {"xczu3eg": "ultra96v2", "xczu9eg": "zcu102", "lfe5u-85f": "ulx3s_85f"}

#: Columns of the table: label, and key of the entry.
_COLUMNS = {
    "target": "target_cycles",
    "interval": "interval",
    "latency": "latency",
    "LUT cells": "luts",
    "packed": "packed_luts",
    "FF": "ffs",
    "BRAM": "brams",
    "DSP": "dsps",
    "depth": "depth",
    "folding s": "folding_seconds",
    "Verilog s": "verilog_seconds",
    "estimate s": "estimate_seconds",
}


def find_network(named: str | None) -> graph.Network:
    """The network named, or that of the data folder, or one of random parameters."""
    if named:
        return graph.load(named)
    kept = Path(os.environ.get("BITWRIGHT_DATA", "")) / "fracbnn-net"
    return graph.load(kept) if (kept / "network.json").is_file() else random_fracbnn()


def measure(
    network: graph.Network, *, device: str, target: int, out: Path, estimate: bool = True
) -> dict[str, object]:
    """Fold, convert and, if asked for, synthesise a network; ``target`` 0 is the fastest."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    budget = budget_of(find_device(device))
    folding = choose(network, target_cycles=target or None, device=budget)
    accelerator = Accelerator(network=network, folding=folding)
    entry: dict[str, object] = {
        "target_cycles": target or "fastest",
        "interval": accelerator.interval,
        "latency": accelerator.latency,
        "folding_seconds": round(time.perf_counter() - started, 1),
    }
    folding.save(out / "folding.json")
    started = time.perf_counter()
    text = to_verilog(accelerator, "accelerator")
    entry["verilog_seconds"] = round(time.perf_counter() - started, 1)
    entry["verilog_bytes"] = len(text)
    if estimate:
        # Synthesis is to be measured, not found done.
        shutil.rmtree(out / "units", ignore_errors=True)
        entry.update(_estimate(network, _BOARDS[device], out))
    return entry


def _estimate(network: graph.Network, board: str, out: Path) -> dict[str, object]:
    """What ``python -m boards.build BOARD NETWORK --estimate`` says."""
    (out / "report.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        graph.save(network, folder)
        command = [sys.executable, "-m", "boards.build", board, folder, "--estimate"]
        command += ["--folding", str(out / "folding.json"), "--out", str(out)]
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        seconds = time.perf_counter() - started
    try:
        report = json.loads((out / "report.json").read_text())
    except OSError:
        raise ValueError(f"{network.name}: the estimate for {board} has failed") from None
    longest = report["longest_path"]
    return {
        **{key: report["total"][key] for key in ("luts", "packed_luts", "ffs", "brams", "dsps")},
        "depth": longest["levels"],
        "longest_path": longest["units"],
        "estimate_seconds": round(seconds, 1),
    }


def _show(network: graph.Network, device: str, results: list[dict], console: Console) -> None:
    table = Table(title=f"{network.name} for {device}")
    for label in _COLUMNS:
        table.add_column(label, justify="right")
    for entry in results:
        values = (entry.get(key, "") for key in _COLUMNS.values())
        table.add_row(*(f"{v:,}" if isinstance(v, int | float) else str(v) for v in values))
    console.print(table)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fracbnn", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--network", metavar="DIR", help="folder of the imported network")
    parser.add_argument("--device", default="xczu3eg", choices=sorted(_BOARDS))
    parser.add_argument("--targets", type=int, nargs="+", default=TARGETS, metavar="N")
    parser.add_argument("--fold-only", action="store_true", help="leave synthesis out")
    parser.add_argument(
        "--out", type=Path, default=Path("build") / "bench" / "fracbnn.json", metavar="FILE"
    )
    options = parser.parse_args(argv)
    console = table_console(160)
    network = find_network(options.network)
    results = []
    for target in options.targets:
        folder = options.out.parent / f"fracbnn-{target or 'fastest'}"
        results.append(
            measure(
                network,
                device=options.device,
                target=target,
                out=folder,
                estimate=not options.fold_only,
            )
        )
        console.print(f"{results[-1]}", markup=False)
    _show(network, options.device, results, console)
    write_report(options.out, {"network": network.name, "results": results})
    console.print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
