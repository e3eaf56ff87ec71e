"""Accuracy of a network on the test images of its data set: the integer network's, and PyTorch's.

The integer network runs through :mod:`model.golden`. The PyTorch figure needs the trained
floating-point parameters: a shipped network has them beside it, else ``--checkpoint`` names them.

The data set is the one whose images have the size of the network's input, Fashion-MNIST or
CIFAR-10. Of a detector it is SSDD, and the figures are COCO's: AP50 and AP50:95, on all test
images and on those inshore and offshore.

    python -m model.evaluate hybnn-mini
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from model import cifar10, golden, graph
from model.cli import run_command, track, write_report
from model.data import dataset_folder, load_split
from model.networks import NETWORKS, build, is_detector

__all__ = ["PARAMETERS", "evaluate", "exact_images", "main"]

#: The floating-point parameters beside an integer network.
PARAMETERS = "float.npz"


def _integer_labels(network: graph.Network, images: np.ndarray, workers: int) -> np.ndarray:
    starts = range(0, len(images), golden.BATCH)

    def labels(start: int) -> np.ndarray:
        return golden.scores(network, images[start : start + golden.BATCH]).argmax(axis=1)

    # numpy lets other threads run while it computes.
    with ThreadPoolExecutor(workers) as pool:
        try:
            parts = list(track(pool.map(labels, starts), "integer network", len(starts)))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # An interrupt does not wait for all frames.
            raise
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
        for start in track(starts := range(0, len(images), batch), "PyTorch", len(starts)):
            pixels = images[start : start + batch].transpose(0, 3, 1, 2).copy()
            parts.append(network(torch.from_numpy(pixels)).argmax(1).numpy())
    return np.concatenate(parts)


def evaluate(
    network: graph.Network,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    checkpoint: str | Path | None = None,
    exact: np.ndarray | None = None,
    workers: int = 1,
) -> dict:
    """Accuracy on ``images`` as a report.

    Parameters
    ----------
    images : uint8 array (N, H, W, C)
    labels : int array (N,)
    checkpoint : path or None
        Floating-point parameters of the torch network of the same name; without them the report has
        no PyTorch figures.
    exact : int array or None
        Numbers of the images to state the accuracy of by themselves, too.
    workers : int
        Threads that execute the integer network.

    Returns
    -------
    dict
        ``integer_accuracy``, and ``integer_accuracy_exact`` where there is ``exact``. With a
        checkpoint also ``torch_accuracy``, ``difference_points`` (integer less PyTorch) and
        ``labels_differ``, the number of images labelled differently.

    Raises
    ------
    ValueError
        The images do not suit the network, or the checkpoint is of another one.
    """
    started = time.perf_counter()
    ours = _integer_labels(network, images, workers)
    report: dict = {
        "network": network.name,
        "digest": network.digest(),
        "images": len(images),
        "integer_accuracy": float((ours == labels).mean()),
        "integer_seconds": round(time.perf_counter() - started, 1),
    }
    if exact is not None:
        report["exact_images"] = len(exact)
        report["integer_accuracy_exact"] = float((ours == labels)[exact].mean())
    if checkpoint is not None:
        if network.name not in NETWORKS:
            raise ValueError(f"there is no torch network {network.name!r} to compare with")
        theirs = _torch_labels(network.name, checkpoint, images)
        report["checkpoint"] = str(checkpoint)
        report["torch_accuracy"] = float((theirs == labels).mean())
        if exact is not None:
            report["torch_accuracy_exact"] = float((theirs == labels)[exact].mean())
        right = int((ours == labels).sum()) - int((theirs == labels).sum())
        report["difference_points"] = round(100 * right / len(images), 4)
        report["labels_differ"] = int((ours != theirs).sum())
    return report


def exact_images(
    image: tuple[int, int, int], folder: str | Path | None, frames: int
) -> np.ndarray | None:
    """Which of the first ``frames`` test images have exact pixels, where not all of them have."""
    if image != (32, 32, 3):
        return None
    numbers = cifar10.exact_test(dataset_folder(cifar10.FOLDER, folder))
    if numbers is None or not (numbers < frames).any():
        return None
    return numbers[numbers < frames]


def _ships(network: graph.Network, options, checkpoint: Path | None, out: str) -> int:
    from model import detection

    report = detection.report(
        network,
        options.data,
        checkpoint=checkpoint,
        pictures=options.pictures,
        frames=options.frames,
        workers=options.workers,
    )
    write_report(out, report)
    for key, name in (("integer", "integer network"), ("torch", "PyTorch")):
        for part, figures in report.get(key, {}).items():
            print(
                f"{name:15}  AP50 {figures['ap50']:.2%}  AP50:95 {figures['ap50_95']:.2%}  {part}"
            )
    return 0


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
    parser.add_argument(
        "--workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        help="threads of the integer network (default: %(default)s)",
    )
    parser.add_argument("--frames", type=int, help="only the first test images")
    parser.add_argument("--pictures", help="of a detector: picture of boxes to write, .png")
    parser.add_argument("--out", help="report to write (default: runs/evaluate-NETWORK.json)")
    options = parser.parse_args(argv)
    if options.frames is not None and options.frames < 1:
        parser.error(f"--frames must be at least 1, not {options.frames}")
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, not {options.workers}")
    if options.pictures and Path(options.pictures).suffix != ".png":
        parser.error(f"--pictures must end in .png, not {options.pictures}")
    network = graph.load(options.network)
    if options.pictures and not is_detector(network.name):
        parser.error(f"--pictures is for detectors, which {network.name} is not")
    folder = Path(options.network)
    if not folder.is_dir():
        folder = graph.ZOO / options.network
    beside = folder / PARAMETERS
    checkpoint = options.checkpoint or (beside if beside.is_file() else None)
    out = options.out or f"runs/evaluate-{network.name}.json"
    if is_detector(network.name):
        return _ships(network, options, checkpoint, out)
    images, labels = load_split("test", options.data, network.types[network.input.name].shape)
    images, labels = images[: options.frames], labels[: options.frames]
    report = evaluate(
        network,
        images,
        labels,
        checkpoint=checkpoint,
        exact=exact_images(images.shape[1:], options.data, len(images)),
        workers=options.workers,
    )
    write_report(out, report)
    print(f"integer network  {report['integer_accuracy']:.2%}  of {report['images']} images")
    for what, name in (("integer", "integer network"), ("torch", "PyTorch")):
        if f"{what}_accuracy_exact" in report:
            share, count = report[f"{what}_accuracy_exact"], report["exact_images"]
            print(f"{name:15}  {share:.2%}  of the {count} with exact pixels")
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
