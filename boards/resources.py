"""Counting what a netlist takes from a device."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["XCUP_LUTS", "Resources", "count_cells", "pack_luts"]


@dataclass(frozen=True)
class Resources:
    """What one part of a design takes.

    Parameters
    ----------
    luts : int
        LUTs, those used as memory or shift registers included. ECP5: LUT4, two for each carry cell.
    ffs : int
    brams : float
        Block RAMs: 36 Kbit (half for 18 Kbit) on UltraScale+, 18 Kbit on ECP5.
    dsps : int
    lutrams : int
        Those of the LUTs that are memory or shift registers.
    packed_luts : int or None
        UltraScale+: LUTs after pairing, see :func:`pack_luts`.
    depth : int or None
        Logic levels of the longest path between registers, see ``boards.levels``.
    """

    luts: int = 0
    ffs: int = 0
    brams: float = 0
    dsps: int = 0
    lutrams: int = 0
    packed_luts: int | None = None
    depth: int | None = None

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.luts + other.luts,
            self.ffs + other.ffs,
            self.brams + other.brams,
            self.dsps + other.dsps,
            self.lutrams + other.lutrams,
            _merge(sum, self.packed_luts, other.packed_luts),
            _merge(max, self.depth, other.depth),
        )


def _merge(how, *values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return how(known) if known else None


#: Cells that take one LUT. An inverter that is left over stands before a carry cell.
XCUP_LUTS = ("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV")

#: Memory cells of UltraScale+ and the LUTs that each one takes (UG574).
_XCUP_LUTRAMS = {
    "RAM32X1S": 1,
    "RAM32X1D": 2,
    "RAM32M": 4,
    "RAM32M16": 8,
    "RAM64X1S": 1,
    "RAM64X1D": 2,
    "RAM64M": 4,
    "RAM64M8": 8,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM256X1S": 4,
    "RAM256X1D": 8,
    "RAM512X1S": 8,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
}


def count_cells(family: str, cells: Mapping[str, int]) -> Resources:
    """Resources of ``cells``, the number of each type of cell after mapping."""
    number = defaultdict(int, cells)
    if family == "ecp5":
        lutrams = 4 * number["TRELLIS_DPR16X4"]
        return Resources(
            luts=number["LUT4"] + 2 * number["CCU2C"] + lutrams,
            ffs=number["TRELLIS_FF"],
            brams=number["DP16KD"] + number["PDPW16KD"],
            dsps=number["MULT18X18D"],
            lutrams=lutrams,
        )
    lutrams = sum(luts * number[name] for name, luts in _XCUP_LUTRAMS.items())
    return Resources(
        luts=sum(number[name] for name in XCUP_LUTS) + lutrams,
        ffs=sum(number[name] for name in ("FDRE", "FDSE", "FDCE", "FDPE")),
        brams=number["RAMB36E2"] + 0.5 * number["RAMB18E2"],
        dsps=number["DSP48E2"],
        lutrams=lutrams,
    )


def pack_luts(luts: Iterable[Iterable[int]]) -> int:
    """LUTs that are left when two that together have at most five inputs share a LUT6_2.

    Greedy: each LUT, those with most inputs first, takes the partner that it shares most inputs
    with. Vivado's count should lie between this one and that of the single LUTs.

    Parameters
    ----------
    luts : iterable of input nets
        For each LUT, the nets at its inputs.
    """
    inputs = sorted((frozenset(nets) for nets in luts), key=len, reverse=True)
    waiting = {index: nets for index, nets in enumerate(inputs) if len(nets) <= 5}
    readers: dict[int, set[int]] = defaultdict(set)
    by_size: dict[int, set[int]] = defaultdict(set)
    for index, nets in waiting.items():
        by_size[len(nets)].add(index)
        for net in nets:
            readers[net].add(index)

    def take(index: int) -> None:
        nets = waiting.pop(index)
        by_size[len(nets)].discard(index)
        for net in nets:
            readers[net].discard(index)

    pairs = 0
    for index, nets in enumerate(inputs):
        if index not in waiting:
            continue
        take(index)
        shared: dict[int, int] = defaultdict(int)
        for net in nets:
            # A net that everything reads, such as an enable, would make this quadratic.
            for other in list(readers[net])[:64] if len(readers[net]) > 64 else readers[net]:
                shared[other] += 1
        partner = max(
            (
                other
                for other, common in shared.items()
                if len(nets) + len(waiting[other]) - common <= 5
            ),
            key=lambda other: (shared[other], len(waiting[other]), -other),
            default=None,
        )
        if partner is None:
            for size in range(5 - len(nets), 0, -1):
                if by_size[size]:
                    partner = min(by_size[size])
                    break
        if partner is not None:
            take(partner)
            pairs += 1
    return len(inputs) - pairs
