"""Parameters that can be written at run time: words of 32 bits in one space of addresses.

Whatever has such parameters has a ``space``, which says where they lie, and a port ``parameters``,
behind which they are: a memory, a unit of some memories, the accelerator. Where one is made of
others, its space is made of theirs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WORD", "MemorySpace", "ParameterPort", "ParameterSpace", "ParameterUnit", "Place"]

#: Bits of a word.
WORD = 32


class ParameterPort(wiring.Signature):
    """Interface to parameters, seen from who accesses them.

    They may be accessed while nothing goes through what they belong to, and until ``latency``
    cycles (of the space) before something does again.

    Parameters
    ----------
    address_bits : int

    Members
    -------
    address : Out(address_bits)
    write : Out(1)
        ``write_data`` is written to ``address``; nothing is where there is no parameter.
    write_data : Out(32)
    read : Out(1)
        Memories show the word at ``address``, not what the unit asks for.
    read_data : In(32)
        The word, once ``read`` and ``address`` have been there for ``latency`` cycles; bits that
        belong to no parameter are 0.
    """

    def __init__(self, address_bits: int):
        self.address_bits = address_bits
        super().__init__(
            {
                "address": Out(address_bits),
                "write": Out(1),
                "write_data": Out(WORD),
                "read": Out(1),
                "read_data": In(WORD),
            }
        )


@dataclass(frozen=True)
class Place:
    """Where a memory lies.

    Row r, bits ``32 * c`` and up, is at ``base + (r << column_bits) + c``.

    Parameters
    ----------
    name : str
        Submodules down to the memory, with dots between.
    base : int
        Address of its first word.
    depth, width : int
        Rows, and bits of a row.
    """

    name: str
    base: int
    depth: int
    width: int

    @property
    def columns(self) -> int:
        """Words of a row."""
        return -(-self.width // WORD)

    @property
    def column_bits(self) -> int:
        return (self.columns - 1).bit_length()


class MemorySpace:
    """The space of one memory.

    Parameters
    ----------
    rows : list of int
        Of the memory itself.
    width : int
        Bits of a row.
    latency : int
        See :class:`ParameterPort`.

    Members
    -------
    bits : int
        Of an address.
    latency : int
    places : list of Place
    """

    def __init__(self, rows: list[int], width: int, latency: int):
        self.rows = rows
        self.latency = latency
        self.places = [Place("", 0, len(rows), width)]
        self.column_bits = self.places[0].column_bits
        self.bits = max(1, self.column_bits + (len(rows) - 1).bit_length())

    def entries(self) -> Iterator[tuple[int, int]]:
        """Address and word of every parameter, as they are at first."""
        for row, value in enumerate(self.rows):
            for column in range(self.places[0].columns):
                yield row << self.column_bits | column, value >> column * WORD & (1 << WORD) - 1

    def clear(self) -> None:
        """Have 0 everywhere at first."""
        self.rows[:] = [0] * len(self.rows)


class ParameterSpace:
    """The space of something that is made of parts with a space.

    Parameters
    ----------
    parts : mapping of submodule name to component
        With ``space`` and ``parameters``.

    Members
    -------
    bits : int
        Of an address; at least 1.
    latency : int
        See :class:`ParameterPort`.
    bases : dict of int
        First address of each part. Parts are at multiples of what they take up, the largest first.
    places : list of Place
        By address.
    size : int
        Words up to the last one. Some between them may belong to nothing.
    """

    def __init__(self, parts: Mapping[str, wiring.Component]):
        self.parts = dict(parts)
        self.bases: dict[str, int] = {}
        base = 0
        for name in sorted(self.parts, key=lambda name: -self.parts[name].space.bits):
            self.bases[name] = base
            base += 1 << self.parts[name].space.bits
        self.bits = max(1, (base - 1).bit_length())
        spaces = [part.space for part in self.parts.values()]
        self.latency = 1 + max((space.latency for space in spaces), default=0)
        self.places = [
            replace(
                place,
                name=f"{name}.{place.name}" if place.name else name,
                base=base + place.base,
            )
            for name, base in self.bases.items()
            for place in self.parts[name].space.places
        ]

    def entries(self) -> Iterator[tuple[int, int]]:
        """Address and word of every parameter, as they are at first."""
        for name, base in self.bases.items():
            for address, word in self.parts[name].space.entries():
                yield base + address, word

    def clear(self) -> None:
        """Have 0 everywhere at first."""
        for part in self.parts.values():
            part.space.clear()

    @property
    def size(self) -> int:
        return max(
            (
                place.base + (place.depth - 1 << place.column_bits) + place.columns
                for place in self.places
            ),
            default=0,
        )

    @property
    def words(self) -> list[int]:
        """All words by address, as they are at first; 0 where there is no parameter."""
        words = [0] * self.size
        for address, word in self.entries():
            words[address] = word
        return words

    def connect(
        self, m: Module, *, address: Value, write: Value, write_data: Value, read: Value
    ) -> Value:
        """Put all parts behind one access, whose ``read_data`` is returned."""
        answers = []
        for name, base in self.bases.items():
            part = self.parts[name]
            bits = part.space.bits
            selected = Signal(name=f"{name}_selected")
            m.d.comb += [
                # A part that takes up everything has all addresses.
                selected.eq(address[bits:] == base >> bits),
                part.parameters.address.eq(address[:bits]),
                part.parameters.write.eq(write & selected),
                part.parameters.write_data.eq(write_data),
                part.parameters.read.eq(read & selected),
            ]
            answers.append(part.parameters.read_data)
        # What is not read answers 0.
        answer = Signal(WORD, name="parameters_answer", reset_less=True)
        m.d.sync += answer.eq(_any(answers))
        return answer


def _any(values: list[Value]) -> Value:
    while len(values) > 1:
        pairs = [values[k] | values[k + 1] for k in range(0, len(values) - 1, 2)]
        values = pairs + values[2 * len(pairs) :]
    return values[0]


class ParameterUnit(wiring.Component):
    """Base of units whose parameters are in memories.

    A unit sets ``writable`` before its ports are made, and makes its memories when they are asked
    for: units are often composed for their cycles alone.

    Members
    -------
    writable : bool
    space : ParameterSpace
        Of the memories that can be written.
    """

    writable = False

    def _memories(self) -> dict[str, wiring.Component]:
        """All memories by submodule name."""
        raise NotImplementedError

    @cached_property
    def memories(self) -> dict[str, wiring.Component]:
        return self._memories()

    @cached_property
    def space(self) -> ParameterSpace:
        return ParameterSpace(
            {name: memory for name, memory in self.memories.items() if memory.writable}
        )

    def _parameter_port(self) -> dict[str, wiring.Member]:
        """The port ``parameters``, where there is something behind it."""
        if not self.writable or not self.space.parts:
            return {}
        return {"parameters": In(ParameterPort(self.space.bits))}

    def _connect_parameters(self, m: Module) -> None:
        if hasattr(self, "parameters"):
            port = self.parameters
            read_data = self.space.connect(
                m,
                address=port.address,
                write=port.write,
                write_data=port.write_data,
                read=port.read,
            )
            m.d.comb += port.read_data.eq(read_data)
