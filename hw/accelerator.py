"""The accelerator: a network's units as one pipeline, its gateware and its cycles."""

from collections.abc import Mapping
from functools import cached_property
from math import ceil

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.compose import Composer, Node
from hw.fold import Folding, FoldingError, fold_cycles
from hw.lanes import lanes
from hw.parameters import ParameterPort, ParameterSpace
from hw.schedule import Pipeline
from hw.stages import later
from hw.stream import Fork
from hw.timing import Queue
from model import graph

__all__ = ["Accelerator"]

# Frames after which a pipeline that has not reached the pace of its slowest unit is taken for
# steady: units that are all nearly as slow hold each other up until the buffers between are full.
_FRAMES = 24


class Accelerator(wiring.Component):
    """A network as one pipeline of streaming units.

    Parameters
    ----------
    network : model.graph.Network
    folding : hw.fold.Folding
    writable : bool
        Whether weights, thresholds and all such parameters can be written, so that they become
        those of another network of the same structure (see :mod:`hw.structure`).

    Members
    -------
    i : stream of the image
        Beats of ``folding[input].pe`` channels; raster order, channels minor. Frames follow each
        other without a gap.
    o : stream of the network's first output (the class scores)
    o_NAME : stream of each further output, by the name of its operation
        ``o_label`` for a LabelSelect that is called ``label``.
    parameters : In(ParameterPort)
        Where ``writable``, and while no frame is under way. ``space``, None if not writable, says
        where in it what lies, and what is there at first. No reset changes it.

    Timing
    ------
    slowest : int
        Cycles a frame of the slowest unit: what the units alone promise.
    interval : int
        Cycles a frame in the steady state, by the cycle model of the whole pipeline.
    latency : int
        Cycles from the transfer of the first image beat to that of the last beat of ``o``.

    Raises
    ------
    FoldingError
        The folding does not suit the network.
    """

    def __init__(self, *, network: graph.Network, folding: Folding, writable: bool = False):
        folding.check(network)
        self.network = network
        self.folding = folding
        self.writable = writable
        composer = Composer(network, folding, writable=writable)
        self.nodes = composer.nodes
        self.outputs = composer.outputs
        image = network.types[network.input.name]
        pe = folding[network.input.name].pe
        ports = {"i": In(stream.Signature(lanes(str(image.element), pe)))}
        for port, link in self.outputs.items():
            ports[port] = Out(stream.Signature(composer.shape_of(link)))
        self.space = self._parameter_space() if writable else None
        if writable:
            ports["parameters"] = In(ParameterPort(self.space.bits))
        super().__init__(ports)

    def _parameter_space(self) -> ParameterSpace:
        units = {node.name: node.unit for node in self.nodes}
        space = ParameterSpace(
            {name: unit for name, unit in units.items() if hasattr(unit, "parameters")}
        )
        # Accesses enter by a register, too, as they go to all units.
        space.latency += 1
        return space

    # Gateware.

    def elaborate(self, platform):
        m = Module()
        nodes = {node.name: node.unit for node in self.nodes}
        for name, unit in nodes.items():
            m.submodules[name] = unit
        if self.writable:
            self._connect_parameters(m)

        def output(key: tuple[str, int]) -> wiring.PureInterface:
            if key[0] == "image":
                return wiring.flipped(self.i)
            unit = nodes[key[0]]
            return getattr(unit, f"o_{key[1]}") if isinstance(unit, Fork) else unit.o

        for node in self.nodes:
            for index, source in enumerate(node.sources):
                port = "i" if len(node.sources) == 1 else f"i_{index}"
                wiring.connect(m, output(source), getattr(node.unit, port))
        for port, link in self.outputs.items():
            wiring.connect(m, output((link.node, link.index)), wiring.flipped(getattr(self, port)))
        return m

    def _connect_parameters(self, m: Module) -> None:
        port = self.parameters
        write = Signal(name="parameters_write")
        m.d.sync += write.eq(port.write)
        read_data = self.space.connect(
            m,
            address=later(m, 1, port.address, 1, "parameters_address"),
            write=write,
            write_data=later(m, 1, port.write_data, 1, "parameters_write_data"),
            read=later(m, 1, port.read, 1, "parameters_read"),
        )
        m.d.comb += port.read_data.eq(read_data)

    def node(self, name: str) -> Node:
        """The unit with this submodule name."""
        return next(node for node in self.nodes if node.name == name)

    # Cycles.

    @property
    def layers(self) -> dict[str, list[str]]:
        """Submodule names of each operation."""
        layers: dict[str, list[str]] = {}
        for node in self.nodes:
            layers.setdefault(node.operation, []).append(node.name)
        return layers

    @cached_property
    def intervals(self) -> dict[str, int]:
        """Cycles a frame of the slowest unit of each operation."""
        return {
            op.name: fold_cycles(op, self.network, self.folding[op.name])
            for op in self.network.order
        }

    @property
    def slowest(self) -> int:
        return max(self.intervals.values())

    def play(
        self,
        *,
        frames: int = 4,
        until_steady: bool = False,
        pace: int | None = None,
        queues: Mapping[str, Queue] | None = None,
    ) -> Pipeline:
        """Play the cycle model for some frames.

        Parameters
        ----------
        until_steady : bool
            Stop before all frames are played, at the end of a frame after the third that took no
            longer than the slowest unit: nothing can be faster.
        pace : int or None
            Cycles a frame at which the image arrives, evenly; None for as fast as it is taken.
        queues : mapping of FIFO name to Queue, or None
            Timing of FIFOs to use instead of their own.

        Raises
        ------
        FoldingError
            The pipeline stops: a FIFO of a join is too small.
        """
        pipeline = Pipeline()
        beats = {key: frames * count for key, count in self.beats.items()}
        pipeline.add_source("image", beats["i"], None if pace is None else pace / self.beats["i"])
        for node in self.nodes:
            timing = (queues or {}).get(node.name, node.unit.timing)
            pipeline.add(node.name, timing, node.sources)
        ends = []
        for port, link in self.outputs.items():
            pipeline.add_sink((link.node, link.index))
            ends.append((pipeline.taken_at[link.node, link.index], beats[port]))
        scores, frame = ends[0][0], self.beats["o"]

        def done() -> bool:
            whole = len(scores) >= 4 * frame and len(scores) % frame == 0
            if until_steady and whole and scores[-1] - scores[-1 - frame] <= self.slowest:
                return True
            return all(len(times) >= count for times, count in ends)

        # Longer than a frame takes through all units, one after the other.
        patience = ceil(sum(self.intervals.values()) + (pace or 0) + 10_000)
        try:
            pipeline.run(done, (frames + 2) * patience, patience)
        except RuntimeError:
            joins = [op.name for op in self.network.order if len(op.inputs) > 1]
            depths = (f"{name} {list(self.folding[name].fifo_depths)}" for name in joins)
            raise FoldingError(
                f"{self.network.name}: the pipeline stops, as fifo_depths of one of these joins "
                f"are too small: {', '.join(depths)}"
            ) from None
        return pipeline

    @cached_property
    def beats(self) -> dict[str, int]:
        """Beats a frame of each port."""
        image = self.network.types[self.network.input.name]
        pe = self.folding[self.network.input.name].pe
        beats = {"i": image.height * image.width * image.channels // pe}
        for name, (port, link) in zip(self.network.outputs, self.outputs.items(), strict=True):
            kind = self.network.types[name]
            beats[port] = kind.height * kind.width * kind.channels // link.lanes
        return beats

    @cached_property
    def ends(self) -> list[int]:
        """When frames end, by the cycle model, up to the first one of the steady state.

        Cycles from the transfer of the first image beat to that of the last beat of ``o``.
        """
        return self._ends(self.play(frames=_FRAMES, until_steady=True))

    def keeps(self, target_cycles: int) -> bool:
        """Whether the steady state takes at most so many cycles a frame."""
        # The first frames tell enough where they are quick enough.
        ends = self._ends(self.play(frames=4))
        return ends[-1] - ends[-2] <= target_cycles or self.interval <= target_cycles

    def _ends(self, pipeline: Pipeline) -> list[int]:
        link = self.outputs["o"]
        last = pipeline.taken_at[link.node, link.index][self.beats["o"] - 1 :: self.beats["o"]]
        return [cycle - pipeline.taken_at["image", 0][0] for cycle in last]

    @property
    def interval(self) -> int:
        return self.ends[-1] - self.ends[-2]

    @property
    def latency(self) -> int:
        return self.ends[0]
