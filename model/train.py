"""Train a network on the data set of its image size: Fashion-MNIST, CIFAR-10, or, where it is a
detector, SSDD.

    python -m model.train hybnn-mini --epochs 30 --out runs/hybnn-mini

What the command line leaves open is the network's recipe (:mod:`model.training.recipes`). The
networks of the HyBNN family learn from a float network that the same script trains before:

    python -m model.train teacher --device cuda --fast
    python -m model.train hybnn --device cuda --fast        # or fourbit, basebnn

``--teacher none`` does without. FracBNN takes two steps, as its authors took them, and networks
with binary weights can: first with the weights as they are, then, from where that ended, with
their signs.

    python -m model.train fracbnn --step 1 --out runs/fracbnn-1
    python -m model.train fracbnn --step 2 --start runs/fracbnn-1/checkpoint.pt

Writes ``checkpoint.pt`` and ``log.json`` after every epoch and ``curves.png`` where it stops; at
the end ``float.npz``, the parameters alone, and ``report.json``. A run is fixed by its options:
interrupted, or stopped by ``--minutes``, and resumed, it ends in the same parameters on the same
machine, but for ``--fast``. Under ``torchrun`` every process takes its share of each batch.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn

from model import detection
from model.checkpoint import save_parameters
from model.cli import run_command, write_report
from model.data import load_split
from model.training import command, files
from model.training.distributed import agreed, processes, spread
from model.training.epochs import Epochs, boxes_of
from model.training.fitting import fitting_epochs
from model.training.lineage import lineage
from model.training.optimize import fit_steps
from model.training.recipes import FIXED
from model.training.recorded import Recorded

__all__ = ["accuracy", "main", "train"]


def _tensor(images: np.ndarray) -> Tensor:
    """(N, H, W, C) numpy to (N, C, H, W) torch."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


