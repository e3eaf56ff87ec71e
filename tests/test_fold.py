"""Folding files: what they may say, what is refused, and the cycles that follow."""

import json

import numpy as np
import pytest

from hw.fold import (
    Folding,
    FoldingError,
    LayerFolding,
    conv_map,
    fold_cycles,
    level_columns,
    thermometer_lanes,
)
from hw.lowering import border_classes, initial_sums, stream_columns, window_lanes
from tests.networks import every_operation


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folding.json"


def write(path, layers, **changes):
    path.write_text(
        json.dumps({"format": "bitwright-folding", "version": 1, "layers": layers, **changes})
    )
    return path


def test_a_saved_folding_reads_back(path):
    folding = Folding(
        {
            "conv1": LayerFolding(pe=2, simd=9, ram_style="block", multiplier="dsp"),
            "add": LayerFolding(pe=4, fifo_depths=(0, 30)),
        }
    )
    folding.save(path)
    assert Folding.load(path, every_operation()) == folding
    assert Folding.load(path, every_operation())["xnor"] == LayerFolding()


def test_a_full_disk_leaves_no_folding_behind(path, monkeypatch):
    def full(self, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        Folding({}).save(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ({"conv9": {"pe": 1}}, "network 'every' has no operation 'conv9'; it has image, conv1"),
        ({"conv1": {"PE": 1}}, "'conv1' has no folding key 'PE'; it has pe, simd, ram_style"),
        ({"dw": {"simd": 1}}, "'dw' has no folding key 'simd'; it has pe, ram_style, multiplier"),
        ({"conv1": {"pe": 3}}, "folding of 'conv1': pe must divide 4 channels, not 3"),
        ({"conv1": {"pe": "4"}}, "folding of 'conv1': pe must divide 4 channels, not '4'"),
        ({"conv1": {"pe": 0}}, "folding of 'conv1': pe must divide 4 channels, not 0"),
        ({"conv1": {"simd": 2}}, "simd must divide 9 taps of some divisor of 1 input channels"),
        (
            {"xnor": {"simd": 8}},
            "simd must divide 9 taps of some divisor of 4 input channels, not 8",
        ),
        ({"concat": {"pe": 8}}, "pe must divide 4 and 4 channels, not 8"),
        ({"xnor": {"ram_style": "ultra"}}, "ram_style must be one of auto, block, distributed"),
        ({"fractional": {"multiplier": "lut"}}, "'fractional' has no folding key 'multiplier'; it"),
        ({"fractional": {"simd": 5}}, "simd must divide 9 taps of some divisor of 4 input"),
        ({"thermometer": {"pe": 2}}, "folding of 'thermometer': pe must divide 3 channels, not 2"),
        ({"twice": {"pe": 2}}, "pe must divide 3 and 3 channels, not 2"),
        ({"xnor": {"multiplier": "fpu"}}, "multiplier must be lut or dsp, not 'fpu'"),
        ({"add": {"fifo_depths": [1]}}, "fifo_depths must have 2 entries, not 1"),
        ({"add": {"fifo_depths": [1, -1]}}, "fifo_depths must be integers from 0 to"),
        ({"add": {"fifo_depths": 4}}, "fifo_depths of 'add' must be a list"),
        ({"conv1": [1]}, "the folding of 'conv1' must be an object"),
        ([], "layers must be an object of operation names"),
    ],
)
def test_an_impossible_folding_is_refused(path, layers, sentence):
    with pytest.raises(FoldingError, match=sentence):
        Folding.load(write(path, layers), every_operation())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file"),
        ("{", "is not valid JSON"),
        ('{"format": "finn"}', "is not a folding file"),
        (
            '{"format": "bitwright-folding", "version": 7, "layers": {}}',
            "has version 7, but this Bitwright reads 1",
        ),
        (
            '{"format": "bitwright-folding", "version": 1, "layers": {}, "pe": 1}',
            "unknown key 'pe'",
        ),
    ],
)
def test_a_file_that_is_no_folding_is_refused(path, content, sentence):
    if content is not None:
        path.write_text(content)
    with pytest.raises(FoldingError, match=sentence):
        Folding.load(path, every_operation())


