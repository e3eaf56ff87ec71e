"""Depthwise convolution: every channel with a kernel of its own."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import lanes as elements
from hw.border import BorderClass
from hw.pe import MULTIPLIERS, MultiplyPE, XnorPopcountPE
from hw.timing import Steps
from hw.weights import WeightMemory

__all__ = ["DepthwiseEngine"]


class DepthwiseEngine(wiring.Component):
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
        Elements. Sums are taken modulo the range of `output`, which is "intK".
    ram_style : "auto", "block" or "distributed"
        Memory of weights and initial sums.
    multiplier : "lut" or "dsp"
        Of products that have no binary operand.

    Members
    -------
    i : stream of `lanes(activation, kernel_taps * lanes)`, tap by tap
    o : stream of `lanes(output, lanes)`

    Timing
    ------
    `Steps` of one step, which takes and gives a beat. Latency: 2 for weights in a memory, that of
    the processing element, and 1 where something is to be added to its result, as for binary
    operands there always is; 3 at least where what is added is in a memory. `interval`, the cycles
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
        self.fold = channels // lanes
        self.interval = height * width * self.fold
        self._check_numbers()
        self._binary = elements.is_binary(activation) and elements.is_binary(weight)
        self._elements = [self._processing_element() for _ in range(lanes)]
        self._border = BorderClass(
            height=height, width=width, row_classes=row_classes, column_classes=column_classes
        )
        if len(self.initial) != self._border.classes:
            raise ValueError(
                f"initial must have {self._border.classes} entries, one a class, "
                f"not {len(self.initial)}"
            )
        self._kernels = self._weight_memory()
        self._sums = self._initial_memory()

        # Steps from the beat to the operands of the processing elements, then to their results.
        self._wait = WeightMemory.latency if self._kernels.depth > 1 else 0
        if self._sums.depth > 1:
            self._wait = max(self._wait, WeightMemory.latency - self._elements[0].latency)
        self._reach = self._wait + self._elements[0].latency
        self._adds = any(self._sums.init)
        self.timing = Steps(consumes=((1,),), emits=(1,), latency=self._reach + self._adds)
        super().__init__({"i": In(stream.Signature(i_shape)), "o": Out(stream.Signature(o_shape))})

    def _check_numbers(self) -> None:
        if self.multiplier not in MULTIPLIERS:
            raise ValueError(f"multiplier must be lut or dsp, not {self.multiplier!r}")
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

    def _processing_element(self) -> XnorPopcountPE | MultiplyPE:
        if self._binary:
            return XnorPopcountPE(simd=self.kernel_taps)
        return MultiplyPE(
            simd=self.kernel_taps,
            activation=self.activation,
            weight=self.weight,
            multiplier=self.multiplier,
        )

    def _weight_memory(self) -> WeightMemory:
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
        return WeightMemory(
            depth=self.fold,
            width=self.lanes * self.kernel_taps * bits,
            init=words,
            ram_style=self.ram_style,
        )

    def _initial_memory(self) -> WeightMemory:
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
        if all(entry == self.initial[0][0] for sums in self.initial for entry in sums):
            del words[1:]
        return WeightMemory(
            depth=len(words), width=self.lanes * bits, init=words, ram_style=self.ram_style
        )

    def elaborate(self, platform):
        m = Module()
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

        m.submodules.kernels = self._kernels
        m.submodules.sums = self._sums
        m.submodules.border = self._border
        address = Cat(fold, self._border.index)
        m.d.comb += [
            self._kernels.en.eq(en),
            self._kernels.address.eq(fold),
            self._sums.en.eq(en),
            self._border.advance.eq(fire & last),
        ]
        if self._sums.depth > 1:
            late = self._reach - WeightMemory.latency
            m.d.comb += self._sums.address.eq(delayed(address, late, "address"))

        window = delayed(self.i.payload.as_value(), self._wait, "window")
        bits = elements.element_shape(self.activation).width
        output = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(output)
        for lane, element in enumerate(self._elements):
            m.submodules[f"element_{lane}"] = element
            taps = [
                window.word_select(tap * self.lanes + lane, bits) for tap in range(self.kernel_taps)
            ]
            kernel = self._kernels.data.word_select(lane, len(Value.cast(element.w)))
            m.d.comb += [
                element.en.eq(en),
                Value.cast(element.a).eq(Cat(taps)),
                Value.cast(element.w).eq(kernel),
            ]
            result = element.matches << 1 if self._binary else element.dot_0
            if self._adds:
                start = self._sums.data.word_select(lane, len(output[lane])).as_signed()
                with m.If(en):
                    m.d.sync += output[lane].eq(result + start)
            else:
                m.d.comb += output[lane].eq(result)
        return m
