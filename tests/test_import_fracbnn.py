"""Importing released FracBNN parameters: what they become, and what bad files are answered with."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from model import evaluate as evaluation
from model import golden, graph
from model import import_fracbnn as importing
from model.checkpoint import load_parameters
from model.cifar10 import FOLDER
from model.data import dataset_folder, load_split, missing
from model.networks import build
from model.networks.fracbnn import FracBNN

NORMS = ("weight", "bias", "running_mean", "running_var")


def small() -> FracBNN:
    return FracBNN(width=4, blocks=1, folded=True).eval()


def stages(network: FracBNN):
    for group in (1, 2, 3):
        for block in range(len(getattr(network, f"layer{group}"))):
            for stage in (1, 2):
                channels = network.get_submodule(f"layer{group}.{block}.conv{stage}").weight.shape
                yield group, block, stage, tuple(channels)


def released(network: FracBNN, seed: int = 1) -> dict[str, np.ndarray]:
    """Random arrays in the layout of the ``.npz``."""
    random = np.random.default_rng(seed)

    def real(*shape: int) -> np.ndarray:
        return random.normal(0, 0.5, shape).astype(np.float32)

    def signs(*shape: int) -> np.ndarray:
        return random.choice([-1, 1], shape).astype(np.int8)

    width = len(network.conv1.weight)
    arrays = {
        "conv1_w": signs(*network.conv1.weight.shape),
        "bn1_scale_float": real(width),
        "bn1_bias_float": real(width),
        "fc_w_float": real(10, 4 * width),
        "fc_b_float": real(10),
    }
    for group, block, stage, shape in stages(network):
        name = f"layer{group}_{block}_conv{stage}"
        arrays[f"{name}_w"] = signs(*shape)
        for what in (
            "threshold", "bn_scale", "bn_bias", "shift_x", "prelu", "shift_y", "post_bn_scale",
            "post_bn_bias",
        ):  # fmt: skip
            arrays[f"{name}_{what}_float"] = real(shape[0])
    return arrays


def state_dict(network: FracBNN, seed: int = 1) -> tuple[dict[str, torch.Tensor], dict]:
    """Random tensors as the authors' checkpoint names them, and the ``.npz`` they should equal."""
    arrays, random = released(network, seed), np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}

    def norm(theirs: str, ours: str) -> None:
        shape = arrays[f"{ours}_scale_float"].shape
        weight, bias, mean = random.normal(0, 1, (3, *shape)).astype(np.float32)
        variance = random.uniform(0.5, 2, shape).astype(np.float32)
        state.update(
            {f"{theirs}.{n}": v for n, v in zip(NORMS, (weight, bias, mean, variance), strict=True)}
        )
        state[f"{theirs}.num_batches_tracked"] = np.array(7)
        scale = weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + 1e-5)
        arrays[f"{ours}_scale_float"] = scale.astype(np.float32)
        arrays[f"{ours}_bias_float"] = (bias - mean * scale).astype(np.float32)

    def weights(theirs: str, ours: str) -> None:
        size = random.uniform(0.01, 2, arrays[ours].shape).astype(np.float32)
        state[theirs] = arrays[ours] * size

    weights("conv1.weight", "conv1_w")
    norm("bn1", "bn1")
    for group, block, stage, _ in stages(network):
        theirs, ours = f"layer{group}.{block}", f"layer{group}_{block}_conv{stage}"
        weights(f"{theirs}.conv{stage}.weight", f"{ours}_w")
        norm(f"{theirs}.bn{stage}", f"{ours}_bn")
        norm(f"{theirs}.bn{stage + 2}", f"{ours}_post_bn")
        for name, what in (
            (f"conv{stage}.threshold", "threshold"),
            (f"rprelu{stage}.shift_x.bias", "shift_x"),
            (f"rprelu{stage}.shift_y.bias", "shift_y"),
        ):
            state[f"{theirs}.{name}"] = arrays[f"{ours}_{what}_float"].reshape(1, -1, 1, 1)
        state[f"{theirs}.rprelu{stage}.prelu.weight"] = arrays[f"{ours}_prelu_float"]
    state["linear.weight"], state["linear.bias"] = arrays["fc_w_float"], arrays["fc_b_float"]
    state["encoder.placeholder"] = np.zeros((2, 3))
    return {name: torch.from_numpy(np.array(values)) for name, values in state.items()}, arrays


