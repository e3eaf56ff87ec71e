"""Depthwise convolution: every channel with a kernel of its own."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from hw import lanes as elements
from hw.border import BorderClass, border_count
from hw.parameters import ParameterUnit
from hw.pe import MULTIPLIERS, MultiplyPE, XnorPopcountPE, multiply_latency
from hw.popcount import popcount_latency
from hw.timing import Steps
from hw.weights import WeightMemory, read, style_attributes, weight_memory

__all__ = ["DepthwiseEngine"]

# Words of a memory that logic holds at about a LUT4 a bit.
_LOGIC = 16


class DepthwiseEngine(ParameterUnit):
    """The dot product of each channel's window with that channel's kernel, some channels at once.

    output = initial[class][channel] + sum(weight * activation), binary operands being +1 and -1.
    The class of the output pixel says which of its taps are in the padding: a binary map pads with
    -1, which the initial sum corrects.

    Parameters
    ----------
    channels, lanes : int
        Channels, and how many of them a beat carries; `lanes` divides `channels`. With all of them
        in one beat, weights are constants in the logic, else they are in a memory.
    kernel_taps : int
        Taps of a kernel.
    weights : list (channel) of list (tap) of int
        +1 and -1 where `weight` is "binary".
    initial : list (class) of list (channel) of int
    height, width : int
        Output map.
    row_classes, column_classes : list of int
        Class of each output row and column, as for `BorderClass`.
    activation, weight, output : str
        Elements; `weight` is "binary" or "intK". `output` is an "intK" that holds every sum, which
        is not checked where taps of a binary map may be in the padding.
    ram_style : "auto", "block" or "distributed"
        Memory of weights and initial sums.
    multiplier : "lut" or "dsp"
        Of products that have no binary operand.
    writable : bool
        Whether weights and initial sums can be written.
    fixed_initial : bool
        Whether initial sums cannot be written even so, as they do not depend on the weights.

    Members
    -------
    i : stream of `lanes(activation, kernel_taps * lanes)`, tap by tap
    o : stream of `lanes(output, lanes)`
    parameters : In(ParameterPort)
        Where `writable`.

    Timing
    ------
    `Steps` of one step, which takes and gives a beat. Latency: that of the weights, that of the
    processing element (`pe_latency`), and 1 where something is to be added to its result, as for
    binary operands there always is. Weights take no cycle where they are constants, 1 where they
    are at most 16 words of logic, else 2; so do the initial sums, meanwhile. `interval`, the cycles
    a frame, is height * width * channels / lanes.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(
        self,
        *,
        channels: int,
        lanes: int,
        kernel_taps: int,
        weights: Sequence[Sequence[int]],
        initial: Sequence[Sequence[int]],
        height: int,
        width: int,
        row_classes: Sequence[int],
        column_classes: Sequence[int],
        activation: str,
        weight: str,
        output: str,
        ram_style: str = "auto",
        multiplier: str = "lut",
        writable: bool = False,
        fixed_initial: bool = False,
    ):
        for name, value in (("channels", channels), ("kernel_taps", kernel_taps)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        o_shape = elements.lanes(output, lanes)
        if channels % lanes:
            raise ValueError(f"channels must be a multiple of lanes, not {channels} and {lanes}")
        i_shape = elements.lanes(activation, kernel_taps * lanes)
        if elements.is_binary(output) or not elements.element_shape(output).signed:
            raise ValueError(f"output must be 'intK', not {output!r}")
        self.channels = channels
        self.lanes = lanes
        self.kernel_taps = kernel_taps
        self.weights = [list(kernel) for kernel in weights]
        self.initial = [list(sums) for sums in initial]
        self.height = height
        self.width = width
        self.row_classes = list(row_classes)
        self.column_classes = list(column_classes)
        self.activation = activation
        self.weight = weight
        self.output = output
        self.ram_style = ram_style
        self.multiplier = multiplier
        self.writable = writable
        self.fixed_initial = fixed_initial
        self.fold = channels // lanes
        self.interval = height * width * self.fold
        self._check_numbers()
        self._binary = elements.is_binary(activation) and elements.is_binary(weight)
        classes = border_count(height, width, row_classes, column_classes)
        if len(self.initial) != classes:
            raise ValueError(
                f"initial must have {classes} entries, one a class, not {len(self.initial)}"
            )
        # A class may stand for taps in the padding of a binary map, which are not free to be +1.
        if not (elements.is_binary(activation) and (classes > 1 or height * width == 1)):
            self._check_output()
        style_attributes(ram_style)
        if multiplier not in MULTIPLIERS:
            raise ValueError(f"multiplier must be lut or dsp, not {multiplier!r}")
        if self._binary:
            self.pe_latency = popcount_latency(kernel_taps)
        else:
            self.pe_latency = multiply_latency(kernel_taps, activation, weight, 1, multiplier)

        # Steps from the beat to the operands of the processing elements, then to their results.
        starts = self._initial_words()
        self._wait = self._latency(self.fold)
        if len(starts) > 1:
            self._wait = max(self._wait, self._latency(len(starts)) - self.pe_latency)
        self._reach = self._wait + self.pe_latency
        self._adds = any(starts) or self._writes_initial
        self.timing = Steps(consumes=((1,),), emits=(1,), latency=self._reach + self._adds)
        super().__init__(
            {
                "i": In(stream.Signature(i_shape)),
                "o": Out(stream.Signature(o_shape)),
                **self._parameter_port(),
            }
        )

    @property
    def _writes_initial(self) -> bool:
        return self.writable and not self.fixed_initial

    def _latency(self, words: int) -> int:
        """Latency of a memory: constants, logic with a register, or what may be a block RAM."""
        if words == 1:
            return 0
        return 1 if words <= _LOGIC and self.ram_style != "block" else 2

    def _memory(self, words: list[int], width: int, writable: bool) -> WeightMemory:
        latency = self._latency(len(words))
        style = self.ram_style if latency == 2 else "distributed"
        return weight_memory(words, width, ram_style=style, latency=latency, writable=writable)

    def _memories(self) -> dict[str, WeightMemory]:
        tap = elements.element_shape(self.weight).width
        total = elements.element_shape(self.output).width
        width = self.lanes * self.kernel_taps * tap
        return {
            "kernels": self._memory(self._weight_words(), width, self.writable),
            "sums": self._memory(self._initial_words(), self.lanes * total, self._writes_initial),
        }

    def _read(self, m: Module, name: str, address: Value, en: Value) -> Value:
        memory = self.memories[name]
        if memory.depth == 1 and not memory.writable:
            return Const(memory.init[0], memory.width)
        return read(m, name, memory, address, enable=en)

    def _check_numbers(self) -> None:
        sizes = {len(kernel) for kernel in self.weights}
        if len(self.weights) != self.channels or sizes != {self.kernel_taps}:
            raise ValueError(
                f"weights must be {self.channels} kernels of {self.kernel_taps} taps, "
                f"not {len(self.weights)} of {sorted(sizes)}"
            )
        lo, hi = elements.element_range(self.weight)
        for weight in (weight for kernel in self.weights for weight in kernel):
            zero = elements.is_binary(self.weight) and weight == 0
            if not isinstance(weight, int) or not lo <= weight <= hi or zero:
                raise ValueError(f"weights must be of element {self.weight}, not {weight!r}")
        for sums in self.initial:
            if len(sums) != self.channels or not all(isinstance(entry, int) for entry in sums):
                raise ValueError(f"initial must have {self.channels} integers a class, not {sums}")

    def _check_output(self) -> None:
        least, most = elements.element_range(self.output)
        ends = elements.element_range(self.activation)
        for channel, kernel in enumerate(self.weights):
            lo, hi = (sum(pick(w * a for a in ends) for w in kernel) for pick in (min, max))
            lo += min(sums[channel] for sums in self.initial)
            hi += max(sums[channel] for sums in self.initial)
            if lo < least or hi > most:
                raise ValueError(
                    f"output must hold {lo}..{hi} of channel {channel}, not {self.output!r}"
                )

    def _weight_words(self) -> list[int]:
        """The kernels of a beat a word: lane by lane, tap by tap."""
        bits = elements.element_shape(self.weight).width
        if elements.is_binary(self.weight):
            codes = [[int(weight > 0) for weight in kernel] for kernel in self.weights]
        else:
            codes = [[weight & (1 << bits) - 1 for weight in kernel] for kernel in self.weights]
        words = []
        for at in range(0, self.channels, self.lanes):
            taps = [code for kernel in codes[at : at + self.lanes] for code in kernel]
            words.append(sum(code << k * bits for k, code in enumerate(taps)))
        return words

    def _initial_words(self) -> list[int]:
        """What is added to the results of a beat a word; the class above the bits of the fold."""
        bits = elements.element_shape(self.output).width
        # A processing element counts matches: the sum is twice that, less the taps.
        less = self.kernel_taps if self._binary else 0
        words = []
        for sums in self.initial:
            for at in range(0, self.channels, self.lanes):
                codes = [entry - less & (1 << bits) - 1 for entry in sums[at : at + self.lanes]]
                words.append(sum(code << k * bits for k, code in enumerate(codes)))
            words += [0] * ((1 << (self.fold - 1).bit_length()) - self.fold)
        alike = all(entry == self.initial[0][0] for sums in self.initial for entry in sums)
        return words[:1] if alike and not self._writes_initial else words

    def elaborate(self, platform):
        m = Module()
        self._connect_parameters(m)
        en = Signal()
        fire = Signal()
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(en),
            fire.eq(en & self.i.valid),
        ]
        valid = Signal(self.timing.latency)
        with m.If(en):
            m.d.sync += valid.eq(Cat(fire, valid))
        m.d.comb += self.o.valid.eq(valid[-1])

        bits = elements.element_shape(self.activation).width
        fold = Signal(range(self.fold))
        last = fold == self.fold - 1
        with m.If(fire):
            m.d.sync += fold.eq(fold + 1)
            with m.If(last):
                m.d.sync += fold.eq(0)

        def delayed(value: Value, steps: int, name: str) -> Value:
            for step in range(steps):
                stage = Signal(len(value), name=f"{name}_{step}", reset_less=True)
                with m.If(en):
                    m.d.sync += stage.eq(value)
                value = stage
            return value

        kernel_bits = self.kernel_taps * elements.element_shape(self.weight).width
        kernels = self._read(m, "kernels", fold, en)
        address = fold
        starts = self.memories["sums"].depth
        if starts > 1:
            m.submodules.border = border = BorderClass(
                height=self.height,
                width=self.width,
                row_classes=self.row_classes,
                column_classes=self.column_classes,
            )
            m.d.comb += border.advance.eq(fire & last)
            late = self._reach - self._latency(starts)
            address = delayed(Cat(fold, border.index), late, "address")
        sums = self._read(m, "sums", address, en)

        window = delayed(self.i.payload.as_value(), self._wait, "window")
        output = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(output)
        for lane in range(self.lanes):
            taps = Cat(
                window.word_select(tap * self.lanes + lane, bits) for tap in range(self.kernel_taps)
            )
            kernel = kernels.word_select(lane, kernel_bits)
            if self._binary:
                pe = XnorPopcountPE(simd=self.kernel_taps)
                result = pe.matches << 1
            else:
                pe = MultiplyPE(
                    simd=self.kernel_taps,
                    activation=self.activation,
                    weight=self.weight,
                    multiplier=self.multiplier,
                )
                result = pe.dot_0
            m.submodules[f"pe_{lane}"] = pe
            m.d.comb += [pe.en.eq(en), pe.a.eq(taps), pe.w.eq(kernel)]
            if self._adds:
                start = sums.word_select(lane, len(output[lane])).as_signed()
                with m.If(en):
                    m.d.sync += output[lane].eq(result + start)
            else:
                m.d.comb += output[lane].eq(result)
        return m
