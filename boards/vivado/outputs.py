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
