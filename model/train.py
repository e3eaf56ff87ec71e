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
import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import islice
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
from torch.nn import functional

from model import detection
from model.checkpoint import load_matching, load_parameters, save_parameters
from model.cli import run_command, write_report
from model.data import load_split
from model.networks import build
from model.training import command, files
from model.training.classes import Classes
from model.training.distributed import agreed, processes, share_of, spread
from model.training.fitting import fitting_epochs
from model.training.lineage import lineage
from model.training.optimize import Average, fit_steps, learning_rate, make_optimizer
from model.training.recipes import FIXED, complete, named
from model.training.recorded import Recorded
from model.training.ships import Ships

__all__ = ["accuracy", "functional", "main", "train"]

#: Steps between two looks at the loss, by the kind of device: looking stops a GPU.
_LOOK = {"cpu": 1, "cuda": 50}


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


def _device(options: argparse.Namespace) -> torch.device:
    try:
        device = torch.device(options.device)
        if device.type == "cuda" and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {options.device!r} cannot be used: {reason}") from None
    return device


def _prepare(options: argparse.Namespace, device: torch.device) -> tuple[nn.Module, set[str]]:
    """The network to train, its options made complete; names of the parameters trained before."""
    torch.set_num_threads(options.threads)
    if options.fast:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    else:
        # What deterministic matrix products on a GPU ask for.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.manual_seed(options.seed)
    network = build(options.network)
    has_steps = hasattr(network, "binarize")
    if options.step and not has_steps:
        raise ValueError(f"--step is for networks of two steps, which {options.network} is not")
    options.step = options.step or (2 if has_steps else 0)
    complete(options, options.step)
    if has_steps:
        network.binarize(options.step == 2)
    if hasattr(network, "straight_through"):
        network.straight_through(options.gradient)
    elif options.gradient != "quadratic":
        raise ValueError(f"--gradient is for networks with signs, which {options.network} is not")
    known: set[str] = set()
    if options.start:
        load_parameters(network, options.start)
        known = set(network.state_dict())
    elif named(options.warm_start):
        known = load_matching(network, options.warm_start)
        print(f"{len(known)} of {len(network.state_dict())} arrays as in {options.warm_start}")
    return network.to(device, memory_format=torch.channels_last), known


def _boxes(network: nn.Module) -> tuple:
    """What a detector's map is made of; nothing of a network that labels images."""
    anchors = getattr(network, "anchors", ())
    return (network.stride, anchors) if anchors else ()


def _teacher(
    options: argparse.Namespace, student: nn.Module, device: torch.device
) -> nn.Module | None:
    if not named(options.teacher):
        return None
    teacher = build(options.teacher_network)
    load_parameters(teacher, options.teacher)
    if teacher.image != student.image:
        raise ValueError(f"{options.teacher_network} does not see what {options.network} sees")
    if _boxes(teacher) != _boxes(student):
        raise ValueError(
            f"{options.teacher_network} cannot teach {options.network}: it must have the same "
            "stride and anchors"
        )
    return teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


