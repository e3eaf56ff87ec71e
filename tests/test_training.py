"""Training of the HyBNN family: teacher, averages, limits of time, processes, recipes."""

import copy
import json
from contextlib import nullcontext
from functools import partial
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from model import cifar10, layers
from model import train as training
from model.checkpoint import load_parameters, read_checkpoint
from model.data import load_split
from model.export import export
from model.networks import NETWORKS, build
from model.training import command, fitting, recipes
from model.training.augment import batches, cut_out
from model.training.distributed import agreed, processes, spread
from model.training.optimize import Average, fit_steps, loss_of, make_optimizer
from model.training.recorded import Recorded
from tests.processes import environments
from tests.test_data import batches as cifar_batches


@pytest.fixture
def folder(tmp_path):
    cifar_batches(tmp_path / cifar10.FOLDER, 4)
    return tmp_path


def options(folder, network: str, out: str, *changes: str):
    arguments = [network, "--data", str(folder), "--out", str(folder / out)]
    small = ["--epochs", "2", "--batch", "4", "--validation", "4", "--mirror", "--crop"]
    return command.parse("", [*arguments, *small, *changes])


def teach(folder) -> str:
    training.train(options(folder, "teacher-mini", "teacher", "--cutout", "8"))
    return str(folder / "teacher" / "checkpoint.pt")


def content(folder, out: str) -> dict:
    return read_checkpoint(folder / out / "checkpoint.pt")


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_student_learns_from_a_teacher_and_resumes_after_its_minutes_to_the_same(
    folder, monkeypatch, capsys
):
    student = "hybnn-cifar-mini"
    extra = ["--teacher", teach(folder), "--teacher-network", "teacher-mini", "--ema", "0.9"]
    whole = training.train(options(folder, student, "a", *extra))
    assert [entry["epoch"] for entry in whole["history"]] == [1, 2]

    # A clock that moves ten seconds whenever it is looked at.
    clock = count(0, 10)
    with monkeypatch.context() as patch:
        patch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
        assert training.train(options(folder, student, "b", *extra, "--minutes", "0.5")) is None
    assert "stopped after 1 of 2 epochs: go on with --resume" in capsys.readouterr().out
    assert not (folder / "b" / "report.json").exists()
    assert len(json.loads((folder / "b" / "log.json").read_text())["history"]) == 1
    training.train(options(folder, student, "b", *extra, "--resume"))
    a, b = content(folder, "a"), content(folder, "b")
    assert same(a["parameters"], b["parameters"]) and same(a["live"], b["live"])
    assert not same(a["parameters"], a["live"])

    # What the run leaves is what is evaluated and exported.
    for name in ("checkpoint.pt", "float.npz"):
        network = build(student)
        load_parameters(network, folder / "b" / name)
        assert same(network.state_dict(), b["parameters"])
    assert export(network, student).outputs == ("scores", "label")
    assert (folder / "b" / "curves.png").read_bytes().startswith(b"\x89PNG")

    alone = training.train(options(folder, student, "c", "--teacher", "none", "--ema", "0.9"))
    assert not same(content(folder, "c")["live"], a["live"])
    assert alone["teacher"] == "none"


def test_a_run_is_not_resumed_with_another_teacher_or_from_parameters_alone(folder):
    training.train(options(folder, "teacher-mini", "a"))
    with pytest.raises(ValueError, match="with distill 0.9: it cannot be resumed with 0.5"):
        training.train(options(folder, "teacher-mini", "a", "--resume", "--distill", "0.5"))
    torch.save({"parameters": build("teacher-mini").state_dict()}, folder / "b.pt")
    (folder / "b").mkdir()
    (folder / "b.pt").rename(folder / "b" / "checkpoint.pt")
    with pytest.raises(ValueError, match="holds parameters alone: it cannot be resumed"):
        training.train(options(folder, "teacher-mini", "b", "--resume"))


def test_bad_options_are_named(folder, capsys):
    with pytest.raises(ValueError, match="none.pt' does not exist"):
        training.train(options(folder, "fourbit-mini", "a", "--teacher", str(folder / "none.pt")))
    teacher = teach(folder)
    with pytest.raises(ValueError, match="lacks '.*' of FourBitNet"):
        bad = ["--teacher", teacher, "--teacher-network", "fourbit-mini"]
        training.train(options(folder, "basebnn-mini", "a", *bad))
    with pytest.raises(ValueError, match="--gradient is for networks with signs, which teacher-m"):
        training.train(options(folder, "teacher-mini", "a", "--gradient", "clip"))
    for bad, sentence in (
        (["--distill", "1.5"], "--distill must lie in 0..1, not 1.5"),
        (["--minutes", "0"], "--minutes must be at least 0.01, not 0.0"),
        (["--cutout", "-1"], "--cutout must be at least 0, not -1"),
    ):
        with pytest.raises(SystemExit):
            command.parse("", ["hybnn", *bad])
        assert sentence in capsys.readouterr().err


