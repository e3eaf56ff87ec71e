"""Stages of a rigid pipeline: registers that advance together while it is enabled."""

from amaranth.hdl import Cat, Module, Signal, Value, ValueLike

__all__ = ["later", "stages_of"]


def later(m: Module, en: ValueLike, value: Value, cycles: int, name: str) -> Value:
    """``value`` some enabled cycles later; without a reset, so for payloads alone."""
    for cycle in range(cycles if len(value) else 0):
        stage = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=True)
        with m.If(en):
            m.d.sync += stage.eq(value)
        value = stage
    return value


def stages_of(m: Module, en: ValueLike, bit: Value, cycles: int, name: str) -> list[Value]:
    """A control bit in each stage that it passes: now, and 1 to ``cycles`` enabled cycles later.

    All stages are 0 after reset.
    """
    stages = Signal(cycles, name=name)
    every = Cat(bit, stages)
    with m.If(en):
        m.d.sync += stages.eq(every[:cycles])
    return [every[stage] for stage in range(cycles + 1)]
