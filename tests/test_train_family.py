"""The script that trains networks in turns of some minutes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.cifar10 import FOLDER
from tests.test_data import batches

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def call(tmp_path):
    batches(tmp_path / FOLDER, 4)
    # Where the checkout has no environment of its own, the script takes python3 from the path.
    environment = os.environ | {
        "BITWRIGHT_DATA": str(tmp_path), "RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TRAIN_OPTIONS": "--epochs 1 --batch 4 --validation 4",
    }  # fmt: skip

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess:
        command = [ROOT / "scripts" / "train_family.sh", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment | changes)

    return run


def test_networks_are_trained_in_turn_and_those_that_are_done_are_left(call, tmp_path):
    networks = ["teacher-mini", "fourbit-mini"]
    over = call("--minutes", "0.2", "--device", "cpu", *networks)
    assert over.returncode == 3 and not (tmp_path / "runs").exists()
    assert over.stdout == "the minutes are over before teacher-mini: call this again\n"
    done = call("--minutes", "9", "--device", "cpu", *networks)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all is done: teacher-mini fourbit-mini\n")
    written = {path.name for path in (tmp_path / "runs" / "fourbit-mini").iterdir()}
    assert written == {"checkpoint.pt", "log.json", "curves.png", "float.npz", "report.json"}
    again = call("--device", "cpu", *networks)
    assert again.stdout == "all is done: teacher-mini fourbit-mini\n"


def test_what_the_script_does_not_know_is_named(call):
    assert "unknown option --nonsense" in call("--nonsense", "hybnn").stderr
    assert call().returncode == 2
    assert call("--device", "cpu", "nonsense").returncode == 2


def test_networks_share_the_minutes_that_are_left_and_one_that_filled_them_is_resumed(
    call, tmp_path
):
    # Writes down how it is called. The first network ends at once, the second is interrupted.
    python = tmp_path / "python"
    python.write_text(
        """#!/bin/sh
        echo "$@" >>"$RUNS/calls"
        [ "$3" = teacher-mini ] && touch "$RUNS/$3/report.json" || touch "$RUNS/$3/checkpoint.pt"
        """
    )
    python.chmod(0o755)
    for network in ("teacher-mini", "fourbit-mini"):
        (tmp_path / "runs" / network).mkdir(parents=True)
    arguments = ["--minutes", "9", "--fill", "--device", "cpu", "teacher-mini", "fourbit-mini"]
    for _ in range(2):
        assert call(*arguments, PYTHON=str(python)).returncode == 3
    first, second, third = (tmp_path / "runs" / "calls").read_text().splitlines()
    assert first.startswith("-m model.train teacher-mini") and "--fill --minutes 4" in first
    assert second.startswith("-m model.train fourbit-mini") and "--fill --minutes 8" in second
    assert "fourbit-mini --resume --fill --minutes 8" in third.replace(
        f"--device cpu --out {tmp_path}/runs/fourbit-mini ", ""
    )
    assert "--fill needs --minutes" in call("--fill", "fourbit-mini").stderr

    # What is shipped goes on from there, and only that.
    for network in ("fourbit", "teacher"):
        (tmp_path / "runs" / network).mkdir()
        call("--shipped", "--device", "cpu", network, PYTHON=str(python))
    *_, fourbit, teacher = (tmp_path / "runs" / "calls").read_text().splitlines()
    assert fourbit.endswith(
        "--warm-start model/zoo/fourbit/float.npz --epochs 1 --batch 4 --validation 4"
    )
    assert "--warm-start" not in teacher
