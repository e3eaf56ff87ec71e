"""Train a network on the data set of its image size, Fashion-MNIST or CIFAR-10.

Writes ``checkpoint.pt`` after every epoch and ``report.json`` beside it. A run is fixed by its
options: interrupted and resumed, it ends in the same parameters on the same machine.

    python -m model.train hybnn-mini --epochs 30 --out runs/hybnn-mini

FracBNN takes two steps, as its authors took them: first with the weights as they are, then, from
where that ended, with their signs.

    python -m model.train fracbnn --step 1 --mirror --crop --out runs/fracbnn-1
    python -m model.train fracbnn --step 2 --mirror --crop --start runs/fracbnn-1/checkpoint.pt
"""

import argparse
import math
import os
import sys
import time
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

from model.checkpoint import load_parameters, read_checkpoint
from model.cli import run_command, write_file, write_report
from model.data import load_split
from model.networks import NETWORKS, build

__all__ = ["accuracy", "main", "train"]

#: Options that a resumed run must share with the run that it continues.
_FIXED = (
    "network", "epochs", "seed", "batch", "learning_rate", "validation", "mirror", "crop", "step",
    "schedule", "weight_decay", "gate_weight", "gate_target",
)  # fmt: skip

#: What the options are where they are not given, by the step; 0 for a network without steps.
_RECIPES = {
    0: {"epochs": 30, "learning_rate": 2e-3, "schedule": "cosine", "weight_decay": 0.0},
    1: {"epochs": 250, "learning_rate": 1e-3, "schedule": "linear", "weight_decay": 1e-5},
    2: {"epochs": 250, "learning_rate": 1e-3, "schedule": "steps", "weight_decay": 0.0},
}

#: Options that came later, and what they were before.
_DEFAULTS = {
    "crop": False, "step": 0, "schedule": "cosine", "weight_decay": 0.0, "gate_weight": 1e-5,
    "gate_target": 3.0,
}  # fmt: skip

#: Pixels of black around an image that --crop cuts from.
_BORDER = 4


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


def _batches(
    images: Tensor, labels: Tensor, size: int, seed: int, mirror: bool, crop: bool = False
):
    """Shuffled batches of full size; half of the images mirrored, each moved by some pixels."""
    # Drawn where every machine draws the same.
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(images) - size + 1, size):
        chosen = order[start : start + size].to(images.device)
        batch = images[chosen]
        if mirror:
            mirrored = torch.rand(size, 1, 1, 1, generator=generator) < 0.5
            batch = torch.where(mirrored.to(images.device), batch.flip(3), batch)
        if crop:
            corners = torch.randint(2 * _BORDER + 1, (2, size), generator=generator)
            batch = _cropped(batch, corners.to(images.device))
        yield batch, labels[chosen]


