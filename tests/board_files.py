"""The files of a board with Linux, as far as the driver uses them."""

import struct

from boards.registers import IDENTITY, MAGIC, VERSION, Register
from tests.axi_device import DIGEST, IDENTITY_OF_IT

__all__ = [
    "AFI_FS", "CONTROL", "DIRM_5", "IOPLL_CTRL", "MASK_DATA_5_MSW", "OEN_5", "PL0_REF_CTRL",
    "RDCTRL", "WRCTRL", "Board",
]  # fmt: skip

CONTROL = 0xA000_0000
IOPLL_CTRL, PL0_REF_CTRL = 0xFF5E_0020, 0xFF5E_00C0
AFI_FS, RDCTRL, WRCTRL = 0xFD61_5000, 0xFD38_0000, 0xFD38_0014
MASK_DATA_5_MSW, DIRM_5, OEN_5 = 0xFF0A_002C, 0xFF0A_0344, 0xFF0A_0348


class Board:
    """The files of a board: ``/dev/mem`` with an accelerator, memory, FPGA manager."""

    def __init__(self, root, identity=IDENTITY_OF_IT):
        self.root = root
        (root / "dev").mkdir(parents=True)
        with open(root / "dev/mem", "wb") as file:
            file.truncate(1 << 32)
        (root / "proc/device-tree").mkdir(parents=True)
        compatible = b"avnet,ultra96-rev1\0avnet,ultra96\0xlnx,zynqmp\0"
        (root / "proc/device-tree/compatible").write_bytes(compatible)
        # 33.333 MHz times 90, halved.
        self.poke(IOPLL_CTRL, 90 << 8 | 1 << 16)
        self.poke(PL0_REF_CTRL, 1 << 24 | 1 << 16 | 15 << 8 | 2)
        self.poke(AFI_FS, 0xA00)
        packed = identity.pack()
        self.poke(CONTROL + Register.MAGIC, MAGIC)
        self.poke(CONTROL + Register.VERSION, VERSION)
        self.poke(CONTROL + Register.IDENTITY_BYTES, len(packed))
        self.write("dev/mem", packed, CONTROL + IDENTITY)
        self.write("dev/mem", bytes.fromhex(DIGEST), CONTROL + Register.NETWORK)
        with open(root / "dev/udmabuf0", "wb") as file:
            file.truncate(1 << 22)
        self.memory = root / "sys/class/u-dma-buf/udmabuf0"
        self.memory.mkdir(parents=True)
        for name, value in {"phys_addr": "0x70000000", "size": "4194304"}.items():
            (self.memory / name).write_text(f"{value}\n")
        self.manager = root / "sys/class/fpga_manager/fpga0"
        self.manager.mkdir(parents=True)
        (self.manager / "flags").write_text("1")
        (self.manager / "state").write_text("operating\n")
        self.bitstream = root / "build/top.bin"
        self.bitstream.parent.mkdir()
        self.bitstream.write_bytes(b"configuration")

    def write(self, name, content, offset):
        with open(self.root / name, "r+b") as file:
            file.seek(offset)
            file.write(content)

    def poke(self, address, value):
        self.write("dev/mem", struct.pack("<I", value), address)

    def peek(self, address):
        with open(self.root / "dev/mem", "rb") as file:
            file.seek(address)
            return struct.unpack("<I", file.read(4))[0]
