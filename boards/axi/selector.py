"""One of many words, at a clock that does not suffer from their number."""

from collections.abc import Sequence

from amaranth.hdl import Array, Module, Signal, Value

__all__ = ["LATENCY", "select_word"]

#: Words of a multiplexer, and its address bits.
_INPUTS, _BITS = 8, 3

#: Cycles that up to 512 words take.
LATENCY = 3


def select_word(m: Module, name: str, words: Sequence[Value], index: Value, bits: int) -> Signal:
    """The word at ``index``, by multiplexers with a register after each eight words.

    Parameters
    ----------
    m : Module
    name : str
        Of the registers.
    words : sequence of Value
        At least one and at most 512, of ``bits`` bits or fewer.
    index : Value
        Bits beyond those that the number of words takes are not looked at. Must stay as it is until
        the word is there: ``LATENCY`` cycles after word and index.

    Raises
    ------
    ValueError
        There is no word, or there are too many.
    """
    most = _INPUTS**LATENCY
    if not 1 <= len(words) <= most:
        raise ValueError(f"words must be from 1 to {most}, not {len(words)}")
    layer = list(words)
    index = index[: (len(words) - 1).bit_length()]
    for stage in range(LATENCY):
        chosen = []
        for at in range(0, len(layer), _INPUTS):
            group = layer[at : at + _INPUTS]
            part = Signal(bits, name=f"{name}_{stage}_{at // _INPUTS}")
            low = _BITS * stage
            place = index[low : low + _BITS]
            m.d.sync += part.eq(Array(group)[place] if len(group) > 1 else group[0])
            chosen.append(part)
        layer = chosen
    return layer[0]
