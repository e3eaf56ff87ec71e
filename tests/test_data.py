"""Reading data sets: what is read, and what a bad file is answered with."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from model import cifar10
from model.data import (
    CLASSES,
    DEFAULT_FOLDER,
    FASHION,
    data_folder,
    dataset_folder,
    load_split,
    missing,
    read_idx,
)


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


def test_one_folder_holds_all_data_sets_and_debians_fashion_mnist_stands_in(
    folder, tmp_path_factory, monkeypatch
):
    root = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("BITWRIGHT_DATA", str(root))
    assert dataset_folder(cifar10.FOLDER) == root / cifar10.FOLDER
    assert "cifar-10-batches-py/test_batch is not there" in missing(cifar10.FOLDER)
    batches(root / cifar10.FOLDER)
    assert missing(cifar10.FOLDER) == ""
    assert dataset_folder(cifar10.FOLDER, root / cifar10.FOLDER) == root / cifar10.FOLDER
    monkeypatch.setattr("model.data.DEFAULT_FOLDER", folder)
    assert dataset_folder(FASHION) == folder
    # A folder that the caller names is meant.
    assert dataset_folder(FASHION, root) == root
    (root / FASHION).mkdir()
    (root / FASHION / "t10k-images-idx3-ubyte.gz").touch()
    assert dataset_folder(FASHION) == dataset_folder(FASHION, root) == root / FASHION
    assert dataset_folder(FASHION, folder) == folder


def batches(folder, count: int = 2) -> np.ndarray:
    """CIFAR-10's files, ``count`` images each; the pixels of the test batch."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = random.integers(0, 10, count).tolist()
        with (folder / name).open("wb") as file:
            pickle.dump({b"data": pixels, b"labels": labels}, file)
    return pixels


def test_cifar10_is_read_channels_last(tmp_path):
    pixels = batches(tmp_path / cifar10.FOLDER)
    images, labels = load_split("test", tmp_path, (32, 32, 3))
    assert images.shape == (2, 32, 32, 3) and images.dtype == np.uint8
    assert images[1, 2, 3].tolist() == [pixels[1, c * 1024 + 2 * 32 + 3] for c in range(3)]
    assert labels.shape == (2,) and labels.dtype == np.int64
    images, labels = load_split("train", tmp_path, (32, 32, 3))
    assert len(images) == len(labels) == 10
    (tmp_path / cifar10.FOLDER / "data_batch_4").unlink()
    with pytest.raises(ValueError, match="data_batch_4 is missing: name the folder that holds"):
        load_split("train", tmp_path, (32, 32, 3))
    with pytest.raises(ValueError, match="no data set has images of 8x8x3"):
        load_split("test", tmp_path, (8, 8, 3))


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "test_batch is no batch of CIFAR-10, or damaged: Ran out of input"),
        (pickle.dumps(list(range(99)))[:50], "no batch of CIFAR-10, or damaged"),
        (pickle.dumps(Harmful()), "damaged: builtins.print has no place in it"),
        (pickle.dumps([1]), "must hold a dictionary with data and labels"),
        (
            pickle.dumps({b"data": np.zeros((2, 3071), np.uint8), b"labels": [1, 2]}),
            r"data must be a uint8 array \(N, 3072\), not uint8 \(2, 3071\)",
        ),
        (
            pickle.dumps({b"data": [0], b"labels": [1]}),
            "data must be a uint8 array .*, not no array",
        ),
        (
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}),
            "must hold 2 labels from 0 to 9",
        ),
    ],
)
def test_bad_batches_are_named_and_run_nothing(tmp_path, capsys, content, sentence):
    path = tmp_path / "test_batch"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        cifar10.read_batch(path)
    assert capsys.readouterr().out == ""


def test_exact_images_are_those_that_the_folder_names(tmp_path):
    batches(tmp_path / cifar10.FOLDER)
    folder = tmp_path / cifar10.FOLDER
    assert cifar10.exact_test(folder) is None
    np.savez(folder / "exact_index.npz", test=np.array([0, 5], np.int32))
    assert cifar10.exact_test(folder).tolist() == [0, 5]
    np.savez(folder / "exact_index.npz", test=np.array([10_000]))
    with pytest.raises(ValueError, match="exact_index.npz must name test images from 0 to 9999"):
        cifar10.exact_test(folder)
    for content in (b"", b"PK\x03\x04 and no more"):
        (folder / "exact_index.npz").write_bytes(content)
        with pytest.raises(ValueError, match="exact_index.npz is damaged or no index of exact"):
            cifar10.exact_test(folder)
