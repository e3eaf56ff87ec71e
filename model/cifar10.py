"""CIFAR-10 (Krizhevsky, 2009) from the batches of its publisher, ``cifar-10-batches-py``.

The batches are pickles, which could run any code: the reader admits what these files are made of,
numbers, strings, lists and one numpy array, and nothing else.
"""

import pickle
from pathlib import Path

import numpy as np

__all__ = ["CLASSES", "FOLDER", "exact_test", "read_batch", "read_split"]

#: The folder's name in the publisher's archive.
FOLDER = "cifar-10-batches-py"

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_FILES = {"train": tuple(f"data_batch_{n}" for n in range(1, 6)), "test": ("test_batch",)}

#: What rebuilds a numpy array; the module had another name before numpy 2.
_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in it")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_batch(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and labels (N,) int64 of one batch.

    Raises
    ------
    ValueError
        The file is damaged, holds what a batch does not hold, or cannot be a batch of CIFAR-10.
    OSError
        It cannot be read.
    """
    with Path(path).open("rb") as file:
        try:
            batch = _Unpickler(file, encoding="bytes").load()
        except Exception as error:  # A damaged pickle fails in every way there is.
            why = str(error).rstrip(".") or type(error).__name__
            raise ValueError(f"{path} is no batch of CIFAR-10, or damaged: {why}") from None
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise ValueError(f"{path} must hold a dictionary with data and labels")
    pixels, labels = batch[b"data"], batch[b"labels"]
    right = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 2
    if not right or not len(pixels) or pixels.shape[1] != 3072:
        came = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else "no array"
        raise ValueError(f"{path}: data must be a uint8 array (N, 3072), not {came}")
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(type(label) is int and 0 <= label < len(CLASSES) for label in labels)
    ):
        raise ValueError(f"{path} must hold {len(pixels)} labels from 0 to {len(CLASSES) - 1}")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(labels, np.int64)


def exact_test(folder: Path) -> np.ndarray | None:
    """Numbers of the test images whose pixels are exact, where the folder says which they are.

    Copies of CIFAR-10 that once were compressed with losses have ``exact_index.npz`` beside the
    batches; where there is none, every image is exact.

    Raises
    ------
    ValueError
        The file is damaged, or names images that there are not.
    """
    path = folder / "exact_index.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            numbers = file["test"].astype(np.int64)
    except Exception as error:  # A damaged archive fails in every way there is.
        raise ValueError(f"{path} is damaged or no index of exact images: {error}") from None
    if numbers.ndim != 1 or not len(numbers) or numbers.min() < 0 or numbers.max() >= 10_000:
        raise ValueError(f"{path} must name test images from 0 to 9999")
    return numbers


def read_split(split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of ``"train"`` or ``"test"``, in the order of the batches."""
    parts = []
    for name in _FILES[split]:
        path = folder / name
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: name the folder that holds CIFAR-10's {FOLDER} with --data or "
                f"BITWRIGHT_DATA"
            )
        parts.append(read_batch(path))
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)
