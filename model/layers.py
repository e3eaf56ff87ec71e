"""Torch layers of binary and mixed 1-bit/4-bit networks, with straight-through gradients.

Every layer computes in floating point exactly what :mod:`model.export` later states in integers:
binary values are +1/-1 (0 counts as +1), quantisers round halves up, and zero padding contributes
0, also in a binary convolution.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model import patches, winograd

__all__ = [
    "START_STEP",
    "STRAIGHT_THROUGH",
    "BinaryConv2d",
    "Concat",
    "FixedPoint",
    "Pixels",
    "QuantConv2d",
    "QuantLinear",
    "QuantReLU",
    "RPReLU",
    "RSign",
    "Residual",
    "Sign",
    "binarize",
    "binarize_weights",
    "quantize_weights",
    "round_half_up",
]

#: Share of the newest batch in the running limits that the exporter takes its number ranges from.
_MOMENTUM = 0.02


#: Step of a quantiser that training starts with, for numbers whose root mean square is 1.
START_STEP = 0.2


#: Straight-through gradients of the sign by name: what stands for its derivative at x.
STRAIGHT_THROUGH = {
    # Piecewise quadratic (Bi-Real Net, Liu et al., 2018).
    "quadratic": lambda x: x.abs().mul_(-2).add_(2).clamp_min_(0),
    # Hard tanh (Hubara et al., 2016).
    "clip": lambda x: (x.abs() <= 1).to(x.dtype),
    # The derivative of tanh(2x): some gradient everywhere.
    "tanh": lambda x: (2 * x).tanh_().square_().mul_(-2).add_(2),
}


# What is returned forward is not changed in place on its way, here and in model.fractional: where
# PyTorch 2.11 compiles that, the function's gradient is lost, and everything before it stays as it
# was.


class _Binarize(torch.autograd.Function):
    """Sign with a straight-through gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, gradient: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.straight_through = gradient
        return (x >= 0).to(x.dtype) * 2 - 1

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return STRAIGHT_THROUGH[ctx.straight_through](x).mul_(gradient), None


