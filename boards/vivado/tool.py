"""Finding Vivado, and which one it is."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from boards.tools import ToolError

__all__ = ["NEWEST", "OLDEST", "Vivado", "find_vivado"]

#: The script is meant for these and all between them.
OLDEST = (2022, 2)
NEWEST = (2025, 2)

#: Vivado starts in seconds, on a slow file server in a minute.
_PATIENCE = 180


@dataclass(frozen=True)
class Vivado:
    """A Vivado that is installed.

    Parameters
    ----------
    path : str
        Of the program.
    """

    path: str

    def identity(self) -> str:
        """Text that changes when the program does, without running it."""
        status = os.stat(self.path)
        return f"{os.path.realpath(self.path)} {status.st_size} {status.st_mtime_ns}"

    def version(self) -> tuple[int, int]:
        """Year and release, such as (2023, 1).

        Raises
        ------
        ToolError
            It does not run, or is older than the script is made for.
        """
        command = f"`{self.path} -version`"
        try:
            done = subprocess.run(
                [self.path, "-version"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"{command} has not answered in {_PATIENCE} seconds") from None
        except OSError as error:
            raise ToolError(f"{command} does not run ({error.strerror})") from None
        found = re.search(r"vivado\s+v?\.?(\d{4})\.(\d+)", done.stdout, re.IGNORECASE)
        if done.returncode or found is None:
            last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise ToolError(
                f"{command} must tell its version, but ended with exit code {done.returncode} "
                f"and said {last!r}"
            )
        version = (int(found[1]), int(found[2]))
        if version < OLDEST:
            raise ToolError(
                f"Vivado must be {_text(OLDEST)} or newer, and {self.path} is {_text(version)}; "
                f"name another one in the environment variable VIVADO"
            )
        return version


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def find_vivado() -> Vivado | None:
    """The Vivado that the environment variable VIVADO names, else the one on the path, else the
    one in XILINX_VIVADO; None where there is none.

    Raises
    ------
    ToolError
        VIVADO names what is no program.
    """
    named = os.environ.get("VIVADO")
    if named:
        found = shutil.which(named) or shutil.which(str(Path(named) / "bin" / "vivado"))
        if found is None:
            raise ToolError(
                f"{named!r}, named by the environment variable VIVADO, is no program and no "
                f"folder of Vivado"
            )
        return Vivado(found)
    found = shutil.which("vivado")
    folder = os.environ.get("XILINX_VIVADO")
    if found is None and folder:
        found = shutil.which(str(Path(folder) / "bin" / "vivado"))
    return None if found is None else Vivado(found)
