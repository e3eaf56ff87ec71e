"""Reading IDX files: what is read, and what a bad file is answered with."""

import gzip
import struct

import numpy as np
import pytest

from model.data import CLASSES, DEFAULT_FOLDER, data_folder, load_split, read_idx


def idx(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """Three training images, gzipped, and two test images, not."""
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 251
    for name, array in (
        ("train-images-idx3-ubyte.gz", images),
        ("train-labels-idx1-ubyte.gz", np.array([9, 0, 4])),
        ("t10k-images-idx3-ubyte", images[:2]),
        ("t10k-labels-idx1-ubyte", np.array([1, 2])),
    ):
        content = idx(array)
        (tmp_path / name).write_bytes(gzip.compress(content) if name[-3:] == ".gz" else content)
    return tmp_path


def test_splits_are_read_compressed_or_not(folder):
    images, labels = load_split("train", folder)
    assert images.shape == (3, 28, 28, 1) and images.dtype == np.uint8
    assert images[1, 2, 3, 0] == (784 + 2 * 28 + 3) % 251
    assert labels.tolist() == [9, 0, 4] and labels.dtype == np.int64
    images, labels = load_split("test", folder)
    assert images.shape == (2, 28, 28, 1) and labels.tolist() == [1, 2]


def test_folder_is_the_one_named_then_the_environments_then_debians(monkeypatch, tmp_path):
    monkeypatch.delenv("BITWRIGHT_DATA", raising=False)
    assert data_folder() == DEFAULT_FOLDER
    monkeypatch.setenv("BITWRIGHT_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    assert data_folder(tmp_path / "a") == tmp_path / "a"


def test_unknown_split_is_refused(folder):
    with pytest.raises(ValueError, match="split must be 'train' or 'test', not 'dev'"):
        load_split("dev", folder)


def test_missing_file_is_named_with_what_to_do(folder):
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz is missing .* --data"):
        load_split("train", folder)


@pytest.mark.parametrize("keep", [0, 3, 10, 30, -1])
def test_truncated_gzip_file_is_named(folder, keep):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is"):
        load_split("train", folder)


@pytest.mark.parametrize("keep", [0, 3, 10, 100, -1])
def test_truncated_plain_file_is_named(folder, keep):
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte is"):
        load_split("test", folder)


def test_trailing_bytes_and_other_element_types_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(idx(np.zeros(3)) + b"!")
    with pytest.raises(ValueError, match="12 bytes instead of 11"):
        read_idx(path)
    path.write_bytes(b"\0\0\x0d\x01" + b"\0" * 8)
    with pytest.raises(ValueError, match="no IDX file of unsigned bytes"):
        read_idx(path)


def test_images_of_another_size_and_labels_that_do_not_fit_are_refused(folder):
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(idx(np.zeros((2, 28, 27))))
    with pytest.raises(ValueError, match="must hold images of 28x28"):
        load_split("test", folder)
    path.write_bytes(idx(np.zeros((1, 28, 28))))
    with pytest.raises(ValueError, match="labels-idx1-ubyte must hold 1 labels from 0 to 9"):
        load_split("test", folder)
    path.write_bytes(idx(np.zeros((2, 28, 28))))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([1, len(CLASSES)])))
    with pytest.raises(ValueError, match="labels from 0 to 9"):
        load_split("test", folder)
