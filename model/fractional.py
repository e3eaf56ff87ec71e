"""Torch layers of FracBNN (Zhang et al., FPGA 2021): two bit planes, the second one gated.

A tensor is quantised to the levels -1, -1/3, 1/3, 1 and handed on in thirds, ``t = 2*M + L`` with
M and L of +1 and -1: all that a convolution with binary weights makes of it are small integers,
which float32 holds exactly. Decisions are those of :mod:`model.export_fractional`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers import RPReLU

__all__ = [
    "ChannelAffine",
    "DoublingShortcut",
    "FractionalConv2d",
    "GlobalMean",
    "Quantizer2",
    "RPReLUResidual",
    "SignConv2d",
    "Thermometer",
]

#: Weights beyond this learn no more.
_CLIP = 1.3

#: How steep the sigmoid is whose slope stands for the gate's.
_STEEPNESS = 5.0


class _Thirds(torch.autograd.Function):
    """``2*round((clamp(x, -1, 1) + 1)*1.5) - 3``; the gradient is 3 in -1..1, 0 elsewhere."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return ((x.clamp(-1, 1) + 1) * 1.5).round() * 2 - 3

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (3 * (x.abs() < 1).to(x.dtype))


class _Gate(torch.autograd.Function):
    """1 where ``x > 0``, else 0; the gradient is a steep sigmoid's, where the gate is open."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(_STEEPNESS * x)
        return gradient * s * (1 - s) * _STEEPNESS * (x >= 0).to(x.dtype)


def _signs(x: Tensor, clip: float) -> Tensor:
    """+1 where ``x >= 0``, else -1; the gradient of the identity up to ``clip``, 0 beyond."""
    signs = (x.detach() >= 0).to(x.dtype) * 2 - 1
    clipped = x.clamp(-clip, clip)
    return signs + (clipped - clipped.detach())


class Thermometer(nn.Module):
    """uint8 pixels to ``levels`` binary channels a colour, evenly spaced.

    Channel ``colour*levels + k`` is +1 where ``k < round(pixel*levels/256)``, halves to the even
    number, else -1; ``thresholds`` are the lowest such pixels, as integers.
    """

    def __init__(self, levels: int = 32):
        super().__init__()
        if levels not in (4, 8, 16, 32, 64, 128):
            raise ValueError(f"levels must be a power of two from 4 to 128, not {levels}")
        step = 256 // levels
        self.thresholds = tuple(step * k + step // 2 + (k + 1) % 2 for k in range(levels))

    def forward(self, images: Tensor) -> Tensor:
        levels = torch.tensor(self.thresholds, device=images.device, dtype=torch.int16)
        above = images[:, :, None] >= levels[:, None, None]
        return above.float().mul_(2).sub_(1).flatten(1, 2)


class Quantizer2(nn.Module):
    """Two bits in thirds: -3, -1, 1 or 3, cut at -2/3, 0 and 2/3.

    Halves go to the even number, as in the published network.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _Thirds.apply(x)


class SignConv2d(nn.Module):
    """3x3 convolution with weights +1 and -1, no scale and no bias.

    In the first step of training ``binary_weights`` is False: then the weights count as they are.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1):
        super().__init__()
        self.stride, self.padding = stride, 1
        self.binary_weights = True
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = _signs(self.weight, _CLIP) if self.binary_weights else self.weight
        return functional.conv2d(x, weight, None, self.stride, self.padding)


class FractionalConv2d(SignConv2d):
    """Dual-precision convolution of a tensor in thirds, ``t = 2*M + L``.

    With ``m = conv(M)`` and ``l = conv(L)`` it is ``(2*m + l)/3`` where the gate is open,
    ``2/3*m > threshold``, else ``2*m/3``. The threshold of each output channel is learned.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1):
        super().__init__(in_channels, out_channels, stride=stride)
        self.threshold = nn.Parameter(torch.full((out_channels,), -1.0))

    def forward(self, x: Tensor) -> Tensor:
        # As x is three times the value, so is a step of 1 in the value one of 3 in x.
        high = _signs(x / 3, _CLIP)
        planes = torch.cat((high, x - 2 * high))
        high, low = super().forward(planes).chunk(2)
        gate = _Gate.apply(2 / 3 * high - self.threshold[:, None, None])
        return (2 * high + gate * low) / 3


class ChannelAffine(nn.Module):
    """``scale*x + bias`` for each channel: a batch-norm that is folded."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None] + self.bias[:, None, None]


class RPReLUResidual(nn.Module):
    """``rprelu(branch) + shortcut``."""

    def __init__(self, channels: int):
        super().__init__()
        self.rprelu = RPReLU(channels)

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        return self.rprelu(branch) + shortcut


class DoublingShortcut(nn.Module):
    """Means of the 2x2 squares, the channels twice: half the map, double the channels."""

    def forward(self, x: Tensor) -> Tensor:
        mean = functional.avg_pool2d(x, 2)
        return torch.cat((mean, mean), 1)


class GlobalMean(nn.Module):
    """Mean of each channel, (N, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
