"""The shipped networks: what they are, where they come from, and what their cards say of them."""

import json
import re
from math import prod

import pytest

from model import evaluate as evaluation
from model import graph
from model.data import FASHION, load_split, missing
from model.networks import NETWORKS, build

SHIPPED = sorted(path.parent.name for path in graph.ZOO.glob("*/network.json"))

needs_data = pytest.mark.skipif(
    bool(missing(FASHION)), reason=f"{missing(FASHION)}, nor Debian's dataset-fashion-mnist"
)


def card(name: str) -> dict[str, str]:
    """The rows of the card's tables, first column to second."""
    text = (graph.ZOO / name / "card.md").read_text()
    return dict(re.findall(r"^\| ([^|]+?) +\| ([^|]+?) +\|", text, re.MULTILINE))


def percent(text: str) -> float:
    return float(text.removesuffix(" %"))


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
@pytest.mark.parametrize("name", SHIPPED)
def test_card_states_the_accuracy_as_measured_on_all_test_images(name):
    images, labels = load_split("test")
    assert len(images) == 10_000
    network = graph.load(name)
    parameters = graph.ZOO / name / evaluation.PARAMETERS
    report = evaluation.evaluate(network, images, labels, checkpoint=parameters)
    rows = card(name)
    assert percent(rows["integer network"]) == round(100 * report["integer_accuracy"], 2)
    # PyTorch's sums depend on the machine: a tie may fall to the other side.
    assert abs(percent(rows["PyTorch"]) - 100 * report["torch_accuracy"]) <= 0.05
    assert report["integer_accuracy"] >= 0.89
    assert abs(report["difference_points"]) <= 0.2


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
