"""What the units of an accelerator take, found by synthesising each one by itself."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from boards.design import Design
from boards.levels import LongestPath
from boards.report import Layer
from boards.tools import Ticker

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """What synthesis says of an accelerator.

    Parameters
    ----------
    layers : tuple of Layer
    longest_path : LongestPath or None
    versions : dict of tool to str
    """

    layers: tuple[Layer, ...]
    longest_path: LongestPath | None
    versions: dict[str, str]


def estimate(design: Design, cache: Path, ticker: Ticker) -> Estimate:
    """Synthesise every unit of ``design``, or take what was found before from ``cache``."""
    from amaranth.back import rtlil

    from boards.levels import longest_path
    from boards.synthesis import Netlist, find_module, synthesise_units

    with ticker.step("elaboration"):
        text = rtlil.convert(design.accelerator, name="accelerator", emit_src=False)
    netlist = Netlist(text)
    modules = {
        unit: find_module(netlist.modules, f"accelerator.{unit}")
        for units in design.accelerator.layers.values()
        for unit in units
    }
    found = synthesise_units(
        {module: netlist.subtree(module) for module in modules.values()},
        family=design.board.device.family,
        cache=cache,
        ticker=ticker,
    )
    return Estimate(
        layers=design.layers({unit: found[module].resources for unit, module in modules.items()}),
        longest_path=longest_path(
            {name.partition(".")[2]: unit.paths for name, unit in found.items()},
            netlist.wires("accelerator"),
        ),
        versions={"pyosys": importlib.metadata.version("pyosys")},
    )
