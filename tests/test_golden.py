"""The golden executor against loops over plain integers that are written from the definitions."""

import json
import re

import numpy as np
import pytest

from model import golden
from model.cli import run_command
from model.graph import Add, Conv, Input, LabelSelect, Network, Threshold, parse_element, save
from tests.networks import every_operation, tiny


def naive(network, image):
    """Every tensor of one frame as {(row, column, channel): number}, one element at a time."""
    tensors = {}
    for op in network.order:
        out = network.types[op.name]
        kind = type(op).__name__
        sources = [tensors[name] for name in op.inputs]
        types = [network.types[name] for name in op.inputs]

        def element(i, j, c, op=op, out=out, kind=kind, sources=sources, types=types):
            x = sources[0] if sources else None
            if kind == "Input":
                return int(image[i, j, c])
            if kind == "Thermometer":
                colour, level = divmod(c, len(op.thresholds))
                return 1 if x[i, j, colour] >= op.thresholds[level] else -1
            if kind in ("Conv", "FractionalConv"):
                total, high = 0, 0
                if kind == "Conv" and op.bias is not None:
                    total = int(op.bias[c])
                for ky in range(op.weights.shape[1]):
                    for kx in range(op.weights.shape[2]):
                        for k in range(op.weights.shape[3]):
                            row = i * op.stride - op.padding + ky
                            column = j * op.stride - op.padding + kx
                            channel = c if kind == "Conv" and op.depthwise else k
                            weight = int(op.weights[c, ky, kx, k])
                            # What lies outside of the map contributes nothing.
                            if (row, column, channel) not in x:
                                continue
                            number = x[row, column, channel]
                            if kind == "FractionalConv":
                                high += weight * (1 if number >= 2 else -1)
                                number = 1 if number % 2 else -1
                            total += weight * number
                if kind == "FractionalConv":
                    return 2 * high + (total if high >= op.gate[c] else 0)
                return total
            if kind == "Dense":
                total = 0 if op.bias is None else int(op.bias[c])
                return total + sum(int(w) * x[0, 0, k] for k, w in enumerate(op.weights[c]))
            if kind == "Threshold":
                rising = op.directions[c] > 0
                count = sum(
                    x[i, j, c] >= t if rising else x[i, j, c] <= t
                    for t in op.thresholds[c].tolist()
                )
                return 2 * count - 1 if out.element.is_binary else count
            if kind in ("Affine", "RPReLU"):
                scale, bias = op.scale, op.bias
                if kind == "RPReLU":
                    segment = int(x[i, j, c] >= op.threshold[c])
                    scale, bias = scale[segment], bias[segment]
                value = x[i, j, c] * int(scale[c]) + int(bias[c])
                value = (value + (2**op.shift // 2)) // 2**op.shift
                return min(max(value, out.element.lo), out.element.hi)
            if kind == "Add":
                value = sum(s[i, j, c] * 2**n for s, n in zip(sources, op.shifts, strict=True))
                return min(max(value, out.element.lo), out.element.hi)
            if kind == "Concat":
                for source, t in zip(sources, types, strict=True):
                    if c < t.channels:
                        return source[i, j, c]
                    c -= t.channels
            if kind == "LabelSelect":
                values = [x[0, 0, k] for k in range(types[0].channels)]
                return values.index(max(values))
            height, width = types[0].shape[:2] if kind == "GlobalPool" else (op.kernel, op.kernel)
            square = [
                x[i * height + a, j * width + b, c] for a in range(height) for b in range(width)
            ]
            if kind == "MaxPool":
                return max(square)
            return (sum(square) + (2**op.shift // 2)) // 2**op.shift

        tensors[op.name] = {
            (i, j, c): element(i, j, c)
            for i in range(out.height)
            for j in range(out.width)
            for c in range(out.channels)
        }
    return tensors


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [tiny, every_operation])
def test_golden_equals_the_definitions(make, seed):
    network = make(seed)
    shape = network.types["image"].shape
    images = np.random.default_rng(seed).integers(0, 256, (2, *shape)).astype(np.uint8)
    tensors = golden.run(network, images, keep="all")
    for frame, image in enumerate(images):
        for name, expected in naive(network, image).items():
            kind = network.types[name]
            for place, number in expected.items():
                stored = (number + 1) // 2 if kind.element.is_binary else number
                assert tensors[name][(frame, *place)] == stored, (name, place)
                assert kind.element.lo <= number <= kind.element.hi


def test_batches_do_not_change_the_result():
    network = tiny()
    images = np.random.default_rng(1).integers(0, 256, (9, 4, 4, 2)).astype(np.uint8)
    expected = golden.run(network, images)["scores"]
    assert (golden.run(network, images, batch=4)["scores"] == expected).all()
    assert golden.run(network, images[:0])["scores"].shape == (0, 1, 1, 3)


def test_sums_past_single_precision_are_exact():
    weights = np.full((1, 1, 1, 1024), 127)
    network = Network(
        "wide",
        (
            Input(name="image", height=1, width=1, channels=1024),
            Conv(
                name="conv", inputs=("image",), weights=weights, weight_type=parse_element("int8")
            ),
            Conv(
                name="again",
                inputs=("conv",),
                weights=np.full((1, 1, 1, 1), 127),
                weight_type=parse_element("int8"),
            ),
        ),
        ("again",),
    )
    image = np.full((1, 1, 1, 1024), 255, np.uint8)
    image[0, 0, 0, 0] = 254
    result = golden.run(network, image)["again"]
    assert result.item() == (1024 * 255 - 1) * 127 * 127


def test_the_lowest_label_wins_a_tie():
    weights = np.ones((3, 1, 1, 1), int)
    weights[0] = 0
    network = Network(
        "tie",
        (
            Input(name="image", height=1, width=1, channels=1),
            Conv(
                name="scores",
                inputs=("image",),
                weights=weights,
                weight_type=parse_element("int4"),
            ),
            LabelSelect(name="label", inputs=("scores",)),
        ),
        ("scores", "label"),
    )
    images = np.array([9, 0], np.uint8).reshape(2, 1, 1, 1)
    assert golden.run(network, images)["label"].ravel().tolist() == [1, 0]


def test_halves_round_up_and_thresholds_include_equality():
    one = np.ones(1, int)
    network = Network(
        "edges",
        (
            Input(name="image", height=1, width=3, channels=1),
            Threshold(
                name="t",
                inputs=("image",),
                thresholds=5 * one[:, None],
                directions=-one,
                element=parse_element("uint1"),
            ),
            Add(name="sum", inputs=("t", "image"), element=parse_element("uint3")),
        ),
        ("sum",),
    )
    images = np.array([4, 5, 6], np.uint8).reshape(1, 1, 3, 1)
    assert golden.run(network, images)["sum"].ravel().tolist() == [5, 6, 6]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((1, 4, 4, 2)), "must be an array of uint8, not float64"),
        (np.zeros((4, 4, 2), np.uint8), r"must have shape \(N, 4, 4, 2\), not \(4, 4, 2\)"),
        (np.zeros((1, 2, 4, 4), np.uint8), r"not \(1, 2, 4, 4\)"),
    ],
)
def test_wrong_images_are_refused(images, sentence):
    with pytest.raises(ValueError, match=sentence):
        golden.run(tiny(), images)


