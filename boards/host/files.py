"""The files that the user's side of a board is made of."""

import shutil
from pathlib import Path

__all__ = ["copy_driver", "driver_files"]

_ROOT = Path(__file__).resolve().parents[2]

#: What the package needs: the words shared with the gateware, and the network for its digest.
_SHARED = (
    "boards/__init__.py",
    "boards/protocol.py",
    "boards/registers.py",
    "model/__init__.py",
    "model/cli.py",
    "model/convolution.py",
    "model/elements.py",
    "model/graph.py",
    "model/operation.py",
    "model/operations.py",
)


def driver_files() -> tuple[str, ...]:
    """Paths, from the folder of the project, of all files that a board needs beside numpy."""
    own = sorted(path.relative_to(_ROOT).as_posix() for path in Path(__file__).parent.glob("*.py"))
    return (*_SHARED, *own)


def copy_driver(folder: str | Path) -> list[Path]:
    """Copy these files into ``folder``, as they lie here; there ``python -m boards.host`` works."""
    copied = []
    for name in driver_files():
        target = Path(folder) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_ROOT / name, target)
        copied.append(target)
    return copied
