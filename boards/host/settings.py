"""What the processing system of a Zynq UltraScale+ must be set to before its logic can be used.

Addresses and bits are those of the register reference (UG1087), as PYNQ and the boot loader use
them too.
"""

from pathlib import Path

from boards.host.error import HostError
from boards.host.mapping import Mapping

__all__ = ["ProcessingSystem"]

#: CRL_APB: clocks. PLL: feedback divisor in bits 8 to 14, output halved by bit 16. PL clock: source
#: in bits 0 to 2 (0 for the IOPLL), divisors from bits 8 and 16, six bits each, on by bit 24.
_CRL_APB = 0xFF5E0000
_IOPLL_CTRL = 0x20
_PL0_REF_CTRL = 0xC0
_CLOCK_ON = 1 << 24

#: Crystal of the processing system, on both boards.
_REFERENCE_HZ = 100e6 / 3

#: FPD_SLCR.afi_fs: width of M_AXI_HPM0_FPD in bits 8 and 9.
_FPD_SLCR = 0xFD615000
_MASTER_WIDTHS = {32: 0, 64: 1, 128: 2}

#: AFIFM2, which is S_AXI_HP0_FPD: width of its reads and of its writes in bits 0 and 1.
_AFIFM2 = 0xFD380000
_RDCTRL, _WRCTRL = 0x00, 0x14
_SLAVE_WIDTHS = {128: 0, 64: 1, 32: 2}

#: GPIO bank 5, whose bit 31 (EMIO 95) is the reset of the logic, active low. The upper half of its
#: data is written with a mask: a 1 in bits 16 to 31 keeps a bit.
_GPIO = 0xFF0A0000
_MASK_DATA_5_MSW, _DIRM_5, _OEN_5 = 0x2C, 0x344, 0x348
_RESET_BIT = 1 << 31
_RESET, _RUN = 0x7FFF_0000, 0x7FFF_8000


class ProcessingSystem:
    """The registers of the processing system, by ``/dev/mem``.

    Parameters
    ----------
    root : Path
        Where the file system begins.

    Raises
    ------
    HostError
        By each method: ``/dev/mem`` is not there, or may not be used.
    """

    def __init__(self, root: Path = Path("/")):
        self._device = root / "dev/mem"

    def set_control_width(self, bits: int = 32) -> None:
        """Width of the port through which the processor reaches registers in the logic."""
        self._change(_FPD_SLCR, 0, 0b11 << 8, _MASTER_WIDTHS[bits] << 8)

    def set_memory_width(self, bits: int) -> None:
        """Width of the port through which the logic reaches memory; nothing may be under way."""
        for offset in (_RDCTRL, _WRCTRL):
            self._change(_AFIFM2, offset, 0b11, _SLAVE_WIDTHS[bits])

    def set_clock(self, wanted_hz: float) -> float:
        """Give the logic the fastest clock that is no faster than ``wanted_hz``.

        Returns
        -------
        Its frequency in hertz.

        Raises
        ------
        HostError
            There is no such clock.
        """
        source = self._pll_hz()
        # The crystals of two boards differ by more than this, and rounding by less.
        limit = wanted_hz * (1 + 1e-5)
        clocks = {
            source / (first * second): (first, second)
            for first in range(1, 64)
            for second in range(63, 0, -1)
        }
        possible = [hertz for hertz in clocks if hertz <= limit]
        if not possible:
            raise HostError(
                f"the clock of the logic cannot be {wanted_hz / 1e6:g} MHz or less: its source "
                f"has {source / 1e6:g} MHz"
            )
        first, second = clocks[max(possible)]
        # Off while the divisors change, so that no shorter period reaches the logic.
        self._change(_CRL_APB, _PL0_REF_CTRL, _CLOCK_ON, 0)
        self._change(_CRL_APB, _PL0_REF_CTRL, 0x3F3F07, first << 8 | second << 16)
        self._change(_CRL_APB, _PL0_REF_CTRL, _CLOCK_ON, _CLOCK_ON)
        return max(possible)

    def reset_logic(self) -> None:
        """Put the logic into reset, and let it go; its clock must be on."""
        for offset in (_DIRM_5, _OEN_5):
            self._change(_GPIO, offset, _RESET_BIT, _RESET_BIT)
        gpio = Mapping(self._device, _GPIO, 0x1000)
        for value in (_RUN, _RESET, _RUN):
            gpio.write32(_MASK_DATA_5_MSW, value)
            # A read is answered after the write has arrived, many clock cycles of the logic later.
            gpio.read32(_DIRM_5)
        gpio.close()

    def _pll_hz(self) -> float:
        registers = Mapping(self._device, _CRL_APB, 0x1000)
        value = registers.read32(_IOPLL_CTRL)
        registers.close()
        hertz = _REFERENCE_HZ * (value >> 8 & 0x7F) / (2 if value >> 16 & 1 else 1)
        if not hertz:
            raise HostError("the clock of the logic has no source: the IOPLL is off")
        return hertz

    def _change(self, base: int, offset: int, mask: int, value: int) -> None:
        registers = Mapping(self._device, base, 0x1000)
        registers.write32(offset, registers.read32(offset) & ~mask | value)
        registers.close()
