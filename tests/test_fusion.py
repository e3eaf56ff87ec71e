"""FuseBNN predicts what BaseBNN predicts, with fewer operations; the quantifier counts them."""

import copy
import json
from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np
import pytest
import torch
from torch import nn

from model import afp, fusion, golden, graph, layers
from model import train as training
from model.checkpoint import load_parameters, save_parameters
from model.cifar10 import FOLDER
from model.export import export
from model.networks import build
from model.networks.fusebnn import FuseBNN, fuse_network
from model.networks.hybnn import HyBNN
from model.networks.reactnet import BaseBNN
from model.training import command
from tests.test_data import batches
from tests.test_family import SMALL, images, pixels, settled

torch.set_num_threads(1)


STRUCTURE = SMALL | {"residual_bits": 20}


def basebnn(seed: int) -> BaseBNN:
    torch.manual_seed(seed)
    return settled(BaseBNN(**STRUCTURE), seed)


@pytest.fixture(scope="module", params=range(3))
def pair(request):
    base = basebnn(request.param)
    base.compact()
    return base, fuse_network(base)


def test_fusion_changes_no_prediction(pair):
    base, fused = pair
    report = fusion.deviation(copy.deepcopy(base).double(), fused, images(200, seed=5))
    assert report["labels_differ"] == 0 and report["images"] == 200
    assert 0 < report["largest_deviation"] < 1e-12 < report["largest_score"]


def test_integer_networks_of_both_are_one_function_and_agree_with_torch(pair):
    base, fused = pair
    integer, exported = export(base, "basebnn"), export(fused, "fusebnn")
    x = images(200, seed=6)
    results = [golden.run(network, x) for network in (integer, exported)]
    assert (results[0]["scores"] == results[1]["scores"]).all()
    with torch.no_grad():
        expected = base(pixels(x)).argmax(1).numpy()
    assert (results[0]["label"].reshape(-1) == expected).mean() >= 0.99


def test_multiplications_apart_are_factors_of_those_that_are_fused(pair):
    base, fused = pair
    integer, exported = export(base, "basebnn"), export(fused, "fusebnn")
    assert fusion.composed(integer, "fusebnn").digest() == exported.digest()
    # What is fused already is as it was.
    assert fusion.composed(exported, "fusebnn").digest() == exported.digest()
    multipliers = [op.scale for op in exported.order if isinstance(op, graph.RPReLU)]
    assert len(multipliers) == 6
    assert all(1 << 14 < np.abs(scale).max() < 1 << 17 for scale in multipliers)


def test_what_loses_something_in_between_is_not_put_together(pair):
    integer = export(pair[0], "basebnn")
    first = next(op for op in integer.order if isinstance(op, graph.RPReLU))
    narrow = graph.ElementType("int", first.element.bits - 2)
    for change in ({"element": narrow}, {"shift": 1}):
        changed = replace(first, **change)
        operations = tuple(changed if op is first else op for op in integer.order)
        network = graph.Network("basebnn", operations, integer.outputs)
        left = fusion.composed(network, "fusebnn")
        kept = left.operation(first.name)
        assert (kept.shift, kept.element) == (changed.shift, changed.element)
        assert len(left.order) == len(network.order) - 5


def test_fused_parameters_keep_their_precision_in_a_file(pair, tmp_path):
    _, fused = pair
    save_parameters(fused, tmp_path / "fused.npz")
    again = FuseBNN(**STRUCTURE)
    load_parameters(again, tmp_path / "fused.npz")
    assert export(again, "fusebnn").digest() == export(fused, "fusebnn").digest()


def test_scales_that_are_compacted_are_what_multipliers_hold():
    base = basebnn(3)
    before = [unit.affine()[0] for unit in base.units()]
    x = pixels(images(50))
    with torch.no_grad():
        scores = base(x)
        base.compact()
        # But for where a sign falls otherwise.
        assert 0 < (base(x) - scores).abs().median() < 1e-3 * scores.abs().max()
    for unit, scale in zip(base.units(), before, strict=True):
        assert (unit.affine()[0] / scale - 1).abs().max() < 2e-3
    exported = export(fuse_network(base), "fusebnn")
    segments = [op for op in exported.order if isinstance(op, graph.RPReLU)]
    for (unit, following), op in zip(pairwise(base.units()), segments, strict=False):
        if not following.doubles:
            ratio = (unit.affine()[2] / following.affine()[2]).detach().numpy()
            scale = op.scale[1]
            assert np.allclose(ratio / ratio.max(), scale / scale.max(), rtol=1e-6, atol=0)


