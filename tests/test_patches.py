"""Convolutions of 3x3 as one matrix product, against those of PyTorch."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import patches
from model.layers import BinaryConv2d
from tests.convolutions import assert_convolves

torch.set_num_threads(1)

SIZES = st.integers(1, 6)


@settings(deadline=None, max_examples=40)
@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.integers(1, 3), st.integers(0, 99))
def test_results_and_gradients_are_those_of_a_convolution(
    count, channels, out_channels, height, width, stride, seed
):
    torch.manual_seed(seed)
    drawn = partial(torch.randn, dtype=torch.float64)
    x, weight = drawn(count, channels, height, width), drawn(out_channels, channels, 3, 3)
    convolve = partial(patches.convolve, stride=stride)
    assert_convolves(convolve, x, weight, drawn, stride, atol=1e-11)


@pytest.mark.parametrize(
    ("shape", "weight", "stride", "padding", "whether"),
    [
        ((2, 256, 4, 4), (256, 256, 3, 3), 1, 1, True),
        ((2, 256, 8, 8), (256, 256, 3, 3), 2, 1, True),
        ((2, 256, 8, 8), (256, 256, 3, 3), 1, 1, False),
        ((2, 256, 4, 4), (256, 256, 1, 1), 1, 0, False),
        ((2, 256, 6, 6), (256, 256, 3, 3), 1, 0, False),
        ((2, 256, 4, 4), (256, 1, 3, 3), 1, 1, False),
        ((2, 128, 4, 4), (256, 128, 3, 3), 1, 1, False),
    ],
)
def test_what_it_computes(shape, weight, stride, padding, whether):
    assert patches.fits(torch.empty(shape), torch.empty(weight), stride, padding) == whether


def test_a_layer_takes_it_where_it_is_compiled_in_bfloat16(monkeypatch):
    taken = []
    convolve = patches.convolve
    monkeypatch.setattr(patches, "convolve", lambda *args: taken.append(1) or convolve(*args))
    torch.manual_seed(1)
    layer = BinaryConv2d(256, 256, 3, stride=2, padding=1)
    x = torch.randn(3, 256, 6, 8).sign()
    compiled = torch.compile(layer, backend="aot_eager")
    expected = compiled(x)
    assert not taken
    with torch.autocast("cpu", torch.bfloat16):
        found = compiled(x)
    assert taken and found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected, rtol=2e-2, atol=0.1)
    found.float().sum().backward()
    assert layer.weight.grad.abs().sum() > 0
