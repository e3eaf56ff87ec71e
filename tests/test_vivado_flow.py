"""Building with Vivado: what is made, what is skipped, and what is left when something fails."""

import fcntl
import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from boards import build
from boards.estimate import Estimate
from boards.flow import Record
from boards.levels import LongestPath
from boards.report import Report
from boards.resources import Resources
from boards.vivado import flow
from boards.vivado.bitstream import to_bin
from boards.vivado.project import INSIDE
from tests.fake_tools import fake_design
from tests.fake_vivado import (
    PATHS,
    StandInShell,
    bit_file,
    install_vivado,
    timing_report,
    utilisation_report,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")


class Workshop:
    """A folder, a design whose shell is a stand-in, and the command run in it."""

    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self.tools, self.out = folder, folder / "tools", folder / "out"
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.board = "zcu102"
        self.design = {}
        self.luts = 300
        monkeypatch.setattr("model.graph.load", lambda name: self.make().network)
        monkeypatch.setattr("model.graph.save", lambda network, folder: folder.mkdir(exist_ok=True))
        monkeypatch.setattr(build, "make_design", lambda *a, **k: self.make())
        monkeypatch.setattr(
            flow, "make_shell", lambda design, hertz, baud: StandInShell(design.accelerator)
        )
        monkeypatch.setattr(flow, "estimate", self.estimate)
        # Converting takes longer than all the rest; the tests of the project do it.
        monkeypatch.setattr("hw.verilog.to_verilog", self.verilog)
        monkeypatch.setattr(Report, "draw", lambda report, path: path.write_bytes(b"picture"))
        monkeypatch.delenv("VIVADO", raising=False)
        monkeypatch.delenv("XILINX_VIVADO", raising=False)
        monkeypatch.setenv("PATH", str(folder / "nothing"))
        monkeypatch.chdir(folder)

    def make(self):
        return fake_design(board=self.board, **self.design)

    def verilog(self, component, name, **how):
        return f"module {name}; // {self.design}\nendmodule\n"

    def estimate(self, design, cache, ticker):
        units = {unit: Resources(self.luts, packed_luts=self.luts) for unit in ("conv", "scores")}
        return Estimate(design.layers(units), LongestPath(7, ("conv",)), {"pyosys": "1"})

    def install(self, **how):
        return install_vivado(self.tools, self.monkeypatch, **how)

    def run(self, *options):
        code = build.main([self.board, "tiny", "--out", str(self.out), *options])
        self.output, self.error = self.capsys.readouterr()
        return code

    def fails(self, sentence, *options, code=1):
        """Run, and check that it ends in one sentence and leaves no bitstream behind."""
        assert self.run(*options) == code
        lines = self.error.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), self.error
        assert sentence in lines[0]
        assert not list((self.out / "board").glob("*.bi*"))
        assert not Record.path(self.out).exists()
        assert not [path for path in self.out.rglob("*") if "partial" in path.name]

    @property
    def calls(self):
        """What the programs were called for, and their processes."""
        log = self.tools / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(line.split()[0]), line.partition(" ")[2]) for line in lines]

    @property
    def builds(self):
        return sum("-source build.tcl" in what for _, what in self.calls)


@pytest.fixture
def shop(tmp_path, monkeypatch, capsys):
    return Workshop(tmp_path, monkeypatch, capsys)


@pytest.fixture
def built(shop):
    """With a good build of before, of a design that has changed since."""
    shop.install()
    assert shop.run() == 0
    shop.design = {"lanes": 2}
    shop.monkeypatch.setattr(build.Options, "sources", lambda self, tools: "changed")
    return shop


def test_a_build_makes_all_that_the_board_needs(shop):
    shop.install()
    assert shop.run() == 0
    board = shop.out / "board"
    assert (board / "tiny.bit").read_bytes() == bit_file()
    assert (board / "tiny.bin").read_bytes() == to_bin(bit_file())
    assert {"tiny.hwh", "tiny.dtso", "tiny", "boards", "model"} <= {p.name for p in board.iterdir()}
    assert (board / "boards" / "host" / "__main__.py").exists()
    readme = (board / "README.txt").read_text()
    assert "python3 -m boards.host tiny --bitstream tiny.bit" in readme
    assert "187.500 MHz" in readme and "0xA0000000" in readme
    assert "Vivado 2023.1" in shop.output and "copy the folder" in shop.output
    for step in ("synthesis", "optimisation", "placement", "routing", "reports", "bitstream"):
        assert f"{step}: " in shop.output