def _cropped(batch: Tensor, corners: Tensor) -> Tensor:
    """Each image with a black border, cut to its size from its corner (rows, columns) on."""
    size, _, height, width = batch.shape
    padded = functional.pad(batch, (_BORDER,) * 4).permute(0, 2, 3, 1)
    rows = corners[0][:, None] + torch.arange(height, device=batch.device)
    columns = corners[1][:, None] + torch.arange(width, device=batch.device)
    images = torch.arange(size, device=batch.device)[:, None, None]
    return padded[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _learning_rate(schedule: str, peak: float, epoch: int, index: int, of: tuple[int, int]):
    """Learning rate at batch ``index`` of ``epoch``, ``of`` so many epochs and batches in each.

    ``cosine``: one epoch of linear warm-up, then half a cosine down to 0. ``linear``: down to 0,
    epoch by epoch. ``steps``: a tenth at 40 %, 60 % and 80 % of the epochs.
    """
    epochs, batches = of
    if schedule == "linear":
        return peak * (1 - epoch / epochs)
    if schedule == "steps":
        return peak * 0.1 ** sum(10 * epoch >= tenths * epochs for tenths in (4, 6, 8))
    step, steps = epoch * batches + index, epochs * batches
    if step < batches:
        return peak * (step + 1) / batches
    return peak / 2 * (1 + math.cos(math.pi * (step - batches) / max(1, steps - batches)))


def _gate_loss(network: nn.Module, weight: float, target: float) -> Tensor | float:
    """``weight/2 * |thresholds - target|**2``: pulls the gates of a fractional network closed."""
    if not weight or not hasattr(network, "thresholds"):
        return 0.0
    return weight / 2 * sum(((t - target) ** 2).sum() for t in network.thresholds())


def _prepare(options: argparse.Namespace) -> nn.Module:
    """The network to train, its options made complete."""
    torch.set_num_threads(options.threads)
    # What deterministic matrix products on a GPU ask for.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(options.seed)
    network = build(options.network)
    has_steps = hasattr(network, "binarize")
    if options.step and not has_steps:
        raise ValueError(f"--step is for networks of two steps, which {options.network} is not")
    options.step = options.step or (2 if has_steps else 0)
    for key, value in _RECIPES[options.step].items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    if has_steps:
        network.binarize(options.step == 2)
    if options.start:
        load_parameters(network, options.start)
    try:
        return network.to(options.device, memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {options.device!r} cannot be used: {reason}") from None


def train(options: argparse.Namespace) -> dict:
    """Train as the command line's ``options`` say; return the report.

    Raises
    ------
    ValueError
        An option or a file is bad, or the loss is no longer finite: the checkpoint of the last
        complete epoch stays.
    """
    out = Path(options.out)
    checkpoint = out / "checkpoint.pt"
    network = _prepare(options)
    optimizer = torch.optim.Adam(
        network.parameters(), options.learning_rate, weight_decay=options.weight_decay
    )
    fixed = {key: getattr(options, key) for key in _FIXED}
    history: list[dict] = []
    if options.resume:
        history = _resume(checkpoint, network, optimizer, fixed)
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint} exists: continue it with --resume, or name another --out")

    images, labels = load_split("train", options.data, network.image)
    split = len(images) - options.validation
    steps_an_epoch = split // options.batch
    if steps_an_epoch < 1:
        raise ValueError(
            f"{len(images)} training images less {options.validation} for validation do not make "
            f"a batch of {options.batch}"
        )
    pixels = _tensor(images[:split]).to(options.device)
    targets = torch.from_numpy(labels[:split]).to(options.device)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # A bar for each epoch on a terminal, one line for each epoch everywhere.
    with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as progress:
        for epoch in range(len(history), options.epochs):
            started = time.perf_counter()
            task = progress.add_task(f"epoch {epoch + 1}", total=steps_an_epoch)
            network.train()
            losses, right = 0.0, 0
            seed = options.seed * 1000 + epoch
            batches = _batches(pixels, targets, options.batch, seed, options.mirror, options.crop)
            for index, (x, y) in enumerate(batches):
                of = options.epochs, steps_an_epoch
                rate = _learning_rate(options.schedule, options.learning_rate, epoch, index, of)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                scores = network(x)
                loss = functional.cross_entropy(scores, y)
                loss = loss + _gate_loss(network, options.gate_weight, options.gate_target)
                if not torch.isfinite(loss):
                    kept = f"{checkpoint} holds the epoch before" if history else "nothing is kept"
                    step = epoch * steps_an_epoch + index
                    raise ValueError(
                        f"the loss is {loss.item()} at step {step} (epoch {epoch + 1}); {kept}"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses += loss.item()
                right += int((scores.argmax(1) == y).sum())
                progress.advance(task)
            progress.remove_task(task)
            entry = {
                "epoch": epoch + 1,
                "loss": round(losses / steps_an_epoch, 4),
                "train_accuracy": round(right / (steps_an_epoch * options.batch), 4),
            }
            if options.validation:
                entry["validation_accuracy"] = accuracy(network, images[split:], labels[split:])
            entry["seconds"] = round(time.perf_counter() - started, 1)
            history.append(entry)
            _write_checkpoint(checkpoint, network, optimizer, fixed, history)
            progress.console.print(
                " ".join(f"{key} {value}" for key, value in entry.items()),
                highlight=False,
                soft_wrap=True,
            )

    report = {
        **fixed,
        "parameters": sum(p.numel() for p in network.parameters()),
        "test_accuracy": accuracy(network, *load_split("test", options.data, network.image)),
        "seconds": round(sum(entry["seconds"] for entry in history), 1),
        "threads": options.threads,
        "torch": torch.__version__,
        "history": history,
    }
    write_report(out / "report.json", report)
    return report


def _write_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, fixed: dict, history: list
) -> None:
    content = {
        "parameters": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "options": fixed,
        "history": history,
    }
    write_file(path, lambda partial: torch.save(content, partial))


def _resume(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, fixed: dict
) -> list[dict]:
    """Continue from a checkpoint; return the history of the epochs that are done."""
    content = read_checkpoint(path)
    for key, value in fixed.items():
        # A run of before there was this option had its default.
        before = content["options"].get(key, _DEFAULTS.get(key))
        if before != value:
            raise ValueError(
                f"{path} was trained with {key} {before}: it cannot be resumed with {value}"
            )
    network.load_state_dict(content["parameters"])
    optimizer.load_state_dict(content["optimizer"])
    return content["history"]


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--epochs", type=_count, help="default: 30, or 250 for FracBNN's steps")
    parser.add_argument(
        "--step",
        type=int,
        choices=(1, 2),
        help="of FracBNN: 1 with weights as they are, 2 with their signs (default: 2)",
    )
    parser.add_argument("--start", help="parameters to start from, .pt or .npz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=_count, default=128)
    parser.add_argument(
        "--learning-rate", type=float, help="at its peak (default: 0.002, or 0.001 for FracBNN)"
    )
    parser.add_argument(
        "--schedule",
        choices=("cosine", "linear", "steps"),
        help="of the learning rate (default: cosine; FracBNN linear in step 1, steps in step 2)",
    )
    parser.add_argument(
        "--weight-decay", type=float, help="default: 0, or 1e-5 in step 1 of FracBNN"
    )
    parser.add_argument(
        "--gate-weight",
        type=float,
        default=1e-5,
        help="of the pull that closes FracBNN's gates (default: 1e-5)",
    )
    parser.add_argument(
        "--gate-target",
        type=float,
        default=3.0,
        help="where it pulls the gates' thresholds (default: 3)",
    )
    parser.add_argument(
        "--validation",
        type=int,
        default=2000,
        help="training images held out and scored after every epoch (default: 2000)",
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="mirror half of the training images, at random (more data for larger networks)",
    )
    parser.add_argument(
        "--crop",
        action="store_true",
        help=f"cut each training image at random from one with {_BORDER} black pixels around it",
    )
    parser.add_argument(
        "--data",
        help="folder of the data sets (default: BITWRIGHT_DATA, or Debian's Fashion-MNIST)",
    )
    parser.add_argument("--device", default="cpu", help="of PyTorch: cpu, cuda ... (default: cpu)")
    parser.add_argument("--out", help="folder to write (default: runs/NETWORK)")
    parser.add_argument("--resume", action="store_true", help="continue --out's checkpoint")
    parser.add_argument(
        "--threads",
        type=_count,
        default=1,
        help="CPU threads (default: 1; part of what makes a run repeatable)",
    )
    options = parser.parse_args(argv)
    options.out = options.out or f"runs/{options.network}"
    if not 0 <= options.validation <= 50_000:
        parser.error(f"--validation must lie in 0..50000, not {options.validation}")
    if options.learning_rate is not None and not 0 < options.learning_rate < 1:
        parser.error(f"--learning-rate must lie between 0 and 1, not {options.learning_rate}")
    report = train(options)
    print(f"test accuracy {report['test_accuracy']:.2%}, report in {options.out}/report.json")
    return 0


if __name__ == "__main__":
    run_command(main)
