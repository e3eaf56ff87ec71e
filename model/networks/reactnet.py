"""BaseBNN: ReActNet (Liu et al., ECCV 2020) with binary 3x3 convolutions for its depthwise ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model import fuse
from model.fused import SLOPE_FRACTION, unit_bits
from model.layers import BinaryConv2d, RSign
from model.networks.backbone import Backbone, Shortcut, join, rprelu

__all__ = ["BaseBNN", "BinaryUnit", "ReActNetBlock"]


#: Scales of sums below this are taken for this: a channel that hears nothing of its convolution.
_LEAST = 2.0**-20


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

    @property
    def doubles(self) -> bool:
        """Whether it has twice as many channels as what it is given."""
        return self.shortcut.twice is not None

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scale and offset that the weights' scale and batch-norm together give the sums, in
        float64, and the magnitude of the scale, never 0."""
        norm = self.bn
        parts = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        norms, offset = fuse.batch_norm(*(part.detach().numpy() for part in parts), norm.eps)
        scale = self.conv.weight.detach().double().abs().mean((1, 2, 3)) * torch.from_numpy(norms)
        return scale, torch.from_numpy(offset), scale.abs().clamp_min(_LEAST)

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
    of the depthwise one; first convolution and head have 8-bit weights.

    Slopes of RPReLU are multiples of 2 to the power of minus SLOPE_FRACTION of :mod:`model.fused`.
    """

    def __init__(self, width: int = 32, depth: Sequence[int] = (1, 2, 2, 6), **arguments):
        super().__init__([ReActNetBlock] * sum(depth), width=width, depth=depth, **arguments)
        for unit in self.units():
            unit.act.slope_fraction = SLOPE_FRACTION

    def units(self) -> list[BinaryUnit]:
        """The halves of its blocks, first to last."""
        return [module for module in self.modules() if isinstance(module, BinaryUnit)]

    @torch.no_grad()
    def compact(self) -> None:
        """Keep of weights and slopes what counts, and of the scales of the sums what multipliers
        of the integer network hold: the ratio of one unit's to the next one's has twelve bits then,
        and a scale moves by a few ten-thousandths."""
        super().compact()
        one = following = torch.ones(1, dtype=torch.float64)
        for unit in reversed(self.units()):
            unit.act.slope.copy_(unit.act.effective_slope())
            _, _, size = unit.affine()
            ratio = (size / following).numpy()
            bits = unit_bits(unit.act.slope.abs().max().item())
            points = fuse.fixed_point(ratio, 0 * ratio, bits, reach=0)
            kept = torch.from_numpy(points.scale * 2.0**-points.shift)
            change = torch.where(kept > 0, kept * following / size, 1.0)
            unit.bn.weight.copy_(unit.bn.weight * change)
            following = one if unit.doubles else size * change
