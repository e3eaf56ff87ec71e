"""Bitstreams: what Vivado writes, and what the kernel of the board wants."""

import struct
from dataclasses import dataclass

__all__ = ["BitFile", "read_bit", "to_bin"]

#: What a .bit file begins with: a field of nine bytes, and the length of the first key.
_START = bytes.fromhex("00090ff00ff00ff00ff0000001")

#: The word by which a device finds the beginning of its configuration.
_SYNC = bytes.fromhex("aa995566")


@dataclass(frozen=True)
class BitFile:
    """What a .bit file says of itself, and the configuration.

    Parameters
    ----------
    design : str
        Name of the top and, after semicolons, remarks of the tool.
    part : str
        The device, without the letters before its number in older files.
    date, time : str
    payload : bytes
    """

    design: str
    part: str
    date: str
    time: str
    payload: bytes


def read_bit(content: bytes) -> BitFile:
    """The .bit file with that content.

    Raises
    ------
    ValueError
        It is none, or is cut short.
    """
    if not content.startswith(_START):
        raise ValueError("a .bit file must begin with its header, and this does not")
    fields: dict[str, str] = {}
    at = len(_START)
    try:
        while (key := content[at : at + 1]) != b"e":
            if not key:
                raise struct.error
            if key not in (b"a", b"b", b"c", b"d"):
                raise ValueError(f"the header of a .bit file must not hold a field {key!r}")
            (length,) = struct.unpack_from(">H", content, at + 1)
            text = content[at + 3 : at + 3 + length]
            fields[key.decode()] = text.rstrip(b"\0").decode("ascii", "replace")
            at += 3 + length
        (length,) = struct.unpack_from(">I", content, at + 1)
    except struct.error:
        raise ValueError("the header of the .bit file is cut short") from None
    payload = content[at + 5 :]
    if len(payload) != length:
        raise ValueError(
            f"a .bit file must hold the {length} bytes it tells of, not {len(payload)}"
        )
    if len(payload) % 4:
        raise ValueError(f"a configuration must be of whole 32-bit words, not {len(payload)} bytes")
    if _SYNC not in payload[:1024]:
        raise ValueError("a configuration must begin with its synchronisation word")
    return BitFile(*(fields.get(key, "") for key in "abcd"), payload)


def to_bin(content: bytes) -> bytes:
    """The .bin file for the kernel's FPGA manager, of a .bit file's content.

    The manager wants the configuration alone, with the bytes of each 32-bit word in the order of
    the processor.
    """
    payload = read_bit(content).payload
    words = len(payload) // 4
    return struct.pack(f"<{words}I", *struct.unpack(f">{words}I", payload))