def test_the_command_writes_scores_and_a_report(tmp_path, capsys):
    save(tiny(), tmp_path / "net")
    images = np.random.default_rng(2).integers(0, 256, (5, 4, 4, 2)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    arguments = [str(tmp_path / "net"), "--images", str(tmp_path / "x.npy"), "--out"]
    assert golden.main([*arguments, str(tmp_path / "y.npy")]) == 0
    result = np.load(tmp_path / "y.npy")
    assert result.dtype == np.int64
    assert (result == golden.run(tiny(), images)["scores"].reshape(5, 3)).all()
    report = json.loads((tmp_path / "y.json").read_text())
    assert report["frames"] == 5
    assert report["digest"] == tiny().digest()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        (b"\x93NUMPY\x01", "is no valid npy file"),
        (
            np.zeros((1, 4, 4, 3), np.uint8),
            r"x.npy: images for tiny must have shape \(N, 4, 4, 2\)",
        ),
    ],
)
def test_the_command_says_what_is_wrong_with_the_images(
    tmp_path, capsys, monkeypatch, content, sentence
):
    save(tiny(), tmp_path / "net")
    path = tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    out = tmp_path / "y.npy"
    arguments = [str(tmp_path / "net"), "--images", str(path), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["golden", *arguments])
    with pytest.raises(SystemExit) as left:
        run_command(golden.main)
    error = capsys.readouterr().err
    assert left.value.code == 1
    assert error.count("\n") == 1
    assert re.search(sentence, error)
    assert not out.exists()
