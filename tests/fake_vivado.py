"""A stand-in for Vivado, and for the shell of a design that it builds.

The program reads the project that lies before it and writes reports and a bitstream of the right
form at once. ``install_vivado`` says what it does otherwise.
"""

import json
import struct
import sys
from pathlib import Path

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.axi.ports import AXI, AXILite

__all__ = [
    "POWER",
    "StandInShell",
    "bit_file",
    "install_vivado",
    "timing_report",
    "utilisation_report",
]

PART = "xczu9eg-ffvb1156-2-e"
PAYLOAD = bytes.fromhex("ffffffffffffffff000000bb11220044ffffffffaa9955662000000030022001")

#: LUTs, of them memory, FFs, RAMB36, RAMB18, DSPs of every instance, itself included.
USED = {
    "top": (1000, 40, 900, 3, 1, 4),
    "top/ps": (10, 0, 20, 0, 0, 0),
    "top/shell": (950, 40, 860, 3, 1, 4),
    "top/shell/probed": (705, 30, 605, 2, 1, 3),
    "top/shell/probed/accelerator": (700, 30, 600, 2, 1, 3),
    "top/shell/probed/accelerator/conv_window": (100, 30, 90, 1, 1, 0),
    "top/shell/probed/accelerator/conv$12": (400, 0, 300, 0, 0, 0),
    "top/shell/probed/accelerator/conv$12/pe0": (200, 0, 150, 0, 0, 0),
    "top/shell/probed/accelerator/scores": (150, 0, 200, 1, 0, 3),
    "top/shell/reader": (100, 10, 90, 1, 0, 0),
}


def bit_file(payload: bytes = PAYLOAD, part: str = PART) -> bytes:
    """A .bit file as Vivado writes it."""
    fields = {
        "a": "top;UserID=0XFFFFFFFF;COMPRESS=TRUE;Version=2023.1",
        "b": part,
        "c": "2023/06/01",
        "d": "12:00:00",
    }
    content = bytes.fromhex("00090ff00ff00ff00ff0000001")
    for key, text in fields.items():
        value = text.encode() + b"\0"
        content += key.encode() + struct.pack(">H", len(value)) + value
    return content + b"e" + struct.pack(">I", len(payload)) + payload


