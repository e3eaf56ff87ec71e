"""Pipelined counting and adding: compressor trees for bits, adder trees for numbers.

A 3:2 compressor (a full adder) turns three bits of one weight into one bit of the same and one of
the next weight. Reducing N bits with nothing but full adders takes about N of them, where a tree of
adders pays for the ends of many short carry chains (Wallace, IEEE Trans. Electronic Computers
EC-13(1), 1964; Preusser, "Generic and universal parallel matrix summation", FPL 2017). A 6:3
compressor counts six bits of one weight in three LUT6; the full adders for that take eight LUTs,
half of them only where the tools pair the two outputs of each full adder.
"""

from collections.abc import Callable, Sequence
from functools import cache

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value, ValueLike

__all__ = ["COMPRESSORS", "adder_tree", "adder_tree_latency", "popcount", "popcount_latency"]

COMPRESSORS = ("3:2", "6:3")


_ZERO = Const(0, 1)


class _Adders:
    """Full adders in module ``m``, some at a time; with no module, something to count them by."""

    def __init__(self, m: Module | None, name: str):
        self.m = m
        self.name = name
        self.used = 0

    def six(self, *operands: Sequence[Value]) -> list[list[Value]]:
        """The three bits of as many counts as each of six operands has bits."""
        if self.m is None:
            return [[0] * len(operands[0])] * 3
        totals, carries = zip(*(self(*operands[k : k + 3]) for k in (0, 3)), strict=True)
        count = len(operands[0])
        name = f"{self.name}_six{self.used}"
        both, middle, high = (Signal(count, name=f"{name}_{part}") for part in range(3))
        low = Signal(count, name=f"{name}_low")
        a, b = map(Cat, totals)
        c, d = map(Cat, carries)
        self.used += 1
        self.m.d.comb += [
            low.eq(a ^ b),
            both.eq(a & b),
            middle.eq(c ^ d ^ both),
            high.eq((c & d) | (both & (c ^ d))),
        ]
        return [list(low), list(middle), list(high)]

    def __call__(self, *operands: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        """Sums and carries of as many full adders as each of three operands has bits."""
        if self.m is None:
            return [0] * len(operands[0]), [0] * len(operands[0])
        a, b, c = (Cat(operand) for operand in operands)
        # Signals, as an expression would be made anew wherever it is used.
        sums = Signal(len(a), name=f"{self.name}_sums{self.used}")
        carries = Signal(len(a), name=f"{self.name}_carries{self.used}")
        self.used += 1
        self.m.d.comb += [sums.eq(a ^ b ^ c), carries.eq((a & b) | (c & (a ^ b)))]
        return list(sums), list(carries)


def _chain(add: _Adders, bits: Sequence[Value], chain: int) -> list[list[Value]]:
    """Compress groups of ``2 * chain + 1`` bits with ``chain`` full adders in a row.

    Each full adder but the first takes in two fresh bits. Where the bits are XNORs, that is a
    function of five inputs and one LUT fewer on ECP5 than compressing threes of fresh bits.
    """
    group = 2 * chain + 1
    totals = list(bits[::group])
    carries = []
    for first in range(1, group, 2):
        left, right = bits[first::group], bits[first + 1 :: group]
        # The last group may end earlier, and with one bit that has no partner.
        whole = len(right)
        totals[:whole], more = add(left[:whole], right, totals[:whole]) if whole else ([], [])
        carries += more
    rest = len(bits) % group
    if rest and rest % 2 == 0:
        totals.append(bits[-1])
    return [totals, carries] if carries else [totals]


def _compress(add: _Adders, columns: Sequence[Sequence[Value]]) -> list[list[Value]]:
    """One level of 3:2 compressors on every three bits of one weight."""
    result: list[list[Value]] = [[] for _ in range(len(columns) + 1)]
    for weight, column in enumerate(columns):
        whole = len(column) - len(column) % 3
        if whole:
            totals, carries = add(*(column[k:whole:3] for k in range(3)))
            result[weight] += totals
            result[weight + 1] += carries
        result[weight] += column[whole:]
    return result if result[-1] else result[:-1]


def _compress_sixes(add: _Adders, columns: Sequence[Sequence[Value]]) -> list[list[Value]]:
    """One level of 6:3 compressors on every six bits of one weight, and five that are left.

    Where no column has so many, of 3:2 compressors.
    """
    if max(len(column) for column in columns) < 5:
        return _compress(add, columns)
    result: list[list[Value]] = [[] for _ in range(len(columns) + 2)]
    for weight, column in enumerate(columns):
        whole = len(column) - len(column) % 6
        groups = [column[k:whole:6] for k in range(6)]
        if len(column) - whole == 5:
            rest = [*column[whole:], _ZERO]
            groups = [[*group, bit] for group, bit in zip(groups, rest, strict=True)]
            whole = len(column)
        if whole:
            for k, totals in enumerate(add.six(*groups)):
                result[weight + k] += totals
        result[weight] += column[whole:]
    while not result[-1]:
        result.pop()
    return result


def _reduce(
    add: _Adders,
    bits: Sequence[Value],
    levels: int,
    compressor: str,
    register: Callable[[list[list[Value]]], list[list[Value]]],
) -> list[list[Value]]:
    """Reduce bits to columns of at most two; ``register`` puts a stage behind columns."""
    if levels < 1:
        raise ValueError(f"levels must be at least 1, not {levels}")
    if compressor not in COMPRESSORS:
        raise ValueError(f"compressor must be 3:2 or 6:3, not {compressor!r}")
    if not bits:
        raise ValueError("popcount needs at least one bit")
    compress = _compress if compressor == "3:2" else _compress_sixes
    columns = _chain(add, bits, min(levels + 1, 3))
    # How much of the current stage is used; the first one is full unless its sum is trivial.
    depth = 0 if len(bits) <= 3 else levels
    while True:
        height = max(len(column) for column in columns)
        if depth == levels and height > 1:
            columns = register(columns)
            depth = 0
        if height <= 2:
            return columns
        columns = compress(add, columns)
        depth += 1


def _twos(columns: Sequence[Sequence[Value]]) -> int:
    """Length of the carry chain that adds columns of at most two bits."""
    start = next((w for w, column in enumerate(columns) if len(column) > 1), len(columns))
    return len(columns) - start


def _registered(
    m: Module, columns: Sequence[Sequence[Value]], enable: ValueLike, name: str
) -> list[list[Value]]:
    """The columns one enabled cycle later."""
    result = []
    for weight, column in enumerate(columns):
        stage = Signal(len(column), name=f"{name}_bit{weight}", reset_less=True)
        with m.If(enable):
            m.d.sync += stage.eq(Cat(column))
        result.append(list(stage))
    return result


def _added(columns: Sequence[Sequence[Value]]) -> Value:
    """Sum of columns of at most two bits; the carry chain starts where two bits first meet."""
    start = len(columns) - _twos(columns)
    low = Cat(column[0] if column else _ZERO for column in columns[:start])
    if start == len(columns):
        return low
    a, b = (
        Cat(column[k] if len(column) > k else _ZERO for column in columns[start:]) for k in (0, 1)
    )
    return Cat(low, a + b)


def popcount(
    m: Module,
    bits: ValueLike | Sequence[Value],
    *,
    enable: ValueLike,
    levels: int = 2,
    compressor: str = "3:2",
    carry: int = 12,
    name: str = "count",
) -> tuple[Signal, int]:
    """Number of ones among ``bits``, by 3:2 compressors and a final adder.

    Parameters
    ----------
    bits : value, or sequence of one-bit values
        Expressions such as the XNOR of activation and weight are folded into the first stage.
    enable : value
        The stages advance while it is 1.
    levels : int
        Compressor levels between registers. The first stage chains one more full adder than that
        (three at most), so that at the default of 2 no stage is deeper than four LUTs.
    compressor : str
        ``"3:2"``, or ``"6:3"`` behind the first stage: fewer LUT6, more LUT4. One level of it is
        one LUT6 deep.
    carry : int
        A final adder of more bits than this gets a register in the middle of its carry chain.
    name : str
        Prefix of the signals of the stages.

    Returns
    -------
    (count, latency) : the count with the shape ``range(n + 1)``, in a register; enabled cycles
    """
    if carry < 1:
        raise ValueError(f"carry must be at least 1, not {carry}")
    bits = [Value.cast(bit) for bit in (bits if isinstance(bits, list | tuple) else list(bits))]
    latency = 0

    def register(columns: list[list[Value]]) -> list[list[Value]]:
        nonlocal latency
        latency += 1
        return _registered(m, columns, enable, f"{name}_{latency}")

    columns = _reduce(_Adders(m, name), bits, levels, compressor, register)
    if _twos(columns) > carry:
        # The lower half of the sum, its carry last, while the upper half waits for a stage.
        half = len(columns) // 2
        low = Signal(half + 1, name=f"{name}_low", reset_less=True)
        with m.If(enable):
            m.d.sync += low.eq(_added(columns[:half]))
        high = register(columns[half:])
        total = Cat(low[:half], _added(high) + low[half])
    else:
        total = _added(columns)
    count = Signal(range(len(bits) + 1), name=name, reset_less=True)
    with m.If(enable):
        # Bits of the sum above those of the count are always 0.
        m.d.sync += count.eq(total[: len(count)])
    return count, latency + 1


@cache
def popcount_latency(count: int, levels: int = 2, carry: int = 12, compressor: str = "3:2") -> int:
    """Latency of :func:`popcount` of so many bits."""
    stages = []

    def register(columns: list[list[int]]) -> list[list[int]]:
        stages.append(columns)
        return columns

    columns = _reduce(_Adders(None, ""), [0] * count, levels, compressor, register)
    return len(stages) + 1 + (_twos(columns) > carry)


def _bounds(value: Value) -> tuple[int, int]:
    shape = value.shape()
    if shape.signed:
        return -(1 << shape.width - 1), (1 << shape.width - 1) - 1
    return 0, (1 << shape.width) - 1


def adder_tree(
    m: Module,
    values: Sequence[ValueLike],
    *,
    enable: ValueLike,
    bounds: Sequence[tuple[int, int]] | None = None,
    levels: int = 1,
    name: str = "sum",
) -> tuple[Value, int]:
    """Sum of numbers by a balanced tree of two-input adders of exact width.

    Parameters
    ----------
    values : sequence of value
    enable : value
        The stages advance while it is 1.
    bounds : sequence of (int, int), or None
        Lowest and highest number of each value; what its shape can hold where not given.
    levels : int
        Adders between registers.
    name : str
        Prefix of the signals of the stages.

    Returns
    -------
    (sum, latency) : the sum with the shape of exactly its range; enabled cycles. One value is
        returned as it is, with latency 0.
    """
    if levels < 1:
        raise ValueError(f"levels must be at least 1, not {levels}")
    values = [Value.cast(value) for value in values]
    if not values:
        raise ValueError("adder_tree needs at least one value")
    bounds = list(bounds) if bounds is not None else [_bounds(value) for value in values]
    if len(bounds) != len(values):
        raise ValueError(f"bounds must be given for {len(values)} values, not {len(bounds)}")
    level = 0
    while len(values) > 1:
        level += 1
        registered = level % levels == 0 or len(values) == 2
        # An odd value out goes along to the next level.
        pairs = [values[at : at + 2] for at in range(0, len(values), 2)]
        ranges = [bounds[at : at + 2] for at in range(0, len(values), 2)]
        bounds = [(sum(lo for lo, _ in pair), sum(hi for _, hi in pair)) for pair in ranges]
        values = []
        for index, (pair, (lo, hi)) in enumerate(zip(pairs, bounds, strict=True)):
            shape = Shape.cast(range(lo, hi + 1))
            total = Signal(shape, name=f"{name}_{level}_{index}", reset_less=True)
            value = pair[0] + pair[1] if len(pair) == 2 else pair[0]
            if registered:
                with m.If(enable):
                    m.d.sync += total.eq(value)
            else:
                m.d.comb += total.eq(value)
            values.append(total)
    return values[0], adder_tree_latency(1 << level, levels)


def adder_tree_latency(count: int, levels: int = 1) -> int:
    """Latency of :func:`adder_tree` of so many values: ceil(ceil(log2(count)) / levels)."""
    return -(-(count - 1).bit_length() // levels)
