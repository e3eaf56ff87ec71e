"""Torch layers of FuseBNN: what is left of a binary network's real-valued parts once fused.

The residual is kept, for each channel, in units of the scale that the next convolution's sums have
there: the sums then add to it as they are, and one compare, one multiplication and one addition
carry out the scales of weights and batch-norm, RPReLU, and the units of the next block.

As BaseBNN is not fused, it needs two multiplications: RPReLU's slope is one, and the next units are
another. In integers the first loses nothing, so that both, one after the other, give to the last
bit what their product gives (see :mod:`model.export_fused`).
"""

from math import ceil, log2

import torch
from torch import Tensor, nn

__all__ = ["SCALE_BITS", "SLOPE_FRACTION", "CountJoin", "Segments", "unit_bits"]

#: Bits of the integer network's multipliers, the sign included: a side of a DSP's.
SCALE_BITS = 18

#: Slopes are multiples of 2 to the power of minus this, so that multipliers, slopes times units,
#: have bits enough for both.
SLOPE_FRACTION = 5


def unit_bits(steepest: float) -> int:
    """Bits of a multiplier that are left to units, the sign included, beside slopes up to this."""
    return SCALE_BITS - ceil(log2(max(steepest, 1.0) * 2**SLOPE_FRACTION))


class CountJoin(nn.Module):
    """Sums of +1 and -1 plus a shortcut that is in their units.

    Parameters
    ----------
    bits : int
        Of the integer network's shortcut.

    Buffers
    -------
    limit : (channels,)
        Largest magnitude of the shortcut that the integer network must hold.
    """

    def __init__(self, channels: int, *, bits: int):
        super().__init__()
        self.bits = bits
        self.register_buffer("limit", torch.zeros(channels))

    def forward(self, sums: Tensor, shortcut: Tensor) -> Tensor:
        return sums + shortcut


class Segments(nn.Module):
    """``scale[s]*x + bias[s]`` for each channel, s being 1 where ``x >= threshold``, else 0.

    Parameters
    ----------
    bits : int
        Of the integer network's result.
    apart : bool
        The integer network multiplies by the slope ``scale[0]/scale[1]`` and by the units
        ``scale[1]`` one after the other, not by both at once.

    Buffers
    -------
    limit : ()
        Largest magnitude of the result that the integer network must hold.
    """

    def __init__(self, channels: int, *, bits: int, apart: bool = False):
        super().__init__()
        self.bits, self.apart = bits, apart
        self.threshold = nn.Parameter(torch.zeros(channels))
        self.scale = nn.Parameter(torch.ones(2, channels))
        self.bias = nn.Parameter(torch.zeros(2, channels))
        self.register_buffer("limit", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        above = x >= self.threshold[:, None, None]
        low, high = (
            x * scale[:, None, None] + bias[:, None, None]
            for scale, bias in zip(self.scale, self.bias, strict=True)
        )
        return torch.where(above, high, low)
