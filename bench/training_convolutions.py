"""How long a CPU trains a convolution of 3x3: PyTorch's own, and model.winograd's.

    python -m bench.training_convolutions [--network basebnn-ssdd] [--batch N] [--out FILE]

Prints a table and writes build/bench/training_convolutions.json: milliseconds of one core, forward
and backward, for each shape of the network's convolutions that ``model.winograd`` takes; in the
last column with memory kept between tensors, as in training with ``--fast``.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor
from torch.nn import functional
from torch.utils.benchmark import Timer

from model import winograd
from model.cli import run_command, table_console, track, write_report
from model.layers import BinaryConv2d
from model.networks import NETWORKS, build
from model.training.memory import keep_freed

__all__ = ["main", "milliseconds", "shapes"]

#: How long each is measured, after it has compiled.
_SECONDS = 6

_COLUMNS = ("conv2d", "winograd", "winograd, memory kept")


def shapes(network: torch.nn.Module, batch: int) -> Counter:
    """(channels, out channels, height, width) of the convolutions it takes, and how many each."""
    found: Counter = Counter()

    def see(layer: BinaryConv2d, inputs: tuple[Tensor]) -> None:
        x, weight = inputs[0], layer.weight
        if not layer.depthwise and winograd.fits(x, weight, layer.stride, layer.padding):
            found[(weight.shape[1], weight.shape[0], *x.shape[2:])] += 1

    for module in network.modules():
        if isinstance(module, BinaryConv2d):
            module.register_forward_pre_hook(see)
    height, width, channels = network.image
    with torch.no_grad():
        network.eval()(torch.zeros(batch, channels, height, width))
    return found


def milliseconds(convolve: Callable, batch: int, shape: tuple[int, int, int, int]) -> float:
    """Of one pass forward and backward, on one core."""
    channels, out_channels, height, width = shape
    last = torch.channels_last
    x = torch.randn(batch, channels, height, width).sign().contiguous(memory_format=last)
    weight = torch.randn(out_channels, channels, 3, 3).contiguous(memory_format=last)
    x.requires_grad_(), weight.requires_grad_()
    gradient = torch.randn(batch, out_channels, height, width).contiguous(memory_format=last)

    def passed() -> None:
        torch.autograd.grad(convolve(x, weight), (x, weight), gradient)

    timer = Timer("passed()", globals={"passed": passed})
    return 1000 * timer.blocked_autorange(min_run_time=_SECONDS).median


def _native(x: Tensor, weight: Tensor) -> Tensor:
    return functional.conv2d(x, weight, padding=1)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.training_convolutions", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--network", default="basebnn-ssdd", choices=sorted(NETWORKS))
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="images")
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        default=Path("build") / "bench" / "training_convolutions.json",
    )  # fmt: skip
    options = parser.parse_args(argv)
    found = shapes(build(options.network), options.batch)
    if not found:
        raise ValueError(f"{options.network} has no convolution of 3x3 that model.winograd takes")
    rows = {
        shape: [milliseconds(each, options.batch, shape) for each in (_native, winograd.convolve)]
        for shape in track(found, "memory as it is", len(found))
    }
    keep_freed()
    for shape in track(found, "memory kept", len(found)):
        rows[shape].append(milliseconds(winograd.convolve, options.batch, shape))
    console = table_console()
    table = Table("channels", "map", "layers", title=f"ms a pass, {options.batch} images")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for shape, row in rows.items():
        channels, out_channels, height, width = shape
        table.add_row(
            f"{channels} to {out_channels}", f"{height}x{width}", str(found[shape]),
            *(f"{value:.0f}" for value in row),
        )  # fmt: skip
    console.print(table)
    report = [
        {"shape": shape, "layers": found[shape], **dict(zip(_COLUMNS, row, strict=True))}
        for shape, row in rows.items()
    ]
    write_report(
        options.out, {"network": options.network, "batch": options.batch, "milliseconds": report}
    )
    console.print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
