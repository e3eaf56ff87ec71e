"""Memory between the packets of a shell and the streams of the accelerator."""

from amaranth.hdl import Cat, Const, Module, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["ImageBuffer", "ResultBuffer"]


class ImageBuffer(wiring.Component):
    """Two images: one is written while the other is read.

    Parameters
    ----------
    image_bytes : int
    lanes : int
        Bytes in a beat of the accelerator; divides ``image_bytes``.

    Members
    -------
    data, write, address : In(8), In(1), In(range(image_bytes))
        Writes a byte of the image that is coming in.
    room : Out(1)
        There is a place for an image to come in.
    commit : In(1)
        The image is complete and good: let it go on. Without it, the next image overwrites it.
    o : Out(stream of lanes("uint8", lanes))
        The committed images, each one whole.
    """

    def __init__(self, *, image_bytes: int, lanes: int):
        if image_bytes < 1 or lanes < 1 or image_bytes % lanes:
            raise ValueError(
                f"image_bytes must be a multiple of lanes, not {image_bytes} and {lanes}"
            )
        self.image_bytes = image_bytes
        self.lanes = lanes
        super().__init__(
            {
                "data": In(8),
                "write": In(1),
                "address": In(range(image_bytes)),
                "room": Out(1),
                "commit": In(1),
                "o": Out(stream.Signature(data.ArrayLayout(unsigned(8), lanes))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        place = len(self.address)
        m.submodules.memory = memory = Memory(shape=unsigned(8), depth=2 << place, init=[])
        write_port = memory.write_port()
        read_port = memory.read_port()

        full = Signal(2)
        write_bank, read_bank = Signal(), Signal()
        m.d.comb += [
            self.room.eq(~full.bit_select(write_bank, 1)),
            write_port.addr.eq(Cat(self.address, write_bank)),
            write_port.data.eq(self.data),
            write_port.en.eq(self.write),
        ]
        with m.If(self.commit):
            m.d.sync += [
                full.bit_select(write_bank, 1).eq(1),
                write_bank.eq(~write_bank),
            ]

        # A byte a cycle: the memory is one pipeline stage, the gathered beat is the other, and
        # both advance together while the beat is empty or taken.
        advance = Signal()
        fetched = Signal()
        read_address = Signal(range(self.image_bytes))
        fetching = Signal()
        beat = Signal(8 * self.lanes, reset_less=True)
        lane = Signal(range(self.lanes))
        last = Signal()
        m.d.comb += [
            last.eq(lane == self.lanes - 1),
            self.o.payload.as_value().eq(beat),
            advance.eq(self.o.ready | ~self.o.valid),
            fetching.eq(full.bit_select(read_bank, 1)),
            read_port.addr.eq(Cat(read_address, read_bank)),
            read_port.en.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += [fetched.eq(fetching), self.o.valid.eq(0)]
            with m.If(fetching):
                m.d.sync += read_address.eq(read_address + 1)
                with m.If(read_address == self.image_bytes - 1):
                    m.d.sync += [
                        read_address.eq(0),
                        full.bit_select(read_bank, 1).eq(0),
                        read_bank.eq(~read_bank),
                    ]
            with m.If(fetched):
                m.d.sync += [
                    beat.eq(Cat(beat[8:], read_port.data)),
                    lane.eq(lane + 1),
                    self.o.valid.eq(last),
                ]
                with m.If(last):
                    m.d.sync += lane.eq(0)
        return m


class ResultBuffer(wiring.Component):
    """Holds label and scores of one frame until they have been sent.

    Parameters
    ----------
    scores : data.ArrayLayout
        Payload of a beat of scores: some signed numbers of at most 32 bits.
    classes : int
        Scores in a frame; a multiple of those in a beat.
    label_bits : int
        Width of the label, at most 16.

    Members
    -------
    i : In(stream of scores)
    i_label : In(stream of unsigned(label_bits))
    valid : Out(1)
        Label and all scores are there. No further beat is taken until ``taken``.
    taken : In(1)
    address, data : In(range(2 + 4 * classes)), Out(8)
        Byte of the payload of a ``RESULT``, from the next cycle on.
    label : Out(16)
    """

    def __init__(self, *, scores: data.ArrayLayout, classes: int, label_bits: int):
        if classes % scores.length:
            raise ValueError(
                f"classes must be a multiple of the scores in a beat, not {classes} and "
                f"{scores.length}"
            )
        if Shape.cast(scores.elem_shape).width > 32:
            raise ValueError(f"scores must have at most 32 bits, not {scores.elem_shape!r}")
        if label_bits > 16:
            raise ValueError(f"label must have at most 16 bits, not {label_bits}")
        self.scores = scores
        self.classes = classes
        super().__init__(
            {
                "i": In(stream.Signature(scores)),
                "i_label": In(stream.Signature(unsigned(label_bits))),
                "valid": Out(1),
                "taken": In(1),
                "address": In(range(2 + 4 * classes)),
                "data": Out(8),
                "label": Out(16),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        # The label is in the upper half of the word before the first score, so that a byte's
        # address plus two names its word and its place there.
        m.submodules.memory = memory = Memory(shape=unsigned(32), depth=self.classes + 1, init=[])
        write_port = memory.write_port()
        read_port = memory.read_port()

        has_label = Signal()
        count = Signal(range(self.classes + 1))
        lane = Signal(range(self.scores.length))
        score = Signal(self.scores.elem_shape)
        m.d.comb += [
            score.eq(self.i.payload[lane]),
            write_port.addr.eq(count + 1),
            write_port.data.eq(score),
            self.valid.eq(has_label & (count == self.classes)),
        ]
        with m.If(self.i.valid & (count != self.classes)):
            m.d.comb += write_port.en.eq(1)
            m.d.sync += [count.eq(count + 1), lane.eq(lane + 1)]
            with m.If(lane == self.scores.length - 1):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += lane.eq(0)
        m.d.comb += self.i_label.ready.eq(~has_label)
        with m.If(self.i_label.valid & ~has_label):
            m.d.sync += [has_label.eq(1), self.label.eq(self.i_label.payload)]
        with m.If(self.taken):
            m.d.sync += [has_label.eq(0), count.eq(0)]

        place = Signal(range(4 * (self.classes + 1)))
        byte = Signal(range(4))
        m.d.comb += [place.eq(self.address + 2), read_port.addr.eq(place[2:])]
        m.d.sync += byte.eq(place[:2])
        of_label = Signal()
        m.d.sync += of_label.eq(place[2:] == 0)
        word = Signal(32)
        m.d.comb += word.eq(read_port.data)
        with m.If(of_label):
            m.d.comb += word.eq(Cat(Const(0, 16), self.label))
        m.d.comb += self.data.eq(word.word_select(byte, 8))
        return m
