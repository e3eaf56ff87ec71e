# amaranth: UnusedElaboratable=no
"""Composed accelerators in Amaranth's simulator: equal to golden, in the cycles of the model."""

from dataclasses import replace

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.cost import Device
from hw.fold import Folding, FoldingError, LayerFolding
from hw.folding import DoesNotFit, choose, estimate, size_fifos
from model import golden
from tests.networks import every_operation, tiny
from tests.streams import beats, drive, numbers


def images_for(network, frames, seed=0):
    shape = network.types[network.input.name].shape
    return np.random.default_rng(seed).integers(0, 256, (frames, *shape)).astype(np.uint8)


def run(network, folding, images, seed=None):
    """Drive the accelerator; scores and labels are checked against golden."""
    accelerator = Accelerator(network=network, folding=folding)
    pe = folding[network.input.name].pe
    scores = network.types["scores"]
    result = drive(
        accelerator,
        {"i": beats("uint8", pe, images.ravel().tolist())},
        {"o": accelerator.beats["o"] * len(images), "o_label": len(images)},
        seed=seed,
        patience=accelerator.latency + 2 * accelerator.interval + 1000,
    )
    expected = golden.run(network, images)
    got = numbers(str(scores.element), folding["scores"].pe, result.beats["o"])
    assert got == expected["scores"].ravel().tolist()
    assert result.beats["o_label"] == expected["label"].ravel().tolist()
    return accelerator, result


@pytest.mark.parametrize("make", [tiny, every_operation])
@pytest.mark.parametrize("target", [2000, 600, 150, 90])
def test_chosen_foldings_give_golden_scores_in_the_predicted_cycles(make, target):
    network = make()
    folding = choose(network, target_cycles=target)
    images = images_for(network, 6)
    accelerator, result = run(network, folding, images)
    ends = result.cycles["o"][accelerator.beats["o"] - 1 :: accelerator.beats["o"]]
    assert accelerator.slowest <= accelerator.interval <= target
    assert ends[-1] - ends[-2] == accelerator.interval
    assert ends[0] - result.cycles["i"][0] == accelerator.latency
    run(network, folding, images[:2], seed=target)


def test_the_smallest_folding_of_all_works_too():
    network = tiny()
    folding = size_fifos(network, Folding({}))
    assert folding == Folding({})
    run(network, folding, images_for(network, 2), seed=5)


def test_every_port_of_the_model_moves_as_in_gateware():
    network = every_operation()
    folding = choose(network, target_cycles=300)
    images = images_for(network, 4)
    accelerator, result = run(network, folding, images)
    played = accelerator.play(frames=4)
    assert played.taken_at["image", 0] == result.cycles["i"]
    for port, link in accelerator.outputs.items():
        assert played.taken_at[link.node, link.index] == result.cycles[port]


def test_a_fifo_stalls_one_below_its_depth_and_not_at_it():
    network = every_operation()
    folding = choose(network, target_cycles=300)
    depths = folding["add"].fifo_depths
    waiting = [k for k, depth in enumerate(depths) if depth]
    assert waiting == [1]
    accelerator = Accelerator(network=network, folding=folding)
    assert accelerator.play(frames=6, pace=accelerator.slowest).stalls["add_fifo_1"] == 0
    shallow = folding.with_layer("add", fifo_depths=(0, depths[1] - 1))
    accelerator = Accelerator(network=network, folding=shallow)
    assert accelerator.play(frames=6, pace=accelerator.slowest).stalls["add_fifo_1"] > 0


def test_a_fifo_that_is_far_too_small_is_an_error_and_not_a_hang():
    network = every_operation()
    folding = choose(network, target_cycles=300).with_layer("add", fifo_depths=(0, 1))
    with pytest.raises(FoldingError, match=r"the pipeline stops.*fifo_depths.*add \[0, 1\]"):
        _ = Accelerator(network=network, folding=folding).interval


def test_a_folding_of_another_network_is_refused():
    with pytest.raises(FoldingError, match="network 'tiny' has no operation 'conv1'"):
        Accelerator(network=tiny(), folding=Folding({"conv1": LayerFolding()}))


SMALL = Device("smallchip", "ecp5", luts=8000, ffs=8000, brams=50, dsps=30)
TINY = Device("tinychip", "ecp5", luts=500, ffs=8000, brams=50, dsps=30)


def test_a_target_below_the_image_is_refused_with_the_layers_and_what_fits():
    with pytest.raises(DoesNotFit, match=r"at 40 cycles a frame: .*needs at least"):
        choose(every_operation(), target_cycles=40)
    with pytest.raises(DoesNotFit, match=r"--target-cycles \d+ fits smallchip") as refused:
        choose(every_operation(), target_cycles=40, device=SMALL)
    fits = int(str(refused.value).split("--target-cycles ")[1].split()[0])
    choose(every_operation(), target_cycles=fits, device=SMALL)


def test_a_device_that_is_too_small_is_refused_with_the_layers_to_blame():
    with pytest.raises(DoesNotFit, match=r"does not fit tinychip.* of 500 LUTs, most of it"):
        choose(every_operation(), target_cycles=100, device=TINY)


@pytest.mark.parametrize("what", ["luts", "ffs", "brams", "dsps"])
def test_a_device_has_something_of_everything(what):
    with pytest.raises(ValueError, match=f"smallchip must have some {what}, not 0"):
        replace(SMALL, **{what: 0})


def test_the_fastest_folding_of_a_device_fits_it():
    folding = choose(every_operation(), device=SMALL)
    costs = estimate(every_operation(), folding, "ecp5")
    assert sum(cost.luts for cost in costs.values()) <= SMALL.luts
    assert Accelerator(network=every_operation(), folding=folding).slowest < 1000
