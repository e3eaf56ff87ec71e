"""What a user asks of a build."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from boards.board import Board, BoardError
from boards.design import DEFAULT_TARGET_CYCLES
from boards.flow import sha256_of

__all__ = ["Options"]

_ROOT = Path(__file__).parent.parent

#: What a bitstream is made from besides the network, the options and the tools.
_SOURCES = (
    *("hw/*.py", "boards/*.py", "boards/*/*.py"),
    *("model/graph.py", "model/operation.py", "model/operations.py", "model/convolution.py"),
    "model/elements.py",
)
_PACKAGES = ("amaranth", "amaranth-boards")


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Parameters
    ----------
    board : Board
    network : model.graph.Network
    out : Path
    target_cycles : int or None
    folding : Path or None
        A folding file, instead of a target.
    clock_mhz : float or None
    writable : bool
        Parameters of layers can be written at run time.
    baud : int
        Of the serial line, where there is one.
    saif : Path or None
        Switching activity for the power report, where the tool makes one.
    """

    board: Board
    network: object
    out: Path
    target_cycles: int | None = None
    folding: Path | None = None
    clock_mhz: float | None = None
    writable: bool = False
    baud: int = 1_000_000
    saif: Path | None = None

    def clock(self):
        """The clock of the design.

        Raises
        ------
        BoardError
            The board cannot be clocked so.
        """
        target = self.board.target
        wanted = target.clock_hz if self.clock_mhz is None else self.clock_mhz * 1e6
        try:
            return target.clock(wanted)
        except ValueError as error:
            raise BoardError(f"{self.board.name} cannot be clocked so: {error}") from None

    def sources(self, tools: Iterable[str]) -> str:
        """Digest of all that a bitstream is made from; ``tools`` tell the versions of the tools."""
        digest = hashlib.sha256()

        def add(*parts: object) -> None:
            digest.update(json.dumps([str(part) for part in parts]).encode())

        add(self.board.name, self.target_cycles, self.clock_mhz, self.writable, self.baud)
        add(DEFAULT_TARGET_CYCLES)
        add(self.network.name, self.network.digest(), platform.python_version())
        add(*(f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES))
        add(*tools)
        for path in (self.folding, self.saif):
            add(None if path is None else sha256_of(path))
        for pattern in _SOURCES:
            for path in sorted(_ROOT.glob(pattern)):
                add(path.relative_to(_ROOT), sha256_of(path))
        return digest.hexdigest()
