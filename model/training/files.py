"""What a training writes: checkpoints, its log, a picture of its curves."""

from pathlib import Path

import torch
from torch import nn

from model.checkpoint import check_parameters, read_checkpoint
from model.cli import write_file
from model.training.optimize import Average
from model.training.recipes import BEFORE

__all__ = ["draw_curves", "resume", "write_checkpoint"]


def write_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    fixed: dict,
    history: list,
) -> None:
    """``parameters`` are those to use: the averages, where there are any."""
    content = {
        "parameters": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "options": fixed,
        "history": history,
    }
    if average is not None:
        content |= {
            "parameters": average.values,
            "live": network.state_dict(),
            "updates": average.updates,
        }
    write_file(path, lambda partial: torch.save(content, partial))


def resume(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    fixed: dict,
) -> tuple[list[dict], dict]:
    """Continue from a checkpoint; return the history of the epochs that are done, and what was
    written with it of the run's options.

    Raises
    ------
    ValueError
        It is missing or damaged, or of a run with other options or of another network.
    """
    content = read_checkpoint(path)
    for key in ("optimizer", "options", "history"):
        if key not in content:
            raise ValueError(f"{path} holds parameters alone: it cannot be resumed")
    for key, value in fixed.items():
        # A run of before there was this option had its default.
        before = content["options"].get(key, BEFORE.get(key))
        if before != value:
            raise ValueError(
                f"{path} was trained with {key} {before}: it cannot be resumed with {value}"
            )
    parameters = content["live" if average is not None else "parameters"]
    check_parameters(network, parameters, path)
    network.load_state_dict(parameters)
    optimizer.load_state_dict(content["optimizer"])
    if average is not None:
        average.updates = content["updates"]
        for key, value in content["parameters"].items():
            average.values[key].copy_(value)
    return content["history"], content["options"]


def draw_curves(path: Path, title: str, history: list[dict]) -> None:
    """Loss and accuracies over the epochs, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    losses.plot(epochs, [entry["loss"] for entry in history])
    losses.set(title=title, xlabel="epoch", ylabel="loss")
    for key in ("train_accuracy", "train_recall", "validation_accuracy"):
        points = [(entry["epoch"], 100 * entry[key]) for entry in history if key in entry]
        if points:
            accuracies.plot(*zip(*points, strict=True), label=key.replace("_", " "))
    accuracies.set(xlabel="epoch", ylabel="%")
    accuracies.legend()
    for axes in (losses, accuracies):
        axes.grid(alpha=0.3)
    write_file(path, lambda partial: figure.savefig(partial, dpi=120))
