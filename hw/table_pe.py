"""Processing element that looks sums up: binary dot products with the bits of a thermometer."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import In, Out

from hw.lanes import lanes as lanes_of
from hw.lanes import pack
from hw.parameters import ParameterUnit
from hw.popcount import adder_tree, adder_tree_latency
from hw.thermometer import level_element
from hw.weights import WeightMemory, read, weight_memory

__all__ = ["LookupPE", "least_matches", "lookup_pe_latency"]


def lookup_pe_latency(lanes: int) -> int:
    """Latency of a :class:`LookupPE`: its memories' and that of a tree of adders."""
    return WeightMemory.latency + adder_tree_latency(lanes)


class LookupPE(ParameterUnit):
    """Columns in which weights equal the bits of some levels, for some rows at once.

    The bits of a thermometer are in only ``levels + 1`` states, so that the equal columns of each
    lane are looked up instead of counted (the thermometer is that of Zhang et al., "FracBNN", FPGA
    2021). The words of a lane hold the numbers of all rows side by side. Each is less than that by
    the least one of its row and step, which makes it narrower.

    Parameters
    ----------
    levels : int
        Columns of a lane; column k is +1 where the level is above k.
    weights : sequence (step) of sequence (row) of sequence (column) of +1 or -1
        Columns are ``lanes * levels``, lane by lane.
    ram_style : str
        Of the words: ``"auto"``, ``"block"`` or ``"distributed"``.
    writable : bool
        Whether the words can be written; they are as wide then as those of any weights, and
        ``least`` is 0.

    Members
    -------
    en : In(1)
        All advances while it is 1.
    step : In(range(steps))
    a : In(lanes levels)
    matches_0, matches_1, ... : Out, one for each row
        Equal columns less ``least[step][row]``.
    parameters : In(ParameterPort)
        Where ``writable``.

    ``latency`` is ``2 + adder_tree_latency(lanes)``.

    Raises
    ------
    ValueError
        A parameter is out of range, or the weights are not of one shape.
    """

    def __init__(
        self,
        *,
        levels: int,
        weights: Sequence[Sequence[Sequence[int]]],
        ram_style: str = "auto",
        writable: bool = False,
    ):
        if not isinstance(levels, int) or levels < 1:
            raise ValueError(f"levels must be a positive integer, not {levels!r}")
        sizes = {(len(rows), len(row)) for rows in weights for row in rows}
        if len(sizes) != 1:
            raise ValueError("weights must be as many rows of as many columns for each step")
        ((self.rows, columns),) = sizes
        if columns % levels:
            raise ValueError(f"columns must be a multiple of levels, not {columns} and {levels}")
        if any(w not in (1, -1) for rows in weights for row in rows for w in row):
            raise ValueError("weights must be +1 and -1")
        self.levels = levels
        self.lanes = columns // levels
        self.steps = len(weights)
        self.ram_style = ram_style
        self.latency = lookup_pe_latency(self.lanes)
        self.writable = writable
        counts = _counts(levels, weights)
        if writable:
            self.least = [[0] * self.rows for _ in weights]
            self._tables = [
                [[row[lane] for row in rows] for rows in counts] for lane in range(self.lanes)
            ]
            self._most = [levels] * self.lanes
        else:
            self.least = least_matches(levels, weights)
            self._tables = [
                [[[n - min(row[lane]) for n in row[lane]] for row in rows] for rows in counts]
                for lane in range(self.lanes)
            ]
            self._most = [
                max(n for rows in table for row in rows for n in row) for table in self._tables
            ]
        shape = range(sum(self._most) + 1)
        super().__init__(
            {
                "en": In(1),
                "step": In(range(self.steps)),
                "a": In(lanes_of(level_element(levels), self.lanes).size),
                **{f"matches_{row}": Out(shape) for row in range(self.rows)},
                **self._parameter_port(),
            }
        )

    def _words(self, lane: int, bits: int) -> list[int]:
        """The words of a lane: step major, in blocks of a power of two."""
        words = []
        for rows in self._tables[lane]:
            entries = [pack(level, bits) for level in zip(*rows, strict=True)]
            words += entries + entries[-1:] * ((1 << self.levels.bit_length()) - len(entries))
        return words

    def _bits(self, lane: int) -> int:
        """Of a number in the words of a lane."""
        return max(1, self._most[lane].bit_length())

    def _memories(self) -> dict[str, WeightMemory]:
        return {
            f"table_{lane}": weight_memory(
                self._words(lane, self._bits(lane)),
                self._bits(lane) * self.rows,
                ram_style=self.ram_style,
                writable=self.writable,
            )
            for lane in range(self.lanes)
        }

    def elaborate(self, platform):
        m = Module()
        self._connect_parameters(m)
        address_bits = self.levels.bit_length()
        terms: list[list] = [[] for _ in range(self.rows)]
        for name, memory in self.memories.items():
            lane = int(name.removeprefix("table_"))
            bits = self._bits(lane)
            level = self.a.word_select(lane, address_bits)
            data = read(m, name, memory, Cat(level, self.step), enable=self.en)
            for row in range(self.rows):
                terms[row].append(data.word_select(row, bits))
        bounds = [(0, most) for most in self._most]
        for row, values in enumerate(terms):
            total, _ = adder_tree(m, values, enable=self.en, bounds=bounds, name=f"sum_{row}")
            m.d.comb += getattr(self, f"matches_{row}").eq(total)
        return m


def least_matches(levels: int, weights: Sequence[Sequence[Sequence[int]]]) -> list[list[int]]:
    """Of each step and row, the sum of the least equal columns of its lanes."""
    return [[sum(min(lane) for lane in row) for row in rows] for rows in _counts(levels, weights)]


def _counts(levels: int, weights: Sequence[Sequence[Sequence[int]]]) -> list[list[list[list[int]]]]:
    """Columns that are equal to a level's bits, by step, row, lane and level."""
    return [
        [[_equal(row[at : at + levels]) for at in range(0, len(row), levels)] for row in rows]
        for rows in weights
    ]


def _equal(weights: Sequence[int]) -> list[int]:
    """Columns that are equal to a level's bits, by level."""
    count = sum(w < 0 for w in weights)
    counts = [count]
    for w in weights:
        count += w
        counts.append(count)
    return counts
