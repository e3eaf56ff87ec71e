"""Radiona ULX3S with an ECP5-85F: facts and pins."""

from dataclasses import replace
from functools import partial

from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from boards.board import Board, Target
from boards.devices import DEVICES
from boards.ecp5 import PLL, ECP5Clock, find_pll

__all__ = ["BOARD", "ULX3STop"]

_OSCILLATOR_HZ = 25e6


class ULX3STop(Elaboratable):
    """A shell on the pins of a ULX3S: the serial line of its USB port 1, and the eight LEDs.

    Parameters
    ----------
    shell : boards.shells.UARTShell
        Built for the frequency of ``pll``.
    pll : boards.ecp5.PLL
    """

    def __init__(self, shell: Elaboratable, pll: PLL):
        self.shell = shell
        self.pll = pll

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.clk25 = clk25 = io.Buffer("i", platform.request("clk25", 0, dir="-"))
        m.submodules.clock = ECP5Clock(pll=self.pll, source=clk25.i)
        m.submodules.shell = shell = self.shell
        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-", "rts": "-", "dtr": "-"})
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [shell.rx.eq(rx.i), tx.o.eq(shell.tx)]
        for index in range(8):
            led = io.Buffer("o", platform.request("led", index, dir="-"))
            m.submodules[f"led{index}"] = led
            m.d.comb += led.o.eq(shell.status[index])
        return m


BOARD = Board(
    name="ulx3s_85f",
    title="ULX3S-85F",
    device=replace(DEVICES["lfe5u-85f"], name="LFE5U-85F-6BG381C"),
    target=Target(
        flow="trellis",
        platform=partial(ULX3S_85F_Platform, toolchain="Trellis"),
        top=ULX3STop,
        clock=partial(find_pll, _OSCILLATOR_HZ),
        clock_hz=50e6,
    ),
)
