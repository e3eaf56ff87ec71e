"""Byte rotation in two steps, with a register between them."""

from amaranth.hdl import Array, Value

from boards.axi.region import exact_log2

__all__ = ["FINE_BITS", "rotate_left", "rotate_right"]

#: Low bits of an amount, which the fine step rotates by: a choice of four is one LUT a bit.
FINE_BITS = 2


def _choose(select: Value, candidates: list[Value | None]) -> Value | None:
    """The candidate of that number; where it is None, any of the others."""
    known = [value for value in candidates if value is not None]
    if not known:
        return None
    if all(value is known[0] for value in known):
        return known[0]
    return Array([known[0] if value is None else value for value in candidates])[select]


def rotate_right(lanes: list[Value | None], amount: Value, step: int = 1) -> list[Value | None]:
    """Lane ``k`` becomes the one that was ``amount * step`` above it.

    None stands for lanes whose value does not matter. Their number is a power of two.
    """
    return _rotate(lanes, amount, step)


def rotate_left(lanes: list[Value | None], amount: Value, step: int = 1) -> list[Value | None]:
    """Lane ``k`` becomes the one that was ``amount * step`` below it; else like rotate_right."""
    return _rotate(lanes, amount, -step)


def _rotate(lanes, amount, step):
    count = len(lanes)
    assert count == 1 << exact_log2(count)
    if not len(amount):
        return list(lanes)
    return [
        _choose(amount, [lanes[(k + step * by) % count] for by in range(1 << len(amount))])
        for k in range(count)
    ]
