"""How long a CPU trains a convolution of 3x3: PyTorch's own, and the project's.

    python -m bench.training_convolutions [--network basebnn-ssdd] [--batch N] [--amp] [--out FILE]

Prints a table and writes build/bench/training_convolutions.json: milliseconds of one core, forward
and backward, for each shape of the network's convolutions that ``model.winograd`` takes, or in
bfloat16, with ``--amp``, ``model.patches``; in the last column with memory kept between tensors, as
in training with ``--fast``.
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

from model import patches, winograd
from model.cli import run_command, table_console, track, write_report
from model.layers import BinaryConv2d
from model.networks import NETWORKS, build
from model.training.memory import keep_freed

__all__ = ["main", "milliseconds", "shapes"]

#: How long each is measured, after it has compiled.
_SECONDS = 6

#: (channels, out channels, height, width, stride)
Shape = tuple[int, int, int, int, int]


def shapes(network: torch.nn.Module, batch: int, fits: Callable) -> Counter:
    """:data:`Shape` of the convolutions that ``fits`` says are taken, and how many of each."""
    found: Counter = Counter()

    def see(layer: BinaryConv2d, inputs: tuple[Tensor]) -> None:
        x, weight = inputs[0], layer.weight
        if not layer.depthwise and fits(x, weight, layer.stride, layer.padding):
            found[(weight.shape[1], weight.shape[0], *x.shape[2:], layer.stride)] += 1

    for module in network.modules():
        if isinstance(module, BinaryConv2d):
            module.register_forward_pre_hook(see)
    height, width, channels = network.image
    with torch.no_grad():
        network.eval()(torch.zeros(batch, channels, height, width))
    return found


def milliseconds(convolve: Callable, batch: int, shape: Shape, dtype: torch.dtype) -> float:
    """Of one pass forward and backward, on one core."""
    channels, out_channels, height, width, stride = shape
    last = torch.channels_last
    x = torch.randn(batch, channels, height, width).sign().to(dtype, memory_format=last)
    weight = torch.randn(out_channels, channels, 3, 3).to(dtype, memory_format=last)
    x.requires_grad_(), weight.requires_grad_()
    gradient = torch.randn_like(convolve(x, weight, stride))

    def passed() -> None:
        torch.autograd.grad(convolve(x, weight, stride), (x, weight), gradient)

    timer = Timer("passed()", globals={"passed": passed})
    return 1000 * timer.blocked_autorange(min_run_time=_SECONDS).median


def _native(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return functional.conv2d(x, weight, stride=stride, padding=1)


def _winograd(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return winograd.convolve(x, weight)  # Of stride 1 alone.


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.training_convolutions", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--network", default="basebnn-ssdd", choices=sorted(NETWORKS))
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="images")
    parser.add_argument("--amp", action="store_true", help="in bfloat16")
    parser.add_argument(
        "--out", type=Path, metavar="FILE",
        default=Path("build") / "bench" / "training_convolutions.json",
    )  # fmt: skip
    options = parser.parse_args(argv)
    if options.amp:
        ours, fits, dtype = "patches", patches.fits, torch.bfloat16
        convolve = torch.compile(patches.convolve, dynamic=False)
    else:
        ours, fits, dtype = "winograd", winograd.fits, torch.float32
        convolve = _winograd
    found = shapes(build(options.network), options.batch, fits)
    if not found:
        raise ValueError(f"{options.network} has no convolution of 3x3 that model.{ours} takes")
    rows = {
        shape: [milliseconds(each, options.batch, shape, dtype) for each in (_native, convolve)]
        for shape in track(found, "memory as it is", len(found))
    }
    keep_freed()
    for shape in track(found, "memory kept", len(found)):
        rows[shape].append(milliseconds(convolve, options.batch, shape, dtype))
    columns = ("conv2d", ours, f"{ours}, memory kept")
    console = table_console()
    table = Table("channels", "map", "stride", "layers", title=f"ms a pass, {options.batch} images")
    for column in columns:
        table.add_column(column, justify="right")
    for shape, row in rows.items():
        channels, out_channels, height, width, stride = shape
        table.add_row(
            f"{channels} to {out_channels}", f"{height}x{width}", str(stride), str(found[shape]),
            *(f"{value:.0f}" for value in row),
        )  # fmt: skip
    console.print(table)
    report = [
        {"shape": shape, "layers": found[shape], **dict(zip(columns, row, strict=True))}
        for shape, row in rows.items()
    ]
    write_report(
        options.out,
        {
            "network": options.network,
            "batch": options.batch,
            "amp": options.amp,
            "milliseconds": report,
        },
    )
    console.print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