def utilisation_report(used: dict = USED) -> str:
    """As ``report_utilization -hierarchical`` writes it for UltraScale+."""
    names = "Instance|Module|Total LUTs|Logic LUTs|LUTRAMs|SRLs|FFs|RAMB36|RAMB18|URAM|DSP Blocks"
    heading = names.split("|")
    rows = []
    for path, (luts, memory, ffs, ramb36, ramb18, dsps) in used.items():
        parts = path.split("/")
        indent = "  " * (len(parts) - 1)
        numbers = (luts, luts - memory, memory, 0, ffs, ramb36, ramb18, 0, dsps)
        rows.append([indent + parts[-1], "(top)" if indent == "" else parts[-1], *numbers])
        if any(other.startswith(f"{path}/") for other in used):
            rows.append([f"{indent}  ({parts[-1]})", parts[-1], *(1,) * len(numbers)])
    widths = [max(len(str(row[k])) for row in [heading, *rows]) for k in range(len(heading))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(row):
        cells = [
            str(cell).ljust(width) if k == 0 else str(cell).rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    table = [rule, line(heading), rule, *map(line, rows), rule]
    return "\n".join(
        [
            "Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.",
            "| Design       : top",
            "",
            "1. Utilization by Hierarchy",
            "---------------------------",
            "",
            *table,
            "* Note: The sum of lower-level cells may be larger than their parent cells total.",
            "",
        ]
    )


def timing_report(
    period: float = 5.333, setup: float = 0.333, hold: float = 0.012, clock: str = "pl_clk0"
) -> str:
    """As ``report_timing_summary`` writes it."""
    line = "-" * 96
    kinds = ("WNS(ns)", "TNS(ns)", "TNS Failing Endpoints", "TNS Total Endpoints")
    kinds += ("WHS(ns)", "THS(ns)", "THS Failing Endpoints", "THS Total Endpoints")
    kinds += ("WPWS(ns)", "TPWS(ns)", "TPWS Failing Endpoints", "TPWS Total Endpoints")
    heading = "    " + "  ".join(kinds)
    rule = "    " + "  ".join("-" * len(kind) for kind in kinds)
    numbers = (f"{setup:.3f}", "0.000", 0, 420, f"{hold:.3f}", "0.000", 0, 420, "2.225", "0", 0, 9)
    values = "    " + "  ".join(
        str(n).rjust(len(kind)) for n, kind in zip(numbers, kinds, strict=True)
    )
    half = period / 2
    return f"""\
Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
Timing Summary Report

{line}
| Design Timing Summary
| ---------------------
{line}

{heading}
{rule}
{values}


All user specified timing constraints are met.


{line}
| Clock Summary
| -------------
{line}

Clock    Waveform(ns)       Period(ns)      Frequency(MHz)
-----    ------------       ----------      --------------
{clock}  {{0.000 {half:.3f}}}      {period:.3f}          {1e3 / period:.3f}


{line}
| Intra Clock Table
| -----------------
{line}

Clock {heading}
----- {rule}
{clock} {values}


{line}
| Inter Clock Table
| -----------------
{line}

From Clock    To Clock          WNS(ns)
----------    --------          -------
"""


POWER = """\
1. Summary
----------

+--------------------------+--------------+
| Total On-Chip Power (W)  | 2.756        |
| Design Power Budget (W)  | Unspecified* |
| Power Budget Margin (W)  | NA           |
| Dynamic (W)              | 2.438        |
| Device Static (W)        | 0.318        |
| Confidence Level         | Low          |
| Setting File             | ---          |
| Simulation Activity File | ---          |
| Design Nets Matched      | NA           |
+--------------------------+--------------+
"""

_SCRIPT = """#!{python}
import json, os, re, signal, subprocess, sys, time
from pathlib import Path

how = json.loads(Path({settings!r}).read_text())
with open({calls!r}, "a") as log:
    log.write(f"{{os.getpid()}} {{' '.join(sys.argv[1:])}}\\n")
if "-version" in sys.argv:
    print(how["version"])
    sys.exit(how["version_code"])
script = Path("build.tcl").read_text()
def say(line):
    print(line, flush=True)
def value(name):
    return re.search(rf"^set {{name}} (\\S+)$", script, re.M)[1]
say("****** Vivado v2023.1 (64-bit)")
for step in ("synthesis", "optimisation", "placement", "routing"):
    say(f"@bitwright begin {{step}}")
    say("Phase 1.2 Something")
    if how["fails_in"] == step:
        for line in how["says"]:
            say(line)
        if how["signal"]:
            os.kill(os.getpid(), how["signal"])
        if how["hangs"]:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            with open({calls!r}, "a") as log:
                log.write(f"{{child.pid}} child\\n")
            time.sleep(60)
        sys.exit(how["code"])
say("@bitwright begin reports")
for name, text in how["reports"].items():
    Path(name).write_text(text)
lines = [f"design {{value('design')}}", "vivado 2023.1", *how["paths"]]
Path("result.txt").write_text("\\n".join(lines) + "\\n")
if any(float(path.split()[1]) < 0 for path in how["paths"]):
    say("@bitwright failed timing is not met")
    sys.exit(1)
say("@bitwright begin bitstream")
Path(value("top") + ".bit").write_bytes(bytes.fromhex(how["bitstream"]))
say("@bitwright done")
"""

_INSIDE = "shell/probed/accelerator"

PATHS = (
    f"setup 0.333 {_INSIDE}/conv_window/row_reg[3]/C {_INSIDE}/conv$12/sum_reg[0]/D",
    f"hold 0.012 {_INSIDE}/scores/a_reg/C {_INSIDE}/scores/b_reg/D",
)


def install_vivado(folder: Path, monkeypatch, **how) -> Path:
    """Put the program into ``folder`` and name it in the environment.

    Parameters
    ----------
    how : dict
        ``version`` (text) and ``version_code``; ``fails_in`` (a step) with ``says`` (lines),
        ``code``, ``signal`` or ``hangs``; ``reports`` (some, name to text), ``paths`` (the worst
        ones, as the script writes them) and ``bitstream``.
    """
    folder.mkdir(exist_ok=True)
    reports = {
        "utilization.rpt": utilisation_report(),
        "timing.rpt": timing_report(),
        "power.rpt": POWER,
    }
    settings = {
        "version": "vivado v2023.1 (64-bit)\nTool Version Limit: 2023.05",
        "version_code": 0,
        "fails_in": None,
        "says": [],
        "code": 1,
        "signal": 0,
        "hangs": False,
        "paths": PATHS,
        **how,
        "reports": reports | how.get("reports", {}),
        "bitstream": how.get("bitstream", bit_file()).hex(),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    program = folder / "vivado"
    if not program.exists():
        program.write_text(
            _SCRIPT.format(
                python=sys.executable,
                settings=str(folder / "settings.json"),
                calls=str(folder / "calls"),
            )
        )
        program.chmod(0o755)
    monkeypatch.setenv("VIVADO", str(program))
    return program


class StandInShell(wiring.Component):
    """With the ports of a shell behind AXI, and an accelerator that its register feeds."""

    data_bits = 128

    def __init__(self, accelerator: wiring.Component):
        self.accelerator = accelerator
        super().__init__(
            {
                "control": In(AXILite(16)),
                "memory": Out(AXI(40, 128)),
                "interrupt": Out(1),
                "status": Out(8),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        control, written = self.control, Signal(32)
        with m.If(control.wvalid & control.wready):
            m.d.sync += written.eq(control.wdata)
        m.d.comb += [
            control.awready.eq(control.wvalid),
            control.wready.eq(control.awvalid & control.bready),
            control.bvalid.eq(control.wvalid),
            control.arready.eq(control.rready),
            control.rvalid.eq(control.arvalid),
            control.rdata.eq(Cat(accelerator.o.payload, accelerator.o_label.payload)),
            accelerator.i.payload.eq(written[1:]),
            accelerator.i.valid.eq(written[0]),
            accelerator.o.ready.eq(1),
            accelerator.o_label.ready.eq(1),
            self.status.eq(written),
            self.interrupt.eq(accelerator.o.valid),
        ]
        return m
