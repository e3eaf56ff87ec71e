"""FuseBNN: BaseBNN with its real-valued parts fused (see :mod:`model.fused`).

:func:`fuse_network` turns a trained BaseBNN into it, parameter by parameter, in float64. Nothing
is approximated but for rounding in the last place, so that no prediction changes. The integer
networks of both are one function: BaseBNN's is exported from the same form, with multiplications
apart.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.fractional import ChannelAffine
from model.fused import CountJoin, Segments
from model.layers import BinaryConv2d, RSign
from model.networks.backbone import Shortcut
from model.networks.reactnet import BaseBNN, BinaryUnit, ReActNetBlock

__all__ = ["FuseBNN", "FusedBlock", "FusedUnit", "fuse_network"]


class FusedUnit(nn.Module):
    """Sign, binary convolution, addition of the shortcut, two segments: half a block.

    Parameters
    ----------
    unit : BinaryUnit
        Has the same structure.
    apart : bool
        See :class:`model.fused.Segments`.
    """

    def __init__(self, unit: BinaryUnit, *, apart: bool = False):
        super().__init__()
        out_channels, channels, kernel, _ = unit.conv.weight.shape
        stride = unit.conv.stride
        self.sign = RSign(channels)
        self.conv = BinaryConv2d(
            channels, out_channels, kernel, stride=stride, padding=unit.conv.padding
        )
        self.conv.binary_weights = unit.conv.binary_weights
        self.shortcut = Shortcut(channels, out_channels, stride)
        # Channels that double are in the units of neither half: the one case that needs more.
        self.units = ChannelAffine(out_channels) if unit.doubles else None
        self.add = CountJoin(out_channels, bits=unit.add.bits)
        self.act = Segments(out_channels, bits=unit.act.bits, apart=apart)

    def forward(self, x: Tensor) -> Tensor:
        sums = self.conv(self.sign(x))
        x = self.shortcut(x)
        if self.units is not None:
            x = self.units(x)
        return self.act(self.add(sums, x))


class FusedBlock(nn.Module):
    """The fused form of a block of ReActNet."""

    def __init__(self, block: ReActNetBlock, *, apart: bool = False):
        super().__init__()
        self.spatial = FusedUnit(block.spatial, apart=apart)
        self.pointwise = FusedUnit(block.pointwise, apart=apart)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.spatial(x))


class FuseBNN(nn.Module):
    """BaseBNN with scales, batch-norms, shifts and RPReLU fused into one compare, one
    multiplication and one addition a channel; first convolution and head as they were.

    Its parameters come from :func:`fuse_network`; it is not trained.

    Parameters
    ----------
    width, depth, arguments
        As of :class:`model.networks.reactnet.BaseBNN`.
    """

    def __init__(self, width: int = 32, depth: Sequence[int] = (1, 2, 2, 6), **arguments):
        super().__init__()
        self._take(BaseBNN(width, depth, **arguments), apart=False)

    def _take(self, base: BaseBNN, *, apart: bool) -> None:
        """Be the fused form of ``base``, with its own first convolution and head; parameters of
        blocks are not yet those that make it compute the same."""
        self.image, self.classes = base.image, base.classes
        self.pixels = base.pixels
        self.stride, self.anchors = base.stride, base.anchors
        self.stem, self.stem_bn = base.stem, base.stem_bn
        self.blocks = nn.Sequential(*(FusedBlock(block, apart=apart) for block in base.blocks))
        if self.anchors:
            self.head, self.head_bias = base.head, base.head_bias
        else:
            self.pool = base.pool
        self.scores = base.scores

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(self.stem_bn(self.stem(self.pixels(images))))
        if self.anchors:
            return self.scores(self.head_bias(self.head(x)))
        return self.scores(self.pool(x).flatten(1))

    def units(self) -> list[FusedUnit]:
        """The halves of its blocks, first to last."""
        return [module for module in self.modules() if isinstance(module, FusedUnit)]


@torch.no_grad()
def fuse_network(base: BaseBNN, *, apart: bool = False) -> FuseBNN:
    """The network in float64 that computes as ``base`` does, which stays as it is.

    Parameters
    ----------
    apart : bool
        As the integer network of BaseBNN has it; see :class:`model.fused.Segments`.
    """
    base = copy.deepcopy(base).double().eval()
    fused = FuseBNN.__new__(FuseBNN)
    nn.Module.__init__(fused)
    fused._take(base, apart=apart)
    fused.double().eval()
    ours, theirs = fused.units(), base.units()
    scales = [unit.affine() for unit in theirs]
    # Of the tensor before each unit: real value = p * value + q.
    one, zero = torch.ones(1).double(), torch.zeros(1).double()
    units = [
        (one, zero) if unit.doubles else (size, -offset)
        for unit, (_, offset, size) in zip(theirs, scales, strict=True)
    ]
    units.append((one, zero))

    p, q = units[0]
    fused.stem_bn.weight.div_(p)
    fused.stem_bn.bias.sub_(q).div_(p)
    for index, (unit, old) in enumerate(zip(ours, theirs, strict=True)):
        (p, q), (p_next, q_next) = units[index], units[index + 1]
        scale, offset, size = scales[index]
        unit.sign.shift.copy_((old.sign.shift - q) / p)
        turn = torch.where(scale < 0, -1.0, 1.0)[:, None, None, None]
        # Signs have no scale.
        unit.conv.weight.copy_(torch.where(old.conv.weight >= 0, 1.0, -1.0) * turn)
        if unit.units is not None:
            unit.units.scale.copy_(1 / size)
            unit.units.bias.copy_(offset / size)
        unit.add.limit.copy_((old.add.limit + offset.abs()) / size)
        act, slope = old.act, old.act.effective_slope()
        unit.act.threshold.copy_(act.shift / size)
        unit.act.scale.copy_(torch.stack([slope * size, size]) / p_next)
        ends = torch.stack([act.lift - slope * act.shift, act.lift - act.shift])
        unit.act.bias.copy_((ends - q_next) / p_next)
        reach = act.limit.reshape(1)
        if index + 1 < len(ours) and not theirs[index + 1].doubles:
            # Channel by channel, the next join tells it more closely; a mean of four hides peaks.
            peaks = 4 if theirs[index + 1].conv.stride == 2 else 1.25
            reach = torch.minimum(reach, peaks * theirs[index + 1].add.limit)
        unit.act.limit.copy_(((reach + q_next.abs()) / p_next).max())
    return fused
