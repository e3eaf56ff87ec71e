"""Folding: how parallel each operation of a network is built, chosen for a cycle target.

A folding is kept in its own file, keyed by the names of the network's operations:

    {"format": "bitwright-folding", "version": 1,
     "layers": {"conv1": {"pe": 16, "simd": 9}, "add": {"pe": 4, "fifo_depths": [0, 52]}}}

======================  =====================================================================
key                     meaning
======================  =====================================================================
``pe``                  channels that the operation makes a cycle (streams: lanes of a beat)
``simd``                Conv, FractionalConv, Dense: inputs of each of the ``pe`` sums a cycle
``ram_style``           Conv, FractionalConv, Dense: weight memory, "auto", "block" or "distributed"
``multiplier``          Conv, Dense: "lut" or "dsp"
``fifo_depths``         Add, Concat: beats of FIFO before each input, 0 for none
======================  =====================================================================

What a file leaves out is 1, "auto", "lut" and no FIFO.

A binary Conv or Dense behind a Thermometer takes levels, one for all bits of a number, and looks
partial sums up in tables of style ``ram_style``, where ``simd``, which counts binary columns all
the same, is a multiple of the number of thresholds; else it takes the bits. The Thermometer itself
makes all bits of some numbers at once, ``pe`` bits or more.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from pathlib import Path

from hw.lowering import window_lanes
from hw.pe import MULTIPLIERS
from hw.thermometer import level_element
from hw.timing import WindowSteps
from hw.weights import RAM_STYLES
from model.graph import (
    Conv,
    Dense,
    FractionalConv,
    Network,
    Operation,
    TensorType,
    Thermometer,
    parse_element,
)

__all__ = [
    "Folding",
    "FoldingError",
    "LayerFolding",
    "conv_lanes",
    "conv_map",
    "divisors",
    "fold_cycles",
    "keys_of",
    "level_columns",
    "taps_of",
    "thermometer_lanes",
    "window_of",
    "write_whole",
]

FORMAT = "bitwright-folding"
VERSION = 1


class FoldingError(ValueError):
    """The folding does not suit the network; one sentence that names the operation and the key."""


def write_whole(path: Path, text: str) -> None:
    """Write a file, complete or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]


@dataclass(frozen=True)
class LayerFolding:
    """Folding of one operation; the keys are explained at the top of this file."""

    pe: int = 1
    simd: int = 1
    ram_style: str = "auto"
    multiplier: str = "lut"
    fifo_depths: tuple[int, ...] = ()


def keys_of(op: Operation) -> tuple[str, ...]:
    """The folding keys that an operation has."""
    if isinstance(op, Conv) and op.depthwise:
        return ("pe", "ram_style", "multiplier")
    if isinstance(op, Conv | Dense):
        return ("pe", "simd", "ram_style", "multiplier")
    if isinstance(op, FractionalConv):
        return ("pe", "simd", "ram_style")
    return ("pe", "fifo_depths") if len(op.inputs) > 1 else ("pe",)


def taps_of(op: Operation) -> int:
    """Taps of a convolution's kernel; 1 of Dense, which has none."""
    return prod(getattr(op, "kernel", ()))


def level_columns(op: Operation, network: Network, layer: LayerFolding) -> int:
    """Binary columns that a lane of the stream into an operation stands for.

    More than 1 where it takes a thermometer's levels, see the top of this file.
    """
    if not isinstance(op, Conv | Dense) or not op.weight_type.is_binary:
        return 1
    source = network.operation(op.inputs[0])
    if not isinstance(source, Thermometer) or getattr(op, "depthwise", False):
        return 1
    levels = len(source.thresholds)
    return 1 if layer.simd % levels else levels


