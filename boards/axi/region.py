"""Regions of memory, and the bursts that they take."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.ports import BOUNDARY

__all__ = [
    "LENGTH_BITS",
    "BurstPlanner",
    "PlannedBurst",
    "Region",
    "check_engine",
    "exact_log2",
    "narrow_lanes",
]

#: Bits of a region's length.
LENGTH_BITS = 40


#: Bits of the lower of two parts in which lengths are added up and counted down; more than those
#: of a burst's bytes.
_LOW_BITS = 20


class Region(data.StructLayout):
    """Consecutive bytes of memory: where they begin, and how many there are, at least one.

    Parameters
    ----------
    address_bits : int
    """

    def __init__(self, address_bits: int):
        super().__init__({"address": address_bits, "length": LENGTH_BITS})


class PlannedBurst(data.StructLayout):
    """A burst of a region.

    ``address`` is that of its first word. ``beats`` is their number less one. ``last``: it is the
    region's last one. ``start``: the first byte of the region in its first word. ``end``: the byte
    after its last one in its last word, 0 where that is full.

    Parameters
    ----------
    address_bits, data_bits : int
    """

    def __init__(self, address_bits: int, data_bits: int):
        place = exact_log2(data_bits // 8)
        super().__init__(
            {"address": address_bits, "beats": 8, "last": 1, "start": place, "end": place}
        )


def exact_log2(value: int) -> int:
    """The logarithm of a power of two."""
    return value.bit_length() - 1


def narrow_lanes(lanes: int, word_bytes: int) -> int:
    """The most lanes that divide ``lanes`` and fit a word."""
    return max(count for count in range(1, word_bytes + 1) if lanes % count == 0)


def check_engine(
    *, address_bits: int, data_bits: int, lanes: int, burst_beats: int, depth: int
) -> None:
    """What the engines that read and write memory ask of their parameters.

    Raises
    ------
    ValueError
        One is out of range.
    """
    if not isinstance(lanes, int) or lanes < 1:
        raise ValueError(f"lanes must be an integer of at least 1, not {lanes!r}")
    if 1 << address_bits < BOUNDARY:
        raise ValueError(f"address_bits must be at least 12, not {address_bits!r}")
    most = min(256, BOUNDARY * 8 // data_bits)
    if burst_beats not in [1 << k for k in range(9)] or burst_beats > most:
        raise ValueError(f"burst_beats must be a power of two up to {most}, not {burst_beats!r}")
    if not isinstance(depth, int) or depth < burst_beats:
        raise ValueError(f"depth must be at least burst_beats, {burst_beats}, not {depth!r}")


class _State(enum.Enum):
    TAKE = 0
    ADD = 1
    CARRY = 2
    COMPARE = 3
    GIVE = 4


class BurstPlanner(wiring.Component):
    """Divide regions into bursts of whole words.

    A burst ends where its address would be a multiple of the size of a full burst, so it never
    crosses a multiple of 4 KiB either, and all but the first and the last of a region are full.

    Parameters
    ----------
    address_bits, data_bits : int
    burst_beats : int
        Words in a full burst, a power of two; a full burst has 4 KiB at most.

    Members
    -------
    i : stream of :class:`Region`, in
    o : stream of :class:`PlannedBurst`, out

    Cycles
    ------
    A burst a cycle, and four more for each region.
    """

    def __init__(self, *, address_bits: int, data_bits: int, burst_beats: int):
        self.address_bits = address_bits
        self.data_bits = data_bits
        self.burst_beats = burst_beats
        super().__init__(
            {
                "i": In(stream.Signature(Region(address_bits))),
                "o": Out(stream.Signature(PlannedBurst(address_bits, data_bits))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place = exact_log2(self.data_bits // 8)
        words = exact_log2(self.burst_beats)
        split = place + words
        region = self.i.payload
        burst = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(burst)

        state = Signal(_State)
        start = Signal(split, reset_less=True)
        before = Signal(signed(split + 1), reset_less=True)  # start - 1
        high = Signal(self.address_bits - split, reset_less=True)
        # Of the region's last byte: its distance from the first full burst's address. It has two
        # parts, and what the lower one carries goes to the upper one a cycle later: one carry chain
        # over all bits would be the longest path of the whole design.
        end = Signal(signed(_LOW_BITS + 2), reset_less=True)
        # `more` bursts follow the one at `high`, in parts likewise.
        more = Signal(_LOW_BITS - split, reset_less=True)
        more_high = Signal(LENGTH_BITS - _LOW_BITS + 1, reset_less=True)
        borrow = Signal()
        none_high = Signal(reset_less=True)
        first = Signal(reset_less=True)
        last = Signal(reset_less=True)

        m.d.sync += [none_high.eq(more_high == 0), borrow.eq(0)]
        with m.If(borrow):
            m.d.sync += more_high.eq(more_high - 1)
        with m.Switch(state):
            with m.Case(_State.TAKE):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    start.eq(region.address[:split]),
                    before.eq(region.address[:split] - 1),
                    high.eq(region.address[split:]),
                    end.eq(region.length[:_LOW_BITS]),
                    more_high.eq(region.length[_LOW_BITS:]),
                    first.eq(1),
                ]
                with m.If(self.i.valid):
                    m.d.sync += state.eq(_State.ADD)
            with m.Case(_State.ADD):
                m.d.sync += [end.eq(end + before), state.eq(_State.CARRY)]
            with m.Case(_State.CARRY):
                m.d.sync += [
                    more.eq(end[split:_LOW_BITS]),
                    more_high.eq(more_high + (end >> _LOW_BITS)),
                    state.eq(_State.COMPARE),
                ]
            with m.Case(_State.COMPARE):
                m.d.sync += [
                    last.eq((more == 0) & (more_high == 0)),
                    state.eq(_State.GIVE),
                ]

        first_word = Signal(words)
        last_word = Signal(words)
        m.d.comb += [
            first_word.eq(Mux(first, start[place:], 0)),
            last_word.eq(Mux(last, end[place:split], self.burst_beats - 1)),
        ]
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += self.o.valid.eq(state == _State.GIVE)
            m.d.sync += [
                burst.address.eq(Cat(Const(0, place), first_word, high)),
                burst.beats.eq(last_word - first_word),
                burst.last.eq(last),
                burst.start.eq(start[:place]),
                burst.end.eq(end[:place] + 1),
            ]
            with m.If(state == _State.GIVE):
                m.d.sync += [
                    first.eq(0),
                    high.eq(high + 1),
                    more.eq(more - 1),
                    borrow.eq(more == 0),
                    # The upper part changes long before the lower one comes down to this.
                    last.eq((more == 1) & none_high),
                ]
                with m.If(last):
                    m.d.sync += state.eq(_State.TAKE)
        return m
