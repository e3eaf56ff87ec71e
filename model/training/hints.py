"""What a teacher's blocks say: hints (Romero et al., 2015) for those of a network to train."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Tracing", "hint_loss", "unexplained"]

#: Blocks from one hint to the next, from the last one back.
_EVERY = 2

#: Of a channel's mean square, added to each: channels that say the same leave their fit unique.
_RIDGE = 1e-3


class Tracing(nn.Module):
    """A network of the family that gives its map and residuals, not its map alone."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.network.trace(images)


def unexplained(ours: Tensor, theirs: Tensor) -> Tensor:
    """Share of a teacher's residual that is no linear function of ours, 0 to 1.

    The function is the best one for the batch: in what order the channels are, and how large, is
    free, and there is nothing to be learned besides the network. Where it is the best, how it would
    change does not count for the gradient.

    Parameters
    ----------
    ours : (N, channels, height, width)
    theirs : (N, any channels, height, width)
    """
    a, b = (x.float().permute(0, 2, 3, 1).flatten(0, 2) for x in (ours, theirs))
    a, b = a - a.mean(0), (b - b.mean(0)) / b.std(0).clamp_min(1e-6)
    with torch.no_grad():
        squares = a.T @ a
        squares.diagonal().add_(_RIDGE * squares.diagonal().mean() + 1e-6)
        function = torch.cholesky_solve(a.T @ b, torch.linalg.cholesky_ex(squares).L)
    return functional.mse_loss(a @ function, b)


def hint_loss(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Mean of what is :func:`unexplained` behind every second block whose map is the last one's.

    Raises
    ------
    ValueError
        The networks differ in blocks or maps.
    """
    shapes = [[x.shape[2:] for x in each] for each in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ValueError("hints need a teacher with as many blocks, and maps of the same size")
    pairs = [
        pair for pair in zip(ours, theirs, strict=True) if pair[0].shape[2:] == ours[-1].shape[2:]
    ][::-_EVERY]
    return torch.stack([unexplained(*pair) for pair in pairs]).mean()
