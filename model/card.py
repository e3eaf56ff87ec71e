"""The card of a shipped network: its figures, sizes, and what it was trained with."""

import re
from pathlib import Path

from model import graph

__all__ = ["figures", "macs", "read_before", "read_card", "weight_bits"]

_PARTS = {"test": "", "test_inshore": ", inshore", "test_offshore": ", offshore"}

_WHO = {"integer": "integer network", "torch": "PyTorch"}


def figures(measured: dict) -> dict[str, float]:
    """What was measured in per cent, by the names that cards have for it.

    Parameters
    ----------
    measured : dict
        Report of :func:`model.evaluate.evaluate`, or of :func:`model.detection.report`.
    """
    rows = {}
    for key, name in _WHO.items():
        if f"{key}_accuracy" in measured:
            rows[name] = 100 * measured[f"{key}_accuracy"]
        if f"{key}_accuracy_exact" in measured:
            rows[f"{name}, exact pixels"] = 100 * measured[f"{key}_accuracy_exact"]
        for part, values in measured.get(key, {}).items():
            rows[f"{name}, AP50{_PARTS[part]}"] = 100 * values["ap50"]
            rows[f"{name}, AP50:95{_PARTS[part]}"] = 100 * values["ap50_95"]
    return rows


def read_card(folder: Path) -> dict[str, str]:
    """The rows of a card's tables, first column to second.

    Raises
    ------
    ValueError
        There is none.
    """
    path = folder / "card.md"
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    return dict(re.findall(r"^\| ([^|]+?) +\| ([^|]+?) +\|", path.read_text(), re.MULTILINE))


def read_before(folder: Path) -> list[str]:
    """What a card's rows say of the trainings before the last one, earliest first."""
    return re.findall(r"^\| before \| (.+) \|$", (folder / "card.md").read_text(), re.MULTILINE)


def _weighted(network: graph.Network):
    """Operations with weights, the bits of one weight, and how many there are."""
    for op in network.order:
        if isinstance(op, graph.Conv | graph.Dense):
            yield op, op.weight_type.bits, op.weights.size
        elif isinstance(op, graph.FractionalConv):
            yield op, 1, op.weights.size


def weight_bits(network: graph.Network) -> dict[int, int]:
    """Weights by their bits."""
    count: dict[int, int] = {}
    for _, bits, size in _weighted(network):
        count[bits] = count.get(bits, 0) + size
    return dict(sorted(count.items()))


def macs(network: graph.Network) -> dict[str, int]:
    """Multiply-accumulates of a frame by precision, such as ``4x4``: activation, weight."""
    count: dict[str, int] = {}
    for op, bits, size in _weighted(network):
        out, x = network.types[op.name], network.types[op.inputs[0]]
        planes = 2 if isinstance(op, graph.FractionalConv) else 1
        key = f"{1 if planes == 2 else x.element.bits}x{bits}"
        number = planes * out.height * out.width * size
        count[key] = count.get(key, 0) + number
    return dict(sorted(count.items()))
