"""Devices that networks are folded for, by their names on the command line."""

from dataclasses import replace

from boards.board import BoardError
from hw.cost import Device

__all__ = ["DEVICES", "budget_of", "find_device"]

#: What the makers' tables say. Zynq UltraScale+: DS891; a LUT is a LUT6, a block RAM has 36 Kbit.
#: ECP5: FPGA-DS-02012; a LUT is a LUT4, a block RAM has 18 Kbit.
DEVICES = {
    "xczu3eg": Device("XCZU3EG", "xcup", luts=70_560, ffs=141_120, brams=216, dsps=360),
    "xczu9eg": Device("XCZU9EG", "xcup", luts=274_080, ffs=548_160, brams=912, dsps=2_520),
    "lfe5u-25f": Device("LFE5U-25F", "ecp5", luts=24_288, ffs=24_288, brams=56, dsps=28),
    "lfe5u-45f": Device("LFE5U-45F", "ecp5", luts=43_848, ffs=43_848, brams=108, dsps=72),
    "lfe5u-85f": Device("LFE5U-85F", "ecp5", luts=83_640, ffs=83_640, brams=208, dsps=156),
}

#: Part of the LUTs that a design may take and still be placed and routed well.
_ROUTABLE = 0.85


def find_device(name: str) -> Device:
    """The device with that name, in small letters or not.

    Raises
    ------
    BoardError
        There is none.
    """
    if name.lower() not in DEVICES:
        raise BoardError(f"there is no device {name!r}; known are {', '.join(sorted(DEVICES))}")
    return DEVICES[name.lower()]


def budget_of(device: Device, **limits: int | None) -> Device:
    """What a design may take of ``device``: ``limits`` by resource, else all but some LUTs.

    Raises
    ------
    BoardError
        A limit is not positive, or is more than the device has.
    """
    changes = {"luts": int(_ROUTABLE * device.luts)}
    for name, limit in limits.items():
        if limit is None:
            continue
        available = getattr(device, name)
        if not 0 < limit <= available:
            raise BoardError(f"--{name} must be from 1 to {available:,}, not {limit:,}")
        changes[name] = limit
    return replace(device, **changes)
