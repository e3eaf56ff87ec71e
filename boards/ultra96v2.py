"""Avnet Ultra96-V2 with a Zynq UltraScale+ XCZU3EG: facts and pins."""

from functools import partial

from boards.board import Board, Pin, Target
from boards.devices import DEVICES
from boards.pl_clock import find_pl_clock
from boards.zynqmp import ZynqTop

__all__ = ["BOARD"]

BOARD = Board(
    name="ultra96v2",
    title="Ultra96-V2",
    device=DEVICES["xczu3eg"],
    target=Target(
        flow="vivado", top=partial(ZynqTop, leds=2), clock=find_pl_clock, clock_hz=187.5e6
    ),
    part="xczu3eg-sbva484-1-i",
    # The four user LEDs belong to the processing system. These are the ones called Wi-Fi (D9) and
    # Bluetooth (D10), which the programmable logic drives.
    pins=(Pin("leds[0]", "A9", "LVCMOS18"), Pin("leds[1]", "B9", "LVCMOS18")),
)
