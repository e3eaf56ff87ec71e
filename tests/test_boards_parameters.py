# amaranth: UnusedElaboratable=no
"""The command that writes the parameters of a retrained network."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from boards.parameters import main, write_structure
from hw.accelerator import Accelerator
from hw.folding import choose
from model import graph
from tests.networks import tiny


@pytest.fixture
def build(tmp_path):
    """The folder of a build of one network, and the folder of a retrained one."""
    network, retrained = tiny(0), tiny(1)
    folding = choose(network, target_cycles=600)
    accelerator = Accelerator(network=network, folding=folding, writable=True)
    folder = tmp_path / "build"
    folder.mkdir()
    folding.save(folder / "folding.json")
    write_structure(accelerator, folder / "parameters.json")
    graph.save(network, tmp_path / "network")
    graph.save(retrained, tmp_path / "retrained")
    return tmp_path


def words_of(folder, network):
    folding = choose(tiny(0), target_cycles=600)
    return Accelerator(network=network, folding=folding, writable=True).space.words


def test_writes_the_words_of_the_retrained_network(build, capsys):
    out = build / "out" / "new.npz"
    arguments = [str(build / "retrained"), "--built", str(build / "build"), "--out", str(out)]
    assert main(arguments) == 0
    words = words_of(build, tiny(1))
    assert f"wrote {len(words)} words" in capsys.readouterr().out
    assert words != words_of(build, tiny(0))
    with np.load(out) as file:
        arrays = {name: file[name] for name in file.files}
    assert arrays["words"].dtype == np.uint32
    assert arrays["words"].tolist() == words
    assert int(arrays["checksum"]) == zlib.crc32(arrays["words"].astype("<u4").tobytes())
    assert str(arrays["network"]) == tiny(1).digest()
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["words"] == len(words)
    assert report["checksum"] == int(arrays["checksum"])
    assert all(report[name] == str(arrays[name]) for name in ("network", "folding", "structure"))


def test_the_network_that_was_built_does_instead_of_the_build(build):
    outs = [build / "a.npz", build / "b.npz"]
    retrained, folding = str(build / "retrained"), str(build / "build" / "folding.json")
    assert main([retrained, "--built", str(build / "build"), "--out", str(outs[0])]) == 0
    built = ["--built", str(build / "network"), "--folding", folding]
    assert main([retrained, *built, "--out", str(outs[1])]) == 0
    files = [np.load(out) for out in outs]
    assert all((files[0][name] == files[1][name]).all() for name in files[0].files)


def refused(capsys, build, *arguments):
    out = build / "refused.npz"
    assert main([*map(str, arguments), "--out", str(out)]) == 1
    assert not out.exists()
    assert not out.with_suffix(".json").exists()
    return capsys.readouterr().err


def test_another_structure_is_refused_and_nothing_written(build, capsys):
    pool = replace(tiny(1).operation("pool"), shift=2)
    operations = [pool if op.name == "pool" else op for op in tiny(1).operations]
    graph.save(graph.Network("tiny", tuple(operations), ("scores", "label")), build / "other")
    error = refused(capsys, build, build / "other", "--built", build / "build")
    assert error.startswith("error: operation 'pool' is not as it was built: its shift must be 4")
    assert "python -m model.export --like" in error


def test_what_is_missing_is_named(build, capsys):
    retrained = build / "retrained"
    empty = build / "empty"
    empty.mkdir()
    error = refused(capsys, build, retrained, "--built", empty)
    assert "empty has no parameters.json: it was not built with --writable" in error
    error = refused(capsys, build, retrained, "--built", build / "network")
    assert "is a network, so that --folding must name the folding" in error
    other = build / "build" / "folding.json"
    choose(tiny(0), target_cycles=150).save(other)
    error = refused(capsys, build, retrained, "--built", build / "build")
    assert error == "error: the folding must be that of what was built\n"


def test_the_file_is_npz(build, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["x", "--built", "y", "--out", "z.bin"])
    assert stopped.value.code == 2
    assert "--out must end in .npz, not 'z.bin'" in capsys.readouterr().err
