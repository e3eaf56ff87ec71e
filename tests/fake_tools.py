"""Stand-ins for synthesis, place and route and bitstream packing, and for a network.

The tools write files of the right form at once. ``behave`` changes what one of them does.
"""

import itertools
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.board import find_board
from boards.design import Design
from hw.fold import Folding, LayerFolding
from tests.uart_bench import StandIn

__all__ = ["BITSTREAM", "CELLS", "calls", "fake_design", "install_tools", "netlist"]

BITSTREAM = (
    b"\xff\x00Part: fake\x00\xff\xff\xff\xbd\xb3" + bytes(64) + bytes.fromhex("5e000000ffffffff")
)

#: Cells of the mapped design by the path that their names begin with.
CELLS = {
    "clock.": {"EHXPLLL": 1},
    "shell.": {"LUT4": 100, "CCU2C": 5, "TRELLIS_FF": 80},
    "shell.accelerator.": {"LUT4": 7},
    "shell.accelerator.conv_window.": {"LUT4": 40, "TRELLIS_DPR16X4": 4, "TRELLIS_FF": 30},
    # A submodule whose name a signal has, and a name that Yosys made up.
    "shell.accelerator.conv$12.": {"LUT4": 290, "DP16KD": 2, "TRELLIS_FF": 200},
    "$flatten\\shell.\\accelerator.\\conv$12.": {"LUT4": 10},
    "shell.accelerator.scores.": {"LUT4": 60, "MULT18X18D": 3},
}


def netlist(cells: dict[str, dict[str, int]] = CELLS) -> bytes:
    """A netlist as Yosys writes it."""
    named = {
        f"{path}some_{kind}_{index}": {"type": kind}
        for path, kinds in cells.items()
        for kind, count in kinds.items()
        for index in range(count)
    }
    library = {"LUT4": {"cells": {}}}
    return json.dumps({"modules": {**library, "top": {"cells": named}}}).encode() + b"\n"


ROUTED = {
    "fmax": {"$glbnet$clock.clk": {"achieved": 61.5, "constraint": 50.0}},
    "utilization": {
        "TRELLIS_COMB": {"used": 560, "available": 83640},
        "TRELLIS_FF": {"used": 311, "available": 83640},
        "DP16KD": {"used": 2, "available": 208},
        "MULT18X18D": {"used": 3, "available": 156},
    },
}

_SCRIPT = """#!{python}
import json, os, sys, time
from pathlib import Path

tool = Path(sys.argv[0]).name
settings = json.loads(Path({settings!r}).read_text())
with open({calls!r}, "a") as log:
    log.write(f"{{tool}} {{os.getpid()}}\\n")
mine = settings.get(tool, {{}})
if "hang" in mine:
    time.sleep(mine["hang"])
for name, content in settings["files"][tool].items():
    content = bytes.fromhex(mine.get("files", {{}}).get(name, content))
    if content:
        Path(name).write_bytes(content)
print(mine.get("says", "Info: fine"))
sys.exit(mine.get("code", 0))
"""


def install_tools(folder: Path, monkeypatch, **behave: dict) -> None:
    """Put the tools into ``folder`` and name them in the environment.

    Parameters
    ----------
    behave : dict by tool
        ``code`` (exit code), ``says`` (output), ``hang`` (seconds), ``files`` (name to content).
    """
    folder.mkdir(exist_ok=True)
    files = {
        "yosys": {"top.json": netlist()},
        "nextpnr": {
            "top.config": b".device LFE5U-85F\n\n",
            "top.report.json": json.dumps(ROUTED).encode(),
        },
        "ecppack": {"top.bit": BITSTREAM},
    }
    settings = {
        "files": {
            tool: {name: content.hex() for name, content in made.items()}
            for tool, made in files.items()
        }
    }
    for tool, how in behave.items():
        made = {name: content.hex() for name, content in how.get("files", {}).items()}
        settings[tool] = {**how, "files": made}
    (folder / "settings.json").write_text(json.dumps(settings))
    for tool, variable in (
        ("yosys", "YOSYS"),
        ("nextpnr", "NEXTPNR_ECP5"),
        ("ecppack", "ECPPACK"),
    ):
        script = folder / tool
        if not script.exists():
            script.write_text(
                _SCRIPT.format(
                    python=sys.executable,
                    settings=str(folder / "settings.json"),
                    calls=str(folder / "calls"),
                )
            )
            script.chmod(0o755)
        monkeypatch.setenv(variable, str(script))


def calls(folder: Path) -> list[str]:
    """Names of the tools that have run so far."""
    log = folder / "calls"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


class _Sum(wiring.Component):
    a: In(8)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.o + self.a)
        return m


class _Layered(StandIn):
    """With a submodule for each unit of a layer, which do not take part in the results."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        for name in itertools.chain(*self.layers.values()):
            m.submodules[name] = unit = _Sum()
            # A result that is used makes it a port of the submodule.
            result = Signal(8, name=f"{name}_result")
            m.d.comb += [unit.a.eq(self.i.payload.as_value()), result.eq(unit.o)]
        return m


def fake_design(
    *, lanes: int = 1, name: str = "tiny", label: str = "label", board: str = "ulx3s_85f"
) -> Design:
    """A network of two layers that a stand-in carries out."""

    def tensor(height, width, channels, element):
        return SimpleNamespace(height=height, width=width, channels=channels, element=element)

    def operation(kind, name, **attributes):
        return type(kind, (), {"name": name, **attributes})()

    image = operation("Input", "image")
    network = SimpleNamespace(
        name=name,
        input=image,
        order=(
            image,
            operation("Conv", "conv", weights=()),
            operation("Dense", "scores", weights=()),
            operation("LabelSelect", "label"),
        ),
        outputs=("scores", label),
        types={
            "image": tensor(4, 3, 1, "uint8"),
            "conv": tensor(4, 3, 8, "uint4"),
            "scores": tensor(1, 1, 4, "int12"),
            "label": tensor(1, 1, 1, "uint2"),
        },
        digest=lambda: "5a" * 32,
    )
    accelerator = _Layered(beats=12 // lanes, lanes=lanes, classes=4, score_lanes=1)
    accelerator.layers = {"conv": ["conv_window", "conv"], "scores": ["scores"]}
    accelerator.intervals = {"image": 12, "conv": 900, "scores": 40, "label": 4}
    accelerator.interval, accelerator.latency = 912, 1500
    folding = Folding({"conv": LayerFolding(pe=8, simd=9), "scores": LayerFolding(pe=1, simd=2)})
    return Design(find_board(board), network, folding, accelerator)


if __name__ == "__main__":
    # Prints the digest of the plan, to compare it between processes.
    from boards.design import make_plan

    design = fake_design()
    os.environ.pop("AMARANTH_ENV_TRELLIS", None)
    print(make_plan(design, design.board.target.clock(50e6), 1_000_000).digest().hex())