def test_the_report_has_the_estimate_beside_what_was_placed(shop):
    shop.install()
    assert shop.run() == 0
    report = json.loads((shop.out / "report.json").read_text())
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert layers["conv"]["luts"] == 300
    # Two submodules, one of which has a number that Amaranth gave it.
    assert layers["conv"]["placed"]["luts"] == 500 and layers["conv"]["placed"]["brams"] == 1.5
    assert layers["scores"]["placed"]["dsps"] == 3
    assert layers["streams"]["placed"]["luts"] == 700 - 650
    assert layers["shell"]["placed"]["luts"] == 1000 - 700
    assert report["placed"] == {"luts": 1000, "ffs": 900, "brams": 3.5, "dsps": 4, "lutrams": 40}
    assert report["clocks"] == [
        {"name": "pl_clk0", "achieved_mhz": 200.0, "wanted_mhz": 187.512, "met": True}
    ]
    assert report["clock_mhz"] == 187.5
    assert report["slowest_layer"] == "conv"
    assert report["power"]["total_w"] == 2.756 and report["power"]["confidence"] == "Low"
    assert report["versions"] == {"vivado": "2023.1", "pyosys": "1"}
    assert list(report["seconds"])[:3] == ["start of Vivado", "synthesis", "optimisation"]
    for word in ("LUT placed", "power 2.756 W", "200.0 MHz reached", "the worst path ends in conv"):
        assert word in shop.output


def test_nothing_is_done_again_when_nothing_changed(shop):
    shop.install()
    assert shop.run() == 0
    shop.monkeypatch.setattr(build, "make_design", lambda *a, **k: pytest.fail("elaborated again"))
    assert shop.run() == 0
    assert shop.builds == 1 and "is up to date" in shop.output


def test_a_change_that_leaves_the_project_alone_builds_nothing(shop):
    shop.install()
    assert shop.run() == 0
    shop.monkeypatch.setattr(build.Options, "sources", lambda self, tools: "other")
    assert shop.run() == 0
    assert shop.builds == 1 and "is up to date" in shop.output
    assert Record.read(shop.out).sources == "other"


def test_another_design_is_built_again(built):
    assert built.run() == 0
    assert built.builds == 2


def test_another_vivado_builds_again(shop):
    program = shop.install()
    assert shop.run() == 0
    with open(program, "a") as script:
        script.write("# another one\n")
    assert shop.run() == 0
    assert shop.builds == 2


def test_a_bitstream_is_as_good_as_ever_where_vivado_has_gone(shop):
    shop.install()
    assert shop.run() == 0
    shop.monkeypatch.delenv("VIVADO")
    assert shop.run() == 0
    assert "is up to date" in shop.output


@pytest.mark.parametrize(
    "damage",
    [
        lambda out: (out / "board" / "tiny.bit").unlink(),
        lambda out: (out / "board" / "tiny.bit").write_bytes(b"x"),
        lambda out: (out / "build.json").unlink(),
        lambda out: (out / "report.json").unlink(),
    ],
)
def test_what_is_damaged_is_made_again(shop, damage):
    shop.install()
    assert shop.run() == 0
    damage(shop.out)
    assert shop.run() == 0
    # Vivado's own results are still good.
    assert shop.builds == 1
    assert (shop.out / "board" / "tiny.bit").read_bytes() == bit_file()
    assert (shop.out / "report.json").exists() and Record.read(shop.out) is not None


# Failures.


def test_failing_synthesis_gives_the_first_error(built):
    built.install(
        fails_in="synthesis",
        says=[
            "ERROR: [Synth 8-439] module 'nowhere' not found [top.v:7]",
            "ERROR: [Common 17-69] Command failed: Synthesis failed",
            "@bitwright failed ERROR: [Common 17-69] Command failed: Synthesis failed",
        ],
    )
    built.fails("synthesis failed: [Synth 8-439] module 'nowhere' not found [top.v:7]; see")
    assert built.builds == 2 and not (built.out / "report.json").exists()


def test_what_the_script_finds_wrong_is_passed_on(built):
    sentence = "the constraint of the clock pl_clk0 found no pin"
    built.install(fails_in="optimisation", says=[f"@bitwright failed {sentence}"])
    built.fails(f"optimisation failed: {sentence}")


def test_failing_without_a_word_gives_the_exit_code(built):
    built.install(fails_in="routing", code=7)
    built.fails("routing failed: exit code 7")


def test_ending_early_without_failure_is_noticed(built):
    built.install(fails_in="placement", code=0)
    built.fails("placement failed: Vivado ended before it was done")


