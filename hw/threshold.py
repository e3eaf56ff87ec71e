"""Threshold unit: batch-norm fused with sign, or with a quantiser to some bits."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from hw import lanes as elements
from hw.lanes import pack
from hw.parameters import ParameterUnit
from hw.stages import later, stages_of
from hw.timing import Steps
from hw.weights import WeightMemory, lookup_latency, read, style_attributes, weight_memory

__all__ = ["ThresholdUnit"]


class ThresholdUnit(ParameterUnit):
    """Number of a channel's thresholds that its input has reached.

    ``#{t : x >= t}`` where the channel's direction is +1, ``#{t : x <= t}`` where it is -1. One
    comparator finds each bit of the result, from the highest: a pipelined binary search. Instead of
    ``x <= t`` it compares ``x >= t + 1`` and flips the bit (Umuroglu et al., FINN, FPGA 2017, for
    one threshold; Blott et al., FINN-R, ACM TRETS 11(3), 2018, for several).

    Parameters
    ----------
    channels, lanes : int
        Channels, and how many of them a beat carries; ``lanes`` divides ``channels``.
    thresholds : sequence (channel) of equally many int
        Ascending where the direction is +1, descending where it is -1; from one below the lowest to
        one above the highest input.
    directions : sequence (channel) of +1 or -1
    input : str
        Element, not binary.
    output : str
        ``"binary"`` for one threshold a channel, +1 where it is reached; ``"uintK"`` for at most
        ``2**K - 1``.
    ram_style : str
        Of the thresholds: ``"auto"``, ``"block"`` or ``"distributed"``.
    writable : bool
        Whether other thresholds and directions can be written.

    Members
    -------
    i : stream of `lanes(input, lanes)`
    o : stream of `lanes(output, lanes)`
    parameters : In(ParameterPort)
        Where ``writable``.

    Timing
    ------
    `Steps` of one step, which takes and gives a beat. Latency is the sum of
    ``1 + lookup_latency(interval * 2**n)`` over n below the bits of the number of thresholds; that
    lookup takes 0 up to 16 words, 1 up to 64, else 2. ``interval``, the cycles a pixel, is
    ``channels / lanes``.

    Raises
    ------
    ValueError
        A parameter is out of range, or does not suit another one.
    """

    def __init__(
        self,
        *,
        channels: int,
        lanes: int,
        thresholds: Sequence[Sequence[int]],
        directions: Sequence[int],
        input: str,
        output: str,
        ram_style: str = "auto",
        writable: bool = False,
    ):
        for name, value in (("channels", channels), ("lanes", lanes)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if channels % lanes:
            raise ValueError(f"channels must be a multiple of lanes, not {channels} and {lanes}")
        shapes = [elements.lanes(element, lanes) for element in (input, output)]
        if elements.is_binary(input):
            raise ValueError("input must be a number, not binary")
        if elements.element_shape(output).signed:
            raise ValueError(f"output must be 'binary' or 'uintK', not {output!r}")
        style_attributes(ram_style)
        self.channels = channels
        self.lanes = lanes
        self.thresholds = [list(row) for row in thresholds]
        self.directions = list(directions)
        self.input = input
        self.output = output
        self.ram_style = ram_style
        self.writable = writable
        self._check_thresholds()
        self.bits = len(self.thresholds[0]).bit_length()
        self.interval = channels // lanes
        self.timing = Steps(
            consumes=((1,),),
            emits=(1,),
            latency=sum(1 + lookup_latency(self.interval << bit) for bit in range(self.bits)),
        )
        super().__init__(
            {
                "i": In(stream.Signature(shapes[0])),
                "o": Out(stream.Signature(shapes[1])),
                **self._parameter_port(),
            }
        )

    def _check_thresholds(self) -> None:
        for name, entries in (("thresholds", self.thresholds), ("directions", self.directions)):
            if len(entries) != self.channels:
                raise ValueError(
                    f"{name} must be given for {self.channels} channels, not {len(entries)}"
                )
        count = len(self.thresholds[0])
        most = (1 << elements.element_shape(self.output).width) - 1
        if not 1 <= count <= most:
            raise ValueError(f"{self.output} has 1..{most} thresholds a channel, not {count}")
        lo, hi = elements.element_range(self.input)
        for channel, (row, way) in enumerate(zip(self.thresholds, self.directions, strict=True)):
            if way not in (1, -1):
                raise ValueError(f"directions must be +1 or -1, not {way!r}")
            if len(row) != count:
                raise ValueError(f"channel {channel} must have {count} thresholds, not {len(row)}")
            if not all(isinstance(t, int) and lo - 1 <= t <= hi + 1 for t in row):
                raise ValueError(f"thresholds of channel {channel} must lie in {lo - 1}..{hi + 1}")
            if any((b - a) * way < 0 for a, b in pairwise(row)):
                order = "ascend" if way == 1 else "descend"
                raise ValueError(f"thresholds of channel {channel} must {order}")

    def _limits(self) -> list[list[int]]:
        """For each channel ``2**bits - 1`` numbers that x is compared with, ``x >= limit``."""
        lo, hi = elements.element_range(self.input)
        spare = (1 << self.bits) - 1 - len(self.thresholds[0])
        limits = []
        for row, way in zip(self.thresholds, self.directions, strict=True):
            # What fills up is never reached; in the other direction, its limit always is.
            row = row + [hi + 1 if way == 1 else lo - 1] * spare
            # Limits outside of lo..hi + 1 compare no differently from its ends.
            limits.append([min(max(t + (way == -1), lo), hi + 1) for t in row])
        return limits

    @cached_property
    def _limit_shape(self) -> Shape:
        """Of the limits as they are stored: what those of any thresholds need, where writable."""
        if self.writable:
            return elements.element_shape(self.input)
        # At least one bit, even where every limit is 0.
        ends = [limit for row in self._limits() for limit in (row[0], row[-1])]
        return Shape.cast(range(min(*ends, 0), max(*ends, 1) + 1))

    @property
    def _mixed(self) -> bool:
        """Whether words have a flip; where all channels have one direction, they need none."""
        return self.writable or len(set(self.directions)) == 2

    def _memories(self) -> dict[str, WeightMemory]:
        limits, shape, mixed = self._limits(), self._limit_shape, self._mixed
        lo, hi = elements.element_range(self.input)
        width = shape.width + mixed

        def word(bit: int, channel: int, above: int) -> int:
            # With these bits above, the result is at least this if its bit is 1.
            least = (2 * above + 1) << self.bits - 1 - bit
            limit = limits[channel][least - 1]
            flip = self.directions[channel] == -1
            if self.writable and limit > hi:
                # Never is the contrary of always: that takes no further bit of the limit.
                limit, flip = lo, not flip
            return limit & (1 << shape.width) - 1 | (mixed and flip) << shape.width

        memories = {}
        for bit in range(self.bits):
            tables = [
                [
                    word(bit, first + lane, above)
                    for first in range(0, self.channels, self.lanes)
                    for above in range(1 << bit)
                ]
                for lane in range(self.lanes)
            ]
            options = {
                "latency": lookup_latency(len(tables[0])),
                "ram_style": self.ram_style,
                "writable": self.writable,
                "handed": self._handed(bit),
            }
            if bit == 0:
                # The lanes have one address, and so one memory.
                wide = [pack(entries, width) for entries in zip(*tables, strict=True)]
                memories["limits_0"] = weight_memory(wide, width * self.lanes, **options)
                continue
            for lane, table in enumerate(tables):
                memories[f"limits_{bit}_{lane}"] = weight_memory(table, width, **options)
        return memories

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
        if self._handed(0):
            # At rest it is 0.
            asked, row = self.parameters.read, self._row(0)
            was_asked = later(m, 1, asked, 1, "was_asked")
            with m.If(asked | was_asked):
                m.d.sync += fold.eq(Mux(asked, row, 0))

        # For each bit: look its limits up, compare, and take along what a beat needs further on.
        # Known bits are in the order of a number, lowest first.
        x = [self.i.payload[lane] for lane in range(self.lanes)]
        known: list[Value] = [Signal(0)] * self.lanes
        for bit in range(self.bits):
            words = self._read(m, en, bit, fold, known)
            wait = lookup_latency(self.interval << bit)
            last = bit == self.bits - 1
            passed = []
            for lane, (limit, flip) in enumerate(words):
                x[lane] = later(m, en, x[lane], wait, f"x{bit}_{lane}_read")
                known[lane] = later(m, en, known[lane], wait, f"known{bit}_{lane}_read")
                passed.append((x[lane] >= limit) ^ flip)
            if not last and self._handed(bit + 1):
                # The registers before the next memories have their row, where one is read.
                asked, row = self.parameters.read, self._row(bit + 1)
                passed = [Mux(asked, row[0], each) for each in passed]
                known = [Mux(asked, row[1 : bit + 1], each) for each in known]
                fold = Mux(asked, row[bit + 1 :], fold)
            results = later(m, en, Cat(passed), 1, f"bit{self.bits - 1 - bit}")
            for lane in range(self.lanes):
                above = later(m, en, known[lane], 1, f"known{bit}_{lane}")
                known[lane] = Cat(results[lane], above)
                if not last:
                    x[lane] = later(m, en, x[lane], 1, f"x{bit}_{lane}")
            if not last:
                fold = later(m, en, fold, wait + 1, f"fold{bit}")
        m.d.comb += [self.o.payload[lane].eq(known[lane]) for lane in range(self.lanes)]
        return m

    def _handed(self, bit: int) -> bool:
        """Whether memories are handed the row that is read: LUT RAM behind an address alone."""
        depth = self.interval << bit
        return self.writable and depth > 1 and lookup_latency(depth) == 0

    def _row(self, bit: int) -> Value:
        """The row of a bit's memories that is read or written."""
        name = f"limits_{bit}_0" if bit else "limits_0"
        place = self.memories[name].space
        return self.parameters.address[place.column_bits : place.bits]

    def _read(
        self, m: Module, en: Value, bit: int, fold: Value, known: list[Value]
    ) -> list[tuple[Value, Value | int]]:
        """Limit and flip of each lane for one bit of the result, by fold and the bits above."""
        shape, mixed = self._limit_shape, self._mixed
        if bit == 0:
            data = read(m, "limits_0", self.memories["limits_0"], fold, enable=en)
            words = [data.word_select(lane, shape.width + mixed) for lane in range(self.lanes)]
        else:
            words = []
            for lane in range(self.lanes):
                name = f"limits_{bit}_{lane}"
                words.append(read(m, name, self.memories[name], Cat(known[lane], fold), enable=en))
        flip = int(self.directions[0] == -1)
        return [
            (
                data[: shape.width].as_signed() if shape.signed else data[: shape.width],
                data[-1] if mixed else flip,
            )
            for data in words
        ]
