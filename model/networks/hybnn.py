"""HyBNN: binary depthwise-separable blocks, and 4-bit ones where they win the accuracy back."""

from collections.abc import Sequence

from torch import Tensor, nn

from model.networks.backbone import Backbone
from model.networks.fourbit import FourBitBlock, LargeFourBitBlock
from model.networks.reactnet import BinaryUnit, ReActNetBlock

__all__ = ["KINDS", "BinaryDSCBlock", "HyBNN"]


class BinaryDSCBlock(nn.Module):
    """A binary depthwise 3x3 and a binary pointwise unit."""

    ends_in_rprelu = True

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.dw = BinaryUnit(channels, channels, 3, stride, depthwise=True)
        self.pw = BinaryUnit(channels, out_channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pw(self.dw(x))


#: Blocks by the letter that stands for them in a network's configuration.
KINDS = {
    "4": FourBitBlock,
    "5": LargeFourBitBlock,
    "1": BinaryDSCBlock,
    "3": ReActNetBlock,
}


class HyBNN(Backbone):
    """A hybrid of 4-bit depthwise-separable blocks and binary ones, which are among the late, wide
    blocks, with most of the weights; first convolution and head have 8-bit weights.

    Parameters
    ----------
    blocks : str
        For each block "4" or "1", the bits of its depthwise-separable convolutions, "5" for one
        of four bits with a depthwise kernel of 5x5, or "3" for ReActNet's block, with a standard
        binary 3x3 convolution.
    """

    def __init__(
        self,
        blocks: str = "44444441111",
        width: int = 32,
        depth: Sequence[int] = (1, 2, 2, 6),
        **arguments,
    ):
        unknown = sorted(set(blocks) - set(KINDS))
        if unknown:
            raise ValueError(f"blocks must consist of {', '.join(KINDS)}, not {unknown[0]!r}")
        kinds = [KINDS[letter] for letter in blocks]
        super().__init__(kinds, width=width, depth=depth, **arguments)
