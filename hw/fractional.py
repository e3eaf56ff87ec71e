"""Fractional convolution: two bit planes with the same weights, and a gate for each output."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from hw.lanes import element_for, element_range, element_shape, lanes, pack
from hw.matrix import MatrixEngine, counter
from hw.pe import XnorPopcountPE
from hw.popcount import popcount_latency
from hw.stages import later
from hw.weights import WeightMemory, read, weight_memory

__all__ = ["FractionalMVAU"]

# The fewest LUT6 of the popcounts in `python -m bench.pe_luts`, at four levels between registers.
_POPCOUNT = {"levels": 3, "compressor": "6:3"}


class FractionalMVAU(MatrixEngine):
    """``2 * m + l`` where ``m >= gate[row]``, else ``2 * m``, for every row and window.

    m and l are ``initial[class][row] + sum(weights[row] * plane)`` of the upper and the lower bits
    of the window's numbers, each bit counting as +1 or -1 (Zhang et al., "FracBNN", FPGA 2021).
    Both planes are summed at once, with weights that are read once.

    Parameters
    ----------
    rows, cols, weights, initial, height, width, row_classes, column_classes, simd, pe, ram_style,
    writable, fixed_initial
        See :class:`hw.matrix.MatrixEngine`; ``weights`` are +1 and -1.
    gate : sequence of ``rows`` int
        From ``-cols`` to ``cols + 1``, which never opens.
    output : str
        Element ``"intK"`` that holds ``-3 * cols .. 3 * cols``. Sums that are farther than
        ``cols`` from zero wrap: initial sums are for columns that are padding.

    Members
    -------
    i : stream of `lanes("uint2", simd)`
        ``cols / simd`` beats a window.
    o : stream of `lanes(output, pe)`
        ``rows / pe`` beats a window.

    Timing
    ------
    `Steps` as of :class:`hw.mvau.MVAU`. Latency is 5 and that of the processing elements
    (``pe_latency``), ``interval`` is ``height * width * nf * sf``.

    Raises
    ------
    ValueError
        A parameter is out of range, or does not suit another one.
    """

    # The gate's compare, and the sum of the planes.
    finish_latency = 2

    def __init__(self, *, gate: Sequence[int], **matrix: object):
        self.gate = list(gate)
        super().__init__(weight="binary", **matrix)

    def _check(self) -> None:
        if len(self.gate) != self.rows:
            raise ValueError(f"gate must be given for {self.rows} rows, not {len(self.gate)}")
        for value in self.gate:
            if not isinstance(value, int) or not -self.cols <= value <= self.cols + 1:
                raise ValueError(f"gate must lie in {-self.cols}..{self.cols + 1}, not {value!r}")
        most = 3 * self.cols
        if element_range(self.output)[1] < most:
            raise ValueError(f"output must hold {-most}..{most}, not {self.output!r}")

    def _input_shape(self) -> data.ArrayLayout:
        return lanes("uint2", self.simd)

    def _partial_latency(self) -> int:
        return popcount_latency(self.simd, **_POPCOUNT)

    @property
    def _accumulator(self) -> str:
        return element_for(-self.cols, self.cols)

    @property
    def _counts(self) -> bool:
        return True

    def _partial_sums(self, m: Module, en: Value, a: Value, step: Value) -> list[list[Value]]:
        w = self._read_weights(m, en, step)
        planes = []
        for name, bit in (("upper", 1), ("lower", 0)):
            matches = []
            for row in range(self.pe):
                m.submodules[f"{name}_{row}"] = pe = XnorPopcountPE(simd=self.simd, **_POPCOUNT)
                m.d.comb += [
                    pe.en.eq(en),
                    pe.a.eq(a[bit::2]),
                    pe.w.eq(w.word_select(row, self.simd)),
                ]
                matches.append(pe.matches)
            planes.append(matches)
        return planes

    @property
    def _gate_bits(self) -> int:
        return element_shape(element_for(-self.cols, self.cols + 1)).width

    def _memories(self) -> dict[str, WeightMemory]:
        bits = self._gate_bits
        words = [
            pack(self.gate[first : first + self.pe], bits) for first in range(0, self.rows, self.pe)
        ]
        gate = weight_memory(words, bits * self.pe, writable=self.writable)
        return super()._memories() | {"gate": gate}

    def _finish(self, m: Module, en: Value, sums: list[Value], lasts: list[Value]) -> None:
        bits = self._gate_bits
        # The gates are read ahead of the stage in which the sums are complete.
        ahead = lasts[3 + self.pe_latency - WeightMemory.latency]
        row = counter(m, en & ahead, self.nf, "gate_row")
        gates = read(m, "gate", self.memories["gate"], row, enable=en)
        upper, lower = sums
        output = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(output)
        for row in range(self.pe):
            gate = gates.word_select(row, bits).as_signed()
            is_open = later(m, en, upper[row] >= gate, 1, f"open_{row}")
            high = later(m, en, upper[row], 1, f"high_{row}")
            low = later(m, en, lower[row], 1, f"low_{row}")
            with m.If(en):
                m.d.sync += output[row].eq((high << 1) + Mux(is_open, low, 0))
