"""Ships in SAR images: the reader, boxes and their precision, training, integer detectors."""

import itertools
import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from model import boxes, detection, evaluate, fusion, golden, graph, publish, zoo_check
from model import train as training
from model.card import macs, read_card, weight_bits
from model.checkpoint import load_parameters, save_parameters
from model.export import export
from model.layers import RPReLU
from model.networks import NETWORKS, build
from model.networks.hybnn import HyBNN
from model.ssdd import choose_anchors, read_split
from model.training import command, ships
from model.training.lineage import command_line
from model.training.ships import (
    augmented,
    box_loss,
    drawn_order,
    padded,
    paired_overlaps,
    predicted,
    taught_loss,
)
from tests.test_export import torch_tensors

torch.set_num_threads(1)

SPLITS = {"train": 6, "test": 4}

MINI = "hybnn-ssdd-mini"


def write_ssdd(root, seed: int = 1) -> None:
    """Small scenes with a bright rectangle each; half of the test ones are inshore."""
    random = np.random.default_rng(seed)
    (root / "ssdd" / "annotations").mkdir(parents=True)
    for split, count in SPLITS.items():
        folder = root / "ssdd" / "images" / split
        folder.mkdir(parents=True)
        listed, noted = [], []
        for number in range(count):
            width, height = 40, 20 + 4 * number
            left, top = random.integers(0, 20), random.integers(0, 8)
            scene = random.integers(0, 60, (height, width), dtype=np.uint8)
            scene[top : top + 8, left : left + 16] = 250
            Image.fromarray(scene).save(folder / f"{number}.jpg", quality=95)
            listed.append(
                {"id": number, "file_name": f"{number}.jpg", "width": width, "height": height}
            )
            noted.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 0,
                    "bbox": [int(left), int(top), 16.0, 8.0],
                }
            )
        parts = {split: slice(None)}
        if split == "test":
            parts |= {"test_inshore": slice(0, 2), "test_offshore": slice(2, 4)}
        for name, part in parts.items():
            content = {
                "images": listed[part], "annotations": noted[part],
                "categories": [{"id": 0, "name": "ship"}],
            }  # fmt: skip
            path = root / "ssdd" / "annotations" / f"{name}.json"
            path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    write_ssdd(tmp_path)
    return tmp_path


def test_scenes_are_stretched_with_their_boxes(folder):
    scenes = read_split("train", folder / "ssdd", 80)
    assert scenes.images.shape == (6, 80, 80, 1) and scenes.images.dtype == np.uint8
    assert scenes.names == tuple(f"{n}.jpg" for n in range(6))
    for image, box in zip(scenes.images[..., 0], scenes.boxes, strict=True):
        left, top, right, bottom = np.rint(box[0]).astype(int)
        assert right - left == 32
        assert image[top + 3 : bottom - 3, left + 3 : right - 3].min() > 200
        outside = image.astype(int)
        outside[max(top - 6, 0) : bottom + 6, max(left - 6, 0) : right + 6] = 0
        assert outside.max() < 120
    found, parts = detection.test_scenes(folder, 80)
    assert parts == {"test": [0, 1, 2, 3], "test_inshore": [0, 1], "test_offshore": [2, 3]}
    assert len(found.images) == 4


