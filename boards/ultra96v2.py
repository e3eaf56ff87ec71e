"""Avnet Ultra96-V2: a Zynq UltraScale+ XCZU3EG."""

from boards.board import Board
from hw.cost import Device

__all__ = ["BOARD"]

BOARD = Board(
    name="ultra96v2",
    title="Ultra96-V2",
    device=Device(name="XCZU3EG", family="xcup", luts=70_560, ffs=141_120, brams=216, dsps=360),
)