@torch.no_grad()
def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of ``images`` (N, H, W, C) that the network, in evaluation mode, labels correctly."""
    network.eval()
    device = next(network.parameters()).device
    right = 0
    for start in range(0, len(images), 250):
        scores = network(_tensor(images[start : start + 250]).to(device))
        right += int((scores.argmax(1).cpu().numpy() == labels[start : start + 250]).sum())
    return right / len(images)


def train(options: argparse.Namespace) -> dict | None:
    """Train as the command line's ``options`` say; return the report.

    Returns
    -------
    dict, or None where ``--minutes`` ended the run before its last epoch

    Raises
    ------
    ValueError
        An option or a file is bad, or the loss is no longer finite: the checkpoint of the last
        complete epoch stays.
    """
    begun = time.perf_counter()
    checkpoint = Path(options.out) / "checkpoint.pt"
    run = Epochs(options)
    # Before the first epoch: what is missing is not to be found missing after the last one.
    tested = _test_set(options, run.network)
    fixed = {key: getattr(options, key) for key in FIXED}
    history: list[dict] = []
    kept: dict = {}
    if options.resume:
        if options.fill:
            del fixed["epochs"]  # Those that were to fit when it began.
        history, kept = files.resume(checkpoint, run.network, run.optimizer, run.average, fixed)
        fixed["epochs"] = options.epochs = kept["epochs"]
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint} exists: continue it with --resume, or name another --out")
    else:
        if not run.known and hasattr(run.network, "whiten"):
            run.network.whiten(run.task.images[:5000])
        if options.fit_steps:
            fit_steps(run.network, run.task.images[: options.batch], run.known)
    fixed["start"] = kept.get("start", options.start)
    if "before" in kept:
        fixed["before"] = kept["before"]
    else:
        try:
            fixed["before"] = lineage(fixed)
        except ValueError:
            # It may train nonetheless; what publishes it says what is missing.
            fixed["before"] = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    quiet = not sys.stderr.isatty() or run.rank > 0
    # A bar for each epoch on a terminal, one line for each epoch everywhere.
    with Progress(*columns, transient=True, disable=quiet) as progress, processes(run.device):
        done = _train(run, fixed, history, progress, begun)
    if not done or run.rank:
        return None
    return _finish(run, fixed, history, tested)


def _train(run: Epochs, fixed: dict, history: list, progress: Progress, begun: float) -> bool:
    """Train the epochs that are left; False where the minutes ended before.

    What averages the gradients of all processes lives in here, and so ends before they part.
    """
    options, out, last = run.options, Path(run.options.out), 0.0
    checkpoint = out / "checkpoint.pt"
    forward = spread(run.trained(), run.device)
    if options.compile:
        forward = torch.compile(forward)
        run.teacher = None if run.teacher is None else torch.compile(run.teacher)
    passes = partial(run.passes, forward)
    if options.record:
        passes = Recorded(passes, run.network)
    if options.fill and not history:
        fixed["epochs"] = options.epochs = _fitting(run, passes, begun + options.minutes * 60)
        run.begin()
        progress.console.print(f"{options.epochs} epochs fit into {options.minutes:g} minutes")
    for epoch in range(len(history), options.epochs):
        started = time.perf_counter()
        left = None if options.minutes is None else options.minutes * 60 - (started - begun)
        # The first epoch of a call may have compiled: the last one tells how long the next takes.
        late = left is not None and last > 0 and left < 1.1 * last
        if agreed(late, run.device):
            if run.rank == 0:
                files.draw_curves(out / "curves.png", options.network, history)
                print(f"stopped after {epoch} of {options.epochs} epochs: go on with --resume")
            return False
        task = progress.add_task(f"epoch {epoch + 1}", total=run.steps)
        kept = f"{checkpoint} holds the epoch before" if history else "nothing is kept"
        entry = run.run(passes, epoch, lambda task=task: progress.advance(task), kept)
        progress.remove_task(task)
        if options.validation:
            entry["validation_accuracy"] = accuracy(run.used(), *run.task.held_out)
        last = time.perf_counter() - started
        entry["seconds"] = round(last, 2)
        history.append(entry)
        if run.rank:
            continue
        files.write_checkpoint(checkpoint, run.network, run.optimizer, run.average, fixed, history)
        write_report(out / "log.json", {**fixed, "history": history})
        progress.console.print(
            " ".join(f"{key} {value}" for key, value in entry.items()),
            highlight=False,
            soft_wrap=True,
        )
    return True


def _fitting(run: Epochs, passes: Callable, until: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "checkpoint.pt"

        def some(batches: int) -> None:
            run.run(passes, 0, lambda: None, "nothing is kept", batches)
            if run.options.validation:
                accuracy(run.used(), *run.task.held_out)
            files.write_checkpoint(trial, run.network, run.optimizer, run.average, {}, [])

        return fitting_epochs(run.network, some, run.steps, until)


def _test_set(options: argparse.Namespace, network: nn.Module) -> tuple:
    """What a network is measured on in the end: images and labels, or scenes and parts of them."""
    if not boxes_of(network):
        return load_split("test", options.data, network.image)
    return detection.test_scenes(options.data, network.image[0])


def _test(network: nn.Module, tested: tuple) -> dict:
    if not boxes_of(network):
        return {"test_accuracy": accuracy(network, *tested)}
    scenes, parts = tested
    found = detection.torch_detections(network, scenes.images)
    return {"test": detection.measure(found, scenes, parts)}


def _finish(run: Epochs, fixed: dict, history: list, tested: tuple) -> dict:
    options, out, network = run.options, Path(run.options.out), run.used()
    files.draw_curves(out / "curves.png", options.network, history)
    report = {
        **fixed,
        "parameters": sum(p.numel() for p in network.parameters()),
        **_test(network, tested),
        "seconds": round(sum(entry["seconds"] for entry in history), 1),
        "threads": options.threads,
        "device": options.device,
        "torch": torch.__version__,
        "history": history,
    }
    save_parameters(network.cpu(), out / "float.npz")
    write_report(out / "report.json", report)
    return report


def main(argv: list[str] | None = None) -> int:
    options = command.parse(__doc__, argv)
    report = train(options)
    if report is not None:
        figure = (
            f"test accuracy {report['test_accuracy']:.2%}"
            if "test_accuracy" in report
            else f"test AP50 {report['test']['test']['ap50']:.2%}"
        )
        print(f"{figure}, report in {options.out}/report.json")
    return 0


if __name__ == "__main__":
    run_command(main)
