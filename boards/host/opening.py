"""From a bitstream to an accelerator that answers, on the board's own processor."""

from pathlib import Path

from boards.host.accelerator import Accelerator
from boards.host.bitstream import load_bitstream
from boards.host.error import HostError
from boards.host.linux import LinuxTransport, find_uio
from boards.host.pynq_transport import PynqTransport, load_with_pynq, pynq_or_none
from boards.host.settings import ProcessingSystem

__all__ = ["open_accelerator"]

#: How the device tree calls the processor.
_PROCESSOR = b"xlnx,zynqmp"

#: A clock that every design here bears, until the accelerator has said which one is its own.
_SLOW_HZ = 50e6


def open_accelerator(
    *,
    bitstream: str | Path | None = None,
    uio: str | None = None,
    udmabuf: str = "udmabuf0",
    use_pynq: bool | None = None,
    root: Path = Path("/"),
    **options,
) -> Accelerator:
    """Load a bitstream, set clock and ports, and return the accelerator.

    Parameters
    ----------
    bitstream : path or None
        A ``.bin``, ``.bit`` or ``.dtbo``; None where it is loaded already.
    uio : str or None
        The UIO device with the accelerator's registers and interrupt; None for the one at its
        address, and where there is none, ``/dev/mem`` and no interrupt.
    udmabuf : str
        As :class:`boards.host.linux.LinuxTransport` takes it; PYNQ has memory of its own.
    use_pynq : bool or None
        None for PYNQ where it is installed.
    root : Path
        Where the file system begins.
    **options
        Of :class:`Accelerator`.

    Raises
    ------
    HostError
        Something is missing; the sentence says what to do.
    """
    _check_processor(root)
    pynq = pynq_or_none() if use_pynq is not False else None
    if use_pynq and pynq is None:
        raise HostError("PYNQ is not installed here, or knows no device")
    system = ProcessingSystem(root)
    if bitstream is not None:
        system.set_clock(_SLOW_HZ)
        overlay = Path(bitstream).suffix == ".dtbo"
        if pynq is not None and not overlay:
            load_with_pynq(pynq, bitstream)
        else:
            load_bitstream(bitstream, root=root, overlay=overlay)
        # What a PYNQ overlay sets by itself is set once more: a clock that was meant for another
        # design would not be noticed.
        system.set_clock(_SLOW_HZ)
    system.set_control_width(32)
    if bitstream is not None:
        system.reset_logic()
    if uio is None:
        uio = find_uio(root=root)
    if pynq is not None:
        transport = PynqTransport(pynq, uio=uio, root=root)
    else:
        transport = LinuxTransport(uio=uio, udmabuf=udmabuf, root=root)
    accelerator = Accelerator(transport, **options)
    try:
        # It was just reset, so nothing is under way on the port that is changed.
        system.set_memory_width(accelerator.identity.data_bits)
        system.set_clock(accelerator.identity.clock_hz)
    except BaseException:
        accelerator.close()
        raise
    return accelerator


def _check_processor(root: Path) -> None:
    """Elsewhere the addresses of registers may be anything."""
    path = root / "proc/device-tree/compatible"
    try:
        compatible = path.read_bytes()
    except OSError:
        compatible = b""
    if _PROCESSOR not in compatible.split(b"\0"):
        raise HostError(
            "this is no Zynq UltraScale+: run it on the board, or name the serial port of a board "
            "with --port"
        )
