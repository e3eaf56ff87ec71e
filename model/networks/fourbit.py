"""4-Bit-Net: depthwise-separable blocks with weights and activations of 4 bits."""

from collections.abc import Sequence

from torch import Tensor, nn

from model.layers import QuantConv2d, QuantReLU
from model.networks.backbone import BRANCH, Backbone, Shortcut, join

__all__ = ["FourBitBlock", "FourBitNet"]

_BITS = 4


class FourBitBlock(nn.Module):
    """Depthwise 3x3 and pointwise convolution, each behind a quantiser, with a shortcut around."""

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.quant = QuantReLU(_BITS)
        self.dw = QuantConv2d(
            channels, channels, 3, stride=stride, padding=1, weight_bits=_BITS, depthwise=True
        )
        self.dw_bn = nn.BatchNorm2d(channels)
        self.dw_quant = QuantReLU(_BITS)
        self.pw = QuantConv2d(channels, out_channels, 1, weight_bits=_BITS)
        self.pw_bn = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.pw_bn.weight, BRANCH)
        self.shortcut = Shortcut(channels, out_channels, stride)
        self.add = join(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.dw_quant(self.dw_bn(self.dw(self.quant(x))))
        return self.add(self.pw_bn(self.pw(branch)), self.shortcut(x))


class FourBitNet(Backbone):
    """A network of 4-bit depthwise-separable blocks with shortcuts; first convolution and
    head have 8-bit weights."""

    def __init__(self, width: int = 32, depth: Sequence[int] = (1, 2, 2, 6), **arguments):
        super().__init__([FourBitBlock] * sum(depth), width=width, depth=depth, **arguments)
