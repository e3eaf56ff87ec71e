"""The shipped networks: what they are, where they come from, and what their cards say of them."""

import json
from math import prod

import pytest

from model import cifar10, graph, zoo_check
from model import evaluate as evaluation
from model.card import read_card
from model.data import FASHION, load_split, missing
from model.fusion import FUSED, composed
from model.networks import NETWORKS, build

SHIPPED = sorted(path.parent.name for path in graph.ZOO.glob("*/network.json"))

#: Of CIFAR-10, measured on the test images with exact pixels, a tenth of all.
EXACT = [name for name in ("fourbit", "hybnn") if name in SHIPPED]

needs_data = pytest.mark.skipif(
    bool(missing(FASHION)), reason=f"{missing(FASHION)}, nor Debian's dataset-fashion-mnist"
)

needs_cifar = pytest.mark.skipif(bool(missing(cifar10.FOLDER)), reason=missing(cifar10.FOLDER))

#: Those that all test images are quick to run through; `make zoo-check` measures the others.
QUICK = ["hybnn-mini"]


def card(name: str) -> dict[str, str]:
    return read_card(graph.ZOO / name)


def macs(network: graph.Network) -> dict[str, int]:
    """Multiply-accumulates of a frame by the type of the weights."""
    total: dict[str, int] = {}
    for op in network.order:
        if isinstance(op, graph.Conv | graph.Dense):
            out = network.types[op.name]
            kind = str(op.weight_type)
            weights_a_pixel = op.weights.size
            total[kind] = total.get(kind, 0) + out.height * out.width * weights_a_pixel
    return total


def test_hybnn_mini_is_shipped():
    assert "hybnn-mini" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_card_names_the_network_that_lies_beside_it(name):
    network = graph.load(name)
    assert network.name == name
    assert card(name)["network digest"] == f"`{network.digest()}`"
    tensors = {f"`{op.name}`": str(network.types[op.name]) for op in network.order}
    assert tensors.items() <= card(name).items()


@pytest.mark.parametrize("name", [name for name in SHIPPED if name in NETWORKS])
def test_shipped_integers_are_the_export_of_the_shipped_floats(name):
    from model.checkpoint import load_parameters
    from model.export import export

    trained = build(name)
    load_parameters(trained, graph.ZOO / name / evaluation.PARAMETERS)
    assert export(trained, name).digest() == graph.load(name).digest()


@pytest.mark.parametrize("name", [name for name in FUSED if {name, FUSED[name]} <= {*SHIPPED}])
def test_shipped_basebnn_and_fusebnn_are_one_function(name):
    fused = graph.load(FUSED[name])
    assert composed(graph.load(name), fused.name).digest() == fused.digest()


def test_hybnn_mini_uses_every_kind_of_operation_and_stays_small():
    network = graph.load("hybnn-mini")
    only_fracbnn = {"Thermometer", "FractionalConv"}
    assert {type(op).__name__ for op in network.order} == set(graph.OPERATIONS) - only_fracbnn
    work = macs(network)
    assert work["int4"] <= 150_000
    assert work["int8"] <= 114_000
    assert work["binary"] <= 6_000_000
    assert max(network.types[op.name].element.bits for op in network.order) <= 32
    assert network.consumers("a_act") == ["b_sign", "c_mean", "c_max"]
    weights = sum(prod(op.weights.shape) for op in network.order if hasattr(op, "weights"))
    assert weights < 70_000


@needs_data
@pytest.mark.parametrize("name", QUICK)
def test_card_states_the_accuracy_as_measured_on_all_test_images(name, tmp_path, capsys):
    assert zoo_check.main([name, "--out", str(tmp_path / "report.json")]) == 0
    assert f"{name}: " in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())[name]
    assert report["images"] == 10_000 and report["wrong"] == []
    assert report["integer_accuracy"] >= 0.89
    assert abs(report["difference_points"]) <= 0.2


@needs_cifar
@pytest.mark.parametrize("name", EXACT)
def test_card_states_the_accuracy_as_measured_on_images_with_exact_pixels(name):
    images, labels = load_split("test", None, (32, 32, 3))
    exact = evaluation.exact_images((32, 32, 3), None, len(images))
    exact = slice(None) if exact is None else exact
    network = graph.load(name)
    report = evaluation.evaluate(network, images[exact], labels[exact], workers=2)
    stated = card(name)["integer network, exact pixels"]
    assert f"{100 * report['integer_accuracy']:.2f} %" == stated


def test_what_is_not_as_the_card_says_is_named():
    said = {
        "network digest": "`abc`", "integer network": "90.01 %", "PyTorch": "90.00 %",
        "PyTorch, exact pixels": "91.00 %",
    }  # fmt: skip
    measured = {
        "digest": "abc", "integer_accuracy": 0.9001, "torch_accuracy": 0.9004,
        "difference_points": -0.03,
    }  # fmt: skip
    exact = {"torch_accuracy_exact": 0.912}
    assert zoo_check.check(said, measured | exact) == []
    assert zoo_check.check(said, measured | {"torch_accuracy_exact": 0.9132}) == [
        "PyTorch, exact pixels: the card says 91.00 %, measured 91.32 %"
    ]
    assert zoo_check.check(said, measured | exact | {"torch_accuracy": 0.902}) == [
        "PyTorch: the card says 90.00 %, measured 90.20 %"
    ]
    assert zoo_check.check(said, measured) == [
        "PyTorch, exact pixels: the card says 91.00 %, but it could not be measured"
    ]
    worse = {"digest": "abd", "integer_accuracy": 0.8999, "difference_points": -0.5}
    assert zoo_check.check(said, measured | exact | worse) == [
        "the network is not the one of the card: its digest differs",
        "integer network: the card says 90.01 %, measured 89.99 %",
        "integer network and PyTorch are 0.50 points apart, more than 0.3",
    ]


@needs_data
def test_evaluate_command_prints_both_figures_and_writes_its_report(tmp_path, capsys):
    out = tmp_path / "report.json"
    assert evaluation.main(["hybnn-mini", "--frames", "50", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["images"] == 50
    assert report["digest"] == graph.load("hybnn-mini").digest()
    printed = capsys.readouterr().out
    assert f"integer network  {report['integer_accuracy']:.2%}  of 50 images" in printed
    assert f"PyTorch          {report['torch_accuracy']:.2%}" in printed


@needs_data
def test_evaluate_command_does_without_float_parameters(tmp_path, capsys):
    graph.save(graph.load("hybnn-mini"), tmp_path / "bare")
    out = tmp_path / "report.json"
    arguments = ["--frames", "10", "--out", str(out)]
    assert evaluation.main([str(tmp_path / "bare"), *arguments]) == 0
    assert "torch_accuracy" not in json.loads(out.read_text())
    assert "not known: no float parameters" in capsys.readouterr().out


def test_evaluate_command_names_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="there is no network folder 'nonsense'"):
        evaluation.main(["nonsense"])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz is missing"):
        evaluation.main(["hybnn-mini", "--data", str(tmp_path)])
