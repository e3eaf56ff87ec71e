"""Memory behind an AXI port, in Amaranth's simulator, which watches the protocol.

A model is asked to ``offer`` its signals before each clock edge, and told by ``note`` what those
that it has in ``seen`` were at the edge; ``play`` does so for all of a bench, streams included.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from boards.axi.ports import BOUNDARY, Burst, Response

__all__ = ["MemoryContent", "ReadModel", "WriteModel", "play"]


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
    def __init__(self, bus, content, *, seed, latency, errors, rests):
        self.bus = bus
        self.content = content
        self.bytes = bus.signature.data_bits // 8
        self.random = random.Random(f"{seed} {type(self).__name__}")
        self.latency = latency
        self.errors = dict(errors or {})
        self.probes = seed is not None
        self.rest = {
            name: rests if rests is not None else self.random.choice((0.0, 0.1, 0.5, 0.9))
            for name in ("address", "data", "answer")
        }
        if seed is None:
            self.rest = dict.fromkeys(self.rest, 0.0)
        self.bursts: list[tuple[int, int]] = []

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
    """Memory that is read.

    Parameters
    ----------
    bus : AXIRead, a port of the unit
    content : MemoryContent
    seed : int or None
        Of the stalls; None: none.
    latency : (int, int)
        Least and most cycles from the address to its first word.
    errors : dict of int to Response
        Which words, counted from the first one, come with which response.
    rests : float or None
        How often each channel rests; None: random for each.
    """

    def __init__(self, bus, content, *, seed=None, latency=(1, 1), errors=None, rests=None):
        super().__init__(bus, content, seed=seed, latency=latency, errors=errors, rests=rests)
        self.address = _Channel(bus, "ar", _ADDRESS)
        self.seen = [*self.address.seen, bus.rready]
        self.waiting: deque[tuple[int, int, bool]] = deque()
        self.words = 0
        self.word_cycles: list[int] = []
        self.most_outstanding = 0
        self.valid = False
        self.cycle = 0

    @property
    def idle(self) -> bool:
        return not self.waiting and self.address.waiting is None

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
        *address, rready = values
        assert rready, "rready must always be 1"
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
            self.most_outstanding = max(self.most_outstanding, len(self.waiting))
        self.cycle = cycle + 1
        return burst is not None or self.valid or bool(self.waiting)

    def state(self) -> str:
        return f"{self.words} words were read and {len(self.waiting)} are to come"


class WriteModel(_Model):
    """Memory that is written; parameters as those of :class:`ReadModel`, but for

    errors : dict of int to Response
        Which bursts are answered by which response.
    shy : bool
        Whether an address is taken only after all the burst's data, as the protocol allows.
    """

    def __init__(
        self, bus, content, *, seed=None, latency=(1, 1), errors=None, rests=None, shy=False
    ):
        super().__init__(bus, content, seed=seed, latency=latency, errors=errors, rests=rests)
        self.shy = shy
        self.address = _Channel(bus, "aw", _ADDRESS)
        self.data = _Channel(bus, "w", ("data", "strb", "last"))
        self.seen = [*self.address.seen, *self.data.seen, bus.bready]
        self.addresses: deque[tuple[int, int]] = deque()
        self.offered = 0
        self.packets: deque[list[tuple[int, int]]] = deque()
        self.packet: list[tuple[int, int]] = []
        self.answers: deque[int] = deque()
        self.answered = 0
        self.word_cycles: list[int] = []
        self.most_outstanding = 0
        self.taken = 0
        self.writes: dict[int, int] = {}
        self.valid = False
        self.cycle = 0

    @property
    def idle(self) -> bool:
        waiting = self.address.waiting or self.data.waiting
        return not (self.addresses or self.packets or self.packet or self.answers or waiting)

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
        count = len(self.address.seen)
        bready = values[-1]
        assert bready, "bready must always be 1"
        if self.valid:
            self.answers.popleft()
            self.answered += 1
        new_address = values[0] and self.address.waiting is None
        self.offered += bool(new_address)
        burst = self.address.note(cycle, *values[:count])
        if burst is not None:
            self.check(burst)
            self.addresses.append((burst["addr"], burst["len"] + 1))
        word = self.data.note(cycle, *values[count:-1])
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
        self.most_outstanding = max(self.most_outstanding, self.offered - self.answered)
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
