"""The data sets that networks are trained and measured on, as numpy arrays.

The environment variable BITWRIGHT_DATA names one folder that holds the data sets, each in the
layout of its publisher: ``fashion-mnist/``, ``cifar-10-batches-py/``, and ``fracbnn/`` with
released parameters. The Fashion-MNIST files may also lie in that folder directly.

Fashion-MNIST comes in IDX files, those of Debian's ``dataset-fashion-mnist`` or of the authors:
four files, gzip-compressed (``.gz``) or not. Any other set of 28x28 images in 10 classes that comes
in these four files will do. Of CIFAR-10 see :mod:`model.cifar10`.
"""

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from model import cifar10

__all__ = [
    "CLASSES",
    "DEFAULT_FOLDER",
    "FASHION",
    "data_folder",
    "dataset_folder",
    "load_split",
    "missing",
    "read_idx",
]

#: Where Debian's package puts the files of Fashion-MNIST.
DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")

FASHION = "fashion-mnist"

CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip

_PREFIX = {"train": "train", "test": "t10k"}

#: A file of each data set by which its folder is known.
_MARKS = {
    FASHION: "t10k-images-idx3-ubyte",
    cifar10.FOLDER: "test_batch",
    "fracbnn": "fracbnn_cifar10_float.npz",
    "ssdd": "annotations",
}


def data_folder(folder: str | Path | None = None) -> Path:
    """The folder named, else that of the environment variable BITWRIGHT_DATA, else Debian's."""
    return Path(folder or os.environ.get("BITWRIGHT_DATA") or DEFAULT_FOLDER)


def _holds(folder: Path, name: str) -> bool:
    mark = folder / _MARKS[name]
    return mark.exists() or mark.with_name(f"{mark.name}.gz").exists()


def dataset_folder(name: str, folder: str | Path | None = None) -> Path:
    """Where the files of data set ``name`` are, or should be: in :func:`data_folder` or below it.

    Debian's Fashion-MNIST stands in where BITWRIGHT_DATA's folder has none.
    """
    root = data_folder(folder)
    places = [root / name, root]
    if name == FASHION and not folder:
        places.append(DEFAULT_FOLDER)
    return next(
        (place for place in places if _holds(place, name)), root if name == FASHION else places[0]
    )


def missing(name: str) -> str:
    """Why a test that needs data set ``name`` is skipped; empty where the data set is there."""
    place = dataset_folder(name)
    if _holds(place, name):
        return ""
    return f"no {name}: {place / _MARKS[name]} is not there (BITWRIGHT_DATA names the folder)"


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


def load_split(
    split: str, folder: str | Path | None = None, image: tuple[int, int, int] = (28, 28, 1)
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, height, width, channels) uint8 and labels (N,) int64 of ``"train"`` or ``"test"``.

    Parameters
    ----------
    split : str
    folder : path or None
        See :func:`data_folder`.
    image : tuple of int
        (height, width, channels) of an image, which chooses the data set: Fashion-MNIST (28, 28, 1)
        or CIFAR-10 (32, 32, 3).

    Raises
    ------
    ValueError
        A file is missing, truncated, or not what it should be; the sentence names it.
    """
    if split not in _PREFIX:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    if image == (32, 32, 3):
        return cifar10.read_split(split, dataset_folder(cifar10.FOLDER, folder))
    if image != (28, 28, 1):
        raise ValueError(f"no data set has images of {'x'.join(map(str, image))}")
    return _fashion(split, dataset_folder(FASHION, folder))


def _fashion(split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    path, images = _read(folder, f"{_PREFIX[split]}-images-idx3-ubyte")
    if images.shape[1:] != (28, 28) or not len(images):
        raise ValueError(f"{path} must hold images of 28x28, not an array of {images.shape}")
    count = len(images)
    path, labels = _read(folder, f"{_PREFIX[split]}-labels-idx1-ubyte")
    if labels.shape != (count,) or labels.max() >= len(CLASSES):
        raise ValueError(f"{path} must hold {count} labels from 0 to {len(CLASSES) - 1}")
    return images[..., None], labels.astype(np.int64)
