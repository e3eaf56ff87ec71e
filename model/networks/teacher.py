"""A float residual network whose scores the family's networks are trained towards."""

from collections.abc import Sequence

from torch import Tensor, nn

from model.layers import Pixels

__all__ = ["Teacher"]


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., 2016), 1x1 where the shape changes."""

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(branch + self.shortcut(x))


class Teacher(nn.Module):
    """A float ResNet for small images. It has no integer network.

    Parameters
    ----------
    width : int
        Channels of the first stage; each further one has twice as many on half the map.
    depth : sequence of int
        Blocks of each stage.
    image : (height, width, channels)
    """

    def __init__(
        self,
        width: int = 64,
        depth: Sequence[int] = (2, 2, 2, 2),
        image: tuple[int, int, int] = (32, 32, 3),
        classes: int = 10,
    ):
        super().__init__()
        self.image, self.classes = tuple(image), classes
        self.pixels = Pixels()
        self.stem = nn.Conv2d(image[2], width, 3, 1, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        blocks, channels = [], width
        for stage, count in enumerate(depth):
            for index in range(count):
                blocks.append(_Block(channels, width << stage, 2 if stage and not index else 1))
                channels = width << stage
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.scores = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.stem_bn(self.stem(self.pixels(images)))))
        return self.scores(self.pool(x).flatten(1))
