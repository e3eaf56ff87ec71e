"""Memory behind an AXI port, in Amaranth's simulator, which watches the protocol.

A model is asked to ``offer`` its signals before each clock edge, and told by ``note`` what those
that it has in ``seen`` were at the edge; ``play`` does so for all of a bench, streams included.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from amaranth.hdl import Const, Module, ResetInserter, Signal
from amaranth.sim import Simulator

from boards.axi.ports import BOUNDARY, Burst, Response

__all__ = [
    "MemoryContent",
    "ReadModel",
    "WriteModel",
    "beats_of",
    "bursts_of",
    "play",
    "random_regions",
    "simulate",
]


def beats_of(content: bytes, lanes: int) -> list[int]:
    """Beats of ``lanes`` bytes, lane 0 low."""
    assert len(content) % lanes == 0
    return [
        int.from_bytes(content[at : at + lanes], "little") for at in range(0, len(content), lanes)
    ]


def bursts_of(
    regions: Sequence[tuple[int, int]], word_bytes: int, burst_beats: int
) -> list[tuple[int, int]]:
    """Address and beats of the bursts that regions take: word by word, a new burst at each multiple
    of a full burst's size and at each region's beginning."""
    bursts = []
    for address, length in regions:
        first = address // word_bytes
        for word in range(first, (address + length - 1) // word_bytes + 1):
            if word == first or word % burst_beats == 0:
                bursts.append((word * word_bytes, 0))
            bursts[-1] = (bursts[-1][0], bursts[-1][1] + 1)
    return bursts


def random_regions(source: random.Random, lanes: int, count: int, most: int):
    """Regions of up to ``most`` bytes, many of them about a multiple of 4 KiB; they do not overlap.

    Returns
    -------
    List of (address, length).
    """
    regions = []
    for index in range(count):
        length = lanes * source.randint(1, max(1, source.choice((lanes, most // 4, most)) // lanes))
        place = (source.randrange(1 << 20) * 64 + index + 1) * 4 * BOUNDARY
        offset = source.choice((0, -length, -source.randint(0, length), source.randrange(BOUNDARY)))
        regions.append((place + offset + source.choice((0, 0, source.randint(-20, 20))), length))
    return regions


class MemoryContent:
    """Bytes at any address: random ones, always the same, until they are written."""

    def __init__(self, seed: int):
        self.seed = seed
        self.written: dict[int, int] = {}

    def __getitem__(self, address: int) -> int:
        if address in self.written:
            return self.written[address]
        return (address * 0x9E3779B1 + (address >> 7) * 0x85EBCA77 + self.seed) >> 5 & 0xFF

    def read(self, address: int, count: int) -> bytes:
        return bytes(self[at] for at in range(address, address + count))


class _Channel:
    """Signals of one direction with valid and ready; those that a unit drives must not change
    while they wait."""

    def __init__(self, bus, prefix: str, names: Sequence[str]):
        self.prefix = prefix
        self.names = names
        self.valid = getattr(bus, f"{prefix}valid")
        self.ready = getattr(bus, f"{prefix}ready")
        self.signals = [getattr(bus, f"{prefix}{name}") for name in names]
        self.waiting: tuple | None = None

    @property
    def seen(self):
        return [self.valid, self.ready, *self.signals]

    def note(self, cycle: int, valid: int, ready: int, *values: int) -> dict[str, int] | None:
        """What was handed over."""
        if self.waiting is not None:
            assert valid, f"{self.prefix}valid fell in cycle {cycle} before {self.prefix}ready"
            assert values == self.waiting, f"{self.prefix} changed in cycle {cycle}, not taken"
        self.waiting = values if valid and not ready else None
        return dict(zip(self.names, values, strict=True)) if valid and ready else None

    def probe(self, ctx, ready: bool):
        """Set ready, after a look whether valid waits for it."""
        ctx.set(self.ready, not ready)
        before = ctx.get(self.valid)
        ctx.set(self.ready, ready)
        assert ctx.get(self.valid) == before, f"{self.prefix}valid waits for {self.prefix}ready"


_ADDRESS = ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos")


class _Model:
    """What the two memories have in common.

    Parameters
    ----------
    bus : the unit's port
    content : MemoryContent
    idle : Value or None
        What the unit says of that: nothing may be under way while it is 1.
    seed : int or None
        Of the stalls; None: none.
    latency : (int, int)
        Least and most cycles from an address to its first word, or from a burst to its answer.
    errors : dict of int to Response
        Which of the words that are read, or of the bursts that are written, counted from the first
        one, are answered by which response.
    """

    def __init__(self, bus, content, *, idle=None, seed=None, latency=(1, 1), errors=None):
        self.bus = bus
        self.idle = Const(0) if idle is None else idle
        self.content = content
        self.bytes = bus.signature.data_bits // 8
        self.random = random.Random(f"{seed} {type(self).__name__}")
        self.latency = latency
        self.errors = dict(errors or {})
        self.probes = seed is not None
        # How often a channel rests.
        self.rest = {
            name: 0.0 if seed is None else self.random.choice((0.0, 0.1, 0.5, 0.9))
            for name in ("address", "data", "answer")
        }
        self.bursts: list[tuple[int, int]] = []
        self.word_cycles: list[int] = []
        self.valid = False
        self.cycle = 0

    def rests(self, name: str) -> bool:
        return self.random.random() < self.rest[name]

    def due(self, cycle: int) -> int:
        low, high = self.latency
        return cycle + self.random.randint(low, high)

    def check(self, burst: Mapping[str, int]):
        """The rules for an address."""
        beats, address = burst["len"] + 1, burst["addr"]
        assert 1 << burst["size"] == self.bytes
        assert burst["burst"] == Burst.INCR
        assert (burst["id"], burst["lock"], burst["qos"]) == (0, 0, 0)
        assert address % self.bytes == 0
        last = address + beats * self.bytes - 1
        assert address // BOUNDARY == last // BOUNDARY, f"{beats} words at {address:#x} cross 4 KiB"
        assert last < 1 << self.bus.signature.address_bits
        self.bursts.append((address, beats))


class ReadModel(_Model):
    """Memory that is read."""

    def __init__(self, bus, content, **options):
        super().__init__(bus, content, **options)
        self.address = _Channel(bus, "ar", _ADDRESS)
        self.seen = [*self.address.seen, bus.rready, self.idle]
        self.waiting: deque[tuple[int, int, bool]] = deque()
        self.words = 0

    def offer(self, ctx):
        ready = not self.rests("address")
        if self.probes:
            self.address.probe(ctx, ready)
        else:
            ctx.set(self.address.ready, ready)
        # The model may hold valid back, but once it is there it stays; rready is always 1.
        self.valid = bool(
            self.waiting and self.waiting[0][0] <= self.cycle and not self.rests("data")
        )
        ctx.set(self.bus.rvalid, self.valid)
        if self.valid:
            _, address, last = self.waiting[0]
            response = self.errors.get(self.words, Response.OKAY)
            data = int.from_bytes(self.content.read(address, self.bytes), "little")
            if response in (Response.SLVERR, Response.DECERR):
                data = self.random.getrandbits(8 * self.bytes)
            ctx.set(self.bus.rdata, data)
            ctx.set(self.bus.rresp, response)
            ctx.set(self.bus.rlast, last)
        elif self.probes:
            ctx.set(self.bus.rdata, self.random.getrandbits(8 * self.bytes))
            ctx.set(self.bus.rresp, self.random.getrandbits(2))
            ctx.set(self.bus.rlast, self.random.getrandbits(1))

    def note(self, cycle: int, *values: int) -> bool:
        *address, rready, idle = values
        assert rready, "rready must always be 1"
        assert not idle or not (self.waiting or address[0]), f"idle in cycle {cycle}, and is not"
        if self.valid:
            self.waiting.popleft()
            self.words += 1
            self.word_cycles.append(cycle)
        burst = self.address.note(cycle, *address)
        if burst is not None:
            self.check(burst)
            due = self.due(cycle)
            if self.waiting:
                due = max(due, self.waiting[-1][0])
            for beat in range(burst["len"] + 1):
                at = burst["addr"] + beat * self.bytes
                self.waiting.append((due, at, beat == burst["len"]))
        self.cycle = cycle + 1
        return burst is not None or self.valid or bool(self.waiting)

    def state(self) -> str:
        return f"{self.words} words were read and {len(self.waiting)} are to come"


class WriteModel(_Model):
    """Memory that is written.

    Parameters
    ----------
    shy : bool
        Whether an address is taken only after all the burst's data, as the protocol allows.
    """

    def __init__(self, bus, content, *, shy=False, **options):
        super().__init__(bus, content, **options)
        self.shy = shy
        self.address = _Channel(bus, "aw", _ADDRESS)
        self.data = _Channel(bus, "w", ("data", "strb", "last"))
        self.seen = [*self.address.seen, *self.data.seen, bus.bready, self.idle]
        self.addresses: deque[tuple[int, int]] = deque()
        self.offered = 0
        self.packets: deque[list[tuple[int, int]]] = deque()
        self.packet: list[tuple[int, int]] = []
        self.answers: deque[int] = deque()
        self.answer_cycles: list[int] = []
        self.taken = 0
        self.writes: dict[int, int] = {}

    @property
    def answered(self) -> int:
        return len(self.answer_cycles)

    def offer(self, ctx):
        for channel, name in ((self.address, "address"), (self.data, "data")):
            ready = not self.rests(name)
            if channel is self.address and self.shy:
                ready = ready and len(self.packets) > len(self.addresses)
            if self.probes:
                channel.probe(ctx, ready)
            else:
                ctx.set(channel.ready, ready)
        self.valid = bool(
            self.answers and self.answers[0] <= self.cycle and not self.rests("answer")
        )
        ctx.set(self.bus.bvalid, self.valid)
        if self.valid:
            ctx.set(self.bus.bresp, self.errors.get(self.answered, Response.OKAY))
        elif self.probes:
            ctx.set(self.bus.bresp, self.random.getrandbits(2))

    def note(self, cycle: int, *values: int) -> bool:
        *values, bready, idle = values
        assert bready, "bready must always be 1"
        count = len(self.address.seen)
        self.offered += bool(values[0] and self.address.waiting is None)
        assert not idle or not (values[count] or self.offered > self.answered), (
            f"idle in cycle {cycle}, and is not"
        )
        if self.valid:
            self.answers.popleft()
            self.answer_cycles.append(cycle)
        burst = self.address.note(cycle, *values[:count])
        if burst is not None:
            self.check(burst)
            self.addresses.append((burst["addr"], burst["len"] + 1))
        word = self.data.note(cycle, *values[count:])
        if word is not None:
            self.word_cycles.append(cycle)
            self.packet.append((word["data"], word["strb"]))
            assert self.offered > self.taken, "data came before its address"
            if word["last"]:
                self.packets.append(self.packet)
                self.packet = []
                self.taken += 1
        while self.addresses and self.packets:
            self._write(*self.addresses.popleft(), self.packets.popleft())
            self.answers.append(self.due(cycle))
        self.cycle = cycle + 1
        return burst is not None or word is not None or self.valid or bool(self.answers)

    def _write(self, address: int, beats: int, packet: Sequence[tuple[int, int]]):
        assert len(packet) == beats, f"wlast after {len(packet)} of {beats} words"
        strobes = sum(strobe << k * self.bytes for k, (_, strobe) in enumerate(packet))
        low = strobes & -strobes
        assert strobes and (strobes + low) & strobes == 0, "the strobes of a burst have a gap"
        for k, (word, strobe) in enumerate(packet):
            assert strobe, "a word is written without any byte of it"
            for lane in range(self.bytes):
                if strobe >> lane & 1:
                    at = address + k * self.bytes + lane
                    self.writes[at] = self.writes.get(at, 0) + 1
                    self.content.written[at] = word >> 8 * lane & 0xFF

    def state(self) -> str:
        return f"{self.offered} bursts were written and {self.answered} of them answered"


async def play(
    ctx,
    players: Sequence,
    until: Callable[[], bool],
    *,
    watch: Mapping[str, object] | None = None,
    start: int = 0,
    patience: int = 1000,
) -> tuple[int, dict[str, list[int]]]:
    """Let the players play until ``until`` holds.

    Parameters
    ----------
    players : sequence
        Models, and Sources and Sinks of ``tests.streams``.
    watch : dict of name to signal
    start : int
        Number of the first cycle.
    patience : int
        Cycles in which nothing moves, after which the unit counts as stuck.

    Returns
    -------
    The number of the next cycle; and for each signal to watch the cycles in which it was 1.
    """
    cycle, quiet = start, 0
    watch = watch or {}
    found: dict[str, list[int]] = {name: [] for name in watch}
    seen = [signal for player in players for signal in player.seen]
    while not until():
        for player in players:
            player.offer(ctx)
        _, _, *values = await ctx.tick().sample(*seen, *watch.values())
        moved = False
        for player in players:
            moved |= bool(player.note(cycle, *values[: len(player.seen)]))
            del values[: len(player.seen)]
        for name, value in zip(watch, values, strict=True):
            if value:
                found[name].append(cycle)
        cycle += 1
        quiet = 0 if moved else quiet + 1
        assert quiet < patience, f"stuck in cycle {cycle}: " + "; ".join(
            player.state() for player in players
        )
    return cycle, found


def simulate(unit, bench, *, reset: Signal | None = None):
    """Run a bench on a unit, which ``reset`` resets."""
    module = Module()
    module.submodules.unit = unit if reset is None else ResetInserter(reset)(unit)
    simulator = Simulator(module)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
