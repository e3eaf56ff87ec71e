"""The command `python -m sim.run`, and what it says of bad input and of a network that stops."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.fold import Folding, LayerFolding
from hw.folding import choose
from model import golden
from model.graph import BINARY, Add, Conv, Input, Network, Threshold, parse_element, save
from sim import run
from sim.composed import StuckError, simulate, unpack
from sim.harness import available

ROOT = Path(__file__).resolve().parents[1]


def network() -> Network:
    """A residual block on a 6x6 image: a fork, a slow branch and a join."""
    random = np.random.default_rng(3)
    return Network(
        "block",
        (
            Input(name="image", height=6, width=6, channels=2),
            Threshold(
                name="sign",
                inputs=("image",),
                thresholds=np.array([[100], [150]]),
                directions=np.array([1, -1]),
                element=BINARY,
            ),
            Conv(
                name="conv",
                inputs=("sign",),
                weights=random.choice([-1, 1], (2, 3, 3, 2)),
                weight_type=BINARY,
                padding=1,
            ),
            Add(
                name="scores",
                inputs=("conv", "image"),
                shifts=(3, 0),
                element=parse_element("int10"),
            ),
        ),
        ("scores",),
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    save(network(), tmp_path / "block")
    images = np.random.default_rng(1).integers(0, 256, (8, 6, 6, 2)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    return tmp_path


def command(folder: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(sys.executable, "-m", "sim.run", "block"),
            *("--images", "images.npy", "--out", "out.npy"),
            *options,
        ],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )


def test_scores_and_report_are_written(folder):
    done = command(folder, "--target-cycles", "300")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((folder / "out.json").read_text())
    expected = golden.scores(network(), np.load(folder / "images.npy"))
    scores = np.load(folder / "out.npy")
    assert scores.dtype == np.int64
    assert (scores == expected).all()
    accelerator = Accelerator(network=network(), folding=choose(network(), target_cycles=300))
    assert report["frames"] == 8
    assert report["mismatches"] == 0
    assert report["interval"] == report["predicted_interval"] == accelerator.interval
    assert report["latency"] == report["predicted_latency"] == accelerator.latency
    assert report["as_predicted"] is True


@pytest.mark.parametrize(
    ("simulator", "wave"),
    [
        ("verilator", "w.vcd"),
        ("icarus", "w.fst"),
        pytest.param("verilator", "w.saif", marks=pytest.mark.slow),
    ],
)
def test_stalls_and_a_trace_by_option(folder, simulator, wave):
    if available(simulator):
        pytest.skip(available(simulator))
    done = command(folder, "--simulator", simulator, "--stalls", "7", "--trace", wave)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["mismatches"] == 0
    assert report["as_predicted"] is None
    assert (folder / wave).stat().st_size > 1000


def test_no_trace_unless_told(folder):
    assert command(folder).returncode == 0
    assert {path.name for path in folder.iterdir()} == {
        "block", "images.npy", "out.npy", "out.json"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--target-cycles", "1"], "cannot run at 1 cycles a frame"),
        (["--folding", "none.json"], "folding file 'none.json': No such file"),
        (["--simulator", "icarus", "--trace", "w.vcd"], "Icarus writes traces as FST alone"),
        (["--trace", "wave.txt"], "trace file must end in .fst, .vcd or .saif, not 'wave.txt'"),
        (["--stalls", "0"], "stalls must be a positive seed, not 0"),
        (["--images", "none.npy"], "images file 'none.npy' does not exist"),
    ],
)
def test_bad_input_ends_in_one_sentence(folder, options, sentence):
    if "icarus" in options and available("icarus"):
        sentence = "iverilog is not installed"
    done = command(folder, *options)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (folder / "out.npy").exists()


def test_images_of_wrong_shape_are_refused(folder):
    np.save(folder / "images.npy", np.zeros((2, 5, 6, 2), np.uint8))
    done = command(folder)
    assert done.returncode == 1
    assert "must have shape (N, 6, 6, 2), not (2, 5, 6, 2)" in done.stderr


def test_a_mismatch_ends_in_an_error(folder, monkeypatch, capsys):
    true = golden.run

    def wrong(*arguments: object, **options: object) -> dict:
        tensors = dict(true(*arguments, **options))
        tensors["scores"] = tensors["scores"].copy()
        tensors["scores"][5, 0, 0, 0] += 1
        return tensors

    monkeypatch.setattr(run.golden, "run", wrong)
    monkeypatch.chdir(folder)
    assert run.main(["block", "--images", "images.npy", "--out", "out.npy"]) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["mismatches"] == 1
    assert "1 of 8 frames differ from golden, the first is frame 5" in output.err


def test_a_pipeline_that_stops_is_told_by_name(folder):
    # The line buffer of the one branch holds more than the other branch has room for.
    folding = Folding({"scores": LayerFolding(fifo_depths=(0, 1))})
    accelerator = Accelerator(network=network(), folding=folding)
    images = np.load(folder / "images.npy")
    with pytest.raises(StuckError, match="a beat waits at .*scores") as caught:
        simulate(accelerator, images, optimise=0, patience=2000)
    assert "nothing moved for" in str(caught.value)
    assert "scores_fifo_1" in str(caught.value)


def test_numbers_are_taken_from_beats():
    assert unpack([0b1_0111_1000], 2, 4, True).tolist() == [-8, 7]
    assert unpack([0b0111_1000], 2, 4, False).tolist() == [8, 7]
