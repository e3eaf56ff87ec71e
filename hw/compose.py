# amaranth: UnusedElaboratable=no
"""Composing a network: every operation becomes its units, and the units are connected.

This is the one place that knows which unit carries out which operation. Units are often composed
for their cycles alone, hence the first line: that they are not elaborated then is no mistake.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd

from amaranth.lib import wiring

from hw.affine import AffineUnit, RPReLUUnit
from hw.depthwise import DepthwiseEngine
from hw.eltwise import AddUnit, ConcatUnit
from hw.fold import (
    Folding,
    conv_lanes,
    conv_map,
    level_columns,
    thermometer_lanes,
    window_of,
)
from hw.fractional import FractionalMVAU
from hw.label_select import LabelSelect
from hw.lanes import lanes
from hw.level_mvau import LevelMVAU
from hw.lowering import border_classes, initial_sums, stream_columns
from hw.mvau import MVAU
from hw.pool import PoolUnit
from hw.ready import cut_ready_chains
from hw.stream import Fork, StreamFIFO, WidthConverter
from hw.thermometer import ThermometerUnit, level_element
from hw.threshold import ThresholdUnit
from hw.window import SlidingWindow
from model import graph

__all__ = ["Composer", "Link", "Node"]


_Matrix = graph.Conv | graph.FractionalConv | graph.Dense


@dataclass(frozen=True)
class Node:
    """A unit of the accelerator.

    Parameters
    ----------
    name : str
        Submodule name; starts with the name of its operation.
    operation : str
    unit : wiring.Component
        Has ``timing``; ports ``i`` and ``o``, or ``i_0 ...`` and ``o_0 ...`` where there are more.
    sources : tuple of (node name, output index)
    """

    name: str
    operation: str
    unit: wiring.Component
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Link:
    """A stream between units: output ``index`` of ``node``, and what its beats carry.

    ``levels``: binary channels that each lane stands for, where it is a thermometer's level.
    """

    node: str
    index: int
    lanes: int
    channels: int
    element: str
    levels: int = 1


class Composer:
    """The units of a network at a folding; ``writable`` as of :class:`hw.accelerator.Accelerator`.

    Members
    -------
    nodes : list of Node
        Each after those that feed it; the image comes from ``("image", 0)``.
    outputs : dict of port name to Link
        ``o`` for the network's first output, ``o_NAME`` for further ones.
    """

    def __init__(self, network: graph.Network, folding: Folding, *, writable: bool = False):
        self.network = network
        self.folding = folding
        self.writable = writable
        self.nodes: list[Node] = []
        self.outputs: dict[str, Link] = {}
        self._links: dict[str, list[Link]] = {}
        self._compose()
        self.nodes = cut_ready_chains(
            self.nodes, lambda node, index: self.shape_of(Link(node, index, 0, 0, ""))
        )

    def _compose(self) -> None:
        network = self.network
        for op in network.order:
            if not op.inputs:
                kind = network.types[op.name]
                pe = self.folding[op.name].pe
                link = Link("image", 0, pe, kind.channels, str(kind.element))
            else:
                sources = [self._take(source, op, at) for at, source in enumerate(op.inputs)]
                link = _COMPOSE[type(op).__name__](self, op, *sources)
            readers = len(network.consumers(op.name)) + (op.name in network.outputs)
            self._links[op.name] = self._fork(op.name, link, readers)
        for position, name in enumerate(network.outputs):
            link = self._bits(name, self._links[name].pop())
            self.outputs["o" if position == 0 else f"o_{name}"] = link

    def _take(self, source: str, op: graph.Operation, at: int) -> Link:
        """The stream that input number ``at`` of an operation takes."""
        link = self._links[source].pop(0)
        if link.levels == level_columns(op, self.network, self.folding[op.name]):
            return link
        return self._bits(op.name, link, f"bits_{at}" if at else "bits")

    def _bits(self, op: str, link: Link, suffix: str = "bits") -> Link:
        """A stream with the binary channels of a thermometer's levels; others as they are."""
        if link.levels == 1:
            return link
        unit = ThermometerUnit(lanes=link.lanes, levels=link.levels)
        node = self._add(op, suffix, unit, link)
        return Link(node, 0, link.lanes * link.levels, link.channels * link.levels, "binary")

    def _add(self, op: str, suffix: str, unit: wiring.Component, *sources: Link) -> str:
        name = f"{op}_{suffix}"
        self.nodes.append(Node(name, op, unit, tuple((s.node, s.index) for s in sources)))
        return name

    def _link(self, node: str, op: graph.Operation, pe: int) -> Link:
        kind = self.network.types[op.name]
        return Link(node, 0, pe, kind.channels, str(kind.element))

    def _fork(self, op: str, link: Link, readers: int) -> list[Link]:
        if readers == 1:
            return [link]
        node = self._add(op, "fork", Fork(self.shape_of(link), readers), link)
        return [replace(link, node=node, index=index) for index in range(readers)]

    def _unit(self, link: Link) -> wiring.Component | None:
        """The unit that makes a link; None for the image."""
        return next((node.unit for node in self.nodes if node.name == link.node), None)

    def shape_of(self, link: Link) -> object:
        unit = self._unit(link)
        port = f"o_{link.index}" if isinstance(unit, Fork) else "o"
        if unit is None or not hasattr(unit, port):
            return lanes(link.element, link.lanes)
        return getattr(unit, port).payload.shape()

    def _adapt(self, op: str, suffix: str, link: Link, wanted: int) -> Link:
        """Bring a stream to ``wanted`` lanes; up to the common multiple first, where need be."""
        common = link.lanes * wanted // gcd(link.lanes, wanted)
        for step, target in (("up", common), ("down", wanted)):
            if link.lanes != target:
                unit = WidthConverter(link.element, link.lanes, target)
                node = self._add(op, f"{suffix}_{step}", unit, link)
                link = replace(link, node=node, index=0, lanes=target)
        return link

    def _gathers(self, link: Link) -> bool:
        """Whether a link's beats are put together from several, so that they come slowly."""
        unit = self._unit(link)
        return isinstance(unit, WidthConverter) and unit.o_lanes > unit.i_lanes

    def _window(
        self, op: graph.Conv | graph.FractionalConv, x: graph.TensorType, link: Link, folds: int
    ) -> Link:
        """The window stream of a convolution, or its input as it is for a 1x1 kernel."""
        link = self._adapt(op.name, "in", link, folds)
        if window_of(op, x, folds) is None:
            return link
        window = SlidingWindow(
            height=x.height,
            width=x.width,
            channels=x.channels,
            kernel=op.kernel,
            stride=op.stride,
            padding=op.padding,
            lanes=folds,
            element=link.element,
        )
        node = self._add(op.name, "window", window, link)
        taps = op.kernel[0] * op.kernel[1]
        return replace(link, node=node, index=0, lanes=taps * folds, channels=taps * x.channels)

    def _engine_arguments(self, op: _Matrix, x: graph.TensorType) -> dict:
        """What depthwise and matrix engines share: border classes, initial sums, output."""
        out = self.network.types[op.name]
        weights = op.weights.tolist()
        bias = getattr(op, "bias", None)
        rows, rows_outside = [0] * out.height, [()]
        columns, columns_outside = [0] * out.width, [()]
        if isinstance(op, graph.Dense):
            weights = [[[row]] for row in weights]
        elif x.element.is_binary or isinstance(op, graph.FractionalConv):
            kernel, p, s = op.kernel, op.padding, op.stride
            rows, rows_outside = border_classes(x.height, out.height, kernel[0], s, p)
            columns, columns_outside = border_classes(x.width, out.width, kernel[1], s, p)
        layer = self.folding[op.name]
        bias = None if bias is None else bias.tolist()
        arguments = {
            "weights": weights,
            "initial": initial_sums(weights, bias, rows_outside, columns_outside),
            "height": out.height,
            "width": out.width,
            "row_classes": rows,
            "column_classes": columns,
            "output": str(out.element),
            "pe": layer.pe,
            "ram_style": layer.ram_style,
            "writable": self.writable,
            # Without border and bias there is nothing in them that training changes.
            "fixed_initial": bias is None and rows_outside == columns_outside == [()],
        }
        if isinstance(op, graph.FractionalConv):
            return arguments | {"gate": op.gate.tolist()}
        levels = level_columns(op, self.network, layer)
        if levels > 1:
            return arguments | {"levels": levels}
        return arguments | {
            "activation": str(x.element),
            "weight": str(op.weight_type),
            "multiplier": layer.multiplier,
        }

    def _conv(self, op: _Matrix, link: Link) -> Link:
        layer = self.folding[op.name]
        x = conv_map(op, self.network, layer)
        levels = level_columns(op, self.network, layer)
        arguments = self._engine_arguments(op, self.network.types[op.inputs[0]])
        weights = arguments.pop("weights")
        folds = conv_lanes(op, self.network, layer)
        if isinstance(op, graph.Dense):
            link = self._adapt(op.name, "in", link, folds)
        else:
            link = self._window(op, x, link, folds)
        if isinstance(op, graph.Conv) and op.depthwise:
            pe = arguments.pop("pe")
            unit = DepthwiseEngine(
                channels=x.channels,
                lanes=pe,
                kernel_taps=op.kernel[0] * op.kernel[1],
                weights=[[tap[0] for line in kernel for tap in line] for kernel in weights],
                **arguments,
            )
            return self._link(self._add(op.name, "engine", unit, link), op, pe)
        slow = self._gathers(link)
        link = self._adapt(op.name, "fold", link, layer.simd // levels)
        column_folds = link.channels // link.lanes
        if slow and layer.pe < self.network.types[op.name].channels and column_folds > 1:
            # The engine takes a pixel's beats one a cycle and then none while it goes over them
            # again: have them ready, where they are gathered at less than one a cycle.
            fifo = StreamFIFO(lanes(link.element, link.lanes), column_folds)
            node = self._add(op.name, "pixel", fifo, link)
            link = replace(link, node=node, index=0)
        matrix = stream_columns(weights, folds * levels)
        fractional = isinstance(op, graph.FractionalConv)
        engine = FractionalMVAU if fractional else LevelMVAU if levels > 1 else MVAU
        unit = engine(
            rows=len(matrix), cols=len(matrix[0]), weights=matrix, simd=layer.simd, **arguments
        )
        return self._link(self._add(op.name, "mvau", unit, link), op, layer.pe)

    def _thermometer(self, op: graph.Thermometer, link: Link) -> Link:
        x = self.network.types[op.inputs[0]]
        levels = len(op.thresholds)
        count = thermometer_lanes(op, self.network, self.folding[op.name])
        link = self._adapt(op.name, "in", link, count)
        # One threshold is reached or not, which is the channel itself.
        element = level_element(levels) if levels > 1 else "binary"
        unit = ThresholdUnit(
            channels=count,
            lanes=count,
            thresholds=[op.thresholds.tolist()] * count,
            directions=[1] * count,
            input=str(x.element),
            output=element,
            writable=self.writable,
        )
        node = self._add(op.name, "unit", unit, link)
        return Link(node, 0, count, x.channels, element, levels)

    def _per_channel(self, op: graph.Operation, link: Link) -> Link:
        layer = self.folding[op.name]
        x = self.network.types[op.inputs[0]]
        out = self.network.types[op.name]
        link = self._adapt(op.name, "in", link, layer.pe)
        common = {
            "channels": x.channels,
            "lanes": layer.pe,
            "input": str(x.element),
            "output": str(out.element),
            "writable": self.writable,
        }
        if isinstance(op, graph.Threshold):
            unit = ThresholdUnit(
                thresholds=op.thresholds.tolist(), directions=op.directions.tolist(), **common
            )
        else:
            values = {"scale": op.scale.tolist(), "bias": op.bias.tolist(), "shift": op.shift}
            if isinstance(op, graph.RPReLU):
                unit = RPReLUUnit(threshold=op.threshold.tolist(), **values, **common)
            else:
                unit = AffineUnit(**values, **common)
        return self._link(self._add(op.name, "unit", unit, link), op, layer.pe)

    def _join(self, op: graph.Operation, *sources: Link) -> Link:
        layer = self.folding[op.name]
        depths = layer.fifo_depths or (0,) * len(sources)
        links = []
        for index, (source, depth) in enumerate(zip(sources, depths, strict=True)):
            link = self._adapt(op.name, f"in{index}", source, layer.pe)
            if depth:
                fifo = StreamFIFO(lanes(link.element, link.lanes), depth)
                node = self._add(op.name, f"fifo_{index}", fifo, link)
                link = replace(link, node=node, index=0)
            links.append(link)
        if isinstance(op, graph.Concat):
            unit = ConcatUnit(
                channels=tuple(link.channels for link in links),
                lanes=layer.pe,
                element=links[0].element,
            )
        else:
            unit = AddUnit(
                lanes=layer.pe,
                a=links[0].element,
                b=links[1].element,
                shifts=op.shifts,
                output=str(op.element),
            )
        return self._link(self._add(op.name, "unit", unit, *links), op, layer.pe)

    def _pool(self, op: graph.Operation, link: Link) -> Link:
        layer = self.folding[op.name]
        x = self.network.types[op.inputs[0]]
        link = self._adapt(op.name, "in", link, layer.pe)
        kernel = (x.height, x.width) if isinstance(op, graph.GlobalPool) else (op.kernel, op.kernel)
        unit = PoolUnit(
            height=x.height,
            width=x.width,
            channels=x.channels,
            lanes=layer.pe,
            kernel=kernel,
            mode="max" if isinstance(op, graph.MaxPool) else "sum",
            shift=getattr(op, "shift", 0),
            input=str(x.element),
            output=str(self.network.types[op.name].element),
        )
        return self._link(self._add(op.name, "unit", unit, link), op, layer.pe)

    def _label_select(self, op: graph.Operation, link: Link) -> Link:
        layer = self.folding[op.name]
        link = self._adapt(op.name, "in", link, layer.pe)
        unit = LabelSelect(channels=link.channels, lanes=layer.pe, input=link.element)
        return self._link(self._add(op.name, "unit", unit, link), op, 1)


_COMPOSE: dict[str, Callable[..., Link]] = {
    "Thermometer": Composer._thermometer,
    "Conv": Composer._conv,
    "FractionalConv": Composer._conv,
    "Dense": Composer._conv,
    "Threshold": Composer._per_channel,
    "Affine": Composer._per_channel,
    "RPReLU": Composer._per_channel,
    "Add": Composer._join,
    "Concat": Composer._join,
    "MaxPool": Composer._pool,
    "AvgPool": Composer._pool,
    "GlobalPool": Composer._pool,
    "LabelSelect": Composer._label_select,
}
