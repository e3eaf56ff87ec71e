"""The integer network: a directed acyclic graph of integer operations, and its files.

A network is a folder with ``network.json`` (the operations and how they are connected) and
``params.npz`` (their integer arrays, under ``operation.parameter``). Folding is not part of it.
"""

import hashlib
import io
import json
import os
import zipfile
import zlib
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from model.elements import (
    BINARY,
    ElementType,
    NetworkError,
    TensorType,
    int_for,
    parse_element,
)
from model.operations import (
    OPERATIONS,
    Add,
    Affine,
    AvgPool,
    Concat,
    Conv,
    Dense,
    FractionalConv,
    GlobalPool,
    Input,
    LabelSelect,
    MaxPool,
    Operation,
    RPReLU,
    Thermometer,
    Threshold,
)

__all__ = [
    "BINARY",
    "OPERATIONS",
    "ZOO",
    "Add",
    "Affine",
    "AvgPool",
    "Concat",
    "Conv",
    "Dense",
    "ElementType",
    "FractionalConv",
    "GlobalPool",
    "Input",
    "LabelSelect",
    "MaxPool",
    "Network",
    "NetworkError",
    "Operation",
    "RPReLU",
    "TensorType",
    "Thermometer",
    "Threshold",
    "int_for",
    "load",
    "parse_element",
    "save",
]  # fmt: skip

FORMAT = "bitwright-network"
VERSION = 1

#: Folder of the networks that are shipped with the project.
ZOO = Path(__file__).parent / "zoo"


@dataclass(frozen=True, eq=False)
class Network:
    """A checked integer network.

    Parameters
    ----------
    name : str
    operations : tuple of Operation
        In any order; exactly one :class:`Input`.
    outputs : tuple of str
        Operations whose tensors leave the network, the class scores first.

    Raises
    ------
    NetworkError
        A name is missing or used twice, operations form a cycle or are not connected, or an
        operation does not accept its inputs.
    """

    name: str
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def __post_init__(self):
        by_name = {op.name: op for op in self.operations}
        for op in self.operations:
            if not isinstance(op.name, str) or not op.name.isidentifier():
                raise NetworkError(f"operation name {op.name!r} must be an identifier")
            if by_name[op.name] is not op:
                raise NetworkError(f"operation name {op.name!r} is used twice")
            joins_any = op.arity is None
            if len(op.inputs) < 2 if joins_any else len(op.inputs) != op.arity:
                count = "two or more" if joins_any else op.arity
                raise op.fail(f"needs {count} inputs, not {len(op.inputs)}")
            for source in op.inputs:
                if source not in by_name:
                    raise op.fail(f"its input {source!r} is no operation of the network")
        images = [op.name for op in self.operations if isinstance(op, Input)]
        if len(images) != 1:
            raise NetworkError(f"network {self.name!r} must have one Input, not {len(images)}")
        if not self.outputs:
            raise NetworkError(f"network {self.name!r} has no outputs")
        for output in self.outputs:
            if output not in by_name:
                raise NetworkError(f"output {output!r} is no operation of the network")
            if self.outputs.count(output) > 1:
                raise NetworkError(f"output {output!r} is listed twice")
        for op in self.order:
            if op.name not in self.outputs and not self.consumers(op.name):
                raise op.fail("its result is not used: connect it or list it under outputs")
        _ = self.types

    @cached_property
    def order(self) -> tuple[Operation, ...]:
        """The operations, each after its inputs."""
        done: dict[str, Operation] = {}
        waiting = list(self.operations)
        while waiting:
            ready = [op for op in waiting if all(source in done for source in op.inputs)]
            if not ready:
                names = ", ".join(op.name for op in waiting)
                raise NetworkError(f"operations form a cycle, or depend on one: {names}")
            done.update((op.name, op) for op in ready)
            waiting = [op for op in waiting if op.name not in done]
        return tuple(done.values())

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """The type of every operation's result."""
        types: dict[str, TensorType] = {}
        for op in self.order:
            types[op.name] = op.output(*(types[source] for source in op.inputs))
        return types

    @cached_property
    def input(self) -> Input:
        return next(op for op in self.operations if isinstance(op, Input))

    def operation(self, name: str) -> Operation:
        return next(op for op in self.operations if op.name == name)

    def consumers(self, name: str) -> list[str]:
        """Operations that read the result of ``name``, one entry for each use."""
        return [op.name for op in self.operations for source in op.inputs if source == name]

    @cached_property
    def _files(self) -> tuple[bytes, dict[str, np.ndarray]]:
        arrays: dict[str, np.ndarray] = {}
        operations = []
        for op in self.order:
            entry: dict[str, object] = {"op": type(op).__name__}
            for field in fields(op):
                value = getattr(op, field.name)
                if isinstance(value, np.ndarray):
                    arrays[f"{op.name}.{field.name}"] = value
                elif isinstance(value, ElementType):
                    entry[field.name] = str(value)
                elif value is not None:
                    entry[field.name] = list(value) if isinstance(value, tuple) else value
            operations.append(entry)
        description = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "outputs": list(self.outputs),
            "operations": operations,
        }
        return (json.dumps(description, indent=1) + "\n").encode(), arrays

    def digest(self) -> str:
        """SHA-256 of the network's meaning: connections, attributes and parameters."""
        text, arrays = self._files
        digest = hashlib.sha256(text)
        for key in sorted(arrays):
            digest.update(f"{key}{arrays[key].shape}".encode())
            digest.update(np.ascontiguousarray(arrays[key], dtype="<i8").tobytes())
        return digest.hexdigest()


