"""Random small networks from all operations, and random foldings of them; the same for a seed."""

from dataclasses import dataclass, field

import numpy as np

from hw.fold import Folding, LayerFolding, divisors, keys_of, taps_of
from hw.folding import size_fifos
from hw.lowering import window_lanes
from model.graph import (
    BINARY,
    Add,
    Affine,
    AvgPool,
    Concat,
    Conv,
    Dense,
    ElementType,
    FractionalConv,
    GlobalPool,
    Input,
    LabelSelect,
    MaxPool,
    Network,
    Operation,
    RPReLU,
    TensorType,
    Thermometer,
    Threshold,
)

__all__ = ["random_folding", "random_images", "random_network"]

# Wider accumulators would only make the simulation slower.
_MOST_BITS = 24


@dataclass
class _Builder:
    """A graph that grows operation by operation."""

    random: np.random.Generator
    operations: list[Operation] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def add(self, cls: type[Operation], *inputs: str, **parameters: object) -> str:
        name = f"{cls.__name__.lower()}{len(self.operations)}"
        op = cls(name=name, inputs=inputs, **parameters)
        self.types[name] = op.output(*(self.types[source] for source in inputs))
        self.operations.append(op)
        self.unused = [source for source in self.unused if source not in inputs] + [name]
        return name

    def flip(self, chance: float = 0.5) -> bool:
        return bool(self.random.random() < chance)

    def pick(self, choices: list) -> object:
        return choices[int(self.random.integers(len(choices)))]

    def element(self) -> ElementType:
        kind = self.pick(["int", "uint"])
        return ElementType(kind, int(self.random.integers(2, 10)))

    # Operations on a tensor; None where the tensor does not suit.

    def conv(self, x: str, *, same: bool = False, binary: bool = False) -> str | None:
        kind = self.types[x]
        if kind.element.bits > 12:
            return None
        sizes = [k for k in (1, 2, 3, 5) if not same or k % 2]
        height, width = int(self.pick(sizes)), int(self.pick(sizes))
        most = (min(height, width) - 1) // 2
        if same:
            width, padding, stride = height, (height - 1) // 2, 1
        else:
            padding = int(self.random.integers(0, most + 1))
            stride = int(self.pick([1, 1, 2, 3]))
        if kind.height + 2 * padding < height or kind.width + 2 * padding < width:
            return None
        depthwise = not binary and self.flip(0.35)
        outputs = kind.channels if depthwise or same else int(self.random.integers(1, 9))
        weight = BINARY if binary else self.weight_type()
        return self.add(
            Conv,
            x,
            weights=self.weights(
                weight, (outputs, height, width, 1 if depthwise else kind.channels)
            ),
            weight_type=weight,
            stride=stride,
            padding=padding,
            depthwise=depthwise,
            bias=self.random.integers(-30, 30, outputs) if self.flip(0.3) else None,
        )

    def fractional(self, x: str) -> str | None:
        """A quantiser to two bits, if need be, and a fractional convolution."""
        kind = self.types[x]
        if kind.element != ElementType("uint", 2):
            x = self.threshold(x, bits=2)
        if x is None:
            return None
        size = int(self.pick([k for k in (1, 2, 3) if k <= min(kind.height, kind.width)]))
        padding = int(self.random.integers(0, (size - 1) // 2 + 1))
        outputs = int(self.random.integers(1, 9))
        products = size * size * kind.channels
        # Mostly gates that sometimes open; and those that always or never do.
        gate = np.clip(self.random.integers(-4, 6, outputs), -products, products + 1)
        ends = self.random.choice([-products, products + 1], outputs)
        return self.add(
            FractionalConv,
            x,
            weights=self.random.choice([-1, 1], (outputs, size, size, kind.channels)),
            gate=np.where(self.random.random(outputs) < 0.2, ends, gate),
            stride=int(self.pick([1, 1, 2])),
            padding=padding,
        )

    def weight_type(self) -> ElementType:
        return BINARY if self.flip(0.6) else ElementType("int", int(self.random.integers(2, 7)))

    def weights(self, kind: ElementType, shape: tuple[int, ...]) -> np.ndarray:
        if kind.is_binary:
            return self.random.choice([-1, 1], shape)
        return self.random.integers(kind.lo, kind.hi, shape, endpoint=True)

    def threshold(self, x: str, *, bits: int | None = None) -> str | None:
        """A quantiser; to ``bits``, or to some or to a sign."""
        kind = self.types[x]
        if kind.element.is_binary or kind.element.bits > _MOST_BITS:
            return None
        binary = bits is None and self.flip()
        if bits is None:
            bits = 1 if binary else int(self.random.integers(1, 5))
        count = 1 if binary else int(self.random.integers(1, 1 << bits))
        # Around zero, where sums of products mostly are, and now and then anywhere.
        spread = max(2, 1 << (kind.element.bits // 2 + int(self.random.integers(0, 2))))
        low, high = max(kind.element.lo - 1, -spread), min(kind.element.hi + 1, spread)
        if self.flip(0.2):
            low, high = kind.element.lo - 1, kind.element.hi + 1
        levels = np.sort(self.random.integers(low, high, (kind.channels, count), endpoint=True), 1)
        directions = self.random.choice([-1, 1], kind.channels)
        levels[directions < 0] = levels[directions < 0, ::-1]
        return self.add(
            Threshold,
            x,
            thresholds=levels,
            directions=directions,
            element=BINARY if binary else ElementType("uint", bits),
        )

    def thermometer(self, x: str) -> str | None:
        """Bits of some levels, and mostly a binary convolution of them."""
        kind = self.types[x]
        if kind.element.is_binary or kind.element.bits > 12 or kind.channels > 4:
            return None
        levels = int(self.pick([1, 2, 3, 4, 7]))
        thresholds = np.sort(
            self.random.integers(kind.element.lo, kind.element.hi + 1, levels, endpoint=True)
        )
        x = self.add(Thermometer, x, thresholds=thresholds)
        return (self.conv(x, binary=self.flip(0.8)) or x) if self.flip(0.9) else x

    def affine(self, x: str) -> str | None:
        kind = self.types[x]
        if kind.element.is_binary or kind.element.bits > _MOST_BITS:
            return None
        return self.add(
            Affine,
            x,
            scale=self.random.integers(-30, 30, kind.channels),
            bias=self.random.integers(-200, 200, kind.channels),
            shift=int(self.random.integers(0, 7)),
            element=self.element(),
        )

    def rprelu(self, x: str) -> str | None:
        kind = self.types[x]
        if kind.element.is_binary or kind.element.bits > _MOST_BITS:
            return None
        return self.add(
            RPReLU,
            x,
            threshold=np.clip(
                self.random.integers(-20, 20, kind.channels), kind.element.lo, kind.element.hi + 1
            ),
            scale=self.random.integers(-30, 30, (2, kind.channels)),
            bias=self.random.integers(-200, 200, (2, kind.channels)),
            shift=int(self.random.integers(0, 7)),
            element=self.element(),
        )

    def pool(self, x: str) -> str | None:
        kind = self.types[x]
        kernel = int(self.random.integers(1, min(kind.height, kind.width, 3) + 1))
        if self.flip():
            return self.add(MaxPool, x, kernel=kernel)
        return self.add(AvgPool, x, kernel=kernel, shift=int(self.random.integers(0, 4)))

    def join(self, a: str, b: str) -> str | None:
        """Add or concatenate two tensors, one of which may be the other."""
        left, right = self.types[a], self.types[b]
        can_add = left.shape == right.shape and not (
            left.element.is_binary or right.element.is_binary
        )
        same = (left.height, left.width, left.element) == (right.height, right.width, right.element)
        if can_add and (not same or self.flip(0.4)):
            shifts = tuple(int(shift) for shift in self.random.integers(0, 4, 2))
            return self.add(Add, a, b, shifts=shifts, element=self.element())
        if same and left.channels + right.channels <= 16:
            names = (a, b, a) if self.flip(0.15) else (a, b)
            return self.add(Concat, *names)
        return None

    def residual(self, x: str) -> str | None:
        """A branch of equal shape beside ``x``, and their sum or concatenation."""
        kind = self.types[x]
        if kind.element.is_binary:
            return None
        inner = self.threshold(x)
        branch = inner and self.conv(inner, same=True)
        if branch is None:
            return None
        if self.flip(0.4):
            branch = self.rprelu(branch) or branch
        if self.flip(0.3):
            x = self.affine(x) or x
        return self.join(branch, x)

    def branches(self, x: str) -> str | None:
        """Two pools of equal kernel side by side, joined, or all channels twice."""
        kind = self.types[x]
        if self.flip(0.3) and kind.channels <= 8:
            return self.add(Concat, x, x)
        if min(kind.height, kind.width) < 2:
            return None
        largest, mean = self.add(MaxPool, x, kernel=2), self.add(AvgPool, x, kernel=2, shift=2)
        return self.join(largest, mean)


def random_network(seed: int) -> Network:
    """A network of some three to twelve operations on a small image.

    Every kind of operation occurs; tensors may be read several times, and those that nothing reads
    are further outputs.
    """
    builder = _Builder(np.random.default_rng(seed))
    height, width = (int(size) for size in builder.random.integers(1, 9, 2))
    channels = int(builder.pick([1, 1, 2, 3, 4, 6]))
    x = builder.add(Input, height=height, width=width, channels=channels)
    if builder.flip(0.15):
        x = builder.thermometer(x) or x
    for _ in range(int(builder.random.integers(1, 5))):
        grown = builder.pick(
            [
                builder.conv, builder.conv, builder.threshold, builder.affine, builder.rprelu,
                builder.pool, builder.residual, builder.residual, builder.branches,
                builder.fractional, builder.thermometer,
            ]
        )(x)  # fmt: skip
        x = grown or x
        # Now and then go on from an earlier tensor, which then has several readers.
        if builder.flip(0.15):
            x = str(builder.pick(list(builder.types)))
    if builder.flip(0.7):
        x = builder.add(GlobalPool, x, shift=int(builder.random.integers(0, 5)))
        if builder.flip(0.8) and builder.types[x].element.bits <= 12:
            classes = int(builder.random.integers(1, 11))
            weight = builder.weight_type()
            x = builder.add(
                Dense,
                x,
                weights=builder.weights(weight, (classes, builder.types[x].channels)),
                weight_type=weight,
                bias=builder.random.integers(-50, 50, classes) if builder.flip() else None,
            )
        if not builder.types[x].element.is_binary and builder.flip():
            builder.add(LabelSelect, x)
    if len(builder.operations) == 1:
        x = builder.add(MaxPool, x, kernel=1)
    ends = [name for name in builder.unused if name != x]
    return Network(f"random{seed}", tuple(builder.operations), (x, *ends))


def random_folding(network: Network, seed: int) -> Folding:
    """A random folding that is possible for ``network``, with the FIFO depths that it needs."""
    random = np.random.default_rng(seed)
    layers = {}
    for op in network.operations:
        channels = network.types[op.name].channels
        if isinstance(op, LabelSelect):
            channels = network.types[op.inputs[0]].channels
        if isinstance(op, Concat):
            channels = int(np.gcd.reduce([network.types[name].channels for name in op.inputs]))
        values: dict[str, object] = {"pe": int(random.choice(divisors(channels)))}
        keys = keys_of(op)
        if "simd" in keys:
            inputs = network.types[op.inputs[0]].channels
            taps = taps_of(op)
            possible = [
                simd
                for simd in divisors(taps * inputs)
                if window_lanes(inputs, taps, simd, 1 << 30) is not None
            ]
            source = network.operation(op.inputs[0])
            if isinstance(source, Thermometer) and random.random() < 0.7:
                # Whole numbers, which may be looked up.
                levels = len(source.thresholds)
                possible = [simd for simd in possible if simd % levels == 0]
            values["simd"] = int(random.choice(possible))
        if "ram_style" in keys:
            values["ram_style"] = str(random.choice(["auto", "block", "distributed"]))
        if "multiplier" in keys:
            values["multiplier"] = str(random.choice(["lut", "dsp"]))
        layers[op.name] = LayerFolding(**values)
    folding = Folding(layers)
    folding.check(network)
    return size_fifos(network, folding)


def random_images(network: Network, frames: int, seed: int) -> np.ndarray:
    """Images in which both ends of the range are frequent."""
    random = np.random.default_rng(seed)
    shape = (frames, *network.types[network.input.name].shape)
    images = random.integers(0, 256, shape)
    return np.where(random.random(shape) < 0.3, images // 128 * 255, images).astype(np.uint8)