def test_fused_residuals_need_one_multiplication_an_element(pair):
    exported = export(pair[1], "fusebnn")
    affine = [op.name for op in exported.order if isinstance(op, graph.Affine)]
    # The stem's norm, and where channels double.
    assert affine == [
        "blocks_0_spatial_add_shortcut", "blocks_0_pointwise_add_shortcut",
        "blocks_2_pointwise_add_shortcut",
    ]  # fmt: skip
    segments = [op for op in exported.order if isinstance(op, graph.RPReLU)]
    assert len(segments) == 6
    for op in exported.order:
        if isinstance(op, graph.Add):
            assert isinstance(exported.operation(op.inputs[0]), graph.Conv)
            assert str(exported.operation(op.inputs[0]).weight_type) == "binary"


def test_negative_and_vanishing_scales_are_fused_too():
    base = basebnn(1)
    norms = [m for m in base.modules() if isinstance(m, nn.BatchNorm2d)][1:]
    assert any((norm.weight < 0).any() for norm in norms)
    with torch.no_grad():
        norms[0].weight[1] = 0.0
        norms[1].weight[2] = 1e-9
    fused = fuse_network(base)
    report = fusion.deviation(base.double(), fused, images(100))
    assert report["labels_differ"] == 0 and report["largest_deviation"] < 1e-2


def test_fusion_command_writes_parameters_and_their_deviation(tmp_path, capsys):
    batches(tmp_path / FOLDER, 4)
    base = build("basebnn-mini").train()
    with torch.no_grad():
        for _ in range(10):
            base(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8))
    save_parameters(base, tmp_path / "base.npz")
    out = tmp_path / "out" / "float.npz"
    arguments = ["--checkpoint", str(tmp_path / "base.npz"), "--data", str(tmp_path)]
    assert fusion.main(["basebnn-mini", *arguments, "--out", str(out)]) == 0
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["labels_differ"] == 0 and report["images"] == 4
    assert report["integer_networks_are_one_function"] is True
    printed = capsys.readouterr().out
    assert "0 of 4 labels differ; the integer networks are one function" in printed
    with pytest.raises(ValueError, match="lacks 'blocks.0.*' of BaseBNN"):
        arguments[1] = str(out)
        fusion.main(["basebnn-mini", *arguments, "--out", str(out)])
    with pytest.raises(SystemExit):
        fusion.main(["basebnn-mini", *arguments, "--out", "x.pt"])
    assert "--out must end in .npz, not x.pt" in capsys.readouterr().err


