"""The integer network refuses what is wrong in one sentence, and reads back what it writes."""

import json

import numpy as np
import pytest

from model.graph import (
    BINARY,
    Add,
    Affine,
    Conv,
    Dense,
    Input,
    MaxPool,
    Network,
    NetworkError,
    Threshold,
    load,
    parse_element,
    save,
)
from tests.networks import every_operation, tiny


@pytest.fixture
def folder(tmp_path):
    save(every_operation(), tmp_path / "net")
    return tmp_path / "net"


def edit(folder, change):
    path = folder / "network.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def entry(description, name):
    return next(op for op in description["operations"] if op["name"] == name)


def edit_arrays(folder, change):
    path = folder / "params.npz"
    arrays = {key: value.astype(np.int64) for key, value in np.load(path).items()}
    change(arrays)
    np.savez(path, **arrays)


def test_a_saved_network_reads_back_as_the_same_network(folder):
    assert load(folder).digest() == every_operation().digest()
    assert every_operation(1).digest() != every_operation().digest()


def test_types_are_exact():
    types = {name: str(kind) for name, kind in every_operation().types.items()}
    assert types["conv1"] == "8x8x4 int16"
    assert types["xnor"] == "8x8x4 int7"
    assert types["concat"] == "4x4x8 int8"
    assert types["strided"] == "2x2x6 int8"
    assert types["label"] == "1x1x1 uint3"


def test_saving_to_a_full_disk_leaves_the_old_network(folder, monkeypatch):
    before = load(folder).digest()

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save(every_operation(1), folder)
    monkeypatch.undo()
    assert load(folder).digest() == before
    assert sorted(p.name for p in folder.iterdir()) == ["network.json", "params.npz"]


@pytest.mark.parametrize("name", ["network.json", "params.npz"])
@pytest.mark.parametrize("keep", [0, 1, 100, -10])
def test_a_truncated_file_is_named(folder, name, keep):
    path = folder / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(NetworkError, match=name.replace(".", r"\.")):
        load(folder)


