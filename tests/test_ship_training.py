"""Training to find ships: what becomes of images and boxes, losses, runs."""

import itertools
import json
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model import boxes, evaluate, graph
from model import train as training
from model.checkpoint import load_parameters, save_parameters
from model.export import export
from model.networks import NETWORKS, build
from model.networks.hybnn import HyBNN
from model.training import ships
from model.training.epochs import Epochs
from model.training.lineage import command_line
from model.training.ships import (
    augmented,
    box_loss,
    drawn_order,
    padded,
    paired_overlaps,
    predicted,
    taught_loss,
    turned,
    turned_boxes,
)
from tests.processes import environments
from tests.scenes import MINI, detector, folder, options

torch.set_num_threads(1)

__all__ = ["folder"]


@pytest.mark.parametrize("window", [0, 32])
def test_augmented_boxes_follow_the_pixels(window):
    images = torch.zeros(32, 1, 64, 64, dtype=torch.uint8)
    images[:, :, 24:32, 30:46] = 255
    place = torch.tensor([30.0, 24, 46, 32]).expand(32, 1, 4)
    there = torch.ones(32, 1, dtype=torch.bool)
    side = window or 64
    drawn = torch.rand(32, 14, generator=torch.Generator().manual_seed(2))
    x, moved, left = augmented(images, place, there, drawn, window)
    assert left.sum() >= 20 and x.shape == (32, 1, side, side) and (x == x.round()).all()
    for image, box, is_there in zip(x[:, 0], moved[:, 0], left[:, 0], strict=True):
        if is_there:
            rows, columns = (image > 64).nonzero(as_tuple=True)
            seen = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (seen - box).abs().max() <= 1.5
    assert len({tuple(box.tolist()) for box in moved[:, 0]}) == 32


@pytest.mark.parametrize("window", [16, 24])
def test_images_that_keep_their_pixels_are_windows_of_turned_ones(window):
    random = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (12, 1, 24, 24), dtype=torch.uint8, generator=random)
    place, there = torch.tensor([[[4.0, 4, 12, 10]]]).expand(12, 1, 4), torch.ones(12, 1).bool()
    drawn = torch.rand(12, 14, generator=random)
    drawn[:, 6] = torch.tensor([0.39, 0.41]).repeat(6)  # Whether they keep them.
    drawn[:, 12] = 3 / 7  # No brighter or darker.
    x, _, _ = augmented(images, place, there, drawn, window)
    found = []
    for image, seen in zip(images[:, 0].float(), x[:, 0], strict=True):
        turned = [image.rot90(turns) for turns in range(4)]
        turned += [one.flip(0) for one in turned]
        cut = [one.unfold(0, window, 1).unfold(1, window, 1) for one in turned]
        found.append(any((part == seen).all((-1, -2)).any() for part in cut))
    assert found == [True, False] * 6


def test_box_loss_falls_to_what_is_to_be_found():
    places, there = padded((np.array([[8.0, 8, 24, 16]]), np.zeros((0, 4))))
    anchors = torch.tensor([[15.0, 9.0], [4.0, 4.0]])
    maps = torch.zeros(2, 10, 4, 4, requires_grad=True)
    optimizer = torch.optim.Adam([maps], 0.2)
    losses = []
    for _ in range(120):
        loss, right, count = box_loss(maps, places, there, anchors, 8)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert count == right == 1 and losses[-1] < 0.05 * losses[0]
    ours, scores = boxes.decode(maps.detach().permute(0, 2, 3, 1).numpy(), anchors.numpy(), 8)
    kept, sure = boxes.suppress(ours[0], scores[0], least=0.5)
    assert len(kept) == 1 and sure[0] > 0.9
    assert boxes.overlaps(kept, places[0].numpy())[0, 0] > 0.95
    assert scores[1].max() < 0.1


def test_taught_loss_is_least_for_the_teachers_own_maps():
    random = torch.Generator().manual_seed(4)
    taught = 2 * torch.randn(2, 10, 4, 4, generator=random)
    anchors = torch.tensor([[15.0, 9.0], [4.0, 4.0]])
    maps = torch.zeros(2, 10, 4, 4, requires_grad=True)
    assert taught_loss(taught, taught, anchors, 8) < 1e-5
    optimizer = torch.optim.Adam([maps], 0.1)
    for _ in range(600):
        loss = taught_loss(maps, taught, anchors, 8)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ours, theirs = (predicted(x.detach(), anchors, 8) for x in (maps, taught))
    assert (ours[1].sigmoid() - theirs[1].sigmoid()).abs().max() < 0.02
    sure = theirs[1] > 0
    assert sure.sum() > 10 and paired_overlaps(ours[0], theirs[0])[0][sure].mean() > 0.9


