"""Per-channel affine units: what is left of batch-norm, shifts and RPReLU."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lanes import element_range, element_shape, is_binary, lanes
from hw.timing import Steps
from hw.weights import WeightMemory

__all__ = ["AffineUnit", "RPReLUUnit"]


def _shape_of(values: Sequence[int]) -> Shape:
    """The narrowest shape that holds all values."""
    return Shape.cast(range(min(values), max(values) + 1))


class _SegmentsUnit(wiring.Component):
    """``saturate((x * scale + bias + half) >> shift)`` with scale and bias of a chosen segment.

    One multiplier a lane. What a channel needs is a word of a memory of ``channels / lanes`` words,
    or constants where that is one.
    """

    def __init__(
        self,
        *,
        channels: int,
        lane_count: int,
        thresholds: Sequence[int] | None,
        scales: Sequence[Sequence[int]],
        biases: Sequence[Sequence[int]],
        shift: int,
        input: str,
        output: str,
    ):
        for name, value in (("channels", channels), ("lanes", lane_count)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if channels % lane_count:
            raise ValueError(
                f"channels must be a multiple of lanes, not {channels} and {lane_count}"
            )
        if not isinstance(shift, int) or shift < 0:
            raise ValueError(f"shift must be a non-negative integer, not {shift!r}")
        for name, element in (("input", input), ("output", output)):
            if is_binary(element):
                raise ValueError(f"{name} must be a number, not binary")
        rows = [("scale", row) for row in scales] + [("bias", row) for row in biases]
        rows += [("threshold", thresholds)] if thresholds is not None else []
        for name, row in rows:
            if len(row) != channels or not all(isinstance(value, int) for value in row):
                raise ValueError(f"{name} must be {channels} integers, one for each channel")
        self.channels = channels
        self.lanes = lane_count
        self.shift = shift
        self.input = input
        self.output = output
        self.thresholds = None if thresholds is None else list(thresholds)
        self.scales = [list(row) for row in scales]
        self.biases = [list(row) for row in biases]
        self.interval = channels // lane_count
        self.timing = Steps(consumes=((1,),), emits=(1,), latency=len(scales) + 4)
        super().__init__(
            {
                "i": In(stream.Signature(lanes(input, lane_count))),
                "o": Out(stream.Signature(lanes(output, lane_count))),
            }
        )

    def _fields(self) -> list[tuple[list[int], Shape]]:
        """The numbers of each channel and their shapes: scales, biases, and the threshold."""
        half = (1 << self.shift) >> 1
        biases = [[bias + half for bias in row] for row in self.biases]
        scale = _shape_of([value for row in self.scales for value in row])
        bias = _shape_of([value for row in biases for value in row])
        fields = [(row, scale) for row in self.scales] + [(row, bias) for row in biases]
        if self.thresholds is not None:
            fields.append((self.thresholds, _shape_of(self.thresholds)))
        return fields

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        fire = Signal()
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(en),
            fire.eq(self.i.valid),
        ]
        stages = Signal(self.timing.latency)
        with m.If(en):
            m.d.sync += stages.eq(Cat(fire, stages[:-1]))
        m.d.comb += self.o.valid.eq(stages[-1])

        fields = self._fields()
        bits = sum(shape.width for _, shape in fields)
        m.submodules.parameters = memory = WeightMemory(
            depth=self.interval, width=bits * self.lanes, init=self._words(fields)
        )
        fold = Signal(range(self.interval))
        with m.If(en & fire):
            m.d.sync += fold.eq(Mux(fold == self.interval - 1, 0, fold + 1))
        m.d.comb += [memory.en.eq(en), memory.address.eq(fold)]

        for lane in range(self.lanes):
            x = self.i.payload[lane]
            for stage in range(memory.latency):
                x = self._register(m, en, x, x.shape(), f"x{stage}_{lane}")
            word = memory.data.word_select(lane, bits)
            values = []
            for _, shape in fields:
                value = word[: shape.width]
                word = word[shape.width :]
                values.append(value.as_signed() if shape.signed else value)
            self._lane(m, en, lane, x, values)
        return m

    def _words(self, fields: list[tuple[list[int], Shape]]) -> list[int]:
        words = []
        for first in range(0, self.channels, self.lanes):
            word = place = 0
            for channel in range(first, first + self.lanes):
                for row, shape in fields:
                    word |= (row[channel] & (1 << shape.width) - 1) << place
                    place += shape.width
            words.append(word)
        return words

    @staticmethod
    def _register(m: Module, en: Value, value: Value, shape: Shape, name: str) -> Signal:
        result = Signal(shape, name=name, reset_less=True)
        with m.If(en):
            m.d.sync += result.eq(value)
        return result

    def _lane(self, m: Module, en: Value, lane: int, x: Value, values: list[Value]) -> None:
        """The stages of a lane behind its parameters."""
        segments = len(self.scales)
        scales, biases = values[:segments], values[segments : 2 * segments]
        scale, bias = scales[0], biases[0]
        if segments == 2:
            above = x >= values[-1]
            scale = Mux(above, scales[1], scales[0])
            bias = Mux(above, biases[1], biases[0])
            scale, bias, x = (
                self._register(m, en, value, like.shape(), f"{name}_{lane}")
                for name, value, like in (
                    ("scale", scale, scales[0]),
                    ("bias", bias, biases[0]),
                    ("x", x, x),
                )
            )
        product = self._register(m, en, x * scale, (x * scale).shape(), f"product_{lane}")
        later = self._register(m, en, bias, bias.shape(), f"bias_{lane}_later")
        total = product + later
        moved = self._register(
            m, en, total >> self.shift, (total >> self.shift).shape(), f"moved_{lane}"
        )
        least, most = element_range(self.output)
        result = Signal(element_shape(self.output), name=f"result_{lane}", reset_less=True)
        with m.If(en):
            with m.If(moved < least):
                m.d.sync += result.eq(least)
            with m.Elif(moved > most):
                m.d.sync += result.eq(most)
            with m.Else():
                m.d.sync += result.eq(moved)
        m.d.comb += self.o.payload[lane].eq(result)


class AffineUnit(_SegmentsUnit):
    """Per channel ``saturate((x * scale + bias + half) >> shift)``.

    ``half`` is ``2 ** (shift - 1)``, 0 for no shift; the shift rounds down, so halves round up.

    Parameters
    ----------
    channels, lanes : int
        Channels, and how many of them a beat carries; ``lanes`` divides ``channels``.
    scale, bias : sequence of int, one for each channel
    shift : int
    input, output : str
        Elements, not binary; the result saturates to ``output``.

    Members
    -------
    i : stream of `lanes(input, lanes)`
    o : stream of `lanes(output, lanes)`

    Timing
    ------
    `Steps` of one step, which takes and gives a beat; latency 5. ``interval``, the cycles a pixel,
    is ``channels / lanes``.

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
        scale: Sequence[int],
        bias: Sequence[int],
        shift: int,
        input: str,
        output: str,
    ):
        super().__init__(
            channels=channels,
            lane_count=lanes,
            thresholds=None,
            scales=[scale],
            biases=[bias],
            shift=shift,
            input=input,
            output=output,
        )