class _RoundHalfUp(torch.autograd.Function):
    """``floor(x + 1/2)`` with the gradient of the identity."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return (x + 0.5).floor()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


class _Quantize(torch.autograd.Function):
    """``step * clamp(floor(x/step + 1/2), 0, levels)`` with LSQ's gradient (Esser et al., 2020)."""

    @staticmethod
    def forward(ctx, x: Tensor, step: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.levels = levels
        return (x / step + 0.5).floor().clamp(0, levels) * step

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, step = ctx.saved_tensors
        x = x / step
        inside = ((x >= 0) & (x <= ctx.levels)).to(x.dtype)
        slope = (x + 0.5).floor_().clamp_(0, ctx.levels).sub_(x.mul_(inside))
        # The step's gradient sums over all elements: LSQ's factor brings it to the size of a
        # weight's.
        factor = (x.numel() / len(x) * ctx.levels) ** -0.5
        return gradient * inside, slope.mul_(gradient).sum() * factor, None


def binarize(x: Tensor, gradient: str = "quadratic") -> Tensor:
    """+1 where ``x >= 0``, else -1; the gradient is one of :data:`STRAIGHT_THROUGH`."""
    return _Binarize.apply(x, gradient)


def round_half_up(x: Tensor) -> Tensor:
    """``floor(x + 1/2)`` with the gradient of the identity.

    Halves go up, not to even as in ``torch.round``: only so is a quantiser a row of plain compares.
    """
    return _RoundHalfUp.apply(x)


def binarize_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Signs of the weights, and one scale (mean magnitude) per output channel.

    The gradient of the signs is that of the identity where ``|weight| <= 1`` and 0 elsewhere.
    """
    signs = (weight.detach() >= 0).to(weight.dtype) * 2 - 1
    clipped = weight.clamp(-1, 1)
    scale = weight.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
    return signs + (clipped - clipped.detach()), scale


def quantize_weights(
    weight: Tensor, bits: int, *, per_channel: bool = True
) -> tuple[Tensor, Tensor]:
    """Integers in ``-(2**(bits-1) - 1) .. 2**(bits-1) - 1``, and the step that they count.

    The step follows the largest magnitude, of each output channel or of the whole array.
    """
    largest = (1 << bits - 1) - 1
    magnitude = weight.detach().abs()
    peak = (
        magnitude.amax(dim=tuple(range(1, weight.dim())), keepdim=True)
        if per_channel
        else magnitude.amax()
    )
    step = peak.clamp_min(1e-8) / largest
    return round_half_up(weight / step), step


class Pixels(nn.Module):
    """uint8 pixels as numbers in 0..1: divided by 256, so that nothing is rounded."""

    scale = 1 / 256

    def __init__(self):
        super().__init__()
        # Of the type that the network computes in.
        self.register_buffer("unit", torch.tensor(self.scale), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images.to(self.unit.dtype) * self.unit


class Sign(nn.Module):
    """:func:`binarize` as a layer; ``gradient`` names its straight-through gradient."""

    gradient = "quadratic"

    def forward(self, x: Tensor) -> Tensor:
        return binarize(x, self.gradient)


class RSign(Sign):
    """+1 where ``x >= shift``, else -1; the shift is learned (ReActNet, Liu et al., 2020)."""

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return binarize(x - self.shift[:, None, None], self.gradient)


class RPReLU(nn.Module):
    """PReLU with learnable shifts per channel before and after the kink (ReActNet).

    ``y = x - shift + lift`` where ``x >= shift``, else ``slope * (x - shift) + lift``. ``limit``
    follows the largest magnitude of the output in training.

    Parameters
    ----------
    bits, scale_bits : int
        Of the integer network's result, and of its multipliers.
    slope_fraction : int or None
        Slopes count as the nearest multiples of ``2**-slope_fraction``; None: as they are.
    """

    def __init__(
        self,
        channels: int,
        *,
        bits: int = 12,
        scale_bits: int = 12,
        slope_fraction: int | None = None,
    ):
        super().__init__()
        self.bits, self.scale_bits, self.slope_fraction = bits, scale_bits, slope_fraction
        self.shift = nn.Parameter(torch.zeros(channels))
        self.lift = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.register_buffer("limit", torch.zeros(()))

    def effective_slope(self) -> Tensor:
        """The slopes that count; their gradient is that of the identity."""
        if self.slope_fraction is None:
            return self.slope
        return round_half_up(self.slope * 2**self.slope_fraction) / 2**self.slope_fraction

    def forward(self, x: Tensor) -> Tensor:
        # Autocast would take the residual to eight bits of mantissa here.
        with torch.autocast(x.device.type, enabled=False):
            x = functional.prelu(x - self.shift[:, None, None], self.effective_slope())
            x = x + self.lift[:, None, None]
        if self.training:
            _follow(self.limit, x.detach().abs().amax())
        return x


class Concat(nn.Module):
    """The channels of one tensor after those of another."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.cat(tensors, dim=1)


class Residual(nn.Module):
    """``branch + shortcut``; ``limit`` follows the shortcut's largest magnitude per channel.

    Parameters
    ----------
    bits, scale_bits : int
        Of the integer network's shortcut, and of the multipliers that bring it to its units.
    """

    def __init__(self, channels: int, *, bits: int = 13, scale_bits: int = 12):
        super().__init__()
        self.bits, self.scale_bits = bits, scale_bits
        self.register_buffer("limit", torch.zeros(channels))

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        branch, shortcut = _whole(branch), _whole(shortcut)
        if self.training:
            _follow(self.limit, shortcut.detach().abs().amax(dim=(0, 2, 3)))
        return branch + shortcut


def _whole(x: Tensor) -> Tensor:
    """float32 where autocast left a half: too few bits for a residual, and to round levels by."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _follow(limit: Tensor, peak: Tensor) -> None:
    """Move ``limit`` towards ``peak``, from 0 at once."""
    limit.copy_(torch.where(limit == 0, peak, torch.lerp(limit, peak, _MOMENTUM)))


class QuantReLU(nn.Module):
    """ReLU and quantiser to ``bits`` bits: ``step * clamp(floor(x/step + 1/2), 0, 2**bits - 1)``.

    The step is learned.
    """

    def __init__(self, bits: int, step: float = START_STEP):
        super().__init__()
        self.bits = bits
        self.step = nn.Parameter(torch.tensor(float(step)))

    @property
    def levels(self) -> int:
        """The highest level; there are as many thresholds."""
        return (1 << self.bits) - 1

    def positive_step(self) -> Tensor:
        """The step to quantise by. A step that training took past 0 comes back from there: clamped,
        it would have no gradient any more, and no level but 0 would ever be seen again."""
        return self.step.abs().clamp_min(1e-4)

    def forward(self, x: Tensor) -> Tensor:
        return _Quantize.apply(_whole(x), self.positive_step(), self.levels)


class BinaryConv2d(nn.Module):
    """Convolution with weights ``scale[out channel] * (+1 or -1)``; no bias.

    In the first step of training ``binary_weights`` is False: then the weights count as they are.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        depthwise: bool = False,
    ):
        super().__init__()
        _check_depthwise(in_channels, out_channels, depthwise)
        self.stride, self.padding, self.depthwise = stride, padding, depthwise
        self.groups = in_channels if depthwise else 1
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // self.groups, kernel, kernel)
        )
        self.binary_weights = True
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if self.binary_weights:
            signs, scale = binarize_weights(weight)
            weight = signs * scale
        return _convolve(x, weight, self)