def save(network: Network, folder: str | Path) -> None:
    """Write ``network.json`` and ``params.npz`` into ``folder``, each complete or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text, arrays = network._files
    packed = io.BytesIO()
    np.savez_compressed(packed, **{key: _narrow(value) for key, value in arrays.items()})
    for name, content in (("params.npz", packed.getvalue()), ("network.json", text)):
        partial = folder / f".{name}.partial"
        try:
            partial.write_bytes(content)
            os.replace(partial, folder / name)
        finally:
            partial.unlink(missing_ok=True)


def _narrow(values: np.ndarray) -> np.ndarray:
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if values.size == 0 or (values.min() >= limits.min and values.max() <= limits.max):
            return values.astype(dtype)
    return values.astype(np.int64)


def load(network: str | Path) -> Network:
    """Read a network from its folder, or by the name of a shipped one.

    Raises
    ------
    NetworkError
        The folder or a file is missing, truncated or not valid; the sentence says which and why.
    """
    folder = Path(network)
    if not folder.is_dir():
        folder = ZOO / str(network)
        if not (folder / "network.json").is_file():
            shipped = ", ".join(sorted(p.parent.name for p in ZOO.glob("*/network.json"))) or "none"
            raise NetworkError(
                f"there is no network folder {str(network)!r}, nor a shipped network of that name "
                f"(shipped: {shipped})"
            )
    description = _read_json(folder / "network.json")
    arrays = _read_arrays(folder / "params.npz")
    operations = tuple(_operation(entry, arrays, folder) for entry in description["operations"])
    if arrays:
        raise NetworkError(
            f"{folder / 'params.npz'}: array {min(arrays)!r} belongs to no operation"
        )
    return Network(description["name"], operations, tuple(description["outputs"]))


def _read_json(path: Path) -> dict:
    try:
        description = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NetworkError(f"{path} is missing") from None
    except ValueError as error:
        raise NetworkError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise NetworkError(f"{path} is not a network description (format {FORMAT!r})")
    version = description.get("version")
    if not isinstance(version, int) or version < 1:
        raise NetworkError(f"{path}: version must be a positive integer, not {version!r}")
    if version > VERSION:
        raise NetworkError(
            f"{path} has version {version}, but this Bitwright reads up to {VERSION}: update it"
        )
    unknown = sorted(set(description) - {"format", "version", "name", "outputs", "operations"})
    if unknown:
        raise NetworkError(f"{path}: unknown key {unknown[0]!r}")
    if not isinstance(description.get("name"), str):
        raise NetworkError(f"{path}: name must be a string")
    for key in ("outputs", "operations"):
        if not isinstance(description.get(key), list):
            raise NetworkError(f"{path}: {key} must be a list")
    if not all(isinstance(output, str) for output in description["outputs"]):
        raise NetworkError(f"{path}: outputs must be names of operations")
    return description


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise NetworkError(f"{path} is missing") from None
    except (
        ValueError,
        KeyError,
        EOFError,
        OSError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise NetworkError(f"{path} is damaged or no npz file: {error}") from None
    for key, values in arrays.items():
        if values.dtype.kind not in "iu":
            raise NetworkError(f"{path}: array {key!r} must hold integers, not {values.dtype}")
    return {key: values.astype(np.int64) for key, values in arrays.items()}


def _operation(entry: object, arrays: dict[str, np.ndarray], folder: Path) -> Operation:
    """Build one operation; its arrays are taken out of ``arrays``."""
    path = folder / "network.json"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise NetworkError(f"{path}: every operation must be an object with a name")
    name = entry["name"]
    cls = OPERATIONS.get(entry.get("op"))
    if cls is None:
        raise NetworkError(
            f"{path}: operation {name!r} is of unknown kind {entry.get('op')!r}; known are "
            f"{', '.join(OPERATIONS)}"
        )
    known = {field.name: field for field in fields(cls)}
    unknown = sorted(set(entry) - set(known) - {"op"})
    if unknown:
        raise NetworkError(f"{path}: operation {name!r} ({cls.__name__}) has no {unknown[0]!r}")
    arguments: dict[str, object] = {}
    for key, field in known.items():
        array = arrays.pop(f"{name}.{key}", None) if "ndarray" in str(field.type) else None
        if array is not None:
            arguments[key] = array
        elif key in entry:
            arguments[key] = _attribute(path, name, field, entry[key])
        elif field.default is MISSING:
            where = folder / "params.npz" if "ndarray" in str(field.type) else path
            raise NetworkError(f"{where}: {key!r} of operation {name!r} is missing")
    return cls(**arguments)


def _attribute(path: Path, name: str, field: object, value: object) -> object:
    kind = str(field.type)
    where = f"{path}: {field.name!r} of operation {name!r}"
    if "ElementType" in kind:
        try:
            return parse_element(value)
        except NetworkError as error:
            raise NetworkError(f"{where}: {error}") from None
    if "ndarray" in kind:
        raise NetworkError(f"{where} must be in params.npz, not in network.json")
    if "tuple" in kind:
        item = str if "str" in kind else int
        if not isinstance(value, list) or not all(type(v) is item for v in value):
            raise NetworkError(f"{where} must be a list of {item.__name__}")
        return tuple(value)
    expected = bool if "bool" in kind else str if "str" in kind else int
    if type(value) is not expected:
        raise NetworkError(f"{where} must be {expected.__name__}, not {value!r}")
    return value
