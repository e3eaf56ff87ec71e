"""LUTs of a binary multiply-accumulate: compressor trees of PEs against plain adder trees.

    python -m bench.pe_luts [--simd 9 27 72] [--family ecp5 xcup] [--out FILE]

Prints a table and writes build/bench/pe_luts.json. All designs take registered operands, are
pipelined, and were not told anything of the weights. ``tree N`` adds single bits up in pairs with a
register every N adders; ``3:2 N`` and ``6:3 N`` are ``hw.pe.XnorPopcountPE`` with that compressor
and a register every N levels of it; ``two planes`` are two of them on the same weights, as a
fractional convolution has, and count twice as many MACs. LUTs are LUT4 with two for each carry cell
on ECP5, and LUT6 on UltraScale+, where ``packed`` is what is left when two share a LUT6_2; depth is
in levels as ``boards.levels`` counts them.
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from rich.console import Console
from rich.table import Table

from boards.synthesis import estimate_units
from boards.tools import Ticker
from hw.pe import XnorPopcountPE
from hw.popcount import COMPRESSORS, adder_tree, adder_tree_latency
from model.cli import run_command, table_console, write_report

__all__ = ["FAMILIES", "SIMD", "TreePE", "main", "measure"]

FAMILIES = ("ecp5", "xcup")
SIMD = (9, 27, 72, 144, 288)

#: Names of modules have neither of these.
_PLAIN = str.maketrans({" ": "_", ":": "_"})


class TreePE(wiring.Component):
    """The same function as :class:`hw.pe.XnorPopcountPE`, by a plain adder tree."""

    def __init__(self, *, simd: int, levels: int):
        self.simd = simd
        self.levels = levels
        self.latency = adder_tree_latency(simd, levels)
        super().__init__(
            {"en": In(1), "a": In(simd), "w": In(simd), "matches": Out(range(simd + 1))}
        )

    def elaborate(self, platform):
        m = Module()
        matching = ~(self.a ^ self.w)
        total, _ = adder_tree(
            m, [matching[k] for k in range(self.simd)], enable=self.en, levels=self.levels
        )
        m.d.comb += self.matches.eq(total)
        return m


class TwoPlanePE(wiring.Component):
    """Two PEs on one weight word, one for each bit plane of the activations."""

    def __init__(self, *, simd: int, **popcount: object):
        self.simd = simd
        self.planes = [XnorPopcountPE(simd=simd, **popcount) for _ in range(2)]
        self.latency = self.planes[0].latency
        count = Out(range(simd + 1))
        super().__init__(
            {"en": In(1), "a_0": In(simd), "a_1": In(simd), "w": In(simd)}
            | {"matches_0": count, "matches_1": count}
        )

    def elaborate(self, platform):
        m = Module()
        for index, plane in enumerate(self.planes):
            m.submodules[f"plane_{index}"] = plane
            m.d.comb += [
                plane.en.eq(self.en),
                plane.a.eq(getattr(self, f"a_{index}")),
                plane.w.eq(self.w),
                getattr(self, f"matches_{index}").eq(plane.matches),
            ]
        return m


def _pe(compressor: str, levels: int):
    return lambda simd: XnorPopcountPE(simd=simd, compressor=compressor, levels=levels)


def _two(compressor: str, levels: int):
    return lambda simd: TwoPlanePE(simd=simd, compressor=compressor, levels=levels)


#: Compressors, and levels of them between registers.
_POPCOUNTS = [(compressor, levels) for compressor in COMPRESSORS for levels in (1, 2, 3)]

DESIGNS = {
    "tree 1": lambda simd: TreePE(simd=simd, levels=1),
    "tree 2": lambda simd: TreePE(simd=simd, levels=2),
    **{f"{compressor} {levels}": _pe(compressor, levels) for compressor, levels in _POPCOUNTS},
    **{
        f"two planes {compressor} {levels}": _two(compressor, levels)
        for compressor, levels in _POPCOUNTS
    },
}


def measure(
    *,
    simd: Iterable[int] = SIMD,
    families: Iterable[str] = FAMILIES,
    console: Console | None = None,
) -> list[dict[str, object]]:
    """Synthesise every design.

    Returns
    -------
    One entry for each family, simd and design, with ``luts``, ``packed_luts`` (UltraScale+),
    ``ffs``, ``depth`` in logic levels and ``latency``; LUTs are also given for each MAC.
    """
    results = []
    for family in families:
        units, made = {}, {}
        for lanes in simd:
            for design, make in DESIGNS.items():
                name = f"pe_{design.translate(_PLAIN)}_{lanes}"
                unit = make(lanes)
                units[name] = rtlil.convert(unit, name=name)
                made[name] = (lanes, design, unit.latency, 2 if isinstance(unit, TwoPlanePE) else 1)
        with tempfile.TemporaryDirectory() as cache:
            found = estimate_units(
                units, family=family, cache=Path(cache), ticker=Ticker(console or Console())
            )
        for name, (lanes, design, latency, planes) in made.items():
            used = found[name]
            macs = lanes * planes
            entry = {
                "family": family,
                "simd": lanes,
                "design": design,
                "luts": used.luts,
                "luts_per_mac": round(used.luts / macs, 3),
                "packed_luts": used.packed_luts,
                "ffs": used.ffs,
                "depth": used.depth,
                "latency": latency,
            }
            if used.packed_luts is not None:
                entry["packed_luts_per_mac"] = round(used.packed_luts / macs, 3)
            results.append(entry)
    return results


def _show(results: list[dict[str, object]], console: Console) -> None:
    table = Table(title="LUTs of a binary MAC")
    for column in ("family", "simd", "design"):
        table.add_column(column)
    for column in ("LUTs", "a MAC", "packed", "a MAC", "FFs", "depth", "latency"):
        table.add_column(column, justify="right")
    for entry in results:
        packed = entry["packed_luts"]
        cells = [
            entry["luts"],
            f"{entry['luts_per_mac']:.2f}",
            "" if packed is None else packed,
            "" if packed is None else f"{entry['packed_luts_per_mac']:.2f}",
            *(entry[key] for key in ("ffs", "depth", "latency")),
        ]
        last = entry["design"] == list(DESIGNS)[-1]
        table.add_row(
            entry["family"],
            str(entry["simd"]),
            entry["design"],
            *map(str, cells),
            end_section=last,
        )
    console.print(table)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.pe_luts", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--simd", type=int, nargs="+", default=SIMD, metavar="N", help="lanes")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument(
        "--out", type=Path, default=Path("build") / "bench" / "pe_luts.json", metavar="FILE"
    )
    options = parser.parse_args(argv)
    console = table_console()
    results = measure(simd=options.simd, families=options.family, console=console)
    _show(results, console)
    write_report(options.out, {"results": results})
    console.print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
