# amaranth: UnusedElaboratable=no
"""Parameters of a retrained network, for an accelerator that is built: no new bitstream.

    python -m boards.build zcu102 hybnn-mini --writable
    python -m model.export hybnn-mini --checkpoint runs/new/checkpoint.pt --like hybnn-mini \\
        --out new
    python -m boards.parameters new --built build/zcu102/hybnn-mini --out new.npz

What it writes is an ``.npz`` file for the driver: ``words`` in the order of their addresses,
``checksum`` of them (CRC-32, little-endian), ``network``, ``folding`` and ``structure`` (SHA-256).
An accelerator is made for its parameters alone, hence the first line.
"""

import argparse
import hashlib
import io
import json
import sys
import zlib
from pathlib import Path

import numpy as np

from boards.command import exit_code, make_console
from boards.flow import write_atomically
from hw.accelerator import Accelerator
from hw.fold import Folding
from hw.structure import Structure, StructureError

__all__ = ["STRUCTURE", "main", "parameters_of", "write_structure"]

#: Name of the structure's file in the folder of a build.
STRUCTURE = "parameters.json"


def write_structure(accelerator: Accelerator, path: str | Path) -> None:
    """Write the structure of what is built, for :func:`main` to check other networks against."""
    Structure.of(accelerator.network, accelerator.folding).save(path)


def parameters_of(network, folding: Folding, built: Structure) -> dict[str, np.ndarray]:
    """The arrays of the file for a network.

    Raises
    ------
    StructureError
        What was built cannot take them.
    """
    digest = hashlib.sha256(folding.text().encode()).hexdigest()
    if digest != built.folding:
        raise StructureError("the folding must be that of what was built")
    structure = Structure.of(network, folding)
    try:
        built.check(structure)
    except StructureError as error:
        raise StructureError(
            f"{error}; `python -m model.export --like` with the network that was built keeps what "
            "can be kept"
        ) from None
    space = Accelerator(network=network, folding=folding, writable=True).space
    words = np.array(space.words, dtype="<u4")
    return {
        "words": words,
        "checksum": np.uint32(zlib.crc32(words.tobytes())),
        "network": np.array(network.digest()),
        "folding": np.array(digest),
        "structure": np.array(structure.digest),
    }


def _built(where: str, folding: Path | None, network) -> tuple[Structure, Folding]:
    """The structure of what was built, and its folding."""
    from model.graph import load

    folder = Path(where)
    if (folder / STRUCTURE).is_file() and folding is None:
        structure = Structure.load(folder / STRUCTURE)
        return structure, Folding.load(folder / "folding.json", network)
    if folding is None:
        if folder.is_dir() and not (folder / "network.json").is_file():
            raise StructureError(
                f"{folder} has no {STRUCTURE}: it was not built with --writable, or not to the end"
            )
        raise StructureError(
            f"--built {where} is a network, so that --folding must name the folding of the build"
        )
    reference = load(where)
    return Structure.of(reference, Folding.load(folding, reference)), Folding.load(folding, network)


def _run(arguments: argparse.Namespace) -> None:
    from model.graph import load

    network = load(arguments.network)
    built, folding = _built(arguments.built, arguments.folding, network)
    arrays = parameters_of(network, folding, built)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    report = {
        name: int(value) if name == "checksum" else str(value)
        for name, value in arrays.items()
        if name != "words"
    }
    report = {"words": len(arrays["words"]), **report}
    out = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, packed.getvalue())
    write_atomically(out.with_suffix(".json"), (json.dumps(report, indent=1) + "\n").encode())
    make_console().print(f"wrote {len(arrays['words'])} words to {out}", soft_wrap=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m boards.parameters",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument("network", help="folder of the retrained network, or name of a shipped one")
    parser.add_argument(
        "--built",
        required=True,
        metavar="FOLDER",
        help="of a build with --writable; or, with --folding, the network that was built",
    )
    parser.add_argument("--folding", type=Path, help="folding of the build, where --built has none")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    arguments = parser.parse_args(argv)
    if arguments.out.suffix != ".npz":
        parser.error(f"--out must end in .npz, not {arguments.out.name!r}")
    return exit_code(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
