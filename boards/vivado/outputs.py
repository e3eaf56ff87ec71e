"""The folder that is copied to the board: bitstreams, what the kernel and PYNQ want, the driver."""

from collections.abc import Callable
from pathlib import Path

from boards.board import Board
from boards.flow import BuildError, write_atomically
from boards.host.files import copy_driver
from boards.vivado.bitstream import read_bit, to_bin
from boards.vivado.metadata import handoff
from boards.vivado.overlay import overlay_source
from boards.zynqmp import CONTROL_BASE

__all__ = ["OUTPUTS", "check_bitstream", "write_bitstreams", "write_board_files"]

#: Name of the folder.
OUTPUTS = "board"

_README = """\
{name} on {title}. Copy this folder to the board. There, in it, as root:

    python3 -m boards.host {name} --bitstream {name}.bit --images X.npy --out Y.npy

loads the bitstream, checks that it is of the network in the folder {name}, and classifies uint8
images, (N, height, width, channels). With PYNQ, that is all. Without it, the kernel must lend
memory (module u-dma-buf: `modprobe u-dma-buf udmabuf0=16777216`), and {name}.bin is what its FPGA
manager gets. {name}.dtso describes all of this as a device-tree overlay; compile it by

    dtc -@ -I dts -O dtb -o {name}.dtbo {name}.dtso

{name}.hwh is for PYNQ, which reads it beside {name}.bit.
The clock is {mhz:.3f} MHz, the registers are at 0x{base:X}.
"""


def write_board_files(
    folder: Path,
    *,
    name: str,
    save_network: Callable[[Path], object],
    board: Board,
    clock,
    data_bits: int,
) -> None:
    """Write all that needs no Vivado into ``folder``.

    Parameters
    ----------
    name : str
        Of the network, and so of the files.
    save_network : callable
        Writes the network into a folder: it lies beside the driver, which compares it with the
        design.
    clock : boards.pl_clock.PLClock
    data_bits : 64 or 128
        Width of the memory port.
    """
    copy_driver(folder)
    save_network(folder / name)
    overlay = overlay_source(
        name=name,
        title=f"{name} on {board.title}",
        hertz=clock.hertz,
        data_bits=data_bits,
        base=CONTROL_BASE,
    )
    metadata = handoff(
        part=board.part,
        network=name,
        divisors=(clock.divisor0, clock.divisor1),
        hertz=clock.hertz,
        data_bits=data_bits,
        base=CONTROL_BASE,
    )
    readme = _README.format(name=name, title=board.title, mhz=clock.hertz / 1e6, base=CONTROL_BASE)
    write_atomically(folder / "README.txt", readme.encode())
    write_atomically(folder / f"{name}.dtso", overlay.encode())
    write_atomically(folder / f"{name}.hwh", metadata.encode())


def check_bitstream(content: bytes, part: str) -> None:
    """Refuse a .bit file that is not whole, or for another device.

    Raises
    ------
    BuildError
    """
    try:
        written = read_bit(content).part
    except ValueError as error:
        raise BuildError(f"the bitstream is not complete: {error}; was the disk full?") from None
    device = part.partition("-")[0]
    # Some files leave out the letters before the number.
    if device.removeprefix("xc") not in written:
        raise BuildError(f"the bitstream must be for {device}, not {written}")


def write_bitstreams(folder: Path, name: str, content: bytes) -> Path:
    """Write ``NAME.bin`` and ``NAME.bit``, and return the path of the latter, the last one."""
    write_atomically(folder / f"{name}.bin", to_bin(content))
    bitstream = folder / f"{name}.bit"
    write_atomically(bitstream, content)
    return bitstream
