"""Convolutions of 3x3 by Winograd's minimal filtering, against those of PyTorch."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model import winograd
from model.layers import BinaryConv2d
from tests.convolutions import assert_convolves

torch.set_num_threads(1)

SIDES = st.integers(1, 4).map(lambda squares: 4 * squares)


@pytest.fixture(autouse=True, scope="module")
def _uncompiled():
    """The same sums without the minute that compiling them takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_compiled", lambda function: function)
        yield


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), SIDES, SIDES, st.integers(0, 99))
def test_results_and_gradients_are_those_of_a_convolution(
    count, channels, out_channels, height, width, seed
):
    x = drawn(count, channels, height, width, seed=seed)
    weight = drawn(out_channels, channels, 3, 3, seed=seed + 1)
    gradient = partial(drawn, seed=seed + 2)
    assert_convolves(winograd.convolve, x, weight, gradient, 1, atol=1e-10)


def test_signs_give_whole_numbers_nearly_in_single_precision():
    x, weight = (drawn(*shape, seed=3).sign() for shape in ((2, 192, 12, 12), (192, 192, 3, 3)))
    expected = functional.conv2d(x, weight, padding=1)
    found = winograd.convolve(x.float(), weight.float())
    assert (found - expected).abs().max() < 0.01
    assert torch.equal(found.round().double(), expected)


def test_the_compiler_is_told_the_truth_of_the_operators():
    x = drawn(2, 5, 8, 4, seed=1).requires_grad_()
    weight = drawn(7, 5, 3, 3, seed=2).requires_grad_()
    torch.library.opcheck(torch.ops.bitwright.winograd.default, (x, weight))


@pytest.mark.parametrize(
    ("shape", "weight", "stride", "padding", "whether"),
    [
        ((16, 64, 8, 8), (64, 64, 3, 3), 1, 1, True),
        ((15, 64, 8, 8), (64, 64, 3, 3), 1, 1, False),
        ((16, 64, 8, 14), (64, 64, 3, 3), 1, 1, False),
        ((16, 64, 8, 8), (64, 64, 1, 1), 1, 0, False),
        ((16, 64, 8, 8), (64, 64, 3, 3), 2, 1, False),
        ((16, 64, 8, 8), (64, 1, 3, 3), 1, 1, False),
        ((16, 32, 8, 8), (64, 32, 3, 3), 1, 1, False),
    ],
)
def test_what_it_computes(shape, weight, stride, padding, whether):
    assert winograd.fits(torch.empty(shape), torch.empty(weight), stride, padding) == whether


def test_a_layer_takes_it_where_it_is_compiled(monkeypatch):
    taken = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *args: taken.append(1) or convolve(*args))
    torch.manual_seed(1)
    layer = BinaryConv2d(64, 64, 3, padding=1)
    x = torch.randn(32, 64, 4, 8).sign()
    expected = layer(x)
    assert not taken
    found = torch.compile(layer, backend="aot_eager")(x)
    assert taken and torch.allclose(found, expected, rtol=0, atol=1e-3)
    assert found.grad_fn is not None
    found.sum().backward()
    assert layer.weight.grad.abs().sum() > 0
