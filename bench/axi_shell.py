"""What the shell around an accelerator on a Zynq takes, part by part.

    python -m bench.axi_shell [--network hybnn-mini] [--target-cycles N] [--out FILE]

Prints a table and writes build/bench/axi_shell.json: synthesis estimates for UltraScale+ of
``boards.axi.shell.AXIShell`` and of the bridge before it, for memory ports of 64 and 128 bits.
Depth is in levels between registers as ``boards.levels`` counts them, within a part; the
accelerator itself, and the probe on its streams, are not in it.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from amaranth.back import rtlil
from rich.console import Console
from rich.table import Table

from boards.board import find_board
from boards.design import DEFAULT_TARGET_CYCLES, make_design, make_simulation
from boards.resources import Resources
from boards.synthesis import Netlist, find_module, synthesise_units
from boards.tools import Ticker
from model import graph
from model.cli import run_command, table_console, write_report

__all__ = ["PARTS", "main", "measure"]

#: Parts by their place in the top of a board.
PARTS = {
    "bridge": "bridge",
    "registers": "shell.registers",
    "batch queue": "shell.queue",
    "reader": "shell.reader",
    "images": "shell.images",
    "result packer": "shell.packer",
    "results": "shell.results",
    "writer": "shell.writer",
    "stream counters": "shell.counters",
}

_COLUMNS = ("luts", "packed_luts", "lutrams", "ffs", "brams", "depth")


def measure(network: graph.Network, target_cycles: int, data_bits: int, console: Console) -> dict:
    """Resources of each part, as ``boards.resources.Resources`` has them, and of ``all``."""
    design = make_design(find_board("zcu102"), network, target_cycles=target_cycles)
    top = make_simulation(design, data_bits=data_bits)
    netlist = Netlist(rtlil.convert(top, name="top", emit_src=False))
    modules = {part: find_module(netlist.modules, f"top.{path}") for part, path in PARTS.items()}
    with tempfile.TemporaryDirectory() as cache:
        found = synthesise_units(
            {module: netlist.subtree(module) for module in modules.values()},
            family="xcup",
            cache=Path(cache),
            ticker=Ticker(console),
        )
    parts = {part: found[module].resources for part, module in modules.items()}
    total = sum(parts.values(), Resources())
    return {part: asdict(used) for part, used in (parts | {"all": total}).items()}


def _show(data_bits: int, parts: dict[str, dict], console: Console) -> None:
    table = Table("part", title=f"AXI shell, memory port of {data_bits} bits, UltraScale+")
    for column in ("LUTs", "packed", "as memory", "FFs", "BRAM36", "depth"):
        table.add_column(column, justify="right")
    for part, used in parts.items():
        if part == "all":
            table.add_section()
        table.add_row(part, *(f"{used[column]:,}" for column in _COLUMNS))
    console.print(table)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.axi_shell", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--network", default="hybnn-mini", help="folder, or name of a shipped one")
    parser.add_argument("--target-cycles", type=int, default=DEFAULT_TARGET_CYCLES, metavar="N")
    parser.add_argument(
        "--out", type=Path, default=Path("build") / "bench" / "axi_shell.json", metavar="FILE"
    )
    options = parser.parse_args(argv)
    console = table_console()
    network = graph.load(options.network)
    results = {}
    for data_bits in (64, 128):
        results[data_bits] = measure(network, options.target_cycles, data_bits, console)
        _show(data_bits, results[data_bits], console)
    write_report(options.out, {"network": network.name, "data_bits": results})
    console.print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
