"""Hints: what of a teacher's residuals is no linear function of a network's, and its gradient."""

import pytest
import torch

from model import train as training
from model.checkpoint import save_parameters
from model.networks import build
from model.training.hints import Tracing, hint_loss, unexplained
from tests.scenes import detector, folder, options

torch.set_num_threads(1)

__all__ = ["folder"]


def maps(channels: int, seed: int) -> torch.Tensor:
    return torch.randn(4, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_linear_function_explains_what_it_makes():
    ours = maps(5, 1)
    theirs = torch.einsum("oc,nchw->nohw", maps(7, 2)[0, :, 0, :5], ours) + 3
    assert unexplained(ours, theirs) < 1e-5
    # Of 256 places 5 numbers explain a 50th of what has nothing to do with them.
    assert 0.9 < unexplained(ours, maps(7, 3)) < 1


def test_what_is_left_does_not_depend_on_scale_or_order_of_channels():
    ours, theirs = maps(5, 1), maps(6, 4)
    left = unexplained(ours, theirs)
    assert torch.allclose(unexplained(100 * ours.flip(1) - 2, 0.01 * theirs + 1), left, atol=1e-4)


def test_the_gradient_is_that_of_the_best_function():
    ours, theirs = maps(3, 1).double().requires_grad_(), maps(4, 5).double()
    unexplained(ours, theirs).backward()
    way, step = maps(3, 6).double(), 3e-2
    with torch.no_grad():
        ends = [unexplained(ours + sign * step * way, theirs).item() for sign in (-1, 1)]
    slope = (ends[1] - ends[0]) / (2 * step)
    assert (ours.grad * way).sum().item() == pytest.approx(slope, rel=0.02)


def test_a_network_told_its_residuals_gives_the_same_map():
    network = detector().eval()
    images = torch.randint(0, 256, (2, 1, 32, 32))
    expected = network(images)
    scores, seen = Tracing(network)(images)
    assert torch.equal(scores, expected) and len(seen) == len(network.blocks)
    assert torch.equal(network.decide(seen[-1]), expected) or network.act is not None
    assert hint_loss(seen, seen) < 1e-2
    with pytest.raises(ValueError, match="as many blocks, and maps of the same size"):
        hint_loss(seen, seen[1:])


def test_hints_train_a_network_with_its_teacher(folder):
    teacher = folder / "teacher.npz"
    torch.manual_seed(3)
    save_parameters(build("basebnn-ssdd-mini"), teacher)
    taught = ["--window", "16", "--teacher", str(teacher), "--teacher-network"]
    reports = [
        training.train(options(folder, out, *taught, "basebnn-ssdd-mini", "--hint", hint))
        for out, hint in (("a", "0"), ("b", "4"))
    ]
    assert [report["hint"] for report in reports] == [0, 4]
    first = [report["history"][0]["loss"] for report in reports]
    # What it adds to the loss is at most its weight.
    assert first[0] < first[1] < first[0] + 4 + 1

    with pytest.raises(ValueError, match="--hint is what a teacher says: it needs --teacher"):
        training.train(options(folder, "c", "--window", "16", "--hint", "1"))
    save_parameters(build("teacher-ssdd-mini"), teacher)
    with pytest.raises(ValueError, match="teacher-ssdd-mini cannot hint at the blocks of"):
        training.train(options(folder, "c", *taught, "teacher-ssdd-mini", "--hint", "1"))
