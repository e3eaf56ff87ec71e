"""The folder that is copied to a board, and the command that runs there."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from boards import host
from boards.host import Accelerator, HostError, copy_driver, driver_files
from model.graph import ZOO, load
from tests.axi_device import DIGEST, Device, expected, images_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("driver")
    copied = copy_driver(target)
    assert copied == [target / name for name in driver_files()]
    shutil.copytree(ZOO / "hybnn-mini", target / "network")
    return target


def run(folder, *arguments, program=("-m", "boards.host")):
    """Python as on the board: nothing of this project's environment but numpy."""
    packages = folder / "site"
    if not packages.exists():
        packages.mkdir()
        site = Path(np.__file__).parents[1]
        for path in site.glob("numpy*"):
            (packages / path.name).symlink_to(path)
    command = [sys.executable, "-S", "-E", "-c"]
    command.append(
        f"import sys, runpy; sys.path[:0] = [{str(folder)!r}, {str(packages)!r}]; "
        f"sys.argv = ['boards.host', *{list(map(str, arguments))!r}]; "
        "runpy.run_module('boards.host', run_name='__main__')"
    )
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_copied_folder_runs_with_numpy_alone(folder):
    result = run(folder, "--help")
    assert result.returncode == 0, result.stderr
    assert "--bitstream" in result.stdout


def test_the_copied_folder_knows_the_network_and_what_it_runs_on(folder, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 28, 28, 1), dtype=np.uint8))
    images, scores = tmp_path / "x.npy", tmp_path / "y.npy"
    result = run(folder, "network", "--images", images, "--out", scores)
    assert result.returncode == 1
    assert result.stderr.startswith("error: this is no Zynq UltraScale+"), result.stderr
    assert not (tmp_path / "y.npy").exists()


def test_the_copied_folder_computes_the_same_digest(folder):
    code = (
        f"import sys; sys.path[:0] = [{str(folder)!r}, {str(Path(np.__file__).parents[1])!r}]; "
        "from model.graph import load; print(load('network').digest()); "
        "assert not {'torch', 'amaranth', 'rich', 'serial'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code],
        capture_output=True, text=True, cwd=folder, check=True,
    )  # fmt: skip
    assert result.stdout.strip() == load("hybnn-mini").digest()


def test_every_file_of_the_folder_is_there_and_none_is_of_the_gateware():
    root = Path(host.__file__).parents[2]
    assert all((root / name).is_file() for name in driver_files())
    assert all(name.split("/")[0] in ("boards", "model") for name in driver_files())
    assert not any("axi" in name for name in driver_files())


# The command.


@pytest.fixture
def files(tmp_path, monkeypatch):
    device = Device()
    asked = {}

    def open_accelerator(*, bitstream, uio, udmabuf, use_pynq, **options):
        asked.update(bitstream=bitstream, uio=uio, udmabuf=udmabuf, use_pynq=use_pynq)
        return Accelerator(device, slack=0.01, **options)

    monkeypatch.setattr("boards.host.command.open_accelerator", open_accelerator)
    network = SimpleNamespace(name="tiny", digest=lambda: DIGEST)
    monkeypatch.setattr("model.graph.load", lambda name: network)
    np.save(tmp_path / "x.npy", images_of(70))
    return SimpleNamespace(folder=tmp_path, device=device, asked=asked, network=network)


def command(files, *arguments):
    return host.main(
        [
            *(
                "tiny",
                "--images",
                str(files.folder / "x.npy"),
                "--out",
                str(files.folder / "y.npy"),
            ),
            *arguments,
        ]
    )


def test_command_writes_scores_and_a_report(files, capsys):
    assert command(files, "--bitstream", "top.bin", "--uio", "uio0", "--batch", "9") == 0
    assert np.load(files.folder / "y.npy").tolist() == expected(images_of(70))[1]
    report = json.loads((files.folder / "y.json").read_text())
    assert report["frames"] == 70 and report["digest"] == DIGEST
    assert report["board"] == "ultra96v2" and report["interval"] == 400
    assert files.asked == {
        "bitstream": "top.bin", "uio": "uio0", "udmabuf": "udmabuf0", "use_pynq": None,
    }  # fmt: skip
    assert files.device.submitted == [9] * 7 + [7] and files.device.closed == 1
    assert "70 images classified; scores in" in capsys.readouterr().out
    assert sorted(os.listdir(files.folder)) == ["x.npy", "y.json", "y.npy"]


def test_command_says_where_the_time_went(files, capsys):
    assert command(files, "--benchmark", "--no-pynq", "--udmabuf", "udmabuf3") == 0
    report = json.loads((files.folder / "y.json").read_text())
    assert report["compute"] == 28_000 / 100e6
    assert report["frames_per_second"] == 70 / report["seconds"]
    assert files.asked["use_pynq"] is False and files.asked["udmabuf"] == "udmabuf3"
    shown = capsys.readouterr().out
    for word in ("frames/s", "pack", "transfer", "compute", "unpack"):
        assert word in shown or word in report
    assert np.load(files.folder / "y.npy").tolist() == expected(images_of(70))[1]


def test_command_writes_the_parameters_first(files):
    words = np.arange(12, dtype=np.uint32)
    np.savez(
        files.folder / "p.npz",
        words=words, network="ab" * 32, folding=files.device.identity.folding,
        checksum=np.uint32(zlib.crc32(words.astype("<u4").tobytes())),
    )  # fmt: skip
    files.network.digest = lambda: "ab" * 32
    assert command(files, "--parameters", str(files.folder / "p.npz")) == 0
    assert files.device.parameters == words.tolist()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda files: setattr(files.network, "digest", lambda: "cd" * 32), "has another network"),
        (lambda files: setattr(files.device, "magic", 0), "no accelerator answers"),
        (lambda files: setattr(files.device, "stops_at", 5), "no result came for 0.01"),
        (
            lambda files: np.save(files.folder / "x.npy", images_of(3)[:, :2]),
            "images must be N x 4 x 3 x 2, not 3 x 2 x 3 x 2",
        ),
        (lambda files: (files.folder / "x.npy").unlink(), "x.npy' does not exist"),
        (lambda files: (files.folder / "x.npy").write_text("no"), "is no valid npy file"),
    ],
)
def test_command_says_in_one_sentence_what_is_wrong(files, capsys, change, sentence):
    change(files)
    assert command(files) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error
    assert not (files.folder / "y.npy").exists() and not (files.folder / "y.json").exists()


def test_command_names_what_the_board_lacks(files, capsys, monkeypatch):
    def refuse(**options):
        raise HostError("there is no /dev/udmabuf0")

    monkeypatch.setattr("boards.host.command.open_accelerator", refuse)
    assert command(files) == 1
    assert capsys.readouterr().err == "error: there is no /dev/udmabuf0\n"


def test_command_that_is_interrupted_stops_the_accelerator(files, capsys, monkeypatch):
    def interrupt(timeout):
        raise KeyboardInterrupt

    files.device.wait = interrupt
    assert command(files) == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert not files.device.queue and files.device.closed == 1
    assert not (files.folder / "y.npy").exists()
