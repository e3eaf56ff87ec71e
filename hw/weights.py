"""Weight memory: a read-only memory with registers on both sides of the memory cells."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["RAM_STYLES", "WeightMemory", "style_attributes"]

RAM_STYLES = ("auto", "block", "distributed")


def style_attributes(ram_style: str) -> dict[str, str]:
    """Memory attributes for a style; synthesis tools ask for ROMs by another name than for RAMs."""
    if ram_style not in RAM_STYLES:
        raise ValueError(f"ram_style must be one of {', '.join(RAM_STYLES)}, not {ram_style!r}")
    return {} if ram_style == "auto" else {"ram_style": ram_style, "rom_style": ram_style}


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

    Members
    -------
    en : In(1)
        The read advances while it is 1.
    address : In(range(depth))
    data : Out(width)

    Timing
    ------
    ``data`` shows the word of an ``address`` ``latency`` = 2 enabled cycles later: one register is
    the memory's, the next is in logic, as block RAM is slow from clock to output.

    Raises
    ------
    ValueError
        A parameter is out of range, or a word does not fit.
    """

    latency = 2

    def __init__(self, *, depth: int, width: int, init: Sequence[int], ram_style: str = "auto"):
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
        self.depth = depth
        self.width = width
        self.init = words
        self.ram_style = ram_style
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
            attrs=style_attributes(self.ram_style),
        )
        port = memory.read_port()
        data = Signal(self.width, reset_less=True)
        m.d.comb += [port.en.eq(self.en), port.addr.eq(self.address), self.data.eq(data)]
        with m.If(self.en):
            m.d.sync += data.eq(port.data)
        return m
