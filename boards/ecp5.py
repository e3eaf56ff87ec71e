"""The clock of an ECP5 design: its PLL, and the reset that waits for it."""

from dataclasses import dataclass

from amaranth.hdl import ClockSignal, Elaboratable, Instance, Module, Signal
from amaranth.lib.cdc import ResetSynchronizer

__all__ = ["PLL", "ECP5Clock", "find_pll"]

#: Limits of the PLL in Hz (ECP5 family data sheet, sysCLOCK PLL timing).
_PHASE_DETECTOR = (10e6, 400e6)
_OSCILLATOR = (400e6, 800e6)
_OUTPUT = (3.125e6, 400e6)


@dataclass(frozen=True)
class PLL:
    """Dividers of an EHXPLLL.

    The input, divided by ``input_divider``, is compared with the oscillator, divided by
    ``feedback_divider``; the output is the oscillator, divided by ``output_divider``.
    """

    input_hz: float
    input_divider: int
    feedback_divider: int
    output_divider: int

    @property
    def oscillator_hz(self) -> float:
        return self.input_hz * self.feedback_divider / self.input_divider

    @property
    def hertz(self) -> float:
        """The frequency that comes out."""
        return self.oscillator_hz / self.output_divider


def find_pll(input_hz: float, wanted_hz: float) -> PLL:
    """The PLL whose output is nearest to ``wanted_hz``.

    Raises
    ------
    ValueError
        No setting comes within 2 % of ``wanted_hz``.
    """
    found = [
        pll
        for input_divider in range(1, 129)
        if _PHASE_DETECTOR[0] <= input_hz / input_divider <= _PHASE_DETECTOR[1]
        for feedback_divider in range(1, 129)
        for output_divider in range(1, 129)
        if _OSCILLATOR[0] <= input_hz * feedback_divider / input_divider <= _OSCILLATOR[1]
        and (pll := PLL(input_hz, input_divider, feedback_divider, output_divider))
        and _OUTPUT[0] <= pll.hertz <= _OUTPUT[1]
    ]
    middle = sum(_OSCILLATOR) / 2
    best = min(
        found,
        key=lambda pll: (
            abs(pll.hertz - wanted_hz),
            pll.input_divider,
            abs(pll.oscillator_hz - middle),
        ),
        default=None,
    )
    if best is None or not abs(best.hertz - wanted_hz) <= 0.02 * wanted_hz < float("inf"):
        raise ValueError(f"no PLL setting makes {wanted_hz / 1e6:g} MHz of {input_hz / 1e6:g} MHz")
    return best


class ECP5Clock(Elaboratable):
    """Drives the domain ``sync``, which is defined outside: a PLL, and reset until it has locked.

    Parameters
    ----------
    pll : PLL
    source : Signal
        The clock from the board. Its constraint is enough: nextpnr derives that of the output.
    """

    def __init__(self, *, pll: PLL, source: Signal):
        self.pll = pll
        self.source = source

    def elaborate(self, platform) -> Module:
        m = Module()
        loop = Signal()
        locked = Signal()
        pll = self.pll
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{pll.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS=f"{pll.hertz / 1e6:g}",
            # Loop filter as Project Trellis' ecppll sets it.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=pll.input_divider,
            # The first output only closes the loop, so that the frequency of the second one is
            # not tied to multiples of the phase detector's.
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=pll.feedback_divider,
            p_CLKOP_CPHASE=(pll.feedback_divider - 1) // 2,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=pll.output_divider,
            p_CLKOS_CPHASE=(pll.feedback_divider - 1) // 2,
            p_CLKOS_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_CLKFB_DIV=1,
            i_RST=0,
            i_STDBY=0,
            i_CLKI=self.source,
            i_CLKFB=loop,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            i_ENCLKOS=0,
            o_CLKOP=loop,
            o_CLKOS=ClockSignal("sync"),
            o_LOCK=locked,
        )
        m.submodules.reset_sync = ResetSynchronizer(~locked, domain="sync")
        return m
