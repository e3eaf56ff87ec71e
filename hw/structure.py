# amaranth: UnusedElaboratable=no
"""Structure of an accelerator whose parameters can be written: all of it but what is written.

Networks of one structure differ in nothing but the words of the parameters, so that writing the
words of the one makes it of an accelerator that was built for the other. Two structures are equal
where the gateware of all units is, its parameters aside. To find that out, the units are elaborated
with parameters that are 0.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from amaranth.back import rtlil

from hw.accelerator import Accelerator
from hw.fold import Folding, write_whole
from model import graph

__all__ = ["Structure", "StructureError"]

FORMAT = "bitwright-structure"
VERSION = 1


class StructureError(ValueError):
    """A network's parameters do not suit what was built; the sentence names the operation."""


@dataclass(frozen=True)
class Structure:
    """What an accelerator with parameters to write is, apart from them.

    Parameters
    ----------
    network : str
        SHA-256 of the network that it was made for.
    folding : str
        SHA-256 of its folding's text.
    words : int
        Size of the parameters' space.
    facts : mapping of operation name to mapping of str to str
        What is known of each operation, in the network's order, in words for people.
    digests : mapping of operation name to str
        SHA-256 of the gateware of each operation's units.
    """

    network: str
    folding: str
    words: int
    facts: Mapping[str, Mapping[str, str]]
    digests: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 that structures share which are equal."""
        return hashlib.sha256(json.dumps([self.words, dict(self.digests)]).encode()).hexdigest()

    @classmethod
    def of(cls, network: graph.Network, folding: Folding) -> "Structure":
        """The structure of the writable accelerator for a network at a folding."""
        accelerator = Accelerator(network=network, folding=folding, writable=True)
        words = accelerator.space.size
        accelerator.space.clear()
        parts: dict[str, list[str]] = {op.name: [] for op in network.order}
        for node in accelerator.nodes:
            text = rtlil.convert(node.unit, name=node.name, emit_src=False)
            parts[node.operation] += [repr((node.name, node.sources)), text]
        for name, (port, link) in zip(network.outputs, accelerator.outputs.items(), strict=True):
            parts[name].append(repr((port, link)))
        digests = {}
        for name, texts in parts.items():
            digest = hashlib.sha256()
            for text in texts:
                digest.update(text.encode())
            digests[name] = digest.hexdigest()
        facts = {op.name: _facts(op, network, folding) for op in network.order}
        text = hashlib.sha256(folding.text().encode()).hexdigest()
        return cls(network.digest(), text, words, facts, digests)

    def check(self, other: "Structure") -> None:
        """Check that the parameters of ``other`` can be written to what was built of this.

        Raises
        ------
        StructureError
            The structures differ.
        """
        if list(self.facts) != list(other.facts):
            names = list(self.facts.keys() ^ other.facts.keys()) or list(other.facts)
            raise StructureError(
                "networks must have the same operations in the same order to share their gateware, "
                f"unlike with {min(names)!r}"
            )
        for name, digest in self.digests.items():
            if other.digests[name] == digest:
                continue
            reasons = [
                f"its {key} must be {value}, not {other.facts[name].get(key)}"
                for key, value in self.facts[name].items()
                if other.facts[name].get(key) != value
            ]
            reason = reasons[0] if reasons else "its parameters make for other gateware"
            raise StructureError(f"operation {name!r} is not as it was built: {reason}")
        if self.digest != other.digest:
            raise StructureError(
                f"parameters must be {self.words} words as they were built, not {other.words}"
            )

    def save(self, path: str | Path) -> None:
        """Write the structure's file, complete or not at all."""
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1)
        write_whole(Path(path), text + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Structure":
        """Read a structure's file.

        Raises
        ------
        StructureError
            The file is missing, or no structure.
        """
        try:
            content = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise StructureError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise StructureError(f"{path} is not valid JSON: {error}") from None
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise StructureError(f"{path} is not the structure of an accelerator ({FORMAT!r})")
        version = content.pop("version", None)
        if version != VERSION:
            raise StructureError(f"{path} has version {version!r}, this Bitwright reads {VERSION}")
        if set(content) != {field.name for field in fields(cls)}:
            raise StructureError(f"{path} must have {', '.join(f.name for f in fields(cls))}")
        return cls(**content)


def _facts(op: graph.Operation, network: graph.Network, folding: Folding) -> dict[str, str]:
    facts = {"kind": type(op).__name__}
    for field in fields(op):
        value = getattr(op, field.name)
        if field.name not in ("name", "inputs"):
            facts[field.name] = str(getattr(value, "shape", value))
    facts["inputs"] = ", ".join(f"{source} {network.types[source]}" for source in op.inputs)
    facts["result"] = str(network.types[op.name])
    facts["folding"] = str(asdict(folding[op.name]))
    return facts
