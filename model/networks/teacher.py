"""Float networks whose scores the family's networks are trained towards."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers import Pixels

__all__ = ["QuickTeacher", "Teacher"]


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or self.in_channels >= 16:
            return super().forward(x)
        # With a stride and this few channels, oneDNN's gradient of the weights writes past its
        # buffer: https://github.com/uxlfoundation/oneDNN/issues/6035
        down, right = self.stride
        return functional.conv2d(x[:, :, ::down, ::right], self.weight, self.bias)


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
                _Pointwise(channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(branch + self.shortcut(x))


class Teacher(nn.Module):
    """A float ResNet for small images, or, with anchors, a detector. It has no integer network.

    Parameters
    ----------
    width : int
        Channels of the first stage; each further one has twice as many on half the map.
    depth : sequence of int
        Blocks of each stage.
    image : (height, width, channels)
    stride : int
        Of the stem.
    anchors : sequence of (width, height)
        In pixels; makes a detector.
    """

    def __init__(
        self,
        width: int = 64,
        depth: Sequence[int] = (2, 2, 2, 2),
        image: tuple[int, int, int] = (32, 32, 3),
        classes: int = 10,
        stride: int = 1,
        anchors: Sequence[tuple[float, float]] = (),
    ):
        super().__init__()
        self.image, self.classes, self.anchors = tuple(image), classes, tuple(anchors)
        #: Pixels of the image for one of the last map.
        self.stride = stride << len(depth) - 1
        self.pixels = Pixels()
        self.stem = nn.Conv2d(image[2], width, 3, stride, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        blocks, channels = [], width
        for stage, count in enumerate(depth):
            for index in range(count):
                blocks.append(_Block(channels, width << stage, 2 if stage and not index else 1))
                channels = width << stage
        self.blocks = nn.Sequential(*blocks)
        if anchors:
            self.head = nn.Conv2d(channels, 5 * len(anchors), 1)
            # As heads of model.networks.backbone begin.
            nn.init.normal_(self.head.weight, std=0.01)
            self.head.bias.data[4::5] = -4.0
        else:
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.scores = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.stem_bn(self.stem(self.pixels(images)))))
        return self.head(x) if self.anchors else self.scores(self.pool(x).flatten(1))


class QuickTeacher(nn.Module):
    """A float plain network for small images that learns in few epochs, also without a GPU.

    After the one of Jordan (2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"): 2x2 patches
    made white, then stages of two 3x3 convolutions that begin as identities, the map halved after
    each first one. It has no integer network.

    Parameters
    ----------
    widths : sequence of int
        Channels of each stage.
    image : (height, width, channels)
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 192, 192),
        image: tuple[int, int, int] = (32, 32, 3),
        classes: int = 10,
    ):
        super().__init__()
        self.image, self.classes = tuple(image), classes
        self.pixels = Pixels()
        patch = 4 * image[2]
        self.register_buffer("white", torch.randn(2 * patch, image[2], 2, 2) / patch**0.5)
        self.white_bias = nn.Parameter(torch.zeros(2 * patch))
        layers, channels = [], 2 * patch
        for width in widths:
            for pool in (nn.MaxPool2d(2), nn.Identity()):
                conv = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
                nn.init.dirac_(conv.weight.data[: min(width, channels)])
                layers += [conv, pool, nn.BatchNorm2d(width), nn.GELU()]
                channels = width
        self.layers = nn.Sequential(*layers)
        self.scores = nn.Linear(channels, classes, bias=False)

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Set the first layer, which is not trained: its responses to these images' patches are
        uncorrelated and of variance 1, each once as it is and once negated."""
        x = self.pixels(images).to(self.white.device)
        size = self.white.shape[1:].numel()
        patches = functional.unfold(x, 2).transpose(1, 2).reshape(-1, size)
        values, vectors = torch.linalg.eigh(patches.T.cov())
        kernels = (vectors / (values + 5e-4).sqrt()).T.reshape(size, *self.white.shape[1:])
        self.white.copy_(torch.cat((kernels, -kernels)))

    def forward(self, images: Tensor) -> Tensor:
        x = functional.conv2d(self.pixels(images), self.white) + self.white_bias[:, None, None]
        x = self.layers(functional.gelu(x))
        # A small share of the largest response, so that scores begin near 0 (Jordan, 2024).
        return self.scores(x.amax((2, 3))) / 9
