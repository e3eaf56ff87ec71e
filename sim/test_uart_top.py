"""The complete board top at its serial pins, driven by the host's own code."""

import json

import numpy as np
import pytest

from boards.shells import UARTShell
from hw.accelerator import Accelerator
from hw.folding import choose
from hw.verilog import to_verilog
from model import golden
from model.data import load_split
from model.graph import load
from sim.harness import build

# Eight clock cycles a bit, the clock being slow only to save simulation.
CLOCK_HZ = 8_000_000
BAUD = 1_000_000
GAP_BYTES = 60

SCENARIOS = (
    "clean", "dropped byte", "dropped first byte", "extra byte", "extra byte at the end",
    "flipped bit", "noise before", "lost reply byte", "half a request and silence",
    "fast line", "slow line",
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    return load("hybnn-mini")


@pytest.fixture(scope="module")
def accelerator(network):
    return Accelerator(network=network, folding=choose(network, target_cycles=4000))


@pytest.fixture(scope="module")
def images():
    count = len(SCENARIOS) + 1
    try:
        return load_split("test")[0][:count]
    except ValueError:
        return np.random.default_rng(8).integers(0, 256, (count, 28, 28, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def answers(network, accelerator, images, tmp_path_factory) -> dict:
    """What the host got in every scenario."""
    kind = network.types[network.input.name]
    top = UARTShell(
        accelerator=accelerator,
        digest=bytes.fromhex(network.digest()),
        height=kind.height,
        width=kind.width,
        channels=kind.channels,
        classes=network.types["scores"].channels,
        clock_hz=CLOCK_HZ,
        baud=BAUD,
        gap_bytes=GAP_BYTES,
    )
    model = build(to_verilog(top, "board"), "board")
    folder = tmp_path_factory.mktemp("uart")
    np.save(folder / "images.npy", images)
    setup = {
        "images": str(folder / "images.npy"),
        "results": str(folder / "results.json"),
        "clock_hz": CLOCK_HZ,
        "baud": BAUD,
        "gap_bytes": GAP_BYTES,
    }
    (folder / "setup.json").write_text(json.dumps(setup))
    model.run("sim.uart_testbench", environment={"BITWRIGHT_SETUP": str(folder / "setup.json")})
    return json.loads((folder / "results.json").read_text())


def test_every_scenario_is_played(answers):
    assert set(answers) == set(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_labels_and_scores_are_those_of_golden(scenario, answers, network, images):
    answer = answers[scenario]
    assert "error" not in answer, answer["error"]
    index = SCENARIOS.index(scenario)
    batch = images[index + 1 : index + 2] if index else images[:2]
    expected = golden.run(network, batch)
    assert answer["scores"] == expected["scores"].reshape(len(batch), -1).tolist()
    assert answer["labels"] == expected["label"].ravel().tolist()
    # The LEDs show the last label.
    assert answer["status"] & 0xF == answer["labels"][-1]


@pytest.mark.parametrize("scenario", ["clean", "fast line", "slow line"])
def test_nothing_is_sent_again_on_a_line_without_faults(scenario, answers):
    assert answers[scenario]["retried"] == 0


@pytest.mark.parametrize(
    "scenario",
    [
        "dropped byte", "dropped first byte", "extra byte", "flipped bit", "lost reply byte",
        "half a request and silence",
    ],
)  # fmt: skip
def test_damage_is_noticed_and_soon_over(scenario, answers):
    assert 1 <= answers[scenario]["retried"] <= 3


def test_the_board_says_what_it_is(answers, network, accelerator):
    assert answers["clean"]["digest"] == network.digest()
    assert answers["clean"]["interval"] == accelerator.interval
    assert answers["clean"]["latency"] == accelerator.latency
