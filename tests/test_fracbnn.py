"""FracBNN: its layers against their definitions, and its integer network against PyTorch."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from model import evaluate as evaluation
from model import fractional, fuse, golden, graph
from model.checkpoint import save_parameters
from model.cifar10 import FOLDER
from model.export import export
from model.fractional import ChannelAffine, FractionalConv2d, RPReLUResidual
from model.networks import build
from model.networks.fracbnn import FracBNN
from tests.test_data import batches
from tests.test_export import torch_tensors


def images(count: int = 2, size: int = 8, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return np.concatenate([noise, np.zeros_like(noise[:1]), np.full_like(noise[:1], 255)])


def small(**arguments) -> FracBNN:
    return FracBNN(**{"width": 4, "blocks": 2, "levels": 8, "size": 8, "folded": True} | arguments)


def randomize(network: FracBNN, seed: int, *, dyadic: bool = False) -> FracBNN:
    """All parameters different, norms' scales of both signs; with ``dyadic``, few bits each."""
    torch.manual_seed(seed)

    def grid(values: torch.Tensor, step: float) -> torch.Tensor:
        return (values / step).round() * step if dyadic else values

    def signs(values: torch.Tensor) -> torch.Tensor:
        return torch.where(torch.rand_like(values) < 0.3, -1.0, 1.0)

    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, ChannelAffine):
                size = torch.empty_like(module.scale)
                if "post" in name:
                    # 1 or -1: units of a residual that stays within what float32 holds exactly.
                    size = size.fill_(1.0) if dyadic else size.uniform_(0.5, 1.5)
                elif dyadic:
                    # A multiple of 3, as the convolution's result counts thirds.
                    size = 3 / 32 * torch.randint_like(size, 1, 3)
                else:
                    size = size.uniform_(0.02, 0.2)
                module.scale.copy_(size * signs(size))
                if name == "bn1":
                    module.scale.copy_(signs(size) / 32)
                module.bias.copy_(grid(module.bias.normal_(0, 0.4), 1 / 32))
            elif isinstance(module, FractionalConv2d):
                module.threshold.normal_(1, 3)
            elif isinstance(module, RPReLUResidual):
                module.rprelu.shift.copy_(grid(torch.randn_like(module.rprelu.shift), 1 / 32))
                module.rprelu.lift.copy_(grid(torch.randn_like(module.rprelu.lift), 1 / 32))
                module.rprelu.slope.copy_(grid(torch.randn_like(module.rprelu.slope), 1 / 2))
    return network.eval()


def test_thermometer_counts_as_published():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    result = fractional.Thermometer(32)(pixels)
    assert result.shape == (1, 96, 16, 16)
    counts = (result.reshape(3, 32, 256) > 0).sum(1)
    # numpy's round, too, takes halves to the even number.
    assert (counts == torch.from_numpy(np.round(np.arange(256) / 8)).long()).all()
    assert (result.reshape(3, 32, 256).diff(dim=1) <= 0).all()


def test_quantizer_has_four_levels_and_a_gradient_inside_them():
    x = torch.tensor([-9, -0.67, -0.66, -1e-6, 0, 0.66, 0.67, 1.5], requires_grad=True)
    result = fractional.Quantizer2()(x)
    assert result.tolist() == [-3, -3, -1, -1, 1, 1, 3, 3]
    result.sum().backward()
    assert x.grad.tolist() == [0, 3, 3, 3, 3, 3, 3, 0]


@pytest.mark.parametrize("stride", [1, 2])
def test_fractional_convolution_follows_its_definition(stride):
    torch.manual_seed(4)
    conv = FractionalConv2d(6, 5, stride=stride)
    nn.init.normal_(conv.threshold, 0, 4)
    thirds = 2 * torch.randint(0, 4, (3, 6, 8, 8)).float() - 3
    signs = torch.where(conv.weight >= 0, 1.0, -1.0)
    high = torch.where(thirds > 0, 1.0, -1.0)
    m = functional.conv2d(high, signs, None, stride, 1)
    both = functional.conv2d(thirds, signs, None, stride, 1)
    is_open = 2 / 3 * m > conv.threshold[:, None, None]
    assert 0.1 < is_open.float().mean() < 0.9
    with torch.no_grad():
        result = conv(thirds)
    assert torch.equal(result, torch.where(is_open, both, 2 * m) / 3)


def test_fractional_convolution_learns_weights_thresholds_and_input():
    torch.manual_seed(4)
    conv = FractionalConv2d(4, 3)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    conv(fractional.Quantizer2()(x)).square().sum().backward()
    for tensor in (x, conv.weight, conv.threshold):
        assert torch.isfinite(tensor.grad).all() and tensor.grad.any()
    assert not x.grad[x.detach().abs() > 1].any()


