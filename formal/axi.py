"""The rules of AXI4 and AXI4-Lite (Arm IHI 0022) that proofs of several units share."""

from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from boards.axi.ports import Burst
from formal.stream import Offer, Steady

__all__ = ["Channel", "beat_address", "channel", "legal_burst", "offer", "steady", "within"]


class Channel(NamedTuple):
    """A channel of an interface; its payload is all that goes with `valid`, in one value."""

    valid: Value
    ready: Value
    payload: Value
    fire: Value


def channel(bus, prefix: str) -> Channel:
    """The channel "aw", "w", "b", "ar" or "r" of an AXI or AXI4-Lite interface."""
    valid, ready = (getattr(bus, f"{prefix}{name}") for name in ("valid", "ready"))
    names = [
        name
        for name in bus.signature.members
        if name.startswith(prefix) and name[len(prefix) :] not in ("valid", "ready")
    ]
    return Channel(valid, ready, Cat(getattr(bus, name) for name in names), valid & ready)


def offer(m: Module, name: str, bus, prefix: str, *, some=1) -> Channel:
    """Drive a channel with anything; `some` says when a transfer can begin to be offered."""
    found = channel(bus, prefix)
    m.submodules[f"{name}_{prefix}_offer"] = Offer(
        found.valid, found.ready, found.payload, some=some
    )
    return found


def steady(m: Module, name: str, bus, prefixes: tuple[str, ...]) -> None:
    """Assert that what is offered on these channels stays and does not change."""
    for prefix in prefixes:
        found = channel(bus, prefix)
        m.submodules[f"{name}_{prefix}_steady"] = Steady(
            f"{name}.{prefix}", found.valid, found.ready, found.payload
        )


def beat_address(address: Value, length: Value, size: Value, burst: Value, beat: Value) -> Value:
    """The address of a beat of a burst, for sizes up to four bytes: A3.4.1 of the specification."""
    step = (1 << size)[:3]
    moved = (address & ~(step - 1)) + (beat << size)
    container = ((length + 1) << size)[: len(address)]
    wrapped = (address & ~(container - 1)) | (moved & (container - 1))
    by_kind = Mux(burst == Burst.WRAP, wrapped, Mux(beat == 0, address, moved))
    return Mux(burst == Burst.FIXED, address, by_kind)[: len(address)]


def legal_burst(address: Value, length: Value, size: Value, burst: Value, most_size: int) -> Value:
    """Whether a burst of beats of up to 2**most_size bytes is one that AXI4 allows."""
    step = (1 << size)[: most_size + 1]
    wraps = (address[:most_size] & (step - 1)[:most_size]) == 0
    wraps &= (length == 1) | (length == 3) | (length == 7) | (length == 15)
    end = (address[:12] & ~(step - 1)) + ((length + 1) << size)
    kinds = Mux(burst == Burst.WRAP, wraps, Mux(burst == Burst.FIXED, length < 16, end <= 4096))
    return (size <= most_size) & (burst != 3) & kinds


def within(m: Module, name: str, cycles: int, *, waits: Value) -> Signal:
    """Whether `waits` has been 1 for fewer than `cycles` cycles."""
    count = Signal(range(cycles + 1), name=f"{name}_waited")
    fine = Signal(name=f"{name}_in_time")
    m.d.comb += fine.eq(~waits | (count < cycles))
    m.d.sync += count.eq(Mux(waits & (count < cycles), count + 1, 0))
    return fine
