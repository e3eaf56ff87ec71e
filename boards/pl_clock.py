"""The clock that a Zynq UltraScale+ processing system gives its programmable logic."""

from dataclasses import dataclass

__all__ = ["IOPLL_HZ", "PLClock", "find_pl_clock"]

#: The usual setting on both boards: 33.333 MHz times 45. It is software that sets it.
IOPLL_HZ = 1_500_000_000

#: Values of each of the two dividers (UG1087, register PL0_REF_CTRL).
_DIVISORS = range(1, 64)

#: More is not asked of it: nothing here would be as fast.
_HIGHEST_HZ = 400_000_000


@dataclass(frozen=True)
class PLClock:
    """The IOPLL's output, divided twice.

    Parameters
    ----------
    divisor0, divisor1 : int
        As in the register PL0_REF_CTRL, 1 to 63 each.
    """

    divisor0: int
    divisor1: int

    @property
    def hertz(self) -> float:
        return IOPLL_HZ / (self.divisor0 * self.divisor1)


def find_pl_clock(wanted_hz: float) -> PLClock:
    """The fastest clock that is no faster than ``wanted_hz``.

    Raises
    ------
    ValueError
        ``wanted_hz`` is below the slowest clock there is, or above the fastest.
    """
    slowest = IOPLL_HZ / _DIVISORS[-1] ** 2
    if not slowest <= wanted_hz <= _HIGHEST_HZ:
        raise ValueError(
            f"the clock must be from {slowest / 1e6:.3f} to {_HIGHEST_HZ / 1e6:g} MHz, "
            f"not {wanted_hz / 1e6:g}"
        )
    # A wish that was rounded must still find its clock.
    limit = wanted_hz * (1 + 1e-9)
    found = [
        clock
        for divisor0 in _DIVISORS
        for divisor1 in _DIVISORS
        if (clock := PLClock(divisor0, divisor1)).hertz <= limit
    ]
    return max(found, key=lambda clock: (clock.hertz, -clock.divisor1))
