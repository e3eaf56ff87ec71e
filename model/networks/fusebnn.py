"""FuseBNN: BaseBNN with its real-valued parts fused (see :mod:`model.fused`).

:func:`fuse_network` turns a trained BaseBNN into it, parameter by parameter, in float64. Nothing
is approximated but for rounding in the last place, so that no prediction changes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.fractional import ChannelAffine
from model.fused import CountJoin, Segments
from model.layers import BinaryConv2d, Pixels, RSign
from model.networks.backbone import Shortcut
from model.networks.reactnet import BaseBNN, BinaryUnit, ReActNetBlock

__all__ = ["FuseBNN", "FusedBlock", "FusedUnit", "fuse_network"]

#: Scales of sums below this are taken for this: a channel that hears nothing of its convolution.
_LEAST = 2.0**-20


class FusedUnit(nn.Module):
    """Sign, binary convolution, addition of the shortcut, two segments: half a block."""

    def __init__(self, unit: BinaryUnit):
        super().__init__()
        out_channels, channels, kernel, _ = unit.conv.weight.shape
        stride = unit.conv.stride
        self.sign = RSign(channels)
        self.conv = BinaryConv2d(
            channels, out_channels, kernel, stride=stride, padding=unit.conv.padding
        )
        # Signs have no scale.
        self.conv.weight.data.copy_(torch.where(self.conv.weight >= 0, 1.0, -1.0))
        self.shortcut = Shortcut(channels, out_channels, stride)
        # Channels that double are in the units of neither half: the one case that needs more.
        self.units = ChannelAffine(out_channels) if out_channels != channels else None
        self.add = CountJoin(out_channels)
        self.act = Segments(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        sums = self.conv(self.sign(x))
        x = self.shortcut(x)
        if self.units is not None:
            x = self.units(x)
        return self.act(self.add(sums, x))


class FusedBlock(nn.Module):
    """The fused form of a block of ReActNet."""

    def __init__(self, block: ReActNetBlock):
        super().__init__()
        self.spatial = FusedUnit(block.spatial)
        self.pointwise = FusedUnit(block.pointwise)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.spatial(x))


class FuseBNN(nn.Module):
    """BaseBNN with scales, batch-norms, shifts and RPReLU fused into one compare, one
    multiplication and one addition a channel; first convolution and head as they were.

    Its parameters come from :func:`fuse_network`; it is not trained.

    Parameters
    ----------
    width, depth
        As of :class:`model.networks.reactnet.BaseBNN`.
    residual_bits : int
        Of the integer network's residual.
    """

    def __init__(
        self,
        width: int = 32,
        depth: Sequence[int] = (1, 2, 2, 6),
        *,
        residual_bits: int = 20,
        **arguments,
    ):
        super().__init__()
        base = BaseBNN(width, depth, **arguments)
        self.image, self.classes = base.image, base.classes
        self.pixels = Pixels()
        self.stride, self.anchors = base.stride, base.anchors
        self.stem, self.stem_bn = base.stem, base.stem_bn
        self.blocks = nn.Sequential(*(FusedBlock(block) for block in base.blocks))
        for unit in _units(self):
            unit.add.bits = unit.act.bits = residual_bits
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


def _units(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, BinaryUnit | FusedUnit)]


def _affine(unit: BinaryUnit) -> tuple[Tensor, Tensor]:
    """Scale and offset that weights' scale and batch-norm together give the sums."""
    norm = unit.bn
    slope = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    alpha = unit.conv.weight.abs().mean((1, 2, 3))
    return alpha * slope, norm.bias - norm.running_mean * slope


@torch.no_grad()
def fuse_network(base: BaseBNN, fused: FuseBNN) -> FuseBNN:
    """Fill ``fused`` with what makes it compute as ``base`` does; both become float64.

    Raises
    ------
    ValueError
        The networks have different structures.
    """
    base, fused = base.double().eval(), fused.double().eval()
    ours, theirs = _units(fused), _units(base)
    shapes = [[unit.conv.weight.shape for unit in units] for units in (ours, theirs)]
    if shapes[0] != shapes[1] or base.image != fused.image:
        raise ValueError("a network is fused into one of the same width and depth")
    scales = [_affine(unit) for unit in theirs]
    # Of the tensor before each unit: real value = p * value + q.
    units = []
    for unit, (scale, offset) in zip(ours, scales, strict=True):
        plain = unit.units is None
        one, zero = torch.ones(1).double(), torch.zeros(1).double()
        units.append((scale.abs().clamp_min(_LEAST), -offset) if plain else (one, zero))
    units.append((torch.ones(1).double(), torch.zeros(1).double()))

    for name in ("stem", "stem_bn", "scores", *(("head", "head_bias") if base.anchors else ())):
        getattr(fused, name).load_state_dict(getattr(base, name).state_dict())
    p, q = units[0]
    fused.stem_bn.weight.div_(p)
    fused.stem_bn.bias.sub_(q).div_(p)
    for index, (unit, old) in enumerate(zip(ours, theirs, strict=True)):
        (p, q), (p_next, q_next) = units[index], units[index + 1]
        scale, offset = scales[index]
        size = scale.abs().clamp_min(_LEAST)
        unit.sign.shift.copy_((old.sign.shift - q) / p)
        turn = torch.where(scale < 0, -1.0, 1.0)[:, None, None, None]
        unit.conv.weight.copy_(torch.where(old.conv.weight >= 0, 1.0, -1.0) * turn)
        if unit.units is not None:
            unit.units.scale.copy_(1 / size)
            unit.units.bias.copy_(offset / size)
        unit.add.limit.copy_((old.add.limit + offset.abs()) / size)
        act = old.act
        unit.act.threshold.copy_(act.shift / size)
        unit.act.scale.copy_(torch.stack([act.slope * size, size]) / p_next)
        ends = torch.stack([act.lift - act.slope * act.shift, act.lift - act.shift])
        unit.act.bias.copy_((ends - q_next) / p_next)
        reach = act.limit.reshape(1)
        if index + 1 < len(ours) and ours[index + 1].units is None:
            # Channel by channel, the next join tells it more closely; a mean of four hides peaks.
            peaks = 4 if theirs[index + 1].conv.stride == 2 else 1.25
            reach = torch.minimum(reach, peaks * theirs[index + 1].add.limit)
        unit.act.limit.copy_(((reach + q_next.abs()) / p_next).max())
    return fused
