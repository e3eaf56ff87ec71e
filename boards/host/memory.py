"""Memory that Linux gives in one piece: the u-dma-buf module."""

import contextlib
import mmap
import os
from pathlib import Path

import numpy as np

from boards.host.error import HostError

__all__ = ["DMABuffer", "DMAMemory"]

_PAGE = 4096

_HOW = (
    "load the kernel module u-dma-buf, such as `modprobe u-dma-buf udmabuf0=16777216`, or name its "
    "device with --udmabuf"
)


class DMABuffer:
    """A part of :class:`DMAMemory`; see :class:`boards.host.transport.Buffer`."""

    def __init__(self, memory: "DMAMemory", offset: int, size: int):
        self._memory = memory
        self._offset = offset
        self._size = size
        self.address = memory.address + offset
        self.data = memory.bytes[offset : offset + size]

    def flush(self) -> None:
        self._memory.synchronise("sync_for_device", self._offset, self._size)

    def invalidate(self) -> None:
        self._memory.synchronise("sync_for_cpu", self._offset, self._size)

    def close(self) -> None:
        self._memory.give_back(self._offset)


class DMAMemory:
    """The memory of one u-dma-buf device.

    The processor's cache stays on, and is told which part changes hands (u-dma-buf's manual cache
    management), but where the hardware keeps cache and memory alike.

    Parameters
    ----------
    name : str
        Of the device, such as ``udmabuf0``.
    root : Path
        Where the file system begins.

    Members
    -------
    address, size : int
        Where the accelerator finds the memory, and its bytes.
    bytes : uint8 array
        The same memory as the processor sees it.

    Raises
    ------
    HostError
        There is no such device, or no right to use it.
    """

    def __init__(self, name: str = "udmabuf0", *, root: Path = Path("/")):
        self.name = name
        device = root / "dev" / name
        # The older name of the module's class is "udmabuf".
        classes = [root / "sys/class" / kind / name for kind in ("u-dma-buf", "udmabuf")]
        self._settings = next((path for path in classes if path.is_dir()), None)
        if self._settings is None or not device.exists():
            raise HostError(f"there is no {device} with memory for images and results: {_HOW}")
        self.address = self._read("phys_addr")
        self.size = self._read("size")
        self._coherent = bool(self._read("dma_coherent", 0))
        try:
            file = os.open(device, os.O_RDWR)
            try:
                self._map = mmap.mmap(file, self.size)
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            raise HostError(
                f"{device} cannot be used ({error}): run as root, or get the right to it"
            ) from None
        self.bytes = np.frombuffer(self._map, dtype=np.uint8)
        self._taken: dict[int, int] = {}

    def allocate(self, size: int) -> DMABuffer:
        """A part of the memory, in whole pages of its own.

        Raises
        ------
        HostError
            There is no room.
        """
        needed = max(-(-size // _PAGE), 1) * _PAGE
        start = 0
        for taken, length in sorted(self._taken.items()):
            if taken - start >= needed:
                break
            start = taken + length
        if start + needed > self.size:
            wanted = sum(self._taken.values()) + needed
            raise HostError(
                f"{self.name} has {self.size} bytes, and {wanted} are needed: load u-dma-buf with "
                f"more, such as `{self.name}={4 * wanted}`, or take smaller batches"
            )
        self._taken[start] = needed
        return DMABuffer(self, start, size)

    def give_back(self, offset: int) -> None:
        self._taken.pop(offset, None)

    def synchronise(self, how: str, offset: int, size: int) -> None:
        """Hand a part over to the accelerator, or to the processor."""
        if self._coherent:
            return
        direction = 1 if how == "sync_for_device" else 2
        settings = {"sync_offset": offset, "sync_size": size, "sync_direction": direction, how: 1}
        try:
            for name, value in settings.items():
                (self._settings / name).write_text(str(value))
        except OSError as error:
            raise HostError(f"the cache of {self.name} cannot be kept in step: {error}") from None

    def close(self) -> None:
        self.bytes = None
        # Where someone still holds a part of it, it goes with that.
        with contextlib.suppress(BufferError):
            self._map.close()

    def _read(self, name: str, otherwise: int | None = None) -> int:
        path = self._settings / name
        if otherwise is not None and not path.exists():
            return otherwise
        try:
            # The address is written in hexadecimal, with a prefix; the others are decimal.
            return int(path.read_text(), 0)
        except (OSError, ValueError) as error:
            raise HostError(f"{path} cannot be read as a number ({error}): {_HOW}") from None
