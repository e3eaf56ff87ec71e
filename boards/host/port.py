"""The registers of an accelerator, with what happens to them when the way there is gone."""

import struct

import numpy as np

from boards.host.error import HostError
from boards.host.transport import AXITransport
from boards.registers import Register

__all__ = ["RegisterPort"]

_DIGEST_WORDS = 8


class RegisterPort:
    """Reads and writes registers.

    Parameters
    ----------
    transport : AXITransport

    Raises
    ------
    HostError
        By every method: the registers cannot be reached any more.
    """

    def __init__(self, transport: AXITransport):
        self._transport = transport

    def read(self, address: int) -> int:
        try:
            return self._transport.read32(address)
        except OSError as error:
            raise HostError(f"the register at {address:#x} cannot be read: {error}") from None

    def write(self, address: int, value: int) -> None:
        try:
            self._transport.write32(address, value)
        except OSError as error:
            raise HostError(f"the register at {address:#x} cannot be written: {error}") from None

    def read64(self, low: Register) -> int:
        """A counter of two registers; its low half is read first and keeps the high one."""
        value = self.read(low)
        return value | self.read(low + 4) << 32

    def write64(self, low: Register, value: int) -> None:
        self.write(low, value & 0xFFFF_FFFF)
        self.write(low + 4, value >> 32)

    def read_words(self, address: int, count: int) -> np.ndarray:
        """Registers one behind the other, as a uint32 array."""
        return np.array([self.read(address + 4 * k) for k in range(count)], dtype=np.uint32)

    def read_digest(self) -> str:
        """The network whose parameters are loaded: SHA-256 in hexadecimal."""
        return self.read_words(Register.NETWORK, _DIGEST_WORDS).astype("<u4").tobytes().hex()

    def write_digest(self, digest: str) -> None:
        for k, word in enumerate(struct.unpack(f"<{_DIGEST_WORDS}I", bytes.fromhex(digest))):
            self.write(Register.NETWORK + 4 * k, word)
