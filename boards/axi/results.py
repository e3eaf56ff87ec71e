"""The results of an accelerator as bytes for memory."""

from amaranth.hdl import Cat, Module, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.gearbox import byte_lanes

__all__ = ["ResultPacker"]

_WORD = 32


class ResultPacker(wiring.Component):
    """Makes the result record of each frame: scores as int32, then the label as uint32.

    With a label, a number goes out in a beat; without one, all numbers of a beat of scores.

    Parameters
    ----------
    scores : data.ArrayLayout
        Payload of a beat of scores: numbers that an int32 holds.
    count : int
        Scores in a frame; a multiple of those in a beat.
    label_bits : int or None
        Width of the label, at most 32; None where there is none.

    Members
    -------
    i : In(stream of scores)
    i_label : In(stream of unsigned(label_bits))
        Where there is a label.
    o : Out(stream of an array of ``lanes`` bytes)
    frame : Out(1)
        The beat at ``o`` is the last one of its frame.

    Cycles
    ------
    With a label ``count + 1`` a frame, and the first word is at ``o`` in the cycle after its beat
    was taken. Without a label none at all.

    Raises
    ------
    ValueError
        The numbers do not fit 32 bits, or beats do not fill a frame.
    """

    def __init__(self, *, scores: data.ArrayLayout, count: int, label_bits: int | None = None):
        shape = Shape.cast(scores.elem_shape)
        if shape.width > _WORD - (not shape.signed):
            raise ValueError(f"scores must fit 32 bits with a sign, not {shape!r}")
        if count < 1 or count % scores.length:
            raise ValueError(
                f"count must be a multiple of the scores in a beat, not {count} and {scores.length}"
            )
        if label_bits is not None and not 1 <= label_bits <= _WORD:
            raise ValueError(f"label_bits must be from 1 to 32, not {label_bits}")
        self.scores = scores
        self.count = count
        self.label_bits = label_bits
        self.lanes = _WORD // 8 * (scores.length if label_bits is None else 1)
        members = {"i": In(stream.Signature(scores))}
        if label_bits is not None:
            members["i_label"] = In(stream.Signature(unsigned(label_bits)))
        members["o"] = Out(stream.Signature(byte_lanes(self.lanes)))
        members["frame"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        words = []
        for lane in range(self.scores.length):
            word = Signal(_WORD, name=f"word{lane}")
            m.d.comb += word.eq(self.i.payload[lane])
            words.append(word)
        beats = self.count // self.scores.length
        beat = Signal(range(beats))
        last_beat = Signal()
        m.d.comb += last_beat.eq(beat == beats - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(last_beat):
                m.d.sync += beat.eq(0)
        if self.label_bits is None:
            m.d.comb += [
                self.o.payload.as_value().eq(Cat(words)),
                self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready),
                self.frame.eq(last_beat),
            ]
            return m

        # The words of a beat wait in a shift register; the label comes after the last one.
        held = Signal(_WORD * len(words), reset_less=True)
        left = Signal(range(len(words) + 1))
        label_next = Signal()
        room = Signal()
        m.d.comb += [
            self.o.payload.as_value().eq(held[:_WORD]),
            self.o.valid.eq(left != 0),
            room.eq((left == 0) | ((left == 1) & self.o.ready)),
            self.i.ready.eq(room & ~label_next),
            self.i_label.ready.eq(room & label_next),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [held.eq(held >> _WORD), left.eq(left - 1), self.frame.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(Cat(words)), left.eq(len(words)), label_next.eq(last_beat)]
        with m.If(self.i_label.valid & self.i_label.ready):
            m.d.sync += [
                held[:_WORD].eq(self.i_label.payload),
                left.eq(1),
                label_next.eq(0),
                self.frame.eq(1),
            ]
        return m
