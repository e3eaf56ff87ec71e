"""Measure every shipped network again and compare it with its card.

    python -m model.zoo_check [NETWORK ...]

Needs the data sets that the networks were measured on; one that is not there is an error.
"""

import argparse
import os
import re
from pathlib import Path

from model import graph
from model.cli import run_command, write_report
from model.data import load_split
from model.evaluate import PARAMETERS, evaluate, exact_images

__all__ = ["check", "main", "read_card"]

#: Points that PyTorch's figure may differ: its sums depend on the machine.
_FLOAT = 0.05

#: Points that the integer network may lie off PyTorch's.
_APART = 0.3

_ROWS = {
    "integer network": "integer_accuracy",
    "PyTorch": "torch_accuracy",
    "integer network, exact pixels": "integer_accuracy_exact",
    "PyTorch, exact pixels": "torch_accuracy_exact",
}


def read_card(folder: Path) -> dict[str, str]:
    """The rows of a card's tables, first column to second."""
    path = folder / "card.md"
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    return dict(re.findall(r"^\| ([^|]+?) +\| ([^|]+?) +\|", path.read_text(), re.MULTILINE))


def check(card: dict[str, str], measured: dict) -> list[str]:
    """What is not as the card says, a sentence each."""
    wrong = []
    if card.get("network digest") != f"`{measured['digest']}`":
        wrong.append("the network is not the one of the card: its digest differs")
    for row, key in _ROWS.items():
        if row not in card or key not in measured:
            if row in card:
                wrong.append(f"{row}: the card says {card[row]}, but it could not be measured")
            continue
        stated, found = float(card[row].removesuffix(" %")), 100 * measured[key]
        allowed = 0.005001 if "integer" in row else _FLOAT
        if abs(stated - found) > allowed:
            wrong.append(f"{row}: the card says {stated:.2f} %, measured {found:.2f} %")
    if abs(measured.get("difference_points", 0)) > _APART:
        wrong.append(
            f"integer network and PyTorch are {abs(measured['difference_points']):.2f} points "
            f"apart, more than {_APART}"
        )
    return wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.zoo_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="(default: all)")
    parser.add_argument("--data", help="folder of the data sets (default: BITWRIGHT_DATA)")
    parser.add_argument("--out", default="runs/zoo-check.json", help="report to write")
    options = parser.parse_args(argv)
    shipped = sorted(path.parent.name for path in graph.ZOO.glob("*/network.json"))
    reports = {}
    for name in options.networks or shipped:
        network, folder = graph.load(name), graph.ZOO / name
        shape = network.types[network.input.name].shape
        images, labels = load_split("test", options.data, shape)
        beside = folder / PARAMETERS
        measured = evaluate(
            network,
            images,
            labels,
            checkpoint=beside if beside.is_file() else None,
            exact=exact_images(shape, options.data, len(images)),
            workers=min(4, os.cpu_count() or 1),
        )
        wrong = check(read_card(folder), measured)
        reports[name] = measured | {"wrong": wrong}
        print(
            f"{name}: {measured['integer_accuracy']:.2%}, {'; '.join(wrong) or 'as its card says'}"
        )
    write_report(options.out, reports)
    return int(any(report["wrong"] for report in reports.values()))


if __name__ == "__main__":
    run_command(main)
