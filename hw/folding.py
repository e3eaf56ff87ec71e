# amaranth: UnusedElaboratable=no
"""Choosing a folding: PE and SIMD of each layer for a cycle target in a device, and FIFO depths."""

from collections.abc import Iterator
from dataclasses import replace

from amaranth.hdl import unsigned

from hw.accelerator import Accelerator
from hw.cost import Device, Resources
from hw.fold import (
    Folding,
    FoldingError,
    LayerFolding,
    divisors,
    fold_cycles,
    keys_of,
    taps_of,
)
from hw.layer_cost import converter_cost, estimate, layer_cost
from hw.lowering import window_lanes
from hw.stream import StreamFIFO
from hw.timing import Queue
from model.graph import Network, Operation, Thermometer

__all__ = [
    "Device",
    "DoesNotFit",
    "Folding",
    "FoldingError",
    "LayerFolding",
    "choose",
    "estimate",
    "layer_cost",
    "size_fifos",
]

_FAMILY = "xcup"

#: Cycles a frame at which every layer is as small as it can be.
_FOREVER = 1 << 40


class DoesNotFit(ValueError):
    """No folding meets the target in the device; one sentence on why and what would."""


def _candidates(op: Operation, network: Network) -> Iterator[LayerFolding]:
    """Foldings of one operation."""
    out = network.types[op.name]
    kind = type(op).__name__
    if not op.inputs:
        yield LayerFolding(pe=out.channels)
        return
    x = network.types[op.inputs[0]]
    if "simd" in keys_of(op):
        taps = taps_of(op)
        for simd in divisors(taps * x.channels):
            if window_lanes(x.channels, taps, simd, 1 << 30) is not None:
                for pe in divisors(out.channels):
                    yield from _memories(op, LayerFolding(pe=pe, simd=simd), network)
        return
    channels = out.channels
    if isinstance(op, Thermometer):
        levels = len(op.thresholds)
        yield from (LayerFolding(pe=count * levels) for count in divisors(x.channels))
        return
    if kind == "Concat":
        parts = [network.types[source].channels for source in op.inputs]
        yield from (
            LayerFolding(pe=pe) for pe in divisors(min(parts)) if all(c % pe == 0 for c in parts)
        )
        return
    if kind == "LabelSelect":
        channels = x.channels
    yield from (LayerFolding(pe=pe) for pe in divisors(channels))


def _memories(op: Operation, layer: LayerFolding, network: Network) -> Iterator[LayerFolding]:
    """A folding with each memory and multiplier that its weights can have."""
    x, out = network.types[op.inputs[0]], network.types[op.name]
    stored = layer.pe < out.channels or layer.simd < taps_of(op) * x.channels
    binary = x.element.is_binary or getattr(op, "weight_type", x.element).is_binary
    wide = "multiplier" in keys_of(op) and not binary and x.element.bits > 8
    # What synthesis would choose by itself is not known, so that the choice is made here.
    for ram_style in ("distributed", "block") if stored else ("auto",):
        for multiplier in ("lut", "dsp") if wide else ("lut",):
            yield replace(layer, ram_style=ram_style, multiplier=multiplier)


def _choose_layers(
    network: Network, target: int, device: Device | None
) -> Folding | dict[str, int]:
    """The cheapest folding of each layer within ``target`` cycles, without FIFOs.

    Returns the fastest cycles of the layers that cannot meet the target, where there are any.
    """
    family = device.family if device else _FAMILY
    layers: dict[str, LayerFolding] = {}
    too_slow: dict[str, int] = {}
    for op in network.order:
        producer = layers[op.inputs[0]].pe if op.inputs else 1
        cycles = {layer: fold_cycles(op, network, layer) for layer in _candidates(op, network)}

        def weight(layer: LayerFolding, op: Operation = op, producer: int = producer) -> float:
            cost = layer_cost(op, network, layer, family)
            cost += converter_cost(network, op, layer, producer)
            # Block RAMs and DSPs count about as many LUTs as the devices have for each of them.
            return cost.luts + 0.3 * cost.ffs + 200 * cost.brams + 300 * cost.dsps

        quick = [layer for layer in cycles if cycles[layer] <= target]
        if quick:
            layers[op.name] = min(quick, key=weight)
        else:
            too_slow[op.name] = min(cycles.values())
            layers[op.name] = min(cycles, key=cycles.get)
    return too_slow or _place_weights(network, Folding(layers), device)


def _total(network: Network, folding: Folding, family: str) -> Resources:
    return sum(estimate(network, folding, family).values(), Resources())


