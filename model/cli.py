"""What commands share: one sentence for bad input, and files complete or not at all."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = [
    "read_array", "run_command", "table_console", "track", "write_array", "write_file",
    "write_report",
]  # fmt: skip


def run_command(main: Callable[[list[str] | None], int | None]) -> None:
    """Run ``main`` and leave with its exit code.

    Bad input (ValueError, OSError) ends in one sentence on standard error and exit code 1, an
    interrupt in exit code 130; neither shows a traceback.
    """
    try:
        code = main(None)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def track(steps: Iterable, what: str, total: int) -> Iterable:
    """The steps, with a bar of progress where there is a terminal to see it."""
    from rich.progress import track as bar

    return bar(steps, what, total, disable=not sys.stderr.isatty(), transient=True)


def table_console(width: int = 120):
    """Where to print tables: a terminal as wide as it is, or lines of ``width`` characters."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=width)


def write_file(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make the file under another name, then move it to ``path`` at once."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: numpy would add its own to a name without it.
    partial = path.with_name(f".partial-{path.name}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_array(path: str | Path, what: str = "array"):
    """The array of a ``.npy`` file; ``what`` it is, for the sentence where it cannot be read.

    Raises
    ------
    ValueError
        The file is missing, or no npy file.
    """
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"{what} file {str(path)!r} does not exist") from None
    except Exception as error:
        # Damaged headers and archives raise what their parsers raise.
        raise ValueError(f"{what} file {str(path)!r} is no valid npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{what} file {str(path)!r} is no valid npy file, but an archive of them")
    return array


def write_array(path: str | Path, array) -> None:
    """Write an array as ``.npy``, under exactly this name."""
    import numpy as np

    def write(partial: Path) -> None:
        # numpy adds a suffix to a name, and none to an open file.
        with partial.open("wb") as file:
            np.save(file, array)

    write_file(path, write)


def write_report(path: str | Path, report: dict) -> None:
    """Write ``report`` as JSON."""
    text = json.dumps(report, indent=1) + "\n"
    write_file(path, lambda partial: partial.write_text(text))
