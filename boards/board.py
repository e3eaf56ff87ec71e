"""What a board is to the rest of the project, and the list of those that are known."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hw.cost import Device

if TYPE_CHECKING:
    from amaranth.hdl import Elaboratable

    from boards.shells import UARTShell

__all__ = ["BOARDS", "Board", "BoardError", "Target", "find_board"]

#: Module of each board, by its name on the command line. A module is loaded when it is asked for,
#: so that no board's tools are needed for another board.
BOARDS = {
    "ulx3s_85f": "boards.ulx3s",
    "ultra96v2": "boards.ultra96v2",
    "zcu102": "boards.zcu102",
}


class BoardError(ValueError):
    """The board is unknown or cannot do what was asked; one sentence."""


@dataclass(frozen=True)
class Target:
    """How a bitstream is made for a board.

    Parameters
    ----------
    platform : callable without arguments
        Makes the Amaranth platform.
    top : callable(shell, clock)
        Makes the design: pins, clock and shell.
    clock : callable(hertz)
        The clock nearest to a wish; an object with ``hertz``, the exact frequency.
    clock_hz : float
        Clock that is asked for when the user names none.
    """

    platform: Callable[[], object]
    top: Callable[["UARTShell", object], "Elaboratable"]
    clock: Callable[[float], object]
    clock_hz: float


@dataclass(frozen=True)
class Board:
    """A board.

    Parameters
    ----------
    name : str
        On the command line.
    title : str
        As its maker writes it.
    device : hw.cost.Device
    target : Target or None
        None where only estimates can be made yet.
    """

    name: str
    title: str
    device: Device
    target: Target | None = None


def find_board(name: str) -> Board:
    """The board with that name.

    Raises
    ------
    BoardError
        There is none.
    """
    if name not in BOARDS:
        raise BoardError(f"there is no board {name!r}; known are {', '.join(sorted(BOARDS))}")
    return importlib.import_module(BOARDS[name]).BOARD
