"""Test bench for units that speak ``amaranth.lib.stream``: lists of integers in, lists out.

``drive`` feeds every input and empties every output of a unit in Amaranth's simulator, with seeded
random stalls or without any, watches the stream protocol and gives up when nothing moves. A beat is
the integer of its payload's bits; ``beats`` and ``numbers`` turn channels into beats and back.

    run = drive(unit, {"i": beats("int4", 2, channels)}, {"o": 8}, seed=3)
    assert numbers("int9", 1, run.beats["o"]) == model(channels)
    assert run.cycles["o"] == step_cycles(unit.timing, i=len(run.beats["i"]))
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from amaranth.hdl import Shape, Value
from amaranth.sim import Simulator, SimulatorContext

from hw.lanes import element_shape
from hw.timing import Steps

__all__ = ["Run", "Sink", "Source", "beats", "drive", "numbers", "step_cycles"]

_CLOCK = 1e-6

# How often a stalled port rests; each port draws its own, so that a fast source meets a slow sink.
_RESTS = (0.0, 0.1, 0.5, 0.9)


@dataclass
class Run:
    """What went through the ports of a unit.

    Members
    -------
    beats : dict of list of int
        The payload of every transfer, for each port by its name.
    cycles : dict of list of int
        The cycle of every transfer; cycle 0 is the first one after reset.
    """

    beats: dict[str, list[int]] = field(default_factory=dict)
    cycles: dict[str, list[int]] = field(default_factory=dict)


def _shape(element: str | Shape) -> Shape:
    return element_shape(element) if isinstance(element, str) else element


def beats(element: str | Shape, lanes: int, channels: Iterable[int]) -> list[int]:
    """Pack stored numbers (0/1 for ``"binary"``) into beats of ``lanes``, first channel low."""
    shape = _shape(element)
    channels = [int(channel) for channel in channels]
    assert len(channels) % lanes == 0, f"{len(channels)} channels do not fill beats of {lanes}"
    low = -(1 << shape.width - 1) if shape.signed else 0
    assert all(low <= channel < low + (1 << shape.width) for channel in channels), (
        f"channels must be within {shape!r}"
    )
    mask = (1 << shape.width) - 1
    return [
        sum((channels[at + lane] & mask) << lane * shape.width for lane in range(lanes))
        for at in range(0, len(channels), lanes)
    ]


def numbers(element: str | Shape, lanes: int, words: Iterable[int]) -> list[int]:
    """The stored numbers in beats of ``lanes``; the reverse of :func:`beats`."""
    shape = _shape(element)
    found = []
    for word in words:
        for lane in range(lanes):
            number = word >> lane * shape.width & (1 << shape.width) - 1
            negative = shape.signed and number >> shape.width - 1
            found.append(number - (1 << shape.width) if negative else number)
    return found


def step_cycles(timing: Steps, **inputs: int) -> list[int]:
    """Cycles of the output beats of a unit that is never stalled and gets so many input beats.

    Inputs are given in the order of ``timing.consumes``. Steps that consume nothing go on for a
    period at most after the last beat, as nothing in a frame outlives the frame.
    """
    left = list(inputs.values())
    assert len(left) == len(timing.consumes), "give the number of beats of every input"
    period, found, step = len(timing.emits), [], 0
    while any(left) or step % period:
        for index, pattern in enumerate(timing.consumes):
            if pattern[step % period]:
                if not left[index]:
                    return found
                left[index] -= 1
        if timing.emits[step % period]:
            found.append(step + timing.latency)
        step += 1
    return found


class _Port:
    """One stream of the unit, seen from the test."""

    def __init__(self, name: str, stream, seed: int | None):
        self.name = name
        self.stream = stream
        self.payload = Value.cast(stream.payload)
        self.done: list[int] = []
        self.when: list[int] = []
        self.random = random.Random(f"{seed} {name}")
        self.rest = 0.0 if seed is None else self.random.choice(_RESTS)

    def rests(self) -> bool:
        return self.random.random() < self.rest

    def bits(self, value: int) -> int:
        return value & (1 << len(self.payload)) - 1


class Source(_Port):
    """Offers ``words`` to an input: ``offer`` before each clock edge, and ``note`` with what
    ``seen`` was at the edge, which tells whether a beat moved."""

    def __init__(self, name: str, stream, seed: int | None, words: Sequence[int]):
        super().__init__(name, stream, seed)
        self.words = list(words)
        self.valid = False
        self.garbage = seed is not None
        self.seen = [stream.ready]

    def offer(self, ctx):
        """Set up this cycle; a beat that was offered and not taken stays."""
        if not self.valid:
            self.valid = len(self.done) < len(self.words) and not self.rests()
            if self.valid:
                ctx.set(self.payload, self.words[len(self.done)])
            elif self.garbage:
                # A unit that looks at the payload of an invalid beat shall compute nonsense.
                ctx.set(self.payload, self.random.getrandbits(len(self.payload)))
            ctx.set(self.stream.valid, self.valid)

    def note(self, cycle: int, ready: int) -> bool:
        moved = bool(self.valid and ready)
        if moved:
            self.done.append(self.words[len(self.done)])
            self.when.append(cycle)
            self.valid = False
        return moved

    def state(self) -> str:
        return f"{self.name} took {len(self.done)} of {len(self.words)} beats"


class Sink(_Port):
    """Takes beats from an output and watches the protocol; used like :class:`Source`."""

    def __init__(self, name: str, stream, seed: int | None, count: int):
        super().__init__(name, stream, seed)
        self.count = count
        self.ready = False
        self.waiting: int | None = None
        self.probe = seed is not None
        self.seen = [stream.valid, self.payload]

    def offer(self, ctx):
        if self.probe:
            # The valid of a stream must not wait for its ready, not even within a cycle.
            ctx.set(self.stream.ready, 0)
            before = ctx.get(self.stream.valid)
            ctx.set(self.stream.ready, 1)
            assert ctx.get(self.stream.valid) == before, f"{self.name}.valid waits for ready"
        self.ready = not self.rests()
        ctx.set(self.stream.ready, self.ready)

    def note(self, cycle: int, valid: int, payload: int) -> bool:
        payload = self.bits(payload)
        if self.waiting is not None:
            assert valid, f"{self.name} withdrew a beat in cycle {cycle} that was not taken"
            assert payload == self.waiting, f"{self.name} changed an untaken beat in cycle {cycle}"
        moved = bool(valid and self.ready)
        self.waiting = payload if valid and not self.ready else None
        if moved:
            self.done.append(payload)
            self.when.append(cycle)
        return moved

    def state(self) -> str:
        return f"{self.name} gave {len(self.done)} of {self.count} beats"


def drive(
    unit,
    inputs: Mapping[str, Sequence[int]],
    outputs: Mapping[str, int],
    *,
    seed: int | None = None,
    patience: int = 400,
    after: int = 30,
    before: Callable[[SimulatorContext], Awaitable[None]] | None = None,
) -> Run:
    """Feed ``inputs`` to ``unit`` and take beats from it until ``outputs`` are complete.

    Parameters
    ----------
    unit : wiring.Component
    inputs : dict of list of int
        Beats for each input stream, by the name of the port.
    outputs : dict of int
        The number of beats that each output stream must give, neither fewer nor more.
    seed : int or None
        Seed of the stalls of every port. None: sources always valid, sinks always ready.
    patience : int
        Cycles without any transfer after which the unit counts as stuck.
    after : int
        Cycles to watch for surplus beats once everything has arrived.
    before : async function of the simulator's context, or None
        What happens to the unit before the first cycle that is counted.

    Raises
    ------
    AssertionError
        A beat is missing, surplus, withdrawn or changed before it was taken, an input beat is left,
        ``valid`` depends on ``ready``, or nothing moves any more.
    """
    print(f"stalls of seed {seed}")
    sources = [Source(name, getattr(unit, name), seed, words) for name, words in inputs.items()]
    sinks = [Sink(name, getattr(unit, name), seed, count) for name, count in outputs.items()]
    ports = [*sources, *sinks]
    seen = [source.stream.ready for source in sources]
    for sink in sinks:
        seen += [sink.stream.valid, sink.payload]

    def state() -> str:
        return "; ".join(port.state() for port in ports)

    async def bench(ctx):
        cycle, idle = 0, 0
        if before is not None:
            await before(ctx)
        while True:
            for port in ports:
                port.offer(ctx)
            _, _, *values = await ctx.tick().sample(*seen)
            moved = False
            for source in sources:
                moved |= source.note(cycle, values.pop(0))
            for sink in sinks:
                moved |= sink.note(cycle, values.pop(0), values.pop(0))
                assert len(sink.done) <= sink.count, f"a surplus beat in cycle {cycle}: {state()}"
            complete = all(len(sink.done) == sink.count for sink in sinks) and all(
                len(source.done) == len(source.words) for source in sources
            )
            cycle += 1
            idle = 0 if moved else idle + 1
            if complete and idle >= after:
                return
            assert idle < patience, f"stuck in cycle {cycle}: {state()}"

    sim = Simulator(unit)
    sim.add_clock(_CLOCK)
    sim.add_testbench(bench)
    sim.run()
    return Run(
        beats={port.name: port.done for port in ports},
        cycles={port.name: port.when for port in ports},
    )
