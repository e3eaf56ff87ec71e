"""Writes the parameters of an accelerator after reset."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

from hw.parameters import WORD, ParameterPort, ParameterSpace

__all__ = ["ParameterLoader"]


class ParameterLoader(wiring.Component):
    """Writes words to a space of parameters, one a cycle, and then waits until they are in place.

    Parameters
    ----------
    space : ParameterSpace
    words : sequence of int
        As many as the space has.

    Members
    -------
    parameters : Out(ParameterPort)
    loaded : Out(1)

    Raises
    ------
    ValueError
        There are too many words, or too few.
    """

    def __init__(self, space: ParameterSpace, words: Sequence[int]):
        if len(words) != space.size:
            raise ValueError(f"words must be {space.size}, not {len(words)}")
        self.words = list(words)
        self.latency = space.latency
        super().__init__({"parameters": Out(ParameterPort(space.bits)), "loaded": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = memory = Memory(
            shape=unsigned(WORD), depth=len(self.words), init=self.words
        )
        read = memory.read_port()
        step = Signal(range(len(self.words) + self.latency + 1))
        m.d.comb += [
            read.addr.eq(step),
            self.parameters.write_data.eq(read.data),
            self.loaded.eq(step == len(self.words) + self.latency),
        ]
        with m.If(~self.loaded):
            m.d.sync += step.eq(step + 1)
        # What is read comes a cycle later, so that its address does too.
        m.d.sync += [
            self.parameters.address.eq(step),
            self.parameters.write.eq(step < len(self.words)),
        ]
        return m