def test_one_process_of_torchrun_trains_to_the_same_parameters(folder, monkeypatch):
    training.train(options(folder, "teacher-mini", "a"))
    for key, value in environments(1)[0].items():
        monkeypatch.setenv(key, value)
    training.train(options(folder, "teacher-mini", "b"))
    assert same(content(folder, "a")["parameters"], content(folder, "b")["parameters"])
    monkeypatch.delenv("RANK")
    network = nn.Linear(1, 1)
    with processes(torch.device("cpu")):
        assert spread(network, torch.device("cpu")) is network
    assert agreed(True, torch.device("cpu")) and not agreed(False, torch.device("cpu"))


def test_shares_of_a_batch_are_disjoint_and_augmented_alike():
    random = np.random.default_rng(1)
    images = torch.from_numpy(random.integers(0, 256, (10, 3, 8, 8), dtype=np.uint8))
    labels = torch.arange(10)
    how = {"mirror": True, "crop": True, "cutout": 3}
    whole = list(batches(images, labels, 4, 7, **how))
    shares = [list(batches(images, labels, 4, 7, share=(rank, 2), **how)) for rank in (0, 1)]
    assert len(whole) == 2
    for batch, first, second in zip(whole, *shares, strict=True):
        for index in (0, 1):
            assert torch.equal(batch[index][0::2], first[index])
            assert torch.equal(batch[index][1::2], second[index])
    seen = torch.cat([y for _, y in whole])
    assert len(seen.unique()) == 8
    assert not torch.equal(seen, torch.cat([y for _, y in batches(images, labels, 4, 8, **how)]))


def test_cut_out_blackens_a_square_around_its_centre():
    white = torch.full((2, 3, 6, 5), 255, dtype=torch.uint8)
    result = cut_out(white, torch.tensor([[2, 0], [3, 0]]), 4)
    black = (result == 0).all(1)
    assert black[0].nonzero().min(0).values.tolist() == [0, 1] and black[0].sum() == 4 * 4
    assert black[1].sum() == 2 * 2 and black[1, :2, :2].all()
    assert ((result == 0) == black[:, None]).all()


def test_average_follows_parameters_and_statistics_and_forgets_the_beginning():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    average = Average(network, 0.99)
    with torch.no_grad():
        network[0].weight.fill_(3.0)
        network[1].num_batches_tracked.fill_(5)
        begun = average.values["0.weight"].item()
        average.update()
        expected = begun + (3 - begun) * 10 / 11
        assert average.values["0.weight"].item() == pytest.approx(expected, rel=1e-6)
        for _ in range(2000):
            average.update()
    assert average.values["0.weight"].item() == pytest.approx(3, abs=1e-5)
    assert average.values["1.num_batches_tracked"] == 5


def test_distillation_is_zero_for_the_teachers_own_scores_and_pulls_towards_them():
    settings = SimpleNamespace(smoothing=0.0, distill=1.0, temperature=4.0)
    taught = torch.tensor([[2.0, -1.0, -2.0]])
    labels = torch.tensor([1])
    assert loss_of(taught.clone(), labels, taught, settings).abs() < 1e-5
    scores = torch.zeros(1, 3, requires_grad=True)
    loss_of(scores, labels, taught, settings).backward()
    assert (scores.grad.sign() == torch.tensor([[-1.0, 1.0, 1.0]])).all()
    settings.distill = 0.0
    plain = loss_of(scores, labels, taught, settings)
    assert torch.equal(plain, functional.cross_entropy(scores, labels))
    settings.smoothing = 0.2
    smooth = loss_of(taught, labels, None, settings)
    assert smooth < loss_of(taught, labels, None, SimpleNamespace(smoothing=0.0))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_decay_spares_norms_and_biases(optimizer):
    settings = SimpleNamespace(
        optimizer=optimizer, learning_rate=0.1, weight_decay=0.01, small_rate=1.0, fast=False
    )
    arrays, others = make_optimizer(build("teacher-mini"), settings).param_groups
    assert arrays["weight_decay"] == 0.01 and all(p.dim() > 1 for p in arrays["params"])
    assert others["weight_decay"] == 0 and all(p.dim() == 1 for p in others["params"])


