"""An accelerator in the logic beside the processor that this runs on, by plain Linux."""

import contextlib
import os
import select
import struct
import time
from pathlib import Path

from boards.host.error import HostError
from boards.host.mapping import Mapping
from boards.host.memory import DMABuffer, DMAMemory
from boards.registers import ADDRESS_BITS

__all__ = ["CONTROL_ADDRESS", "Interrupts", "LinuxTransport", "PollingWait", "find_uio"]

#: Where M_AXI_HPM0_FPD begins.
CONTROL_ADDRESS = 0xA000_0000

#: Seconds between two looks at the registers where there is no interrupt.
_POLL = 5e-5


def find_uio(address: int = CONTROL_ADDRESS, root: Path = Path("/")) -> str | None:
    """The UIO device whose registers lie at ``address``, such as ``uio0``, or None."""
    for path in sorted((root / "sys/class/uio").glob("uio*/maps/map0/addr")):
        try:
            if int(path.read_text(), 0) == address:
                return path.parents[2].name
        except (OSError, ValueError):
            continue
    return None


class PollingWait:
    """Waits a moment at a time, where there is no interrupt."""

    def wait(self, timeout: float) -> None:
        time.sleep(min(timeout, _POLL))

    def close(self) -> None:
        """Nothing is held."""


class Interrupts:
    """The interrupt of a UIO device.

    Parameters
    ----------
    device : Path
        Such as ``/dev/uio0``.

    Raises
    ------
    HostError
        It is not there, or may not be used.
    """

    def __init__(self, device: Path):
        self._device = device
        try:
            self._file = os.open(device, os.O_RDWR)
        except OSError as error:
            raise HostError(
                f"{device} cannot be opened ({error.strerror}): run as root, and see that the "
                "device tree has an entry `generic-uio` with the interrupt"
            ) from None

    def wait(self, timeout: float) -> None:
        # The kernel masks the interrupt when it came; this lets it come again.
        try:
            os.write(self._file, struct.pack("=I", 1))
        except OSError as error:
            raise HostError(
                f"{self._device} has no interrupt to wait for ({error.strerror}): its entry in the "
                "device tree must name it"
            ) from None
        ready, _, _ = select.select([self._file], [], [], timeout)
        if ready:
            os.read(self._file, 4)

    def close(self) -> None:
        os.close(self._file)


class LinuxTransport:
    """Registers by ``/dev/mem`` or UIO, interrupts by UIO, memory by u-dma-buf.

    Parameters
    ----------
    uio : str or None
        Such as ``uio0``: registers and interrupt. None for ``/dev/mem``, without an interrupt.
    udmabuf : str
        Such as ``udmabuf0``.
    address : int
        Where the registers lie, for ``/dev/mem``.
    root : Path
        Where the file system begins.

    Raises
    ------
    HostError
        Something is missing; the sentence says what to do.
    """

    def __init__(
        self,
        *,
        uio: str | None = None,
        udmabuf: str = "udmabuf0",
        address: int = CONTROL_ADDRESS,
        root: Path = Path("/"),
    ):
        with contextlib.ExitStack() as opened:
            if uio is None:
                self._registers = Mapping(root / "dev/mem", address, 1 << ADDRESS_BITS)
                self._waiting = PollingWait()
            else:
                self._registers = Mapping(root / "dev" / uio, 0, 1 << ADDRESS_BITS)
                opened.callback(self._registers.close)
                self._waiting = Interrupts(root / "dev" / uio)
            opened.callback(self._waiting.close)
            self._memory = DMAMemory(udmabuf, root=root)
            opened.pop_all()

    def read32(self, address: int) -> int:
        return self._registers.read32(address)

    def write32(self, address: int, value: int) -> None:
        self._registers.write32(address, value)

    def allocate(self, size: int) -> DMABuffer:
        return self._memory.allocate(size)

    def wait(self, timeout: float) -> None:
        self._waiting.wait(timeout)

    def clock(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        self._registers.close()
        self._waiting.close()
        self._memory.close()
