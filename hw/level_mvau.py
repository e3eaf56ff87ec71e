# amaranth: UnusedElaboratable=no
"""Matrix engine for a thermometer's bits that come as levels, by tables of partial sums."""

from functools import cached_property

from amaranth.hdl import Module, Value
from amaranth.lib import data

from hw.lanes import lanes
from hw.matrix import MatrixEngine
from hw.stages import later
from hw.table_pe import LookupPE, lookup_pe_latency
from hw.thermometer import level_element

__all__ = ["LevelMVAU"]


class LevelMVAU(MatrixEngine):
    """What :class:`hw.mvau.MVAU` does for binary numbers that are the bits of a thermometer.

    Parameters
    ----------
    rows, cols, weights, initial, height, width, row_classes, column_classes, pe, writable,
    fixed_initial
        See :class:`hw.matrix.MatrixEngine`; ``weights`` are +1 and -1.
    levels : int
        Columns that one level stands for; column k is +1 where the level is above k.
    output : str
        As for :class:`hw.mvau.MVAU`. Padding is level 0, all of whose columns are -1.
    simd : int
        Columns a cycle, a multiple of ``levels``; divides ``cols``.
    ram_style : str
        Of the tables: ``"auto"``, ``"block"`` or ``"distributed"``.

    Members
    -------
    i : stream of `lanes(level_element(levels), simd / levels)`
        ``cols / simd`` beats a window.
    o : stream of `lanes(output, pe)`
        ``rows / pe`` beats a window.

    Timing
    ------
    `Steps` as of :class:`hw.mvau.MVAU`. Latency is 3 and that of the processing element
    (``pe_latency``), ``interval`` is ``height * width * nf * sf``.

    Raises
    ------
    ValueError
        A parameter is out of range, or does not suit another one.
    """

    def __init__(self, *, levels: int, **matrix: object):
        self.levels = levels
        super().__init__(weight="binary", **matrix)

    def _check(self) -> None:
        if not isinstance(self.levels, int) or self.levels < 1:
            raise ValueError(f"levels must be a positive integer, not {self.levels!r}")
        if self.simd % self.levels:
            raise ValueError(
                f"simd must be a multiple of levels, not {self.simd} and {self.levels}"
            )
        self._check_range("binary", fixed=self.classes > 1 or self.height * self.width == 1)

    def _input_shape(self) -> data.ArrayLayout:
        return lanes(level_element(self.levels), self.simd // self.levels)

    def _partial_latency(self) -> int:
        return lookup_pe_latency(self.simd // self.levels)

    @property
    def _counts(self) -> bool:
        return True

    def _blocks(self) -> list[list[list[int]]]:
        """The weights of each step, some columns of some rows."""
        return [
            [row[sf : sf + self.simd] for row in self.weights[nf : nf + self.pe]]
            for nf in range(0, self.rows, self.pe)
            for sf in range(0, self.cols, self.simd)
        ]

    def _starts(self) -> list[list[int]]:
        # What the tables leave out of their numbers is added to the initial sums.
        least = self._table.least
        left_out = [
            sum(least[row // self.pe * self.sf + sf][row % self.pe] for sf in range(self.sf))
            for row in range(self.rows)
        ]
        return [
            [start + 2 * more for start, more in zip(starts, left_out, strict=True)]
            for starts in super()._starts()
        ]

    @cached_property
    def _table(self) -> LookupPE:
        return LookupPE(
            levels=self.levels,
            weights=self._blocks(),
            ram_style=self.ram_style,
            writable=self.writable,
        )

    def _weight_parts(self) -> dict[str, LookupPE]:
        return {"pe": self._table}

    def _partial_sums(self, m: Module, en: Value, a: Value, step: Value) -> list[list[Value]]:
        m.submodules.pe = pe = self._table
        m.d.comb += [pe.en.eq(en), pe.a.eq(a), pe.step.eq(later(m, en, step, 2, "step_later"))]
        return [[getattr(pe, f"matches_{row}") for row in range(self.pe)]]