def test_mixed_precision_trains_and_keeps_residuals_whole(folder):
    entry = training.train(options(folder, "hybnn-cifar-mini", "a", "--amp"))["history"][-1]
    assert np.isfinite(entry["loss"])
    network = build("basebnn-mini")
    kinds = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda m, _, y, name=name: kinds.update({name: y.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert kinds["blocks.0.spatial.conv"] == torch.bfloat16
    assert kinds["blocks.0.spatial.add"] == kinds["blocks.1.pointwise.act"] == torch.float32


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_has_a_whole_recipe(name):
    for step in (0, 1, 2):
        recipe = recipes.recipe(name, step)
        assert set(recipe) == set(recipes.FIXED) - {"network", "seed", "step"}
        assert recipe["teacher_network"] in NETWORKS
    assert recipes.recipe("fracbnn", 1)["schedule"] == "linear"
    assert recipes.recipe("hybnn", 2)["teacher"] == "runs/teacher/checkpoint.pt"
    assert recipes.recipe("hybnn-ssdd", 2)["teacher_network"] == "fourbit-ssdd"


def test_small_parameters_take_their_share_of_the_learning_rate(folder):
    network = build("fourbit-mini")
    for optimizer in ("adam", "sgd"):
        chosen = options(
            folder, "fourbit-mini", "a", "--optimizer", optimizer, "--small-rate", "0.5"
        )
        recipes.complete(chosen, 0)
        groups = make_optimizer(network, chosen).param_groups
        shares = {id(p): group["share"] for group in groups for p in group["params"]}
        assert len(shares) == len(list(network.parameters()))
        for name, parameter in network.named_parameters():
            expected = 1 if parameter.dim() > 1 else 0.1 if name.endswith(".step") else 0.5
            assert shares[id(parameter)] == pytest.approx(expected)
    chosen.small_rate = 1.0
    assert {group["share"] for group in make_optimizer(network, chosen).param_groups} == {1.0}


def test_steps_are_fitted_to_what_their_quantisers_see():
    network = build("fourbit-mini")
    with torch.no_grad():
        network.stem_bn.weight.fill_(40.0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    fit_steps(network, images)
    steps = {key for key in before if key.endswith(".step")}
    for key, value in network.state_dict().items():
        assert key in steps or torch.equal(value, before[key]), key
    assert 6 < network.blocks[0].quant.step.item() < 10  # A fifth of 40.
    levels = []
    network.blocks[0].quant.register_forward_hook(lambda m, x, y: levels.append(y / m.step))
    network(images)
    assert len(levels[0].round().unique()) == 16


def test_steps_that_are_trained_already_are_not_fitted_again():
    network = build("fourbit-mini")
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    known = {key for key in before if key.startswith("blocks.0.")}
    fit_steps(network, images, known)
    changed = {key for key, value in network.state_dict().items() if (value != before[key]).any()}
    assert changed == {"blocks.1.quant.step", "blocks.1.dw_quant.step"}


def test_a_step_beyond_zero_still_quantises_and_has_a_gradient():
    quantizer = layers.QuantReLU(4, -0.25)
    x = torch.linspace(-1, 4, 50, requires_grad=True)
    y = quantizer(x)
    assert torch.equal(y, layers.QuantReLU(4, 0.25)(x))
    y.square().sum().backward()
    assert quantizer.step.grad != 0


def test_quick_teacher_begins_white_and_trains_what_follows(folder):
    network = build("teacher-quick")
    random = np.random.default_rng(1)
    images = torch.from_numpy(random.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8))
    images[:, 1] = images[:, 0] // 2 + images[:, 1] // 4
    network.whiten(images)
    seen = functional.conv2d(network.pixels(images), network.white).transpose(0, 1).flatten(1)
    assert torch.equal(seen[:12], -seen[12:])
    # Next to their small term that keeps flat patches small: variances just below 1.
    covariance = seen[:12].cov()
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3
    assert covariance.diagonal().min() > 0.8 and covariance.diagonal().max() <= 1

    training.train(options(folder, "teacher-quick", "a", "--epochs", "1"))
    trained = content(folder, "a")["parameters"]
    torch.manual_seed(1)
    begun = build("teacher-quick")
    shown = torch.from_numpy(load_split("train", folder, begun.image)[0].transpose(0, 3, 1, 2)[:-4])
    begun.whiten(shown)
    assert torch.equal(trained["white"], begun.white)
    assert not torch.equal(trained["layers.0.weight"], begun.layers[0].weight)


class Tape:
    """Stands in for a CUDA graph: a replay writes what the passes make of the recorded inputs into
    the recorded results."""

    recorded: Recorded

    def replay(self) -> None:
        images, *targets = self.recorded._inputs
        target = tuple(targets) if self.recorded.several else targets[0]
        for ours, new in zip(
            self.recorded._results, self.recorded._passes(images, target), strict=True
        ):
            ours.copy_(new)


@pytest.mark.parametrize("several", [False, True])
def test_a_recording_sees_every_batch_and_leaves_no_trace_of_its_first_passes(monkeypatch, several):
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "CUDAGraph": Tape, "Stream": lambda: stream, "current_stream": lambda: stream,
        "stream": nullcontext, "graph": nullcontext,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    network = nn.BatchNorm1d(2)
    other = copy.deepcopy(network)

    def passes(of: nn.Module, x, y):
        of.zero_grad()
        parts = y if isinstance(y, tuple) else (y,)
        loss = (of(x) * sum(parts)).sum()
        loss.backward()
        return loss.detach(), x.sum(), y[1].sum() if several else y.sum()

    Tape.recorded = recorded = Recorded(partial(passes, network), network)
    recorded.several = several
    random = torch.Generator().manual_seed(1)
    for _ in range(3):
        x, *parts = torch.randn(3, 4, 2, generator=random)
        y = tuple(parts) if several else parts[0]
        ours, theirs = recorded(x, y), passes(other, x, y)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert torch.equal(network.weight.grad, other.weight.grad)
    assert same(network.state_dict(), other.state_dict())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records on a CUDA device alone")
def test_recorded_passes_train_as_others_do(folder):
    usual = ["--device", "cuda", "--no-amp"]
    first = training.train(options(folder, "fourbit-mini", "a", *usual))
    second = training.train(options(folder, "fourbit-mini", "b", *usual, "--record"))
    losses = [[entry["loss"] for entry in report["history"]] for report in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_recording_is_refused_where_there_is_nothing_to_record_on(folder):
    with pytest.raises(ValueError, match="--record is for one process on a CUDA device"):
        training.train(options(folder, "fourbit-mini", "a", "--record"))


def test_an_epoch_is_planned_from_some_batches_and_its_end(monkeypatch):
    now, trained = [0.0], []

    def train(batches: int) -> None:
        trained.append(batches)
        now[0] += 1.5 + batches * (60 if len(trained) == 1 else 0.25)  # Compiles at first.

    monkeypatch.setattr(fitting, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    network = nn.BatchNorm1d(1)
    # An epoch takes 1.5 + 100 * 0.25 seconds.
    assert fitting.fitting_epochs(network, train, 100, 1000.0) == int(0.92 * (1000 - 189.75) / 26.5)
    assert trained == [3, 1, 20]
    with pytest.raises(ValueError, match=r"an epoch takes 26\.5 s: --minutes leave no time"):
        fitting.fitting_epochs(network, train, 100, now[0] + 30)


def test_filled_minutes_are_the_training_of_as_many_epochs(folder, monkeypatch, capsys):
    ticks = count(0, 10)
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    limits = ["--ema", "0.9", "--minutes", "2", "--fill"]
    with monkeypatch.context() as patch:
        # Every look at the clock takes ten seconds: the trial 40, and a batch nothing.
        patch.setattr(fitting, "time", clock)
        patch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: 0.0))
        filled = training.train(options(folder, "fourbit-mini", "a", *limits))
    # 92 % of what the trial leaves of 120 seconds make seven epochs of ten.
    assert filled["epochs"] == len(filled["history"]) == 7
    assert "7 epochs fit into 2 minutes" in capsys.readouterr().out
    named = training.train(options(folder, "fourbit-mini", "b", "--ema", "0.9", "--epochs", "7"))
    assert [e["loss"] for e in named["history"]] == [e["loss"] for e in filled["history"]]
    assert same(content(folder, "a")["parameters"], content(folder, "b")["parameters"])

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "time", SimpleNamespace(perf_counter=count(0, 60).__next__))
        patch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: 0.0))
        with pytest.raises(ValueError, match=r"an epoch takes 60\.0 s: --minutes leave no time"):
            training.train(options(folder, "fourbit-mini", "c", *limits))
    assert not (folder / "c").exists()
    with pytest.raises(ValueError, match="--fill needs --minutes to fill"):
        training.train(options(folder, "fourbit-mini", "c", "--fill"))

    # What is resumed keeps the epochs that it was to have.
    with monkeypatch.context() as patch:
        patch.setattr(training, "time", SimpleNamespace(perf_counter=count(0, 10).__next__))
        short = ["--ema", "0.9", "--epochs", "7", "--minutes", "0.5"]
        assert training.train(options(folder, "fourbit-mini", "d", *short)) is None
    assert len(content(folder, "d")["history"]) == 1
    resumed = training.train(options(folder, "fourbit-mini", "d", *limits, "--resume"))
    assert resumed["epochs"] == len(resumed["history"]) == 7
    assert same(content(folder, "d")["parameters"], content(folder, "b")["parameters"])
