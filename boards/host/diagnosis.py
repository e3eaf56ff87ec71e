"""Why an accelerator stands still: what its counters say, as one sentence."""

from dataclasses import dataclass

from boards.host.port import RegisterPort
from boards.registers import (
    INSIDE,
    STREAM_STRIDE,
    STREAMS,
    Identity,
    Register,
    Status,
    StreamCounter,
)

__all__ = ["Snapshot", "StreamState", "explain", "take_snapshot"]

_VALID, _READY = 1, 2

#: Streams whose states share a register.
_INSIDE_PER_WORD = 16

#: Streams of the shell in the order of the data: channels of the memory port, and what lies before
#: the accelerator. All others come out of it.
_READ_PORT = ("read address", "read data")
_BEFORE = ("images",)
_WRITE_PORT = ("write address", "write data", "write response")


@dataclass(frozen=True)
class StreamState:
    """A stream at one moment, and what it counted until then; streams inside count nothing.

    Parameters
    ----------
    name : str
    valid, ready : bool
    beats, blocked, starved : int or None
    """

    name: str
    valid: bool
    ready: bool
    beats: int | None = None
    blocked: int | None = None
    starved: int | None = None

    @property
    def is_blocked(self) -> bool:
        return self.valid and not self.ready

    @property
    def is_starved(self) -> bool:
        return self.ready and not self.valid

    @property
    def counted(self) -> str:
        """What it counted, in brackets."""
        if self.beats is None:
            return ""
        return f" ({self.beats} beats, blocked {self.blocked} cycles, starved {self.starved})"


@dataclass(frozen=True)
class Snapshot:
    """An accelerator that does not go on.

    Parameters
    ----------
    status : Status
    frames_in, frames_out : int
    streams, inside : tuple of StreamState
        Those of the shell and those between the units, each in the order of the data.
    """

    status: Status
    frames_in: int
    frames_out: int
    streams: tuple[StreamState, ...]
    inside: tuple[StreamState, ...]


def take_snapshot(port: RegisterPort, identity: Identity) -> Snapshot:
    """Read everything that tells where the data stopped."""
    streams = []
    for index, name in enumerate(identity.streams):
        base = STREAMS + index * STREAM_STRIDE
        state = port.read(base + StreamCounter.STATE)
        streams.append(
            StreamState(
                name,
                bool(state & _VALID),
                bool(state & _READY),
                port.read(base + StreamCounter.BEATS),
                port.read(base + StreamCounter.BLOCKED),
                port.read(base + StreamCounter.STARVED),
            )
        )
    words = -(-len(identity.inside) // _INSIDE_PER_WORD)
    states = [port.read(INSIDE + 4 * word) for word in range(words)]
    inside = []
    for index, name in enumerate(identity.inside):
        word, bit = divmod(index, _INSIDE_PER_WORD)
        valid, ready = states[word] >> bit & 1, states[word] >> _INSIDE_PER_WORD + bit & 1
        inside.append(StreamState(name, bool(valid), bool(ready)))
    return Snapshot(
        status=Status(port.read(Register.STATUS) & 0xFF),
        frames_in=port.read(Register.FRAMES_IN),
        frames_out=port.read(Register.FRAMES_OUT),
        streams=tuple(streams),
        inside=tuple(inside),
    )


def explain(snapshot: Snapshot) -> str:
    """The stream at which the data stopped, and why.

    Room for what is read is there before it is asked for, and a write begins when all its data is
    there. So a read or write that does not end was not answered by the memory. Otherwise nothing
    goes on behind the last blocked stream.
    """
    streams = {stream.name: stream for stream in snapshot.streams}
    if not snapshot.status & Status.READ_IDLE:
        return _explain_port(streams, _READ_PORT, "the memory does not answer a read")
    if not snapshot.status & Status.WRITE_IDLE:
        return _explain_port(streams, _WRITE_PORT, "the memory does not answer a write")
    before = [streams[name] for name in _BEFORE if name in streams]
    behind = [
        stream
        for name, stream in streams.items()
        if name not in (*_READ_PORT, *_WRITE_PORT, *_BEFORE)
    ]
    chain = [*before, *snapshot.inside, *behind]
    for stream in reversed(chain):
        if stream.is_blocked:
            return f"stream {stream.name!r} is blocked, what takes it has stopped{stream.counted}"
    for stream in chain:
        if stream.is_starved:
            return f"stream {stream.name!r} is starved, what feeds it has stopped{stream.counted}"
    return "no stream has data, and none takes any"


def _explain_port(streams: dict[str, StreamState], names: tuple[str, ...], why: str) -> str:
    """The channel of the memory port that waits: the first with an offer, else the last."""
    there = [streams[name] for name in names if name in streams]
    for stream in there:
        if stream.is_blocked:
            return f"stream {stream.name!r} is blocked, {why}{stream.counted}"
    if not there:
        return why
    return f"stream {there[-1].name!r} is starved, {why}{there[-1].counted}"
