"""A look inside an accelerator: its streams, and how full its FIFOs were."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.stream import StreamFIFO

__all__ = ["ProbedAccelerator"]


class ProbedAccelerator(wiring.Component):
    """An accelerator and, besides its own ports, what its inside does.

    Parameters
    ----------
    accelerator : wiring.Component
        ``hw.accelerator.Accelerator``, or a component without ``nodes``, of which nothing is seen.

    Members
    -------
    the ports of the accelerator, and
    valid, ready : Out
        A bit for each of ``inside``, a cycle late.
    clear : In(1)
        Begin the marks anew.
    mark_NAME : Out(range(depth + 1))
        For each of ``fifos``, the most beats inside since reset or ``clear``, one that leaves in
        the same cycle included, as the cycle model predicts it: the least depth at which the FIFO
        would not have stalled.

    Attributes
    ----------
    inside : tuple of str
        The streams between the units, as "from -> to", each after those that feed it.
    fifos : tuple of (str, int)
        The FIFOs and their depths.
    """

    def __init__(self, accelerator: wiring.Component):
        self.accelerator = accelerator
        self._units = {node.name: node.unit for node in getattr(accelerator, "nodes", ())}
        self._edges = [
            (node.name, index, source)
            for node in getattr(accelerator, "nodes", ())
            for index, (source, _) in enumerate(node.sources)
        ]
        self.inside = tuple(f"{source} -> {name}" for name, _, source in self._edges)
        self.fifos = tuple(
            (name, unit.depth) for name, unit in self._units.items() if isinstance(unit, StreamFIFO)
        )
        super().__init__(
            dict(accelerator.signature.members)
            | {
                "valid": Out(max(1, len(self.inside))),
                "ready": Out(max(1, len(self.inside))),
                "clear": In(1),
            }
            | {f"mark_{name}": Out(range(depth + 1)) for name, depth in self.fifos}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        for name in accelerator.signature.members:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(accelerator, name))
        streams = []
        for name, index, _ in self._edges:
            unit = self._units[name]
            streams.append(unit.i if hasattr(unit, "i") else getattr(unit, f"i_{index}"))
        # A register at once: the inside shall not become slower by being looked at.
        m.d.sync += [
            self.valid.eq(Cat(stream.valid for stream in streams)),
            self.ready.eq(Cat(stream.ready for stream in streams)),
        ]
        for name, _ in self.fifos:
            fifo, mark = self._units[name], getattr(self, f"mark_{name}")
            level, came = Signal.like(fifo.level, name=f"{name}_level"), Signal(name=f"{name}_came")
            m.d.sync += [level.eq(fifo.level), came.eq(fifo.i.valid & fifo.i.ready)]
            # The level is never above the mark, and grows by one at a time.
            with m.If(self.clear):
                m.d.sync += mark.eq(level + came)
            with m.Elif(came & (level == mark)):
                m.d.sync += mark.eq(mark + 1)
        return m
