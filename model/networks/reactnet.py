"""BaseBNN: ReActNet (Liu et al., ECCV 2020) with binary 3x3 convolutions for its depthwise ones."""

from collections.abc import Sequence

from torch import Tensor, nn

from model.layers import BinaryConv2d, RSign
from model.networks.backbone import Backbone, Shortcut, join, rprelu

__all__ = ["BaseBNN", "BinaryUnit", "ReActNetBlock"]


class BinaryUnit(nn.Module):
    """RSign, binary convolution, batch-norm, shortcut, RPReLU: half a block of ReActNet."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, stride: int, *, depthwise: bool = False
    ):
        super().__init__()
        self.sign = RSign(channels)
        self.conv = BinaryConv2d(
            channels, out_channels, kernel, stride=stride, padding=kernel // 2, depthwise=depthwise
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.shortcut = Shortcut(channels, out_channels, stride)
        self.add = join(out_channels)
        self.act = rprelu(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn(self.conv(self.sign(x)))
        return self.act(self.add(branch, self.shortcut(x)))


class ReActNetBlock(nn.Module):
    """A binary 3x3 and a binary 1x1 unit; the 1x1 doubles the channels where they double."""

    ends_in_rprelu = True

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.spatial = BinaryUnit(channels, channels, 3, stride)
        self.pointwise = BinaryUnit(channels, out_channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.spatial(x))


class BaseBNN(Backbone):
    """A purely binary network: every block is ReActNet's, with a standard 3x3 convolution in place
    of the depthwise one; first convolution and head have 8-bit weights."""

    def __init__(self, width: int = 32, depth: Sequence[int] = (1, 2, 2, 6), **arguments):
        super().__init__([ReActNetBlock] * sum(depth), width=width, depth=depth, **arguments)
