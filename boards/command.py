"""What the commands of this room share: their console, and one sentence for what went wrong."""

import sys
from collections.abc import Callable

__all__ = ["ElsewhereError", "exit_code", "make_console"]


class ElsewhereError(ValueError):
    """What could be done is done, and the rest needs a program that is not here; one sentence."""


def make_console():
    """A console for tables: in a file or a pipe they need not fit a window."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


def exit_code(run: Callable[[], object]) -> int:
    """The exit code of a command that does ``run``; what stops it is one sentence on stderr.

    0 is success, 1 a failure, 3 where the rest is to be done elsewhere, 130 an interrupt.
    """
    try:
        run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"error: {what}", file=sys.stderr)
        return 1
    except ElsewhereError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
