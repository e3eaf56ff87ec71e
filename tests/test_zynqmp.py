"""The tops of the boards with a Zynq UltraScale+: primitive, ports, pins, clock."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pyosys
import pytest

from boards.board import BoardError, find_board
from boards.design import make_design, make_shell, make_simulation
from boards.pl_clock import IOPLL_HZ, PLClock, find_pl_clock
from boards.ps8_ports import PS8_INPUTS, PS8_ONES
from boards.synthesis import RUN
from hw.verilog import port_widths, to_verilog
from tests.networks import tiny

# Refused designs are made and thrown away here.
pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")

LIBRARY = Path(pyosys.__file__).parent / "share" / "xilinx" / "cells_xtra.v"
BOARDS = ("ultra96v2", "zcu102")


@cache
def library_module(name: str) -> str:
    """A primitive as the library of Yosys declares it, which is what AMD's own does."""
    return re.search(rf"^module {name}\b.*?^endmodule$", LIBRARY.read_text(), re.M | re.S)[0]


@cache
def design(board: str):
    return make_design(find_board(board), tiny(), target_cycles=200)


@cache
def top(board: str, data_bits: int):
    made = design(board)
    target = made.board.target
    clock = target.clock(target.clock_hz)
    return target.top(make_shell(made, clock.hertz, 0, data_bits), clock)


@pytest.fixture(scope="module", params=[("ultra96v2", 128), ("zcu102", 64)], ids=BOARDS)
def board_and_verilog(request):
    board, data_bits = request.param
    return find_board(board), to_verilog(top(board, data_bits), "top", clocked=False)


def test_the_inputs_of_the_primitive_are_all_listed():
    inputs = re.findall(r"^    input (?:\[(\d+):0\] )?(\w+);", library_module("PS8"), re.M)
    widths = {name: int(high or 0) + 1 for high, name in inputs if "_PAD_" not in name}
    assert widths == PS8_INPUTS
    assert set(PS8_INPUTS) >= PS8_ONES


def test_yosys_accepts_the_top_with_the_primitives(board_and_verilog, tmp_path):
    _, verilog = board_and_verilog
    (tmp_path / "top.v").write_text(verilog)
    library = [library_module("PS8"), library_module("BUFG_PS")]
    (tmp_path / "library.v").write_text("\n".join(library))
    script = """
        read_verilog -lib library.v
        read_verilog top.v
        # A port that the primitive does not have ends here; one of another width warns.
        hierarchy -check -top top
        proc
        check -assert
        select -assert-count 1 t:PS8
        select -assert-count 1 t:BUFG_PS
        select -assert-count 1 t:PS8 a:keep=TRUE %i
        select -assert-count 1 t:PS8 a:DONT_TOUCH=TRUE %i
        select -assert-count 2 w:reset_stage* a:ASYNC_REG=TRUE %i
    """
    (tmp_path / "top.ys").write_text(script)
    done = subprocess.run(
        [sys.executable, "-c", RUN, "top.ys"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    assert "Warning: Resizing" not in done.stdout + done.stderr


def test_what_is_not_used_of_the_primitive_rests(board_and_verilog):
    _, verilog = board_and_verilog
    instance = re.search(r"^  PS8 ps8 \((.*?)\);", verilog, re.M | re.S)[1]
    given = dict(re.findall(r"\.(\w+)\((.*)\)", instance))
    assert set(PS8_INPUTS) <= set(given)
    for name in PS8_ONES:
        assert given[name] == "1'h1", name
    assert given["MAXIGP0ACLK"] == given["SAXIGP2RCLK"] == given["SAXIGP2WCLK"]
    used = ("MAXIGP0", "SAXIGP2", "PLPSIRQ0")
    for name in set(PS8_INPUTS) - PS8_ONES:
        if not name.startswith(used):
            assert re.fullmatch(r"\d+'[hd]0+", given[name]), name


def test_every_port_of_the_top_has_its_pin(board_and_verilog):
    board, verilog = board_and_verilog
    ports = port_widths(top(board.name, 128 if board.name == "ultra96v2" else 64))
    bits = {f"{name}[{bit}]" for name, (_, width) in ports.items() for bit in range(width)}
    assert [pin.port for pin in board.pins] == sorted(bits)
    assert len({pin.location for pin in board.pins}) == len(board.pins)
    assert re.search(r"^module top\(leds\);", verilog, re.M)


@pytest.mark.parametrize("board", BOARDS)
def test_the_part_is_the_device(board):
    board = find_board(board)
    assert board.part.startswith(f"{board.device.name.lower()}-")
    assert board.target.flow == "vivado"


@pytest.mark.parametrize("board", BOARDS)
def test_in_simulation_the_ports_of_the_primitive_are_those_of_the_top(board):
    made = make_simulation(design(board), data_bits=64)
    ports = port_widths(made)
    assert ports["control_awid"] == ("input", 16)
    assert ports["control_araddr"] == ("input", 40)
    assert ports["control_rdata"] == ("output", 32)
    assert ports["memory_araddr"] == ("output", 40)
    assert ports["memory_rdata"] == ("input", 64)
    assert ports["memory_wstrb"] == ("output", 8)
    assert ports["interrupt"] == ("output", 1)
    assert ports["leds"] == ("output", len(find_board(board).pins))
    identity = made.shell.identity
    assert identity.network == tiny().digest()
    assert (identity.image, identity.result, identity.label) == ((4, 4, 2), (1, 1, 3), True)
    assert (identity.board, identity.clock_hz) == (board, 187_500_000)


def test_a_board_without_a_processing_system_is_refused():
    made = make_design(find_board("ulx3s_85f"), tiny(), target_cycles=200)
    with pytest.raises(BoardError, match="ulx3s_85f has no processing system"):
        make_simulation(made)


@pytest.mark.parametrize("wanted", [187.5e6, 200e6, 100e6, 333e6, 1e6, 4e8, IOPLL_HZ / 3969])
def test_the_clock_is_the_next_one_below(wanted):
    clock = find_pl_clock(wanted)
    every = [IOPLL_HZ / (a * b) for a in range(1, 64) for b in range(1, 64)]
    assert clock.hertz == max(hertz for hertz in every if hertz <= wanted * (1 + 1e-9))
    assert clock.hertz == IOPLL_HZ / (clock.divisor0 * clock.divisor1)
    assert clock.divisor0 in range(1, 64) and clock.divisor1 in range(1, 64)


def test_the_default_clock_is_one_that_there_is():
    for board in BOARDS:
        target = find_board(board).target
        assert target.clock(target.clock_hz) == PLClock(divisor0=8, divisor1=1)
        assert target.clock(target.clock_hz).hertz == target.clock_hz


@pytest.mark.parametrize("wanted", [0.3e6, 401e6, 0, -1])
def test_clocks_that_there_are_not_are_refused(wanted):
    with pytest.raises(ValueError, match="the clock must be from 0.378 to 400 MHz"):
        find_pl_clock(wanted)
