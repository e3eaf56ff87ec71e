"""The torch layers compute what they say, and their gradients are those stated."""

import pytest
import torch

from model.fractional import _Thirds
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
    binarize,
    binarize_weights,
    quantize_weights,
    round_half_up,
)
from model.networks import build


def test_zero_counts_as_plus_one():
    x = torch.tensor([-1.5, -0.0, 0.0, 1e-30, -1e-30])
    assert binarize(x).tolist() == [-1, 1, 1, 1, -1]
    assert Sign()(x).tolist() == [-1, 1, 1, 1, -1]


def test_gradient_of_the_sign_is_a_tent():
    x = torch.tensor([-1.5, -0.5, 0.0, 0.25, 1.0], requires_grad=True)
    (binarize(x) * torch.tensor([1.0, 1.0, 1.0, 2.0, 1.0])).sum().backward()
    assert x.grad.tolist() == [0, 1, 2, 3, 0]


def test_halves_round_up_and_the_gradient_passes():
    x = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5, 2.4], requires_grad=True)
    y = round_half_up(x)
    assert y.tolist() == [-1, 0, 1, 2, 3, 2]
    y.sum().backward()
    assert x.grad.tolist() == [1] * 6


def test_rsign_compares_with_its_shift():
    layer = RSign(2)
    layer.shift.data = torch.tensor([0.5, -0.5])
    x = torch.tensor([0.5, 0.4]).reshape(1, 1, 1, 2).expand(1, 2, 1, 2)
    assert layer(x).flatten().tolist() == [1, -1, 1, 1]


def test_rprelu_has_its_kink_where_it_says():
    layer = RPReLU(1).eval()
    layer.shift.data, layer.lift.data = torch.tensor([1.0]), torch.tensor([0.5])
    layer.slope.data = torch.tensor([0.25])
    x = torch.tensor([-3.0, 1.0, 2.0]).reshape(1, 1, 1, 3)
    assert layer(x).flatten().tolist() == [-0.5, 0.5, 1.5]


def test_slopes_count_as_multiples_and_learn_as_they_are():
    layer = RPReLU(3, slope_fraction=5)
    layer.slope.data[:] = torch.tensor([0.26, 0.27, -0.015])
    layer(torch.full((1, 3, 1, 1), -32.0)).sum().backward()
    assert layer.effective_slope().tolist() == [8 / 32, 9 / 32, 0.0]
    assert layer.slope.grad.tolist() == [-32.0] * 3
    assert RPReLU(3).slope_fraction is None


def test_limits_follow_training_and_rest_in_evaluation():
    add, act = Residual(2), RPReLU(2)
    shortcut = torch.tensor([[2.0, -4.0]]).reshape(1, 2, 1, 1)
    act(add(torch.zeros_like(shortcut), shortcut))
    assert add.limit.tolist() == [2, 4]
    assert act.limit.item() == 2.0  # -4 times the slope of 1/4 is -1
    add(shortcut, 2 * shortcut)
    assert torch.allclose(add.limit, torch.tensor([2.04, 4.08]))
    before = add.limit.clone(), act.limit.clone()
    act.eval()(add.eval()(shortcut, 100 * shortcut))
    assert torch.equal(add.limit, before[0]) and torch.equal(act.limit, before[1])


def test_quantiser_rounds_halves_up_and_clamps():
    layer = QuantReLU(2, step=0.5)
    x = torch.tensor([-1.0, 0.24, 0.25, 0.74, 0.75, 1.25, 9.0])
    assert layer(x[None]).flatten().tolist() == [0, 0, 0.5, 0.5, 1.0, 1.5, 1.5]


def test_quantisers_gradient_is_that_of_lsq():
    layer = QuantReLU(2, step=0.5)
    x = torch.tensor([[-1.0, 0.3, 9.0]], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.tolist() == [[0, 1, 0]]
    # Inside: level - x/step = 1 - 0.6; beyond: the highest level; times (elements * levels)**-1/2.
    assert layer.step.grad.item() == pytest.approx((0.4 + 3) / 3)


@pytest.mark.parametrize("function", [binarize, round_half_up, QuantReLU(2), _Thirds.apply])
def test_compiled_functions_have_the_same_gradients(function):
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))

    def gradient(of) -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        of(leaf).backward()
        return leaf.grad

    def loss(leaf: torch.Tensor) -> torch.Tensor:
        return (function(2 * leaf) * x).sum()

    plain = gradient(loss)
    assert plain.count_nonzero() > 10
    assert torch.equal(gradient(torch.compile(loss, backend="aot_eager")), plain)


def test_binary_weights_are_signs_times_the_mean_magnitude():
    signs, scale = binarize_weights(torch.tensor([0.5, -0.25, 0.0, 0.25]).reshape(2, 1, 1, 2))
    assert signs.flatten().tolist() == [1, -1, 1, 1]
    assert scale.flatten().tolist() == [0.375, 0.125]


def test_gradient_of_binary_weights_stops_beyond_one():
    weight = torch.tensor([0.5, -2.0]).reshape(1, 1, 1, 2).requires_grad_()
    signs, _ = binarize_weights(weight)
    signs.sum().backward()
    assert weight.grad.flatten().tolist() == [1, 0]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantised_weights_are_integers_that_use_their_whole_range(bits):
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(bits))
    integers, step = quantize_weights(weight, bits)
    most = 2 ** (bits - 1) - 1
    assert torch.equal(integers, integers.floor())
    assert integers.abs().amax(dim=(1, 2, 3)).tolist() == [most] * 5
    assert ((integers * step - weight).abs() <= step * 0.5001).all()
    integers, step = quantize_weights(weight, bits, per_channel=False)
    assert step.dim() == 0 and integers.abs().amax() == most


def test_zero_padding_contributes_nothing_to_a_binary_convolution():
    layer = BinaryConv2d(3, 2, 3, padding=1)
    x = binarize(torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)))
    signs, scale = binarize_weights(layer.weight)
    # The top left output sees the lower right 2x2 taps alone.
    corner = (x[0, None, :, :2, :2] * signs[:, :, 1:, 1:]).sum(dim=(1, 2, 3)) * scale.flatten()
    assert torch.allclose(layer(x)[0, :, 0, 0], corner, atol=1e-6)


def test_depthwise_channels_do_not_mix():
    for layer in (
        BinaryConv2d(4, 4, 3, padding=1, depthwise=True),
        QuantConv2d(4, 4, 3, padding=1, depthwise=True, weight_bits=4),
    ):
        x = torch.zeros(1, 4, 3, 3)
        x[0, 2] = 1
        assert layer(x)[0].abs().sum(dim=(1, 2)).nonzero().flatten().tolist() == [2]
    with pytest.raises(ValueError, match="as many outputs as inputs, not 8 and 4"):
        BinaryConv2d(4, 8, 3, depthwise=True)


def test_remaining_layers():
    assert Pixels()(torch.tensor([255], dtype=torch.uint8)).item() == 255 / 256
    a, b = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, 1)
    assert Concat()(a, b).flatten().tolist() == [0, 0, 1]
    layer = QuantLinear(2, 3, weight_bits=8)
    layer.weight.data = torch.tensor([[127.0, 0.4], [0.6, 0], [0, 0]])
    layer.bias.data = torch.tensor([0.0, 0, 5])
    assert layer(torch.ones(1, 2)).tolist() == [[127, 1, 5]]


def test_unknown_network_is_refused():
    with pytest.raises(ValueError, match="no network 'nonsense' .known: .*hybnn-mini"):
        build("nonsense")
