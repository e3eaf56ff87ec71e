"""What proofs of the engines that read and write memory share.

One byte of memory is followed through everything that happens. As it can be every one near a
multiple of 4 KiB, what holds for it holds for all there; planners are proven for any address.
"""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value

from boards.axi.ports import BOUNDARY, Burst, Response
from formal.stream import Offer

__all__ = ["Regions", "Words", "any_address", "any_constant", "burst_rules", "halts", "past"]

# Bits of the numbers of bytes, which wrap around.
_COUNT_BITS = 6

# Bytes of memory that are followed or in regions: the last and the first ones around a multiple of
# 4 KiB, so that every way to lie there is among them.
_NEAR = 32


def any_constant(m: Module, name: str, bits: int) -> Signal:
    """A number that can be any, and stays the same."""
    value = Signal(bits, name=name)
    m.d.comb += value.eq(AnyConst(bits))
    return value


def any_address(m: Module, bits: int) -> Signal:
    """The address of the byte that is followed."""
    address = Signal(bits, name="address")
    m.d.comb += address.eq(BOUNDARY - _NEAR // 2 + any_constant(m, "address_near", 5))
    return address


def burst_rules(m: Module, bus, prefix: str, word_bits: int) -> None:
    """Assert what every burst of an engine must be."""
    valid, address, length, size, kind, identity, lock = (
        getattr(bus, prefix + name)
        for name in ("valid", "addr", "len", "size", "burst", "id", "lock")
    )
    end = (address & (BOUNDARY - 1)) + ((length + 1) << word_bits)
    m.d.comb += [
        Assert(~valid | (end <= BOUNDARY), "no burst crosses a multiple of 4 KiB"),
        Assert(~valid | (address[:word_bits] == 0), "a burst begins with a whole word"),
        Assert(
            ~valid | ((kind == Burst.INCR) & (size == word_bits) & (identity == 0) & (lock == 0)),
            "a burst is INCR, of whole words, of id 0",
        ),
    ]


def past(m: Module, name: str, value: Value, cycles: int = 1) -> Value:
    """What `value` was so many cycles ago; 0 where that was before the reset."""
    for k in range(cycles):
        before = Signal(len(Value.cast(value)), name=f"{name}_{k + 1}")
        m.d.sync += before.eq(value)
        value = before
    return value


def halts(m: Module, unit, *, faults: bool, begins: Value, response: Value, busy: Value) -> None:
    """Drive `stop`, and assert what an engine does then and after a failure.

    Parameters
    ----------
    unit : wiring.Component
        With `stop`, `idle`, `slverr` and `decerr`.
    faults : bool
        Whether `stop` comes.
    begins : value
        A burst is offered for the first time.
    response : value
        What memory answers in this cycle, OKAY where it does not.
    busy : value
        Something is offered or outstanding.
    """
    m.d.comb += unit.stop.eq(AnySeq(1) if faults else 0)
    asked = Signal(name="stop_asked")
    failed = Signal(name="memory_failed")
    m.d.sync += [asked.eq(asked | unit.stop), failed.eq(failed | response[1])]
    answered = past(m, "response", response, 2)
    rests = past(m, "rests", unit.idle & (asked | unit.stop))
    free = past(m, "free", ~busy) & past(m, "free_before", ~busy, 2)
    m.d.comb += [
        Assert(
            ~begins | ~past(m, "asked", asked), "no burst begins later than a cycle after a stop"
        ),
        Assert(
            ~begins | ~past(m, "failed", failed, 2),
            "no burst begins later than two cycles after a failure",
        ),
        Assert(unit.slverr == (answered == Response.SLVERR), "SLVERR is told two cycles later"),
        Assert(unit.decerr == (answered == Response.DECERR), "DECERR is told two cycles later"),
        Assert(~unit.idle | ~busy, "it is not idle while anything is offered or outstanding"),
        Assert(~rests | (unit.idle & ~busy), "once it is idle after a stop it stays so"),
        Assert(unit.idle | busy | ~free | (unit.stop & ~asked), "it is idle where nothing happens"),
    ]
    if faults:
        m.d.comb += Cover(failed & unit.idle, "it comes to rest after a failure")


class Words:
    """The words of the bursts under way, in the order in which they go over the bus.

    Parameters
    ----------
    m : Module
    depth : int
        Words that can be under way.
    address : value
        Of the byte that is followed.
    word_bits : int
        Logarithm of the bytes in a word.

    Attributes
    ----------
    count : Signal
        Words of bursts that began before this cycle.
    some, last, hit : Signal
        Whether there is a word, it is the last of its burst, and has the byte; where a burst begins
        in this cycle it counts.
    has : Signal
        Whether the burst that begins has the byte.
    """

    def __init__(self, m: Module, depth: int, *, address: Value, word_bits: int):
        self.count = Signal(range(depth + 1), name="words_count")
        self.some = Signal(name="words_some")
        self.last = Signal(name="words_last")
        self.hit = Signal(name="words_hit")
        self.has = Signal(name="burst_has_byte")
        self._m = m
        self._depth = depth
        self._word = address >> word_bits
        self._word_bits = word_bits

    def move(self, begin: Value, address: Value, length: Value, pop: Value) -> None:
        """Put in a burst where `begin`, take out a word where `pop`."""
        m, depth = self._m, self._depth
        lasts = Signal(depth, name="words_lasts")
        hits = Signal(depth, name="words_hits")
        lasts_now = Signal(depth, name="words_lasts_now")
        hits_now = Signal(depth, name="words_hits_now")
        total = Signal(range(depth + 257), name="words_total")
        distance = Signal(len(self._word), name="words_distance")
        m.d.comb += [
            distance.eq(self._word - (address >> self._word_bits)),
            self.has.eq(begin & (distance <= length)),
            total.eq(self.count + Mux(begin, length + 1, 0)),
            lasts_now.eq(lasts | Mux(begin, 1 << (self.count + length)[:5], 0)),
            hits_now.eq(hits | Mux(self.has, 1 << (self.count + distance)[:5], 0)),
            self.some.eq(total != 0),
            self.last.eq(lasts_now[0]),
            self.hit.eq(hits_now[0]),
            Assert(total <= depth, f"no more than {depth} words are under way"),
        ]
        m.d.sync += [
            self.count.eq(total - pop),
            lasts.eq(Mux(pop, lasts_now >> 1, lasts_now)),
            hits.eq(Mux(pop, hits_now >> 1, hits_now)),
        ]


class Regions:
    """Gives an engine any regions; lengths are multiples of `lanes`, up to `beats` of them.

    They lie near a multiple of 4 KiB.

    Attributes
    ----------
    fire : Signal
        A region is taken.
    distance : Signal
        From its first byte to the one that is followed.
    has : Signal
        Whether it has that byte.
    has_word : Signal
        Whether it has a byte of the same word.
    length : Signal
    bytes : Signal
        Bytes of the regions before.
    """

    def __init__(self, m: Module, port, *, address: Value, word_bits: int, lanes: int, beats: int):
        bits = len(address)
        start = Signal(bits, name="region_start")
        near = Signal(range(_NEAR), name="region_near")
        count = Signal(range(beats + 1), name="region_beats")
        end = Signal(bits + 1, name="region_end")
        self.fire = Signal(name="region_fire")
        self.distance = Signal(bits, name="region_distance")
        self.has = Signal(name="region_has_byte")
        self.has_word = Signal(name="region_has_word")
        self.length = Signal(range(lanes * beats + 1), name="region_length")
        self.bytes = Signal(_COUNT_BITS, name="region_bytes")
        m.submodules.regions = Offer(port.valid, port.ready, Cat(near, count))
        word = address >> word_bits
        m.d.comb += [
            start.eq(BOUNDARY - _NEAR // 2 + near),
            self.length.eq(count * lanes),
            end.eq(start + self.length),
            Assume((count != 0) & (count <= beats), "a region has some beats"),
            Assume(end <= BOUNDARY + _NEAR // 2, "a region is near"),
            port.payload.address.eq(start),
            port.payload.length.eq(self.length),
            self.fire.eq(port.valid & port.ready),
            self.distance.eq(address - start),
            self.has.eq(self.fire & (self.distance < self.length)),
            self.has_word.eq(
                self.fire & (word >= start >> word_bits) & (word <= (end - 1)[:bits] >> word_bits)
            ),
        ]
        with m.If(self.fire):
            m.d.sync += self.bytes.eq(self.bytes + self.length)
