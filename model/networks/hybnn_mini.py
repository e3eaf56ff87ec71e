"""hybnn-mini: a small hybrid 1-bit/4-bit network for 28x28 grey images and 10 classes.

An 8-bit-input first convolution, one 4-bit depthwise-separable block (``dsc``), a binary
depthwise-separable block with a shortcut (``a``), a purely binary block (``b``) around which the
residual is carried, pooled, to a binary block with RPReLU (``c``), and a classifier.
"""

from torch import Tensor, nn

from model.layers import (
    BinaryConv2d,
    Concat,
    Pixels,
    QuantConv2d,
    QuantLinear,
    QuantReLU,
    Residual,
    RPReLU,
    RSign,
    Sign,
)

__all__ = ["HybnnMini"]


class HybnnMini(nn.Module):
    """A small hybrid 1-bit/4-bit network for 28x28 grey images and 10 classes: an 8-bit-input first
    convolution, a 4-bit depthwise-separable block, a binary depthwise-separable block with a
    shortcut and RPReLU, a purely binary block, and a binary block whose shortcut carries the
    residual around it.

    Images (N, 1, 28, 28), uint8 or the same numbers as floats, become class scores (N, 10).
    Binary layers see the order of ReActNet (Liu et al., 2020): sign, convolution, batch-norm,
    shortcut, RPReLU. The shortcut of block ``c`` joins mean and maximum of the 2x2 squares of the
    residual, so that 32 channels become 64 without a multiplication.
    """

    #: (height, width, channels) of an image.
    image = (28, 28, 1)
    classes = 10

    def __init__(self):
        super().__init__()
        self.pixels = Pixels()
        self.conv1 = QuantConv2d(1, 16, 3, padding=1, weight_bits=8)
        self.conv1_bn = nn.BatchNorm2d(16)
        self.conv1_act = QuantReLU(4)

        self.dsc_dw = QuantConv2d(16, 16, 3, stride=2, padding=1, weight_bits=4, depthwise=True)
        self.dsc_dw_bn = nn.BatchNorm2d(16)
        self.dsc_dw_act = QuantReLU(4)
        self.dsc_pw = QuantConv2d(16, 32, 1, weight_bits=4)
        self.dsc_pw_bn = nn.BatchNorm2d(32)

        self.a_sign = RSign(32)
        self.a_dw = BinaryConv2d(32, 32, 3, padding=1, depthwise=True)
        self.a_dw_bn = nn.BatchNorm2d(32)
        self.a_dw_sign = Sign()
        self.a_pw = BinaryConv2d(32, 32, 1)
        self.a_pw_bn = nn.BatchNorm2d(32)
        self.a_add = Residual(32)
        self.a_act = RPReLU(32)

        self.b_sign = RSign(32)
        self.b_conv = BinaryConv2d(32, 64, 3, padding=1)
        self.b_conv_bn = nn.BatchNorm2d(64)
        self.b_conv_sign = Sign()
        self.b_pool = nn.MaxPool2d(2)

        self.c_mean = nn.AvgPool2d(2)
        self.c_max = nn.MaxPool2d(2)
        self.c_concat = Concat()
        self.c_conv = BinaryConv2d(64, 64, 3, padding=1)
        self.c_conv_bn = nn.BatchNorm2d(64)
        self.c_add = Residual(64)
        self.c_act = RPReLU(64)

        self.pool = nn.AdaptiveAvgPool2d(1)
        self.scores = QuantLinear(64, 10, weight_bits=8)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1_act(self.conv1_bn(self.conv1(self.pixels(images))))
        x = self.dsc_dw_act(self.dsc_dw_bn(self.dsc_dw(x)))
        residual = self.dsc_pw_bn(self.dsc_pw(x))

        x = self.a_dw_sign(self.a_dw_bn(self.a_dw(self.a_sign(residual))))
        x = self.a_pw_bn(self.a_pw(x))
        residual = self.a_act(self.a_add(x, residual))

        x = self.b_conv_sign(self.b_conv_bn(self.b_conv(self.b_sign(residual))))
        x = self.b_pool(x)

        shortcut = self.c_concat(self.c_mean(residual), self.c_max(residual))
        x = self.c_conv_bn(self.c_conv(x))
        x = self.c_act(self.c_add(x, shortcut))
        return self.scores(self.pool(x).flatten(1))