@pytest.mark.parametrize("name", ["network.json", "params.npz"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(NetworkError, match=f"{name} is missing"):
        load(folder)


def test_an_unknown_network_name_lists_the_shipped_ones():
    with pytest.raises(NetworkError, match=r"no network folder 'nonesuch'.*\(shipped: "):
        load("nonesuch")


JSON_EDITS = {
    "version 99, but this Bitwright reads up to 1": lambda d: d.update(version=99),
    "version must be a positive integer": lambda d: d.update(version="1"),
    "not a network description": lambda d: d.update(format="onnx"),
    "unknown key 'folding'": lambda d: d.update(folding={}),
    "operation 'max' is of unknown kind 'Softmax'": lambda d: entry(d, "max").update(op="Softmax"),
    r"operation 'max' \(MaxPool\) has no 'stride'": lambda d: entry(d, "max").update(stride=2),
    "'kernel' of operation 'max' is missing": lambda d: entry(d, "max").pop("kernel"),
    "'kernel' of operation 'max' must be int": lambda d: entry(d, "max").update(kernel="2"),
    "'element' of operation 'sign'.*not 'ternary'": lambda d: entry(d, "sign").update(
        element="ternary"
    ),
    "'shifts' of operation 'add' must be a list of int": lambda d: entry(d, "add").update(
        shifts=[0, 0.5]
    ),
    "'add'.*'nothing' is no operation": lambda d: entry(d, "add").update(
        inputs=["xnor", "nothing"]
    ),
    "'add'.*needs 2 inputs, not 1": lambda d: entry(d, "add").update(inputs=["xnor"]),
    "operations form a cycle": lambda d: entry(d, "conv1").update(inputs=["avg"]),
    "'max'.*its result is not used": lambda d: entry(d, "concat").update(inputs=["avg", "avg"]),
    "output 'answer' is no operation": lambda d: d.update(outputs=["answer"]),
    "has no outputs": lambda d: d.update(outputs=[]),
    "outputs must be a list": lambda d: d.update(outputs="scores"),
    "'weights' of operation 'extra' is missing": lambda d: d["operations"].append(
        {"op": "Dense", "name": "extra", "inputs": ["pool"], "weight_type": "int4"}
    ),
    "'weights' of operation 'dw' must be in params.npz": lambda d: entry(d, "dw").update(
        weights=[[1]], name="dw"
    ),
    "must be an object with a name": lambda d: d["operations"].append("Conv"),
    "operation name 'dw' is used twice": lambda d: entry(d, "max").update(name="dw"),
    "needs an int or uint input, not binary": lambda d: entry(d, "add").update(
        inputs=["xnor", "sign"]
    ),
}


@pytest.mark.parametrize("sentence", JSON_EDITS)
def test_a_wrong_description_is_refused(folder, sentence):
    def change(description):
        JSON_EDITS[sentence](description)

    edit(folder, change)
    if "must be in params.npz" in sentence:
        edit_arrays(folder, lambda arrays: arrays.pop("dw.weights"))
    with pytest.raises(NetworkError, match=sentence):
        load(folder)


def swapped(arrays):
    arrays["act1.thresholds"] = arrays["act1.thresholds"][:, ::-1]


ARRAY_EDITS = {
    r"operation 'conv1' \(Conv\): weights must have shape": lambda a: a.update(
        {"conv1.weights": a["conv1.weights"][:, :, :, [0, 0]]}
    ),
    "'conv1'.*weights must lie in -8..7": lambda a: a.update(
        {"conv1.weights": a["conv1.weights"] * 100}
    ),
    "'xnor'.*binary weights must all be": lambda a: a.update(
        {"xnor.weights": a["xnor.weights"] * 0}
    ),
    "'act1'.*thresholds of channel 0 must be": swapped,
    "'sign'.*directions must all be": lambda a: a.update({"sign.directions": np.zeros(4, int)}),
    "'sign'.*thresholds must lie in": lambda a: a.update(
        {"sign.thresholds": a["sign.thresholds"] + 10**6}
    ),
    "'affine'.*scale must have shape": lambda a: a.update({"affine.scale": a["affine.scale"][:3]}),
    "'scores'.*bias must have shape": lambda a: a.update({"scores.bias": a["scores.bias"][:2]}),
    "array 'dw.weights' must hold integers, not float64": lambda a: a.update(
        {"dw.weights": a["dw.weights"] * 1.5}
    ),
    "array 'old.weights' belongs to no operation": lambda a: a.update(
        {"old.weights": np.ones(3, int)}
    ),
    "'thresholds' of operation 'sign2' is missing": lambda a: a.pop("sign2.thresholds"),
    "'rprelu'.*threshold must lie in": lambda a: a.update(
        {"rprelu.threshold": a["rprelu.threshold"] + 10**4}
    ),
    r"'affine'.*x\*scale \+ bias must stay below": lambda a: a.update(
        {"affine.scale": a["affine.scale"] * 2**44}
    ),
}


@pytest.mark.parametrize("sentence", ARRAY_EDITS)
def test_wrong_parameters_are_refused(folder, sentence):
    edit_arrays(folder, ARRAY_EDITS[sentence])
    with pytest.raises(NetworkError, match=sentence):
        load(folder)


IMAGE = Input(name="image", height=5, width=4, channels=2)


@pytest.mark.parametrize(
    ("op", "sentence"),
    [
        (
            Conv(
                name="c",
                inputs=("image",),
                weights=np.ones((1, 3, 3, 2), int),
                weight_type=BINARY,
                padding=2,
            ),
            "padding must be an integer from 0 to 1, not 2",
        ),
        (
            Conv(
                name="c", inputs=("image",), weights=np.ones((1, 7, 7, 2), int), weight_type=BINARY
            ),
            "a 7x7 kernel does not fit",
        ),
        (
            Conv(
                name="c",
                inputs=("image",),
                weights=np.ones((1, 3, 3, 1), int),
                weight_type=BINARY,
                depthwise=True,
            ),
            "weights are for 1 channels, but the input has 2",
        ),
        (
            Conv(
                name="c",
                inputs=("image",),
                weights=np.ones((1, 3, 3, 2), int),
                weight_type=parse_element("uint4"),
            ),
            "weight_type must be binary or intK, not uint4",
        ),
        (
            Dense(name="c", inputs=("image",), weights=np.ones((1, 2), int), weight_type=BINARY),
            "needs a 1x1 map",
        ),
        (MaxPool(name="c", inputs=("image",), kernel=5), "a 5x5 kernel does not fit"),
        (
            Affine(
                name="c",
                inputs=("image",),
                scale=np.ones(2, int),
                bias=np.ones(2, int),
                shift=-1,
                element=parse_element("int8"),
            ),
            "shift must be an integer from 0 to 40, not -1",
        ),
        (
            Threshold(
                name="c",
                inputs=("image",),
                thresholds=np.ones((2, 2), int),
                directions=np.ones(2, int),
                element=BINARY,
            ),
            "2 thresholds a channel do not make a binary",
        ),
        (
            Add(name="c", inputs=("image", "image"), element=BINARY),
            "element must be intK or uintK, not binary",
        ),
    ],
)
def test_an_operation_refuses_what_it_cannot_do(op, sentence):
    with pytest.raises(NetworkError, match=f"operation 'c'.*{sentence}"):
        Network("n", (IMAGE, op), ("c",))


def test_a_network_has_one_input():
    with pytest.raises(NetworkError, match="must have one Input, not 2"):
        Network("n", (IMAGE, Input(name="other", height=1, width=1, channels=1)), ("image",))


def test_operations_may_come_in_any_order():
    network = tiny()
    shuffled = Network("tiny", network.operations[::-1], network.outputs)
    assert [op.name for op in shuffled.order] == [op.name for op in network.order]
    assert shuffled.digest() == network.digest()
