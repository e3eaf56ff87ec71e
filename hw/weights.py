"""Weight memory: a read-only memory with registers on both sides of the memory cells."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value, ValueLike, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["RAM_STYLES", "WeightMemory", "lookup", "lookup_latency", "style_attributes"]

RAM_STYLES = ("auto", "block", "distributed")

# Words that a table of logic answers together with some logic behind it, and with a register alone.
_QUICK = 16
_LOGIC = 64


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
    """Read-only memory; a memory of one word is constants that synthesis folds into the logic.

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
        0, 1 or 2, the default. 0 is a table of logic.

    Members
    -------
    en : In(1)
        The read advances while it is 1.
    address : In(range(depth))
    data : Out(width)

    Timing
    ------
    ``data`` shows the word of an ``address`` ``latency`` enabled cycles later: one register is the
    memory's, the next is in logic, as block RAM is slow from clock to output.

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
        super().__init__({"en": In(1), "address": In(range(depth)), "data": Out(width)})

    def elaborate(self, platform):
        m = Module()
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


def lookup_latency(depth: int, *, registered: bool = False) -> int:
    """Latency at which a table of ``depth`` words is read with little logic in each cycle.

    ``registered``: the word is wanted in a register, except for that of a table of one word.
    """
    if depth <= _QUICK:
        return int(registered and depth > 1)
    return 1 if depth <= _LOGIC else 2


def lookup(
    m: Module,
    name: str,
    words: Sequence[int],
    width: int,
    address: ValueLike,
    *,
    enable: ValueLike,
    latency: int,
    ram_style: str = "auto",
) -> Value:
    """The word at ``address``, from a memory that becomes submodule ``name``."""
    memory = WeightMemory(
        depth=len(words), width=width, init=words, ram_style=ram_style, latency=latency
    )
    m.submodules[name] = memory
    m.d.comb += [memory.en.eq(enable), memory.address.eq(address)]
    return memory.data
