"""The search for a folding: memories of weights, budgets, and a network of FracBNN's structure."""

from dataclasses import replace

import pytest

from hw.accelerator import Accelerator
from hw.cost import Device, Resources
from hw.fold import fold_cycles
from hw.folding import DoesNotFit, choose, estimate
from tests.fracbnn_random import random_fracbnn

#: Roomy in everything.
LARGE = Device("large", "xcup", luts=1_000_000, ffs=1_000_000, brams=1000, dsps=1000)


@pytest.fixture(scope="module")
def network():
    return random_fracbnn(size=8, widths=(4, 8, 16), blocks=1, levels=4)


def total(network, folding, device):
    return sum(estimate(network, folding, device.family).values(), Resources())


def styles(network, folding):
    return {folding[op.name].ram_style for op in network.order if hasattr(op, "weights")}


def test_a_residual_network_keeps_its_target_and_no_fifo_ever_fills(network):
    folding = choose(network, target_cycles=600, device=LARGE)
    accelerator = Accelerator(network=network, folding=folding)
    assert accelerator.interval <= 600
    played = accelerator.play(frames=6, pace=accelerator.slowest)
    assert not any(played.stalls[name] for name in played.stalls if "_fifo_" in name)


def test_both_inputs_of_a_join_of_one_tensor_get_their_fifos(network):
    folding = choose(network, target_cycles=600, device=LARGE)
    twice = [op for op in network.order if type(op).__name__ == "Concat"]
    assert len(twice) == 2
    for op in twice:
        assert len(folding[op.name].fifo_depths) == 2 and max(folding[op.name].fifo_depths) > 0


def test_weights_leave_luts_where_these_are_short_and_stay_where_block_rams_are(network):
    roomy = choose(network, target_cycles=600, device=LARGE)
    needed = total(network, roomy, LARGE)
    assert needed.brams < 20 and "distributed" in styles(network, roomy)
    tight = replace(LARGE, luts=int(needed.luts * 0.99))
    moved = choose(network, target_cycles=600, device=tight)
    assert total(network, moved, LARGE).luts <= tight.luts
    assert total(network, moved, LARGE).brams > needed.brams
    none = replace(tight, brams=needed.brams)
    with pytest.raises(DoesNotFit, match=r"of .* LUTs, most of it"):
        choose(network, target_cycles=600, device=none)


def test_the_fastest_fits_with_its_fifos_and_nothing_much_faster_does(network):
    budget = replace(
        LARGE, luts=int(0.6 * total(network, choose(network, target_cycles=150), LARGE).luts)
    )
    folding = choose(network, device=budget)
    assert total(network, folding, budget).luts <= budget.luts
    interval = Accelerator(network=network, folding=folding).interval
    with pytest.raises(DoesNotFit):
        choose(network, target_cycles=interval * 3 // 4, device=budget)


def test_the_published_network_is_folded_layer_by_layer_for_its_target():
    # The layers alone: sizing the FIFOs of so large a network takes seconds.
    from hw.folding import _choose_layers

    whole = random_fracbnn()
    device = Device("XCZU3EG", "xcup", luts=60_000, ffs=141_120, brams=216, dsps=360)
    folding = _choose_layers(whole, 4096, device)
    for op in whole.order:
        assert fold_cycles(op, whole, folding[op.name]) <= 4096
    needed = total(whole, folding, device)
    assert needed.luts <= device.luts and needed.brams <= device.brams
    assert needed.dsps <= device.dsps and needed.ffs <= device.ffs
