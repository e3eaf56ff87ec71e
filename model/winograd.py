"""Convolutions of 3x3 by Winograd's minimal filtering, for training on a CPU.

A square of 4x4 results takes 36 products for each pair of channels, not 144 (Lavin and Gray, CVPR
2016: F(4x4, 3x3)), as matrix products do, in the gradients as forward. Around them are additions
of neighbouring places, one loop each where PyTorch compiles them, many small ones where it does
not. Sums differ from those of :func:`torch.nn.functional.conv2d` in the fifth digit.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["convolve", "fits"]

#: Results along a side of a square, and what they are computed from.
_OUT, _IN = 4, 6

#: From three weights to six; the other two of the three transforms are written out below.
_WEIGHTS = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]

#: Fewer channels are additions more than products.
_CHANNELS = 64

#: For fewer squares in a batch it does not pay to transform the weights.
_SQUARES = 64


def fits(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Whether :func:`convolve` computes this convolution, and in less time."""
    return (
        weight.shape[2:] == (3, 3)
        and weight.shape[1] == x.shape[1]
        and (stride, padding) == (1, 1)
        and min(weight.shape[:2]) >= _CHANNELS
        and not any(size % _OUT for size in x.shape[2:])
        and x.shape[0] * x.shape[2] * x.shape[3] >= _SQUARES * _OUT**2
    )


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """``conv2d(x, weight, padding=1)`` of 3x3.

    Parameters
    ----------
    x : (N, channels, height, width)
        Height and width are multiples of 4.
    weight : (out_channels, channels, 3, 3)
    """
    return _forward(x, weight)[0]


# Operators of their own, whose insides are compiled apart: among all the others of a network the
# compiler would write the sums out anew for every place that needs them, and not end.


@torch.library.custom_op("bitwright::winograd", mutates_args=())
def _forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    # The compiler asks of every tensor whether it wants a gradient, and compiles for both again.
    inputs = _compiled(_of_inputs)(x.detach())
    return _convolved(inputs, weight, x.shape), inputs


@torch.library.custom_op("bitwright::winograd_backward", mutates_args=())
def _backward(gradient: Tensor, inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    products = torch.bmm(_compiled(_of_results)(gradient).transpose(1, 2), inputs)
    matrix = weight.new_tensor(_WEIGHTS)
    products = products.view(_IN, _IN, *products.shape[1:])
    # What an input did is the convolution of the gradient with the weights turned around.
    turned = weight.flip(2, 3).transpose(0, 1)
    return (
        _convolved(_compiled(_of_inputs)(gradient), turned, gradient.shape),
        torch.einsum("ax,by,aboi->oixy", matrix, matrix, products).contiguous(),
    )


@_forward.register_fake
def _(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    count, channels, height, width = x.shape
    squares = count * (height // _OUT) * (width // _OUT)
    return _like(x, len(weight)), x.new_empty(_IN * _IN, squares, channels)


@_backward.register_fake
def _(gradient: Tensor, inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return _like(gradient, weight.shape[1]), weight.new_empty(weight.shape)


def _like(x: Tensor, channels: int) -> Tensor:
    shape = x.shape[0], channels, *x.shape[2:]
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


def _keep(ctx, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1], inputs[1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, gradient: Tensor, _) -> tuple[Tensor, Tensor]:
    return _backward(gradient, *ctx.saved_tensors)


_forward.register_autograd(_differentiate, setup_context=_keep)


@cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=False)


def _convolved(inputs: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
    """What :func:`convolve` gives, of what :func:`_of_inputs` made of an image of this shape."""
    matrix = weight.new_tensor(_WEIGHTS)
    weights = torch.einsum("ax,by,oixy->abio", matrix, matrix, weight).flatten(0, 1)
    count, _, height, width = shape
    return _compiled(_results)(torch.bmm(inputs, weights), count, height, width)


def _results(products: Tensor, count: int, height: int, width: int) -> Tensor:
    """(N, out_channels, height, width), channels last, of (36, squares, out_channels)."""
    squares = height // _OUT, width // _OUT
    rows = _side_of_results(products.view(_IN, _IN, count, *squares, -1).unbind(0))
    squared = [torch.stack(_side_of_results(row.unbind(0)), 3) for row in rows]
    return torch.stack(squared, 2).reshape(count, height, width, -1).permute(0, 3, 1, 2)


def _of_inputs(x: Tensor) -> Tensor:
    """(36, squares, channels) of (N, channels, height, width): overlapping squares of 6x6."""
    x = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    places = []
    for row in _side_of_inputs([x[:, at : x.shape[1] - _IN + at + 1 : _OUT] for at in range(_IN)]):
        columns = [row[:, :, at : x.shape[2] - _IN + at + 1 : _OUT] for at in range(_IN)]
        places += _side_of_inputs(columns)
    return torch.stack(places).flatten(1, 3)


def _of_results(gradient: Tensor) -> Tensor:
    """(36, squares, channels) of (N, channels, height, width): squares of 4x4, by the transpose of
    the transform of results."""
    count, channels, height, width = gradient.shape
    squares = count, height // _OUT, _OUT, width // _OUT, _OUT, channels
    squares = gradient.permute(0, 2, 3, 1).reshape(squares)
    places = []
    for row in _back(squares.unbind(2)):
        places += _back(row.unbind(3))
    return torch.stack(places).flatten(1, 3)


def _side_of_inputs(x: list[Tensor]) -> list[Tensor]:
    a, b, c, d = x[4] - 4 * x[2], x[3] - 4 * x[1], x[4] - x[2], 2 * (x[3] - x[1])
    ends = 4 * x[0] - 5 * x[2] + x[4], 4 * x[1] - 5 * x[3] + x[5]
    return [ends[0], a + b, a - b, c + d, c - d, ends[1]]


def _side_of_results(x: tuple[Tensor, ...]) -> list[Tensor]:
    a, b, c, d = x[1] + x[2], x[1] - x[2], x[3] + x[4], x[3] - x[4]
    return [x[0] + a + c, b + 2 * d, a + 4 * c, b + 8 * d + x[5]]


def _back(x: tuple[Tensor, ...]) -> list[Tensor]:
    a, b, c, d = x[0] + x[2], x[1] + x[3], x[0] + 4 * x[2], 2 * x[1] + 8 * x[3]
    return [x[0], a + b, a - b, c + d, c - d, x[3]]
