"""The torch layers compute what they say, and training repeats, resumes and stops as it says."""

import argparse
import json

import numpy as np
import pytest
import torch

from model import train as training
from model.checkpoint import load_parameters, read_checkpoint, save_parameters
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
from tests.test_data import idx


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
    with pytest.raises(ValueError, match="no network 'nonsense' .known: hybnn-mini"):
        build("nonsense")


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(5)
    for name, count in (("train", 160), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28))
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        labels = random.integers(0, 10, count)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def options(folder, out, **changes) -> argparse.Namespace:
    fields = {
        "network": "hybnn-mini", "epochs": 2, "seed": 3, "batch": 32, "learning_rate": 1e-3,
        "validation": 32, "mirror": True, "data": folder, "out": out, "resume": False, "threads": 1,
    }  # fmt: skip
    return argparse.Namespace(**fields | changes)


def parameters(out) -> dict:
    return read_checkpoint(out / "checkpoint.pt")["parameters"]


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_training_repeats_by_seed_and_resumes_to_the_same_parameters(folder, tmp_path, monkeypatch):
    first = training.train(options(folder, tmp_path / "a"))
    assert json.loads((tmp_path / "a" / "report.json").read_text()) == first
    assert [entry["epoch"] for entry in first["history"]] == [1, 2]

    measured, calls = training.accuracy, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(training, "accuracy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(options(folder, tmp_path / "b"))
    monkeypatch.setattr(training, "accuracy", measured)
    assert not (tmp_path / "b" / "report.json").exists()
    resumed = training.train(options(folder, tmp_path / "b", resume=True))
    assert equal(parameters(tmp_path / "a"), parameters(tmp_path / "b"))
    assert resumed["test_accuracy"] == first["test_accuracy"]

    training.train(options(folder, tmp_path / "c", seed=4))
    assert not equal(parameters(tmp_path / "a"), parameters(tmp_path / "c"))


def test_loss_that_is_no_number_stops_with_its_step_and_keeps_the_last_epoch(
    folder, tmp_path, monkeypatch
):
    entropy, calls = training.functional.cross_entropy, []

    def poisoned(*arguments):
        calls.append(1)
        return entropy(*arguments) * (float("nan") if len(calls) == 6 else 1)

    monkeypatch.setattr(training.functional, "cross_entropy", poisoned)
    with pytest.raises(ValueError, match=r"loss is nan at step 5 .epoch 2.; .* the epoch before"):
        training.train(options(folder, tmp_path / "a"))
    kept = read_checkpoint(tmp_path / "a" / "checkpoint.pt")
    assert len(kept["history"]) == 1
    assert all(torch.isfinite(values).all() for values in kept["parameters"].values())


def test_training_does_not_write_over_a_checkpoint_or_mix_runs(folder, tmp_path):
    training.train(options(folder, tmp_path / "a", epochs=1))
    with pytest.raises(ValueError, match="exists: continue it with --resume"):
        training.train(options(folder, tmp_path / "a", epochs=1))
    with pytest.raises(ValueError, match="with seed 3: it cannot be resumed with 4"):
        training.train(options(folder, tmp_path / "a", epochs=1, seed=4, resume=True))
    with pytest.raises(ValueError, match="do not make a batch of 500"):
        training.train(options(folder, tmp_path / "b", batch=500))
    with pytest.raises(ValueError, match="does not exist"):
        training.train(options(folder, tmp_path / "b", resume=True))


def test_parameters_survive_both_kinds_of_file(folder, tmp_path):
    network = build("hybnn-mini")
    save_parameters(network, tmp_path / "x.npz")
    torch.save({"parameters": network.state_dict()}, tmp_path / "x.pt")
    for name in ("x.npz", "x.pt"):
        other = build("hybnn-mini")
        load_parameters(other, tmp_path / name)
        assert equal(network.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", ["x.npz", "x.pt"])
def test_damaged_parameter_files_are_named(tmp_path, name):
    network, path = build("hybnn-mini"), tmp_path / name
    with pytest.raises(ValueError, match=f"{name}' does not exist"):
        load_parameters(network, path)
    for content in (b"", b"nonsense", b"PK\x03\x04 and no more"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}' is damaged"):
            load_parameters(network, path)


def test_parameters_of_another_network_are_refused(tmp_path):
    network, path = build("hybnn-mini"), tmp_path / "x.npz"
    good = {key: value.numpy() for key, value in network.state_dict().items()}
    for change, sentence in (
        ({"conv1.weight": np.zeros(3, np.float32)}, "'conv1.weight' of HybnnMini must have shape"),
        ({"extra": np.zeros(3, np.float32)}, "holds 'extra', which HybnnMini does not have"),
        ({"a_act.slope": np.full(32, np.nan, np.float32)}, "'a_act.slope' holds values that are"),
    ):
        np.savez(path, **good | change)
        with pytest.raises(ValueError, match=sentence):
            load_parameters(network, path)
    del good["conv1.weight"]
    np.savez(path, **good)
    with pytest.raises(ValueError, match="lacks 'conv1.weight' of HybnnMini"):
        load_parameters(network, path)