class QuantConv2d(nn.Module):
    """Convolution with weights of ``weight_bits`` bits, symmetric, one step per output channel."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        weight_bits: int,
        stride: int = 1,
        padding: int = 0,
        depthwise: bool = False,
    ):
        super().__init__()
        _check_depthwise(in_channels, out_channels, depthwise)
        self.weight_bits = weight_bits
        self.stride, self.padding, self.depthwise = stride, padding, depthwise
        self.groups = in_channels if depthwise else 1
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // self.groups, kernel, kernel)
        )
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight, step = quantize_weights(self.weight, self.weight_bits)
        return _convolve(x, weight * step, self)


class QuantLinear(nn.Module):
    """Dense layer, weights of ``weight_bits`` bits, one step for all: scores stay comparable."""

    def __init__(self, in_features: int, out_features: int, *, weight_bits: int):
        super().__init__()
        self.weight_bits = weight_bits
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        nn.init.normal_(self.weight, std=in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        weight, step = quantize_weights(self.weight, self.weight_bits, per_channel=False)
        return functional.linear(x, weight * step, self.bias)


class FixedPoint(nn.Module):
    """Rounds to multiples of ``2**-fraction``, halves up, so that integers say what they mean by
    themselves: the last layer of a network whose numbers are compared with more than each other.

    In training nothing is rounded. ``bits`` are those of the integers, ``scale_bits`` of the
    multipliers that bring them about.
    """

    def __init__(self, fraction: int = 8, bits: int = 16, scale_bits: int = 18):
        super().__init__()
        self.fraction, self.bits, self.scale_bits = fraction, bits, scale_bits

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x
        most = 1 << self.bits - 1
        return (x * 2**self.fraction + 0.5).floor().clamp(-most, most - 1) / 2**self.fraction


def _convolve(x: Tensor, weight: Tensor, layer: "BinaryConv2d | QuantConv2d") -> Tensor:
    """The convolution that ``layer`` describes, with these weights."""
    stride = layer.stride
    if x.device.type == "cpu" and torch.compiler.is_compiling():
        # All bits of the numbers, or the half that autocast leaves.
        if not torch.is_autocast_enabled("cpu"):
            if winograd.fits(x, weight, stride, layer.padding):
                return winograd.convolve(x, weight)
        elif patches.fits(x, weight, stride, layer.padding):
            return patches.convolve(x, weight, stride)
    if layer.depthwise and stride > 1 and x.device.type == "cpu":
        # A CPU takes a tenth of the time for all places and back that it takes for these alone.
        y = functional.conv2d(x, weight, None, 1, layer.padding, 1, layer.groups)
        return y[:, :, ::stride, ::stride]
    return functional.conv2d(x, weight, None, stride, layer.padding, 1, layer.groups)


def _check_depthwise(in_channels: int, out_channels: int, depthwise: bool) -> None:
    if depthwise and in_channels != out_channels:
        raise ValueError(
            f"a depthwise convolution has as many outputs as inputs, not {out_channels} and "
            f"{in_channels}"
        )
