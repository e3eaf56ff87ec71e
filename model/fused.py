"""Torch layers of FuseBNN: what is left of a binary network's real-valued parts once fused.

The residual is kept, for each channel, in units of the scale that the next convolution's sums have
there: the sums then add to it as they are, and one compare, one multiplication and one addition
carry out the scales of weights and batch-norm, RPReLU, and the units of the next block.
"""

import torch
from torch import Tensor, nn

__all__ = ["CountJoin", "Segments"]

#: Bits of the integer network's residual: a side of a DSP's multiplier has room for 27.
_BITS = 20


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

    def __init__(self, channels: int, *, bits: int = _BITS):
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

    Buffers
    -------
    limit : ()
        Largest magnitude of the result that the integer network must hold.
    """

    def __init__(self, channels: int, *, bits: int = _BITS):
        super().__init__()
        self.bits = bits
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