def test_arrays_become_the_network_that_their_names_tell_of():
    network = small()
    arrays = released(network)
    importing.from_arrays(network, "x.npz", arrays)
    name = "layer2_0_conv1"
    block = network.layer2[0]
    assert np.array_equal(block.conv1.weight.detach(), arrays[f"{name}_w"])
    assert np.array_equal(block.conv1.threshold.detach(), arrays[f"{name}_threshold_float"])
    assert np.array_equal(block.bn1.scale.detach(), arrays[f"{name}_bn_scale_float"])
    assert np.array_equal(block.post_bn1.bias.detach(), arrays[f"{name}_post_bn_bias_float"])
    x = torch.linspace(-2, 2, 9).reshape(1, 1, 3, 3).repeat(1, 8, 1, 1)
    shift_x, prelu, shift_y = (
        torch.from_numpy(arrays[f"{name}_{what}_float"])[:, None, None]
        for what in ("shift_x", "prelu", "shift_y")
    )
    y = x + shift_x
    expected = torch.where(y > 0, y, y * prelu) + shift_y
    with torch.no_grad():
        assert torch.equal(block.add1(x, torch.zeros_like(x)), expected)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoint_becomes_the_same_network_as_its_folded_arrays(tmp_path, prefix):
    one, other = small(), small()
    state, arrays = state_dict(one)
    torch.save({f"{prefix}{name}": tensor for name, tensor in state.items()}, tmp_path / "x.pt")
    path = tmp_path / "x.pt"
    importing.from_checkpoint(one, path, importing.read_state_dict(path))
    importing.from_arrays(other, "x.npz", arrays)
    ours, theirs = one.state_dict(), other.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: a.pop("bn1_scale_float"), "x.npz lacks tensor 'bn1_scale_float'"),
        (
            lambda a: a.update(extra=np.zeros(1)),
            "x.npz holds tensor 'extra', which FracBNN does not have",
        ),
        (
            lambda a: a.update(fc_w_float=a["fc_w_float"].T),
            r"tensor 'fc_w_float' must have shape \(10, 16\), not \(16, 10\)",
        ),
        (
            lambda a: a["layer1_0_conv2_threshold_float"].put(1, np.nan),
            "tensor 'layer1_0_conv2_threshold_float' holds values that are not finite",
        ),
        (
            lambda a: a["layer3_0_conv1_prelu_float"].put(1, np.inf),
            "tensor 'layer3_0_conv1_prelu_float' holds values that are not finite",
        ),
        (
            lambda a: a["layer2_0_conv1_w"].put(5, 0),
            r"tensor 'layer2_0_conv1_w' must hold \+1 and -1 alone",
        ),
        (
            lambda a: a.update(fc_b_float=np.array(["x"] * 10)),
            "tensor 'fc_b_float' must hold numbers, not <U1",
        ),
    ],
)
def test_bad_arrays_are_named(change, sentence):
    network = small()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    arrays = released(network)
    change(arrays)
    with pytest.raises(ValueError, match=sentence) as caught:
        importing.from_arrays(network, "x.npz", arrays)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("bn1.running_var"), "x.pt lacks tensor 'bn1.running_var'"),
        (
            lambda s: s.update(other=np.zeros(1)),
            "x.pt holds tensor 'other', which FracBNN does not have",
        ),
        (
            lambda s: s.update({"conv1.weight": np.zeros((4, 96, 1, 1))}),
            r"tensor 'conv1.weight' must have shape \(4, 96, 3, 3\), not \(4, 96, 1, 1\)",
        ),
        (
            lambda s: s["layer1.0.conv1.weight"].put(3, 0),
            "tensor 'layer1.0.conv1.weight' holds a 0, which has no sign",
        ),
        (
            lambda s: s["layer2.0.bn3.running_var"].put(0, -1),
            "'layer2.0.bn3': batch-norm variance must not be negative",
        ),
        (
            lambda s: s["layer2.0.rprelu2.shift_x.bias"].put(0, np.inf),
            "tensor 'layer2.0.rprelu2.shift_x.bias' holds values that are not finite",
        ),
    ],
)
def test_bad_checkpoints_are_named(change, sentence):
    state = {name: tensor.numpy() for name, tensor in state_dict(small())[0].items()}
    change(state)
    with pytest.raises(ValueError, match=sentence) as caught:
        importing.from_checkpoint(small(), "x.pt", state)
    assert "\n" not in str(caught.value)


