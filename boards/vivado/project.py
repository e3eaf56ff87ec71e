"""A complete Vivado project: Verilog, constraints, Tcl and a script, as text."""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from boards.board import Pin
from boards.vivado.script import CLOCK, build_script

__all__ = [
    "INSIDE",
    "SAIF_PATH",
    "Project",
    "constraints",
    "out_of_context_constraints",
    "plain_names",
]

#: Instances from the top of a design to the accelerator.
INSIDE = ("shell", "probed", "accelerator")

#: Instances above those of the accelerator in a file of its switching activity.
SAIF_PATH = ("top", *INSIDE)

_SHELL_SCRIPT = """\
#!/bin/sh
# Builds in batch; reports and bitstream are beside this file afterwards.
set -eu
cd "$(dirname "$0")"
exec "${VIVADO:-vivado}" -mode batch -notrace -nojournal -source build.tcl
"""


@dataclass(frozen=True)
class Project:
    """All that Vivado needs to build a design.

    Parameters
    ----------
    top : str
        The outermost module of ``verilog``.
    part : str
        Device with package, speed and temperature grade.
    verilog, constraints : str
        The design, and its constraints (XDC).
    out_of_context : bool
        Synthesise only, without pads: for area and timing of a part of a design.
    saif : bytes or None
        Switching activity for the power report.
    """

    top: str
    part: str
    verilog: str
    constraints: str
    out_of_context: bool = False
    saif: bytes | None = None

    def files(self) -> dict[str, bytes]:
        """Content of every file of the project, by its name."""
        files = {
            f"{self.top}.v": self.verilog.encode(),
            f"{self.top}.xdc": self.constraints.encode(),
            "build.sh": _SHELL_SCRIPT.encode(),
        }
        if self.saif is not None:
            files["switching.saif"] = self.saif
        # The script names the digest of the rest, so that its results name what they are of.
        digest = _digest(files)
        files["build.tcl"] = build_script(
            top=self.top,
            part=self.part,
            digest=digest,
            out_of_context=self.out_of_context,
            saif=None if self.saif is None else "/".join(SAIF_PATH[: self._stripped()]),
        ).encode()
        return files

    def _stripped(self) -> int:
        """How many of ``SAIF_PATH`` are outside the design."""
        return len(SAIF_PATH) if self.out_of_context else 1

    def digest(self) -> str:
        """Changes with any file."""
        return _digest(self.files())

    def write(self, folder: Path) -> None:
        """Put the files into ``folder``, which is made if it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            path = folder / name
            path.write_bytes(content)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)

    def is_in(self, folder: Path) -> bool:
        """Whether ``folder`` holds exactly these files; others may lie beside them."""
        try:
            return all((folder / name).read_bytes() == text for name, text in self.files().items())
        except OSError:
            return False


def plain_names(verilog: str) -> str:
    """Verilog in which no wire is called like a bit of another one.

    Amaranth gives the elements of an array wires of their own, ``\\payload[0]`` beside ``payload``.
    Tools that call the bits of ``payload`` the same mistake one for the other, see
    https://github.com/YosysHQ/yosys/issues/4349.
    """
    return re.sub(r"\\\S*\[\S*", lambda name: name[0].replace("[", ".").replace("]", ""), verilog)


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _period(hertz: float) -> str:
    """Nanoseconds, rounded down to picoseconds: to ask for too much is safe."""
    return f"{math.floor(1e12 / hertz) / 1000:.3f}"


def constraints(hertz: float, pins: tuple[Pin, ...]) -> str:
    """The constraints (XDC) of a design whose clock and reset come from its processing system.

    ``pins`` belong to outputs that nobody samples, such as LEDs.
    """
    lines = [
        "# The clock is made by the processing system, which Vivado does not know the settings of.",
        f"create_clock -name {CLOCK} -period {_period(hertz)} "
        "[get_pins -hierarchical -filter {NAME =~ */ps8/PLCLK[0]}]",
        "",
        "# Reset and interrupt cross into other clock domains, and are synchronised there.",
        "set_false_path -through [get_pins -hierarchical -filter {NAME =~ */ps8/EMIOGPIOO[95]}]",
        "set_false_path -through [get_pins -hierarchical -filter {NAME =~ */ps8/PLPSIRQ0[0]}]",
    ]
    if pins:
        lines += ["", "# Eyes need no timing."]
    for pin in pins:
        port = f"[get_ports {{{pin.port}}}]"
        lines += [
            f"set_property PACKAGE_PIN {pin.location} {port}",
            f"set_property IOSTANDARD {pin.standard} {port}",
            f"set_false_path -to {port}",
        ]
    lines += ["", "set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]"]
    return "\n".join(lines) + "\n"


def out_of_context_constraints(hertz: float) -> str:
    """The constraints (XDC) of a design by itself: its clock is a port, others have no delay."""
    return (
        "# The bare design: what drives its ports, and what they drive, is not there.\n"
        f"create_clock -name {CLOCK} -period {_period(hertz)} [get_ports {{clk}}]\n"
    )
