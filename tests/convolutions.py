"""Convolutions of 3x3, compared with PyTorch's."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["assert_convolves"]


def assert_convolves(
    convolve: Callable, x: Tensor, weight: Tensor, gradient: Callable, stride: int, atol: float
) -> None:
    """Results, to 1e-11, and gradients, to ``atol``, of ``convolve(x, weight)`` are those of
    ``conv2d`` with a padding of 1; ``gradient`` gives that of the result, by its shape."""
    x.requires_grad_(), weight.requires_grad_()
    expected = functional.conv2d(x, weight, stride=stride, padding=1)
    found = convolve(x, weight)
    assert torch.allclose(found, expected, rtol=0, atol=1e-11)
    assert found.permute(0, 2, 3, 1).is_contiguous()
    of_result = gradient(*expected.shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, weight), of_result),
        torch.autograd.grad(expected, (x, weight), of_result),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, rtol=0, atol=atol)
