"""Units with a mistake put in at their ports, which proofs must find."""

from collections.abc import Callable, Mapping

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

__all__ = ["Tampered"]


class Tampered(wiring.Component):
    """A unit some of whose ports do not pass on what they should.

    Parameters
    ----------
    unit : wiring.Component
    changes : dict of str and callable
        By the names of ports, nested ones with dots: given the module and the value that the port
        should pass on, what it passes on instead.
    """

    def __init__(
        self, unit: wiring.Component, changes: Mapping[str, Callable[[Module, Value], Value]]
    ):
        # What it says of itself.
        for name, value in vars(unit).items():
            if isinstance(value, int):
                setattr(self, name, value)
        self.unit = unit
        self.changes = changes
        super().__init__(dict(unit.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.unit
        changes = dict(self.changes)
        inner = {path: value for path, _, value in self.unit.signature.flatten(self.unit)}
        for path, member, value in self.signature.flatten(self):
            change = changes.pop(".".join(map(str, path)), lambda m, value: value)
            outside, inside = Value.cast(value), Value.cast(inner[path])
            source, target = (inside, outside) if member.flow is Out else (outside, inside)
            m.d.comb += target.eq(change(m, source))
        if changes:
            raise ValueError(f"the unit has no port {min(changes)}")
        return m
