"""Boxes of a detector, on the host: from score maps to boxes, suppression, average precision.

A detector's map has, for each cell of ``stride`` pixels and each anchor, five numbers in the manner
of YOLOv2 (Redmon and Farhadi, 2017): x, y, width, height, and whether there is an object.
"""

from collections.abc import Sequence

import numpy as np

__all__ = [
    "EXPONENT",
    "REACH",
    "Detections",
    "average_precision",
    "decode",
    "evaluate",
    "overlaps",
    "suppress",
]

#: Largest exponent of a size, either way.
EXPONENT = 4.0

#: Cells that the place of a box may take, so that a centre on an edge between two can be said
#: (Bochkovskiy et al., "YOLOv4", 2020).
REACH = 1.2

#: Overlap with a higher-scored box above which a box is taken for the same ship. In harbours ships
#: lie side by side, slantwise, and their boxes overlap; how 0.55 was chosen is in docs/training.md.
_SAME = 0.55

#: Boxes that an image may have, as in COCO's rules.
_BOXES = 100

#: Overlaps at which COCO's AP50:95 takes its mean.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))

#: Boxes (n, 4) and scores (n,) of each image, highest score first.
Detections = Sequence[tuple[np.ndarray, np.ndarray]]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def decode(maps: np.ndarray, anchors: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, cells*anchors, 4) as left, top, right, bottom, and their scores.

    Parameters
    ----------
    maps : float array (N, height, width, anchors*5)
    anchors : (anchors, 2)
        Width and height in pixels.
    """
    count, height, width, _ = maps.shape
    t = np.asarray(maps, np.float64).reshape(count, height, width, len(anchors), 5)
    # What lies beyond says nothing more, and must not overflow.
    t = np.clip(t, -60, 60)
    inside = REACH * _sigmoid(t[..., :2]) - (REACH - 1) / 2
    x = (np.arange(width)[None, None, :, None] + inside[..., 0]) * stride
    y = (np.arange(height)[None, :, None, None] + inside[..., 1]) * stride
    w, h = np.moveaxis(np.exp(np.clip(t[..., 2:4], -EXPONENT, EXPONENT)) * anchors / 2, -1, 0)
    boxes = np.stack([x - w, y - h, x + w, y + h], -1)
    return boxes.reshape(count, -1, 4), _sigmoid(t[..., 4]).reshape(count, -1)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of ``a`` with each of ``b``."""
    start = np.maximum(a[:, None, :2], b[None, :, :2])
    end = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(end - start, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return common / np.maximum(areas[0][:, None] + areas[1] - common, 1e-9)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, *, overlap: float = _SAME, least: float = 0.005
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of one image that no higher-scored one overlaps, highest score first."""
    chosen = np.flatnonzero(scores >= least)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")][: 20 * _BOXES]
    boxes, scores = boxes[chosen], scores[chosen]
    kept = []
    left = np.arange(len(boxes))
    while len(left) and len(kept) < _BOXES:
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[overlaps(boxes[best : best + 1], boxes[left])[0] <= overlap]
    return boxes[kept], scores[kept]


def average_precision(found: Detections, truth: Sequence[np.ndarray], overlap: float) -> float:
    """AP at one overlap, by COCO's rules: the mean of the precision at 101 recalls."""
    total = sum(len(boxes) for boxes in truth)
    if not total:
        raise ValueError("average precision needs a box to be found")
    hits, scores = [], []
    for (boxes, sure), real in zip(found, truth, strict=True):
        free = np.ones(len(real), bool)
        table = overlaps(boxes, real)
        for row in range(len(boxes)):
            fits = np.where(free, table[row], -1.0) if len(real) else np.array([-1.0])
            best = int(fits.argmax())
            hit = fits[best] >= overlap
            if hit:
                free[best] = False
            hits.append(hit)
            scores.append(sure[row])
    order = np.argsort(-np.array(scores), kind="stable")
    hit = np.array(hits, bool)[order]
    right = np.cumsum(hit)
    recall, precision = right / total, right / np.arange(1, len(hit) + 1)
    # The best precision at this recall or beyond.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-12)
    return float(np.append(precision, 0.0)[np.minimum(places, len(precision))].mean())


def evaluate(found: Detections, truth: Sequence[np.ndarray]) -> dict[str, float]:
    """``ap50`` and ``ap50_95``."""
    values = [average_precision(found, truth, overlap) for overlap in THRESHOLDS]
    return {"ap50": values[0], "ap50_95": float(np.mean(values))}
