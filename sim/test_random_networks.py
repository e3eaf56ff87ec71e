"""Random networks of all operations at random foldings: RTL equal to golden, none hanging.

The default run plays some of them; `pytest -m sweep sim/test_random_networks.py` plays 2,000. A
slice of the sweep that has passed is not played again until a source changes, so that the sweep can
be run in pieces.
"""

import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.fold import Folding, FoldingError, LayerFolding
from hw.folding import size_fifos
from model import golden
from model.graph import (
    BINARY,
    OPERATIONS,
    Add,
    Conv,
    ElementType,
    Input,
    Network,
    Threshold,
)
from sim.cases import Case, Played, pack, play_cases
from sim.harness import available
from sim.random_networks import random_folding, random_images, random_network

ROOT = Path(__file__).resolve().parents[1]
PASSED = ROOT / "build" / "sweep.json"

FRAMES = 3
SLICE = 25
SLICES = 4
SWEEP_SLICES = 80


def composed(seed: int) -> tuple[Accelerator, Case]:
    """The network of a seed as one device, with the beats that golden expects of it."""
    network = random_network(seed)
    accelerator = Accelerator(network=network, folding=random_folding(network, seed))
    images = random_images(network, FRAMES, seed)
    tensors = golden.run(network, images)
    expected = {}
    for name, (port, link) in zip(network.outputs, accelerator.outputs.items(), strict=True):
        expected[port] = pack(str(network.types[name].element), link.lanes, tensors[name])
    lanes = accelerator.folding[network.input.name].pe
    case = Case(
        f"network {seed}",
        lambda: accelerator,
        {"i": pack("uint8", lanes, images)},
        expected,
        patience=2 * (accelerator.latency + accelerator.interval) + 2000,
    )
    return accelerator, case


def check(accelerator: Accelerator, case: Case, played: Played) -> None:
    """Beats with and without stalls, and the cycles without."""
    played.check_beats(case)
    pipeline = accelerator.play(frames=FRAMES)
    predicted = {"i": pipeline.taken_at["image", 0]}
    for port, link in accelerator.outputs.items():
        predicted[port] = pipeline.taken_at[link.node, link.index]
    found = played.cycles(case)
    # The model stops with the last beat of the last output, the gateware goes on.
    for port, cycles in predicted.items():
        assert found[port][: len(cycles)] == cycles, f"{case.name}: {port}"


def play_slice(index: int, simulator: str) -> None:
    devices = []
    for seed in range(index * SLICE, (index + 1) * SLICE):
        try:
            devices.append(composed(seed))
        except Exception as error:
            error.add_note(f"network {seed}")
            raise
    played = play_cases(
        [case for _, case in devices], simulator=simulator, seeds=(None, 2 * index, 2 * index + 1)
    )
    wrong = []
    for accelerator, case in devices:
        try:
            check(accelerator, case, played)
        except AssertionError as error:
            wrong.append(str(error).split("\n")[0])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("index", range(SLICES))
def test_rtl_equals_golden(index):
    play_slice(index, "verilator")


def test_rtl_equals_golden_in_the_other_simulator():
    if available("icarus"):
        pytest.skip(available("icarus"))
    play_slice(SLICES, "icarus")


@cache
def sources() -> str:
    """Digest of everything that the sweep depends on."""
    digest = hashlib.sha256()
    for room in ("hw", "model", "sim"):
        for path in sorted((ROOT / room).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.mark.sweep
@pytest.mark.parametrize("index", range(SWEEP_SLICES))
def test_rtl_equals_golden_in_the_sweep(index):
    mark = PASSED.with_suffix(f".{index}.json")
    if mark.is_file() and json.loads(mark.read_text()) == sources():
        pytest.skip("passed before, with the same sources")
    # Icarus needs no time to compile, which for networks as small as these is most of it.
    play_slice(index, "verilator" if available("icarus") else "icarus")
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps(sources()))


def test_joins_of_small_maps_keep_the_fifo_that_they_need():
    # The two beats of a map that wait at the join are all that the other branch waits for.
    ones = np.ones((4, 5, 5, 4), int)
    network = Network(
        "small",
        (
            Input(name="image", height=1, width=1, channels=64),
            Conv(
                name="first",
                inputs=("image",),
                weights=np.ones((4, 1, 1, 64), int),
                weight_type=BINARY,
            ),
            Threshold(
                name="sign",
                inputs=("first",),
                thresholds=np.full((4, 1), 9),
                directions=np.ones(4, int),
                element=BINARY,
            ),
            Conv(name="second", inputs=("sign",), weights=ones, weight_type=BINARY, padding=2),
            Add(name="add", inputs=("second", "first"), element=ElementType("int", 12)),
        ),
        ("add",),
    )
    lanes = {"image": 1, "first": 2, "sign": 4, "add": 2}
    layers = {name: LayerFolding(pe=pe) for name, pe in lanes.items()}
    folding = Folding({**layers, "second": LayerFolding(pe=2, simd=4)})
    sized = size_fifos(network, folding)
    assert sized["add"].fifo_depths == (1, 2)
    assert Accelerator(network=network, folding=sized).play(frames=8).cycle > 0
    with pytest.raises(FoldingError, match="fifo_depths"):
        Accelerator(network=network, folding=folding).play(frames=8)


def test_every_operation_occurs_often():
    kinds = Counter(
        type(op).__name__
        for seed in range(SLICES * SLICE)
        for op in random_network(seed).operations
    )
    assert set(kinds) == set(OPERATIONS)
    assert min(kinds.values()) >= 5


def test_networks_have_forks_and_several_outputs():
    networks = [random_network(seed) for seed in range(SLICES * SLICE)]
    assert sum(len(network.outputs) > 1 for network in networks) >= 10
    forks = [
        any(len(network.consumers(op.name)) > 1 for op in network.operations)
        for network in networks
    ]
    assert sum(forks) >= 20


def test_a_seed_is_a_network():
    for seed in (0, 7, 99):
        assert random_network(seed).digest() == random_network(seed).digest()
        network = random_network(seed)
        images = random_images(network, 2, seed)
        assert np.array_equal(images, random_images(network, 2, seed))
