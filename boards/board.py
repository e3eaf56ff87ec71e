"""What a board is to the rest of the project, and the list of those that are known."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hw.cost import Device

if TYPE_CHECKING:
    from amaranth.hdl import Elaboratable

__all__ = ["BOARDS", "Board", "BoardError", "Pin", "Target", "find_board"]

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
class Pin:
    """A pin of the programmable logic.

    Parameters
    ----------
    port : str
        Port of the top, with the bit where it has several: ``leds[0]``.
    location : str
        Of the package, such as ``AG14``.
    standard : str
        I/O standard, such as ``LVCMOS33``.
    """

    port: str
    location: str
    standard: str


@dataclass(frozen=True)
class Target:
    """How a bitstream is made for a board.

    Parameters
    ----------
    flow : {"trellis", "vivado"}
        The tools. With "trellis" the accelerator is behind a serial line, with "vivado" behind the
        AXI ports of a processing system.
    top : callable(shell, clock)
        Makes the design: pins, clock and shell.
    clock : callable(hertz)
        The clock nearest to a wish; an object with ``hertz``, the exact frequency.
    clock_hz : float
        Clock that is asked for when the user names none.
    platform : callable without arguments, or None
        Makes the Amaranth platform; "trellis" needs it.
    """

    flow: Literal["trellis", "vivado"]
    top: Callable[["Elaboratable", object], "Elaboratable"]
    clock: Callable[[float], object]
    clock_hz: float
    platform: Callable[[], object] | None = None


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
    part : str
        What Vivado calls the device, package, speed and temperature grade included.
    pins : tuple of Pin
        What the ports of the top are connected to, where no Amaranth platform knows it.
    """

    name: str
    title: str
    device: Device
    target: Target | None = None
    part: str = ""
    pins: tuple[Pin, ...] = ()


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
