"""Pooling over windows that do not overlap, the whole map included."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import lanes as elements
from hw.timing import Steps

__all__ = ["PoolUnit"]


class PoolUnit(wiring.Component):
    """Maximum or rounded, scaled sum of each window, per channel.

    Windows stand side by side from the top left; rows and columns that do not fill a window are
    taken and dropped. Partial results of one row of windows are kept.

    Parameters
    ----------
    height, width, channels : int
        Input map.
    lanes : int
        Channels a beat; divides `channels`.
    kernel : (int, int)
        Height and width of the window; the map's own pool over the whole map.
    mode : "max" or "sum"
        The maximum, or (sum + half) >> shift with half = 2 ** (shift - 1), 0 for no shift. Binary
        channels count as +1 and -1.
    shift : int
        0 for "max".
    input, output : str
        Elements. `output` is `input` for "max", and holds every result for "sum".
    ram_style : "auto", "distributed" or "block"
        Memory of the partial results. The sum stands right behind it: block RAM saves LUTs where
        many are stored, but makes for a slow clock, as it is slow from the clock to its output.

    Members
    -------
    i : stream of `lanes(input, lanes)`
    o : stream of `lanes(output, lanes)`

    Timing
    ------
    `Steps` over a frame of `interval` = height * width * channels / lanes steps; each takes a beat,
    those of a window's last pixel give one. Latency 2 for "max", 3 for "sum".

    Raises
    ------
    ValueError
        A parameter is out of range, or `output` does not hold every result.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        channels: int,
        lanes: int,
        kernel: tuple[int, int],
        mode: str,
        shift: int = 0,
        input: str,
        output: str,
        ram_style: str = "distributed",
    ):
        for name, value in (("height", height), ("width", width), ("channels", channels)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        i_shape, o_shape = elements.lanes(input, lanes), elements.lanes(output, lanes)
        if channels % lanes:
            raise ValueError(f"channels must be a multiple of lanes, not {channels} and {lanes}")
        kernel = tuple(kernel)
        if len(kernel) != 2 or not all(isinstance(k, int) and k >= 1 for k in kernel):
            raise ValueError(f"kernel must be two positive integers, not {kernel!r}")
        if kernel[0] > height or kernel[1] > width:
            raise ValueError(
                f"kernel must fit in the map, not {kernel[0]}x{kernel[1]} in {height}x{width}"
            )
        if mode not in ("max", "sum"):
            raise ValueError(f"mode must be 'max' or 'sum', not {mode!r}")
        if not isinstance(shift, int) or shift < 0:
            raise ValueError(f"shift must be a non-negative integer, not {shift!r}")
        if ram_style not in ("auto", "distributed", "block"):
            raise ValueError(
                f"ram_style must be 'auto', 'distributed' or 'block', not {ram_style!r}"
            )
        if mode == "max":
            if shift:
                raise ValueError(f"shift must be 0 for the maximum, not {shift}")
            if input != output:
                raise ValueError(
                    f"output must be the input's element for the maximum, not {output} for {input}"
                )
        else:
            half = 1 << shift >> 1
            lo, hi = (
                (kernel[0] * kernel[1] * x + half) >> shift for x in elements.element_range(input)
            )
            least, most = elements.element_range(output)
            if elements.is_binary(output) or lo < least or hi > most:
                raise ValueError(f"output must hold {lo}..{hi}, which {output} does not")
        self.height = height
        self.width = width
        self.channels = channels
        self.lanes = lanes
        self.kernel = kernel
        self.mode = mode
        self.shift = shift
        self.input = input
        self.output = output
        self.ram_style = ram_style
        self.fold = channels // lanes
        self.windows = (height // kernel[0], width // kernel[1])
        self.interval = height * width * self.fold
        emits = tuple(
            int(self._ends(y, self.kernel[0], height) and self._ends(x, self.kernel[1], width))
            for y in range(height)
            for x in range(width)
            for _ in range(self.fold)
        )
        self.timing = Steps(
            consumes=((1,) * self.interval,), emits=emits, latency=2 if mode == "max" else 3
        )
        super().__init__({"i": In(stream.Signature(i_shape)), "o": Out(stream.Signature(o_shape))})

    @staticmethod
    def _ends(position: int, kernel: int, size: int) -> bool:
        """Whether a window ends at this row or column."""
        return position % kernel == kernel - 1 and position < size - size % kernel

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        fire = Signal()
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(en),
            fire.eq(en & self.i.valid),
        ]

        # Where the step is. Windows of dropped columns and rows begin but never end.
        fold, fold_last = _counter(m, "fold", fire, self.fold)
        column_done = fire & fold_last
        column, column_last = _counter(m, "column", column_done, self.width)
        kx, kx_last = _counter(m, "kx", column_done, self.kernel[1], column_last)
        row_done = column_done & column_last
        row, row_last = _counter(m, "row", row_done, self.height)
        ky, ky_last = _counter(m, "ky", row_done, self.kernel[0], row_last)
        in_rows = row < self.windows[0] * self.kernel[0]
        in_columns = column < self.windows[1] * self.kernel[1]

        words = self.windows[1] * self.fold
        window = Signal(range(words))  # Address of the window's first partial result.
        address = Signal(range(words))
        m.d.comb += address.eq(window + fold)
        with m.If(row_done):
            m.d.sync += window.eq(0)
        with m.Elif(column_done & kx_last):
            m.d.sync += window.eq(window + self.fold)

        # What the next stages need to know of the step.
        item = Signal(self.i.payload.shape(), reset_less=True)
        first = Signal(reset_less=True)
        recent = Signal(reset_less=True)
        keep = Signal(reset_less=True)
        ends = Signal(reset_less=True)
        write_address = Signal(range(words), reset_less=True)
        fired = Signal()
        with m.If(en):
            m.d.sync += [
                item.eq(self.i.payload),
                first.eq((kx == 0) & (ky == 0)),
                recent.eq(kx != 0),
                keep.eq(in_columns),
                ends.eq(kx_last & ky_last & in_columns & in_rows),
                write_address.eq(address),
                fired.eq(fire),
            ]

        layout = data.ArrayLayout(self._partial_shape, self.lanes)
        partial = Signal(layout, reset_less=True)
        previous = Signal(layout)
        combined = Signal(layout)
        m.d.comb += previous.eq(partial)
        if words > 1 and self.kernel != (1, 1):
            memory = m.submodules.partials = Memory(
                shape=layout,
                depth=words,
                init=[],
                attrs={} if self.ram_style == "auto" else {"ram_style": self.ram_style},
            )
            write, read = memory.write_port(), memory.read_port(domain="sync")
            m.d.comb += [
                read.addr.eq(address),
                read.en.eq(en),
                write.addr.eq(write_address),
                write.data.eq(combined),
                write.en.eq(en & fired & keep),
            ]
            # With one fold the columns of a window follow each other too closely for the memory,
            # but then the partial result is that of the last step.
            with m.If(~recent if self.fold == 1 else 1):
                m.d.comb += previous.eq(read.data)
        for lane in range(self.lanes):
            m.d.comb += combined[lane].eq(self._combine(first, previous[lane], item[lane]))
        with m.If(en & fired & keep):
            m.d.sync += partial.eq(combined)

        valid = Signal(self.timing.latency - 1)
        with m.If(en):
            m.d.sync += valid.eq(Cat(fired & ends, valid))
        m.d.comb += self.o.valid.eq(valid[-1])
        if self.mode == "max":
            m.d.comb += self.o.payload.eq(partial)
        else:
            output = Signal(self.o.payload.shape(), reset_less=True)
            m.d.comb += self.o.payload.eq(output)
            with m.If(en):
                for lane in range(self.lanes):
                    m.d.sync += output[lane].eq(self._round(partial[lane]))
        return m

    @property
    def _partial_shape(self) -> Shape:
        if self.mode == "max":
            return elements.element_shape(self.input)
        pixels = self.kernel[0] * self.kernel[1]
        if elements.is_binary(self.input):
            return Shape.cast(range(pixels + 1))  # Only the +1 are counted.
        lo, hi = elements.element_range(self.input)
        return Shape.cast(range(pixels * lo, pixels * hi + 1))

    def _combine(self, first, previous, item):
        """The partial result with one more pixel."""
        if self.mode == "sum":
            return Mux(first, 0, previous) + item
        if elements.is_binary(self.input):
            return item | (previous & ~first)
        return Mux(first | (item > previous), item, previous)

    def _round(self, total):
        """The pooled number of a complete sum."""
        if elements.is_binary(self.input):
            total = (total << 1) - self.kernel[0] * self.kernel[1]
        return (total + (1 << self.shift >> 1)) >> self.shift


def _counter(m, name, advance, modulo, restart=0):
    """A counter that goes back to 0 after `modulo` values or on `restart`, and whether it is at the
    last value."""
    count = Signal(range(modulo), name=name)
    last = count == modulo - 1
    with m.If(advance):
        m.d.sync += count.eq(Mux(last | restart, 0, count + 1))
    return count, last
