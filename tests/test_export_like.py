"""Networks exported like another one, so that one accelerator can be either."""

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch

from model import golden, graph
from model.export import export, main
from model.networks.fusebnn import fuse_network
from model.networks.reactnet import BaseBNN
from tests.test_export import Block, images, numbers, randomize, torch_tensors
from tests.test_family import SMALL, settled
from tests.test_family import images as family_images


def block(seed, limit):
    network = randomize(Block(), seed)
    network.add.limit.fill_(limit)
    network.act.limit.fill_(2 * limit)
    return network


def attributes(network):
    """All of a network that is no parameter."""
    return [
        [getattr(value, "shape", value) for value in (getattr(op, f.name) for f in fields(op))]
        for op in network.operations
    ]


def test_shifts_and_elements_are_those_of_the_other_network():
    other = export(block(1, 8.0), "block")
    network = block(2, 4.0)
    free, like = export(network, "block"), export(network, "block", other)
    assert free.operation("add").shifts != other.operation("add").shifts
    assert attributes(like) == attributes(other)
    assert like.types == other.types
    assert attributes(free) != attributes(other)
    # What is exact stays so, and the rest is within its roundings.
    ours, theirs = golden.run(like, images(), keep="all"), torch_tensors(network, images())
    assert (numbers(like, ours, "sign") == theirs["sign"]).all()
    step = 8.0 * 1.125 / 2047
    assert np.abs(theirs["act"] - step * ours["act"]).max() < 0.1


def test_like_itself_a_network_is_the_same():
    network = block(3, 4.0)
    free = export(network, "block")
    assert export(network, "block", free).digest() == free.digest()


def test_what_cannot_be_like_the_other_is_refused():
    with pytest.raises(graph.NetworkError, match="layer add: its shortcut does not suit shift"):
        export(block(2, 40.0), "block", export(block(1, 0.5), "block"))
    other = export(block(1, 4.0), "block")
    steep = block(2, 4.0)
    steep.act.slope.data[:] = 500.0
    with pytest.raises(graph.NetworkError, match=r"layer act: scale .* is too large .* at shift"):
        export(steep, "block", other)
    shorter = graph.Network("shorter", other.operations[:3], (other.operations[2].name,))
    with pytest.raises(graph.NetworkError, match="the network to be like has no"):
        export(block(2, 4.0), "block", shorter)


@pytest.mark.parametrize("fused", [False, True])
def test_basebnn_and_fusebnn_have_the_shifts_of_another_one(fused):
    torch.manual_seed(4)
    first = settled(BaseBNN(**SMALL), 4)
    trained = [first, copy.deepcopy(first)]
    # Trained on: other slopes and shifts, and a residual that needs a bit less.
    with torch.no_grad():
        for unit in trained[1].units():
            unit.act.slope.sub_(0.1)
            unit.sign.shift.add_(0.02)
            unit.add.limit.mul_(0.4)
            unit.act.limit.mul_(0.4)
    other, network = map(fuse_network, trained) if fused else trained
    other = export(other, "small")
    free, like = export(network, "small"), export(network, "small", other)
    assert attributes(free) != attributes(other) == attributes(like)
    assert like.types == other.types and like.digest() != other.digest()
    assert export(network, "small", free).digest() == free.digest()
    x = family_images(100)
    labels = [golden.run(network, x)["label"] for network in (free, like)]
    assert (labels[0] == labels[1]).mean() >= 0.9


def test_numbers_too_large_for_another_basebnn_are_refused():
    small = settled(BaseBNN(**SMALL), 4)
    large = copy.deepcopy(small)
    large.blocks[0].pointwise.act.limit.mul_(1000)
    for unit in large.units():
        unit.add.limit.mul_(1000)
    with pytest.raises(graph.NetworkError, match=r"layer blocks.0.*do not suit shift \d+ and int"):
        export(large, "small", export(small, "small"))


def test_the_command_takes_the_network_to_be_like(tmp_path, capsys):
    from model.checkpoint import save_parameters
    from model.networks import build

    trained = randomize(build("hybnn-mini"), 5)
    for name in ("a_add", "a_act", "c_add", "c_act"):
        getattr(trained, name).limit.fill_(8.0)
    save_parameters(trained, tmp_path / "new.npz")
    graph.save(export(trained, "hybnn-mini"), tmp_path / "other")
    arguments = ["hybnn-mini", "--checkpoint", str(tmp_path / "new.npz")]
    out = ["--out", str(tmp_path / "like")]
    assert main([*arguments, "--like", str(tmp_path / "other"), *out]) == 0
    assert graph.load(tmp_path / "like").digest() == graph.load(tmp_path / "other").digest()
    assert "scores" in capsys.readouterr().out
