"""Element types of the integer network as Amaranth shapes, and the lanes of a stream beat.

An element type is written as in ``network.json``: ``"binary"`` (+1/-1, stored as 1/0), ``"uintK"``
or ``"intK"``. Gateware takes these strings, so that no unit needs to know the network's classes.
"""

import re
from collections.abc import Iterable

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

__all__ = ["element_for", "element_range", "element_shape", "is_binary", "lanes", "pack"]

_ELEMENT = re.compile(r"(u?)int([1-9][0-9]*)")


def is_binary(element: str) -> bool:
    """Whether ``element`` is the +1/-1 type (and not the one-bit number ``uint1``)."""
    return element == "binary"


def element_shape(element: str) -> Shape:
    """The Amaranth shape that stores one element.

    Raises
    ------
    ValueError
        ``element`` is not ``"binary"``, ``"uintK"`` or ``"intK"``.
    """
    if is_binary(element):
        return unsigned(1)
    match = _ELEMENT.fullmatch(element) if isinstance(element, str) else None
    if match is None:
        raise ValueError(f"element must be 'binary', 'uintK' or 'intK', not {element!r}")
    bits = int(match[2])
    return unsigned(bits) if match[1] else signed(bits)


def element_range(element: str) -> tuple[int, int]:
    """Lowest and highest number that ``element`` stands for; (-1, 1) for ``"binary"``."""
    if is_binary(element):
        return (-1, 1)
    shape = element_shape(element)
    if shape.signed:
        return (-(1 << shape.width - 1), (1 << shape.width - 1) - 1)
    return (0, (1 << shape.width) - 1)


def element_for(lo: int, hi: int) -> str:
    """The narrowest signed element type that holds every number in ``lo..hi``."""
    if lo > hi:
        raise ValueError(f"lo must not exceed hi, not {lo} and {hi}")
    return f"int{max(hi.bit_length(), (-lo - 1).bit_length() if lo < 0 else 0) + 1}"


def lanes(element: str, count: int) -> data.ArrayLayout:
    """Payload of a beat that carries ``count`` consecutive channels of one pixel, lane 0 low."""
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count of lanes must be a positive integer, not {count!r}")
    return data.ArrayLayout(element_shape(element), count)


def pack(values: Iterable[int], bits: int) -> int:
    """Numbers as one word, the first lowest."""
    word = 0
    for place, value in enumerate(values):
        word |= (value & (1 << bits) - 1) << place * bits
    return word