def change(path, edit) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda c: c["annotations"][1].update(bbox=[30, 0, 16, 8]), "annotation 1: box [30, 0, 16"),
        (lambda c: c["annotations"][1].update(bbox=[1, 1, 0, 8]), "does not lie inside 1.jpg"),
        (lambda c: c["annotations"][1].update(bbox=[1, 1, 8]), "must have a bbox of four numbers"),
        (lambda c: c["annotations"][1].update(category_id=7), "has category 7, which there is not"),
        (lambda c: c["annotations"][1].update(image_id=77), "is of no image that there is"),
        (lambda c: c["images"][1].update(width=41), "1.jpg must be 41x24, as"),
        (lambda c: c["images"][1].update(file_name="x.jpg"), "x.jpg is missing, which"),
        (lambda c: c["images"][1].pop("height"), "every image must have id, file_name"),
        (lambda c: c.pop("images"), "must hold lists of images, annotations and categories"),
    ],
)
def test_annotations_that_do_not_fit_are_named(folder, edit, sentence):
    change(folder / "ssdd" / "annotations" / "train.json", edit)
    with pytest.raises(ValueError) as caught:
        read_split("train", folder / "ssdd", 32)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_named(folder):
    with pytest.raises(ValueError, match="train.json is missing: name the folder that holds ssdd"):
        read_split("train", folder / "none")
    with pytest.raises(ValueError, match="split must be one of train, test"):
        read_split("validation", folder / "ssdd")
    (folder / "ssdd" / "images" / "train" / "2.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="2.jpg is no image, or damaged"):
        read_split("train", folder / "ssdd")
    (folder / "ssdd" / "annotations" / "test.json").write_text("{")
    with pytest.raises(ValueError, match="test.json is not valid JSON"):
        read_split("test", folder / "ssdd")
    write = folder / "ssdd" / "annotations" / "test_inshore.json"
    (folder / "ssdd" / "annotations" / "test.json").write_text(
        write.read_text().replace("1.jpg", "0.jpg").replace('"height": 24', '"height": 20')
    )
    with pytest.raises(ValueError, match="test_inshore has image 1.jpg, which test has not"):
        detection.test_scenes(folder, 32)


def test_anchors_are_the_sizes_that_boxes_cluster_around():
    sizes = np.array([[4, 4], [20, 8], [40, 40]])
    spread = np.repeat(sizes, 7, axis=0) + np.tile(np.arange(-3, 4)[:, None] * 0.1, (3, 1))
    places = np.concatenate([np.zeros_like(spread), spread], 1)
    assert choose_anchors(places, 3).tolist() == sizes.tolist()
    with pytest.raises(ValueError, match="2 boxes are too few for 3 anchors"):
        choose_anchors(places[:2], 3)


def test_maps_decode_to_the_same_boxes_on_the_host_and_in_training():
    maps = torch.randn(2, 10, 3, 4, generator=torch.Generator().manual_seed(1)) * 2
    anchors = np.array([[4.0, 6], [10, 8]])
    ours, scores = boxes.decode(maps.permute(0, 2, 3, 1).numpy(), anchors, 8)
    theirs, logits = predicted(maps, torch.tensor(anchors), 8)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(scores, logits.sigmoid().numpy(), rtol=1e-5)
    # No offset, no stretch: the anchor around the middle of its cell.
    place, score = boxes.decode(np.zeros((1, 1, 2, 10)), anchors, 8)
    assert place[0, 2].tolist() == [10, 1, 14, 7] and score[0, 2] == 0.5


def test_overlaps_are_those_of_areas():
    a = np.array([[0.0, 0, 4, 4], [10, 10, 12, 12]])
    b = np.array([[2.0, 0, 6, 4], [0, 0, 4, 4]])
    assert boxes.overlaps(a, b).tolist() == [[8 / 24, 1], [0, 0]]
    ours, general = paired_overlaps(torch.tensor(a), torch.tensor(b))
    assert ours.tolist() == [8 / 24, 0]
    # Around both: 6x4 with nothing between, and 12x12 of which 124 are neither's.
    assert general.tolist() == pytest.approx([8 / 24, -124 / 144])


def test_suppression_keeps_the_surest_of_what_overlaps():
    places = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 9, 10]])
    kept, scores = boxes.suppress(places, np.array([0.8, 0.9, 0.3, 0.001]))
    assert kept.tolist() == [places[1].tolist(), places[2].tolist()]
    assert scores.tolist() == [0.9, 0.3]


def test_average_precision_is_cocos():
    truth = [np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]), np.array([[0.0, 0, 10, 10]])]
    perfect = [(each, np.ones(len(each))) for each in truth]
    assert boxes.evaluate(perfect, truth) == {"ap50": 1.0, "ap50_95": 1.0}
    nothing = (np.zeros((0, 4)), np.zeros(0))
    assert boxes.average_precision([nothing, nothing], truth, 0.5) == 0
    # Hit, miss, hit, and the same ship once more: recall 1/3 at precision 1, 2/3 at 2/3.
    found = [
        (np.array([[0.0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10]]), np.array([0.9, 0.8, 0.1])),
        (np.array([[0.0, 0, 10, 8]]), np.array([0.7])),
    ]
    assert boxes.average_precision(found, truth, 0.5) == pytest.approx((34 + 33 * 2 / 3) / 101)
    # The last hit overlaps by 0.8: at 0.85 and beyond only the first is one.
    assert boxes.average_precision(found, truth, 0.85) == pytest.approx(34 / 101)
    with pytest.raises(ValueError, match="needs a box to be found"):
        boxes.average_precision([nothing], [np.zeros((0, 4))], 0.5)


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


def test_images_without_a_ship_cannot_be_measured_on():
    scenes = SimpleNamespace(boxes=(np.zeros((0, 4)),))
    found = [(np.zeros((1, 4)), np.ones(1))]
    with pytest.raises(ValueError, match="none of the 1 test images has a ship to be found"):
        detection.measure(found, scenes, {"test": [0]})


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


def detector(seed: int = 1) -> HyBNN:
    torch.manual_seed(seed)
    network = build(MINI).train()
    with torch.no_grad():
        for _ in range(30):
            network(torch.randint(0, 256, (8, 1, 32, 32), dtype=torch.uint8))
        network.head_bias.bias.normal_()
    return network.eval()


