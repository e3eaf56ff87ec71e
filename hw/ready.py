# amaranth: UnusedElaboratable=no
"""Where chains of ready signals are cut."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from amaranth.hdl import Shape

from hw.pool import PoolUnit
from hw.stream import SkidBuffer, StreamFIFO
from hw.window import SlidingWindow

__all__ = ["READY_CHAIN", "cut_ready_chains"]

#: Units in a row whose ready may depend on each other before a skid buffer cuts the chain.
READY_CHAIN = 3


def cut_ready_chains(nodes: Sequence, shape_of: Callable[[str, int], object]) -> list:
    """Put a skid buffer where ready would pass through more than ``READY_CHAIN`` units.

    One unit earlier where that unit takes more bits than it makes, or is a pool, and behind what a
    window feeds: windows and pools have the most logic behind their ready.

    Parameters
    ----------
    nodes : sequence of hw.compose.Node
        Each after those that feed it.
    shape_of : callable(node name, output index)
        Payload of an output.

    Returns
    -------
    list of Node, the skid buffers included
    """
    units = {node.name: node.unit for node in nodes}
    windowed = {
        node.name
        for node in nodes
        if any(isinstance(units.get(source), SlidingWindow) for source, _ in node.sources)
    }

    def bits(shape: object) -> int:
        return Shape.cast(shape).width

    def cuts(unit: object) -> bool:
        # A window and a queue state their readiness from their own registers.
        return isinstance(unit, SlidingWindow | StreamFIFO)

    def narrows(source: str, output: int) -> bool:
        unit = units[source]
        if cuts(unit) or not hasattr(unit, "i"):
            return False
        return bits(unit.i.payload.shape()) > bits(shape_of(source, output))

    chain: dict[tuple[str, int], int] = {}
    cut: list = []
    for node in reversed(nodes):
        after = max((chain[key] for key in chain if key[0] == node.name), default=0)
        length = 0 if cuts(node.unit) else 1 + after
        sources = list(node.sources)
        skids = []
        for index, (source, output) in enumerate(node.sources):
            chain[source, output] = length
            if source == "image":
                continue
            pool = isinstance(units[source], PoolUnit)
            early = length == READY_CHAIN - 1 and (pool or narrows(source, output))
            if length >= READY_CHAIN or early or (length and source in windowed):
                name = f"{node.name}_skid" + (f"_{index}" if len(sources) > 1 else "")
                skid = SkidBuffer(shape_of(source, output))
                skids.append(replace(node, name=name, unit=skid, sources=((source, output),)))
                sources[index] = (name, 0)
                chain[source, output] = 0
        cut += [replace(node, sources=tuple(sources)), *skids]
    return cut[::-1]
