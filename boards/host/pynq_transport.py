"""An accelerator in the logic beside the processor that this runs on, by PYNQ."""

import time
from pathlib import Path

import numpy as np

from boards.host.error import HostError
from boards.host.linux import CONTROL_ADDRESS, Interrupts, PollingWait
from boards.registers import ADDRESS_BITS

__all__ = ["PynqTransport", "load_with_pynq", "pynq_or_none"]


def pynq_or_none():
    """The module ``pynq``, where it is installed and knows a device."""
    try:
        import pynq
    except (ImportError, RuntimeError, OSError):
        return None
    return pynq


def load_with_pynq(pynq, path: str | Path) -> None:
    """Load a bitstream: as an overlay where its ``.hwh`` lies beside it, else alone.

    Raises
    ------
    HostError
        The file is missing, or PYNQ refuses it.
    """
    path = Path(path).resolve()
    if path.suffix == ".bin" and path.with_suffix(".bit").is_file():
        path = path.with_suffix(".bit")
    if not path.is_file():
        raise HostError(f"there is no bitstream {path}")
    try:
        if path.with_suffix(".hwh").is_file():
            pynq.Overlay(str(path))
        else:
            pynq.Bitstream(str(path)).download()
    except (OSError, RuntimeError, ValueError) as error:
        raise HostError(f"PYNQ cannot load {path.name}: {error}") from None


class _PynqBuffer:
    """See :class:`boards.host.transport.Buffer`."""

    def __init__(self, array):
        self._array = array
        self.address = int(array.physical_address)
        self.data = np.asarray(array)

    def flush(self) -> None:
        self._array.flush()

    def invalidate(self) -> None:
        self._array.invalidate()

    def close(self) -> None:
        self.data = None
        self._array.freebuffer()


class PynqTransport:
    """Registers and memory by PYNQ, interrupts by UIO where there is one.

    Parameters
    ----------
    pynq : module
    uio : str or None
        Such as ``uio4``, whose interrupt is that of the accelerator.
    address : int
        Where the registers lie.
    root : Path
        Where the file system begins.

    Raises
    ------
    HostError
        Something is missing, or the right to it.
    """

    def __init__(
        self,
        pynq,
        *,
        uio: str | None = None,
        address: int = CONTROL_ADDRESS,
        root: Path = Path("/"),
    ):
        self._pynq = pynq
        try:
            self._registers = pynq.MMIO(address, 1 << ADDRESS_BITS)
        except OSError as error:
            raise HostError(f"PYNQ cannot reach the registers ({error}): run as root") from None
        self._waiting = PollingWait() if uio is None else Interrupts(root / "dev" / uio)

    def read32(self, address: int) -> int:
        return int(self._registers.read(address))

    def write32(self, address: int, value: int) -> None:
        self._registers.write(address, value)

    def allocate(self, size: int) -> _PynqBuffer:
        try:
            return _PynqBuffer(self._pynq.allocate(shape=(size,), dtype=np.uint8))
        except (MemoryError, OSError, RuntimeError) as error:
            raise HostError(
                f"PYNQ has no {size} bytes in one piece ({error}): give the kernel more by `cma=`"
            ) from None

    def wait(self, timeout: float) -> None:
        self._waiting.wait(timeout)

    def clock(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        self._waiting.close()
