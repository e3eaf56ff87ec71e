"""Words of regions to beats of bytes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.gearbox import byte_lanes
from boards.axi.region import exact_log2
from boards.axi.rotate import FINE_BITS, rotate_right

__all__ = ["WordUnpacker"]


class WordUnpacker(wiring.Component):
    """Take the bytes of regions out of the words that they lie in.

    Parameters
    ----------
    word_bytes : int
        Bytes in a word, a power of two.
    lanes : int
        Bytes in a beat, at most ``word_bytes``.

    Members
    -------
    i : stream of a structure, in
        ``bytes``: the word. ``edges.last``: it is the last word of its region. ``edges.start``: the
        region's first byte in its first word. ``edges.end``: the byte after its last one, in its
        last word, 0 where that is full.
    o : stream of an array of ``lanes`` bytes, out
        Each region is a positive multiple of ``lanes`` bytes.

    Cycles
    ------
    A beat each cycle, and another cycle where the first beat of a region lies in two words. The
    output comes two cycles after the last word that it needs.
    """

    def __init__(self, *, word_bytes: int, lanes: int):
        self.word_bytes = word_bytes
        self.lanes = lanes
        place = exact_log2(word_bytes)
        edges = data.StructLayout({"last": 1, "start": place, "end": place})
        word = data.StructLayout({"bytes": byte_lanes(word_bytes), "edges": edges})
        super().__init__(
            {"i": In(stream.Signature(word)), "o": Out(stream.Signature(byte_lanes(lanes)))}
        )

    def elaborate(self, platform):
        m = Module()
        count, lanes = self.word_bytes, self.lanes
        place = exact_log2(count)
        edges = self.i.payload.edges
        word = [self.i.payload.bytes[k] for k in range(count)]

        # The next beat begins at byte `at`. Where it lies in two words, the first of them has been
        # taken already and its upper bytes are in `held`.
        at = Signal(place, reset_less=True)
        fresh = Signal(init=1)
        holds = Signal()
        held = [Signal(8, name=f"held_{k}", reset_less=True) for k in range(count)]

        first = Signal(place)
        following = Signal(place)
        hold = Signal()  # The next beat lies in this word and in another one.
        en, go, beat, ends = Signal(), Signal(), Signal(), Signal()
        straddles = first > count - lanes
        m.d.comb += [
            first.eq(Mux(fresh, edges.start, at)),
            following.eq(first + lanes),
            hold.eq(following > count - lanes),
            en.eq(self.o.ready | ~self.o.valid),
            go.eq(en & self.i.valid),
            beat.eq(holds | ~straddles),
            ends.eq(edges.last & (following == edges.end)),
            self.i.ready.eq(en & (~beat | ends | hold | (following == 0))),
        ]
        with m.If(go):
            with m.If(beat):
                m.d.sync += [at.eq(following), fresh.eq(ends), holds.eq(hold & ~ends)]
            with m.Else():
                m.d.sync += [at.eq(first), fresh.eq(0), holds.eq(1)]
            # Bytes below are never the beginning of a beat in two words.
            m.d.sync += [held[k].eq(word[k]) for k in range(count - lanes + 1, count)]

        mixed = list(word)
        for k in range(count - lanes + 1, count):
            mixed[k] = Mux(holds & (at <= k), held[k], word[k])
        coarse = rotate_right(mixed, first[FINE_BITS:], 1 << FINE_BITS)
        needed = min(count, lanes + (1 << FINE_BITS) - 1)
        turned = [Signal(8, name=f"turned_{k}", reset_less=True) for k in range(needed)]
        fine = Signal(min(FINE_BITS, place), reset_less=True)
        loaded = Signal()
        payload = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(payload)
        with m.If(en):
            m.d.sync += [loaded.eq(go & beat), self.o.valid.eq(loaded), fine.eq(first)]
            m.d.sync += [turned[k].eq(coarse[k]) for k in range(needed)]
            out = rotate_right(turned + [None] * (count - needed), fine)
            m.d.sync += [payload[k].eq(out[k]) for k in range(lanes)]
        return m
