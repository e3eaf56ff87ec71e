"""The command that chooses a folding for a device."""

import json

import pytest

from boards.board import BOARDS, BoardError, find_board
from boards.devices import DEVICES, budget_of, find_device
from boards.fold import main
from hw.accelerator import Accelerator
from hw.folding import Folding
from model.graph import load, save
from tests.networks import every_operation


@pytest.fixture
def folder(tmp_path):
    save(every_operation(), tmp_path / "network")
    return tmp_path / "network"


def run(folder, *options):
    out = folder.parent / "made" / "folding.json"
    code = main([str(folder), "--device", "xczu3eg", "--out", str(out), *options])
    return code, out


def test_a_target_is_met_and_the_report_says_what_the_folding_takes(folder, capsys):
    code, out = run(folder, "--target-cycles", "3000")
    assert code == 0
    network = load(folder)
    folding = Folding.load(out, network)
    accelerator = Accelerator(network=network, folding=folding)
    report = json.loads(out.with_name("folding.report.json").read_text())
    assert report["interval"] == accelerator.interval <= 3000
    assert report["latency"] == accelerator.latency
    assert [layer["name"] for layer in report["layers"]] == [op.name for op in network.order]
    for layer in report["layers"]:
        assert layer["pe"] == folding[layer["name"]].pe
        assert layer["fifo_depths"] == list(folding[layer["name"]].fifo_depths)
        assert layer["cycles"] == accelerator.intervals[layer["name"]]
    luts = sum(layer["luts"] for layer in report["layers"])
    assert report["total"]["luts"] == pytest.approx(luts, abs=1 + len(report["layers"]) / 10)
    printed = capsys.readouterr().out
    assert f"interval {report['interval']:,} cycles" in printed and "budget" in printed


def test_without_a_target_a_smaller_budget_makes_it_slower(folder):
    code, out = run(folder)
    fast = json.loads(out.with_name("folding.report.json").read_text())
    half = str(round(fast["total"]["luts"] / 2))
    code_half, out = run(folder, "--luts", half)
    slow = json.loads(out.with_name("folding.report.json").read_text())
    assert code == code_half == 0
    assert slow["interval"] > fast["interval"]
    assert slow["total"]["luts"] <= float(half) == slow["budget"]["luts"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--luts", "70561"), "--luts must be from 1 to 70,560, not 70,561"),
        (("--brams", "0"), "--brams must be from 1 to 216, not 0"),
        (("--device", "xc7z020"), "there is no device 'xc7z020'; known are lfe5u-25f, "),
        (("--target-cycles", "0"), "target_cycles must be positive, not 0"),
        (("--target-cycles", "1"), "cannot run at 1 cycles a frame"),
        (("--luts", "40"), "does not fit XCZU3EG at any folding"),
    ],
)
def test_bad_options_are_one_sentence(folder, capsys, options, sentence):
    code, out = run(folder, *options)
    printed = capsys.readouterr().err
    assert code == 1 and sentence in printed and printed.count("\n") == 1
    assert not out.exists()


def test_devices_are_found_by_name_and_boards_have_them():
    assert find_device("XCZU3EG") is DEVICES["xczu3eg"]
    with pytest.raises(BoardError, match="there is no device 'x'; known are "):
        find_device("x")
    for board in BOARDS:
        device = find_board(board).device
        assert any(
            (device.luts, device.ffs, device.brams, device.dsps)
            == (known.luts, known.ffs, known.brams, known.dsps)
            for known in DEVICES.values()
        )


def test_a_budget_leaves_room_for_place_and_route():
    device = DEVICES["xczu3eg"]
    assert budget_of(device).luts == 59_976 and budget_of(device).brams == 216
    assert budget_of(device, luts=60_000, dsps=None).luts == 60_000