def test_a_crash_is_named(built):
    built.install(fails_in="placement", signal=signal.SIGKILL)
    built.fails("placement failed: Vivado was killed by signal 9")
    built.install(fails_in="routing", says=["Abnormal program termination (11)"], code=1)
    built.fails("routing failed: Vivado crashed (signal 11)")


def missed(setup=-0.667, hold=0.012):
    """What Vivado finds where a path is too long, or too short."""
    setup_path, hold_path = PATHS
    return {
        "paths": (
            setup_path.replace("0.333", f"{setup:.3f}"),
            hold_path.replace("0.012", f"{hold:.3f}"),
        ),
        "reports": {"timing.rpt": timing_report(setup=setup, hold=hold)},
    }


def test_missed_timing_names_the_layers_and_a_clock_that_would_do(built):
    built.install(**missed())
    built.fails(
        "timing is not met: clock pl_clk0 reaches 166.7 MHz of 187.5 MHz; the worst setup path, "
        "0.667 ns too long, is in conv (it ends at shell/probed/accelerator/conv$12/sum_reg[0]/D); "
        "--clock-mhz 166.667 should do"
    )
    report = json.loads((built.out / "report.json").read_text())
    assert report["clocks"][0]["met"] is False and (built.out / "report.png").exists()
    assert not list(built.out.rglob("*.bit"))


def test_a_clock_that_would_do_is_one_that_there_is(shop):
    clock = shop.make().board.target.clock(166.667e6)
    assert clock.hertz == pytest.approx(166.6666667e6)


def test_missed_hold_is_told_apart(built):
    built.install(**missed(setup=0.333, hold=-0.02))
    built.fails("0.020 ns too short, is in scores (it ends at")
    assert "a slower clock does not mend that" in built.error


def test_a_pulse_too_short_for_the_device_is_refused(built):
    report = timing_report().replace(" 2.225", "-0.150")
    assert "-0.150" in report
    built.install(reports={"timing.rpt": report})
    built.fails("timing is not met: a clock pulse is 0.150 ns shorter than the device allows")


def test_missed_timing_is_told_again_without_building_again(built):
    built.install(**missed())
    assert built.run() == 1 and built.run() == 1
    assert built.builds == 2 and "--clock-mhz" in built.error


def test_a_clock_without_constraint_is_not_trusted(built):
    built.install(reports={"timing.rpt": timing_report(period=10.0)})
    built.fails("Vivado knows no clock of 187.5 MHz")


@pytest.mark.parametrize("name", ["utilization.rpt", "timing.rpt", "power.rpt"])
def test_a_report_cut_short_is_noticed(built, name):
    built.install(reports={name: "| Design : top\n"})
    built.fails("report")


def test_a_report_of_another_design_is_noticed(built):
    used = {"top": (10, 0, 0, 0, 0, 0)}
    built.install(reports={"utilization.rpt": utilisation_report(used)})
    built.fails("no instance shell/probed/accelerator")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (bit_file()[:-4], "the bitstream is not complete: a .bit file must hold"),
        (b"", "the bitstream is not complete: a .bit file must begin with its header"),
        (bit_file(part="xczu3eg-sbva484-1-i"), "must be for xczu9eg, not xczu3eg-sbva484-1-i"),
    ],
)
def test_a_bitstream_that_is_no_good_one_is_refused(built, content, sentence):
    built.install(bitstream=content)
    built.fails(sentence)


def test_a_design_too_large_is_refused_before_vivado_runs(built):
    built.luts = 400_000
    built.fails("tiny does not fit XCZU9EG: it needs 800,000 of 274,080 packed LUTs")
    assert built.builds == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_vivado_and_all_that_it_started(built, number):
    built.install(fails_in="placement", hangs=True)

    def interrupt():
        while "child" not in [what for _, what in built.calls]:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    built.fails("interrupted", code=130)
    waiting.join()
    for process, _ in built.calls[-2:]:
        # The child's own parent is gone, so it may be left to be waited for by nobody.
        state = Path(f"/proc/{process}/stat")
        for _ in range(100):
            if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"process {process} still runs")
    built.install()
    assert built.run() == 0


def test_a_disk_that_is_nearly_full_is_named_before_anything_is_touched(built):
    usage = shutil.disk_usage(".")._replace(free=3 << 20)
    built.monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert built.run() == 1
    assert "has 3 MiB left, and a build needs 64 MiB" in built.error
    assert built.builds == 1 and Record.read(built.out) is not None


