"""What an accelerator behind AXI is reached by: its registers, memory that it reaches too, time."""

from typing import Protocol

import numpy as np

__all__ = ["AXITransport", "Buffer"]


class Buffer(Protocol):
    """Memory in one piece that the processor and the accelerator both reach.

    Members
    -------
    address : int
        Where the accelerator finds it.
    data : uint8 array
        The same memory as the processor sees it.
    """

    address: int
    data: np.ndarray

    def flush(self) -> None:
        """Let the accelerator see what the processor wrote."""

    def invalidate(self) -> None:
        """Let the processor see what the accelerator wrote."""

    def close(self) -> None:
        """Give the memory back."""


class AXITransport(Protocol):
    """The way to an accelerator: a board's processor, or the simulator.

    Every method may raise ``OSError``. No one else looks at the time, so a simulated accelerator
    is waited for in simulated time.
    """

    def read32(self, address: int) -> int:
        """Read the register at this byte address."""

    def write32(self, address: int, value: int) -> None:
        """Write the register at this byte address."""

    def allocate(self, size: int) -> Buffer:
        """Memory of ``size`` bytes.

        Raises
        ------
        HostError
            There is not so much.
        """

    def wait(self, timeout: float) -> None:
        """Return when the interrupt line is up, or earlier, and after ``timeout`` s at the latest.

        It need not wait for the line at all: who calls it looks at the registers afterwards.
        """

    def clock(self) -> float:
        """Seconds since some moment."""

    def close(self) -> None:
        """Let go of registers and memory."""