def test_gate_thresholds_are_the_first_sums_past_them():
    values = np.array([-1.0, 0.0, 2 / 3, 2.0, 3.0, -100.0, 100.0])
    assert fuse.gate_thresholds(values, 36).tolist() == [-1, 1, 1, 4, 5, -36, 37]
    for value in values.tolist():
        m = fuse.gate_thresholds(np.array([value]), 1000).item()
        assert Fraction(2, 3) * m > Fraction(value) >= Fraction(2, 3) * (m - 1)


@pytest.mark.parametrize("seed", range(4))
def test_integer_network_of_dyadic_parameters_decides_as_torch(seed):
    network = randomize(small(), seed, dyadic=True)
    # Nothing is to be rounded: neither means nor what a residual cannot count.
    network.layer2, network.layer3 = nn.Sequential(), nn.Sequential()
    network.scores = nn.Linear(4, 10)
    exported = export(network, "small")
    assert [op.shift for op in exported.order if isinstance(op, graph.RPReLU)]
    ours = golden.run(exported, images(), keep="all")
    theirs = torch_tensors(network, images())
    for block in range(2):
        for stage in (1, 2):
            quantised = theirs[f"layer1_{block}_quant{stage}"]
            assert (2 * ours[f"layer1_{block}_quant{stage}"] - 3 == quantised).all()
            assert len(np.unique(quantised)) == 4
            convolved = np.rint(3 * theirs[f"layer1_{block}_conv{stage}"])
            assert (ours[f"layer1_{block}_conv{stage}"] == convolved).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_stage_is_as_near_to_torch_as_its_units_allow(seed):
    network = randomize(small(blocks=1), seed)
    exported = export(network, "small")
    ours = golden.run(exported, images(), keep="all")
    theirs = torch_tensors(network, images())
    # What comes before the first rounding is the same.
    assert (2 * ours["layer1_0_quant1"] - 3 == theirs["layer1_0_quant1"]).all()
    assert (ours["layer1_0_conv1"] == np.rint(3 * theirs["layer1_0_conv1"])).all()
    add = exported.operation("layer1_0_add1")
    scale, bias = (
        getattr(network.bn1, what).detach().double().numpy() for what in ("scale", "bias")
    )
    unit = scale / 2.0 ** add.shifts[1]
    assert np.abs(unit).max() <= 2.0**-6
    error = theirs["layer1_0_add1"] - (ours["layer1_0_add1"] * unit + bias)
    # The multiplier's error, half a step for each of 108 thirds at most, and the rounding's.
    shift = exported.operation("layer1_0_add1_rprelu").shift
    assert (np.abs(error) <= np.abs(unit) * (0.5 + 109 * 2.0**-shift) + 1e-5).all()


def worst_case(network: graph.Network) -> None:
    """Nothing saturates: elements hold all that any sums of the convolutions could lead to."""
    low, high = {}, {}
    for op in network.order:
        name, source = op.name, op.inputs[0] if op.inputs else None
        if isinstance(op, graph.Conv):
            n = op.weights[0].size
            low[name], high[name] = np.full(len(op.weights), -n), np.full(len(op.weights), n)
        elif isinstance(op, graph.FractionalConv):
            n = op.weights[0].size
            m, second = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1))
            sums = [np.where(m >= gate, 2 * m + second, 2 * m) for gate in op.gate.tolist()]
            low[name] = np.array([s.min() for s in sums])
            high[name] = np.array([s.max() for s in sums])
        elif isinstance(op, graph.RPReLU | graph.Affine):
            scale, bias = np.atleast_2d(op.scale, op.bias)
            ends = []
            for c in range(len(low[source])):
                x = np.arange(low[source][c], high[source][c] + 1)
                segment = (x >= op.threshold[c]) * 1 if isinstance(op, graph.RPReLU) else 0 * x
                y = x * scale[segment, c] + bias[segment, c] + ((1 << op.shift) >> 1)
                ends.append([(y >> op.shift).min(), (y >> op.shift).max()])
            low[name], high[name] = np.array(ends).T
        elif isinstance(op, graph.Add):
            a, b = op.inputs
            low[name] = (low[a] << op.shifts[0]) + (low[b] << op.shifts[1])
            high[name] = (high[a] << op.shifts[0]) + (high[b] << op.shifts[1])
        elif isinstance(op, graph.AvgPool):
            assert (op.kernel, op.shift) == (2, 2)
            low[name], high[name] = low[source], high[source]
        elif isinstance(op, graph.Concat):
            low[name], high[name] = (
                np.concatenate([ends[i] for i in op.inputs]) for ends in (low, high)
            )
        if name in low:
            element = network.types[name].element
            assert element.lo <= low[name].min() and high[name].max() <= element.hi
            if isinstance(op, graph.RPReLU | graph.Add):
                # Nor is a bit wasted.
                assert element == graph.int_for(int(low[name].min()), int(high[name].max()))


