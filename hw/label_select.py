"""The class with the highest score."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import lanes as elements
from hw.timing import Steps

__all__ = ["LabelSelect"]


class LabelSelect(wiring.Component):
    """Index of the largest channel of each frame; the lowest one where several are largest.

    Parameters
    ----------
    channels : int
        Scores a frame.
    lanes : int
        Scores a beat; divides `channels`.
    input : str
        Element of a score.

    Members
    -------
    i : stream of `lanes(input, lanes)`
    o : stream of unsigned(bits of channels - 1, at least 1)

    Timing
    ------
    `Steps` over a frame of `interval` = channels / lanes steps, the last of which gives the label.
    Latency 1 + log2(lanes), rounded up: the channels of a beat are compared in pairs, a register
    after each round, and the winner with the best of the beats before.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(self, *, channels: int, lanes: int, input: str):
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f"channels must be a positive integer, not {channels!r}")
        shape = elements.lanes(input, lanes)
        if channels % lanes:
            raise ValueError(f"channels must be a multiple of lanes, not {channels} and {lanes}")
        self.channels = channels
        self.lanes = lanes
        self.input = input
        self.interval = channels // lanes
        self.label_shape = unsigned(max(1, (channels - 1).bit_length()))
        self.timing = Steps(
            consumes=((1,) * self.interval,),
            emits=(0,) * (self.interval - 1) + (1,),
            latency=1 + (lanes - 1).bit_length(),
        )
        super().__init__(
            {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(self.label_shape))}
        )

    def elaborate(self, platform):
        m = Module()
        score = elements.element_shape(self.input)
        rounds = self.timing.latency - 1
        en = Signal()
        fire = Signal()
        m.d.comb += [
            en.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(en),
            fire.eq(en & self.i.valid),
        ]

        # The best of a beat: the left one of a pair, unless the right one is larger.
        entries = [(self.i.payload[lane], lane) for lane in range(self.lanes)]
        for number in range(rounds):
            following = []
            for pair in range(0, len(entries), 2):
                value = Signal(score, name=f"value_{number}_{pair}", reset_less=True)
                index = Signal(range(self.lanes), name=f"index_{number}_{pair}", reset_less=True)
                best = entries[pair]
                if pair + 1 < len(entries):
                    right = entries[pair + 1]
                    larger = right[0] > best[0]
                    best = [Mux(larger, r, b) for r, b in zip(right, best, strict=True)]
                with m.If(en):
                    m.d.sync += [value.eq(best[0]), index.eq(best[1])]
                following.append((value, index))
            entries = following
        ((value, index),) = entries
        arrived = fire
        if rounds:
            stages = Signal(rounds)
            with m.If(en):
                m.d.sync += stages.eq(Cat(fire, stages))
            arrived = en & stages[-1]

        # The best of a frame.
        base = Signal(self.label_shape)
        first = base == 0
        last = base == self.channels - self.lanes
        best = Signal(score, reset_less=True)
        label = Signal(self.label_shape, reset_less=True)
        m.d.comb += self.o.payload.eq(label)
        with m.If(en):
            m.d.sync += self.o.valid.eq(arrived & last)
        with m.If(arrived):
            m.d.sync += base.eq(Mux(last, 0, base + self.lanes))
            with m.If(first | (value > best)):
                m.d.sync += [best.eq(value), label.eq(base + index)]
        return m
