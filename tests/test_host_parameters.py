"""Parameters of a retrained network, into a stand-in for an accelerator and out of it again."""

import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from boards.host import Accelerator, HostError, ParameterFile, load_parameters
from tests.axi_device import DIGEST, FOLDING, IDENTITY_OF_IT, Device

OTHER = SimpleNamespace(name="other", digest=lambda: "ab" * 32)


def retrained(words=None, folding=FOLDING):
    words = np.arange(100, 112, dtype=np.uint32) if words is None else words
    return ParameterFile(words=words, network=OTHER.digest(), folding=folding)


def test_parameters_of_a_retrained_network_are_written_and_read_back():
    device = Device()
    with Accelerator(device, parameter_file=retrained(), network=OTHER) as board:
        assert board.network == OTHER.digest()
        assert board.read_parameters().tolist() == list(range(100, 112))
    assert device.parameters == list(range(100, 112))


@pytest.mark.parametrize("word", [0, 5, 11])
def test_parameters_that_come_back_wrong_are_named_and_belong_to_no_network(word):
    device = Device()
    device.damaged_parameter = word
    with Accelerator(device) as board:
        with pytest.raises(HostError, match=f"1 of 12 parameter words.*first is word {word}:"):
            board.write_parameters(retrained())
        assert board.network == "00" * 32


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (retrained(folding="cd" * 32), "for another folding: its digest is cdcdcdcdcdcd"),
        (retrained(np.zeros(11, np.uint32)), r"must be 12 of uint32, not uint32 of shape \(11,\)"),
        (retrained(np.zeros(12, np.int64)), "must be 12 of uint32, not int64"),
    ],
)
def test_parameters_of_another_accelerator_are_refused(file, sentence):
    device = Device()
    with Accelerator(device) as board:
        with pytest.raises(ValueError, match=sentence):
            board.write_parameters(file)
        assert board.network == DIGEST


def test_fixed_parameters_cannot_be_written():
    with Accelerator(Device(replace(IDENTITY_OF_IT, parameter_words=0))) as board:
        with pytest.raises(ValueError, match="the parameters of this accelerator are fixed"):
            board.write_parameters(retrained(np.zeros(0, np.uint32)))


def save(path, **changes):
    words = np.arange(12, dtype=np.uint32)
    fields = {"words": words, "network": DIGEST, "folding": FOLDING, "checksum": 0}
    np.savez(path, **{**fields, **changes})
    return path


def test_a_file_of_parameters_is_read(tmp_path):
    checksum = zlib.crc32(np.arange(12, dtype="<u4").tobytes())
    file = load_parameters(save(tmp_path / "p.npz", checksum=np.uint32(checksum)))
    assert (file.network, file.folding) == (DIGEST, FOLDING)
    assert file.words.tolist() == list(range(12))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"checksum": 1}, "is damaged: its checksum must be 00000001"),
        ({"words": np.zeros((2, 6), np.uint32)}, "must have a list of uint32 words"),
        ({"words": np.zeros(12)}, "must have a list of uint32 words, not float64"),
    ],
)
def test_a_damaged_file_of_parameters_is_named(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        load_parameters(save(tmp_path / "p.npz", **changes))


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04 half a file"])
def test_a_file_that_holds_no_parameters_is_named(content, tmp_path):
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(ValueError, match="p.npz is not a file of parameters"):
        load_parameters(tmp_path / "p.npz")


def test_an_array_is_no_file_of_parameters(tmp_path):
    np.save(tmp_path / "p.npy", np.zeros(3))
    with pytest.raises(ValueError, match="p.npy is not a file of parameters"):
        load_parameters(tmp_path / "p.npy")
