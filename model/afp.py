"""Count what the auxiliary operations of a network need, before and after fusion.

Before: every layer as it is trained, in words of ``--bits`` bits: scales of weights, batch-norm,
shortcut, RPReLU, signs and quantisers, each with multipliers, adders and comparators of its own.
After: the integer network, with the widths that its operations have. Beside both stands the
arithmetic that a binary or 4-bit network is about: products and sums of its convolutions.

One number compares them: bits, the product of both widths for a multiplier, the width for an adder
or a comparator.

    python -m model.afp basebnn --checkpoint runs/basebnn/float.npz
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model import fractional, graph, layers
from model.checkpoint import load_parameters
from model.cli import run_command, write_file, write_report
from model.export import export
from model.fusion import FUSED
from model.networks import NETWORKS, build
from model.networks.fusebnn import fuse_network

__all__ = ["Count", "integer_counts", "main", "trained_counts"]


@dataclass
class Count:
    """Operations of a frame, and their bits."""

    multipliers: int = 0
    adders: int = 0
    comparators: int = 0
    bits: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, count: int, bits: int) -> None:
        """``count`` operations of ``bits`` each; kind is multipliers, adders or comparators."""
        setattr(self, kind, getattr(self, kind) + count)
        self.bits += count * bits
        self.by_kind[kind] = self.by_kind.get(kind, 0) + count * bits

    def __add__(self, other: "Count") -> "Count":
        kinds = {
            kind: self.by_kind.get(kind, 0) + other.by_kind.get(kind, 0)
            for kind in {*self.by_kind, *other.by_kind}
        }
        return Count(
            self.multipliers + other.multipliers,
            self.adders + other.adders,
            self.comparators + other.comparators,
            self.bits + other.bits,
            kinds,
        )


def _steps(levels: int) -> int:
    """Compares that find one of so many levels."""
    return levels.bit_length()


#: Auxiliary operations of a layer as it is trained, for each number that it makes.
_TRAINED = {
    # The scale of its weights; the sum itself is counted as arithmetic.
    layers.BinaryConv2d: lambda layer: (1, 0, 0),
    layers.QuantConv2d: lambda layer: (1, 0, 0),
    layers.QuantLinear: lambda layer: (1, 1, 0),
    nn.BatchNorm2d: lambda layer: (1, 1, 0),
    layers.Residual: lambda layer: (0, 1, 0),
    layers.RPReLU: lambda layer: (1, 2, 1),
    layers.RSign: lambda layer: (0, 0, 1),
    layers.Sign: lambda layer: (0, 0, 1),
    # Divided by the step, then rounded up and held within the levels.
    layers.QuantReLU: lambda layer: (1, 1, 2),
    nn.AvgPool2d: lambda layer: (1, prod(_pair(layer.kernel_size)) - 1, 0),
    nn.MaxPool2d: lambda layer: (0, 0, prod(_pair(layer.kernel_size)) - 1),
    fractional.ChannelAffine: lambda layer: (1, 1, 0),
    fractional.RPReLUResidual: lambda layer: (0, 1, 0),
    fractional.Quantizer2: lambda layer: (0, 0, 2),
    fractional.FractionalConv2d: lambda layer: (0, 1, 1),
}


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _place(name: str, parts: int = 2) -> str:
    """The block that a layer belongs to, from its name: ``blocks_3`` of ``blocks_3_dw_conv``."""
    pieces = name.replace(".", "_").split("_")
    whole = len(pieces) > 1 and pieces[1].isdigit()
    return "_".join(pieces[:parts]) if whole else pieces[0]


def trained_counts(network: nn.Module, bits: int = 32) -> dict[str, Count]:
    """Auxiliary operations of a frame by block, every layer for itself, in words of ``bits``."""
    counts: dict[str, Count] = {}
    hooks = []

    def note(name: str, each: tuple[int, int, int]):
        def count(module, arguments, result):
            place = counts.setdefault(_place(name), Count())
            numbers = result[0].numel()
            for kind, times in zip(("multipliers", "adders", "comparators"), each, strict=True):
                width = bits * bits if kind == "multipliers" else bits
                place.add(kind, numbers * times, width)

        return count

    for name, module in network.named_modules():
        if type(module) in _TRAINED:
            each = _TRAINED[type(module)](module)
            hooks.append(module.register_forward_hook(note(name, each)))
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            # Sums over the map, then one division: counted where the map is known.
            hooks.append(module.register_forward_hook(_global_pool(counts, name, bits)))
    height, width, channels = network.image
    with torch.no_grad():
        network.eval()(torch.zeros(1, channels, height, width, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return counts


def _global_pool(counts: dict[str, Count], name: str, bits: int):
    def count(module, arguments, result):
        place = counts.setdefault(_place(name), Count())
        place.add("adders", arguments[0][0].numel() - result[0].numel(), bits)
        place.add("multipliers", result[0].numel(), bits * bits)

    return count


def _widest(values: np.ndarray) -> int:
    return graph.int_for(int(values.min()), int(values.max())).bits


def integer_counts(network: graph.Network) -> tuple[dict[str, Count], dict[str, Count]]:
    """Auxiliary operations, and the convolutions' arithmetic, of a frame by block."""
    auxiliary: dict[str, Count] = {}
    arithmetic: dict[str, Count] = {}
    for op in network.order:
        if not op.inputs:
            continue
        out, x = network.types[op.name], network.types[op.inputs[0]]
        numbers, width = prod(out.shape), x.element.bits
        aux = auxiliary.setdefault(_place(op.name), Count())
        work = arithmetic.setdefault(_place(op.name), Count())
        if isinstance(op, graph.Conv | graph.FractionalConv | graph.Dense):
            taps = op.weights[0].size
            planes = 2 if isinstance(op, graph.FractionalConv) else 1
            weight = 1 if planes == 2 else op.weight_type.bits
            # A product of two signs is one gate, which the count of bits says.
            factor = 1 if planes == 2 else width
            work.add("multipliers", planes * numbers * taps, factor * weight)
            sums = _mean_width(taps, factor + weight if factor * weight > 1 else 1)
            work.add("adders", planes * numbers * (taps - 1), sums)
            if getattr(op, "bias", None) is not None:
                aux.add("adders", numbers, out.element.bits)
        elif isinstance(op, graph.Threshold):
            aux.add("comparators", numbers * _steps(op.thresholds.shape[1]), width)
        elif isinstance(op, graph.Thermometer):
            aux.add("comparators", numbers, width)
        elif isinstance(op, graph.Affine | graph.RPReLU):
            product = width + _widest(op.scale)
            aux.add("multipliers", numbers, width * _widest(op.scale))
            aux.add("adders", numbers, max(product, _widest(op.bias)))
            if isinstance(op, graph.RPReLU):
                aux.add("comparators", numbers, width)
        elif isinstance(op, graph.Add):
            aux.add("adders", numbers, op.element.bits)
        elif isinstance(op, graph.AvgPool | graph.GlobalPool):
            aux.add("adders", prod(x.shape) - numbers, width)
        elif isinstance(op, graph.MaxPool):
            aux.add("comparators", prod(x.shape) - numbers, width)
        elif isinstance(op, graph.LabelSelect):
            aux.add("comparators", x.channels - 1, width)
    return auxiliary, arithmetic


