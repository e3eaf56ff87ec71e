"""Threshold unit: batch-norm fused with sign, or with a quantiser to some bits."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import lanes as elements
from hw.lanes import element_range, element_shape, is_binary
from hw.timing import Steps
from hw.weights import style_attributes

__all__ = ["ThresholdUnit"]


class ThresholdUnit(wiring.Component):
    """Number of a channel's thresholds that its number has passed.

    Where a channel's direction is +1 its thresholds ascend and count where ``x >= t``, where it is
    -1 they descend and count where ``x <= t`` (Umuroglu et al., FINN, FPGA 2017, for one threshold;
    Blott et al., FINN-R, ACM TRETS 11(3), 2018, for several). They are found by binary search, with
    one comparator a bit of the result.

    Parameters
    ----------
    channels, lanes : int
        Channels, and how many of them a beat carries; ``lanes`` divides ``channels``.
    thresholds : sequence (channel) of sequences of int
        Each from one below the lowest to one above the highest number of ``input``.
    directions : sequence (channel) of +1 or -1
    input : str
        Element, not binary.
    output : str
        ``"binary"`` for one threshold a channel, else ``"uintK"`` for at most ``2 ** K - 1``.

    Members
    -------
    i : stream of `lanes(input, lanes)`
    o : stream of `lanes(output, lanes)`

    Timing
    ------
    `Steps` of one step, which takes and gives a beat. Latency is 2 for each bit that the number of
    thresholds has. ``interval``, the cycles a pixel, is ``channels / lanes``.

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
        thresholds: Sequence[Sequence[int]],
        directions: Sequence[int],
        input: str,
        output: str,
    ):
        for name, value in (("channels", channels), ("lanes", lanes)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if channels % lanes:
            raise ValueError(f"channels must be a multiple of lanes, not {channels} and {lanes}")
        if is_binary(input):
            raise ValueError("input must be a number, not binary")
        if not is_binary(output) and element_shape(output).signed:
            raise ValueError(f"output must be 'binary' or 'uintK', not {output!r}")
        if len(thresholds) != channels or len(directions) != channels:
            raise ValueError(
                f"thresholds and directions must be given for {channels} channels, "
                f"not {len(thresholds)} and {len(directions)}"
            )
        count = len(thresholds[0])
        most = 1 if is_binary(output) else element_range(output)[1]
        if not 1 <= count <= most:
            raise ValueError(f"{output} has 1..{most} thresholds a channel, not {count}")
        lo, hi = element_range(input)
        for channel, (row, direction) in enumerate(zip(thresholds, directions, strict=True)):
            if direction not in (-1, 1):
                raise ValueError(f"directions must be +1 or -1, not {direction!r}")
            if len(row) != count:
                raise ValueError(f"channel {channel} must have {count} thresholds, not {len(row)}")
            if list(row) != sorted(row, reverse=direction < 0):
                order = "ascend" if direction > 0 else "descend"
                raise ValueError(f"thresholds of channel {channel} must {order}")
            if min(row) < lo - 1 or max(row) > hi + 1:
                raise ValueError(f"thresholds of channel {channel} must lie in {lo - 1}..{hi + 1}")
        self.channels = channels
        self.lanes = lanes
        self.thresholds = [list(row) for row in thresholds]
        self.directions = list(directions)
        self.input = input
        self.output = output
        self.bits = count.bit_length()
        self.interval = channels // lanes
        self.timing = Steps(consumes=((1,),), emits=(1,), latency=2 * self.bits)
        super().__init__(
            {
                "i": In(stream.Signature(elements.lanes(input, lanes))),
                "o": Out(stream.Signature(elements.lanes(output, lanes))),
            }
        )

    def _rising(self, channel: int) -> list[int]:
        """The channel's ``2 ** bits - 1`` ascending thresholds of ``x >= t``.

        With direction -1 they count what the channel's own do not, so that the complement of their
        number is the result: x <= t where not x >= t + 1. Those that fill up are never passed, or
        always where they are counted the other way.
        """
        lo, hi = element_range(self.input)
        row = self.thresholds[channel]
        spare = (1 << self.bits) - 1 - len(row)
        if self.directions[channel] > 0:
            row = row + [hi + 1] * spare
        else:
            row = [lo] * spare + [t + 1 for t in reversed(row)]
        return [min(max(t, lo), hi + 1) for t in row]

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        m.d.comb += [en.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(en)]
        valid = Signal(self.timing.latency)
        with m.If(en):
            m.d.sync += valid.eq(Cat(self.i.valid, valid[:-1]))
        m.d.comb += self.o.valid.eq(valid[-1])

        lo, hi = element_range(self.input)
        shape = Shape.cast(range(lo, hi + 2))
        rising = [self._rising(channel) for channel in range(self.channels)]
        flips = [int(direction < 0) for direction in self.directions]
        fold = Signal(range(self.interval))
        with m.If(en & self.i.valid):
            m.d.sync += fold.eq(Mux(fold == self.interval - 1, 0, fold + 1))

        # Two stages a bit: the threshold is read, then compared with. What a beat needs further on
        # goes along with it.
        x = [self.i.payload[lane] for lane in range(self.lanes)]
        found: list[list[Value]] = [[] for _ in range(self.lanes)]
        flip: list[Value] = []
        for level in range(self.bits):
            last = level == self.bits - 1
            read = []
            for lane in range(self.lanes):
                table = [
                    rising[first + lane][(2 * prefix + 1 << self.bits - 1 - level) - 1]
                    for first in range(0, self.channels, self.lanes)
                    for prefix in range(1 << level)
                ]
                address = Cat(*reversed(found[lane]), fold)
                name = f"thresholds_{level}_{lane}"
                read.append(self._read(m, en, table, shape, address, name))
                if level == 0 and any(flips):
                    table = flips[lane :: self.lanes]
                    flip.append(self._read(m, en, table, Shape(1), fold, f"flips_{lane}"))
            x = self._registers(m, en, x, f"x{level}_read")
            found = [self._registers(m, en, bits, f"found{level}_read") for bits in found]
            if not last:
                (fold,) = self._registers(m, en, [fold], f"fold{level}_read")
            passed = [a >= t for a, t in zip(x, read, strict=True)]
            if last:
                self._result(m, en, found, passed, flip)
                break
            x = self._registers(m, en, x, f"x{level}")
            bits = self._registers(m, en, passed, f"bit{level}")
            found = [
                [*self._registers(m, en, known, f"found{level}"), bit]
                for known, bit in zip(found, bits, strict=True)
            ]
            (fold,) = self._registers(m, en, [fold], f"fold{level}")
            for stage in range(2):
                flip = self._registers(m, en, flip, f"flip{level}_{stage}")
        return m

    def _result(
        self,
        m: Module,
        en: Value,
        found: list[list[Value]],
        passed: list[Value],
        flip: list[Value],
    ) -> None:
        for lane, (known, bit) in enumerate(zip(found, passed, strict=True)):
            count = Cat(bit, *reversed(known))
            if flip:
                count = count ^ flip[lane].replicate(self.bits)
            result = Signal(element_shape(self.output), name=f"result_{lane}", reset_less=True)
            with m.If(en):
                m.d.sync += result.eq(count)
            m.d.comb += self.o.payload[lane].eq(result)

    @staticmethod
    def _registers(m: Module, en: Value, values: list[Value], name: str) -> list[Signal]:
        result = []
        for index, value in enumerate(values):
            register = Signal(value.shape(), name=f"{name}_{index}", reset_less=True)
            with m.If(en):
                m.d.sync += register.eq(value)
            result.append(register)
        return result

    @staticmethod
    def _read(
        m: Module, en: Value, table: list[int], shape: Shape, address: Value, name: str
    ) -> Value:
        """The table's word one enabled cycle after its address; a constant where all are equal."""
        if len(set(table)) == 1:
            return Const(table[0], shape)
        memory = Memory(
            shape=shape, depth=len(table), init=table, attrs=style_attributes("distributed")
        )
        m.submodules[name] = memory
        port = memory.read_port()
        m.d.comb += [port.en.eq(en), port.addr.eq(address)]
        return port.data
