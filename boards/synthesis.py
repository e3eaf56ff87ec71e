"""Synthesis without place and route: what each unit of an accelerator takes from a device.

Units are synthesised one by one, and what came out is kept by the digest of what went in, so that
another folding only costs the units that it changes.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from boards.flow import write_atomically
from boards.levels import Paths, unit_paths
from boards.resources import XCUP_LUTS, Resources, count_cells, pack_luts
from boards.tools import Ticker, ToolError, run_tool

__all__ = [
    "RUN",
    "Netlist",
    "Unit",
    "estimate_units",
    "find_module",
    "read_netlist",
    "safe_names",
    "synthesis_script",
    "synthesise_units",
]

#: Increase when scripts or counting change: results that were kept before are then ignored.
_VERSION = 5

_SYNTHESIS = {
    "ecp5": "synth_ecp5 -nowidelut",
    "xcup": "synth_xilinx -family xcup -flatten -noiopad",
}
#: What a Python process runs to carry out the Yosys script that is its argument.
RUN = (
    "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
)


@dataclass(frozen=True)
class Unit:
    """What synthesis says of one unit."""

    resources: Resources
    paths: Paths


class _Stopped(Exception):
    """Another unit failed, or the user interrupted."""


def synthesis_script(family: str, top: str) -> list[str]:
    """Yosys commands that map the module ``top``, which has been read already.

    What was read must have gone through :func:`safe_names`.
    """
    return [
        # The equivalence check after mapping takes longer than all the rest for popcounts.
        "scratchpad -set abc9.verify 0",
        f"{_SYNTHESIS[family]} -top {top}",
        # A net that is used and has no driver is the trace of logic that was lost.
        "check -assert",
    ]


def safe_names(text: str) -> str:
    """RTLIL in which no wire is called like a bit of another one.

    Amaranth gives the elements of an array wires of their own, ``payload[0]`` beside ``payload``.
    Yosys' abc9 calls the bits of ``payload`` the same while it maps, mistakes one for the other,
    and then either stops at an assertion (https://github.com/YosysHQ/yosys/issues/4349) or, worse,
    loses lanes without a word.
    """
    return re.sub(r"\\\S*\[\S*", lambda name: name[0].replace("[", "(").replace("]", ")"), text)


class Netlist:
    """The modules of a design as RTLIL text.

    Parameters
    ----------
    text : str
        What Amaranth's ``rtlil.convert`` returns.
    """

    def __init__(self, text: str):
        text = safe_names(text)
        self.modules: dict[str, str] = {}
        starts = [
            match.start() for match in re.finditer(r"(?:^attribute .*\n)*^module ", text, re.M)
        ]
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            part = text[start:end]
            name = re.search(r"^module \\(\S+)", part, re.M)
            if name:
                self.modules[name[1]] = part

    def subtree(self, top: str) -> str:
        """The text of module ``top`` and all below it."""
        names = [name for name in self.modules if name == top or name.startswith(f"{top}.")]
        return "".join(self.modules[name] for name in names)

    def wires(self, top: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """The wires between the submodules of ``top``: (submodule, output), (submodule, input).

        Submodules are called as their modules, without ``top``. The parts of a signal count as one.
        """
        text = self.modules[top]
        parts: dict[str, list[str]] = {}
        for line in re.findall(r"^(?:  )?connect (.*)$", text, re.M):
            whole, *others = _names(line)
            parts.setdefault(whole, []).extend(others)

        def bare(name: str) -> set[str]:
            return set().union(*map(bare, parts[name])) if name in parts else {name}

        makers: dict[str, list[tuple[str, str]]] = {}
        takers: dict[str, list[tuple[str, str]]] = {}
        for module, body in re.findall(r"^  cell \\(\S+) .*\n((?:    .*\n)*)", text, re.M):
            outputs = set(re.findall(r"^  wire .*output \d+ +\\(\S+)", self.modules[module], re.M))
            for port, value in re.findall(r"^    connect \\(\S+) (.*)$", body, re.M):
                for name in set().union(*map(bare, _names(value))):
                    ends = makers if port in outputs else takers
                    ends.setdefault(name, []).append((module.removeprefix(f"{top}."), port))
        return [
            (output, entry)
            for name, outputs in makers.items()
            for output in outputs
            for entry in takers.get(name, [])
        ]


def _names(text: str) -> list[str]:
    """Wires that a piece of RTLIL mentions."""
    return re.findall(r"\\(\S+)", text)


def find_module(modules: dict[str, object], path: str) -> str:
    """The module of the submodule with that path.

    Amaranth appends ``$`` and a number to a submodule's name where a signal has the same one.
    """
    name = ""
    for part in path.split("."):
        prefix = f"{name}.{part}" if name else part
        if prefix not in modules:
            numbered = re.compile(re.escape(prefix) + r"\$\d+")
            prefix = next((module for module in modules if numbered.fullmatch(module)), None)
            if prefix is None:
                raise ValueError(f"the design has no module {path!r}")
        name = prefix
    return name


def estimate_units(
    units: dict[str, str], *, family: str, cache: Path, ticker: Ticker
) -> dict[str, Resources]:
    """Resources of each unit: :func:`synthesise_units` without the paths."""
    made = synthesise_units(units, family=family, cache=cache, ticker=ticker)
    return {name: unit.resources for name, unit in made.items()}


def synthesise_units(
    units: dict[str, str], *, family: str, cache: Path, ticker: Ticker
) -> dict[str, Unit]:
    """Resources and longest paths of each unit.

    Parameters
    ----------
    units : dict of module name to the RTLIL text of the module and all below it
    family : {"ecp5", "xcup"}
    cache : Path
        Folder in which results are kept.

    Raises
    ------
    ToolError
        pyosys is missing, or synthesis of a unit failed.
    """
    try:
        version = importlib.metadata.version("pyosys")
    except importlib.metadata.PackageNotFoundError:
        raise ToolError("pyosys is missing; install it with `pip install pyosys`") from None
    cache.mkdir(parents=True, exist_ok=True)
    kept = {name: cache / f"{_digest(family, version, text)}.json" for name, text in units.items()}
    results = {name: _read(path) for name, path in kept.items()}
    missing = [name for name, result in results.items() if result is None]
    if missing:
        state = {"text": "starting"}
        stop = threading.Event()

        def tick() -> None:
            if stop.is_set():
                raise _Stopped
            step.tick()

        jobs = min(4, os.cpu_count() or 1, len(missing))
        step = ticker.step(f"synthesis of {len(missing)} units", lambda: state["text"])
        with step, ThreadPoolExecutor(jobs) as pool:
            futures = {
                pool.submit(_synthesise, family, name, units[name], cache, tick): name
                for name in missing
            }
            try:
                for done, future in enumerate(as_completed(futures), start=1):
                    name = futures[future]
                    results[name] = future.result()
                    _write(kept[name], results[name])
                    state["text"] = f"{done} done, last {name.rpartition('.')[2]}"
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise
    return results


def _synthesise(family: str, name: str, text: str, cache: Path, tick) -> Unit:
    with tempfile.TemporaryDirectory(dir=cache, prefix="unit-") as folder:
        work = Path(folder)
        (work / "unit.il").write_text(text)
        script = [
            "read_rtlil unit.il",
            *synthesis_script(family, name),
            "write_json unit.json",
        ]
        (work / "unit.ys").write_text("\n".join(script) + "\n")
        log = work / "unit.log"
        code = run_tool([sys.executable, "-c", RUN, "unit.ys"], cwd=work, log=log, tick=tick)
        if code:
            errors = re.findall(r"^ERROR: (.*)$", log.read_text(errors="replace"), re.M)
            reason = errors[-1] if errors else f"exit code {code}"
            raise ToolError(f"synthesis of {name} failed: {reason}")
        try:
            return read_netlist(json.loads((work / "unit.json").read_text()), name, family)
        except ValueError as error:
            raise ToolError(f"synthesis of {name} made what cannot be counted: {error}") from None


def read_netlist(netlist: dict, top: str, family: str) -> Unit:
    """The flat module ``top`` in what Yosys' ``write_json`` wrote."""
    module = netlist["modules"][top]
    cells = module["cells"].values()
    types: dict[str, int] = {}
    for cell in cells:
        types[cell["type"]] = types.get(cell["type"], 0) + 1
    counted = count_cells(family, types)
    packed = None
    if family == "xcup":
        luts = [
            [
                bits[0]
                for port, bits in cell["connections"].items()
                if port.startswith("I") and isinstance(bits[0], int)
            ]
            for cell in cells
            if cell["type"] in XCUP_LUTS
        ]
        packed = pack_luts(luts) + counted.lutrams
    paths = unit_paths(module)
    return Unit(replace(counted, packed_luts=packed, depth=paths.depth), paths)


def _digest(family: str, version: str, text: str) -> str:
    digest = hashlib.sha256(f"{_VERSION} {family} {version}\n".encode())
    digest.update(text.encode())
    return digest.hexdigest()[:40]


def _read(path: Path) -> Unit | None:
    try:
        kept = json.loads(path.read_text())
        paths = {**kept["paths"], "ends": tuple(kept["paths"]["ends"])}
        return Unit(Resources(**kept["resources"]), Paths(**paths))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(path: Path, result: Unit) -> None:
    write_atomically(path, json.dumps(asdict(result)).encode())
