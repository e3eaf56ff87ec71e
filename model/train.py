"""Train a network on Fashion-MNIST.

Writes ``checkpoint.pt`` after every epoch and ``report.json`` beside it. A run is fixed by its
options: interrupted and resumed, it ends in the same parameters on the same machine.

    python -m model.train hybnn-mini --epochs 30 --out runs/hybnn-mini
"""

import argparse
import math
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

from model.checkpoint import read_checkpoint
from model.cli import run_command, write_file, write_report
from model.data import load_split
from model.networks import NETWORKS, build

__all__ = ["accuracy", "main", "train"]

#: Options that a resumed run must share with the run that it continues.
_FIXED = ("network", "epochs", "seed", "batch", "learning_rate", "validation", "mirror")


def _tensor(images: np.ndarray) -> Tensor:
    """(N, H, W, C) numpy to (N, C, H, W) torch."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


@torch.no_grad()
def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of ``images`` (N, H, W, C) that the network, in evaluation mode, labels correctly."""
    network.eval()
    right = 0
    for start in range(0, len(images), 250):
        scores = network(_tensor(images[start : start + 250]))
        right += int((scores.argmax(1).numpy() == labels[start : start + 250]).sum())
    return right / len(images)


def _batches(images: Tensor, labels: Tensor, size: int, seed: int, mirror: bool):
    """Shuffled batches of full size, with ``mirror`` half of the images mirrored."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(images) - size + 1, size):
        chosen = order[start : start + size]
        batch = images[chosen]
        if mirror:
            mirrored = torch.rand(size, 1, 1, 1, generator=generator) < 0.5
            batch = torch.where(mirrored, batch.flip(3), batch)
        yield batch, labels[chosen]


def _learning_rate(peak: float, step: int, steps: int, warm_up: int) -> float:
    """Linear warm-up, then half a cosine down to 0."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak / 2 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


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
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(options.seed)
    network = build(options.network).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), options.learning_rate)
    fixed = {key: getattr(options, key) for key in _FIXED}
    history: list[dict] = []
    if options.resume:
        history = _resume(checkpoint, network, optimizer, fixed)
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint} exists: continue it with --resume, or name another --out")

    images, labels = load_split("train", options.data)
    split = len(images) - options.validation
    steps_an_epoch = split // options.batch
    if steps_an_epoch < 1:
        raise ValueError(
            f"{len(images)} training images less {options.validation} for validation do not make "
            f"a batch of {options.batch}"
        )
    pixels, targets = _tensor(images[:split]), torch.from_numpy(labels[:split])
    steps = options.epochs * steps_an_epoch
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
            batches = _batches(pixels, targets, options.batch, seed, options.mirror)
            for index, (x, y) in enumerate(batches):
                step = epoch * steps_an_epoch + index
                rate = _learning_rate(options.learning_rate, step, steps, steps_an_epoch)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                scores = network(x)
                loss = functional.cross_entropy(scores, y)
                if not torch.isfinite(loss):
                    kept = f"{checkpoint} holds the epoch before" if history else "nothing is kept"
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
        "test_accuracy": accuracy(network, *load_split("test", options.data)),
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
        before = content["options"].get(key)
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
    parser.add_argument("--epochs", type=_count, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=_count, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
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
        "--data", help="folder of the IDX files (default: BITWRIGHT_DATA, or Debian's)"
    )
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
    if not 0 < options.learning_rate < 1:
        parser.error(f"--learning-rate must lie between 0 and 1, not {options.learning_rate}")
    report = train(options)
    print(f"test accuracy {report['test_accuracy']:.2%}, report in {options.out}/report.json")
    return 0


if __name__ == "__main__":
    run_command(main)
