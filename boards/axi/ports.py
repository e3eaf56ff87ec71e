"""The AXI4 and AXI4-Lite interfaces (Arm IHI 0022), with the names and widths that it gives them.

Signatures are seen from the manager: what it drives is ``Out``. Their members are flat, so that a
port ``memory`` becomes ``memory_araddr``, ``memory_arvalid`` and so on in Verilog.
"""

import enum

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AXI", "AXILite", "AXIRead", "AXIWrite", "Burst", "Response"]

#: A burst must not cross a multiple of this many bytes.
BOUNDARY = 4096


class Response(enum.IntEnum):
    """Values of ``rresp`` and ``bresp``."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class Burst(enum.IntEnum):
    """Values of ``arburst`` and ``awburst``."""

    FIXED = 0
    INCR = 1
    WRAP = 2


def _check(address_bits: int, data_bits: int, id_bits: int = 1) -> None:
    if not 1 <= address_bits <= 64:
        raise ValueError(f"address_bits must be from 1 to 64, not {address_bits!r}")
    if data_bits not in (32, 64, 128, 256, 512, 1024):
        raise ValueError(f"data_bits must be a power of two from 32 to 1024, not {data_bits!r}")
    if not 1 <= id_bits <= 32:
        raise ValueError(f"id_bits must be from 1 to 32, not {id_bits!r}")


def _address(prefix: str, address_bits: int, id_bits: int) -> dict[str, wiring.Member]:
    return {
        f"{prefix}id": Out(id_bits),
        f"{prefix}addr": Out(address_bits),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3),
        f"{prefix}burst": Out(2),
        f"{prefix}lock": Out(1),
        f"{prefix}cache": Out(4),
        f"{prefix}prot": Out(3),
        f"{prefix}qos": Out(4),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


def _read(address_bits: int, data_bits: int, id_bits: int) -> dict[str, wiring.Member]:
    return {
        **_address("ar", address_bits, id_bits),
        "rid": In(id_bits),
        "rdata": In(data_bits),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def _write(address_bits: int, data_bits: int, id_bits: int) -> dict[str, wiring.Member]:
    return {
        **_address("aw", address_bits, id_bits),
        "wdata": Out(data_bits),
        "wstrb": Out(data_bits // 8),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(id_bits),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


class _Interface(wiring.Signature):
    def __init__(self, members: dict, *, address_bits: int, data_bits: int, id_bits: int):
        self.address_bits = address_bits
        self.data_bits = data_bits
        self.id_bits = id_bits
        super().__init__(members)


class AXIRead(_Interface):
    """The read half of an AXI4 interface.

    Parameters
    ----------
    address_bits, data_bits, id_bits : int
    """

    def __init__(self, address_bits: int, data_bits: int, id_bits: int = 1):
        _check(address_bits, data_bits, id_bits)
        super().__init__(
            _read(address_bits, data_bits, id_bits),
            address_bits=address_bits,
            data_bits=data_bits,
            id_bits=id_bits,
        )


class AXIWrite(_Interface):
    """The write half of an AXI4 interface; parameters as those of :class:`AXIRead`."""

    def __init__(self, address_bits: int, data_bits: int, id_bits: int = 1):
        _check(address_bits, data_bits, id_bits)
        super().__init__(
            _write(address_bits, data_bits, id_bits),
            address_bits=address_bits,
            data_bits=data_bits,
            id_bits=id_bits,
        )


class AXI(_Interface):
    """An AXI4 interface, both halves; parameters as those of :class:`AXIRead`."""

    def __init__(self, address_bits: int, data_bits: int, id_bits: int = 1):
        _check(address_bits, data_bits, id_bits)
        super().__init__(
            _write(address_bits, data_bits, id_bits) | _read(address_bits, data_bits, id_bits),
            address_bits=address_bits,
            data_bits=data_bits,
            id_bits=id_bits,
        )


class AXILite(wiring.Signature):
    """An AXI4-Lite interface of 32 bits.

    Parameters
    ----------
    address_bits : int
    """

    def __init__(self, address_bits: int):
        _check(address_bits, 32)
        self.address_bits = address_bits
        self.data_bits = 32
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )
