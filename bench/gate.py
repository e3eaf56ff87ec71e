"""What the gates of fractional convolutions could save: second passes only where one is open.

    python -m bench.gate NETWORK --images X.npy --folding folding.json

A fractional convolution here has two arrays of ``pe`` x ``simd`` XNORs, one for each bit plane: its
cycles do not depend on the image. The same XNORs in one array would take the first plane of twice
as many products a cycle, and the second plane in a second pass over those beats in which one of
the ``pe`` gates at least is open. This measures, on real images, how often such a pass could be
left out, and the interval of a pipeline of such layers: that of its slowest layer in each image.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hw.fold import Folding, fold_cycles
from model import golden, graph
from model.cli import run_command, write_report

__all__ = ["main", "measure", "open_gates"]

_BATCH = 32


def open_gates(op: graph.FractionalConv, x: np.ndarray) -> np.ndarray:
    """Which gates are open: bool (frames, height, width, channels) of an input ``x``."""
    high = np.pad(2.0 * (x >> 1) - 1, ((0, 0), (op.padding,) * 2, (op.padding,) * 2, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(high, op.kernel, axis=(1, 2))
    windows = windows[:, :: op.stride, :: op.stride].transpose(0, 1, 2, 4, 5, 3)
    sums = windows.reshape(*windows.shape[:3], -1) @ op.weights.reshape(len(op.weights), -1).T
    return sums >= op.gate


def one_array(op: graph.FractionalConv, x: graph.TensorType, pe: int, simd: int) -> tuple[int, int]:
    """PE and column folds of one array with the XNORs of two of ``pe`` x ``simd``."""
    columns = op.kernel[0] * op.kernel[1] * x.channels
    if columns % (2 * simd) == 0:
        return pe, columns // (2 * simd)
    if len(op.weights) % (2 * pe):
        raise ValueError(f"{op.name}: pe {pe} and simd {simd} cannot be doubled")
    return 2 * pe, columns // simd


def measure(network: graph.Network, folding: Folding, images: np.ndarray) -> dict:
    """Open gates, skipped passes and cycles of each fractional convolution, as a report."""
    layers = [op for op in network.order if isinstance(op, graph.FractionalConv)]
    if not layers:
        raise ValueError(f"network {network.name!r} has no FractionalConv")
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {op.name: [] for op in layers}
    for start in track(range(0, len(images), _BATCH), "gates", console=Console(stderr=True)):
        tensors = golden.run(network, images[start : start + _BATCH], keep="all")
        for op in layers:
            gates = open_gates(op, tensors[op.inputs[0]])
            pe, folds = one_array(
                op, network.types[op.inputs[0]], folding[op.name].pe, folding[op.name].simd
            )
            passes = gates.reshape(len(gates), -1, pe).any(axis=2)
            cycles = folds * (passes.shape[1] + passes.sum(axis=1))
            parts[op.name].append((gates.mean(axis=(1, 2, 3)), cycles))
    rows, every = {}, []
    for op in layers:
        share, cycles = (np.concatenate(values) for values in zip(*parts[op.name], strict=True))
        every.append(cycles)
        rows[op.name] = {
            "open": round(float(share.mean()), 4),
            "open_most": round(float(share.max()), 4),
            "cycles": fold_cycles(op, network, folding[op.name]),
            "cycles_one_array": round(float(cycles.mean()), 1),
            "cycles_one_array_most": int(cycles.max()),
        }
    slowest = np.max(every, axis=0)
    return {
        "network": network.name,
        "digest": network.digest(),
        "images": len(images),
        "layers": rows,
        "interval": max(row["cycles"] for row in rows.values()),
        "interval_one_array": round(float(slowest.mean()), 1),
        "interval_one_array_most": int(slowest.max()),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description=__doc__)
    parser.add_argument("network", help="network folder, or name of a shipped network")
    parser.add_argument("--images", required=True, help="uint8 images, (N, H, W, C), as .npy")
    parser.add_argument("--folding", required=True, help="folding file")
    parser.add_argument("--out", default="build/bench/gate.json", help="report to write")
    options = parser.parse_args(argv)
    network = graph.load(options.network)
    images = golden.load_images(network, options.images)
    report = measure(network, Folding.load(options.folding, network), images)
    table = Table(title=f"{network.name}: gates on {len(images)} images")
    for column in ("layer", "gates open", "most in an image", "cycles", "one array", "at most"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for name, row in report["layers"].items():
        table.add_row(
            name,
            f"{row['open']:.1%}",
            f"{row['open_most']:.1%}",
            f"{row['cycles']:,}",
            f"{row['cycles_one_array']:,.0f}",
            f"{row['cycles_one_array_most']:,}",
        )
    table.add_row(
        "slowest", "", "", f"{report['interval']:,}", f"{report['interval_one_array']:,.0f}",
        f"{report['interval_one_array_most']:,}",
    )  # fmt: skip
    Console().print(table)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    write_report(options.out, report)
    print(json.dumps({key: value for key, value in report.items() if key != "layers"}))
    return 0


if __name__ == "__main__":
    run_command(main)
