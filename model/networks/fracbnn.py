"""FracBNN for CIFAR-10: binary weights, activations of 1.4 bits (Zhang et al., FPGA 2021).

Thermometer-coded pixels, one binary convolution, and three groups of residual blocks of fractional
convolutions: each has RPReLU before its shortcut and batch-norm after it.
"""

from collections.abc import Callable

from torch import Tensor, nn

from model.fractional import (
    ChannelAffine,
    DoublingShortcut,
    FractionalConv2d,
    GlobalMean,
    Quantizer2,
    RPReLUResidual,
    SignConv2d,
    Thermometer,
)

__all__ = ["Block", "FracBNN"]


class Block(nn.Module):
    """Two stages: quantiser, fractional convolution, norm, RPReLU, shortcut, norm."""

    def __init__(
        self, channels: int, out_channels: int, stride: int, norm: Callable[[int], nn.Module]
    ):
        super().__init__()
        self.quant1 = Quantizer2()
        self.conv1 = FractionalConv2d(channels, out_channels, stride=stride)
        self.bn1 = norm(out_channels)
        self.shortcut = nn.Sequential() if stride == 1 else DoublingShortcut()
        self.add1 = RPReLUResidual(out_channels)
        self.post_bn1 = norm(out_channels)
        self.quant2 = Quantizer2()
        self.conv2 = FractionalConv2d(out_channels, out_channels)
        self.bn2 = norm(out_channels)
        self.add2 = RPReLUResidual(out_channels)
        self.post_bn2 = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(self.quant1(x)))
        x = self.post_bn1(self.add1(branch, self.shortcut(x)))
        branch = self.bn2(self.conv2(self.quant2(x)))
        return self.post_bn2(self.add2(branch, x))


class FracBNN(nn.Module):
    """FracBNN for 32x32 colour images and 10 classes: binary weights, two-bit activations whose
    second bit counts only where the first one says that it matters.

    Parameters
    ----------
    width : int
        Channels of the first group; each further one has twice as many on half the map.
    blocks : int
        Residual blocks in each of the three groups.
    levels : int
        Thermometer levels of a colour.
    size : int
        Height and width of the image, a multiple of 4.
    folded : bool
        Norms are one scale and one bias a channel, as in released parameters, instead of
        batch-norms.
    """

    classes = 10

    def __init__(
        self, width: int = 16, blocks: int = 3, levels: int = 32, size: int = 32,
        folded: bool = False,
    ):  # fmt: skip
        super().__init__()
        if size % 4:
            raise ValueError(f"size must be a multiple of 4, not {size}")
        norm = ChannelAffine if folded else nn.BatchNorm2d
        #: (height, width, channels) of an image.
        self.image = (size, size, 3)
        self.thermometer = Thermometer(levels)
        self.conv1 = SignConv2d(3 * levels, width)
        self.bn1 = norm(width)
        for group in range(3):
            channels = width << group
            first = Block(channels // 2, channels, 2, norm) if group else None
            rest = [Block(channels, channels, 1, norm) for _ in range(blocks - (group > 0))]
            self.add_module(f"layer{group + 1}", nn.Sequential(*([first] if first else []), *rest))
        self.pool = GlobalMean()
        self.scores = nn.Linear(4 * width, self.classes)

    def binarize(self, weights: bool) -> None:
        """Compute with the signs of the convolutions' weights, or with the weights themselves."""
        for module in self.modules():
            if isinstance(module, SignConv2d):
                module.binary_weights = weights

    def thresholds(self) -> list[nn.Parameter]:
        """The gates' thresholds, one array for each fractional convolution."""
        return [m.threshold for m in self.modules() if isinstance(m, FractionalConv2d)]

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn1(self.conv1(self.thermometer(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.scores(self.pool(x))
