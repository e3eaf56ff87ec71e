"""Choosing a folding for a device: ``python -m boards.fold NETWORK --device DEVICE``."""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from boards.command import exit_code, make_console
from boards.devices import DEVICES, budget_of, find_device
from boards.flow import write_atomically
from boards.tools import Ticker
from hw.cost import Device, Resources

__all__ = ["describe", "main"]

_RESOURCES = ("luts", "ffs", "brams", "dsps")


def describe(network, folding, accelerator, budget: Device) -> dict:
    """What a folding is estimated to take and how fast it is, layer by layer."""
    from hw.layer_cost import estimate

    costs = estimate(network, folding, budget.family)
    layers = []
    for op in network.order:
        layer, cost = folding[op.name], costs[op.name]
        layers.append(
            {
                "name": op.name,
                "kind": type(op).__name__,
                "cycles": accelerator.intervals[op.name],
                "pe": layer.pe,
                "simd": layer.simd if hasattr(op, "weights") else None,
                "ram_style": layer.ram_style if hasattr(op, "weights") else None,
                "fifo_depths": list(layer.fifo_depths),
                **{name: round(getattr(cost, name), 1) for name in _RESOURCES},
            }
        )
    total = sum(costs.values(), Resources())
    return {
        "format": "bitwright-folding-report",
        "version": 1,
        "network": network.name,
        "network_digest": network.digest(),
        "budget": asdict(budget),
        "interval": accelerator.interval,
        "latency": accelerator.latency,
        "layers": layers,
        "total": {name: round(getattr(total, name), 1) for name in _RESOURCES},
    }


def _print(report: dict, console) -> None:
    from rich.table import Table

    budget = report["budget"]
    table = Table("layer", "operation", title=f"{report['network']} in {budget['name']}, estimated")
    for label in ("cycles", "pe", "simd", "LUT", "FF", "BRAM", "DSP", "FIFO depths"):
        table.add_column(label, justify="right")
    table.add_column("weights in")
    for layer in report["layers"]:
        table.add_row(
            layer["name"],
            layer["kind"],
            f"{layer['cycles']:,}",
            str(layer["pe"]),
            str(layer["simd"] or ""),
            *(f"{layer[name]:,.0f}" for name in ("luts", "ffs")),
            f"{layer['brams']:g}",
            f"{layer['dsps']:g}",
            ", ".join(map(str, layer["fifo_depths"])),
            layer["ram_style"] or "",
        )
    table.add_section()
    for label, numbers in (("sum", report["total"]), ("budget", budget)):
        table.add_row(
            *(label, "", "", "", ""), *(f"{numbers[name]:,.0f}" for name in _RESOURCES), "", ""
        )
    console.print(table)
    console.print(
        f"interval {report['interval']:,} cycles, latency {report['latency']:,} cycles",
        highlight=False,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m boards.fold",
        description="Choose the smallest folding that meets a target, or the fastest that fits.",
    )
    parser.add_argument("network", metavar="NETWORK", help="folder, or name of a shipped network")
    parser.add_argument(
        "--device", required=True, metavar="DEVICE", help=f"one of {', '.join(sorted(DEVICES))}"
    )
    parser.add_argument(
        "--target-cycles",
        type=int,
        metavar="N",
        help="cycles a frame that the pipeline must keep (default: as few as fit)",
    )
    for name in _RESOURCES:
        default = "85 %% of the device" if name == "luts" else "the device"
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"budget (default: {default})")
    parser.add_argument("--out", type=Path, default=Path("folding.json"), metavar="FILE")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from hw.accelerator import Accelerator
    from hw.folding import choose
    from model.graph import load

    console = make_console()
    device = find_device(arguments.device)
    budget = budget_of(device, **{name: getattr(arguments, name) for name in _RESOURCES})
    network = load(arguments.network)
    started = time.monotonic()
    with Ticker(console).step("folding"):
        folding = choose(network, target_cycles=arguments.target_cycles, device=budget)
        accelerator = Accelerator(network=network, folding=folding)
        report = describe(network, folding, accelerator, budget)
    report["seconds"] = round(time.monotonic() - started, 1)
    _print(report, console)
    out = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    folding.save(out)
    beside = out.with_name(f"{out.stem}.report.json")
    write_atomically(beside, (json.dumps(report, indent=1) + "\n").encode())
    console.print(f"wrote {out} and {beside}", markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see ``python -m boards.fold --help``."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _run(options))


if __name__ == "__main__":
    # Accelerators are composed for their cycles alone.
    warnings.filterwarnings("ignore", "<.*created but never used", Warning)
    sys.exit(main())
