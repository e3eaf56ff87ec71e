"""Convolutions of 3x3 over small maps as one matrix product, for training on a CPU in bfloat16.

What each result sees is copied beside what its neighbour sees, nine times the map, which PyTorch's
convolutions avoid. Over maps of 4x4 they take three times as long nonetheless.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["convolve", "fits"]

#: Fewer channels are copies more than products.
_CHANNELS = 256

#: Results in a map, at most: larger ones PyTorch convolves in less time.
_RESULTS = 16


def fits(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Whether :func:`convolve` computes this convolution, and in less time."""
    return (
        weight.shape[2:] == (3, 3)
        and weight.shape[1] == x.shape[1]
        and padding == 1
        and min(weight.shape[:2]) >= _CHANNELS
        and x[0, 0, ::stride, ::stride].numel() <= _RESULTS
    )


def convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """``conv2d(x, weight, stride=stride, padding=1)`` of 3x3; in bfloat16 where autocast says so.

    Parameters
    ----------
    x : (N, channels, height, width)
    weight : (out_channels, channels, 3, 3)
    """
    if torch.is_autocast_enabled("cpu"):
        # The copies, not what is copied, would be converted otherwise.
        x, weight = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight))
    height, width = x.shape[2:]
    padded = functional.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    seen = torch.cat(
        [
            padded[:, row : row + height : stride, column : column + width : stride]
            for row in range(3)
            for column in range(3)
        ],
        dim=3,
    )
    return (seen @ weight.permute(2, 3, 1, 0).flatten(0, 2)).permute(0, 3, 1, 2)
