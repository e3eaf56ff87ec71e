"""AMD ZCU102 with a Zynq UltraScale+ XCZU9EG: facts and pins."""

from functools import partial

from boards.board import Board, Pin, Target
from boards.devices import DEVICES
from boards.pl_clock import find_pl_clock
from boards.zynqmp import ZynqTop

__all__ = ["BOARD"]

#: The user LEDs DS38 and up, GPIO_LED_0 to GPIO_LED_7 (UG1182).
_LEDS = ("AG14", "AF13", "AE13", "AJ14", "AJ15", "AH13", "AH14", "AL12")

BOARD = Board(
    name="zcu102",
    title="ZCU102",
    device=DEVICES["xczu9eg"],
    target=Target(
        flow="vivado", top=partial(ZynqTop, leds=len(_LEDS)), clock=find_pl_clock, clock_hz=187.5e6
    ),
    part="xczu9eg-ffvb1156-2-e",
    pins=tuple(Pin(f"leds[{index}]", pin, "LVCMOS33") for index, pin in enumerate(_LEDS)),
)
