"""Avnet Ultra96-V2: a Zynq UltraScale+ XCZU3EG."""

from boards.board import Board
from boards.devices import DEVICES

__all__ = ["BOARD"]

BOARD = Board(
    name="ultra96v2",
    title="Ultra96-V2",
    device=DEVICES["xczu3eg"],
)
