# amaranth: UnusedElaboratable=no
"""One accelerator for several networks: rewritten whole, or refused with the operation named."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.fold import Folding
from hw.folding import choose
from hw.structure import Structure, StructureError
from model import golden, graph
from tests.networks import every_operation, one_pixel, tiny
from tests.streams import beats, drive, numbers
from tests.test_parameters import writes


@pytest.mark.parametrize(
    ("make", "target"), [(tiny, 2000), (every_operation, 150), (one_pixel, 100)]
)
def test_an_accelerator_becomes_that_of_another_network(make, target):
    network, other = make(0), make(1)
    folding = choose(network, target_cycles=target)
    accelerator, words = (
        Accelerator(network=network, folding=folding, writable=True),
        Accelerator(network=other, folding=folding, writable=True).space.words,
    )
    plain = Accelerator(network=other, folding=folding)
    assert (accelerator.interval, accelerator.latency) == (plain.interval, plain.latency)
    kind = network.types["image"]
    images = np.random.default_rng(7).integers(0, 256, (4, *kind.shape)).astype(np.uint8)
    expected = golden.run(other, images)
    assert (expected["scores"] != golden.run(network, images)["scores"]).any()
    for seed in (None, 4):
        run = drive(
            accelerator,
            {"i": beats("uint8", folding["image"].pe, images.ravel().tolist())},
            {"o": len(images) * accelerator.beats["o"], "o_label": len(images)},
            seed=seed,
            patience=accelerator.latency + 2 * accelerator.interval + 1000,
            before=writes(words, accelerator.parameters, accelerator.space, every=40),
        )
        scores = numbers(str(network.types["scores"].element), folding["scores"].pe, run.beats["o"])
        assert scores == expected["scores"].ravel().tolist()
        assert run.beats["o_label"] == expected["label"].ravel().tolist()
        if seed is None:
            ends = run.cycles["o"][accelerator.beats["o"] - 1 :: accelerator.beats["o"]]
            assert ends[0] - run.cycles["i"][0] == accelerator.latency
            assert ends[-1] - ends[-2] == accelerator.interval


def test_places_are_apart_and_hold_all_words():
    network = every_operation()
    space = Accelerator(
        network=network, folding=choose(network, target_cycles=150), writable=True
    ).space
    taken = set()
    for place in space.places:
        for row in range(place.depth):
            start = place.base + (row << place.column_bits)
            words = set(range(start, start + place.columns))
            assert not words & taken
            taken |= words
    assert max(taken) + 1 == space.size <= 1 << space.bits
    assert all(word == 0 for at, word in enumerate(space.words) if at not in taken)
    names = {place.name for place in space.places}
    assert {"conv1_mvau.weights", "rprelu_unit.thresholds", "fractional_mvau.gate"} <= names


def test_sums_that_depend_on_the_weights_are_written_where_all_is_border():
    folding = choose(one_pixel(), target_cycles=100)
    space = Accelerator(network=one_pixel(), folding=folding, writable=True).space
    names = {place.name for place in space.places}
    assert {"conv_mvau.initial", "depthwise_engine.sums"} <= names
    Structure.of(one_pixel(), folding).check(Structure.of(one_pixel(1), folding))


def with_operation(network, name, **changes):
    operations = [replace(op, **changes) if op.name == name else op for op in network.operations]
    return graph.Network(network.name, tuple(operations), network.outputs)


@pytest.fixture(scope="module")
def folding():
    return choose(every_operation(), target_cycles=600)


@pytest.fixture(scope="module")
def built(folding):
    return Structure.of(every_operation(), folding)


def test_networks_that_were_trained_differently_have_one_structure(built, folding):
    network = every_operation()
    one_way = with_operation(
        network,
        "act1",
        directions=np.ones(4, np.int64),
        thresholds=np.full((4, 15), network.types["conv1"].element.hi + 1),
    )
    for other in (every_operation(9), one_way):
        structure = Structure.of(other, folding)
        built.check(structure)
        assert structure.digest == built.digest
        assert structure.network != built.network


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("rprelu", {"shift": 4}, "operation 'rprelu' is not as it was built: its shift must be 3"),
        ("add", {"shifts": (3, 0)}, r"'add' is not .*: its shifts must be \(2, 0\), not \(3, 0\)"),
        (
            "conv1",
            {"bias": np.full(4, 1 << 20)},
            "operation 'conv1' is not as it was built: its result must be 8x8x4 int16, not 8x8x4 "
            "int22",
        ),
        ("conv1", {"bias": None}, r"'conv1' is not as it was built: its bias must be \(4,\), not"),
    ],
)
def test_another_structure_is_refused_with_the_operation(built, folding, name, changes, sentence):
    other = with_operation(every_operation(), name, **changes)
    with pytest.raises(StructureError, match=sentence):
        built.check(Structure.of(other, folding))


def test_another_network_or_folding_is_refused(built, folding):
    with pytest.raises(StructureError, match="networks must have the same operations"):
        built.check(Structure.of(tiny(), Folding({})))
    other = Structure.of(every_operation(), folding.with_layer("dw", ram_style="block"))
    with pytest.raises(StructureError, match="operation 'dw' is not as it was built: its folding"):
        built.check(other)


def test_a_structure_is_kept_in_a_file(built, tmp_path):
    path = tmp_path / "structure.json"
    built.save(path)
    assert Structure.load(path) == built
    content = json.loads(path.read_text())
    assert set(content) == {"format", "version", *(field.name for field in fields(Structure))}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "No such file"),
        ("{", "is not valid JSON"),
        ("[]", "is not the structure of an accelerator"),
        ('{"format": "bitwright-structure", "version": 2}', "has version 2, this Bitwright reads"),
        ('{"format": "bitwright-structure", "version": 1}', "must have network, folding, words"),
    ],
)
def test_a_bad_file_is_refused(text, sentence, tmp_path):
    path = tmp_path / "structure.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StructureError, match=sentence):
        Structure.load(path)