def _mean_width(terms: int, bits: int) -> int:
    """Width of the adders of a tree over so many terms of ``bits`` bits: the mean, rounded up."""
    total, count, left, width = 0, 0, terms, bits
    while left > 1:
        pairs = left // 2
        total, count = total + pairs * (width + 1), count + pairs
        left, width = left - pairs, width + 1
    return -(-total // count) if count else bits


def _sum(counts: Iterable[Count]) -> Count:
    total = Count()
    for count in counts:
        total += count
    return total


_KINDS = ("multipliers", "adders", "comparators", "bits")


def quantify(before: dict, after: dict, arithmetic: dict, name: str, fused: str) -> dict:
    """The report: each block and the sum, and the share of auxiliary bits in all."""

    def numbers(count: Count) -> dict:
        return {kind: getattr(count, kind) for kind in _KINDS}

    totals = [_sum(part.values()) for part in (before, after, arithmetic)]
    report = {"network": name, "fused": fused}
    for key, part, total in zip(
        ("before", "after", "arithmetic"), (before, after, arithmetic), totals, strict=True
    ):
        report[key] = {
            "total": numbers(total),
            "layers": {place: numbers(count) for place, count in part.items()},
        }
    for key, total in (("before", totals[0]), ("after", totals[1])):
        report[key]["share_of_bits"] = round(total.bits / (total.bits + totals[2].bits), 4)
    return report


def _print(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part of", title=f"{report['network']}: auxiliary operations of a frame")
    for when in ("before", "after"):
        for kind in ("mult.", "add", "cmp.", "Mbit"):
            table.add_column(f"{when}\n{kind}", justify="right")
    table.add_column("arithmetic\nMbit", justify="right")
    empty = dict.fromkeys(_KINDS, 0)

    def row(name: str, *parts: dict) -> None:
        cells = [
            f"{part[kind] / (1e6 if kind == 'bits' else 1):,.{int(kind == 'bits')}f}"
            for part in parts[:2]
            for kind in _KINDS
        ]
        table.add_row(name, *cells, f"{parts[2]['bits'] / 1e6:,.1f}")

    tables = [report[key]["layers"] for key in ("before", "after", "arithmetic")]
    for place in {**tables[0], **tables[1]}:
        row(place, *(part.get(place, empty) for part in tables))
    table.add_section()
    row("sum", *(report[key]["total"] for key in ("before", "after", "arithmetic")))
    console = Console(width=130)
    console.print(table)
    console.print(
        f"share of auxiliary bits: {report['before']['share_of_bits']:.1%} before, "
        f"{report['after']['share_of_bits']:.1%} after fusion",
        highlight=False,
    )


def draw(report: dict, path: Path) -> None:
    """Multipliers, adders, comparators before and after, and the shares of bits, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for offset, when in ((-0.2, "before"), (0.2, "after")):
        total = report[when]["total"]
        values = [total[kind] / 1e3 for kind in _KINDS[:3]]
        places = [index + offset for index in range(3)]
        left.bar(places, values, 0.4, label=f"{when} fusion")
    left.set_xticks(range(3), _KINDS[:3])
    left.set(title=f"{report['network']}: auxiliary operations", ylabel="thousands a frame")
    left.legend()
    shares = [100 * report[when]["share_of_bits"] for when in ("before", "after")]
    right.bar(("before", "after"), shares, color=("C0", "C1"))
    right.set(title="share of all bits", ylabel="%", ylim=(0, 100))
    write_file(path, lambda partial: figure.savefig(partial, dpi=120))


@torch.no_grad()
def _settle(network: nn.Module) -> None:
    """Let statistics and limits become those of random images."""
    height, width, channels = network.image
    network.train()
    for _ in range(4):
        network(torch.randint(0, 256, (4, channels, height, width), dtype=torch.uint8))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.afp",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--checkpoint", help="its parameters (default: untrained ones)")
    parser.add_argument("--bits", type=int, default=32, help="of a word before (default: 32)")
    parser.add_argument("--out", help="folder to write (default: runs/afp-NETWORK)")
    options = parser.parse_args(argv)
    if not 1 <= options.bits <= 64:
        parser.error(f"--bits must lie in 1..64, not {options.bits}")
    if options.network in FUSED.values():
        parser.error(f"{options.network} is fused already: name the network that it was made from")
    torch.manual_seed(1)
    trained = build(options.network)
    if options.checkpoint:
        load_parameters(trained, options.checkpoint)
    else:
        _settle(trained)
    network, fused_name = trained, FUSED.get(options.network, options.network)
    if options.network in FUSED:
        network = fuse_network(trained)
    before = trained_counts(trained, options.bits)
    after, arithmetic = integer_counts(export(network, fused_name))
    report = quantify(before, after, arithmetic, options.network, fused_name)
    report |= {"bits": options.bits, "checkpoint": options.checkpoint}
    out = Path(options.out or f"runs/afp-{options.network}")
    draw(report, out / "afp.png")
    write_report(out / "afp.json", report)
    _print(report)
    return 0


if __name__ == "__main__":
    run_command(main)
