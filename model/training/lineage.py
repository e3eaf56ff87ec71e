"""What a training goes back to: the command lines of those that it begins with or learns from.

They are looked up when a training begins and kept in its report, since a shipped network that it
begins with may be another one by the time it ends.
"""

import json
from pathlib import Path

from model.card import read_before, read_card
from model.training.recipes import named, recipe

__all__ = ["command_line", "lineage", "read_report"]

#: Options that name what an earlier training made.
_FROM = ("start", "warm_start", "teacher")

#: Options that a command line names whatever the recipe is.
_ALWAYS_NAMED = ("epochs", "seed", "batch", "learning_rate", "validation", "threads")


def read_report(run: Path) -> dict:
    """What :mod:`model.train` reports of a complete training.

    Raises
    ------
    ValueError
        It is missing or damaged.
    """
    path = run / "report.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: is the training complete?")
    return _read(path)


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None


def command_line(training: dict, run: Path) -> str:
    """The command line that repeats a training."""
    network, step = training["network"], training.get("step", 0)
    usual = recipe(network, step)
    words = [f"python -m model.train {network}"]
    words += [f"--step {step}"] * (step == 1)
    for key in (*_ALWAYS_NAMED, "start", *(key for key in usual if key not in _ALWAYS_NAMED)):
        value, option = training.get(key), f"--{key.replace('_', '-')}"
        if value is None or (key not in _ALWAYS_NAMED and value == usual.get(key)):
            continue
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words.append(f"{option} {value}")
    words += [f"--out {run}"] * (run.name != network)
    return " ".join(words)


def lineage(training: dict) -> list[str]:
    """A line for each training that this one goes back to, earliest first: its command, and its
    minutes, as cards have them.

    Parameters
    ----------
    training : dict
        Options of a training.

    Raises
    ------
    ValueError
        It begins with or learns from a file that has neither report, log nor card beside it.
    """
    if training.get("before") is not None:
        return training["before"]
    lines: list[str] = []
    for key in _FROM:
        if named(training.get(key)):
            found = _made(Path(training[key]).parent)
            lines += [line for line in found if line not in lines]
    return lines


def _made(folder: Path) -> list[str]:
    """The lines of what made the parameters in a folder, of a run or of a shipped network."""
    complete = (folder / "report.json").is_file()
    if not complete and (folder / "card.md").is_file():
        rows = read_card(folder)
        return [*read_before(folder), f"{rows['command']} ({rows['time'].partition(',')[0]})"]
    # A checkpoint may be of a training that did not come to its end.
    stopped = not complete and (folder / "log.json").is_file()
    training = _read(folder / "log.json") if stopped else read_report(folder)
    history = training["history"]
    took = f"{sum(epoch['seconds'] for epoch in history) / 60:.0f} minutes"
    took += f", up to epoch {len(history)}" * stopped
    return [*lineage(training), f"`{command_line(training, folder)}` ({took})"]
