"""The rules of the house that a program can check: who imports whom, and how files look."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("model", "hw", "boards", "sim", "formal", "bench", "tests")
FILES = sorted(
    path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.stat().st_size
)
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

#: The integer network: numpy and each other, no torch, and for golden none but the graph.
MATHEMATICS = {
    "model.elements": set(),
    "model.operation": {"model.elements"},
    "model.convolution": {"model.elements", "model.operation"},
    "model.operations": {"model.convolution", "model.elements", "model.operation"},
    "model.graph": {"model.elements", "model.operations"},
    "model.golden": {"model.cli", "model.elements", "model.operations", "model.graph"},
    "model.fuse": {"model.elements", "model.operations", "model.graph", "model.golden"},
}

#: Those of hw that see the network or files; the others are units, which see neither.
COMPOSING = (
    "hw.accelerator", "hw.compose", "hw.cost", "hw.fold", "hw.folding", "hw.layer_cost",
    "hw.structure",
)  # fmt: skip

#: What a unit may import: Amaranth, and of the standard library what is mathematics or language.
UNIT_LIBRARY = {
    "__future__", "abc", "bisect", "collections", "dataclasses", "enum", "fractions",
    "functools", "itertools", "math", "operator", "re", "typing",
}  # fmt: skip


#: What the user's side shares with the rest: it is copied to boards that have numpy alone. pyserial
#: and PYNQ are imported where they are used.
HOST_SHARES = {"boards.protocol", "boards.registers", "model.cli", "model.graph"}
HOST_PACKAGES = {"numpy", "pynq", "serial"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Dotted names of all that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports must be absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                inside = ROOT.joinpath(*whole.split("."))
                is_module = inside.with_suffix(".py").is_file() or inside.is_dir()
                found.add(whole if is_module else node.module)
    return found


def room_of(module: str) -> str:
    return module.split(".")[0]


def broken_rules(module: str, imported: str) -> str | None:
    """Why ``module`` must not import ``imported``, or None."""
    room, source = room_of(module), room_of(imported)
    if source == "formal" and room != "formal":
        return "nothing may import formal"
    if room == "formal" and source in ("model", "bench"):
        return "formal proves gateware, whatever network it is for"
    if source in ("tests", "sim", "bench") and source != room and room not in ("tests", "bench"):
        return f"nothing may import {source}"
    if source == "bench" and room == "tests":
        return "nothing may import bench"
    if module in MATHEMATICS:
        if source == "torch":
            return "the integer network knows no torch"
        if source in ROOMS and imported not in MATHEMATICS[module]:
            return "shared code hides shared bugs"
    if room == "model" and source in ROOMS and source != "model":
        return "model knows nothing of the other rooms"
    if room == "hw":
        if source in ROOMS and source not in ("hw", "model"):
            return "hw knows nothing of boards and simulation"
        if source in ("numpy", "torch"):
            return "hw works on ints and lists"
        if source == "model" and module not in COMPOSING:
            return "only what composes the accelerator reads the network"
        if (
            source == "model"
            and room_of(imported) == "model"
            and imported
            not in (
                "model.elements",
                "model.graph",
                "model.operations",
            )
        ):
            return "of model, hw reads the graph alone"
        is_unit = module not in COMPOSING and module != "hw.verilog"
        if is_unit and source in sys.stdlib_module_names and source not in UNIT_LIBRARY:
            return "units know neither files nor the environment"
        if is_unit and imported in COMPOSING:
            return "units know nothing of what is composed of them"
    if room == "boards" and source in ("model", "hw"):
        whole = (
            "boards.build", "boards.fold", "boards.host", "boards.parameters", "boards.report",
            "boards.shells",
        )  # fmt: skip
        if source == "model" and not module.startswith(whole):
            return "boards.build is where network, accelerator and board meet"
    if f"{module}.".startswith("boards.host."):
        if source in ROOMS:
            if not imported.startswith("boards.host.") and imported not in HOST_SHARES:
                return "the user's side is copied to boards without the rest"
        elif source not in sys.stdlib_module_names | HOST_PACKAGES:
            return "a board has numpy alone"
    tops = ("sim.axi_", "sim.test_", "sim.uart_")
    if room == "sim" and source == "boards" and not module.startswith(tops):
        return "sim joins network and gateware, not boards"
    return None


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_follow_the_rules(path):
    module = module_of(path)
    broken = {name: reason for name in imports_of(path) if (reason := broken_rules(module, name))}
    assert not broken


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("model.graph", "torch"),
        ("model.golden", "model.fuse"),
        ("model.golden", "hw.lanes"),
        ("model.fuse", "torch"),
        ("model.train", "hw.mvau"),
        ("model.train", "sim.run"),
        ("hw.mvau", "numpy"),
        ("hw.mvau", "torch"),
        ("hw.mvau", "model.graph"),
        ("hw.mvau", "os"),
        ("hw.mvau", "pathlib"),
        ("hw.mvau", "boards.shells"),
        ("hw.mvau", "hw.folding"),
        ("hw.accelerator", "model.golden"),
        ("hw.accelerator", "numpy"),
        ("boards.ulx3s", "model.graph"),
        ("boards.host", "sim.harness"),
        ("boards.host", "model.golden"),
        ("boards.host.linux", "boards.pl_clock"),
        ("boards.host.linux", "hw.fold"),
        ("boards.host.command", "rich.progress"),
        ("boards.host.batches", "amaranth.hdl"),
        ("boards.build", "tests.streams"),
        ("sim.cases", "tests.streams"),
        ("sim.run", "boards.build"),
        ("tests.test_stream", "bench.pe_luts"),
        ("tests.test_stream", "formal.stream"),
        ("sim.cases", "formal.prove"),
        ("formal.axi", "sim.harness"),
        ("formal.axi", "model.graph"),
    ],
)
def test_the_rules_forbid(module, imported):
    assert broken_rules(module, imported)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("model.golden", "numpy"),
        ("model.golden", "model.graph"),
        ("model.export", "torch"),
        ("hw.mvau", "hw.lanes"),
        ("hw.mvau", "amaranth.hdl"),
        ("hw.accelerator", "model.graph"),
        ("boards.build", "model.graph"),
        ("boards.host.command", "boards.host.serial"),
        ("boards.host.batches", "boards.registers"),
        ("boards.host.serial", "numpy"),
        ("sim.run", "model.golden"),
        ("sim.test_uart_top", "boards.host"),
        ("bench.pe_luts", "hw.pe"),
        ("formal.test_axi", "boards.axi.lite"),
        ("formal.stream", "hw.stream"),
    ],
)
def test_the_rules_allow(module, imported):
    assert broken_rules(module, imported) is None


def test_imports_are_found_wherever_they_are(tmp_path):
    source = "import os\nfrom model import graph\ndef f():\n    from hw.lanes import lanes\n"
    path = tmp_path / "module.py"
    path.write_text(source)
    assert imports_of(path) == {"os", "model.graph", "hw.lanes"}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_are_short(path):
    most = 400
    lines = len(path.read_text().splitlines())
    assert lines <= most or room_of(module_of(path)) != "hw", (
        f"{lines} lines, a file of hw has {most} at most"
    )
    assert lines <= 600


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_modules_say_what_they_offer(path):
    if room_of(module_of(path)) == "tests" or path.name.startswith(("test_", "__", "conftest")):
        pytest.skip("offers nothing")
    tree = ast.parse(path.read_text(), str(path))
    lists = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__all__"]
    ]
    assert lists, "__all__ is missing"
    offered = ast.literal_eval(lists[0].value)
    defined = {
        name
        for node in tree.body
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
            else [alias.asname or alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom | ast.Import)
            else [ast.unparse(t) for t in getattr(node, "targets", [getattr(node, "target", node)])]
        )
    }
    assert set(offered) <= defined, "__all__ lists what is not there"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_path_of_one_machine(path):
    found = re.findall(r"[\"'](/(?:home|root|work|Users|mnt|opt)/[^\"']*)", path.read_text())
    assert not found
