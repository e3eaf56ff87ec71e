"""Estimated resources of the operations of a network at a folding."""

from hw.cost import Resources, eltwise_cost, fifo_cost, level_cost, matrix_cost, window_cost
from hw.fold import (
    Folding,
    LayerFolding,
    conv_lanes,
    conv_map,
    keys_of,
    level_columns,
    taps_of,
    thermometer_lanes,
    window_of,
)
from model.graph import Conv, Dense, FractionalConv, Network, Operation, Thermometer

__all__ = ["converter_cost", "estimate", "layer_cost"]


def layer_cost(op: Operation, network: Network, layer: LayerFolding, family: str) -> Resources:
    """Estimated resources of the units of one operation."""
    out = network.types[op.name]
    if not op.inputs:
        return Resources()
    x = network.types[op.inputs[0]]
    kind = type(op).__name__
    if isinstance(op, Conv | FractionalConv | Dense):
        total = _engine_cost(op, network, layer, family)
        lanes = conv_lanes(op, network, layer)
        x = conv_map(op, network, layer)
        if window_of(op, x, lanes) is not None:
            total += window_cost(
                family=family,
                width=x.width,
                fold=x.channels // lanes,
                lanes=lanes,
                bits=x.element.bits,
                kernel=op.kernel,
                stride=op.stride,
            )
        return total
    if isinstance(op, Thermometer):
        return eltwise_cost(
            family=family,
            kind="Threshold",
            lanes=thermometer_lanes(op, network, layer),
            folds=1,
            bits=x.element.bits,
            levels=len(op.thresholds),
        )
    levels = op.thresholds.shape[1] if kind == "Threshold" else 1
    channels = x.channels if kind == "LabelSelect" else out.channels
    total = eltwise_cost(
        family=family,
        kind=kind,
        lanes=layer.pe,
        folds=channels // layer.pe,
        bits=max(x.element.bits, out.element.bits),
        levels=levels,
        kept=out.width * channels // layer.pe if kind.endswith("Pool") else 0,
    )
    for depth, source in zip(layer.fifo_depths, op.inputs, strict=False):
        total += fifo_cost(family, depth, layer.pe * network.types[source].element.bits)
    return total


def _engine_cost(
    op: Conv | FractionalConv | Dense, network: Network, layer: LayerFolding, family: str
) -> Resources:
    out, x = network.types[op.name], network.types[op.inputs[0]]
    taps = taps_of(op)
    levels = level_columns(op, network, layer)
    if levels > 1:
        return level_cost(
            family=family,
            rows=out.channels,
            columns=taps * x.channels,
            pe=layer.pe,
            simd=layer.simd,
            levels=levels,
            accumulator_bits=out.element.bits,
            ram_style=layer.ram_style,
        )
    depthwise = isinstance(op, Conv) and op.depthwise
    fractional = isinstance(op, FractionalConv)
    return matrix_cost(
        family=family,
        rows=out.channels,
        columns=taps if depthwise else taps * x.channels,
        pe=layer.pe,
        simd=taps if depthwise else layer.simd,
        activation_bits=x.element.bits,
        weight_bits=1 if fractional else op.weight_type.bits,
        binary=fractional or (x.element.is_binary and op.weight_type.is_binary),
        planes=2 if fractional else 1,
        accumulator_bits=out.element.bits,
        multiplier=layer.multiplier,
        ram_style=layer.ram_style,
    )


def estimate(network: Network, folding: Folding, family: str) -> dict[str, Resources]:
    """Estimated resources of every operation."""
    costs = {}
    for op in network.operations:
        layer = folding[op.name]
        costs[op.name] = layer_cost(op, network, layer, family)
        for source in op.inputs:
            costs[op.name] += converter_cost(network, op, layer, folding[source].pe)
    return costs


def converter_cost(
    network: Network, op: Operation, layer: LayerFolding, producer: int
) -> Resources:
    """Width converter between the stream that comes in and the lanes that the layer takes."""
    if not op.inputs:
        return Resources()
    lanes = layer.pe
    if "simd" in keys_of(op) or isinstance(op, Conv):
        lanes = conv_lanes(op, network, layer) * level_columns(op, network, layer)
    if lanes == producer:
        return Resources()
    bits = max(lanes, producer) * network.types[op.inputs[0]].element.bits
    return Resources(luts=bits + 10, ffs=bits + 10)
