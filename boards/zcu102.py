"""AMD ZCU102: a Zynq UltraScale+ XCZU9EG."""

from boards.board import Board
from hw.cost import Device

__all__ = ["BOARD"]

BOARD = Board(
    name="zcu102",
    title="ZCU102",
    device=Device(name="XCZU9EG", family="xcup", luts=274_080, ffs=548_160, brams=912, dsps=2_520),
)