def test_a_second_build_in_the_same_folder_is_refused(built):
    with open(built.out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert built.run() == 1
    assert "another build is running in" in built.error
    assert (built.out / "board" / "tiny.bit").exists()


# Which Vivado.


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("Vivado v2022.1 (64-bit)", "must be 2022.2 or newer, and"),
        ("Vivado v.2019.2 (64-bit)", "is 2019.2; name another one"),
        ("hello", "must tell its version, but ended with exit code 0 and said 'hello'"),
    ],
)
def test_a_vivado_that_is_too_old_or_none_is_refused(shop, version, sentence):
    shop.install(version=version)
    shop.fails(sentence)
    assert shop.builds == 0


def test_a_vivado_that_does_not_start_is_refused(shop):
    shop.install(version="no license manager", version_code=4)
    shop.fails("ended with exit code 4 and said 'no license manager'")


@pytest.mark.parametrize("version", ["Vivado v2022.2 (64-bit)", "vivado v2025.2.1 (64-bit)"])
def test_oldest_and_newest_are_taken(shop, version):
    shop.install(version=version)
    assert shop.run() == 0 and "warning" not in shop.output


def test_a_newer_vivado_is_warned_of(shop):
    shop.install(version="vivado v2027.1 (64-bit)")
    assert shop.run() == 0
    assert "made for Vivado 2022.2 to 2025.2, this one is newer" in shop.output


def test_vivado_is_found_on_the_path_and_in_its_folder(shop, tmp_path):
    program = shop.install()
    shop.monkeypatch.delenv("VIVADO")
    bin_folder = tmp_path / "Xilinx" / "bin"
    bin_folder.mkdir(parents=True)
    shutil.copy(program, bin_folder / "vivado")
    shop.monkeypatch.setenv("XILINX_VIVADO", str(tmp_path / "Xilinx"))
    assert flow.find_vivado().path == str(bin_folder / "vivado")
    shop.monkeypatch.setenv("PATH", str(shop.tools))
    assert flow.find_vivado().path == str(program)
    shop.monkeypatch.setenv("VIVADO", str(tmp_path / "Xilinx"))
    assert flow.find_vivado().path == str(bin_folder / "vivado")


def test_a_named_vivado_that_is_missing_is_refused(shop):
    shop.monkeypatch.setenv("VIVADO", "/nowhere/vivado")
    shop.fails("'/nowhere/vivado', named by the environment variable VIVADO, is no program")


# Without it.


def test_without_vivado_the_whole_project_is_written(shop):
    shop.fails("there is no Vivado here; the complete project is in", code=3)
    assert "on a machine with Vivado 2022.2 to 2025.2, run `vivado -mode batch" in shop.error
    names = {path.name for path in (shop.out / "vivado").iterdir()}
    assert names == {"top.v", "top.xdc", "build.tcl", "build.sh"}
    assert (shop.out / "folding.json").exists()
    assert (shop.out / "board" / "tiny.dtso").exists()


def test_no_build_writes_the_same_and_succeeds(shop):
    program = shop.install()
    assert shop.run("--no-build") == 0
    assert "the complete project is in" in shop.output and shop.calls == []
    written = {path.name: path.read_bytes() for path in (shop.out / "vivado").iterdir()}
    shop.monkeypatch.delenv("VIVADO")
    program.unlink()
    shop.fails("there is no Vivado here", code=3)
    assert written == {path.name: path.read_bytes() for path in (shop.out / "vivado").iterdir()}


def test_no_build_leaves_a_good_bitstream_of_the_same_design_alone(shop):
    shop.install()
    assert shop.run() == 0
    assert shop.run("--no-build") == 0
    assert Record.read(shop.out) is not None
    shop.design = {"lanes": 2}
    assert shop.run("--no-build") == 0
    assert Record.read(shop.out) is None and not list(shop.out.rglob("*.bi?"))


def test_a_project_that_was_built_elsewhere_is_gone_on_with(shop, monkeypatch):
    shop.fails("there is no Vivado here", code=3)
    program = shop.install()
    monkeypatch.chdir(shop.out / "vivado")
    assert os.spawnv(os.P_WAIT, str(program), ["vivado", "-source", "build.tcl"]) == 0
    monkeypatch.chdir(shop.folder)
    monkeypatch.delenv("VIVADO")
    assert shop.run() == 0
    assert "has been built by Vivado 2023.1" in shop.output
    assert (shop.out / "board" / "tiny.bit").read_bytes() == bit_file()
    assert shop.run() == 0 and "is up to date" in shop.output


# The bare accelerator.


def bare_used():
    inside = "top/shell/probed/accelerator"
    from tests.fake_vivado import USED

    return {
        path.replace(inside, "accelerator"): used
        for path, used in USED.items()
        if path.startswith(inside)
    }


