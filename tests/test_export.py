"""Exported integer networks against the torch networks that they come from."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from model import export as exporting
from model import golden, graph, layers
from model.checkpoint import save_parameters
from model.export import export
from model.networks import build

SIZE = 8


def images(count: int = 4, size: int = SIZE, channels: int = 1, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def randomize(network: nn.Module, seed: int) -> nn.Module:
    """Statistics and parameters as after training: all different, scales of both signs."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
                module.weight.uniform_(0.5, 1.5)
                module.weight.mul_(torch.where(torch.rand_like(module.weight) < 0.3, -1.0, 1.0))
                module.bias.normal_(0, 0.5)
            elif isinstance(module, layers.RPReLU | layers.RSign):
                for parameter in module.parameters():
                    parameter.normal_(0, 0.3)
    return network


class Chain(nn.Module):
    """Layers one after the other, then a global pool and a classifier."""

    image = (SIZE, SIZE, 1)

    def __init__(self, *chain: nn.Module, channels: int):
        super().__init__()
        self.chain = nn.Sequential(*chain)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.scores = layers.QuantLinear(channels, 3, weight_bits=8)

    def forward(self, x):
        return self.scores(self.pool(self.chain(x)).flatten(1))


def numbers(network: graph.Network, tensors: dict, name: str) -> np.ndarray:
    x = tensors[name]
    return 2 * x - 1 if network.types[name].element.is_binary else x


