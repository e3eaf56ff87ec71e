"""From a build plan to a bitstream with the open ECP5 tools.

What is in the output folder afterwards is either a complete bitstream together with the record of
what it was made from, or no bitstream: the bitstream gets its name only when it is complete, and
the record, which is removed before anything else happens, is written last.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from boards.tools import TOOLS, Ticker, ToolError, run_tool

__all__ = [
    "BuildError",
    "Record",
    "check_space",
    "locked",
    "plan_digest",
    "run_plan",
    "sha256_of",
    "write_atomically",
]

#: Free space without which a build is not begun.
_SPACE = 256 << 20

#: ECP5 bitstreams end in the command ISC_PROGRAM_DONE and four idle bytes.
_BITSTREAM_START = b"\xff\xff\xbd\xb3"
_BITSTREAM_END = bytes.fromhex("5e000000ffffffff")

_WORDS = {
    "yosys": "synthesis",
    "nextpnr-ecp5": "place and route",
    "ecppack": "bitstream",
}


class BuildError(ValueError):
    """The build failed; one sentence."""


@dataclass(frozen=True)
class Record:
    """What a complete bitstream was made from.

    Parameters
    ----------
    sources : str
        Digest of everything that the build plan depends on.
    plan : str
        Digest of the build plan and the tools.
    bitstream : str
        Name of the file in the output folder.
    sha256 : str
        Of the bitstream.
    """

    sources: str
    plan: str
    bitstream: str
    sha256: str

    @staticmethod
    def path(out: Path) -> Path:
        return out / "build.json"

    @classmethod
    def read(cls, out: Path) -> "Record | None":
        """The record in ``out``, or None if there is none or the bitstream is not the one of it."""
        try:
            entries = json.loads(cls.path(out).read_text())
            record = cls(**entries)
            good = sha256_of(out / record.bitstream) == record.sha256
        except (OSError, ValueError, TypeError):
            return None
        return record if good else None

    def write(self, out: Path) -> None:
        write_atomically(self.path(out), (json.dumps(asdict(self), indent=1) + "\n").encode())


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is complete or not there, also after a power failure."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def plan_digest(plan) -> str:
    """Digest of a build plan (``amaranth.build.run.BuildPlan``) and the tools that will run it."""
    digest = hashlib.sha256(plan.digest())
    for tool in TOOLS.values():
        digest.update(tool.version().encode())
    return digest.hexdigest()


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other builds out of a folder.

    Raises
    ------
    BuildError
        One is there already.
    """
    with open(out / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"another build is running in {out}") from None
        yield


def check_space(out: Path, needed: int = _SPACE) -> None:
    """Refuse to begin what a full disk would end.

    Raises
    ------
    BuildError
        ``out`` has less than ``needed`` bytes left.
    """
    free = shutil.disk_usage(out).free
    if free < needed:
        raise BuildError(
            f"the disk is nearly full: {out} has {free >> 20} MiB left, and a build needs "
            f"{needed >> 20} MiB"
        )


def run_plan(
    plan,
    *,
    out: Path,
    name: str,
    ticker: Ticker,
    begin: Callable[[], object],
    after: dict[str, Callable[[Path, dict[str, float]], None]],
) -> dict[str, float]:
    """Carry out a build plan, in a folder that is :func:`locked`.

    Parameters
    ----------
    plan : amaranth.build.run.BuildPlan
        Of a Lattice platform with the toolchain "Trellis".
    out : Path
        Gets ``NAME.bit``; the folder ``work`` in it gets everything else.
    name : str
    begin : callable
        Called when nothing is in the way any more, before anything is made: removes what an earlier
        build has made.
    after : dict
        By the name of a tool, what is called with the work folder and the seconds so far once the
        tool has run. It may raise to end the build.

    Returns
    -------
    seconds : dict of step to float

    Raises
    ------
    ToolError, BuildError, OSError
        Then there is no bitstream in ``out``, unless nothing was begun.
    """
    work = out / "work"
    out.mkdir(parents=True, exist_ok=True)
    programs = {tool: TOOLS[tool].find() for tool in TOOLS}
    check_space(out)
    begin()
    shutil.rmtree(work, ignore_errors=True)
    plan.extract(str(work))
    seconds = {}
    for tool, *arguments in json.loads(plan.files[f"{plan.script}.json"])["commands"]:
        made = work / _made_by(tool, arguments)
        log = work / f"{tool}.log"
        with ticker.step(_WORDS[tool], lambda log=log: _last_words(work, log)) as step:
            code = run_tool([programs[tool], *arguments], cwd=work, log=log, tick=step.tick)
            _check_result(tool, code, made, work, log)
        seconds[_WORDS[tool]] = round(step.seconds, 1)
        if tool in after:
            after[tool](work, dict(seconds))
    _check_bitstream(made)
    with open(made, "rb") as file:
        os.fsync(file.fileno())
    made.replace(out / f"{name}.bit")
    return seconds


def _made_by(tool: str, arguments: list[str]) -> str:
    """The file that a command makes and the next one needs."""
    if tool == "yosys":
        return re.sub(r"\.ys$", ".json", arguments[-1])
    option = {"nextpnr-ecp5": "--textcfg", "ecppack": "--bit"}[tool]
    return arguments[arguments.index(option) + 1]


def _last_words(work: Path, log: Path) -> str:
    """The newest line of the log that is being written."""
    newest = max(
        [log, *work.glob("*.rpt"), *work.glob("*.tim")],
        key=lambda path: path.stat().st_mtime if path.exists() else 0,
    )
    with contextlib.suppress(OSError), open(newest, "rb") as file:
        file.seek(max(0, os.path.getsize(newest) - 400))
        lines = file.read().decode(errors="replace").split("\n")
        # The last line may be half there.
        return next((line.strip() for line in reversed(lines[:-1]) if line.strip()), "")
    return ""


def _check_result(tool: str, code: int, made: Path, work: Path, log: Path) -> None:
    """Raise unless the tool has done its work.

    The exit code is not enough: the tools do not notice when a disk fills up while they write.
    """
    if code:
        raise ToolError(f"{_WORDS[tool]} failed: {_reason(work, log, code)}; see {log}")
    if not made.is_file() or not made.stat().st_size:
        raise ToolError(f"{_WORDS[tool]} made no {made.name}; see {log}")
    probe = work / ".probe"
    try:
        with open(probe, "wb") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BuildError(f"the disk is full: {work} cannot be written ({error.strerror})") from None
    finally:
        probe.unlink(missing_ok=True)
    with open(made, "rb") as file:
        file.seek(max(0, made.stat().st_size - 16))
        end = file.read().rstrip()[-1:]
    if tool == "yosys" and end != b"}":
        raise BuildError(f"{made} is not complete; was the disk full?")
    if tool == "nextpnr-ecp5" and not _ends_with_newline(made):
        raise BuildError(f"{made} is not complete; was the disk full?")


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _reason(work: Path, log: Path, code: int) -> str:
    """The last error in any log, or the exit code."""
    for path in [log, *sorted(work.glob("*.rpt")), *sorted(work.glob("*.tim"))]:
        with contextlib.suppress(OSError):
            errors = re.findall(r"^ERROR: (.*)$", path.read_text(errors="replace"), re.M)
            if errors:
                return errors[-1].rstrip(".")
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _check_bitstream(path: Path) -> None:
    content = path.read_bytes()
    if _BITSTREAM_START not in content[:256] or not content.endswith(_BITSTREAM_END):
        raise BuildError(f"{path} is not a complete bitstream; was the disk full?")