def test_cycles_of_a_layer_are_those_of_its_slowest_unit():
    network = every_operation()

    def cycles(name, **keys):
        return fold_cycles(network.operation(name), network, LayerFolding(**keys))

    assert cycles("image") == 64
    # 64 pixels, 4/pe row folds, 9/simd column folds.
    assert cycles("conv1", pe=1, simd=1) == 64 * 4 * 9
    assert cycles("conv1", pe=2, simd=3) == 64 * 2 * 3
    # All at once: the window, which also visits the padding column of each of the 8 rows.
    assert cycles("conv1", pe=4, simd=9) == 8 * 9
    assert cycles("dw", pe=1) == 8 * 9 * 4
    assert cycles("rprelu", pe=2) == 128
    assert cycles("strided", pe=6, simd=72) == 16
    assert cycles("concat", pe=4) == 16 * 2
    assert cycles("scores", pe=1, simd=2) == 5 * 3


def test_a_thermometers_levels_are_taken_where_simd_is_a_multiple_of_them():
    network = every_operation()
    conv, bits = network.operation("levels"), network.operation("bits")

    def taken(op, **keys):
        return level_columns(op, network, LayerFolding(**keys))

    assert [taken(conv, simd=simd) for simd in (1, 3, 9, 27)] == [1, 3, 3, 3]
    assert taken(bits) == 1
    assert str(conv_map(conv, network, LayerFolding(simd=3))) == "8x8x1 uint2"
    assert str(conv_map(conv, network, LayerFolding())) == "8x8x3 binary"
    # 16 pixels, 6/pe row folds, 27/simd column folds; or the window's 8 rows of 9 columns.
    assert fold_cycles(conv, network, LayerFolding(pe=1, simd=9)) == 16 * 6 * 3
    assert fold_cycles(conv, network, LayerFolding(pe=6, simd=27)) == 8 * 8
    # The thermometer makes all three bits of a number at once.
    thermometer = network.operation("thermometer")
    assert fold_cycles(thermometer, network, LayerFolding(pe=1)) == 64
    assert thermometer_lanes(thermometer, network, LayerFolding(pe=3)) == 1


def test_border_classes_group_rows_by_the_taps_outside():
    assert border_classes(5, 5, 3, 1, 1) == ([0, 1, 1, 1, 2], [(0,), (), (2,)])
    assert border_classes(4, 2, 3, 2, 1) == ([0, 1], [(0,), ()])
    assert border_classes(1, 1, 3, 1, 1) == ([0], [(0, 2)])
    assert border_classes(3, 1, 3, 1, 0) == ([0], [()])
    classes, outside = border_classes(3, 3, 5, 1, 2)
    assert classes == [0, 1, 2]
    assert outside == [(0, 1), (0, 4), (3, 4)]


def test_initial_sums_take_the_padding_out_again():
    rng = np.random.default_rng(0)
    weights = rng.choice([-1, 1], (3, 3, 3, 2))
    bias = rng.integers(-5, 5, 3)
    sums = initial_sums(weights.tolist(), bias.tolist(), [(0,), ()], [(0,), (), (2,)])
    # Where the padding reads as -1, the sum of products is off by minus the weights outside.
    for row, rows in enumerate([(0,), ()]):
        for column, columns in enumerate([(0,), (), (2,)]):
            padded = np.ones((3, 3, 2), int)
            padded[list(rows)] = 0
            padded[:, list(columns)] = 0
            read = np.where(padded == 0, -1, 1)
            for channel in range(3):
                wanted = (weights[channel] * padded).sum() + bias[channel]
                got = (weights[channel] * read).sum() + sums[row * 3 + column][channel]
                assert got == wanted


def test_columns_are_in_stream_order():
    weights = np.arange(2 * 2 * 2 * 4).reshape(2, 2, 2, 4)
    columns = stream_columns(weights.tolist(), 2)
    assert columns[0] == [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]
    assert stream_columns(weights.tolist(), 4)[1] == list(range(16, 32))


def test_a_window_has_the_fewest_lanes_that_keep_up():
    assert window_lanes(64, 9, 9, 64) == 1
    assert window_lanes(64, 9, 9, 63) == 2
    assert window_lanes(64, 9, 64, 64) == 64
    assert window_lanes(64, 9, 72, 64) == 8
    assert window_lanes(64, 9, 7, 64) is None
    # None is fast enough: the fastest there is.
    assert window_lanes(4, 9, 36, 0) == 4
