"""Rough resources of the units, good enough to choose a folding and to refuse what cannot fit.

The coefficients are fitted to synthesis of the units themselves (``python -m boards.build BOARD
NETWORK --estimate`` gives the real counts). LUTs are LUT4 for ECP5 and LUT6 for UltraScale+, where
they are counted before two are paired in a LUT6_2.
"""

from dataclasses import dataclass, replace
from math import ceil

__all__ = [
    "Device",
    "Resources",
    "eltwise_cost",
    "fifo_cost",
    "level_cost",
    "matrix_cost",
    "window_cost",
]


@dataclass(frozen=True)
class Device:
    """What a device has: LUTs, flip-flops, block RAMs (36 Kbit, ECP5: 18 Kbit) and DSPs."""

    name: str
    family: str
    luts: int
    ffs: int
    brams: float
    dsps: int

    def __post_init__(self):
        if self.family not in ("ecp5", "xcup"):
            raise ValueError(f"family must be ecp5 or xcup, not {self.family!r}")
        for what in ("luts", "ffs", "brams", "dsps"):
            if getattr(self, what) <= 0:
                raise ValueError(f"{self.name} must have some {what}, not {getattr(self, what)}")


@dataclass(frozen=True)
class Resources:
    luts: float = 0
    ffs: float = 0
    brams: float = 0
    dsps: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.luts + other.luts,
            self.ffs + other.ffs,
            self.brams + other.brams,
            self.dsps + other.dsps,
        )


#: LUTs of one binary MAC with stored and with constant weights, of one product bit, of one add bit.
_MAC = {"ecp5": (2.1, 1.4), "xcup": (1.6, 1.0)}
_PRODUCT_BIT = {"ecp5": 2.2, "xcup": 1.3}


def memory_cost(family: str, depth: int, width: int, ram_style: str = "auto") -> Resources:
    """A memory of ``depth`` words of ``width`` bits that is written while the design runs."""
    if depth == 1:
        return Resources()
    if ram_style == "block" or (ram_style == "auto" and depth * width > 4096 and depth >= 32):
        return _block_cost(family, depth, width)
    per_lut = 16 if family == "ecp5" else 64
    luts = ceil(depth / per_lut) * width * (1.3 if depth > per_lut else 1)
    return Resources(luts=luts, ffs=width)


def table_cost(family: str, depth: int, width: int, ram_style: str = "auto") -> Resources:
    """A memory of ``depth`` words of ``width`` bits that are known."""
    if depth == 1:
        return Resources()
    if ram_style == "block" or (ram_style == "auto" and depth * width > 4096 and depth >= 32):
        return _block_cost(family, depth, width)
    # Logic of the address; that of few words goes into the logic behind the table.
    if family == "xcup":
        return Resources(luts=depth * width * 0.07 if depth > 4 else 0, ffs=width)
    return memory_cost(family, depth, width, "distributed")


def _block_cost(family: str, depth: int, width: int) -> Resources:
    # The narrower of UltraScale+'s two block RAMs counts half.
    brams = ceil(depth / 512) * ceil(width / 36)
    return Resources(luts=8, ffs=width, brams=brams if family == "ecp5" else brams / 2)


