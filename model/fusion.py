"""Fuse a trained BaseBNN to FuseBNN, and show that no prediction changes.

Both compute in float64 on test images of the data set: the report says how far any score moves, and
how many labels differ. Of the integer networks it is shown for all images at once: the one's
multiplications, put together, are the other's.

    python -m model.fusion basebnn --checkpoint runs/basebnn/float.npz --out runs/fusebnn/float.npz
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model import fuse, graph
from model.checkpoint import load_parameters, save_parameters
from model.cli import run_command, write_report
from model.data import load_split
from model.detection import test_scenes
from model.export import export
from model.networks import build
from model.networks.fusebnn import fuse_network
from model.training.distributed import usable_device

__all__ = ["FUSED", "composed", "deviation", "main"]

#: Networks that have a fused form, and its name.
FUSED = {
    name: name.replace("base", "fuse")
    for name in ("basebnn", "basebnn-mini", "basebnn-ssdd", "basebnn-ssdd-mini")
}


@torch.no_grad()
def deviation(base: nn.Module, fused: nn.Module, images: np.ndarray, batch: int = 50) -> dict:
    """Largest difference of any score, and labels that differ.

    Of detectors, whose maps are rounded, images count whose maps differ anywhere.

    Parameters
    ----------
    images : uint8 array (N, height, width, channels)
    """
    device = next(base.parameters()).device
    most, largest, differ = 0.0, 0.0, 0
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(images[start : start + batch].transpose(0, 3, 1, 2).copy())
        a, b = (network(pixels.to(device)) for network in (base, fused))
        most = max(most, (a - b).abs().max().item())
        largest = max(largest, a.abs().max().item())
        labels = (a, b) if a.dim() > 2 else (a.argmax(1), b.argmax(1))
        differ += int((labels[0] != labels[1]).reshape(len(a), -1).any(1).sum())
    return {
        "images": len(images),
        "largest_deviation": most,
        "largest_score": largest,
        "labels_differ": differ,
    }


def composed(network: graph.Network, name: str) -> graph.Network:
    """The integer network ``name`` that computes as ``network`` does, where an RPReLU that loses
    nothing and the Affine behind it are one RPReLU, with the name of the first."""

    def segments_before(op: graph.Operation) -> graph.RPReLU | None:
        before = network.operation(op.inputs[0]) if isinstance(op, graph.Affine) else None
        if not isinstance(before, graph.RPReLU) or network.consumers(before.name) != [op.name]:
            return None
        # Nothing is rounded, and nothing saturates.
        x, y = network.types[before.inputs[0]].element, before.element
        ends = [end * before.scale + before.bias for end in (x.lo, x.hi)]
        exact = before.shift == 0 and np.min(ends) >= y.lo and np.max(ends) <= y.hi
        return before if exact else None

    parts = {op.name: before for op in network.order if (before := segments_before(op))}
    gone = {before.name for before in parts.values()}
    operations = []
    for op in network.order:
        if op.name in gone:
            continue
        if before := parts.get(op.name):
            op = fuse.put_together(before, op)
        else:
            sources = (parts.get(source) for source in op.inputs)
            inputs = (new.name if new else old for new, old in zip(sources, op.inputs, strict=True))
            op = replace(op, inputs=tuple(inputs))
        operations.append(op)
    return graph.Network(name, tuple(operations), network.outputs)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.fusion", description=__doc__)
    parser.add_argument("network", choices=sorted(FUSED))
    parser.add_argument("--checkpoint", required=True, help="trained parameters, .pt or .npz")
    parser.add_argument("--out", required=True, help="parameters of the fused network, .npz")
    parser.add_argument("--data", help="folder of the data sets (default: BITWRIGHT_DATA)")
    parser.add_argument("--frames", type=int, default=1000, help="test images (default: 1000)")
    parser.add_argument("--device", default="cpu", help="of PyTorch (default: cpu)")
    options = parser.parse_args(argv)
    if options.frames < 1:
        parser.error(f"--frames must be at least 1, not {options.frames}")
    if Path(options.out).suffix != ".npz":
        parser.error(f"--out must end in .npz, not {options.out}")
    device = usable_device(options.device)
    base = build(options.network)
    load_parameters(base, options.checkpoint)
    # As it is shipped.
    base.compact()
    if base.anchors:
        images = test_scenes(options.data, base.image[0])[0].images
    else:
        images, _ = load_split("test", options.data, base.image)
    base, fused = base.double().eval(), fuse_network(base)
    report = {"network": options.network, "checkpoint": options.checkpoint}
    integer = export(base, options.network), export(fused, FUSED[options.network])
    one = composed(integer[0], integer[1].name).digest() == integer[1].digest()
    report |= {"integer_networks_are_one_function": one}
    report |= deviation(base.to(device), fused.to(device), images[: options.frames])
    save_parameters(fused.cpu(), options.out)
    write_report(Path(options.out).with_suffix(".json"), report)
    print(
        f"largest deviation {report['largest_deviation']:.1e} of scores up to "
        f"{report['largest_score']:.1f}; {report['labels_differ']} of {report['images']} labels "
        f"differ; the integer networks are {'one function' if one else 'NOT one function'}"
    )
    return 0 if one else 1


if __name__ == "__main__":
    run_command(main)
