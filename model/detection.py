"""Detectors on SSDD's test images: boxes, average precision by part of the test set, pictures."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from model import boxes, golden, graph
from model.checkpoint import load_parameters
from model.cli import track, write_file
from model.data import dataset_folder
from model.networks import build
from model.ssdd import FOLDER, Scenes, read_names, read_split

__all__ = [
    "PARTS",
    "draw",
    "integer_detections",
    "measure",
    "report",
    "test_scenes",
    "torch_detections",
]

#: Parts of the test set, the first one all of it.
PARTS = ("test", "test_inshore", "test_offshore")

#: Score from which a picture shows a box.
_SHOWN = 0.3


def _found(
    maps: np.ndarray, anchors: Sequence[tuple[float, float]], stride: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    places, scores = boxes.decode(maps, np.array(anchors, np.float64), stride)
    return [boxes.suppress(*one) for one in zip(places, scores, strict=True)]


def torch_detections(network, images: np.ndarray, batch: int = 4) -> list:
    """Boxes and scores of each image by a torch detector, in evaluation mode.

    Parameters
    ----------
    images : uint8 array (N, size, size, 1)
    """
    import torch

    network.eval()
    device = next(network.parameters()).device
    found = []
    with torch.no_grad():
        for start in track(starts := range(0, len(images), batch), "PyTorch", len(starts)):
            pixels = images[start : start + batch].transpose(0, 3, 1, 2).copy()
            maps = network(torch.from_numpy(pixels).to(device)).permute(0, 2, 3, 1)
            found += _found(maps.cpu().numpy(), network.anchors, network.stride)
    return found


def integer_detections(network: graph.Network, images: np.ndarray, workers: int = 1) -> list:
    """Boxes and scores of each image by an integer detector, whose maps count 1/256.

    Parameters
    ----------
    workers : int
        Threads that execute the network.

    Raises
    ------
    ValueError
        There is no detector of the network's name, whose anchors these would be.
    """
    detector = build(network.name)
    if not getattr(detector, "anchors", ()):
        raise ValueError(f"{network.name} is no detector")

    def one(index: int) -> list:
        maps = golden.run(network, images[index : index + 1])[network.outputs[0]]
        return _found(maps / 2**detector.scores.fraction, detector.anchors, detector.stride)

    # numpy lets other threads run while it computes.
    with ThreadPoolExecutor(workers) as pool:
        try:
            parts = track(pool.map(one, range(len(images))), "integer network", len(images))
            return [found for part in parts for found in part]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # An interrupt does not wait for all frames.
            raise


def test_scenes(folder: str | Path | None, size: int) -> tuple[Scenes, dict[str, list[int]]]:
    """The test images, and which of them each part has."""
    place = dataset_folder(FOLDER, folder)
    scenes = read_split("test", place, size)
    numbers = {name: index for index, name in enumerate(scenes.names)}
    parts = {"test": list(range(len(scenes.names)))}
    for part in PARTS[1:]:
        names = read_names(part, place)
        unknown = [name for name in names if name not in numbers]
        if unknown:
            raise ValueError(f"{part} has image {unknown[0]}, which test has not")
        parts[part] = [numbers[name] for name in names]
    return scenes, parts


# It is no test, whatever pytest makes of its name.
test_scenes.__test__ = False


def measure(
    found: boxes.Detections, scenes: Scenes, parts: dict[str, list[int]]
) -> dict[str, dict[str, float]]:
    """AP50 and AP50:95 of each part that has ships.

    Raises
    ------
    ValueError
        No part has any.
    """
    report = {}
    for part, numbers in parts.items():
        truth = [scenes.boxes[n] for n in numbers]
        if any(len(each) for each in truth):
            report[part] = boxes.evaluate([found[n] for n in numbers], truth)
    if PARTS[0] not in report:
        raise ValueError(f"none of the {len(found)} test images has a ship to be found")
    return report


def report(
    network: graph.Network,
    folder: str | Path | None,
    *,
    checkpoint: str | Path | None = None,
    pictures: str | Path | None = None,
    frames: int | None = None,
    workers: int = 1,
) -> dict:
    """Average precision of an integer detector on SSDD's test images, and of the torch one.

    Parameters
    ----------
    checkpoint : path or None
        Parameters of the torch detector; without them the report has none of its figures.
    pictures : path or None
        Picture to draw of the integer detector's boxes on the first images of both parts.
    frames : int or None
        Only the first images.
    workers : int

    Returns
    -------
    dict
        ``integer``, ``torch``: AP50 and AP50:95 by part; ``difference_points`` of AP50 on all.
    """
    started = time.perf_counter()
    scenes, parts = test_scenes(folder, network.input.height)
    images = scenes.images[:frames]
    parts = {part: [n for n in numbers if n < len(images)] for part, numbers in parts.items()}
    found = integer_detections(network, images, workers)
    content = {
        "network": network.name,
        "digest": network.digest(),
        "images": len(images),
        "integer": measure(found, scenes, parts),
        "integer_seconds": round(time.perf_counter() - started, 1),
    }
    if checkpoint is not None:
        detector = build(network.name)
        load_parameters(detector, checkpoint)
        content["checkpoint"] = str(checkpoint)
        content["torch"] = measure(torch_detections(detector, images), scenes, parts)
        ours, theirs = (content[key]["test"]["ap50"] for key in ("integer", "torch"))
        content["difference_points"] = round(100 * (ours - theirs), 4)
    if pictures is not None:
        shown = [n for part in PARTS[1:] for n in parts[part][:4]]
        draw(Path(pictures), scenes, found, shown)
    return content


def draw(path: Path, scenes: Scenes, found: boxes.Detections, numbers: Sequence[int]) -> None:
    """Images with the ships that there are (green) and that were found (red)."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns = min(4, len(numbers))
    rows = -(-len(numbers) // columns)
    figure = Figure(figsize=(3 * columns, 3.2 * rows), layout="constrained")
    for axes, number in zip(
        np.atleast_1d(figure.subplots(rows, columns)).reshape(-1), numbers, strict=False
    ):
        axes.imshow(scenes.images[number, :, :, 0], cmap="gray", vmin=0, vmax=255)
        axes.set_title(scenes.names[number], fontsize=8)
        axes.set_axis_off()

        def box(corners: np.ndarray, colour: str, width: float, axes=axes) -> None:
            left, top, right, bottom = corners
            axes.add_patch(
                Rectangle(
                    (left, top), right - left, bottom - top, fill=False, color=colour, lw=width
                )
            )

        for corners in scenes.boxes[number]:
            box(corners, "lime", 2)
        for corners, score in zip(*found[number], strict=True):
            if score >= _SHOWN:
                box(corners, "red", 1)
    write_file(path, lambda partial: figure.savefig(partial, dpi=100))
