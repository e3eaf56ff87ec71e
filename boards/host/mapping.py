"""Registers in the processor's memory: ``/dev/mem``, or a UIO device."""

import contextlib
import mmap
import os
from pathlib import Path

import numpy as np

from boards.host.error import HostError

__all__ = ["Mapping"]


class Mapping:
    """Registers of 32 bits.

    Parameters
    ----------
    device : Path
    address : int
        Where in the device they begin.
    size : int
        Bytes.

    Raises
    ------
    HostError
        The device is not there, or may not be used.
    """

    def __init__(self, device: Path, address: int, size: int):
        page = address % mmap.ALLOCATIONGRANULARITY
        try:
            # Unbuffered: what is written is at the device before the next is.
            file = os.open(device, os.O_RDWR | os.O_SYNC)
        except FileNotFoundError:
            raise HostError(
                f"there is no {device}; the kernel must have CONFIG_DEVMEM for /dev/mem, and an "
                f"entry `generic-uio` in its device tree for /dev/uio0"
            ) from None
        except OSError as error:
            raise HostError(f"{device} cannot be opened ({error.strerror}): run as root") from None
        try:
            self._map = mmap.mmap(file, size + page, offset=address - page)
        except (OSError, ValueError) as error:
            raise HostError(
                f"{size} bytes at {address:#x} of {device} cannot be mapped ({error})"
            ) from None
        finally:
            os.close(file)
        self._words = np.frombuffer(self._map, dtype=np.uint32, count=size // 4, offset=page)

    def read32(self, offset: int) -> int:
        return int(self._words[offset // 4])

    def write32(self, offset: int, value: int) -> None:
        self._words[offset // 4] = value

    def close(self) -> None:
        self._words = None
        with contextlib.suppress(BufferError):
            self._map.close()
