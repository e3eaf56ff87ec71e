"""Stream driver, monitor and protocol checker for cocotb.

Every port is looked at once a cycle, at the rising edge: cocotb then reads the values before the
edge, and what it writes holds from the edge on. In runs with stalls a sink is looked at in the
middle of the cycle too, where it turns its ready over: a valid that changes with it waits for it.
"""

import random
from collections.abc import Callable, Sequence

__all__ = ["ProtocolError", "Sink", "Source"]

# How often a stalled port rests; each port draws its own, so that a fast source meets a slow sink.
_SOURCE_RESTS = (0.0, 0.1, 0.5, 0.9)
_SINK_RESTS = (0.1, 0.5, 0.9)


class ProtocolError(AssertionError):
    """A unit broke a rule of its streams."""


class _Port:
    """One stream of the device, seen from the testbench.

    Parameters
    ----------
    name : str
        Name of the stream, for messages.
    signal : callable
        Gives the handle of the stream's "payload", "valid" or "ready".
    seed : str or None
        Seed of the stalls, None for no stalls.
    """

    rests_of: Sequence[float]

    def __init__(self, name: str, signal: Callable[[str], object], seed: str | None):
        self.name = name
        self.payload = signal("payload")
        self.valid = signal("valid")
        self.ready = signal("ready")
        self.beats: list[int] = []
        self.cycles: list[int] = []
        self.stalled = seed is not None
        self.random = random.Random(f"{seed} {name}")
        self.rest = self.random.choice(self.rests_of) if self.stalled else 0.0

    def flag(self, part: str) -> bool:
        """Whether the device drives "valid" or "ready" high."""
        value = getattr(self, part).value
        if not value.is_resolvable:
            raise ProtocolError(f"{part} of {self.name} is unknown: {value}")
        return bool(value)

    def rests(self) -> bool:
        return self.rest > 0 and self.random.random() < self.rest


class Source(_Port):
    """Drives an input of the device.

    Where it has nothing to offer, its payload is random in runs with stalls.
    """

    rests_of = _SOURCE_RESTS

    def __init__(
        self,
        name: str,
        signal: Callable[[str], object],
        seed: str | None,
        width: int,
        words: Sequence[int],
    ):
        super().__init__(name, signal, seed)
        self.width = width
        self.words = words
        self.offering = False

    def rest_in_reset(self) -> None:
        self.offering = False
        self.valid.value = 0

    def start(self) -> None:
        self._offer()

    def _offer(self) -> None:
        # Nothing is written that is there already: a write costs more than all else here.
        if len(self.beats) < len(self.words) and not self.rests():
            self.payload.value = self.words[len(self.beats)]
            if not self.offering:
                self.valid.value = 1
            self.offering = True
        else:
            if self.offering:
                self.valid.value = 0
            if self.stalled:
                self.payload.value = self.random.getrandbits(self.width)
            self.offering = False

    def edge(self, cycle: int) -> bool:
        """Note what happened in ``cycle`` and drive the next; whether a beat was taken."""
        taken = self.offering and self.flag("ready")
        if taken:
            self.beats.append(self.words[len(self.beats)])
            self.cycles.append(cycle)
        if taken or not self.offering:
            self._offer()
        return taken

    @property
    def complete(self) -> bool:
        return len(self.beats) == len(self.words)

    def state(self) -> str:
        waits = ", waits for its ready" if self.offering else ""
        return f"{self.name} took {len(self.beats)} of {len(self.words)} beats{waits}"


class Sink(_Port):
    """Takes beats from an output of the device and checks the protocol.

    Some sinks of runs with stalls are ready only for a beat that is there.
    """

    rests_of = _SINK_RESTS

    def __init__(self, name: str, signal: Callable[[str], object], seed: str | None, count: int):
        super().__init__(name, signal, seed)
        self.count = count
        self.waiting: int | None = None
        self.willing = False
        self.shy = self.stalled and self.random.random() < 0.25
        self.seen: tuple[bool, int | None] = (False, None)

    def rest_in_reset(self) -> None:
        self.waiting = None
        self.ready.value = 0

    def start(self) -> None:
        self._plan()

    def _plan(self) -> None:
        self.willing = not self.rests()
        # The opposite of the plan comes first, `middle` puts it right.
        self.ready.value = not self.willing if self.stalled else 1

    def _look(self) -> tuple[bool, int | None]:
        if not self.flag("valid"):
            return (False, None)
        payload = self.payload.value
        if not payload.is_resolvable:
            raise ProtocolError(f"{self.name} gives unknown bits: {payload}")
        return (True, int(payload))

    def middle(self) -> None:
        """In the middle of a cycle of a run with stalls: drive the ready that was planned."""
        self.seen = self._look()
        if self.shy:
            self.willing = self.willing and self.seen[0]
        self.ready.value = self.willing

    def edge(self, cycle: int) -> bool:
        """Note what happened in ``cycle`` and drive the next; whether a beat was taken.

        Raises
        ------
        ProtocolError
            A beat was withdrawn or changed before it was taken, depends on ready, or is surplus.
        """
        valid, payload = look = self._look()
        if self.stalled and look != self.seen:
            raise ProtocolError(f"{self.name}: valid or payload depends on ready in cycle {cycle}")
        if self.waiting is not None and not valid:
            raise ProtocolError(f"{self.name} withdrew an untaken beat in cycle {cycle}")
        if self.waiting is not None and payload != self.waiting:
            raise ProtocolError(f"{self.name} changed an untaken beat in cycle {cycle}")
        taken = valid and self.willing
        self.waiting = payload if valid and not taken else None
        if taken:
            self.beats.append(payload)
            self.cycles.append(cycle)
            if len(self.beats) > self.count:
                raise ProtocolError(f"{self.name} gave a surplus beat in cycle {cycle}")
        if self.stalled:
            self._plan()
        return taken

    @property
    def complete(self) -> bool:
        return len(self.beats) == self.count

    def state(self) -> str:
        return f"{self.name} gave {len(self.beats)} of {self.count} beats"
