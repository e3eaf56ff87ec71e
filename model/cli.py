"""What commands share: one sentence for bad input, and files complete or not at all."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["run_command", "track", "write_file", "write_report"]


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


def write_report(path: str | Path, report: dict) -> None:
    """Write ``report`` as JSON."""
    text = json.dumps(report, indent=1) + "\n"
    write_file(path, lambda partial: partial.write_text(text))
