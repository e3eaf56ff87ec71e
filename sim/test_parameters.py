"""Accelerators whose parameters are written: what was built for one network is another one."""

from dataclasses import fields, replace

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.folding import choose
from model import golden
from model.graph import LabelSelect, Network, load
from sim.composed import simulate
from sim.loader import ParameterLoader


def retrained(network: Network) -> Network:
    """A network of the same structure with other parameters: each channel has another's."""

    def other(value):
        if not isinstance(value, np.ndarray):
            return value
        # The channels of an RPReLU's segments come second, those of a thermometer are none.
        return np.roll(value, 1, axis=-1 if value.shape[0] == 2 else 0)

    operations = [
        op
        if isinstance(op, LabelSelect)
        else replace(op, **{field.name: other(getattr(op, field.name)) for field in fields(op)})
        for op in network.operations
    ]
    return Network(network.name, tuple(operations), network.outputs)


@pytest.mark.slow
def test_hybnn_mini_becomes_another_network_in_the_same_cycles():
    network = load("hybnn-mini")
    other = retrained(network)
    folding = choose(network, target_cycles=4000)
    built, words, plain = (
        Accelerator(network=network, folding=folding, writable=True),
        Accelerator(network=other, folding=folding, writable=True).space.words,
        Accelerator(network=network, folding=folding),
    )
    images = np.random.default_rng(8).integers(0, 256, (3, 28, 28, 1)).astype(np.uint8)
    expected = golden.run(other, images)
    assert (expected["scores"] != golden.run(network, images)["scores"]).any()
    for stalls in (None, 3):
        result = simulate(built, images, words=words, stalls=stalls, optimise=0)
        for name, tensor in expected.items():
            assert (result.outputs[name] == tensor).all(), name
        if stalls is None:
            assert result.ends["scores"][: len(plain.ends)] == plain.ends[:3]


def test_a_loader_has_as_many_words_as_there_are():
    network = load("hybnn-mini")
    space = Accelerator(
        network=network, folding=choose(network, target_cycles=16000), writable=True
    ).space
    with pytest.raises(ValueError, match=f"words must be {space.size}, not 3"):
        ParameterLoader(space, [1, 2, 3])