def _over(network: Network, folding: Folding, device: Device | None) -> list[str]:
    """The resources of which a folding needs more than ``device`` has."""
    if device is None:
        return []
    total = _total(network, folding, device.family)
    return [
        f"about {getattr(total, what):,.0f} of {getattr(device, what):,.0f} {what.upper()[:-1]}s"
        for what in ("luts", "ffs", "brams", "dsps")
        if getattr(total, what) > getattr(device, what)
    ]


def _place_weights(network: Network, folding: Folding, device: Device | None) -> Folding:
    """Move weights between LUTs and block RAM, such that neither is short while the other is left.

    Nothing is moved to block RAM in a device that is half empty, and nothing from it before there
    are too few.
    """
    if device is None:
        return folding
    total = _total(network, folding, device.family)

    def moves(style: str) -> list[tuple[str, Resources, Resources]]:
        """Layers that can take ``style``, with what they take now and then."""
        found = []
        for op in network.order:
            layer = folding[op.name]
            if "ram_style" in keys_of(op) and layer.ram_style != style:
                moved = replace(layer, ram_style=style)
                costs = (layer_cost(op, network, each, device.family) for each in (layer, moved))
                found.append((op.name, *costs))
        return found

    def saving(move: tuple[str, Resources, Resources]) -> float:
        _, now, then = move
        return (now.luts - then.luts) / (then.brams - now.brams)

    to_blocks = [move for move in moves("block") if move[2].brams > move[1].brams]
    for move in sorted(to_blocks, key=saving, reverse=True):
        name, now, then = move
        luts, brams = total.luts + then.luts - now.luts, total.brams + then.brams - now.brams
        # As long as LUTs are the scarcer ones.
        scarce = total.luts / device.luts > max(0.5, brams / device.brams)
        if scarce and luts < total.luts and brams <= device.brams:
            folding = folding.with_layer(name, ram_style="block")
            total = replace(total, luts=luts, brams=brams)
    to_luts = [move for move in moves("distributed") if move[2].brams < move[1].brams]
    for name, now, then in sorted(to_luts, key=saving):
        if total.brams > device.brams:
            folding = folding.with_layer(name, ram_style="distributed")
            luts, brams = total.luts + then.luts - now.luts, total.brams + then.brams - now.brams
            total = replace(total, luts=luts, brams=brams)
    return folding