class RPReLUUnit(_SegmentsUnit):
    """Two affine segments, chosen per channel by one compare.

    Segment 1 where ``x >= threshold``, else segment 0: batch-norm, shifts and PReLU of ReActNet
    (Liu et al., ECCV 2020) in one compare, one multiply and one add.

    Parameters
    ----------
    channels, lanes : int
        Channels, and how many of them a beat carries; ``lanes`` divides ``channels``.
    threshold : sequence of int, one for each channel
    scale, bias : two sequences of int, one for each channel
        Of segment 0 and segment 1.
    shift : int
    input, output : str
        Elements, not binary; the result saturates to ``output``.

    Members
    -------
    i : stream of `lanes(input, lanes)`
    o : stream of `lanes(output, lanes)`

    Timing
    ------
    `Steps` of one step, which takes and gives a beat; latency 6. ``interval``, the cycles a pixel,
    is ``channels / lanes``.

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
        threshold: Sequence[int],
        scale: Sequence[Sequence[int]],
        bias: Sequence[Sequence[int]],
        shift: int,
        input: str,
        output: str,
    ):
        if len(scale) != 2 or len(bias) != 2:
            raise ValueError(
                f"scale and bias must be given for two segments, not {len(scale)} and {len(bias)}"
            )
        super().__init__(
            channels=channels,
            lane_count=lanes,
            thresholds=threshold,
            scales=scale,
            biases=bias,
            shift=shift,
            input=input,
            output=output,
        )