@pytest.mark.parametrize("seed", range(3))
def test_no_image_can_saturate_a_residual(seed):
    exported = export(randomize(small(), seed), "small")
    worst_case(exported)
    kinds = [type(op).__name__ for op in exported.order]
    # One multiplication an output element of a stage, and none between the stages.
    assert kinds.count("RPReLU") == kinds.count("Add") == kinds.count("FractionalConv") == 12
    assert "Affine" not in kinds
    saturated = golden.run(exported, images(8), keep="all")
    for op in exported.order:
        if isinstance(op, graph.RPReLU | graph.Add):
            x = saturated[op.name]
            assert op.element.lo < x.min() and x.max() < op.element.hi


@pytest.mark.parametrize(
    ("which", "after"),
    [
        ("bn1", "layer1_0_add1"),
        ("layer1.0.post_bn1", "layer1_0_add2"),
        ("layer2.0.post_bn2", "layer2_1_add1"),
    ],
)
def test_a_scale_of_zero_cuts_the_channel_off(which, after):
    network = randomize(small(), 5)
    norm = network.get_submodule(which)
    with torch.no_grad():
        norm.scale[1] = 0.0
        norm.bias[1] = 0.7
    exported = export(network, "small")
    worst_case(exported)
    assert [op.name for op in exported.order if isinstance(op, graph.Affine)] == [
        f"{after}_shortcut"
    ]
    ours = golden.run(exported, images(), keep="all")
    # 0.7 is beyond 2/3, whatever the image.
    assert (ours[after.replace("add", "quant")][..., 1] == 3).all()
    assert (ours[f"{after}_shortcut"][..., 1] == 0).all()
    assert ours[f"{after}_shortcut"][..., 0].any()


def test_batch_norms_export_as_their_folded_form():
    network, folded = small(folded=False), small()
    torch.manual_seed(2)
    pixels = torch.from_numpy(images(16).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        for _ in range(3):
            network(pixels)
    network.eval()
    state = network.state_dict()
    target = folded.state_dict()
    for key in target:
        if key in state and not key.endswith(".bias"):
            target[key] = state[key]
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            scale, bias = fuse.batch_norm(
                *(
                    state[f"{name}.{what}"].double().numpy()
                    for what in ("weight", "bias", "running_mean", "running_var")
                ),
                module.eps,
            )
            folded.get_submodule(name).double()
            target[f"{name}.scale"] = torch.from_numpy(scale)
            target[f"{name}.bias"] = torch.from_numpy(bias)
    target["scores.bias"] = state["scores.bias"]
    folded.load_state_dict(target)
    assert export(network, "x").digest() == export(folded, "x").digest()


def test_published_network_has_the_published_shapes_and_work():
    network = export(build("fracbnn"), "fracbnn")
    assert network.outputs == ("scores", "label")
    macs = {}
    for op in network.order:
        if isinstance(op, graph.Conv | graph.FractionalConv):
            out = network.types[op.name]
            macs[op.name] = out.height * out.width * op.weights.size
    assert sum(macs.values()) == 54_263_808
    assert sum(macs.values()) * 2 - macs["conv1"] == 94_371_840
    assert str(network.types["conv1"]).startswith("32x32x16")
    assert str(network.types["layer3_2_add2"]).startswith("8x8x64")
    assert network.types["layer3_2_add2"].element.bits <= 24
    assert network.types["pool"].element.bits <= 18
    assert network.operation("layer1_0_add1").inputs == ("layer1_0_add1_rprelu", "conv1")
    assert network.operation("layer3_0_shortcut").inputs == ("layer3_0_shortcut_mean",) * 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda n: n.binarize(False), "layer conv1: its weights are not binary yet"),
        (
            lambda n: setattr(n.layer1[0], "quant1", nn.Identity()),
            "layer layer1.0.quant1: Identity has no integer meaning here",
        ),
        (
            lambda n: setattr(n.layer2[0], "shortcut", nn.Sequential()),
            "layer layer2.0.add1: branch and shortcut must have the same shape",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(change, sentence):
    network = randomize(small(), 1)
    change(network)
    with pytest.raises(ValueError, match=sentence) as caught:
        export(network, "small")
    assert "\n" not in str(caught.value)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="size must be a multiple of 4, not 10"):
        FracBNN(size=10)
    with pytest.raises(ValueError, match="levels must be a power of two from 4 to 128, not 33"):
        FracBNN(levels=33)


def test_evaluate_reads_the_data_set_of_the_networks_image_size(tmp_path, capsys):
    network = build("fracbnn-mini").eval()
    batches(tmp_path / FOLDER, 6)
    graph.save(export(network, "fracbnn-mini"), tmp_path / "net")
    save_parameters(network, tmp_path / "net" / evaluation.PARAMETERS)
    arguments = ["--data", str(tmp_path), "--frames", "5", "--out", str(tmp_path / "report.json")]
    assert evaluation.main([str(tmp_path / "net"), *arguments]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["images"] == 5 and "torch_accuracy" in report
    assert "of 5 images" in capsys.readouterr().out
