"""Running Vivado in batch, with what it is at on the terminal."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from boards.tools import Ticker, ToolError, run_tool
from boards.vivado.project import Project
from boards.vivado.script import MARK, RESULT
from boards.vivado.tool import Vivado

__all__ = ["LOG", "Result", "WorstPath", "read_result", "run_project"]

#: What Vivado said.
LOG = "build.log"

#: Lines of Vivado that tell how far a step is.
_NEWS = re.compile(r"(Phase [\d.]+ |Start(ed|ing) |Finished )")


@dataclass(frozen=True)
class WorstPath:
    """The path with the least slack of its kind, which is "setup" or "hold"."""

    kind: str
    slack_ns: float
    start: str
    end: str


@dataclass(frozen=True)
class Result:
    """What the script wrote when all its steps had run.

    Parameters
    ----------
    version : str
        Of Vivado.
    paths : tuple of WorstPath
        Setup first.
    """

    version: str
    paths: tuple[WorstPath, ...]

    @property
    def met(self) -> bool:
        return all(path.slack_ns >= 0 for path in self.paths)


def read_result(folder: Path, project: Project) -> Result | None:
    """The result of ``project`` in ``folder``; None if there is none, or it is of another one."""
    try:
        lines = (folder / RESULT).read_text().splitlines()
    except OSError:
        return None
    entries = [line.split() for line in lines]
    head = dict(entry for entry in entries if len(entry) == 2)
    script = project.files()["build.tcl"].decode()
    if not head.get("design") or f"set design {head['design']}\n" not in script:
        return None
    paths = tuple(
        WorstPath(kind, float(slack), start, end)
        for kind, slack, start, end in (entry for entry in entries if len(entry) == 4)
    )
    return Result(head.get("vivado", "of unknown version"), paths) if paths else None


class _Progress:
    """Reads the log while it grows, and shows each step that it tells of."""

    def __init__(self, log: Path, ticker: Ticker):
        self._log = log
        self._ticker = ticker
        self._at = 0
        self._rest = ""
        self._news = ""
        self._step = None
        self.name = "start of Vivado"
        self.seconds: dict[str, float] = {}
        self.failure: str | None = None

    def __enter__(self) -> "_Progress":
        self._open(self.name)
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.read()
        self._close(kind, error, trace)

    def _open(self, name: str) -> None:
        self.name, self._news = name, ""
        self._step = self._ticker.step(name, lambda: self._news)
        self._step.__enter__()

    def _close(self, *error) -> None:
        self._step.__exit__(*(error or (None, None, None)))
        self.seconds[self.name] = round(self._step.seconds, 1)

    def read(self) -> None:
        """Take note of what is new in the log."""
        with contextlib.suppress(OSError), open(self._log, "rb") as file:
            file.seek(self._at)
            new = file.read()
            self._at += len(new)
            *lines, self._rest = (self._rest + new.decode(errors="replace")).split("\n")
            for line in lines:
                self._take(line.strip())

    def _take(self, line: str) -> None:
        mark, _, text = line.partition(" ")
        if mark == MARK and text.startswith("begin "):
            self._close()
            self._open(text.removeprefix("begin "))
        elif mark == MARK and text.startswith("failed "):
            self.failure = self.failure or text.removeprefix("failed ")
        elif _NEWS.match(line):
            self._news = line

    def tick(self) -> None:
        self.read()
        self._step.tick()


def run_project(
    project: Project, vivado: Vivado, folder: Path, ticker: Ticker
) -> tuple[Result, dict[str, float]]:
    """Build ``project``, which is in ``folder``.

    Returns
    -------
    result : Result
        Timing need not be met.
    seconds : dict of step to float

    Raises
    ------
    ToolError
        A step failed; one sentence that says which one and why.
    """
    (folder / RESULT).unlink(missing_ok=True)
    log = folder / LOG
    log.unlink(missing_ok=True)
    argv = [vivado.path, "-mode", "batch", "-notrace", "-nojournal", "-source", "build.tcl"]
    with _Progress(log, ticker) as progress:
        code = run_tool(argv, cwd=folder, log=log, tick=progress.tick)
    result = read_result(folder, project)
    # Timing that is not met makes the script end in failure too, but all its steps have run.
    if result is None or (result.met and code):
        raise ToolError(f"{progress.name} failed: {_reason(progress, log, code)}; see {log}")
    with open(log, "rb") as file:
        os.fsync(file.fileno())
    return result, progress.seconds


def _reason(progress: _Progress, log: Path, code: int) -> str:
    text = log.read_text(errors="replace")
    crash = re.search(r"^Abnormal program termination \((.*)\)", text, re.MULTILINE)
    if crash:
        return f"Vivado crashed (signal {crash[1]})"
    if code < 0 or code > 128:
        return f"Vivado was killed by signal {-code if code < 0 else code - 128}"
    if progress.failure and not progress.failure.startswith("ERROR"):
        return progress.failure.strip().rstrip(".")
    # The first error is what went wrong; what comes later is what came of it. Vivado's last word
    # is often no more than that there were errors.
    first = re.search(r"^ERROR: (.*)$", text, re.MULTILINE)
    if first:
        return first[1].strip().rstrip(".")
    return f"exit code {code}" if code else "Vivado ended before it was done"