class _Epochs:
    """One run: its network, data and state, and how an epoch of it goes."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.rank, self.world = share_of()
        self.device = _device(options)
        if options.record and (self.device.type != "cuda" or self.world > 1):
            raise ValueError("--record is for one process on a CUDA device: leave it out here")
        if options.fill and (options.minutes is None or self.world > 1):
            raise ValueError("--fill needs --minutes to fill, and is for one process")
        self.network, self.known = _prepare(options, self.device)
        self.begin()
        self.teacher = _teacher(options, self.network, self.device)
        if options.batch % self.world:
            raise ValueError(
                f"batch must be a multiple of {self.world} processes, not {options.batch}"
            )
        self.task = (Ships if _boxes(self.network) else Classes)(options, self.network, self.device)
        self.steps = self.task.steps

    def begin(self) -> None:
        """Make what follows the network through a training: optimizer and averages."""
        options = self.options
        self.optimizer = make_optimizer(self.network, options)
        self.average = Average(self.network, options.ema) if options.ema else None

    def precision(self):
        """Convolutions and products in bfloat16 where ``--amp`` says so."""
        if not self.options.amp:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def passes(self, forward: nn.Module, x: Tensor, y) -> tuple[Tensor, Tensor, Tensor]:
        """Forward and backward through the network: loss, what it has right, and of how many."""
        with self.precision():
            with torch.no_grad():
                taught = None if self.teacher is None else self.teacher(x)
            scores = forward(x)
        loss, good, count = self.task.loss(scores, y, taught)
        self.optimizer.zero_grad()
        loss.backward()
        return loss.detach(), good, count

    def run(
        self, passes: Callable, epoch: int, advance, kept: str, batches: int | None = None
    ) -> dict:
        """Train one epoch, or only its first batches, ``passes`` for each; the numbers of its loss
        and accuracy."""
        options, batches = self.options, batches or self.steps
        self.network.train()
        losses = torch.zeros(batches, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        seen = torch.zeros_like(right)
        look = _LOOK.get(self.device.type, 1)
        looked = 0
        parts = self.task.batches(epoch, (self.rank, self.world))
        for index, (x, y) in enumerate(islice(parts, batches)):
            of = options.epochs, self.steps
            rate = learning_rate(options.schedule, options.learning_rate, epoch, index, of)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            loss, good, count = passes(x, y)
            losses[index] = loss
            if (index + 1) % look == 0 or index + 1 == batches:
                finite = torch.isfinite(losses[looked : index + 1])
                if not finite.all():
                    at = looked + int((~finite).nonzero()[0])
                    step = epoch * self.steps + at
                    raise ValueError(
                        f"the loss is {losses[at].item()} at step {step} (epoch {epoch + 1}); "
                        f"{kept}"
                    )
                looked = index + 1
            self.optimizer.step()
            if self.average is not None:
                self.average.update()
            right += good
            seen += count
            advance()
        return {
            "epoch": epoch + 1,
            "loss": round(losses.mean().item(), 4),
            self.task.metric: round(right.item() / seen.item(), 4),
        }

    def used(self) -> nn.Module:
        """The network with the parameters to use: the averages, where there are any."""
        if self.average is None:
            return self.network
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average.values)
        return network


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
    run = _Epochs(options)
    fixed = {key: getattr(options, key) for key in FIXED}
    try:
        before = lineage(fixed)
    except ValueError:
        before = None  # It may train nonetheless; what publishes it says what is missing.
    history: list[dict] = []
    if options.resume:
        history = files.resume(checkpoint, run.network, run.optimizer, run.average, fixed)
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint} exists: continue it with --resume, or name another --out")
    else:
        if not run.known and hasattr(run.network, "whiten"):
            run.network.whiten(run.task.images[:5000])
        if options.fit_steps:
            fit_steps(run.network, run.task.images[: options.batch], run.known)
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
    return _finish(options, run, fixed | {"before": before}, history)


def _train(run: _Epochs, fixed: dict, history: list, progress: Progress, begun: float) -> bool:
    """Train the epochs that are left; False where the minutes ended before.

    What averages the gradients of all processes lives in here, and so ends before they part.
    """
    options, out, last = run.options, Path(run.options.out), 0.0
    checkpoint = out / "checkpoint.pt"
    forward = spread(run.network, run.device)
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


def _fitting(run: _Epochs, passes: Callable, until: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "checkpoint.pt"

        def some(batches: int) -> None:
            run.run(passes, 0, lambda: None, "nothing is kept", batches)
            files.write_checkpoint(trial, run.network, run.optimizer, run.average, {}, [])

        return fitting_epochs(run.network, some, run.steps, until)


def _test(options: argparse.Namespace, network: nn.Module) -> dict:
    if not _boxes(network):
        split = load_split("test", options.data, network.image)
        return {"test_accuracy": accuracy(network, *split)}
    scenes, parts = detection.test_scenes(options.data, network.image[0])
    found = detection.torch_detections(network, scenes.images)
    return {"test": detection.measure(found, scenes, parts)}


def _finish(options: argparse.Namespace, run: _Epochs, fixed: dict, history: list) -> dict:
    out, network = Path(options.out), run.used()
    files.draw_curves(out / "curves.png", options.network, history)
    report = {
        **fixed,
        "parameters": sum(p.numel() for p in network.parameters()),
        **_test(options, network),
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
