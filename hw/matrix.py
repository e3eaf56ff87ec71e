"""What the engines for a matrix and the windows of a map share: steps, operands, running sums.

The folded engine of FINN (Umuroglu et al., "FINN: a framework for fast, scalable binarized neural
network inference", FPGA 2017): ``pe`` rows and ``simd`` columns of the matrix a cycle. How columns
become sums is left to the engines.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.border import BorderClass, border_count
from hw.lanes import element_range, element_shape, is_binary, lanes
from hw.matrix_words import checked_initial, checked_weights, initial_words, weight_words
from hw.parameters import ParameterUnit
from hw.stages import later, stages_of
from hw.timing import Steps
from hw.weights import WeightMemory, read, style_attributes, weight_memory

__all__ = ["MatrixEngine", "counter"]

#: Steps up to which binary weights are merged into the logic that reads them.
_MERGED = 8


def counter(m: Module, advance: Value, period: int, name: str) -> Signal:
    """Steps of a period, counted where ``advance`` is 1."""
    count = Signal(range(period), name=name)
    with m.If(advance):
        m.d.sync += count.eq(Mux(count == period - 1, 0, count + 1))
    return count


class MatrixEngine(ParameterUnit):
    """Base of the engines; each says how it makes partial sums, and what becomes of full ones.

    Parameters
    ----------
    rows, cols : int
        Of the matrix: channels of the output, and numbers of a window.
    weights : sequence of ``rows`` sequences of ``cols`` int
        Columns in the order of the stream; +1 and -1 where ``weight`` is binary.
    initial : sequence of sequences of ``rows`` int
        What each sum starts from, for each border class.
    height, width : int
        Output map.
    row_classes, column_classes : sequence of int
        Border classes of its rows and columns; see :class:`hw.border.BorderClass`.
    weight, output : str
        Elements; ``weight`` is ``"binary"`` or ``"intK"``.
    simd : int
        Columns a cycle; divides ``cols``.
    pe : int
        Rows a cycle; divides ``rows``.
    ram_style : str
        Of the weights: ``"auto"``, ``"block"`` or ``"distributed"``. Initial sums of over 64 words
        are in block RAM, except with ``"distributed"``.
    writable : bool
        Whether weights and initial sums can be written; all of weights are in memories then.
    fixed_initial : bool
        Whether initial sums cannot be written even so, as they do not depend on the weights.

    Members
    -------
    i : stream of ``cols / simd`` beats a window
    o : stream of `lanes(output, pe)`, ``rows / pe`` beats a window
    parameters : In(ParameterPort)
        Where ``writable``.

    Timing
    ------
    `Steps` over the ``nf * sf`` steps of a window; ``nf = rows / pe`` and ``sf = cols / simd``. The
    first ``sf`` steps take its beats; every ``sf`` steps emit one. Latency is 3, ``pe_latency`` and
    ``finish_latency``. ``interval`` is ``height * width * nf * sf``.

    Raises
    ------
    ValueError
        A parameter is out of range, or does not suit another one.
    """

    #: Enabled cycles from a complete sum to the output.
    finish_latency = 0

    def __init__(
        self,
        *,
        rows: int,
        cols: int,
        weights: Sequence[Sequence[int]],
        initial: Sequence[Sequence[int]],
        height: int,
        width: int,
        row_classes: Sequence[int],
        column_classes: Sequence[int],
        weight: str,
        output: str,
        simd: int,
        pe: int,
        ram_style: str = "auto",
        writable: bool = False,
        fixed_initial: bool = False,
    ):
        for name, value in (("rows", rows), ("cols", cols), ("simd", simd), ("pe", pe)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if rows % pe:
            raise ValueError(f"rows must be a multiple of pe, not {rows} and {pe}")
        if cols % simd:
            raise ValueError(f"cols must be a multiple of simd, not {cols} and {simd}")
        self.rows = rows
        self.cols = cols
        self.weight = weight
        self.output = output
        self.simd = simd
        self.pe = pe
        self.nf = rows // pe
        self.sf = cols // simd
        self.height = height
        self.width = width
        self.row_classes = list(row_classes)
        self.column_classes = list(column_classes)
        self.classes = border_count(height, width, row_classes, column_classes)
        self.weights = checked_weights(weights, rows, cols, weight)
        self.initial = checked_initial(initial, self.classes, rows)
        if is_binary(output) or not element_shape(output).signed:
            raise ValueError(f"output must be 'intK', not {output!r}")
        style_attributes(ram_style)
        self.ram_style = ram_style
        self.writable = writable
        self.fixed_initial = fixed_initial
        self._check()
        self.pe_latency = self._partial_latency()
        steps = self.nf * self.sf
        self.interval = height * width * steps
        self.timing = Steps(
            consumes=(tuple(int(step < self.sf) for step in range(steps)),),
            emits=tuple(int(step % self.sf == self.sf - 1) for step in range(steps)),
            latency=3 + self.pe_latency + self.finish_latency,
        )
        super().__init__(
            {
                "i": In(stream.Signature(self._input_shape())),
                "o": Out(stream.Signature(lanes(output, pe))),
                **self._parameter_port(),
            }
        )

    # What an engine says; the rest is shared.

    def _check(self) -> None:
        """Check what the engine alone knows about; called before the next ones."""

    def _input_shape(self) -> data.ArrayLayout:
        """Payload of ``i``."""
        raise NotImplementedError

    def _partial_latency(self) -> int:
        """Latency of :meth:`_partial_sums`."""
        raise NotImplementedError

    def _partial_sums(self, m: Module, en: Value, a: Value, step: Value) -> list[list[Value]]:
        """Of each plane and row, the sum of a step's columns or what counts as it.

        ``step`` is the step now, ``a`` its activations two enabled cycles later; the sums are to
        come ``pe_latency`` after these.
        """
        raise NotImplementedError

    @property
    def _accumulator(self) -> str:
        """Element of the running sums."""
        return self.output

    @property
    def _counts(self) -> bool:
        """Whether partial sums are numbers of equal columns: twice that, less all, is the sum."""
        return False

    def _finish(self, m: Module, en: Value, sums: list[Value], lasts: list[Value]) -> None:
        """Drive the payload from the sums of each plane, ``finish_latency`` later.

        ``lasts`` tells in which stages a last step is; sums are complete where the stage number is
        ``3 + pe_latency``.
        """
        m.d.comb += self.o.payload.eq(sums[0])

    def _check_range(self, activation: str, *, fixed: bool) -> None:
        """Check that ``output`` holds the results; ``fixed``: some columns may be padding."""
        least, most = element_range(self.output)
        ends = element_range(activation)
        for row, weights in enumerate(self.weights):
            lo, hi = (sum(pick(w * a for a in ends) for w in weights) for pick in (min, max))
            starts = [sums[row] for sums in self.initial]
            lowest, highest = min(starts), max(starts)
            # The initial sum without border is at most all columns away from that of any border.
            common = range(max(highest - hi, least - lo), min(lowest - lo, most - hi) + 1)
            if fixed and common:
                continue
            if lowest + lo < least or highest + hi > most:
                raise ValueError(
                    f"output must hold {lowest + lo}..{highest + hi} of row {row}, "
                    f"not {self.output!r}"
                )

    @property
    def _merged(self) -> bool:
        # A weight that is one of few is a function of the step, and goes into the LUTs of the
        # first compressors together with three activations.
        few = self.nf * self.sf <= _MERGED
        return is_binary(self.weight) and few and self.ram_style != "block" and not self.writable

    def _weight_parts(self) -> dict[str, wiring.Component]:
        """What has the weights, by submodule name."""
        words = weight_words(self.weights, self.weight, self.pe, self.simd)
        weights = weight_memory(
            words,
            self.pe * self.simd * element_shape(self.weight).width,
            ram_style=self.ram_style,
            latency=0 if self._merged else WeightMemory.latency,
            writable=self.writable,
        )
        return {"weights": weights}

    def _memories(self) -> dict[str, wiring.Component]:
        bits = element_shape(self._accumulator).width
        words = initial_words(self._starts(), bits, self.pe)
        initial = weight_memory(
            words,
            bits * self.pe,
            # Past what a LUT6 a bit can hold, logic is large, and slow behind the class.
            ram_style="block" if len(words) > 64 and self.ram_style != "distributed" else "auto",
            writable=self.writable and not self.fixed_initial,
        )
        return {**self._weight_parts(), "initial": initial}

    def _read_weights(self, m: Module, en: Value, step: Value) -> Value:
        address = later(m, en, step, WeightMemory.latency, "weight_step") if self._merged else step
        return read(m, "weights", self.memories["weights"], address, enable=en)

    def _starts(self) -> list[list[int]]:
        """What the running sums start from, for each border class and row."""
        # Equal columns count twice, and once against all columns.
        offset = self.cols if self._counts else 0
        return [[s - offset for s in sums] for sums in self.initial]

    def elaborate(self, platform):
        m = Module()
        self._connect_parameters(m)
        en, fire = Signal(), Signal()
        taking = Signal(init=1)  # Of the first row: its beats are kept for the others.
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(en & taking),
            fire.eq(~taking | self.i.valid),
        ]
        # The front: what happens in the step itself, and its operands two stages later.
        column = counter(m, en & fire, self.sf, "column_step")
        first, last = column == 0, column == self.sf - 1
        row = counter(m, en & fire & last, self.nf, "row_step")
        with m.If(en & fire & last):  # To a register, as ready depends on it.
            m.d.sync += taking.eq(row == self.nf - 1)
        a = self._activations(m, en, fire & taking, taking, column)
        step = counter(m, en & fire, self.nf * self.sf, "step")

        # The middle: processing elements, and what of the step goes along with them.
        partial = self._partial_sums(m, en, a, step)
        depth = 2 + self.pe_latency
        end = self.timing.latency - 1
        fired, firsts = (
            stages_of(m, en, bit, depth, f"{name}_stages")
            for bit, name in ((fire, "fire"), (fire & first, "first"))
        )
        lasts = stages_of(m, en, fire & last, end, "last_stages")

        # The end: initial sums are read ahead of the stage where they are wanted.
        start = self._initial_sums(m, en, lasts[depth - WeightMemory.latency])
        sums = [
            self._accumulate(m, en & fired[depth], start, plane, firsts[depth], f"sums_{index}")
            for index, plane in enumerate(partial)
        ]
        self._finish(m, en, sums, lasts)
        with m.If(en):
            m.d.sync += self.o.valid.eq(lasts[end])
        return m

    def _activations(
        self, m: Module, en: Value, take: Value, taking: Value, column: Value
    ) -> Signal:
        """The step's activations, two stages after the step as its weights are."""
        width = len(self.i.payload.as_value())
        taken = Signal(width, reset_less=True)
        a = Signal(width, reset_less=True)
        # The only beat of a window is kept for the rows that follow.
        with m.If(en & take if self.sf == 1 else en):
            m.d.sync += taken.eq(self.i.payload.as_value())
        if self.sf == 1 or self.nf == 1:
            with m.If(en):
                m.d.sync += a.eq(taken)
            return a
        m.submodules.window = window = Memory(shape=width, depth=self.sf, init=[])
        write, read = window.write_port(), window.read_port()
        # Beats are written from the first stage, which keeps the handshake out of the way; they are
        # wanted again sf steps later, two at least.
        _, took = stages_of(m, en, take, 1, "took")
        was_taking = later(m, en, taking, 1, "was_taking")
        m.d.comb += [
            write.en.eq(en & took),
            write.addr.eq(later(m, en, column, 1, "write_column")),
            write.data.eq(taken),
            read.en.eq(en),
            read.addr.eq(column),
        ]
        with m.If(en):
            m.d.sync += a.eq(Mux(was_taking, taken, read.data))
        return a

    def _initial_sums(self, m: Module, en: Value, last: Value) -> list[Value]:
        """The initial sums of the accumulated step.

        ``last`` is the stage in which the step's address is wanted, so that the next one counts.
        """
        bits = element_shape(self._accumulator).width
        initial = self.memories["initial"]
        if initial.depth == 1 and not initial.writable:
            word = Signal(bits * self.pe, name="initial")
            m.d.comb += word.eq(initial.init[0])
        else:
            row = counter(m, en & last, self.nf, "initial_row")
            index = Signal(0)
            if len(self.initial) > 1:
                m.submodules.border = border = BorderClass(
                    height=self.height,
                    width=self.width,
                    row_classes=self.row_classes,
                    column_classes=self.column_classes,
                )
                m.d.comb += border.advance.eq(en & last & (row == self.nf - 1))
                index = border.index
            word = read(m, "initial", initial, Cat(row, index), enable=en)
        return [word.word_select(row, bits).as_signed() for row in range(self.pe)]

    def _accumulate(
        self,
        m: Module,
        advance: Value,
        start: list[Value],
        partial: list[Value],
        first: Value,
        name: str,
    ) -> data.View:
        """Running sums of the rows, complete when the last partial sum is in."""
        # Sums may leave the range on the way: they wrap, and the last one is right again.
        bits = element_shape(self._accumulator).width
        sums = Signal(lanes(self._accumulator, self.pe), name=name, reset_less=True)
        for row in range(self.pe):
            base = start[row] if self.sf == 1 else Mux(first, start[row], sums[row])
            if self._counts:
                # Equal columns count twice, so that the lowest bit is that of the initial sum.
                total = Cat(base[0], (base >> 1) + partial[row])
            else:
                total = base + partial[row]
            with m.If(advance):
                m.d.sync += sums[row].eq(total[:bits].as_signed())
        return sums