def torch_tensors(network: nn.Module, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer's result by its operation name, channels last."""
    results = {}
    for name, module in network.named_modules():

        def keep(module, arguments, result, name=name):
            if isinstance(result, torch.Tensor) and result.dim() == 4:
                results[name.replace(".", "_")] = result.permute(0, 2, 3, 1).numpy()

        module.register_forward_hook(keep)
    with torch.no_grad():
        network.eval()(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    return results


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("weights", ["binary", 4, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
def test_convolution_batch_norm_and_quantiser_are_exact(weights, depthwise, kernel, stride, seed):
    where = {"stride": stride, "padding": (kernel - 1) // 2, "depthwise": depthwise}
    if weights == "binary":
        conv = layers.BinaryConv2d(6, 6, kernel, **where)
    else:
        conv = layers.QuantConv2d(6, 6, kernel, weight_bits=weights, **where)
    network = Chain(
        layers.Pixels(),
        layers.QuantConv2d(1, 6, 3, padding=1, weight_bits=8),
        nn.BatchNorm2d(6),
        layers.QuantReLU(4),
        conv,
        nn.BatchNorm2d(6),
        layers.RSign(6) if seed % 2 else layers.QuantReLU(3, step=0.4),
        channels=6,
    )
    randomize(network, seed)
    exported = export(network, "chain")
    pixels = images(seed=seed)
    ours = golden.run(exported, pixels, keep="all")
    theirs = torch_tensors(network, pixels)
    step = float(network.chain[3].step.detach())
    assert (ours["chain_3"] == np.rint(theirs["chain_3"] / step)).all()
    last = 1.0 if seed % 2 else float(network.chain[6].step.detach())
    assert (numbers(exported, ours, "chain_6") == np.rint(theirs["chain_6"] / last)).all()
    assert exported.operation("chain_4").stride == stride
    assert exported.operation("chain_4").depthwise == depthwise


@pytest.mark.parametrize("seed", range(3))
def test_binary_convolution_pads_a_binary_map_with_zero(seed):
    network = Chain(
        layers.Pixels(),
        layers.QuantConv2d(1, 4, 1, weight_bits=8),
        nn.BatchNorm2d(4),
        layers.Sign(),
        layers.BinaryConv2d(4, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        layers.Sign(),
        nn.MaxPool2d(2),
        channels=5,
    )
    randomize(network, seed)
    exported = export(network, "chain")
    ours = golden.run(exported, images(), keep="all")
    theirs = torch_tensors(network, images())
    assert (numbers(exported, ours, "chain_7") == theirs["chain_7"]).all()
    assert str(exported.types["chain_7"]) == f"{SIZE // 2}x{SIZE // 2}x5 binary"


class Block(nn.Module):
    """A binary convolution with a shortcut around it."""

    image = (SIZE, SIZE, 1)

    def __init__(self):
        super().__init__()
        self.pixels = layers.Pixels()
        self.stem = layers.QuantConv2d(1, 4, 1, weight_bits=8)
        self.stem_bn = nn.BatchNorm2d(4)
        self.sign = layers.RSign(4)
        self.conv = layers.BinaryConv2d(4, 4, 3, padding=1)
        self.conv_bn = nn.BatchNorm2d(4)
        self.add = layers.Residual(4)
        self.act = layers.RPReLU(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.scores = layers.QuantLinear(4, 3, weight_bits=4)

    def forward(self, x):
        x = self.stem_bn(self.stem(self.pixels(x)))
        x = self.add(self.conv_bn(self.conv(self.sign(x))), x)
        return self.scores(self.pool(self.act(x)).flatten(1))


def powers_of_two(seed: int) -> Block:
    """A block in which every number is a small multiple of a power of two: nothing is rounded."""
    network = randomize(Block(), seed)
    with torch.no_grad():
        network.stem.weight.copy_(torch.tensor([127.0, -127, 127, 127]).reshape(4, 1, 1, 1) / 128)
        network.conv.weight.sign_().mul_(0.5)
        for bn in (network.stem_bn, network.conv_bn):
            bn.eps = 0.0
            bn.running_var.fill_(1.0)
            bn.running_mean.zero_()
            bn.bias.copy_(torch.tensor([0.5, -0.25, 0.0, 1.0]))
        network.stem_bn.weight.copy_(torch.tensor([2.0, 1.0, -1.0, 4.0]))
        network.conv_bn.weight.copy_(torch.tensor([0.5, -1.0, 1.0, -0.5]))
        network.act.slope.copy_(torch.tensor([0.25, 0.5, -0.5, 0.0]))
        network.act.shift.copy_(torch.tensor([0.0, 1.0, -1.0, 0.5]))
        network.act.lift.copy_(torch.tensor([0.0, 0.5, -1.0, 2.0]))
        network.sign.shift.copy_(torch.tensor([0.5, -0.25, 0.0, 1.0]))
        network.add.limit.fill_(6.0)
        network.act.limit.fill_(16.0)
    return network


@pytest.mark.parametrize("seed", range(3))
def test_shortcut_joins_the_accumulator_directly_with_negative_scales_in_the_weights(seed):
    network = powers_of_two(seed)
    exported = export(network, "block")
    ours, theirs = (
        golden.run(exported, images(), keep="all"),
        torch_tensors(network, images()),
    )
    add = exported.operation("add")
    assert add.inputs == ("conv", "add_shortcut") and add.shifts[0] > 0
    assert exported.consumers("stem") == ["sign", "add_shortcut"]

    # Weights of the channels with a negative batch-norm scale are turned, those of the others not.
    signs = network.conv.weight.detach().sign().permute(0, 2, 3, 1).numpy()
    turn = np.array([1, -1, 1, -1]).reshape(4, 1, 1, 1)
    assert (exported.operation("conv").weights == signs * turn).all()

    unit = np.array([0.25, 0.5, 0.5, 0.25]) / 2.0 ** add.shifts[0]
    offset = theirs["add"] - unit * ours["add"]
    # The accumulator and the shortcut are multiples of 1/256, coarser than the units: the sum is
    # exact but for the shortcut's rounding to its unit.
    assert np.abs(offset).max() <= unit.max() / 2
    assert (numbers(exported, ours, "sign") == theirs["sign"]).all()


@pytest.mark.parametrize("seed", range(3))
def test_rprelu_after_the_shortcut_is_within_its_roundings(seed):
    network = randomize(Block(), seed)
    network.add.limit.fill_(4.0)
    network.act.limit.fill_(8.0)
    exported = export(network, "block")
    ours, theirs = (
        golden.run(exported, images(), keep="all"),
        torch_tensors(network, images()),
    )
    step = 8.0 * 1.125 / 2047
    assert np.abs(theirs["act"]).max() < 8
    assert np.abs(theirs["act"] - step * ours["act"]).max() < 0.02


@pytest.mark.parametrize("scale", [0.0, 1e-3])
def test_channels_that_differ_too_much_take_an_affine_on_both_sides(scale):
    network = randomize(Block(), 1)
    with torch.no_grad():
        network.conv_bn.weight[2] = scale
    network.add.limit.fill_(4.0)
    network.act.limit.fill_(8.0)
    exported = export(network, "block")
    assert exported.operation("add").inputs == ("add_branch", "add_shortcut")
    assert exported.operation("add").shifts == (0, 0)
    ours, theirs = (
        golden.run(exported, images(), keep="all"),
        torch_tensors(network, images()),
    )
    assert np.abs(theirs["act"] - 8.0 * 1.125 / 2047 * ours["act"]).max() < 0.05


def test_pools_and_concatenation_keep_the_mean():
    class Pools(Block):
        def __init__(self):
            super().__init__()
            self.mean, self.most = nn.AvgPool2d(2), nn.MaxPool2d(2)
            self.concat = layers.Concat()
            self.scores = layers.QuantLinear(8, 3, weight_bits=8)

        def forward(self, x):
            x = self.act(self.stem_bn(self.stem(self.pixels(x))))
            x = self.concat(self.mean(x), self.most(x))
            return self.scores(self.pool(x).flatten(1))

    network = randomize(Pools(), 2)
    network.act.limit.fill_(8.0)
    exported = export(network, "pools")
    ours, theirs = (
        golden.run(exported, images(), keep="all"),
        torch_tensors(network, images()),
    )
    step = 8.0 * 1.125 / 2047
    assert np.abs(theirs["concat"] - step * ours["concat"]).max() < 3 * step
    assert exported.operation("pool").shift == 4  # 16 pixels
    with torch.no_grad():
        scores = network(torch.from_numpy(images().transpose(0, 3, 1, 2).copy())).numpy()
    unit = (network.scores.weight.abs().max() / 127).item() * step
    ours_scores = golden.scores(exported, images()) * unit
    assert np.abs(ours_scores - scores).max() < 0.05


def test_whole_network_has_the_layers_names_and_agrees_with_torch():
    network = build("hybnn-mini")
    network.train()
    pixels = torch.from_numpy(images(64, 28, seed=7).transpose(0, 3, 1, 2).copy())
    torch.manual_seed(3)
    with torch.no_grad():
        for _ in range(60):
            network(pixels)  # lets batch-norm and the limits settle
    exported = export(network, "hybnn-mini")
    assert exported.outputs == ("scores", "label")
    kinds = {op.name: type(op).__name__ for op in exported.order}
    names = {name for name, _ in network.named_modules() if name and "_bn" not in name}
    assert names - {"pixels"} <= set(kinds)
    assert set(kinds) - names == {"image", "a_add_shortcut", "c_add_shortcut", "label"}

    ours = golden.run(exported, images(64, 28, seed=7), keep="all")
    theirs = torch_tensors(network, images(64, 28, seed=7))
    for name in ("a_sign", "a_dw_sign"):
        # All up to the first shortcut is exact.
        assert (2 * ours[name] - 1 == theirs[name]).all()
    with torch.no_grad():
        scores = network.eval()(pixels).numpy()
    agree = (ours["label"].reshape(-1) == scores.argmax(1)).mean()
    assert agree >= 0.9


def test_export_is_repeatable_and_survives_its_files(tmp_path):
    network = randomize(build("hybnn-mini"), 1)
    first, second = export(network, "hybnn-mini"), export(network, "hybnn-mini")
    assert first.digest() == second.digest()
    graph.save(first, tmp_path)
    assert graph.load(tmp_path).digest() == first.digest()


def chain(*middle: nn.Module) -> Chain:
    stem = layers.Pixels(), layers.QuantConv2d(1, 4, 1, weight_bits=8)
    return randomize(Chain(*stem, *middle, channels=4), 1)


def falling(network: Chain) -> Chain:
    network.chain[2].weight.data[1] = -1.0
    return network


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (lambda: chain(nn.ReLU()), "layer chain.2: ReLU has no integer meaning here"),
        (
            lambda: chain(nn.BatchNorm2d(4), layers.BinaryConv2d(4, 4, 3)),
            "layer chain.3: needs a sign or quantiser before it: its input has an offset",
        ),
        (
            lambda: chain(layers.BinaryConv2d(4, 4, 3)),
            "layer chain.2: needs an input with one scale for all channels",
        ),
        (
            lambda: chain(layers.Sign(), nn.MaxPool2d(3, stride=2)),
            "layer chain.3: squares that overlap, or padding, are not supported",
        ),
        (
            lambda: falling(chain(nn.BatchNorm2d(4), nn.MaxPool2d(2))),
            "layer chain.3: needs an input with positive scales",
        ),
        (
            lambda: chain(layers.Sign(), nn.AvgPool2d((2, 4))),
            "layer chain.3: kernel must be the same in both directions",
        ),
        (
            lambda: chain(layers.Sign(), nn.AdaptiveAvgPool2d(2)),
            "layer chain.3: output size must be 1",
        ),
    ],
)
def test_layer_without_an_integer_meaning_is_named(network, sentence):
    with pytest.raises(graph.NetworkError, match=sentence) as caught:
        export(network(), "chain")
    assert "\n" not in str(caught.value)


def test_plain_additions_and_repeated_layers_are_refused():
    class Plain(Block):
        def forward(self, x):
            x = self.stem_bn(self.stem(self.pixels(x)))
            return self.scores(self.pool(self.act(x + x)).flatten(1))

    with pytest.raises(graph.NetworkError, match="with the Residual layer"):
        export(Plain(), "plain")

    class Twice(Block):
        def forward(self, x):
            x = self.act(self.act(self.stem_bn(self.stem(self.pixels(x)))))
            return self.scores(self.pool(x).flatten(1))

    with pytest.raises(graph.NetworkError, match="layer act: is used twice"):
        export(Twice(), "twice")


def test_command_exports_a_checkpoint_with_a_report(tmp_path, capsys):
    network = randomize(build("hybnn-mini"), 1)
    save_parameters(network, tmp_path / "float.npz")
    out = tmp_path / "out"
    arguments = ["--checkpoint", str(tmp_path / "float.npz"), "--out", str(out)]
    assert exporting.main(["hybnn-mini", *arguments]) == 0
    exported = graph.load(out)
    assert exported.digest() == export(network, "hybnn-mini").digest()
    assert json.loads((out / "export.json").read_text())["digest"] == exported.digest()
    assert "LabelSelect" in capsys.readouterr().out


def test_command_answers_bad_input_with_one_sentence(tmp_path):
    command = [sys.executable, "-m", "model.export", "hybnn-mini", "--out", str(tmp_path / "out")]
    result = subprocess.run(
        [*command, "--checkpoint", str(tmp_path / "none.pt")], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr == f"error: checkpoint '{tmp_path / 'none.pt'}' does not exist\n"
    assert not (tmp_path / "out").exists()
