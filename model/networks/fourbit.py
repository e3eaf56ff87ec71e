"""4-Bit-Net: depthwise-separable blocks with weights and activations of 4 bits."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from model.layers import QuantConv2d, QuantReLU
from model.networks.backbone import BRANCH, Backbone, Shortcut, join

__all__ = ["FourBitBlock", "FourBitNet", "LargeFourBitBlock"]

_BITS = 4


class FourBitBlock(nn.Module):
    """Depthwise and pointwise convolution, each behind a quantiser, with a shortcut around."""

    def __init__(self, channels: int, out_channels: int, stride: int, kernel: int = 3):
        super().__init__()
        self.quant = QuantReLU(_BITS)
        self.dw = QuantConv2d(
            channels,
            channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            weight_bits=_BITS,
            depthwise=True,
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


#: A block with a depthwise kernel of 5x5.
LargeFourBitBlock = partial(FourBitBlock, kernel=5)


class FourBitNet(Backbone):
    """A network of 4-bit depthwise-separable blocks with shortcuts; first convolution and
    head have 8-bit weights.

    Parameters
    ----------
    large : int
        Last blocks whose depthwise kernels are 5x5, not 3x3: more to see for few multiplications.
    """

    def __init__(
        self, width: int = 32, depth: Sequence[int] = (1, 2, 2, 6), large: int = 0, **arguments
    ):
        if not 0 <= large <= sum(depth):
            raise ValueError(f"large must be 0 to {sum(depth)}, the blocks there are, not {large}")
        kinds = [FourBitBlock] * (sum(depth) - large) + [LargeFourBitBlock] * large
        super().__init__(kinds, width=width, depth=depth, **arguments)
