"""Detectors on SSDD's test images: boxes, average precision by part of the test set, pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model import boxes, golden, graph
from model.cli import write_file
from model.data import dataset_folder
from model.networks import build
from model.ssdd import FOLDER, Scenes, read_split

__all__ = ["PARTS", "draw", "integer_detections", "measure", "test_scenes", "torch_detections"]

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
        for start in range(0, len(images), batch):
            pixels = images[start : start + batch].transpose(0, 3, 1, 2).copy()
            maps = network(torch.from_numpy(pixels).to(device)).permute(0, 2, 3, 1)
            found += _found(maps.cpu().numpy(), network.anchors, network.stride)
    return found


def integer_detections(network: graph.Network, images: np.ndarray, batch: int = 2) -> list:
    """Boxes and scores of each image by an integer detector, whose maps count 1/256.

    Raises
    ------
    ValueError
        There is no detector of the network's name, whose anchors these would be.
    """
    detector = build(network.name)
    if not getattr(detector, "anchors", ()):
        raise ValueError(f"{network.name} is no detector")
    found = []
    for start in range(0, len(images), batch):
        maps = golden.run(network, images[start : start + batch], batch=batch)
        maps = maps[network.outputs[0]] / 2**detector.scores.fraction
        found += _found(maps, detector.anchors, detector.stride)
    return found


def test_scenes(folder: str | Path | None, size: int) -> tuple[Scenes, dict[str, list[int]]]:
    """The test images, and which of them each part has."""
    place = dataset_folder(FOLDER, folder)
    scenes = read_split("test", place, size)
    numbers = {name: index for index, name in enumerate(scenes.names)}
    parts = {"test": list(range(len(scenes.names)))}
    for part in PARTS[1:]:
        names = read_split(part, place, size).names
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
    """AP50 and AP50:95 of each part that has ships."""
    report = {}
    for part, numbers in parts.items():
        truth = [scenes.boxes[n] for n in numbers]
        if any(len(each) for each in truth):
            report[part] = boxes.evaluate([found[n] for n in numbers], truth)
    return report


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