def test_a_detector_trains_resumes_and_is_evaluated_by_part(folder, monkeypatch, capsys):
    report = training.train(options(folder, "a"))
    assert set(report["test"]) == {"test", "test_inshore", "test_offshore"}
    assert {"loss", "train_recall"} <= set(report["history"][0])
    # A clock that moves ten seconds whenever it is looked at.
    clock = itertools.count(0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
        assert training.train(options(folder, "b", "--minutes", "0.5")) is None
    training.train(options(folder, "b", "--resume"))
    first, second = build(MINI), build(MINI)
    load_parameters(first, folder / "a" / "float.npz")
    load_parameters(second, folder / "b" / "float.npz")
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="--validation is for networks that label images"):
        training.train(options(folder, "c", "--validation", "2"))
    with pytest.raises(ValueError, match="6 training images do not make a batch of 7"):
        training.train(options(folder, "c", "--batch", "7"))
    with pytest.raises(ValueError, match="--window must be a multiple of 4 up to 32, not 18"):
        training.train(options(folder, "c", "--window", "18"))
    with pytest.raises(ValueError, match="--mirror is for networks that label images"):
        training.train(options(folder, "c", "--mirror"))

    graph.save(export(first, MINI), folder / "integer")
    out, picture = folder / "report.json", folder / "ships.png"
    checkpoint = ["--checkpoint", str(folder / "b" / "float.npz")]
    files = ["--out", str(out), "--pictures", str(picture), "--data", str(folder)]
    capsys.readouterr()
    assert evaluate.main([str(folder / "integer"), *checkpoint, *files]) == 0
    found = json.loads(out.read_text())
    assert set(found["integer"]) == set(found["torch"]) == set(report["test"])
    assert found["torch"]["test"] == report["test"]["test"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 6 and printed[1].endswith("test_inshore")
    with pytest.raises(SystemExit):
        evaluate.main([str(folder / "integer"), "--pictures", "ships"])
    with pytest.raises(SystemExit):
        evaluate.main(["hybnn-mini", "--pictures", "ships.png"])
    errors = capsys.readouterr().err
    assert "--pictures must end in .png, not ships" in errors
    assert "--pictures is for detectors, which hybnn-mini is not" in errors


def test_a_detector_learns_from_another(folder, monkeypatch):
    training.train(options(folder, "teacher"))
    learned = ["--teacher", str(folder / "teacher" / "float.npz"), "--teacher-network", MINI]
    taught = training.train(options(folder, "a", *learned, "--distill", "0.5"))
    alone = training.train(options(folder, "b", *learned, "--distill", "0"))
    first = training.train(options(folder, "c"))
    losses = [report["history"][0]["loss"] for report in (taught, alone, first)]
    assert losses[1] == losses[2] != losses[0]
    module, kind, arguments = NETWORKS[MINI]
    for changed, sentence in (
        ({"image": (64, 64, 1)}, f"other does not see what {MINI} sees"),
        ({"anchors": ((4, 4),)}, f"other cannot teach {MINI}: it must have the same stride and"),
    ):
        monkeypatch.setitem(NETWORKS, "other", (module, kind, arguments | changed))
        save_parameters(build("other"), folder / "other.npz")
        wrong = ["--teacher", str(folder / "other.npz"), "--teacher-network", "other"]
        with pytest.raises(ValueError, match=sentence):
            training.train(options(folder, "d", *wrong))


def test_a_float_detector_teaches(folder):
    settings = options(folder, "teacher")
    settings.network = "teacher-ssdd-mini"
    assert "test_inshore" in training.train(settings)["test"]
    learned = ["--teacher", str(folder / "teacher" / "float.npz")]
    taught = training.train(options(folder, "a", *learned, "--teacher-network", settings.network))
    alone = training.train(options(folder, "b", "--teacher", "none"))
    assert taught["history"][0]["loss"] != alone["history"][0]["loss"]


def test_half_of_the_windows_come_from_an_image_as_often_as_it_has_ships():
    there = torch.zeros(400, 6, dtype=torch.bool)
    there[100:200, :1] = there[200:300, :3] = there[300:, :6] = True
    draw = partial(drawn_order, there, torch.Generator().manual_seed(3))
    assert sorted(draw(by_ships=False)) == list(range(400))
    count = torch.bincount(torch.cat([draw(by_ships=True) for _ in range(50)]) // 100)
    # None, one, three and six ships: an image without any is seen like one of one ship. Half of the
    # images come from all alike.
    share = torch.tensor([1, 1, 3, 6]) / 11 / 2 + 1 / 8
    assert ((count / 20_000 - share).abs() < 0.15 / 11).all()


@pytest.mark.parametrize("window", [0, 16])
def test_a_detector_sees_windows_or_whole_images(folder, monkeypatch, window):
    seen = []

    def looked(*arguments):
        found = augmented(*arguments)
        seen.append(tuple(found[0].shape[2:]))
        return found

    monkeypatch.setattr(ships, "augmented", looked)
    report = training.train(options(folder, "a", "--window", str(window), "--epochs", "3"))
    assert seen == [(window or 32,) * 2] * 6
    assert report["window"] == window


def test_a_head_learns_alone_from_what_is_computed_once(folder, monkeypatch):
    training.train(options(folder, "a", "--window", "16"))
    computed = []
    features = HyBNN.features
    monkeypatch.setattr(
        HyBNN, "features", lambda self, x: computed.append(len(x)) or features(self, x)
    )
    alone = ["--head-only", "--window", "0", "--start", str(folder / "a" / "float.npz")]
    report = training.train(options(folder, "b", *alone, "--epochs", "4"))
    # Each image once for training, and once for each test image.
    assert sum(computed[:2]) == 6 and report["head_only"] and report["window"] == 0
    first, second = build(MINI), build(MINI)
    load_parameters(first, folder / "a" / "float.npz")
    load_parameters(second, folder / "b" / "float.npz")
    changed = {
        name.split(".")[0]
        for name, values in first.state_dict().items()
        if not torch.equal(values, second.state_dict()[name])
    }
    assert changed == {"head", "head_bias"}
    losses = [entry["loss"] for entry in report["history"]]
    assert losses[-1] < losses[0]
    command_of_it = command_line(report, folder / "b")
    assert f" --start {folder}/a/float.npz" in command_of_it and " --head-only" in command_of_it

    for wrong, sentence in (
        (["--head-only", "--window", "16"], "it needs --window 0 --teacher none"),
        (["--head-only", "--teacher", "x"], "it needs --window 0 --teacher none"),
    ):
        with pytest.raises(ValueError, match=sentence):
            training.train(options(folder, "c", *wrong))


def test_the_last_blocks_learn_with_the_head_by_the_statistics_that_there_are(folder):
    training.train(options(folder, "a", "--window", "16"))
    end = ["--head-only", "--last-blocks", "1", "--orientations", "8", "--size-loss", "2"]
    end += ["--window", "0", "--start", str(folder / "a" / "float.npz"), "--epochs", "6"]
    report = training.train(options(folder, "b", *end))
    states = [build(MINI), build(MINI)]
    for run, network in zip("ab", states, strict=True):
        load_parameters(network, folder / run / "float.npz")
    before, after = (network.state_dict() for network in states)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {"head.weight", "head_bias.bias", "blocks.1.pw.conv.weight"} <= changed
    assert all(key.startswith(("head", "blocks.1.")) for key in changed)
    assert not any("running" in key or "batches" in key for key in changed)
    # What the exporter takes number ranges from follows.
    assert "blocks.1.pw.add.limit" in changed
    losses = [entry["loss"] for entry in report["history"]]
    assert losses[-1] < losses[0]
    line = command_line(report, folder / "b")
    assert " --head-only --last-blocks 1 --orientations 8 --size-loss 2" in line

    for wrong, sentence in (
        (["--head-only", "--last-blocks", "3"], "there are 2 blocks, of which 3 cannot learn"),
        (["--head-only", "--orientations", "9"], "--orientations must lie in 1..8, not 9"),
    ):
        with pytest.raises(ValueError, match=sentence):
            training.train(options(folder, "c", "--window", "0", *wrong))
    for wrong in ("--last-blocks", "--orientations"):
        with pytest.raises(
            ValueError, match="--last-blocks and --orientations are for --head-only"
        ):
            training.train(options(folder, "c", wrong, "2"))
    chosen = options(folder, "c", "--size-loss", "2", "--window", "0")
    chosen.network = "hybnn-cifar-mini"
    with pytest.raises(ValueError, match="--size-loss is for detectors"):
        training.train(chosen)


def test_processes_see_their_own_images(folder):
    end = ["--head-only", "--orientations", "2", "--window", "0", "--batch", "2"]
    settings = options(folder, "c", *end)
    task = Epochs(settings).task
    features, places, _ = task.seen()
    for rank in (0, 1):
        task = Epochs(settings).task
        own, boxes_of_them, _ = task.seen((rank, 2))
        chosen = torch.arange(12).view(2, 6)[:, rank::2].flatten()
        assert torch.equal(own, features[chosen]) and torch.equal(boxes_of_them, places[chosen])
        assert [len(x) for x, _ in task.batches(0, (rank, 2))] == [1, 1, 1]


#: Trains, and keeps what each process has then.
_PROCESS = """
import sys, time, torch
from rich.progress import Progress
from model import train
from model.training import command
from model.training.distributed import processes
from model.training.epochs import Epochs

folder, *line = sys.argv[1:]
run = Epochs(command.parse("", line))
with processes(run.device), Progress(disable=True) as progress:
    train._train(run, {}, [], progress, time.perf_counter())
torch.save(run.network.state_dict(), f"{folder}/{run.rank}.pt")
"""


def test_two_processes_train_the_last_blocks_alike(folder):
    line = [sys.executable, "-c", _PROCESS, str(folder), MINI, "--data", str(folder)]
    line += ["--head-only", "--last-blocks", "1", "--window", "0", "--teacher", "none"]
    line += ["--ema", "0", "--no-amp", "--batch", "2", "--epochs", "2", "--validation", "0"]
    line += ["--out", str(folder / "a")]
    ranks = [subprocess.Popen(line, env=os.environ | own) for own in environments(2)]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    first, second = (torch.load(folder / f"{rank}.pt") for rank in "01")
    assert first["head.weight"].abs().sum() > 0
    for name, values in first.items():
        # Ranges are those of what a process saw.
        assert name.endswith("limit") or torch.equal(values, second[name]), name


def test_the_end_of_a_network_and_what_comes_before_make_the_network():
    network = detector()
    images = torch.randint(0, 256, (2, 1, 32, 32))
    expected = network(images)
    for blocks in (0, 1, 2):
        network.only_end_learns(blocks)
        assert torch.equal(network.eval().decide(network.features(images)), expected)
        network.train()
        learning = {module for module in network.modules() if module.training}
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in learning)
        assert network.scores in learning
        assert [block in learning for block in network.blocks] == [2 - blocks <= n for n in (0, 1)]


@pytest.mark.parametrize("way", range(8))
def test_images_turn_with_their_boxes(way):
    box = torch.tensor([[[2.0, 5.0, 9.0, 7.0]], [[0.0, 1.0, 3.0, 12.0]]])
    images = torch.zeros(2, 1, 12, 12)
    for image, (left, top, right, bottom) in zip(images, box[:, 0].int().tolist(), strict=True):
        image[0, top:bottom, left:right] = 1
    made = torch.stack([turned(images[0], way), images[1]])
    for image, (left, top, right, bottom) in zip(
        made,
        [
            turned_boxes(each[0], its, 12).int().tolist()
            for each, its in zip(box, (way, 0), strict=True)
        ],
        strict=True,
    ):
        assert image[0, top:bottom, left:right].all()
        assert image.sum() == (bottom - top) * (right - left)


def test_sides_that_are_wrong_count_by_their_logarithms():
    anchors, there = torch.tensor([[8.0, 8.0]]), torch.tensor([[True]])
    box = torch.tensor([[[4.0, 4.0, 20.0, 12.0]]])
    maps = torch.zeros(1, 5, 4, 4)
    plain, weighted = (box_loss(maps, box, there, anchors, 8, w)[0] for w in (0.0, 3.0))
    # The box is twice as wide as the anchor, and as high as it.
    assert weighted - plain == pytest.approx(3 * np.log(2) ** 2, rel=1e-5)


def test_only_detectors_of_the_family_have_a_head_that_learns_alone(folder):
    for network in ("hybnn-cifar-mini", "teacher-ssdd-mini"):
        chosen = options(folder, "c", "--head-only")
        chosen.network = network
        with pytest.raises(ValueError, match="--head-only is for detectors of the HyBNN family"):
            training.train(chosen)
