# amaranth: UnusedElaboratable=no
"""Weight memory: a memory of parameters with registers on both sides of the memory cells.

Memories belong to units that may be composed for their cycles alone, hence the first line.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, ValueLike, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.parameters import WORD, MemorySpace, ParameterPort
from hw.stages import later

__all__ = [
    "RAM_STYLES",
    "WeightMemory",
    "lookup_latency",
    "read",
    "style_attributes",
    "weight_memory",
]

RAM_STYLES = ("auto", "block", "distributed")

# Words that a table of logic answers together with some logic behind it, and with a register alone.
_QUICK = 16
_LOGIC = 64

# A column is chosen by so many bits of its number in a cycle: from 16 columns.
_CHOICE_BITS = 4


def style_attributes(ram_style: str) -> dict[str, str]:
    """Attributes that make a read-only memory of a style.

    Vivado asks for the style of ROMs by a name of its own. Yosys looks at the name for RAMs first;
    it has no LUT RAM that could be a ROM, and takes logic instead.
    """
    if ram_style not in RAM_STYLES:
        raise ValueError(f"ram_style must be one of {', '.join(RAM_STYLES)}, not {ram_style!r}")
    if ram_style == "auto":
        return {}
    return {
        "ram_style": "logic" if ram_style == "distributed" else ram_style,
        "rom_style": ram_style,
    }


class WeightMemory(wiring.Component):
    """Memory of parameters: read-only, or written while nothing reads it.

    A read-only memory of one word is constants that synthesis folds into the logic.

    Parameters
    ----------
    depth : int
        Words.
    width : int
        Bits of a word.
    init : sequence of int
        The words.
    ram_style : str
        ``"auto"`` leaves it to synthesis; ``"block"`` or ``"distributed"``.
    latency : int
        0, 1 or 2, the default. 0 is a table of logic, or of LUT RAM where it can be written.
    writable : bool
        Whether there is the port ``parameters``, through which words are written and read back.
    handed : bool
        Whether ``address`` is to be the row of ``parameters.address`` while ``parameters.read`` is
        1: one register is allowed for in which it is put there. Else the memory chooses, which
        takes a level of logic.

    Members
    -------
    en : In(1)
        The read advances while it is 1.
    address : In(range(depth))
    data : Out(width)
    parameters : In(ParameterPort)
        A memory for each 32 bits of a word, one word in registers that no reset changes.

    ``space``, a :class:`hw.parameters.MemorySpace`, says where in it what lies.

    Timing
    ------
    ``data`` shows the word of an ``address`` ``latency`` enabled cycles later: one register is the
    memory's, the next is in logic, as block RAM is slow from clock to output. In front of few words
    of LUT RAM it is the address that has the next one, as that is narrower.

    Raises
    ------
    ValueError
        A parameter is out of range, or a word does not fit.
    """

    #: Latency at the default.
    latency = 2

    def __init__(
        self,
        *,
        depth: int,
        width: int,
        init: Sequence[int],
        ram_style: str = "auto",
        latency: int = latency,
        writable: bool = False,
        handed: bool = False,
    ):
        for name, value in (("depth", depth), ("width", width)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        words = list(init)
        if len(words) != depth:
            raise ValueError(f"init must have {depth} words, not {len(words)}")
        for word in words:
            if not isinstance(word, int) or not 0 <= word < 1 << width:
                raise ValueError(f"words must be integers of {width} bits, not {word!r}")
        style_attributes(ram_style)
        if latency not in (0, 1, 2):
            raise ValueError(f"latency must be 0, 1 or 2, not {latency!r}")
        self.depth = depth
        self.width = width
        self.init = words
        self.ram_style = ram_style
        self.latency = latency
        self.writable = writable
        self.handed = handed
        members = {"en": In(1), "address": In(range(depth)), "data": Out(width)}
        if writable:
            members["parameters"] = In(ParameterPort(self.space.bits))
        super().__init__(members)

    @property
    def space(self) -> MemorySpace:
        latency = self.latency + self.handed + self._stages
        return MemorySpace(self.init, self.width, latency)

    @property
    def _columns(self) -> int:
        return -(-self.width // WORD)

    @property
    def _stages(self) -> int:
        """Cycles in which a column is chosen."""
        return max(1, -(-(self._columns - 1).bit_length() // _CHOICE_BITS))

    def elaborate(self, platform):
        m = Module()
        if self.writable:
            self._stored(m)
            return m
        if self.depth == 1:
            m.d.comb += self.data.eq(self.init[0])
            return m
        m.submodules.memory = memory = Memory(
            shape=unsigned(self.width),
            depth=self.depth,
            init=self.init,
            attrs=style_attributes(self.ram_style) if self.latency else {},
        )
        port = memory.read_port(domain="sync" if self.latency else "comb")
        m.d.comb += port.addr.eq(self.address)
        if self.latency:
            m.d.comb += port.en.eq(self.en)
        if self.latency == 2:
            data = Signal(self.width, reset_less=True)
            with m.If(self.en):
                m.d.sync += data.eq(port.data)
            m.d.comb += self.data.eq(data)
        else:
            m.d.comb += self.data.eq(port.data)
        return m

    def _stored(self, m: Module) -> None:
        port, bits = self.parameters, self.space.column_bits
        column, row = port.address[:bits], port.address[bits:]
        # Rows and columns that there are none of must not be taken for others.
        inside = Signal()
        m.d.comb += inside.eq((row < self.depth) & (column < self._columns))
        en = Signal()
        m.d.comb += en.eq(self.en | port.read)
        address = Signal(range(self.depth))
        chosen = self.address if self.handed else Mux(port.read, row, self.address)
        m.d.comb += address.eq(chosen)
        style, late = self.ram_style, self.latency == 2
        if self.latency < 2 or (self.depth <= _LOGIC and style != "block"):
            address = later(m, en, address, 1, "address_late") if late else address
            style, late = "distributed", False
        words = []
        for number in range(self._columns):
            write = Signal(name=f"write_{number}")
            m.d.comb += write.eq(port.write & inside & (column == number))
            width = min(WORD, self.width - number * WORD)
            rows = [word >> number * WORD & (1 << width) - 1 for word in self.init]
            if self.depth == 1:
                word = Signal(width, name=f"column_{number}", init=rows[0], reset_less=True)
                with m.If(write):
                    m.d.sync += word.eq(port.write_data)
                words.append(word)
                continue
            memory = Memory(
                shape=unsigned(width),
                depth=self.depth,
                init=rows,
                # Unlike a ROM, this one can be in LUT RAM.
                attrs={} if style == "auto" else {"ram_style": style},
            )
            m.submodules[f"column_{number}"] = memory
            writing = memory.write_port()
            reading = memory.read_port(domain="sync" if self.latency else "comb")
            m.d.comb += [
                writing.en.eq(write),
                writing.addr.eq(row),
                writing.data.eq(port.write_data),
                reading.addr.eq(address),
            ]
            if self.latency:
                m.d.comb += reading.en.eq(en)
            words.append(later(m, en, reading.data, int(late), f"data_{number}"))
        m.d.comb += self.data.eq(Cat(words))
        self._read_back(m, words, column, port.read & inside)

    def _read_back(self, m: Module, words: list[Value], column: Value, read: Value) -> None:
        """Answer with the word of a column, chosen from a few in each cycle."""
        for stage in range(self._stages):
            last = stage == self._stages - 1
            bits = column if last else column[:_CHOICE_BITS]
            column = column[_CHOICE_BITS:]
            size = 1 << len(bits)
            chosen = []
            for first in range(0, len(words), size):
                answer = Signal(WORD, name=f"answer_{stage}_{first // size}", reset_less=True)
                word = _choose(words[first : first + size], bits)
                m.d.sync += answer.eq(Mux(read, word, 0) if last else word)
                chosen.append(answer)
            words = chosen
        m.d.comb += self.parameters.read_data.eq(words[0])


def _choose(values: Sequence[Value], number: Value) -> Value:
    """The value of that number."""
    for bit in number:
        values = [
            Mux(bit, values[k + 1], values[k]) if k + 1 < len(values) else values[k]
            for k in range(0, len(values), 2)
        ]
    return values[0]


def weight_memory(
    words: Sequence[int],
    width: int,
    *,
    ram_style: str = "auto",
    latency: int = WeightMemory.latency,
    writable: bool = False,
    handed: bool = False,
) -> WeightMemory:
    """The memory of such words."""
    return WeightMemory(
        depth=len(words),
        width=width,
        init=words,
        ram_style=ram_style,
        latency=latency,
        writable=writable,
        handed=handed,
    )


def lookup_latency(depth: int, *, registered: bool = False) -> int:
    """Latency at which a table of ``depth`` words is read with little logic in each cycle.

    ``registered``: the word is wanted in a register, except for that of a table of one word.
    """
    if depth <= _QUICK:
        return int(registered and depth > 1)
    return 1 if depth <= _LOGIC else 2


def read(
    m: Module, name: str, memory: WeightMemory, address: ValueLike, *, enable: ValueLike
) -> Value:
    """The word at ``address``, from a memory that becomes submodule ``name``."""
    m.submodules[name] = memory
    m.d.comb += [memory.en.eq(enable), memory.address.eq(address)]
    return memory.data
