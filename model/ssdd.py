"""SSDD, ships in SAR images (Zhang et al., Remote Sensing 13(18) 3690, 2021), as published.

    ssdd/images/{train,test}/*.jpg
    ssdd/annotations/{train,test,test_inshore,test_offshore}.json       COCO's format, one class

Images are brought to one size, both sides stretched alone: boxes stretch with them, and how far two
boxes overlap stays as it is.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["FOLDER", "SPLITS", "Scenes", "choose_anchors", "read_names", "read_split"]

FOLDER = "ssdd"

#: Splits by the annotations' names; the last two are the parts of the test set.
SPLITS = ("train", "test", "test_inshore", "test_offshore")

#: Pixels that a box may reach beyond its image, by rounding.
_ROUNDING = 0.5


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images of one size and the ships in them.

    Parameters
    ----------
    names : tuple of str
        File names.
    images : uint8 array (N, size, size, 1)
    boxes : tuple of float arrays (ships, 4)
        Of each image: left, top, right, bottom in pixels of ``images``.
    """

    names: tuple[str, ...]
    images: np.ndarray
    boxes: tuple[np.ndarray, ...]


def _read_annotations(path: Path) -> dict:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing: name the folder that holds {FOLDER} with --data or BITWRIGHT_DATA"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise ValueError(f"{path} must hold lists of images, annotations and categories")
    return content


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _boxes(path: Path, content: dict) -> tuple[dict[int, dict], dict[int, list]]:
    """Images by their numbers, and the boxes (left, top, right, bottom) of each."""
    images = {}
    for image in content["images"]:
        wanted = {"id": int, "file_name": str, "width": int, "height": int}
        if not isinstance(image, dict) or not all(
            isinstance(image.get(key), kind) for key, kind in wanted.items()
        ):
            raise ValueError(f"{path}: every image must have id, file_name, width and height")
        images[image["id"]] = image
    categories = {c.get("id") for c in content["categories"] if isinstance(c, dict)}
    boxes: dict[int, list] = {number: [] for number in images}
    for entry in content["annotations"]:
        where = f"{path}: annotation {entry.get('id') if isinstance(entry, dict) else entry!r}"
        if not isinstance(entry, dict) or entry.get("image_id") not in images:
            raise ValueError(f"{where} is of no image that there is")
        if entry.get("category_id") not in categories:
            raise ValueError(
                f"{where} has category {entry.get('category_id')!r}, which there is not"
            )
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_number, box)):
            raise ValueError(f"{where} must have a bbox of four numbers, not {box!r}")
        image = images[entry["image_id"]]
        left, top, width, height = box
        right, bottom = left + width, top + height
        inside = min(left, top) >= -_ROUNDING and width > 0 and height > 0
        if not inside or right > image["width"] + _ROUNDING or bottom > image["height"] + _ROUNDING:
            raise ValueError(
                f"{where}: box {box} does not lie inside {image['file_name']}, "
                f"{image['width']}x{image['height']}"
            )
        boxes[entry["image_id"]].append((left, top, right, bottom))
    return images, boxes


def read_names(split: str, folder: Path) -> tuple[str, ...]:
    """File names of a split's images.

    Raises
    ------
    ValueError
        The annotations are missing or damaged; the sentence names them.
    """
    path = _annotations(split, folder)
    images, _ = _boxes(path, _read_annotations(path))
    return tuple(image["file_name"] for image in images.values())


def _annotations(split: str, folder: Path) -> Path:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    return folder / "annotations" / f"{split}.json"


def read_split(split: str, folder: Path, size: int = 416) -> Scenes:
    """Images and boxes of a split.

    Raises
    ------
    ValueError
        A file is missing or damaged, an image has another size than its annotation says, or a box
        lies outside its image; the sentence names it.
    """
    from PIL import Image

    path = _annotations(split, folder)
    images, boxes = _boxes(path, _read_annotations(path))
    pixels = np.empty((len(images), size, size, 1), np.uint8)
    scaled = []
    for index, (number, image) in enumerate(images.items()):
        file = folder / "images" / split.split("_")[0] / image["file_name"]
        try:
            with Image.open(file) as picture:
                came, grey = picture.size, picture.convert("L")
        except FileNotFoundError:
            raise ValueError(f"{file} is missing, which {path} lists") from None
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} is no image, or damaged: {error}") from None
        if came != (image["width"], image["height"]):
            raise ValueError(
                f"{file} must be {image['width']}x{image['height']}, as {path} says, not "
                f"{came[0]}x{came[1]}"
            )
        pixels[index, :, :, 0] = np.asarray(grey.resize((size, size), Image.Resampling.BILINEAR))
        scale = np.array([size / came[0], size / came[1]] * 2)
        scaled.append(np.array(boxes[number], np.float64).reshape(-1, 4) * scale)
    names = tuple(image["file_name"] for image in images.values())
    return Scenes(names, pixels, tuple(scaled))


def choose_anchors(boxes: np.ndarray, count: int = 5, rounds: int = 100) -> np.ndarray:
    """Widths and heights that boxes overlap with most, smallest first: YOLOv2's k-means.

    Parameters
    ----------
    boxes : float array (N, 4)

    Returns
    -------
    float array (count, 2)
    """
    sizes = np.asarray(boxes, np.float64)
    sizes = sizes[:, 2:] - sizes[:, :2]
    if len(sizes) < count:
        raise ValueError(f"{len(sizes)} boxes are too few for {count} anchors")
    order = np.argsort(sizes.prod(1), kind="stable")
    anchors = sizes[order[np.linspace(0, len(sizes) - 1, 2 * count + 1).astype(int)[1::2]]]
    for _ in range(rounds):
        common = np.minimum(sizes[:, None], anchors).prod(2)
        union = sizes.prod(1)[:, None] + anchors.prod(1) - common
        nearest = (common / union).argmax(1)
        moved = np.stack(
            [
                np.median(sizes[nearest == k], axis=0) if (nearest == k).any() else anchors[k]
                for k in range(count)
            ]
        )
        if (moved == anchors).all():
            break
        anchors = moved
    return anchors[np.argsort(anchors.prod(1))]