def size_fifos(network: Network, folding: Folding) -> Folding:
    """Set the FIFO depths of every join.

    The cycle model is played with FIFOs without bounds while the image arrives evenly at the
    interval of the slowest unit; the most beats ever inside are the depth at which a FIFO never
    stalls its branch. An input that has never more than two beats waiting gets no FIFO.
    """
    joins = [op for op in network.order if len(op.inputs) > 1]
    if not joins:
        return folding

    def marks(folding: Folding, latencies: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
        accelerator = Accelerator(network=network, folding=folding)
        queues = {name: Queue(None, latency) for name, latency in latencies.items()}
        played = accelerator.play(pace=accelerator.slowest, queues=queues)
        depths = {name: played.high_water[name] for name in latencies}
        # A deep FIFO is of block RAM, which answers a cycle later than LUT memory.
        return depths, {
            name: StreamFIFO(unsigned(1), max(1, depth)).timing.latency
            for name, depth in depths.items()
        }

    inputs = {f"{op.name}_fifo_{k}": (op, k) for op in joins for k in range(len(op.inputs))}
    for op in joins:
        folding = folding.with_layer(op.name, fifo_depths=(1,) * len(op.inputs))
    depths, latencies = marks(folding, dict.fromkeys(inputs, 1))
    small = [name for name in inputs if depths[name] <= 2]
    # All at once where that works, else join by join: on a map of one or two beats a frame the two
    # that wait can be all that the other branch waits for.
    for names in filter(
        None, (small, *([name for name in small if inputs[name][0] is op] for op in joins))
    ):
        bare = folding
        for name in names:
            op, k = inputs[name]
            changed = list(bare[op.name].fifo_depths)
            changed[k] = 0
            bare = bare.with_layer(op.name, fifo_depths=tuple(changed))
        left = {name: latency for name, latency in latencies.items() if name not in names}
        try:
            marks(bare, left)
        except FoldingError:
            continue
        folding, latencies = bare, left
        if names is small:
            break
    # Each FIFO delays its branch by its latency, which its depth decides: settle both.
    for _ in range(4):
        depths, settled = marks(folding, latencies)
        if settled == latencies:
            break
        latencies = {name: max(latencies[name], settled[name]) for name in latencies}
    for name, depth in depths.items():
        op, k = inputs[name]
        changed = list(folding[op.name].fifo_depths)
        changed[k] = depth
        folding = folding.with_layer(op.name, fifo_depths=tuple(changed))
    return folding


def choose(
    network: Network, *, target_cycles: int | None = None, device: Device | None = None
) -> Folding:
    """The smallest folding that meets a cycle target, FIFO depths included.

    Parameters
    ----------
    target_cycles : int or None
        Cycles a frame; None for the fastest that fits ``device``.
    device : Device or None
        Budget that the estimate must fit, and whose family the costs are of. Where LUTs get short
        in it, weights are moved to block RAMs that are left.

    Raises
    ------
    DoesNotFit
        The sentence names the layers that are the cause, and the target that would fit.
    """
    if target_cycles is None:
        if device is None:
            raise ValueError("choose needs target_cycles, a device, or both")
        fastest = _fastest_whole(network, device)
        if fastest is None:
            raise DoesNotFit(_too_big(network, device, None))
        return fastest[0]
    if target_cycles < 1:
        raise ValueError(f"target_cycles must be positive, not {target_cycles}")
    # Layers that are all busy nearly all the time can lose a few cycles a frame to each other's
    # bursts; where that misses the target, the layers are chosen for a little less.
    layer_target = target_cycles
    while True:
        folding = _choose_within(network, layer_target, target_cycles, device)
        accelerator = Accelerator(network=network, folding=folding)
        if accelerator.keeps(target_cycles):
            return folding
        interval = accelerator.interval
        quickest = _fastest(network, device)
        if layer_target <= quickest:
            raise DoesNotFit(
                f"{network.name} cannot run at {target_cycles:,} cycles a frame: its layers hold "
                f"each other up to {interval:,}; {_advice(network, device)}"
            )
        scaled = layer_target * target_cycles // interval
        layer_target = max(quickest, min(layer_target - 1, scaled))


def _choose_within(
    network: Network, layer_target: int, target_cycles: int, device: Device | None
) -> Folding:
    """Choose layers for ``layer_target`` cycles each; errors speak of ``target_cycles``."""
    chosen = _choose_layers(network, layer_target, device)
    if isinstance(chosen, dict):
        worst = sorted(chosen, key=chosen.get, reverse=True)
        layers = ", ".join(f"{name} needs at least {chosen[name]:,}" for name in worst[:4])
        raise DoesNotFit(
            f"{network.name} cannot run at {target_cycles:,} cycles a frame: {layers}; "
            + _advice(network, device)
        )
    # The FIFOs take time to size, and only add to what there is.
    if not _over(network, chosen, device):
        chosen = _place_weights(network, size_fifos(network, chosen), device)
    if _over(network, chosen, device):
        raise DoesNotFit(_too_big(network, device, chosen, target_cycles))
    return chosen


def _advice(network: Network, device: Device | None) -> str:
    fastest = _fastest_whole(network, device)
    where = f" {device.name}" if device else ""
    if fastest is None:
        return f"no target fits{where}: take a larger device or a smaller network"
    folding, target = fastest
    target = max(target, Accelerator(network=network, folding=folding).interval)
    return f"--target-cycles {target} fits{where}"


def _too_big(network: Network, device: Device, folding: Folding | None, target: int = 0) -> str:
    if folding is None:
        folding = _choose_layers(network, _FOREVER, device)
    costs = estimate(network, folding, device.family)
    largest = sorted(costs, key=lambda name: costs[name].luts, reverse=True)[:3]
    layers = ", ".join(f"{name} {costs[name].luts:,.0f} LUTs" for name in largest)
    at = f" at {target:,} cycles a frame" if target else " at any folding"
    # Where all else fits, what does not is the FIFOs of the joins, which such a folding lacks.
    over = ", ".join(_over(network, folding, device)) or "more memory for the FIFOs of its joins"
    return (
        f"{network.name} does not fit {device.name}{at}: it needs {over}, "
        f"most of it in {layers}; "
        + (_advice(network, device) if target else "take a larger device")
    )


def _fastest(network: Network, device: Device | None) -> int | None:
    """The lowest target within 1 % that every layer can meet and that fits without FIFOs."""

    def fits(target: int) -> bool:
        chosen = _choose_layers(network, target, device)
        return not isinstance(chosen, dict) and not _over(network, chosen, device)

    slowest = 1
    while not fits(slowest):
        slowest *= 2
        if slowest > _FOREVER:
            return None
    low, high = slowest // 2, slowest
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _fastest_whole(network: Network, device: Device | None) -> tuple[Folding, int] | None:
    """The fastest folding that fits with its FIFOs, and the target of its layers."""
    target = _fastest(network, device)
    if target is None:
        return None
    step, tried = max(1, target // 100), None
    while target <= _FOREVER:
        layers = _choose_layers(network, target, device)
        # Layers take some numbers of cycles only, so that most targets change nothing.
        if layers != tried:
            chosen = _place_weights(network, size_fifos(network, layers), device)
            if not _over(network, chosen, device):
                return chosen, target
        target, step, tried = target + step, 2 * step, layers
    return None
