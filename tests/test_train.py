"""Training repeats, resumes and stops as it says; parameters survive their files; publishing."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model import cifar10, fusion, graph, publish
from model import train as training
from model.checkpoint import (
    load_matching,
    load_parameters,
    read_checkpoint,
    save_parameters,
)
from model.networks import build
from model.networks.hybnn import HyBNN
from model.training import epochs
from model.training.augment import cropped
from model.training.lineage import command_line
from model.training.optimize import gate_loss, learning_rate
from tests.test_data import batches, idx


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(5)
    for name, count in (("train", 160), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28))
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        labels = random.integers(0, 10, count)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def options(folder, out, **changes) -> argparse.Namespace:
    fields = {
        "network": "hybnn-mini", "epochs": 2, "seed": 3, "batch": 32, "learning_rate": 1e-3,
        "validation": 32, "mirror": True, "data": folder, "out": out, "resume": False, "threads": 1,
        "crop": False, "step": None, "schedule": None, "weight_decay": None, "gate_weight": 1e-5,
        "gate_target": 3.0, "start": None, "device": "cpu", "fast": False, "compile": False,
        "record": False, "fill": False, "minutes": None,
    }  # fmt: skip
    return argparse.Namespace(**fields | changes)


def parameters(out) -> dict:
    return read_checkpoint(out / "checkpoint.pt")["parameters"]


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_network_starts_with_what_it_shares_with_another(folder, tmp_path):
    source = tmp_path / "source.npz"
    network = build("fourbit-mini")
    with torch.no_grad():
        network.stem.weight.fill_(0.5)
    save_parameters(network, source)
    target = build("hybnn-cifar-mini")
    before = {key: value.clone() for key, value in target.state_dict().items()}
    known = load_matching(target, source)
    after = target.state_dict()
    taken = [key for key, value in network.state_dict().items()
             if key in before and before[key].shape == value.shape]  # fmt: skip
    assert known == set(taken) and 0 < len(taken) < len(before)
    assert (after["stem.weight"] == 0.5).all() and "blocks.0.pw.weight" in taken
    assert all(torch.equal(after[key], before[key]) for key in before if key not in taken)
    np.savez(source, other=np.zeros(3))
    with pytest.raises(ValueError, match="has nothing in common with HyBNN"):
        load_matching(target, source)
    np.savez(source, **{"stem.weight": np.full((4, 3, 3, 3), np.nan)})
    with pytest.raises(ValueError, match="'stem.weight' holds values that are not finite"):
        load_matching(target, source)


def test_a_kernel_lies_in_the_middle_of_a_larger_one_and_computes_the_same(tmp_path):
    small, large, binary = (
        HyBNN(blocks, width=4, depth=(1, 1), image=(8, 8, 3)).eval()
        for blocks in ("44", "55", "11")
    )
    save_parameters(small, tmp_path / "small.npz")
    assert load_matching(large, tmp_path / "small.npz") == set(small.state_dict())
    images = torch.randint(0, 256, (2, 3, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(large(images), small(images))
    assert large.blocks[0].dw.weight[..., 0, :].abs().max() == 0
    save_parameters(large, tmp_path / "large.npz")
    # The other way there is no room, and binary weights have no zero.
    assert "blocks.0.dw.weight" not in load_matching(small, tmp_path / "large.npz")
    assert "blocks.0.dw.conv.weight" not in load_matching(binary, tmp_path / "large.npz")


def test_training_repeats_by_seed_and_resumes_to_the_same_parameters(folder, tmp_path, monkeypatch):
    first = training.train(options(folder, tmp_path / "a"))
    assert json.loads((tmp_path / "a" / "report.json").read_text()) == first
    assert [entry["epoch"] for entry in first["history"]] == [1, 2]

    measured, calls = training.accuracy, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(training, "accuracy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(options(folder, tmp_path / "b"))
    monkeypatch.setattr(training, "accuracy", measured)
    assert not (tmp_path / "b" / "report.json").exists()
    resumed = training.train(options(folder, tmp_path / "b", resume=True))
    assert equal(parameters(tmp_path / "a"), parameters(tmp_path / "b"))
    assert resumed["test_accuracy"] == first["test_accuracy"]

    training.train(options(folder, tmp_path / "c", seed=4))
    assert not equal(parameters(tmp_path / "a"), parameters(tmp_path / "c"))


@pytest.mark.parametrize("look", [1, 3, 4])
def test_loss_that_is_no_number_stops_with_its_step_and_keeps_the_last_epoch(
    folder, tmp_path, monkeypatch, look
):
    monkeypatch.setitem(epochs.LOOK, "cpu", look)
    entropy, calls = torch.nn.functional.cross_entropy, []

    def poisoned(*arguments):
        calls.append(1)
        return entropy(*arguments) * (float("nan") if len(calls) == 6 else 1)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", poisoned)
    with pytest.raises(ValueError, match=r"loss is nan at step 5 .epoch 2.; .* the epoch before"):
        training.train(options(folder, tmp_path / "a"))
    kept = read_checkpoint(tmp_path / "a" / "checkpoint.pt")
    assert len(kept["history"]) == 1
    assert all(torch.isfinite(values).all() for values in kept["parameters"].values())


def test_training_does_not_write_over_a_checkpoint_or_mix_runs(folder, tmp_path):
    training.train(options(folder, tmp_path / "a", epochs=1))
    with pytest.raises(ValueError, match="exists: continue it with --resume"):
        training.train(options(folder, tmp_path / "a", epochs=1))
    with pytest.raises(ValueError, match="with seed 3: it cannot be resumed with 4"):
        training.train(options(folder, tmp_path / "a", epochs=1, seed=4, resume=True))
    with pytest.raises(ValueError, match="do not make a batch of 500"):
        training.train(options(folder, tmp_path / "b", batch=500))
    with pytest.raises(ValueError, match="does not exist"):
        training.train(options(folder, tmp_path / "b", resume=True))


def test_parameters_survive_both_kinds_of_file(folder, tmp_path):
    network = build("hybnn-mini")
    save_parameters(network, tmp_path / "x.npz")
    torch.save({"parameters": network.state_dict()}, tmp_path / "x.pt")
    for name in ("x.npz", "x.pt"):
        other = build("hybnn-mini")
        load_parameters(other, tmp_path / name)
        assert equal(network.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", ["x.npz", "x.pt"])
def test_damaged_parameter_files_are_named(tmp_path, name):
    network, path = build("hybnn-mini"), tmp_path / name
    with pytest.raises(ValueError, match=f"{name}' does not exist"):
        load_parameters(network, path)
    for content in (b"", b"nonsense", b"PK\x03\x04 and no more"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}' is damaged"):
            load_parameters(network, path)


def test_parameters_of_another_network_are_refused(tmp_path):
    network, path = build("hybnn-mini"), tmp_path / "x.npz"
    good = {key: value.numpy() for key, value in network.state_dict().items()}
    for change, sentence in (
        ({"conv1.weight": np.zeros(3, np.float32)}, "'conv1.weight' of HybnnMini must have shape"),
        ({"extra": np.zeros(3, np.float32)}, "holds 'extra', which HybnnMini does not have"),
        ({"a_act.slope": np.full(32, np.nan, np.float32)}, "'a_act.slope' holds values that are"),
    ):
        np.savez(path, **good | change)
        with pytest.raises(ValueError, match=sentence):
            load_parameters(network, path)
    del good["conv1.weight"]
    np.savez(path, **good)
    with pytest.raises(ValueError, match="lacks 'conv1.weight' of HybnnMini"):
        load_parameters(network, path)


def test_publish_writes_a_network_that_its_card_describes(folder, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "shipped"
    report = training.train(options(folder, run, epochs=1))
    arguments = ["hybnn-mini", "--run", str(run), "--out", str(out), "--data", str(folder)]
    facts = ["--date", "2026-11-21", "--hardware", "2 CPU cores"]
    assert publish.main([*arguments, *facts]) == 0
    network, text = graph.load(out), (out / "card.md").read_text()
    measured = json.loads((run / "publish.json").read_text())
    assert f"| network digest | `{network.digest()}` |" in text
    assert f"| PyTorch | {100 * report['test_accuracy']:.2f} % |" in text
    assert f"| integer network | {100 * measured['integer_accuracy']:.2f} % |" in text
    assert "| date | 2026-11-21 |" in text and "half of the images mirrored" in text
    command = "model.train hybnn-mini --epochs 1 --seed 3 --batch 32 --learning-rate 0.001"
    assert command in text and text.count("--mirror") == 1
    assert "--threads 1 --mirror --out " in text and ", Adam, learning rate 0.001 after" in text
    other = build("hybnn-mini")
    load_parameters(other, out / "float.npz")
    assert equal(other.state_dict(), parameters(run))


def test_a_fused_network_is_published_with_the_run_of_what_it_was_made_from(tmp_path):
    batches(tmp_path / cifar10.FOLDER, 4)
    np.savez(tmp_path / cifar10.FOLDER / "exact_index.npz", test=np.array([1, 2]))
    run, fused = tmp_path / "run", tmp_path / "fused.npz"
    training.train(fractional(tmp_path, run, network="basebnn-mini", epochs=1, ema=0.5))
    arguments = ["--run", str(run), "--data", str(tmp_path), "--date", "x", "--hardware", "y"]
    with pytest.raises(ValueError, match="--parameters must name what model.fusion made of"):
        publish.main(["fusebnn-mini", *arguments])
    checkpoint = ["--checkpoint", str(run / "float.npz"), "--data", str(tmp_path)]
    assert fusion.main(["basebnn-mini", *checkpoint, "--out", str(fused)]) == 0
    out = tmp_path / "shipped"
    assert (
        publish.main(["fusebnn-mini", *arguments, "--parameters", str(fused), "--out", str(out)])
        == 0
    )
    text = (out / "card.md").read_text()
    assert text.startswith("# fusebnn-mini") and "CIFAR-10 (Krizhevsky, 2009" in text
    assert "and on those 2 of them whose pixels are exact" in text
    assert "| integer network, exact pixels | " in text and "--crop --ema 0.5 --out " in text
    assert "images cropped" in text and "averaged with a decay of 0.5" in text
    assert graph.load(out).name == "fusebnn-mini"


def test_card_has_the_commands_of_all_runs_that_a_network_learned_from(tmp_path, monkeypatch):
    batches(tmp_path / cifar10.FOLDER, 4)
    monkeypatch.chdir(tmp_path)
    start, teacher = Path("runs/fourbit-mini"), Path("runs/teach")
    small = {"epochs": 1, "gradient": None}
    training.train(fractional(tmp_path, teacher, network="teacher-mini", **small))
    learned = {"teacher": str(teacher / "float.npz"), "teacher_network": "teacher-mini"}
    training.train(fractional(tmp_path, start, network="fourbit-mini", **small, **learned))
    learned["warm_start"] = str(start / "float.npz")
    run = Path("runs/hybnn-cifar-mini")
    training.train(fractional(tmp_path, run, network="hybnn-cifar-mini", **small, **learned))
    arguments = ["hybnn-cifar-mini", "--run", str(run), "--data", str(tmp_path), "--out", "zoo"]
    arguments += ["--date", "x", "--hardware", "y"]
    assert publish.main(arguments) == 0
    rows = [row for row in Path("zoo/card.md").read_text().splitlines() if "model.train" in row]
    assert [row.split("`")[0] for row in rows] == ["| before | ", "| before | ", "| command | "]
    assert "train teacher-mini " in rows[0] and "--out runs/teach` (0 minutes) |" in rows[0]
    assert "train fourbit-mini " in rows[1] and "--teacher runs/teach/float.npz" in rows[1]
    assert "train hybnn-cifar-mini" in rows[2]
    assert "--warm-start runs/fourbit-mini/float.npz" in rows[2]
    assert not any("--out" in row for row in rows[1:])
    # What it learned from may be gone by then, but not before it began.
    for name in ("report.json", "log.json"):
        (teacher / name).unlink()
    assert publish.main(arguments) == 0
    assert all(row in Path("zoo/card.md").read_text() for row in rows)
    run = Path("runs/other")
    training.train(fractional(tmp_path, run, network="hybnn-cifar-mini", **small, **learned))
    with pytest.raises(ValueError, match=r"runs/teach/report\.json is missing: is the training"):
        publish.main([*arguments, "--run", str(run)])

    # What begins with a shipped network goes back to what its card goes back to.
    shipped = {"warm_start": "zoo/float.npz", "teacher": "none"}
    training.train(fractional(tmp_path, run / "x", network="hybnn-cifar-mini", **small, **shipped))
    before = json.loads((run / "x" / "report.json").read_text())["before"]
    expected = [row.removeprefix("| before | ").removesuffix(" |") for row in rows[:2]]
    command = rows[2].split("`")[1]
    assert before == [*expected, f"`{command}` (0 minutes)"]


def test_what_is_shipped_is_published_again_with_its_training(folder, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "shipped"
    training.train(options(folder, run, epochs=1))
    arguments = ["hybnn-mini", "--out", str(out), "--data", str(folder)]
    facts = ["--run", str(run), "--date", "x", "--hardware", "y"]
    assert publish.main([*arguments, *facts]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.chdir(tmp_path)
    assert publish.main([*arguments, "--again"]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    # From other parameters another network comes, and other rows of what was measured alone.
    network = build("hybnn-mini")
    load_parameters(network, out / "float.npz")
    with torch.no_grad():
        network.scores.bias[0] += 100
    save_parameters(network, out / "float.npz")
    assert publish.main([*arguments, "--again"]) == 0
    texts = before["card.md"].decode(), (out / "card.md").read_text()
    assert "32 of which were held out" in texts[0]
    lines = zip(*(text.splitlines() for text in texts), strict=True)
    changed = {one.split("|")[1].strip() for one, other in lines if one != other}
    assert "network digest" in changed
    assert changed <= {"integer network", "PyTorch", "labels that differ", "network digest"}

    text = (out / "card.md").read_text()
    (out / "card.md").write_text(text.replace("| recipe |", "| cooking |"))
    with pytest.raises(ValueError, match="does not say how it was trained: recipe is missing"):
        publish.main([*arguments, "--again"])
    with pytest.raises(ValueError, match="--run, --date and --hardware must be given, or --again"):
        publish.main(arguments)
    with pytest.raises(SystemExit):
        publish.main([*arguments, "--again", "--date", "today"])


@pytest.mark.parametrize("held_out", ["2,000 ", "none "])
def test_a_card_says_how_many_images_were_held_out(tmp_path, held_out):
    text = (graph.ZOO / "hybnn-mini" / "card.md").read_text()
    assert "2,000 of which were held out" in text
    (tmp_path / "card.md").write_text(text.replace("2,000 of which", f"{held_out}of which"))
    assert publish.trained_before(tmp_path)["held_out"] == held_out


def test_publishing_that_fails_leaves_what_is_shipped(folder, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "shipped"
    training.train(options(folder, run, epochs=1))
    out.mkdir()
    (out / "float.npz").write_bytes(b"shipped")

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "measure", interrupted)
    facts = ["--run", str(run), "--date", "x", "--hardware", "y", "--out", str(out)]
    with pytest.raises(KeyboardInterrupt):
        publish.main(["hybnn-mini", *facts])
    assert [path.name for path in out.iterdir()] == ["float.npz"]
    assert (out / "float.npz").read_bytes() == b"shipped"


def test_a_run_says_what_it_started_from(folder, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    training.train(options(folder, first, epochs=1))
    begun = {"epochs": 1, "start": str(first / "float.npz")}
    report = training.train(options(folder, second, **begun))
    assert report["start"] == begun["start"]
    assert report["warm_start"] is None and len(report["before"]) == 1
    assert f"--start {first}/float.npz" in command_line(report, second)
    with pytest.raises(ValueError, match="--warm-start is not for a run with it"):
        training.train(options(folder, tmp_path / "c", **begun, warm_start=begun["start"]))


def test_a_run_may_start_from_one_that_was_stopped(folder, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    training.train(options(folder, first, epochs=1))
    (first / "report.json").unlink()
    begun = {"epochs": 1, "start": str(first / "checkpoint.pt")}
    (before,) = training.train(options(folder, second, **begun))["before"]
    assert before.startswith("`python -m model.train hybnn-mini --epochs 1 ")
    assert before.endswith(f"--out {first}` (0 minutes, up to epoch 1)")


def test_what_a_run_goes_back_to_is_looked_up_once(folder, tmp_path, monkeypatch):
    first, run = tmp_path / "first", tmp_path / "run"
    training.train(options(folder, first, epochs=1))
    begun = {"epochs": 2, "start": str(first / "float.npz")}
    ticks = iter(range(0, 1000, 10))
    with monkeypatch.context() as patch:
        clock = argparse.Namespace(perf_counter=lambda: next(ticks))
        patch.setattr(training, "time", clock)
        assert training.train(options(folder, run, **begun, minutes=0.5)) is None
    (before,) = json.loads((run / "log.json").read_text())["before"]
    for path in (first / "report.json", first / "float.npz"):
        path.unlink()
    report = training.train(options(folder, run, **begun, resume=True))
    assert report["before"] == [before] and "model.train hybnn-mini" in before


def test_a_checkpoint_of_a_network_that_has_changed_is_not_resumed(folder, tmp_path):
    training.train(options(folder, tmp_path / "a", epochs=1))
    path = tmp_path / "a" / "checkpoint.pt"
    content = read_checkpoint(path)
    content["parameters"]["conv1.weight"] = torch.zeros(2, 2)
    torch.save(content, path)
    with pytest.raises(ValueError, match="'conv1.weight' of HybnnMini must have shape"):
        training.train(options(folder, tmp_path / "a", epochs=1, resume=True))


def test_images_to_be_measured_on_are_missed_before_training(folder, tmp_path):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte"):
        training.train(options(folder, tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_publish_needs_a_complete_run_of_the_network(tmp_path):
    arguments = ["hybnn-mini", "--run", str(tmp_path), "--date", "x", "--hardware", "y"]
    with pytest.raises(ValueError, match=r"report\.json is missing: is the training complete"):
        publish.main(arguments)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ValueError, match="report.json is not valid JSON"):
        publish.main(arguments)
    (tmp_path / "report.json").write_text('{"network": "other"}')
    with pytest.raises(ValueError, match="holds a training of 'other', not 'hybnn-mini'"):
        publish.main(arguments)


def test_command_line_checks_its_numbers(tmp_path, capsys):
    for bad, sentence in (
        (["--epochs", "0"], "must be at least 1, not 0"),
        (["--validation", "-1"], "--validation must lie in 0..50000, not -1"),
        (["--learning-rate", "5"], "--learning-rate must lie between 0 and 1, not 5.0"),
    ):
        with pytest.raises(SystemExit) as caught:
            training.main(["hybnn-mini", "--out", str(tmp_path), *bad])
        assert caught.value.code == 2
        assert sentence in capsys.readouterr().err


def fractional(tmp_path, out, **changes) -> argparse.Namespace:
    if not (tmp_path / cifar10.FOLDER).exists():
        batches(tmp_path / cifar10.FOLDER, 4)
    fields = {
        "network": "fracbnn-mini", "batch": 4, "validation": 4, "learning_rate": None, "crop": True
    }  # fmt: skip
    return options(tmp_path, out, **fields | changes)


def test_fracbnn_trains_in_two_steps_and_resumes(tmp_path, monkeypatch):
    first = training.train(fractional(tmp_path, tmp_path / "1", step=1))
    assert (first["step"], first["schedule"], first["weight_decay"]) == (1, "linear", 1e-5)
    start = str(tmp_path / "1" / "checkpoint.pt")
    second = training.train(fractional(tmp_path, tmp_path / "2", step=2, start=start))
    assert (second["step"], second["schedule"], second["weight_decay"]) == (2, "steps", 0.0)
    begun, ended = parameters(tmp_path / "1"), parameters(tmp_path / "2")
    for key in ("conv1.weight", "layer3.0.conv2.threshold", "layer2.0.add1.rprelu.slope"):
        assert not torch.equal(begun[key], ended[key])

    training.train(fractional(tmp_path, tmp_path / "3", step=2, start=start, epochs=1))
    with pytest.raises(ValueError, match="with epochs 1: it cannot be resumed with 2"):
        training.train(fractional(tmp_path, tmp_path / "3", step=2, resume=True))

    measured, calls = training.accuracy, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(training, "accuracy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(fractional(tmp_path, tmp_path / "4", step=2, start=start))
    training.train(fractional(tmp_path, tmp_path / "4", step=2, start=start, resume=True))
    assert equal(parameters(tmp_path / "4"), ended)


def test_first_step_computes_with_the_weights_and_the_second_with_their_signs(tmp_path):
    network = build("fracbnn-mini").eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        signs = network(images)
        network.binarize(False)
        assert not torch.equal(network(images), signs)
        for module in network.modules():
            if hasattr(module, "binary_weights"):
                module.weight.copy_(torch.where(module.weight >= 0, 1.0, -1.0))
        assert torch.equal(network(images), signs)


def test_gate_loss_pulls_every_threshold_to_its_target():
    network = build("fracbnn-mini")
    count = sum(t.numel() for t in network.thresholds())
    assert count == 2 * (4 + 8 + 16)
    loss = gate_loss(network, 0.5, 3.0)
    assert loss.item() == 0.25 * count * 16  # From -1 to 3.
    loss.backward()
    assert all((t.grad == 0.5 * -4).all() for t in network.thresholds())
    assert gate_loss(build("hybnn-mini"), 0.5, 3.0) == 0


def test_crops_move_the_image_into_a_black_border():
    batch = torch.arange(1, 3 * 3 * 5 + 1, dtype=torch.uint8).reshape(1, 1, 9, 5).repeat(3, 2, 1, 1)
    batch[:, 1] += 100
    moved = cropped(batch, torch.tensor([[4, 0, 5], [4, 4, 8]]))
    assert torch.equal(moved[0], batch[0])
    assert torch.equal(moved[1, :, 4:], batch[1, :, :5]) and (moved[1, :, :4] == 0).all()
    assert torch.equal(moved[2, :, :8, :1], batch[2, :, 1:, 4:]) and (moved[2, :, :, 1:] == 0).all()
    assert (moved[2, :, 8] == 0).all()


def test_learning_rates_follow_their_schedules():
    rates = [learning_rate("steps", 1.0, epoch, 0, (250, 9)) for epoch in range(250)]
    assert [rates.index(rate) for rate in sorted(set(rates), reverse=True)] == [0, 100, 150, 200]
    assert rates[-1] == 0.1**3
    rates = [learning_rate("linear", 1.0, epoch, 5, (4, 9)) for epoch in range(4)]
    assert rates == [1.0, 0.75, 0.5, 0.25]
    rates = [learning_rate("cosine", 1.0, *divmod(n, 2), (3, 2)) for n in range(6)]
    assert rates[:3] == [0.5, 1.0, 1.0] and rates[4] == 0.5


def test_options_that_do_not_suit_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="--step is for networks of two steps, which hybnn-mini"):
        training.train(options(folder, tmp_path / "a", step=1))
    with pytest.raises(ValueError, match="device 'nonsense' cannot be used"):
        training.train(options(folder, tmp_path / "a", device="nonsense"))
    with pytest.raises(ValueError, match="x.npz' does not exist"):
        training.train(options(folder, tmp_path / "a", start=str(tmp_path / "x.npz")))
