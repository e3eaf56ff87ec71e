"""Matrix-vector-activation unit: the products of a weight matrix and the windows of a map."""

from amaranth.hdl import Module, Value
from amaranth.lib import data

from hw.lanes import is_binary, lanes
from hw.matrix import MatrixEngine
from hw.pe import MultiplyPE, XnorPopcountPE, multiply_latency
from hw.popcount import popcount_latency

__all__ = ["MVAU"]


class MVAU(MatrixEngine):
    """``initial[class][row] + sum(weights[row] * window)`` for every row and window.

    Parameters
    ----------
    rows, cols, weights, initial, height, width, row_classes, column_classes, simd, pe, ram_style
        See :class:`hw.matrix.MatrixEngine`.
    activation, weight : str
        Elements; ``weight`` is ``"binary"`` or ``"intK"``. Binary ones count as +1 and -1.
    output : str
        Element ``"intK"`` that holds every result. Where a class stands for a border of a binary
        map, padding is among the columns with fixed numbers, so that the range of its results is
        not known here; it must then hold ``cols`` to both sides of some common initial sum.
    multiplier : str
        ``"lut"`` or ``"dsp"``, see :class:`hw.pe.MultiplyPE`.

    Members
    -------
    i : stream of `lanes(activation, simd)`
        ``cols / simd`` beats a window.
    o : stream of `lanes(output, pe)`
        ``rows / pe`` beats a window.

    Timing
    ------
    `Steps` over the ``nf * sf`` steps of a window; ``nf = rows / pe`` and ``sf = cols / simd``. The
    first ``sf`` steps take its beats; every ``sf`` steps emit one. Latency is 3 and that of the
    processing elements (``pe_latency``). ``interval`` is ``height * width * nf * sf``.

    Raises
    ------
    ValueError
        A parameter is out of range, or does not suit another one.
    """

    def __init__(self, *, activation: str, weight: str, multiplier: str = "lut", **matrix: object):
        self.activation = activation
        self.binary = is_binary(activation) and is_binary(weight)
        self.multiplier = multiplier
        super().__init__(weight=weight, **matrix)

    def _check(self) -> None:
        fixed = self.classes > 1 or self.height * self.width == 1
        self._check_range(self.activation, fixed=is_binary(self.activation) and fixed)

    def _input_shape(self) -> data.ArrayLayout:
        return lanes(self.activation, self.simd)

    @property
    def _counts(self) -> bool:
        return self.binary

    def _partial_latency(self) -> int:
        if self.binary:
            return popcount_latency(self.simd)
        return multiply_latency(self.simd, self.activation, self.weight, self.pe, self.multiplier)

    def _partial_sums(self, m: Module, en: Value, a: Value, step: Value) -> list[list[Value]]:
        w = self._read_weights(m, en, step)
        if not self.binary:
            m.submodules.pe = pe = MultiplyPE(
                simd=self.simd,
                activation=self.activation,
                weight=self.weight,
                rows=self.pe,
                multiplier=self.multiplier,
            )
            m.d.comb += [pe.en.eq(en), pe.a.eq(a), pe.w.eq(w)]
            return [[getattr(pe, f"dot_{row}") for row in range(self.pe)]]
        matches = []
        for row in range(self.pe):
            m.submodules[f"pe_{row}"] = pe = XnorPopcountPE(simd=self.simd)
            m.d.comb += [pe.en.eq(en), pe.a.eq(a), pe.w.eq(w.word_select(row, self.simd))]
            matches.append(pe.matches)
        return [matches]