def conv_map(op: Operation, network: Network, layer: LayerFolding) -> TensorType:
    """The map as its stream carries it into a convolution: the input, or a thermometer's levels."""
    x = network.types[op.inputs[0]]
    levels = level_columns(op, network, layer)
    if levels == 1:
        return x
    element = parse_element(level_element(levels))
    return TensorType(x.height, x.width, x.channels // levels, element)


def thermometer_lanes(op: Thermometer, network: Network, layer: LayerFolding) -> int:
    """Numbers a cycle of a thermometer: as few as make ``pe`` channels."""
    x = network.types[op.inputs[0]]
    levels = len(op.thresholds)
    return min(lanes for lanes in divisors(x.channels) if lanes * levels >= layer.pe)


def window_of(op: Operation, x: TensorType, lanes: int) -> WindowSteps | None:
    """Timing of the sliding window before a convolution, None where it needs no window."""
    windowed = isinstance(op, Conv | FractionalConv)
    if not windowed or (op.kernel == (1, 1) and op.stride == 1):
        return None
    fold = x.channels // lanes
    return WindowSteps(x.height, x.width, fold, op.kernel, op.stride, op.padding, latency=1)


@dataclass(frozen=True)
class Folding:
    """Folding of every operation of a network.

    Parameters
    ----------
    layers : mapping of operation name to LayerFolding
    """

    layers: Mapping[str, LayerFolding]

    def __getitem__(self, name: str) -> LayerFolding:
        return self.layers.get(name, LayerFolding())

    def with_layer(self, name: str, **changes: object) -> "Folding":
        """The same folding but for some keys of one operation."""
        return Folding({**self.layers, name: replace(self[name], **changes)})

    def check(self, network: Network) -> None:
        """Check every value against the network.

        Raises
        ------
        FoldingError
            A name is no operation of the network, or a value is impossible for its operation.
        """
        operations = {op.name: op for op in network.operations}
        for name in self.layers:
            if name not in operations:
                raise FoldingError(
                    f"folding: network {network.name!r} has no operation {name!r}; it has "
                    f"{', '.join(operations)}"
                )
        for op in network.operations:
            self._check_layer(op, network)

    def _check_layer(self, op: Operation, network: Network) -> None:
        layer = self[op.name]
        here = f"folding of {op.name!r}"
        x = network.types[op.inputs[0]] if op.inputs else None
        channels = network.types[op.name].channels
        if op.inputs and type(op).__name__ == "LabelSelect":
            channels = x.channels
        parts = [network.types[source].channels for source in op.inputs]
        joined = parts if type(op).__name__ == "Concat" else [channels]
        pe = layer.pe
        if type(pe) is not int or pe < 1 or any(c % pe for c in joined):
            raise FoldingError(
                f"{here}: pe must divide {' and '.join(map(str, joined))} channels, not {pe!r}"
            )
        if "simd" in keys_of(op):
            taps = taps_of(op)
            fits = type(layer.simd) is int and layer.simd >= 1
            if not fits or window_lanes(x.channels, taps, layer.simd, 1 << 30) is None:
                raise FoldingError(
                    f"{here}: simd must divide {taps} taps of some divisor of {x.channels} input "
                    f"channels, not {layer.simd!r}"
                )
        if layer.ram_style not in RAM_STYLES:
            raise FoldingError(
                f"{here}: ram_style must be one of {', '.join(RAM_STYLES)}, not {layer.ram_style!r}"
            )
        if layer.multiplier not in MULTIPLIERS:
            raise FoldingError(f"{here}: multiplier must be lut or dsp, not {layer.multiplier!r}")
        depths = layer.fifo_depths
        if not all(type(depth) is int and 0 <= depth <= 1 << 20 for depth in depths):
            raise FoldingError(
                f"{here}: fifo_depths must be integers from 0 to {1 << 20}, not {list(depths)}"
            )
        if depths and len(depths) != len(op.inputs):
            raise FoldingError(
                f"{here}: fifo_depths must have {len(op.inputs)} entries, not {len(depths)}"
            )

    def text(self) -> str:
        """What a folding file says; what is as by default is left out."""
        plain = LayerFolding()
        layers = {
            name: {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(layer).items()
                if key == "pe" or value != getattr(plain, key)
            }
            for name, layer in self.layers.items()
        }
        text = json.dumps({"format": FORMAT, "version": VERSION, "layers": layers}, indent=1)
        return text + "\n"

    def save(self, path: str | Path) -> None:
        """Write the folding file, complete or not at all."""
        write_whole(Path(path), self.text())

    @classmethod
    def load(cls, path: str | Path, network: Network) -> "Folding":
        """Read a folding file and check it against ``network``.

        Raises
        ------
        FoldingError
            The file is missing, no folding, has an unknown key, or does not suit the network.
        """
        try:
            description = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise FoldingError(f"folding file {str(path)!r}: {error.strerror}") from None
        except ValueError as error:
            raise FoldingError(f"folding file {str(path)!r} is not valid JSON: {error}") from None
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise FoldingError(f"{path} is not a folding file (format {FORMAT!r})")
        version = description.get("version")
        if version != VERSION:
            raise FoldingError(
                f"{path} has version {version!r}, but this Bitwright reads {VERSION}"
            )
        unknown = set(description) - {"format", "version", "layers"}
        if unknown:
            raise FoldingError(f"{path}: unknown key {min(unknown)!r}")
        layers = description.get("layers")
        if not isinstance(layers, dict):
            raise FoldingError(f"{path}: layers must be an object of operation names")
        folding = cls({name: _layer(path, network, name, keys) for name, keys in layers.items()})
        folding.check(network)
        return folding


def _layer(path: object, network: Network, name: str, entry: object) -> LayerFolding:
    if not isinstance(entry, dict):
        raise FoldingError(f"{path}: the folding of {name!r} must be an object")
    operations = {op.name: op for op in network.operations}
    known = [field.name for field in fields(LayerFolding)]
    if name in operations:
        known = list(keys_of(operations[name]))
    unknown = sorted(set(entry) - set(known))
    if unknown:
        raise FoldingError(
            f"{path}: {name!r} has no folding key {unknown[0]!r}; it has {', '.join(known)}"
        )
    values = dict(entry)
    if isinstance(values.get("fifo_depths"), list):
        values["fifo_depths"] = tuple(values["fifo_depths"])
    elif "fifo_depths" in values:
        raise FoldingError(f"{path}: fifo_depths of {name!r} must be a list")
    return LayerFolding(**values)


def fold_cycles(op: Operation, network: Network, layer: LayerFolding) -> int:
    """Cycles a frame of one operation at a folding: the slowest of its units."""
    out = network.types[op.name]
    pixels = out.height * out.width
    if not op.inputs:
        return pixels * out.channels // layer.pe
    x = network.types[op.inputs[0]]
    taken = x.height * x.width * x.channels
    if isinstance(op, Thermometer):
        return taken // thermometer_lanes(op, network, layer)
    if isinstance(op, Conv) and op.depthwise:
        window = window_of(op, x, layer.pe)
        return max(taken // layer.pe, window.interval if window else 0)
    if isinstance(op, Conv | FractionalConv | Dense):
        taps = taps_of(op)
        pixel = (out.channels // layer.pe) * (taps * x.channels // layer.simd)
        lanes = conv_lanes(op, network, layer)
        window = window_of(op, conv_map(op, network, layer), lanes)
        return max(pixels * pixel, window.interval if window else 0)
    if type(op).__name__ == "Concat":
        return pixels * out.channels // layer.pe
    return taken // layer.pe


def conv_lanes(op: Operation, network: Network, layer: LayerFolding) -> int:
    """Lanes of the stream that enters a convolution's window, or the convolution itself."""
    x, out = conv_map(op, network, layer), network.types[op.name]
    simd = layer.simd // level_columns(op, network, layer)
    if isinstance(op, Conv) and op.depthwise:
        return layer.pe
    if window_of(op, x, 1) is None:
        return simd
    # As few lanes as keep the window no slower than the sums: its registers cost by the lane.
    taps = taps_of(op)
    sums = out.height * out.width * (out.channels // layer.pe) * (taps * x.channels // simd)
    slowest = window_of(op, x, 1).interval
    folds = max(1, sums * x.channels // slowest)
    return window_lanes(x.channels, taps, simd, folds)
