"""A bitstream, or a device-tree overlay that names one, into the logic by the kernel."""

import os
import shutil
from pathlib import Path

from boards.host.error import HostError

__all__ = ["load_bitstream"]

_FULL_BITSTREAM = "0"


def load_bitstream(path: str | Path, *, root: Path = Path("/"), overlay: bool = False) -> None:
    """Load a ``.bin`` (or the one beside a ``.bit``), or apply a ``.dtbo``.

    Parameters
    ----------
    path : path
    root : Path
        Where the file system begins.
    overlay : bool
        ``path`` is a compiled device-tree overlay; the bitstream that it names must lie beside it.

    Raises
    ------
    HostError
        The file is missing, the kernel has no FPGA manager, or it refuses the bitstream.
    """
    path = Path(path)
    if overlay:
        _apply_overlay(path, root)
        return
    if path.suffix == ".bit":
        path = path.with_suffix(".bin")
    if not path.is_file():
        raise HostError(f"there is no bitstream {path}")
    manager = root / "sys/class/fpga_manager/fpga0"
    if not manager.is_dir():
        raise HostError(
            f"there is no {manager}: the kernel must have CONFIG_FPGA_MGR_ZYNQMP_FPGA, "
            "as those of PetaLinux, PYNQ and Ubuntu for these boards have"
        )
    name = _copy_firmware(path, root)
    try:
        # Kernels that know only full bitstreams have no flags.
        if (manager / "flags").exists():
            (manager / "flags").write_text(_FULL_BITSTREAM)
        (manager / "firmware").write_text(name)
        state = (manager / "state").read_text().strip()
    except OSError as error:
        raise HostError(
            f"the bitstream {path.name} cannot be loaded ({error.strerror}): run as root, and see "
            "`dmesg` for what the FPGA manager says"
        ) from None
    if state != "operating":
        raise HostError(
            f"the FPGA manager says {state!r} after {path.name}, and not 'operating': is it the "
            "bitstream of this board? See `dmesg`"
        )


def _copy_firmware(path: Path, root: Path) -> str:
    """Put ``path`` where the kernel looks for it; whole or not at all."""
    folder = root / "lib/firmware"
    partial = folder / f".{path.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, partial)
            os.replace(partial, folder / path.name)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"{folder} cannot be written ({error.strerror}): run as root") from None
    return path.name


def _apply_overlay(path: Path, root: Path) -> None:
    if not path.is_file():
        raise HostError(f"there is no device-tree overlay {path}")
    overlays = root / "sys/kernel/config/device-tree/overlays"
    if not overlays.is_dir():
        raise HostError(
            f"there is no {overlays}: mount configfs (`mount -t configfs none "
            "/sys/kernel/config`) on a kernel that has CONFIG_OF_CONFIGFS, or load the .bin"
        )
    for bitstream in path.parent.glob("*.bin"):
        _copy_firmware(bitstream, root)
    place = overlays / "bitwright"
    try:
        # What an earlier overlay put there goes with its folder.
        if place.is_dir():
            place.rmdir()
        place.mkdir()
        (place / "dtbo").write_bytes(path.read_bytes())
        status = place / "status"
        applied = not status.exists() or status.read_text().strip() == "applied"
    except OSError as error:
        raise HostError(
            f"the device-tree overlay {path.name} cannot be applied ({error.strerror}): run as "
            "root, and see `dmesg`"
        ) from None
    if not applied:
        raise HostError(
            f"the kernel did not apply the device-tree overlay {path.name}: see `dmesg`"
        )