def bare(**how):
    """What Vivado reports of the accelerator alone."""
    path = PATHS[0].replace("shell/probed/accelerator/", "")
    reports = {"utilization.rpt": utilisation_report(bare_used())}
    return {"paths": (path,), **how, "reports": reports | how.get("reports", {})}


def test_out_of_context_reports_area_and_timing_of_the_bare_accelerator(shop):
    shop.install(**bare())
    assert shop.run("--ooc") == 0
    report = json.loads((shop.out / "report.json").read_text())
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert layers["conv"]["luts"] == 500 and layers["streams"]["luts"] == 50
    assert report["placed"] == {} and report["slowest_layer"] == "conv"
    assert {path.name for path in shop.out.iterdir()} == {
        *(".lock", "folding.json", "report.json", "report.png", "vivado")
    }


def test_out_of_context_too_large_or_too_slow_fails(shop):
    path = PATHS[0].replace("shell/probed/accelerator/", "").replace("0.333", "-1.000")
    shop.install(**bare(paths=(path,), reports={"timing.rpt": timing_report(setup=-1.0)}))
    shop.fails("the worst setup path, 1.000 ns too long, is in conv", "--ooc")


#: Of the stand-in's units, as Verilator writes it, simulated at a clock of 2 ns.
ACTIVITY = """\
// Generated by verilated_saif
(SAIFILE
(SAIFVERSION "2.0")
(TIMESCALE 1ps)
(DURATION 20000)
 (INSTANCE bench
  (NET
   (clk (T0 10000) (T1 10000) (TZ 0) (TX 0) (TB 0) (TC 20))
  )
  (INSTANCE dut
   (NET
    (clk (T0 10000) (T1 10000) (TZ 0) (TX 0) (TB 0) (TC 20))
    (row\\(0\\)\\[1\\] (T0 4000) (T1 16000) (TZ 0) (TX 0) (TB 0) (TC 3))
   )
   (INSTANCE conv_window
   )
   (INSTANCE conv$12
   )
   (INSTANCE scores
   )
  )
 )
)
"""


def test_switching_activity_is_placed_where_the_accelerator_is(shop, tmp_path):
    saif = tmp_path / "x.saif"
    saif.write_text(ACTIVITY)
    assert shop.run("--no-build", "--saif", str(saif)) == 0
    script = (shop.out / "vivado" / "build.tcl").read_text()
    assert "read_saif -strip_path {top} switching.saif" in script
    placed = (shop.out / "vivado" / "switching.saif").read_text()
    names = re.findall(r"INSTANCE (\S+)", placed)
    assert names == ["top", *INSIDE, "conv_window", "conv$12", "scores"]
    # Ten cycles of 5.333 ns, and all times in proportion.
    assert "(DURATION 53333)" in placed and "(T0 10667) (T1 42667)" in placed and "(TC 3)" in placed
    unescaped = re.sub(r"\\\\.", "", placed)
    assert unescaped.count("(") == unescaped.count(")")
    assert shop.run("--no-build", "--ooc", "--saif", str(saif)) == 0
    script = (shop.out / "vivado" / "build.tcl").read_text()
    assert "read_saif -strip_path {top/shell/probed/accelerator} switching.saif" in script


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("nothing", "it must begin with (SAIFILE"),
        (ACTIVITY[:-3], "it is cut short"),
        (ACTIVITY.replace("scores", "other"), "is it of another network or folding?"),
        (ACTIVITY.replace("(TC 20)", "(TC 0)"), "how often the clock clk switches"),
        (ACTIVITY.replace("(DURATION 20000)", ""), "must tell its duration"),
    ],
)
def test_switching_activity_of_something_else_is_refused(shop, tmp_path, content, sentence):
    saif = tmp_path / "x.saif"
    saif.write_text(content)
    shop.fails("x.saif cannot be used as switching activity: ", "--saif", str(saif))
    assert sentence in shop.error
    shop.fails("absent.saif", "--saif", "absent.saif")


# Bad input.


@pytest.mark.parametrize("option", [["--ooc"], ["--saif", "x"], ["--writable"]])
def test_options_for_vivado_are_refused_elsewhere(shop, option):
    shop.board = "ulx3s_85f"
    shop.fails(f"{option[0]} is for boards with a processing system, not for ulx3s_85f", *option)


def test_options_that_exclude_each_other_are_refused(shop):
    shop.fails("--no-build does not go with it", "--estimate", "--no-build")
    shop.fails("--saif is for Vivado's power report", "--estimate", "--saif", "x")


def test_a_clock_that_the_processing_system_cannot_make_is_named(shop):
    shop.fails("zcu102 cannot be clocked so: the clock must be from", "--clock-mhz", "900")
