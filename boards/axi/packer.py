"""Beats of bytes to words of regions."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.gearbox import byte_lanes
from boards.axi.region import Region, exact_log2
from boards.axi.rotate import FINE_BITS, rotate_left

__all__ = ["WordPacker"]

#: Bits of the lower of two parts in which a region's bytes are counted.
_LOW_BITS = 16


class WordPacker(wiring.Component):
    """Put bytes into words where the regions that they are for want them.

    Parameters
    ----------
    address_bits : int
    word_bytes : int
        Bytes in a word, a power of two.
    lanes : int
        Bytes in a beat, at most ``word_bytes``.
    burst_beats : int
        Words in a full burst, a power of two.

    Members
    -------
    i_region : stream of Region, in
        Where the next bytes go; lengths are positive multiples of ``lanes``.
    i : stream of an array of ``lanes`` bytes, in
    o : stream of a structure, out
        ``data``: the word. ``strobe``: which bytes of it are the region's. ``last``: it is the last
        one of its burst, as :class:`boards.axi.region.BurstPlanner` divides the region.

    Cycles
    ------
    A beat each cycle, and another cycle where the last beat of a region lies in two words. A word
    comes the cycle after the beat that completes it.
    """

    def __init__(self, *, address_bits: int, word_bytes: int, lanes: int, burst_beats: int):
        self.word_bytes = word_bytes
        self.lanes = lanes
        self.burst_beats = burst_beats
        word = data.StructLayout({"data": 8 * word_bytes, "strobe": word_bytes, "last": 1})
        super().__init__(
            {
                "i_region": In(stream.Signature(Region(address_bits))),
                "i": In(stream.Signature(byte_lanes(lanes))),
                "o": Out(stream.Signature(word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        count, lanes = self.word_bytes, self.lanes
        place = exact_log2(count)
        region = self.i_region.payload

        # The next beat goes to byte `at` of word `word` of its burst.
        busy = Signal()
        at = Signal(place, reset_less=True)
        word = Signal(exact_log2(self.burst_beats), reset_less=True)
        # Bytes left, in two parts: what the lower one borrows goes to the upper one a cycle later.
        left = Signal(_LOW_BITS, reset_less=True)
        left_high = Signal(len(region.length) - _LOW_BITS, reset_less=True)
        borrow = Signal()
        none_high = Signal(reset_less=True)
        final = Signal(reset_less=True)  # The next beat is the region's last one.
        spill = Signal()  # The region's last bytes, in a word of their own, are yet to be given.

        en, fire, over, complete, load = (
            Signal(name=name) for name in ("en", "fire", "over", "complete", "load")
        )
        full = Signal()  # This is the last word of a full burst.
        m.d.comb += [
            self.i.ready.eq(en & busy & ~spill),
            fire.eq(self.i.valid & self.i.ready),
            over.eq(at > count - lanes),
            complete.eq(at >= count - lanes),
            full.eq(word.all()),
            load.eq(~busy | Mux(spill, en, fire & final & ~over)),
            self.i_region.ready.eq(load),
        ]
        m.d.sync += [none_high.eq(left_high == 0), borrow.eq(fire & (left < lanes))]
        with m.If(borrow):
            m.d.sync += left_high.eq(left_high - 1)
        with m.If(fire):
            m.d.sync += [
                at.eq(at + lanes),
                word.eq(word + complete),
                left.eq(left - lanes),
                # The upper part changes long before the lower one comes down to this.
                final.eq((left == 2 * lanes) & none_high),
                spill.eq(final & over),
            ]
        with m.If(load):
            m.d.sync += [
                busy.eq(self.i_region.valid),
                at.eq(region.address),
                word.eq(region.address >> place),
                left.eq(region.length),
                left_high.eq(region.length >> _LOW_BITS),
                none_high.eq(region.length >> _LOW_BITS == 0),
                borrow.eq(0),
                final.eq(region.length == lanes),
                spill.eq(0),
            ]

        # Second step: the beat, turned by the low bits of its place, joins the word.
        needed = min(count, lanes + (1 << FINE_BITS) - 1)
        turned = [Signal(8, name=f"turned_{k}", reset_less=True) for k in range(needed)]
        coarse = Signal(max(0, place - FINE_BITS), reset_less=True)
        here = Signal(count)
        there = Signal(count)
        gives = Signal()
        last = Signal(reset_less=True)
        with m.If(en):
            bytes_in = [self.i.payload[k] for k in range(lanes)] + [None] * (count - lanes)
            fine = rotate_left(bytes_in, at[:FINE_BITS])
            m.d.sync += [turned[k].eq(fine[k]) for k in range(needed)]
            m.d.sync += [
                coarse.eq(at >> FINE_BITS),
                here.eq(0),
                there.eq(0),
                gives.eq(spill | fire & (complete | final)),
                last.eq(spill | full | (final & ~over)),
            ]
            with m.If(fire):
                m.d.sync += [
                    here.eq(Cat((at <= k) & (at > k - lanes) for k in range(count))),
                    there.eq(Cat(at > k + count - lanes for k in range(count))),
                ]

        placed = rotate_left(turned + [None] * (count - needed), coarse, 1 << FINE_BITS)
        kept = [Signal(8, name=f"kept_{k}", reset_less=True) for k in range(count)]
        strobe = Signal(count)
        m.d.comb += [
            self.o.valid.eq(gives),
            self.o.payload.last.eq(last),
            self.o.payload.strobe.eq(strobe | here),
            en.eq(~gives | self.o.ready),
        ]
        m.d.comb += self.o.payload.data.eq(
            Cat(Mux(here[k], placed[k], kept[k]) for k in range(count))
        )
        with m.If(en):
            m.d.sync += strobe.eq(Mux(gives, there, strobe | here))
            for k in range(count):
                with m.If(here[k] | there[k]):
                    m.d.sync += kept[k].eq(placed[k])
        return m