def test_command_writes_a_network_folder_with_the_licence(tmp_path, capsys):
    source, out = tmp_path / "x.npz", tmp_path / "out"
    np.savez(source, **released(build("fracbnn-folded")))
    (tmp_path / "LICENSE").write_text("keep me")
    assert importing.main([str(source), "--out", str(out)]) == 0
    network = graph.load(out)
    assert json.loads((out / "import.json").read_text())["digest"] == network.digest()
    assert (out / "LICENSE").read_text() == "keep me"
    load_parameters(build("fracbnn-folded"), out / evaluation.PARAMETERS)
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert golden.scores(network, images).shape == (2, 10)
    assert "operations, at most" in capsys.readouterr().out
    (tmp_path / "LICENSE").unlink()
    assert importing.main([str(source), "--out", str(tmp_path / "bare")]) == 0
    assert "no LICENSE beside" in capsys.readouterr().out
    assert not (tmp_path / "bare" / "LICENSE").exists()


@pytest.mark.parametrize("name", ["x.npz", "x.pt"])
@pytest.mark.parametrize("damage", ["none", "empty", "nonsense", "truncated"])
def test_damaged_files_are_named_and_nothing_is_written(tmp_path, name, damage):
    path, out = tmp_path / name, tmp_path / "out"
    if name == "x.npz":
        np.savez(path, **released(small()))
    else:
        torch.save(state_dict(small())[0], path)
    content = path.read_bytes()
    if damage == "none":
        path.unlink()
    else:
        cut = {"empty": b"", "nonsense": b"nonsense", "truncated": content[: len(content) // 2]}
        path.write_bytes(cut[damage])
    expected = "does not exist" if damage == "none" else "is damaged"
    with pytest.raises(ValueError, match=f"{name}' {expected}") as caught:
        importing.main([str(path), "--out", str(out)])
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "x.pt")
    with pytest.raises(ValueError, match="holds no state dictionary"):
        importing.read_state_dict(tmp_path / "x.pt")
    torch.save({"epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="'epoch' is no tensor"):
        importing.read_state_dict(tmp_path / "x.pt")


def test_command_ends_in_one_sentence(tmp_path):
    command = [sys.executable, "-m", "model.import_fracbnn", str(tmp_path / "none.npz"), "--out"]
    result = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (f"error: parameter file '{tmp_path / 'none.npz'}' does not exist\n")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    if missing("fracbnn"):
        pytest.skip(missing("fracbnn"))
    out = tmp_path_factory.mktemp("fracbnn")
    source = dataset_folder("fracbnn") / "fracbnn_cifar10_float.npz"
    assert importing.main([str(source), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def published():
    if missing(FOLDER):
        pytest.skip(missing(FOLDER))
    images, labels = load_split("test", image=(32, 32, 3))
    return images, labels


def test_released_network_keeps_its_notice_and_its_bounds(imported):
    network = graph.load(imported)
    assert "Copyright" in (imported / "LICENSE").read_text()
    assert not any(isinstance(op, graph.Affine) for op in network.order)
    assert network.operation("layer1_0_add1").shifts == (0, 2)
    residual = [network.types[op.name] for op in network.order if isinstance(op, graph.Add)]
    assert len(residual) == 18 and max(kind.element.bits for kind in residual) == 22


def test_released_network_has_the_published_logits(imported, published):
    network = build("fracbnn-folded").eval()
    load_parameters(network, imported / evaluation.PARAMETERS)
    with torch.no_grad():
        logits = network(torch.from_numpy(published[0][:16].transpose(0, 3, 1, 2).copy()))
    expected = np.load(dataset_folder("fracbnn") / "float_logits_test_0_15.npy")
    # Sums of floats differ from machine to machine.
    assert np.abs(logits.numpy() - expected).max() < 1e-3


def test_released_network_keeps_its_accuracy_in_integers(imported, published):
    images, labels = (values[:1017] for values in published)
    report = evaluation.evaluate(
        graph.load(imported), images, labels, checkpoint=imported / evaluation.PARAMETERS
    )
    assert abs(100 * report["torch_accuracy"] - 88.59) <= 0.1
    assert report["integer_accuracy"] >= 0.884