@pytest.mark.parametrize("seed", range(3))
def test_integer_maps_count_in_256ths_and_agree_with_torch(seed):
    network = detector(seed)
    exported = export(network, MINI)
    assert exported.outputs == ("scores",)
    assert str(exported.types["scores"]) == "8x8x10 int16"
    images = np.random.default_rng(seed).integers(0, 256, (20, 32, 32, 1), dtype=np.uint8)
    ours = golden.run(exported, images)["scores"] / 256
    theirs = torch_tensors(network, images)["scores"]
    assert (np.abs(ours - theirs) <= 1 / 256).mean() >= 0.95
    assert (theirs * 256 == np.rint(theirs * 256)).all()


@pytest.mark.parametrize("name", ["fourbit-ssdd", "hybnn-ssdd", "basebnn-ssdd"])
def test_a_head_convolves_no_more_bits_than_its_scores_have(name):
    network = build(name)
    bits = [module.bits for module in network.modules() if isinstance(module, RPReLU)]
    assert bits[-1] == network.scores.bits == 16 and all(each >= 20 for each in bits[:-1])


def options(folder, out: str, *changes: str):
    arguments = [MINI, "--data", str(folder), "--out", str(folder / out), "--epochs", "2"]
    return command.parse("", [*arguments, "--batch", "3", "--validation", "0", *changes])


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


def test_a_binary_detector_is_fused_without_a_change_of_its_maps(folder, capsys):
    settings = options(folder, "a")
    settings.network = "basebnn-ssdd-mini"
    training.train(settings)
    out = folder / "fused.npz"
    arguments = ["--checkpoint", str(folder / "a" / "float.npz"), "--data", str(folder)]
    assert fusion.main(["basebnn-ssdd-mini", *arguments, "--out", str(out)]) == 0
    assert "0 of 4 labels differ" in capsys.readouterr().out
    fused = build("fusebnn-ssdd-mini")
    load_parameters(fused, out)
    assert export(fused, "fusebnn-ssdd-mini").outputs == ("scores",)


def test_card_of_a_detector_has_its_figures_sizes_and_work(folder, monkeypatch, capsys):
    training.train(options(folder, "a"))
    arguments = ["--run", str(folder / "a"), "--data", str(folder), "--date", "x"]
    out = folder / "zoo" / MINI
    assert publish.main([MINI, *arguments, "--hardware", "y", "--out", str(out)]) == 0
    rows = read_card(out)
    for row in ("integer network, AP50", "PyTorch, AP50:95, inshore", "PyTorch, AP50, offshore"):
        assert rows[row].endswith(" %")
    assert "batches of 3, images, turned, mirrored" in rows["recipe"]
    # 72 + 128 binary, 100 + 32 of 4 bits, 36 + 160 of 8.
    assert rows["weights"] == "200 of 1 bit, 132 of 4 bits, 196 of 8 bits: 2,296 bits"

    # On the same data nothing differs from the card; on others it does, by row.
    monkeypatch.setattr(graph, "ZOO", folder / "zoo")
    report = ["--out", str(folder / "report.json"), "--data"]
    assert zoo_check.main([MINI, *report, str(folder)]) == 0
    assert "as its card says" in capsys.readouterr().out
    text = (out / "card.md").read_text()
    row = f"| integer network, AP50 | {rows['integer network, AP50']} |"
    (out / "card.md").write_text(text.replace(row, "| integer network, AP50 | 99.99 % |"))
    assert zoo_check.main([MINI, *report, str(folder)]) == 1
    assert "integer network, AP50: the card says 99.99 %, measured" in capsys.readouterr().out
    (out / "card.md").unlink()
    with pytest.raises(ValueError, match="card.md is missing"):
        zoo_check.main([MINI, *report, str(folder)])


def test_weights_and_work_of_a_network_are_counted_by_precision():
    network = export(detector(), MINI)
    # Stem and head; depthwise and pointwise of the 4-bit and of the binary block.
    assert weight_bits(network) == {1: 8 * 9 + 8 * 16, 4: 4 * 25 + 4 * 8, 8: 4 * 9 + 16 * 10}
    assert macs(network) == {
        "1x1": 64 * (8 * 9 + 8 * 16), "4x4": 256 * (4 * 25 + 4 * 8),
        "16x8": 64 * 160, "8x8": 256 * 36,
    }  # fmt: skip


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


def test_only_detectors_of_the_family_have_a_head_that_learns_alone(folder):
    for network in ("hybnn-cifar-mini", "teacher-ssdd-mini"):
        chosen = options(folder, "c", "--head-only")
        chosen.network = network
        with pytest.raises(ValueError, match="--head-only is for detectors of the HyBNN family"):
            training.train(chosen)
