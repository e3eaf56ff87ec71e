"""Fashion-MNIST from its IDX files, as numpy arrays.

The files are those of Debian's ``dataset-fashion-mnist``, or of the data set's authors: four files,
gzip-compressed (``.gz``) or not, in one folder. Any other set of 28x28 images in 10 classes that
comes in these four files will do.
"""

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

__all__ = ["CLASSES", "DEFAULT_FOLDER", "data_folder", "load_split", "read_idx"]

#: Where Debian's package puts the files.
DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")

CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip

_PREFIX = {"train": "train", "test": "t10k"}


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder named, else that of the environment variable BITWRIGHT_DATA, else Debian's."""
    return Path(folder or os.environ.get("BITWRIGHT_DATA") or DEFAULT_FOLDER)


def read_idx(path: str | Path) -> np.ndarray:
    """Read one IDX file of unsigned bytes.

    Raises
    ------
    ValueError
        The file is damaged, truncated, or no IDX file of unsigned bytes.
    OSError
        It cannot be read.
    """
    path = Path(path)
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is damaged or truncated: {error}") from None
    # Two zero bytes, 8 for unsigned byte, the number of dimensions; then each size, big-endian.
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is no IDX file of unsigned bytes")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError(f"{path} is truncated: it ends in its header")
    shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, 4)]
    wanted = start + int(np.prod(shape, dtype=object))
    if len(content) != wanted:
        raise ValueError(
            f"{path} is truncated or damaged: {len(content)} bytes instead of {wanted}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read(folder: Path, name: str) -> tuple[Path, np.ndarray]:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path, read_idx(path)
    raise ValueError(
        f"{folder / name}.gz is missing (nor is it there without .gz): install Debian's "
        f"dataset-fashion-mnist, or name the folder with --data or BITWRIGHT_DATA"
    )


def load_split(split: str, folder: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28, 1) uint8 and labels (N,) int64 of ``"train"`` or ``"test"``.

    Parameters
    ----------
    split : str
    folder : path or None
        See :func:`data_folder`.

    Raises
    ------
    ValueError
        A file is missing, truncated, or not what it should be; the sentence names it.
    """
    if split not in _PREFIX:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    folder = data_folder(folder)
    path, images = _read(folder, f"{_PREFIX[split]}-images-idx3-ubyte")
    if images.shape[1:] != (28, 28) or not len(images):
        raise ValueError(f"{path} must hold images of 28x28, not an array of {images.shape}")
    count = len(images)
    path, labels = _read(folder, f"{_PREFIX[split]}-labels-idx1-ubyte")
    if labels.shape != (count,) or labels.max() >= len(CLASSES):
        raise ValueError(f"{path} must hold {count} labels from 0 to {len(CLASSES) - 1}")
    return images[..., None], labels.astype(np.int64)
