"""Accuracy of a network on the test images of its data set: the integer network's, and PyTorch's.

The integer network runs through :mod:`model.golden`. The PyTorch figure needs the trained
floating-point parameters: a shipped network has them beside it, else ``--checkpoint`` names them.

The data set is the one whose images have the size of the network's input, Fashion-MNIST or
CIFAR-10.

    python -m model.evaluate hybnn-mini
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from model import golden, graph
from model.cli import run_command, write_report
from model.data import load_split
from model.networks import NETWORKS, build

__all__ = ["PARAMETERS", "evaluate", "main"]

#: The floating-point parameters beside an integer network.
PARAMETERS = "float.npz"


def _track(steps: range, what: str):
    from rich.progress import track

    return track(steps, what, disable=not sys.stderr.isatty(), transient=True)


def _integer_labels(network: graph.Network, images: np.ndarray, batch: int = 250) -> np.ndarray:
    parts = [
        golden.scores(network, images[start : start + batch]).argmax(axis=1)
        for start in _track(range(0, len(images), batch), "integer network")
    ]
    return np.concatenate(parts)


def _torch_labels(
    name: str, checkpoint: str | Path, images: np.ndarray, batch: int = 250
) -> np.ndarray:
    import torch

    from model.checkpoint import load_parameters

    network = build(name).eval()
    load_parameters(network, checkpoint)
    parts = []
    with torch.no_grad():
        for start in _track(range(0, len(images), batch), "PyTorch"):
            pixels = images[start : start + batch].transpose(0, 3, 1, 2).copy()
            parts.append(network(torch.from_numpy(pixels)).argmax(1).numpy())
    return np.concatenate(parts)


def evaluate(
    network: graph.Network,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    checkpoint: str | Path | None = None,
) -> dict:
    """Accuracy on ``images`` as a report.

    Parameters
    ----------
    images : uint8 array (N, H, W, C)
    labels : int array (N,)
    checkpoint : path or None
        Floating-point parameters of the torch network of the same name; without them the report has
        no PyTorch figures.

    Returns
    -------
    dict
        ``integer_accuracy``; with a checkpoint also ``torch_accuracy``, ``difference_points``
        (integer less PyTorch) and ``labels_differ``, the number of images labelled differently.

    Raises
    ------
    ValueError
        The images do not suit the network, or the checkpoint is of another one.
    """
    started = time.perf_counter()
    ours = _integer_labels(network, images)
    report: dict = {
        "network": network.name,
        "digest": network.digest(),
        "images": len(images),
        "integer_accuracy": float((ours == labels).mean()),
        "integer_seconds": round(time.perf_counter() - started, 1),
    }
    if checkpoint is not None:
        if network.name not in NETWORKS:
            raise ValueError(f"there is no torch network {network.name!r} to compare with")
        theirs = _torch_labels(network.name, checkpoint, images)
        report["checkpoint"] = str(checkpoint)
        report["torch_accuracy"] = float((theirs == labels).mean())
        right = int((ours == labels).sum()) - int((theirs == labels).sum())
        report["difference_points"] = round(100 * right / len(images), 4)
        report["labels_differ"] = int((ours != theirs).sum())
    return report


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("network", help="network folder, or name of a shipped network")
    parser.add_argument(
        "--data",
        help="folder of the data sets (default: BITWRIGHT_DATA, or Debian's Fashion-MNIST)",
    )
    parser.add_argument(
        "--checkpoint",
        help=f"float parameters, .pt or .npz (default: {PARAMETERS} beside the network, if there)",
    )
    parser.add_argument("--frames", type=int, help="only the first test images")
    parser.add_argument("--out", help="report to write (default: runs/evaluate-NETWORK.json)")
    options = parser.parse_args(argv)
    if options.frames is not None and options.frames < 1:
        parser.error(f"--frames must be at least 1, not {options.frames}")
    network = graph.load(options.network)
    images, labels = load_split("test", options.data, network.types[network.input.name].shape)
    folder = Path(options.network)
    if not folder.is_dir():
        folder = graph.ZOO / options.network
    beside = folder / PARAMETERS
    checkpoint = options.checkpoint or (beside if beside.is_file() else None)
    report = evaluate(
        network, images[: options.frames], labels[: options.frames], checkpoint=checkpoint
    )
    write_report(options.out or f"runs/evaluate-{network.name}.json", report)
    print(f"integer network  {report['integer_accuracy']:.2%}  of {report['images']} images")
    if checkpoint is None:
        print("PyTorch          not known: no float parameters (--checkpoint)")
    else:
        print(
            f"PyTorch          {report['torch_accuracy']:.2%}  "
            f"({report['difference_points']:+.2f} points, {report['labels_differ']} labels differ)"
        )
    return 0


if __name__ == "__main__":
    run_command(main)