class Plain(nn.Module):
    """One binary block by hand: 4 channels on a 6x6 map."""

    image = (6, 6, 1)

    def __init__(self):
        super().__init__()
        self.pixels = layers.Pixels()
        self.stem = layers.QuantConv2d(1, 4, 1, weight_bits=8)
        self.blocks_0_sign = layers.RSign(4)
        self.blocks_0_conv = layers.BinaryConv2d(4, 4, 3, padding=1)
        self.blocks_0_bn = nn.BatchNorm2d(4)
        self.blocks_0_add = layers.Residual(4)
        self.blocks_0_act = layers.RPReLU(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.scores = layers.QuantLinear(4, 3, weight_bits=8)

    def forward(self, x):
        x = self.stem(self.pixels(x))
        branch = self.blocks_0_bn(self.blocks_0_conv(self.blocks_0_sign(x)))
        x = self.blocks_0_act(self.blocks_0_add(branch, x))
        return self.scores(self.pool(x).flatten(1))


def test_operations_of_a_block_are_counted_as_by_hand():
    numbers = 6 * 6 * 4
    count = afp.trained_counts(Plain(), 10)["blocks_0"]
    # Scale of the weights, batch-norm, RPReLU; batch-norm, shortcut, two shifts; sign, RPReLU.
    assert (count.multipliers, count.adders, count.comparators) == (
        3 * numbers, 4 * numbers, 2 * numbers,
    )  # fmt: skip
    assert count.bits == 3 * numbers * 100 + 6 * numbers * 10

    network = Plain()
    with torch.no_grad():
        network.blocks_0_add.limit.fill_(4.0)
    exported = export(network, "plain")
    after, work = (part["blocks_0"] for part in afp.integer_counts(exported))
    # The shortcut's units and RPReLU; both additions to them and the join; sign and RPReLU.
    assert (after.multipliers, after.adders, after.comparators) == (
        2 * numbers, 3 * numbers, 2 * numbers,
    )  # fmt: skip
    assert (work.multipliers, work.adders) == (numbers * 36, numbers * 35)
    assert work.by_kind["multipliers"] == numbers * 36
    width = exported.types["stem"].element.bits + exported.types["blocks_0_add"].element.bits
    assert after.by_kind["comparators"] == numbers * width


def test_adders_of_a_tree_have_the_widths_of_their_levels():
    assert afp._mean_width(2, 1) == 2  # One adder of two bits.
    assert afp._mean_width(4, 1) == 3  # Two of two bits and one of three: 7/3.
    assert afp._mean_width(1, 8) == 8


def test_four_bit_products_and_their_quantisers_are_counted():
    network = settled(HyBNN(blocks="444", **SMALL), 1)
    exported = export(network, "fourbit")
    auxiliary, work = afp.integer_counts(exported)
    dw, pw = (exported.types[f"blocks_1_{name}"] for name in ("dw", "pw"))
    products = prod(dw.shape) * 9 + prod(pw.shape) * 8
    assert work["blocks_1"].multipliers == products
    assert work["blocks_1"].by_kind["multipliers"] == 16 * products
    # Fifteen thresholds, found in four compares.
    assert auxiliary["blocks_1"].comparators == 4 * 2 * prod(dw.shape)


def test_command_shows_counts_before_and_after(tmp_path, capsys):
    assert afp.main(["basebnn-mini", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "afp.json").read_text())
    before, after = report["before"], report["after"]
    for kind in ("multipliers", "adders", "bits"):
        assert after["total"][kind] < before["total"][kind]
        assert before["total"][kind] == sum(part[kind] for part in before["layers"].values())
    assert after["share_of_bits"] < before["share_of_bits"]
    assert report["fused"] == "fusebnn-mini"
    printed = capsys.readouterr().out
    assert f"{before['total']['multipliers']:,}" in printed
    assert f"{after['share_of_bits']:.1%} after fusion" in printed
    assert (tmp_path / "afp.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        afp.main(["basebnn-mini", "--bits", "0"])
    assert "--bits must lie in 1..64, not 0" in capsys.readouterr().err
    with pytest.raises(ValueError, match="none.npz' does not exist"):
        afp.main(["basebnn-mini", "--checkpoint", str(tmp_path / "none.npz")])


def test_a_network_without_a_fused_form_is_counted_as_it_is_exported(tmp_path):
    assert afp.main(["hybnn-cifar-mini", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "afp.json").read_text())
    assert report["fused"] == report["network"] == "hybnn-cifar-mini"
    # 8-bit, 4-bit and binary arithmetic in the stem and the two blocks.
    assert {"stem", "blocks_0", "blocks_1"} <= set(report["arithmetic"]["layers"])


def test_what_is_fused_already_is_not_trained_or_counted_as_it_was_before(tmp_path, capsys):
    chosen = command.parse("", ["fusebnn-mini", "--data", str(tmp_path), "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="fusebnn-mini is not trained: model.fusion makes it"):
        training.train(chosen)
    with pytest.raises(SystemExit):
        afp.main(["fusebnn-mini", "--out", str(tmp_path)])
    assert "name the network that it was made from" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_one_sentence(tmp_path):
    files = ["--checkpoint", "x.npz", "--out", str(tmp_path / "y.npz")]
    with pytest.raises(ValueError, match="device 'nonsense' cannot be used"):
        fusion.main(["basebnn-mini", *files, "--device", "nonsense"])


def test_a_network_that_depends_on_its_inputs_has_no_integer_network():
    with pytest.raises(ValueError, match="^Teacher has no integer network"):
        export(build("teacher-mini"), "teacher-mini")
