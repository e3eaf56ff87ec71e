"""Per-channel affine units: what is left of batch-norm, shifts and RPReLU."""

from collections.abc import Sequence
from functools import cached_property

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from hw.lanes import element_range, element_shape, is_binary, lanes, pack
from hw.parameters import ParameterUnit
from hw.stages import later, stages_of
from hw.timing import Steps
from hw.weights import WeightMemory, lookup_latency, read, weight_memory

__all__ = ["AffineUnit", "RPReLUUnit"]

# Of scales that can be written: what the multipliers of ECP5 and UltraScale+ both take.
_SCALE_BITS = 18


def _shape_of(values: Sequence[int]) -> Shape:
    """The narrowest shape, of one bit at least, that holds all values."""
    return Shape.cast(range(min(*values, 0), max(*values, 1) + 1))


def _as(bits: Value, shape: Shape) -> Value:
    return bits.as_signed() if shape.signed else bits


class _SegmentsUnit(ParameterUnit):
    """``saturate((x * scale + bias + half) >> shift)`` with scale and bias of a chosen segment.

    One multiplier a lane. Parameters are in tables, or constants where all are in one beat. A lane
    of two segments finds out which it needs before it looks scale and bias up.
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
        writable: bool = False,
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
        if writable:
            lo, hi = element_range(input)
            most = (1 << _SCALE_BITS - 1) - 1
            for name, row in rows:
                for value in row:
                    if name == "scale" and abs(value) > most:
                        raise ValueError(f"a scale to be written must have 18 bits, not {value}")
                    if name == "threshold" and not lo <= value <= hi + 1:
                        raise ValueError(f"a threshold must lie in {lo}..{hi + 1}, not {value}")
        self.channels = channels
        self.lanes = lane_count
        self.shift = shift
        self.input = input
        self.output = output
        self.writable = writable
        self.thresholds = None if thresholds is None else list(thresholds)
        self.scales = [list(row) for row in scales]
        self.biases = [list(row) for row in biases]
        self.interval = channels // lane_count
        self._wait = lookup_latency(self.interval * len(scales), registered=True)
        if thresholds is not None:
            self._compare = lookup_latency(self.interval) + 1
        else:
            self._compare = 0
        self.timing = Steps(consumes=((1,),), emits=(1,), latency=self._compare + self._wait + 3)
        super().__init__(
            {
                "i": In(stream.Signature(lanes(input, lane_count))),
                "o": Out(stream.Signature(lanes(output, lane_count))),
                **self._parameter_port(),
            }
        )

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        m.d.comb += [en.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(en)]
        self._connect_parameters(m)
        *_, valid = stages_of(m, en, self.i.valid, self.timing.latency, "valid")
        m.d.comb += self.o.valid.eq(valid)
        fold = Signal(range(self.interval))
        with m.If(en & self.i.valid):
            m.d.sync += fold.eq(Mux(fold == self.interval - 1, 0, fold + 1))

        x = [self.i.payload[lane] for lane in range(self.lanes)]
        addresses = [fold] * self.lanes
        if self.thresholds is not None:
            addresses = self._segments(m, en, fold, x)
            x = [later(m, en, x[k], self._compare, f"x{k}_compare") for k in range(self.lanes)]
        for lane, (scale, bias) in enumerate(self._factors(m, en, addresses)):
            number = later(m, en, x[lane], self._wait, f"x{lane}_read")
            product = later(m, en, number * scale, 1, f"product{lane}")
            bias = later(m, en, bias, 1, f"bias{lane}")
            moved = later(m, en, (product + bias) >> self.shift, 1, f"moved{lane}")
            self._saturate(m, en, lane, moved)
        return m

    def _by_lane(self, values: Sequence[int], lane: int) -> list[int]:
        return list(values[lane :: self.lanes])

    def _rounded_biases(self) -> list[list[int]]:
        """Biases that include the half of the rounding."""
        half = (1 << self.shift) >> 1
        biases = [[bias + half for bias in row] for row in self.biases]
        if self.writable:
            # What is beyond this saturates whatever x is, and so does this.
            least, most = self._bias_range
            biases = [[min(max(bias, least), most) for bias in row] for row in biases]
        return biases

    @property
    def _bias_range(self) -> tuple[int, int]:
        """Least and most bias that any parameters need."""
        product = max(map(abs, element_range(self.input))) << _SCALE_BITS - 1
        least, most = (end << self.shift for end in element_range(self.output))
        return least - product, most + product

    @cached_property
    def _shapes(self) -> tuple[Shape, Shape, Shape]:
        """Of thresholds, scales and biases: what any of them need, where writable."""
        if self.writable:
            lo, hi = element_range(self.input)
            threshold, scale = Shape.cast(range(lo, hi + 2)), signed(_SCALE_BITS)
            least, most = self._bias_range
            return threshold, scale, Shape.cast(range(least, most + 1))
        return (
            _shape_of(self.thresholds or [0]),
            _shape_of([value for row in self.scales for value in row]),
            _shape_of([value for row in self._rounded_biases() for value in row]),
        )

    def _memories(self) -> dict[str, WeightMemory]:
        threshold, scale, bias = self._shapes
        memories = {}
        if self.thresholds is not None:
            words = [
                pack(self.thresholds[first : first + self.lanes], threshold.width)
                for first in range(0, self.channels, self.lanes)
            ]
            memories["thresholds"] = weight_memory(
                words,
                threshold.width * self.lanes,
                latency=lookup_latency(self.interval),
                writable=self.writable,
            )
        width = scale.width + bias.width
        segments = len(self.scales)
        biases = self._rounded_biases()
        tables = []
        for lane in range(self.lanes):
            columns = [self._by_lane(row, lane) for row in (*self.scales, *biases)]
            tables.append(
                [
                    pack([entry[segment]], scale.width)
                    | pack([entry[segments + segment]], bias.width) << scale.width
                    for entry in zip(*columns, strict=True)
                    for segment in range(segments)
                ]
            )
        options = {"latency": self._wait, "writable": self.writable}
        if segments == 1:
            # The lanes have one address, and so one memory.
            wide = [pack(entries, width) for entries in zip(*tables, strict=True)]
            memories["factors"] = weight_memory(wide, width * self.lanes, **options)
        else:
            for lane, table in enumerate(tables):
                memories[f"factors_{lane}"] = weight_memory(table, width, **options)
        return memories

    def _segments(self, m: Module, en: Value, fold: Value, x: list[Value]) -> list[Value]:
        """For each lane the address of its segment's scale and bias."""
        shape = self._shapes[0]
        wait = lookup_latency(self.interval)
        data = read(m, "thresholds", self.memories["thresholds"], fold, enable=en)
        fold = later(m, en, fold, wait + 1, "fold_compare")
        addresses = []
        for lane in range(self.lanes):
            threshold = _as(data.word_select(lane, shape.width), shape)
            number = later(m, en, x[lane], wait, f"x{lane}_threshold")
            segment = later(m, en, number >= threshold, 1, f"segment{lane}")
            addresses.append(Cat(segment, fold))
        return addresses

    def _factors(self, m: Module, en: Value, addresses: list[Value]) -> list[tuple[Value, Value]]:
        """Scale and bias of each lane, the half of the rounding included in the bias."""
        _, scale, bias = self._shapes
        if len(self.scales) == 1:
            data = read(m, "factors", self.memories["factors"], addresses[0], enable=en)
            width = scale.width + bias.width
            words = [data.word_select(lane, width) for lane in range(self.lanes)]
        else:
            words = [
                read(m, f"factors_{lane}", self.memories[f"factors_{lane}"], address, enable=en)
                for lane, address in enumerate(addresses)
            ]
        return [(_as(word[: scale.width], scale), _as(word[scale.width :], bias)) for word in words]

    def _saturate(self, m: Module, en: Value, lane: int, value: Value) -> None:
        # The output's range is that of its bits, so that the bits above tell whether it is left.
        shape = element_shape(self.output)
        least, most = element_range(self.output)
        signed = value.shape().signed
        # At least one bit more than the output, and a sign.
        wide = Signal(Shape(max(len(value) + 1 - signed, shape.width + 1), signed=True))
        m.d.comb += wide.eq(value)
        above = wide[shape.width - shape.signed : -1]
        negative = wide[-1]
        result = Signal(shape, name=f"result{lane}", reset_less=True)
        with m.If(en):
            m.d.sync += result.eq(wide[: shape.width])
            with m.If(~negative & above.any()):
                m.d.sync += result.eq(most)
            with m.If(negative & (~above.all() if shape.signed else 1)):
                m.d.sync += result.eq(least)
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
    writable : bool
        Whether all but the shift can be written; scales have 18 bits then.

    Members
    -------
    i : stream of `lanes(input, lanes)`
    o : stream of `lanes(output, lanes)`
    parameters : In(ParameterPort)
        Where ``writable``.

    Timing
    ------
    `Steps` of one step, which takes and gives a beat. ``interval``, the cycles a pixel, is
    ``channels / lanes``. Latency is 3, and 1 where it is 2 to 64, 2 where it is more.

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
        writable: bool = False,
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
            writable=writable,
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
    writable : bool
        Whether all but the shift can be written; scales have 18 bits then.

    Members
    -------
    i : stream of `lanes(input, lanes)`
    o : stream of `lanes(output, lanes)`
    parameters : In(ParameterPort)
        Where ``writable``.

    Timing
    ------
    `Steps` of one step, which takes and gives a beat. ``interval``, the cycles a pixel, is
    ``channels / lanes``. Latency is 5 where it is up to 16, 6 up to 32, 7 up to 64, 8 above.

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
        writable: bool = False,
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
            writable=writable,
        )
