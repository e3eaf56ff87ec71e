"""Ships in SAR images: the reader, boxes and their precision, integer detectors."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model import boxes, detection, fusion, golden, graph, publish, zoo_check
from model import train as training
from model.card import macs, read_card, weight_bits
from model.checkpoint import load_parameters
from model.export import export
from model.layers import RPReLU
from model.networks import build
from model.ssdd import choose_anchors, read_split
from model.training.ships import paired_overlaps, predicted
from tests.scenes import MINI, detector, folder, options
from tests.test_export import torch_tensors

torch.set_num_threads(1)

__all__ = ["folder"]


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
    # Ships side by side may overlap by up to 0.55.
    for height, count in ((5.4, 2), (5.6, 1)):
        pair = np.array([[0.0, 0, 10, 10], [0, 0, 10, height]])
        assert len(boxes.suppress(pair, np.array([0.9, 0.8]))[0]) == count


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


def test_images_without_a_ship_cannot_be_measured_on():
    scenes = SimpleNamespace(boxes=(np.zeros((0, 4)),))
    found = [(np.zeros((1, 4)), np.ones(1))]
    with pytest.raises(ValueError, match="none of the 1 test images has a ship to be found"):
        detection.measure(found, scenes, {"test": [0]})


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
