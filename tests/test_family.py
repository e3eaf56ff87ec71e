"""The HyBNN family: its blocks against their definitions, its integer networks against PyTorch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from hw.folding import choose
from model import golden, graph, layers
from model.checkpoint import save_parameters
from model.export import export
from model.networks import build
from model.networks.backbone import Backbone, Shortcut
from model.networks.fourbit import FourBitBlock, FourBitNet
from model.networks.hybnn import HyBNN
from model.networks.reactnet import BaseBNN, BinaryUnit
from tests.test_accelerator import run
from tests.test_export import numbers, randomize, torch_tensors

# Threads that wait for each other take longer than the small networks here.
torch.set_num_threads(1)

SIZE = 8

SMALL = {"width": 4, "depth": (2, 1), "image": (SIZE, SIZE, 3)}

FAMILY = {
    "basebnn": lambda: BaseBNN(**SMALL),
    "fourbit": lambda: FourBitNet(**SMALL),
    "hybnn": lambda: HyBNN(blocks="431", **SMALL),
}


def images(count: int = 6, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def pixels(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.transpose(0, 3, 1, 2).copy())


def settled(network: Backbone, seed: int) -> Backbone:
    """All parameters different, then statistics and limits as images make them."""
    randomize(network, seed).train()
    with torch.no_grad():
        for batch in range(40):
            network(pixels(images(16, seed=100 + batch)))
    return network.eval()


def weights(network: torch.nn.Module) -> dict[int, int]:
    """Weights of convolutions and classifier, by their bits."""
    count: dict[int, int] = {}
    for module in network.modules():
        if isinstance(module, layers.BinaryConv2d):
            count[1] = count.get(1, 0) + module.weight.numel()
        elif isinstance(module, layers.QuantConv2d | layers.QuantLinear):
            count[module.weight_bits] = count.get(module.weight_bits, 0) + module.weight.numel()
    return count


def test_binary_unit_is_sign_convolution_norm_shortcut_rprelu():
    unit = randomize(BinaryUnit(4, 8, 1, 1), 3).eval()
    x = torch.randn(2, 4, 5, 5)
    signs = torch.where(x >= unit.sign.shift[:, None, None], 1.0, -1.0)
    alpha = unit.conv.weight.abs().mean((1, 2, 3), keepdim=True)
    branch = functional.conv2d(signs, torch.where(unit.conv.weight >= 0, alpha, -alpha))
    branch = unit.bn(branch) + torch.cat((x, x), 1)
    d = branch - unit.act.shift[:, None, None]
    expected = torch.where(d >= 0, d, unit.act.slope[:, None, None] * d)
    with torch.no_grad():
        torch.testing.assert_close(unit(x), expected + unit.act.lift[:, None, None])


@pytest.mark.parametrize("size", [7, 8])
def test_strides_of_depthwise_convolutions_skip_places(size):
    layer = layers.BinaryConv2d(6, 6, 3, stride=2, padding=1, depthwise=True)
    signs, scale = layers.binarize_weights(layer.weight)
    x = torch.randn(2, 6, size, size)
    expected = functional.conv2d(x, signs * scale, None, 2, 1, 1, 6)
    torch.testing.assert_close(layer(x), expected)


def test_shortcut_means_squares_and_doubles_channels():
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    short = Shortcut(2, 4, 2)(x)
    assert short[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert torch.equal(short[0, 2:], short[0, :2]) and short.shape == (1, 4, 2, 2)
    assert Shortcut(2, 2, 1)(x) is x


def test_parameters_of_basebnn_are_more_than_twice_those_of_fourbit_and_hybnn_has_fewest():
    bits = {}
    for name in ("basebnn", "fourbit", "hybnn"):
        count = weights(build(name))
        bits[name] = sum(width * number for width, number in count.items())
    assert 2.2 <= bits["basebnn"] / bits["fourbit"] <= 2.4
    assert bits["hybnn"] < 0.51 * bits["fourbit"]
    assert set(weights(build("hybnn"))) == {1, 4, 8}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FAMILY)
def test_integer_network_agrees_with_torch(name, seed):
    network = settled(FAMILY[name](), seed)
    exported = export(network, name)
    ours = golden.run(exported, images(100, seed=seed), keep="all")
    theirs = torch_tensors(network, images(100, seed=seed))
    with torch.no_grad():
        scores = network(pixels(images(100, seed=seed))).numpy()
    # Up to the first shortcut nothing is rounded.
    first = "blocks_0_spatial_sign" if name == "basebnn" else "blocks_0_dw_quant"
    step = 1.0
    if name != "basebnn":
        step = float(network.blocks[0].dw_quant.step.detach())
    assert (numbers(exported, ours, first) == np.rint(theirs[first] / step)).all()
    assert (ours["label"].reshape(-1) == scores.argmax(1)).mean() >= 0.98
    for op in exported.order:
        if isinstance(op, graph.Threshold) and op.element.is_binary:
            assert (numbers(exported, ours, op.name) == theirs[op.name]).mean() >= 0.995


@pytest.mark.parametrize("blocks", ["41", "34"])
def test_gateware_of_a_small_hybrid_gives_golden_scores(blocks):
    network = HyBNN(blocks=blocks, width=2, depth=(1, 1), image=(SIZE, SIZE, 3), classes=4)
    exported = export(settled(network, 1), "hybnn")
    folding = choose(exported, target_cycles=256)
    accelerator, _ = run(exported, folding, images(3))
    assert accelerator.interval <= 256


def test_first_step_computes_with_the_weights_and_the_second_with_their_signs():
    network = settled(FAMILY["hybnn"](), 1)
    x = pixels(images())
    with torch.no_grad():
        signs = network(x)
        network.binarize(False)
        assert not torch.equal(network(x), signs)
        with pytest.raises(graph.NetworkError, match="its weights are not binary yet"):
            export(network, "hybnn")
        for module in network.modules():
            if isinstance(module, layers.BinaryConv2d):
                values, scale = layers.binarize_weights(module.weight)
                module.weight.copy_(values * scale)
        torch.testing.assert_close(network(x), signs)


@pytest.mark.parametrize("name", FAMILY)
def test_compact_weights_make_the_same_integers_and_small_files(name, tmp_path):
    network = settled(FAMILY[name](), 1)
    save_parameters(network, tmp_path / "before.npz")
    x = pixels(images(50))
    if name == "basebnn":
        # Its scales change the first time: tests/test_fusion.py.
        network.compact()
    with torch.no_grad():
        before = network(x)
        network.compact()
        torch.testing.assert_close(network(x), before)
    first = export(network, name)
    network.compact()
    assert export(network, name).digest() == first.digest()
    save_parameters(network, tmp_path / "after.npz")
    sizes = [(tmp_path / f"{when}.npz").stat().st_size for when in ("before", "after")]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize(
    ("gradient", "inside", "outside"), [("quadratic", 1, 0), ("clip", 1, 0), ("tanh", 0.84, 0.003)]
)
def test_straight_through_gradients_reach_every_sign(gradient, inside, outside):
    network = FAMILY["hybnn"]()
    network.straight_through(gradient)
    signs = [m for m in network.modules() if isinstance(m, layers.Sign)]
    assert len(signs) == 4
    for sign in signs:
        x = torch.tensor([0.5, -0.5, 2.0, -2.0]).reshape(4, 1, 1, 1).repeat(1, 8, 1, 1)
        x = x[:, : len(sign.shift)].requires_grad_()
        sign(x).sum().backward()
        slopes = x.grad[:, 0].flatten()
        assert slopes[0] == slopes[1] and slopes[2] == slopes[3]
        assert [round(slopes[index].item(), 3) for index in (0, 2)] == [inside, outside]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: HyBNN(blocks="4x1", depth=(2, 1)), "blocks must consist of 4, 5, 1, 3, not 'x'"),
        (lambda: HyBNN(blocks="41", depth=(2, 1)), "a kind for each of the 3 blocks, not 2"),
        (lambda: BaseBNN(width=0), "width and depth must be positive, not 0"),
        (lambda: BaseBNN(depth=()), "width and depth must be positive"),
        (lambda: BaseBNN(depth=(1, 1), image=(31, 32, 3)), "must be multiples of 2, not (31, 32)"),
        (lambda: FourBitBlock(4, 12, 1), "4 must not become 12"),
        (lambda: FourBitBlock(4, 8, 3), "stride must be 1 or 2, not 3"),
    ],
)
def test_arguments_that_make_no_network_are_named(make, sentence):
    with pytest.raises(ValueError) as caught:
        make()
    assert sentence in str(caught.value)
