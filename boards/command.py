"""What the commands of this room share: their console, and one sentence for what went wrong."""

import sys
from collections.abc import Callable

__all__ = ["exit_code", "make_console"]


def make_console():
    """A console for tables: in a file or a pipe they need not fit a window."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


def exit_code(run: Callable[[], object]) -> int:
    """The exit code of a command that does ``run``; what stops it is one sentence on stderr."""
    try:
        run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"error: {what}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
