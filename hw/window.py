"""Line buffer and sliding window: a map in, every kernel's view of it out, exact zero padding."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import lanes as elements
from hw.timing import WindowSteps

__all__ = ["SlidingWindow"]


class SlidingWindow(wiring.Component):
    """Give the window of every output pixel of a convolution, in raster order.

    Input rows go round `kernel[0] + stride` row banks. For each output row the reader goes over the
    columns once, reading all rows of a column at a time, and keeps the columns of the last windows
    in registers. Rows are given back whole, so that the next rows, those of the next frame too, are
    written while windows are read.

    Parameters
    ----------
    height, width, channels : int
        Input map.
    kernel : (int, int)
        Height and width of the window.
    stride : int
    padding : int
        Pixels of padding on each side, at most (min(kernel) - 1) // 2. They read as all-zero bits:
        0 for a number, -1 for a binary channel.
    lanes : int
        Channels a beat; divides `channels`.
    element : str
    ram_style : "auto", "distributed" or "block"
        Memory of the row banks. "auto" takes block RAM where a row has over 64 beats and 1024 bits.

    Members
    -------
    i : stream of `lanes(element, lanes)`
    o : stream of `lanes(element, kernel[0] * kernel[1] * lanes)`
        One beat for each `lanes` channels of each output pixel; order ky, kx, lane.

    Timing
    ------
    `WindowSteps` with latency 3, 4 with block RAM. `interval`, the cycles a frame, is
    max(height * width, out_height * columns) * channels / lanes, where
    columns = (out_width - 1) * stride - padding + kernel[1]. A frame takes a little longer where
    the kernel is higher than 2 * padding + 1 and about as high as the map, as the banks then hold
    too little of the next frame when one ends.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        channels: int,
        kernel: tuple[int, int],
        stride: int,
        padding: int,
        lanes: int,
        element: str,
        ram_style: str = "auto",
    ):
        for name, value in (("height", height), ("width", width), ("channels", channels)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        i_shape = elements.lanes(element, lanes)
        if channels % lanes:
            raise ValueError(f"channels must be a multiple of lanes, not {channels} and {lanes}")
        kernel = tuple(kernel)
        if len(kernel) != 2 or not all(isinstance(k, int) and k >= 1 for k in kernel):
            raise ValueError(f"kernel must be two positive integers, not {kernel!r}")
        if not isinstance(stride, int) or stride < 1:
            raise ValueError(f"stride must be a positive integer, not {stride!r}")
        most = (min(kernel) - 1) // 2
        if not isinstance(padding, int) or not 0 <= padding <= most:
            raise ValueError(
                f"padding must be in 0..{most} with kernel {kernel[0]}x{kernel[1]}, not {padding!r}"
            )
        if kernel[0] > height + 2 * padding or kernel[1] > width + 2 * padding:
            raise ValueError(
                f"kernel must fit in the padded map, not {kernel[0]}x{kernel[1]} in "
                f"{height + 2 * padding}x{width + 2 * padding}"
            )
        if ram_style not in ("auto", "distributed", "block"):
            raise ValueError(
                f"ram_style must be 'auto', 'distributed' or 'block', not {ram_style!r}"
            )
        if ram_style == "auto":
            beats = width * (channels // lanes)
            bits = beats * Shape.cast(i_shape).width
            ram_style = "block" if beats > 64 and bits > 1024 else "distributed"
        self.height = height
        self.width = width
        self.channels = channels
        self.kernel = kernel
        self.stride = stride
        self.padding = padding
        self.lanes = lanes
        self.element = element
        self.ram_style = ram_style
        self.timing = WindowSteps(
            height=height,
            width=width,
            fold=channels // lanes,
            kernel=kernel,
            stride=stride,
            padding=padding,
            latency=4 if ram_style == "block" else 3,
        )
        self.interval = self.timing.interval
        o_shape = elements.lanes(element, kernel[0] * kernel[1] * lanes)
        super().__init__({"i": In(stream.Signature(i_shape)), "o": Out(stream.Signature(o_shape))})

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        m.d.comb += en.eq(self.o.ready | ~self.o.valid)

        # Shared between writer and reader: how far each is ahead of the other.
        i_fire = Signal()
        fire = Signal()
        row_last = Signal()
        row = Signal(range(self.timing.out_height))

        write_bank, write_beat = self._elaborate_writer(m, i_fire, fire & row_last, row)
        step = self._elaborate_reader(m, en, i_fire, fire, row_last, row)
        columns = self._elaborate_banks(m, en, i_fire, write_bank, write_beat, step)
        self._elaborate_window(m, en, step, columns)
        return m

    def _elaborate_writer(self, m, i_fire, row_done, row):
        """Count the beats that come in and the rows that occupy a bank."""
        t = self.timing
        line = t.width * t.fold
        bank = Signal(t.rows, init=1)
        beat = Signal(range(line))
        line_last = Signal()
        # Rows that are complete and not given back. It goes below zero where the reader is done
        # with rows that are still to come: those which a stride, or the end of a map, leaves out.
        complete = Signal(range(-max(map(t.released, range(t.out_height))), t.rows + 1))
        released = self._ahead_of_row_end(
            m, by_row(m, row, [-t.released(r) for r in range(t.out_height)], "released")
        )
        m.d.comb += [
            self.i.ready.eq(complete != t.rows),
            i_fire.eq(self.i.valid & self.i.ready),
            line_last.eq(beat == line - 1),
        ]
        with m.If(i_fire):
            m.d.sync += beat.eq(beat + 1)
            with m.If(line_last):
                m.d.sync += [beat.eq(0), bank.eq(bank.rotate_left(1))]
        m.d.sync += complete.eq(
            _plus_carry(m, complete, Mux(row_done, released, 0), i_fire & line_last)
        )
        return bank, beat

    def _elaborate_reader(self, m, en, i_fire, fire, row_last, row):
        """Count rows, columns and channel folds of the steps, and decide when a step fires."""
        t = self.timing
        line, steps = t.width * t.fold, t.columns * t.fold
        beat = Signal(range(steps))
        fold = Signal(range(t.fold))
        column = Signal(range(t.columns))
        phase = Signal(range(t.stride), init=self._first_phase)
        right = Signal()  # The column is in the padding to the right of the map.
        top = Signal(range(t.rows), init=-self.padding % t.rows)
        fold_last = Signal()
        frame_last = Signal()
        m.d.comb += [
            fold_last.eq(fold == t.fold - 1),
            row_last.eq(self._is_last(m, beat, steps, fire)),
            frame_last.eq(self._ahead_of_row_end(m, row == t.out_height - 1)),
        ]

        # Beats written past the one that the step needs of its newest row, less one: a step finds
        # its data when this is not negative, which is one bit of a register. Both sides keep it.
        rows = range(t.out_height)
        newest = [t.newest(r) for r in rows] + [t.height + t.newest(0)]
        back = [steps - 1 - (newest[r + 1] - newest[r]) * line for r in rows]
        span = max(t.rows, max(newest[r + 1] - newest[r] for r in rows) + 1) * line + steps
        ahead = Signal(signed(span.bit_length() + 1), init=-1 - newest[0] * line)
        jump = self._ahead_of_row_end(m, by_row(m, row, back, "jump"))
        m.d.comb += fire.eq(en & (right | ~ahead[-1]))
        m.d.sync += ahead.eq(_plus_carry(m, ahead, Mux(fire, Mux(row_last, jump, -1), 0), i_fire))

        with m.If(fire):
            m.d.sync += [beat.eq(beat + 1), fold.eq(fold + 1)]
            with m.If(fold_last):
                m.d.sync += [
                    fold.eq(0),
                    column.eq(column + 1),
                    phase.eq(Mux(phase == t.stride - 1, 0, phase + 1)),
                ]
                with m.If(column == t.width - 1):
                    m.d.sync += right.eq(1)
            with m.If(row_last):
                m.d.sync += [
                    beat.eq(0),
                    column.eq(0),
                    phase.eq(self._first_phase),
                    right.eq(0),
                    row.eq(row + 1),
                    top.eq(_plus(top, t.stride, t.rows)),
                ]
                with m.If(frame_last):
                    m.d.sync += [
                        row.eq(0),
                        top.eq(_plus(top, t.height - (t.out_height - 1) * t.stride, t.rows)),
                    ]

        # What later stages need to know of the step.
        first = self.kernel[1] - 1 - self.padding
        inside = [
            sum(
                1 << ky
                for ky in range(self.kernel[0])
                if 0 <= r * t.stride - self.padding + ky < t.height
            )
            for r in rows
        ]
        layout = data.StructLayout(
            {
                "emit": 1,
                "top": top.shape(),
                "inside": unsigned(self.kernel[0]),
                "left": unsigned(self.padding),
            }
        )
        read = Signal(layout, reset_less=True)
        fired = Signal()
        with m.If(en):
            m.d.sync += [
                fired.eq(fire),
                read.emit.eq((column >= first) & (phase == 0)),
                read.top.eq(top),
                read.inside.eq(by_row(m, row, inside, "inside") & ~right.replicate(self.kernel[0])),
                read.left.eq(Cat(column < self.kernel[1] - 1 - kx for kx in range(self.padding))),
            ]
        return _Step(beat, fired, read)

    def _is_last(self, m, count, size, step):
        """Whether a counter of `size` steps is at its last one, from a register."""
        last = Signal(init=size == 1)
        if size > 1:
            with m.If(step):
                m.d.sync += last.eq(count == size - 2)
        return last

    def _ahead_of_row_end(self, m, value):
        """What follows from the row and is wanted in its last step alone, from a register."""
        if self.timing.columns * self.timing.fold == 1:
            return value
        value = Value.cast(value)
        early = Signal(value.shape(), name="early")
        m.d.sync += early.eq(value)
        return early

    @property
    def _first_phase(self) -> int:
        """Phase of column 0, such that it is 0 where a window is complete."""
        return -(self.kernel[1] - 1 - self.padding) % self.stride

    def _elaborate_banks(self, m, en, i_fire, write_bank, write_beat, step):
        """Store rows; give the rows of the step's column in the window's order, zero outside."""
        t = self.timing
        words = []
        # A word that is read while it is written is not used, as its row is not in the window. But
        # synthesis would keep what an Amaranth memory reads then, by logic around every block RAM,
        # unless it can prove that there is no such access. LUT memories need no logic for it.
        apart = Signal()
        m.d.comb += apart.eq((write_beat != step.beat) if self.ram_style == "block" else 1)
        for bank in range(t.rows):
            memory = m.submodules[f"bank_{bank}"] = Memory(
                shape=self.i.payload.shape(),
                # One word would be a memory without an address.
                depth=max(2, t.width * t.fold),
                init=[],
                attrs={"ram_style": self.ram_style},
            )
            write, read = memory.write_port(), memory.read_port(domain="sync")
            m.d.comb += [
                write.addr.eq(write_beat),
                write.data.eq(self.i.payload),
                write.en.eq(i_fire & write_bank[bank]),
                read.addr.eq(step.beat),
                read.en.eq(en & (apart | ~write.en)),
            ]
            word = read.data.as_value()
            if self.ram_style == "block":
                # A block RAM is slow from the clock to its output: nothing fits behind it.
                loaded = Signal(len(word), name=f"loaded_{bank}", reset_less=True)
                with m.If(en):
                    m.d.sync += loaded.eq(word)
                word = loaded
            words.append(word)
        if self.ram_style == "block":
            fired, read = Signal(), Signal(step.read.shape(), reset_less=True)
            with m.If(en):
                m.d.sync += [fired.eq(step.fired), read.eq(step.read)]
            step.fired, step.read = fired, read
        columns = []
        for ky in range(self.kernel[0]):
            word = Signal(words[0].shape(), name=f"row_{ky}")
            with m.Switch(step.read.top):
                for top in range(t.rows):
                    with m.Case(top):
                        m.d.comb += word.eq(words[(top + ky) % t.rows])
            columns.append(Mux(step.read.inside[ky], word, 0))
        return columns

    def _elaborate_window(self, m, en, step, columns):
        """Keep the last columns, and put the complete windows out."""
        kh, kw = self.kernel
        width = len(columns[0])
        emit, valid = Signal(), Signal()
        left = Signal(self.padding, reset_less=True)
        window = Signal(data.ArrayLayout(data.ArrayLayout(width, kw), kh), reset_less=True)
        output = Signal(data.ArrayLayout(data.ArrayLayout(width, kw), kh), reset_less=True)
        with m.If(en):
            m.d.sync += [
                emit.eq(step.fired & step.read.emit),
                valid.eq(emit),
                left.eq(step.read.left),
            ]
            for ky, kx in ((ky, kx) for ky in range(kh) for kx in range(kw)):
                # Columns to the left of the map are what the previous row has left behind.
                pixel = window[ky][kx]
                m.d.sync += output[ky][kx].eq(Mux(left[kx], 0, pixel) if kx < len(left) else pixel)
        with m.If(en & step.fired):
            for ky in range(kh):
                # A column passes on the same channels of the column after it, which are `fold`
                # steps old when those of the newest one come.
                newer = columns[ky]
                for kx in reversed(range(kw)):
                    m.d.sync += window[ky][kx].eq(newer)
                    newer = window[ky][kx]
                    for delay in range(self.timing.fold - 1 if kx else 0):
                        older = Signal(width, name=f"fold_{ky}_{kx}_{delay}", reset_less=True)
                        m.d.sync += older.eq(newer)
                        newer = older
        m.d.comb += [self.o.valid.eq(valid), self.o.payload.as_value().eq(output.as_value())]


class _Step:
    """A step of the reader: its address, and with the data whether it fired and what it reads."""

    def __init__(self, beat, fired, read):
        self.beat = beat
        self.fired = fired
        self.read = read


def by_row(m, row, values, name):
    """A signal with `values[row]`, made from compares with the few rows that are not like most."""
    usual = max(values, key=values.count)
    result = Signal(range(min(values), max(values) + 1), name=name)
    m.d.comb += result.eq(usual)
    with m.Switch(row):
        for index, value in enumerate(values):
            if value != usual:
                with m.Case(index):
                    m.d.comb += result.eq(value)
    return result


def _plus_carry(m, value, change, carry):
    """`value + change + carry` in the bits of `value`, by one carry chain."""
    bits = len(value)
    wide = Signal(signed(bits), name="change")
    m.d.comb += wide.eq(change)
    return (Cat(1, value) + Cat(carry, wide))[1 : bits + 1]


def _plus(value, constant, modulo):
    """`value + constant` modulo `modulo`, for a `value` below it."""
    constant %= modulo
    if not constant:
        return value
    return Mux(value >= modulo - constant, value + constant - modulo, value + constant)