def matrix_cost(
    *,
    family: str,
    rows: int,
    columns: int,
    pe: int,
    simd: int,
    activation_bits: int,
    weight_bits: int,
    binary: bool,
    accumulator_bits: int,
    planes: int = 1,
    multiplier: str = "lut",
    ram_style: str = "auto",
) -> Resources:
    """A matrix engine (MVAU or depthwise) with its weight memory and input buffer.

    ``binary``: both operands are +1/-1. ``planes``: bit planes of the activations that the same
    binary weights are applied to, each with running sums of its own.
    """
    folds = (rows // pe) * (columns // simd)
    stored = folds > 1
    macs = pe * simd
    if binary:
        work = Resources(
            # Two planes share the merging of the weights into the first compressors.
            luts=planes * macs * _MAC[family][0 if stored else 1] * (1 if planes == 1 else 0.85),
            # The planes share the registers of the weights.
            ffs=macs * ((1.4 if stored else 0) + planes * (1.6 if stored else 1.2)),
        )
    elif weight_bits == 1 or activation_bits == 1:
        bits = max(activation_bits, weight_bits) + 1
        work = Resources(luts=macs * bits * 1.2, ffs=macs * bits)
    elif multiplier == "dsp":
        work = Resources(luts=macs * accumulator_bits, ffs=macs * accumulator_bits, dsps=macs)
    else:
        product = activation_bits * weight_bits
        share = _PRODUCT_BIT[family] * (1 if stored else 0.6)
        work = Resources(
            luts=macs * product * share, ffs=macs * (activation_bits + weight_bits + 0.6 * product)
        )
    sums = pe * accumulator_bits * (1 if planes == 1 else planes + 2)
    total = work + Resources(luts=sums * 1.2 + 40, ffs=sums + 40)
    total += table_cost(family, folds, macs * weight_bits, ram_style)
    if binary:
        # Initial sums, which differ at the nine kinds of places of a padded map.
        total += table_cost(family, 9 * rows // pe, pe * accumulator_bits, "distributed")
    if rows > pe:
        total += memory_cost(family, columns // simd, simd * activation_bits, "distributed")
    return total


def level_cost(
    *,
    family: str,
    rows: int,
    columns: int,
    pe: int,
    simd: int,
    levels: int,
    accumulator_bits: int,
    ram_style: str = "auto",
) -> Resources:
    """A matrix engine that looks sums of ``levels`` columns up."""
    folds = (rows // pe) * (columns // simd)
    lanes = simd // levels
    # The range of a sum is about half of what the levels would allow.
    bits = max(1, levels.bit_length() - 1)
    words = folds << levels.bit_length() if ram_style == "block" else folds * (levels + 1)
    tables = table_cost(family, words, pe * bits, ram_style)
    if not tables.brams:
        # Neighbouring levels have nearly the same sums.
        tables = replace(tables, luts=0.4 * tables.luts)
    total = Resources(luts=pe * accumulator_bits * 1.2 + 40, ffs=pe * accumulator_bits + 40)
    for _ in range(lanes):
        total += tables + Resources(luts=pe * (bits + 2) * 0.6, ffs=pe * (bits + 2))
    if rows > pe:
        word = lanes * levels.bit_length()
        total += memory_cost(family, columns // simd, word, "distributed")
    return total


def window_cost(
    *,
    family: str,
    width: int,
    fold: int,
    lanes: int,
    bits: int,
    kernel: tuple[int, int],
    stride: int,
) -> Resources:
    """A sliding window with its row banks."""
    rows = kernel[0] + stride
    word = lanes * bits
    banks = Resources()
    for _ in range(rows):
        banks += memory_cost(family, width * fold, word)
    turn = kernel[0] * word * (2.5 if family == "ecp5" else 1.2)
    taps = kernel[0] * kernel[1] * word
    share = 0.7 if family == "ecp5" else 0.25
    return banks + Resources(luts=turn + taps * share + 80, ffs=2 * taps + 60)


def eltwise_cost(
    *, family: str, kind: str, lanes: int, folds: int, bits: int, levels: int = 1, kept: int = 0
) -> Resources:
    """Threshold, Affine, RPReLU, Add, Concat, pools and label select, by operation kind.

    ``levels``: thresholds of a channel. ``kept``: partial results that a pool keeps, in beats.
    """
    if kind == "Threshold":
        steps = levels.bit_length()
        if family == "xcup":
            table = folds * levels * lanes * (bits + 1)
            return Resources(
                luts=lanes * steps * bits * 0.4 + 0.035 * table + 10, ffs=lanes * steps * bits
            )
        words = memory_cost(family, folds * levels, lanes * (bits + 1), "distributed")
        return words + Resources(luts=lanes * steps * bits * 0.8, ffs=lanes * steps * bits)
    if kind in ("Affine", "RPReLU"):
        segments = 1 if kind == "Affine" else 2
        if family == "xcup":
            table = 0.02 * folds * segments * lanes * 2 * bits if folds > 4 else 0
            return Resources(
                luts=lanes * bits * (1.5 + segments) + table, ffs=lanes * bits * 7.5, dsps=lanes
            )
        words = memory_cost(family, folds, lanes * 2 * bits, "auto")
        each = bits * (1 + 2 * segments)
        return words + Resources(luts=lanes * each, ffs=lanes * bits * 6, dsps=lanes)
    if kept:
        words = memory_cost(family, kept, lanes * bits, "distributed")
        return words + Resources(luts=lanes * bits * 2 + 40, ffs=lanes * bits * 3 + 40)
    return Resources(luts=lanes * bits * 2 + 10, ffs=2 * lanes * bits + 10)


def fifo_cost(family: str, depth: int, bits: int) -> Resources:
    """A stream FIFO."""
    if depth == 0:
        return Resources()
    style = "block" if depth > 64 else "distributed"
    return memory_cost(family, max(2, depth), bits, style) + Resources(luts=30, ffs=bits + 20)
