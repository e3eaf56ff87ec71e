"""Element and tensor types of the integer network, and the error it raises."""

import re
from dataclasses import dataclass

__all__ = [
    "BINARY",
    "ElementType",
    "NetworkError",
    "TensorType",
    "int_for",
    "parse_element",
]

_MAX_BITS = 48


class NetworkError(ValueError):
    """The network is not valid; the message is one sentence that names the operation or file."""


@dataclass(frozen=True)
class ElementType:
    """Type of one tensor element.

    Parameters
    ----------
    kind : str
        ``"binary"`` (+1/-1, stored as 1/0), ``"uint"`` or ``"int"`` (two's complement).
    bits : int
        Stored width, 1..48; 1 for ``binary``.
    """

    kind: str
    bits: int

    def __post_init__(self):
        if self.kind not in ("binary", "uint", "int"):
            raise NetworkError(f"element kind must be binary, uint or int, not {self.kind!r}")
        if not 1 <= self.bits <= (1 if self.kind == "binary" else _MAX_BITS):
            raise NetworkError(f"{self.kind} elements cannot have {self.bits} bits")

    def __str__(self) -> str:
        return "binary" if self.kind == "binary" else f"{self.kind}{self.bits}"

    @property
    def is_binary(self) -> bool:
        return self.kind == "binary"

    @property
    def lo(self) -> int:
        """Lowest number that an element stands for."""
        return {"binary": -1, "uint": 0, "int": -(1 << self.bits - 1)}[self.kind]

    @property
    def hi(self) -> int:
        """Highest number that an element stands for."""
        return {
            "binary": 1,
            "uint": (1 << self.bits) - 1,
            "int": (1 << self.bits - 1) - 1,
        }[self.kind]


BINARY = ElementType("binary", 1)


def parse_element(text: object) -> ElementType:
    """Read ``"binary"``, ``"uintK"`` or ``"intK"``.

    Raises
    ------
    NetworkError
        ``text`` is nothing of these.
    """
    if text == "binary":
        return BINARY
    match = re.fullmatch(r"(u?int)([1-9][0-9]?)", text) if isinstance(text, str) else None
    if match is None:
        raise NetworkError(f"element type must be 'binary', 'uintK' or 'intK', not {text!r}")
    return ElementType(match[1], int(match[2]))


def int_for(lo: int, hi: int) -> ElementType:
    """The narrowest ``int`` type that holds every number in ``lo..hi``."""
    return ElementType("int", max(hi.bit_length(), (-lo - 1).bit_length() if lo < 0 else 0) + 1)


@dataclass(frozen=True)
class TensorType:
    """Shape (height, width, channels) and element type of one tensor of one frame."""

    height: int
    width: int
    channels: int
    element: ElementType

    def __post_init__(self):
        for what in ("height", "width", "channels"):
            size = getattr(self, what)
            if not isinstance(size, int) or size < 1:
                raise NetworkError(f"{what} must be a positive integer, not {size!r}")

    def __str__(self) -> str:
        return f"{self.height}x{self.width}x{self.channels} {self.element}"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)
