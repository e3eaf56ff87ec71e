"""What the networks of the HyBNN family share: stem, shortcuts, stages, head.

A MobileNetV1-like backbone around a residual that is never quantised: an 8-bit first convolution,
stages of blocks, and 8-bit weights in the head, which is a classifier on the mean of the last map
or, for a detector, a convolution of the last map. Every block is one of the kinds that are handed
in: the networks of the family differ in these alone.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from model.fractional import ChannelAffine
from model.layers import (
    BinaryConv2d,
    Concat,
    FixedPoint,
    Pixels,
    QuantConv2d,
    QuantLinear,
    Residual,
    RPReLU,
    Sign,
    binarize_weights,
    quantize_weights,
)

__all__ = ["BRANCH", "Backbone", "BlockKind", "Shortcut", "join", "rprelu"]

#: ``(channels, out_channels, stride) -> block``; out_channels is channels or twice as many.
BlockKind = Callable[[int, int, int], nn.Module]

#: Scale of a block's branch when training begins: at 1 the residual grows by as much with every
#: block as the stem made it, and learns more slowly.
BRANCH = 0.5

#: Bits of what a detector's head convolves, at most: its scores have as many, and what its sums are
#: too wide for, the multipliers behind them are too short of.
_HEAD_BITS = 16

#: Bits of the multipliers that bring the residual to a block's units: a side of a DSP's multiplier.
_SCALE_BITS = 18


def join(channels: int) -> Residual:
    """The addition that ends a block; :class:`Backbone` says how many bits it has."""
    return Residual(channels, scale_bits=_SCALE_BITS)


def rprelu(channels: int) -> RPReLU:
    return RPReLU(channels, scale_bits=_SCALE_BITS)


class Shortcut(nn.Module):
    """Around a block: means of 2x2 squares at stride 2, the channels twice where they double."""

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        if out_channels not in (channels, 2 * channels):
            raise ValueError(
                f"a block keeps its channels or doubles them: {channels} must not become "
                f"{out_channels}"
            )
        if stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2, not {stride}")
        self.mean = nn.AvgPool2d(2) if stride == 2 else None
        self.twice = Concat() if out_channels != channels else None

    def forward(self, x: Tensor) -> Tensor:
        if self.mean is not None:
            x = self.mean(x)
        return x if self.twice is None else self.twice(x, x)


class Backbone(nn.Module):
    """Images (N, channels, height, width), uint8 or the same numbers as floats, to class scores, or
    to a detector's map (N, anchors*5, height, width); see :mod:`model.boxes`.

    Parameters
    ----------
    kinds : sequence of BlockKind
        Of every block, first to last; as many as ``depth`` says.
    width : int
        Channels of the stem. Stage n has ``width * 2**(n + 1)``.
    depth : sequence of int
        Blocks of each stage. The first block of a stage doubles the channels and, but for the
        first stage, halves the map.
    image : (height, width, channels)
    classes : int
    stride : int
        Of the stem.
    anchors : sequence of (width, height)
        In pixels; makes a detector.
    residual_bits : int
        Of the integer network's residual. Each bit fewer lets twice as many signs and levels fall
        to the other side by rounding, for better as often as for worse.
    """

    def __init__(
        self,
        kinds: Sequence[BlockKind],
        *,
        width: int,
        depth: Sequence[int],
        image: tuple[int, int, int] = (32, 32, 3),
        classes: int = 10,
        stride: int = 1,
        anchors: Sequence[tuple[float, float]] = (),
        residual_bits: int = 16,
    ):
        super().__init__()
        if min(depth, default=0) < 1 or width < 1:
            raise ValueError(f"width and depth must be positive, not {width} and {tuple(depth)}")
        if len(kinds) != sum(depth):
            raise ValueError(
                f"there must be a kind for each of the {sum(depth)} blocks, not {len(kinds)}"
            )
        #: Pixels of the image for one of the last map.
        self.stride = stride << len(depth) - 1
        if any(size % self.stride for size in image[:2]):
            raise ValueError(
                f"height and width must be multiples of {self.stride}, not {image[:2]}"
            )
        self.image, self.classes, self.anchors = tuple(image), classes, tuple(anchors)
        self.pixels = Pixels()
        self.stem = QuantConv2d(image[2], width, 3, stride=stride, padding=1, weight_bits=8)
        self.stem_bn = nn.BatchNorm2d(width)
        blocks, channels, kinds = [], width, list(kinds)
        for stage, count in enumerate(depth):
            for index in range(count):
                doubles = index == 0
                out = channels * 2 if doubles else channels
                blocks.append(kinds.pop(0)(channels, out, 2 if doubles and stage else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        # A block that ends in RPReLU needs no other before the mean.
        self.act = None if hasattr(blocks[-1], "ends_in_rprelu") else rprelu(channels)
        if anchors:
            self.head = QuantConv2d(channels, 5 * len(anchors), 1, weight_bits=8)
            self.head_bias = ChannelAffine(5 * len(anchors))
            # Objects are rare: an untrained map should say so, everywhere (Lin et al., 2017).
            # Larger weights make first gradients so large that Adam remembers them for ten epochs.
            nn.init.normal_(self.head.weight, std=0.01)
            self.head_bias.bias.data[4::5] = -4.0
            self.scores = FixedPoint()
        else:
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.scores = QuantLinear(channels, classes, weight_bits=8)
        # How much of the body :meth:`features` computes, and whether only the rest learns.
        self._split, self._end_learns = len(self._body()), False
        for module in self.modules():
            if isinstance(module, Residual | RPReLU):
                module.bits = residual_bits
        if anchors:
            last = [module for module in self.modules() if isinstance(module, RPReLU)][-1]
            last.bits = min(residual_bits, _HEAD_BITS)

    def binarize(self, weights: bool) -> None:
        """Compute with the signs of binary weights, or, in the first of two steps of training,
        with the weights as they are."""
        for module in self.modules():
            if isinstance(module, BinaryConv2d):
                module.binary_weights = weights

    @torch.no_grad()
    def compact(self) -> None:
        """Keep of quantised weights what counts, sign or level and scale: files of them are small
        then."""
        for module in self.modules():
            # In float64, so that the mean of equal magnitudes is that magnitude.
            if isinstance(module, BinaryConv2d):
                signs, scale = binarize_weights(module.weight.double())
                module.weight.copy_(signs * scale)
            elif isinstance(module, QuantConv2d):
                levels, step = quantize_weights(module.weight.double(), module.weight_bits)
                module.weight.copy_(levels * step)

    def only_end_learns(self, blocks: int = 0) -> None:
        """Leave everything before a detector's head and its last ``blocks`` blocks as it is, and
        normalise by the statistics that there are.

        Raises
        ------
        ValueError
            There are not so many blocks.
        """
        if not 0 <= blocks <= len(self.blocks):
            raise ValueError(f"there are {len(self.blocks)} blocks, of which {blocks} cannot learn")
        self._split = len(self.blocks) - blocks if blocks else len(self._body())
        self._end_learns = True
        self.requires_grad_(False)
        for part in self._end():
            part.requires_grad_(True)

    def _body(self) -> list[nn.Module]:
        """What lies between stem and head."""
        return [*self.blocks, *([] if self.act is None else [self.act])]

    def _end(self) -> list[nn.Module]:
        """The modules of a detector that :meth:`decide` computes."""
        return [*self._body()[self._split :], self.head, self.head_bias, self.scores]

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode and not self._end_learns)
        if mode and self._end_learns:
            for part in self._end():
                for module in part.modules():
                    module.training = not isinstance(module, nn.BatchNorm2d)
        return self

    def straight_through(self, gradient: str) -> None:
        """Choose the straight-through gradient of all signs, by its name in
        :data:`model.layers.STRAIGHT_THROUGH`."""
        for module in self.modules():
            if isinstance(module, Sign):
                module.gradient = gradient

    def forward(self, images: Tensor) -> Tensor:
        return self.decide(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the part that learns alone sees, where there is one, or else what the head sees."""
        x = self._begun(images)
        for part in self._body()[: self._split]:
            x = part(x)
        return x

    def trace(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What :meth:`forward` gives, and the residual behind each block."""
        x, seen = self._begun(images), []
        for block in self.blocks:
            x = block(x)
            seen.append(x)
        return self._scored(x if self.act is None else self.act(x)), seen

    def decide(self, x: Tensor) -> Tensor:
        """What the rest of the network makes of it."""
        for part in self._body()[self._split :]:
            x = part(x)
        return self._scored(x)

    def _begun(self, images: Tensor) -> Tensor:
        return self.stem_bn(self.stem(self.pixels(images)))

    def _scored(self, x: Tensor) -> Tensor:
        if self.anchors:
            return self.scores(self.head_bias(self.head(x)))
        return self.scores(self.pool(x).flatten(1))
