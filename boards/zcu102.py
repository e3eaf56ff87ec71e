"""AMD ZCU102: a Zynq UltraScale+ XCZU9EG."""

from boards.board import Board
from boards.devices import DEVICES

__all__ = ["BOARD"]

BOARD = Board(
    name="zcu102",
    title="ZCU102",
    device=DEVICES["xczu9eg"],
)
