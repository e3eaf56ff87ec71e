"""Training to find ships: YOLOv2's cells and anchors, with an overlap for the loss of boxes."""

import argparse
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.boxes import EXPONENT, REACH
from model.cli import track
from model.data import dataset_folder
from model.ssdd import FOLDER, Scenes, read_split

__all__ = [
    "Ships",
    "augmented",
    "box_loss",
    "drawn_order",
    "padded",
    "paired_overlaps",
    "predicted",
    "taught_loss",
    "turned",
    "turned_boxes",
]

#: Anchors whose shape overlaps with a box by so much are to find it, and the best one at least.
_FITS = 0.5

#: What a prediction overlaps a box by is no mistake where it says "object".
_IGNORED = 0.6

#: Sides that are left of a box at the image's edge below which it is no ship any more.
_SMALLEST = 3.0

#: Share of windows that lie around a ship. The others show what is none: quays, masts, rocks.
_NEAR = 0.5

#: Share of images that keep their size and their pixels: what is stretched or moved by parts of a
#: pixel has less speckle than what is to be seen later.
_KEPT = 0.4

#: Random numbers that augmenting an image takes, besides one for each ship.
_DRAWN = 13


def padded(boxes: tuple[np.ndarray, ...]) -> tuple[Tensor, Tensor]:
    """(N, most, 4) boxes, and which of them there are."""
    most = max(1, max(map(len, boxes), default=1))
    values, there = (
        torch.zeros(len(boxes), most, 4),
        torch.zeros(len(boxes), most, dtype=torch.bool),
    )
    for index, each in enumerate(boxes):
        values[index, : len(each)] = torch.from_numpy(each)
        there[index, : len(each)] = True
    return values, there


def drawn_order(there: Tensor, generator: torch.Generator, *, by_ships: bool) -> Tensor:
    """Numbers of the images of an epoch: each of them once, or drawn, half of them by their ships.

    A window shows a few ships of an image: so harbours, with many of them and hard ones, are not
    seen less than the sea is. The other half comes from all images alike: harbours with one ship
    have as many quays to be told from it.

    Parameters
    ----------
    there : bool (N, M)
        Ships of each image.
    """
    if by_ships:
        ships = there.sum(1).clamp_min(1).float()
        share = ships / ships.mean() + 1
        return torch.multinomial(share, len(there), replacement=True, generator=generator)
    return torch.randperm(len(there), generator=generator)


def augmented(
    images: Tensor, boxes: Tensor, there: Tensor, drawn: Tensor, window: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Images flipped, transposed, stretched, moved, and made brighter or darker; the boxes that are
    left in them, (N, M, 4); and which of them there are.

    Nothing here waits for the device.

    Parameters
    ----------
    images : uint8 Tensor (N, 1, size, size)
    boxes : (N, M, 4)
    there : bool (N, M)
    drawn : (N, 13 + M)
        Random numbers in 0..1.
    window : int
        Side of a square of each image to see instead of all of it: half of them near a ship.
    """
    count, size = len(images), images.shape[-1]
    side = window or size
    numbers, ships = drawn.split((_DRAWN, there.shape[1]), 1)
    left = iter(numbers.split(1, 1))

    def between(low: float, high: float, columns: int = 1) -> Tensor:
        return low + (high - low) * torch.cat([next(left) for _ in range(columns)], 1)

    x = images.float()
    turned = between(0, 1) < 0.5
    x = torch.where(turned[:, :, None, None], x.transpose(2, 3), x)
    boxes = torch.where(turned[:, :, None], boxes[..., [1, 0, 3, 2]], boxes)
    signs = 1 - 2 * (between(0, 1, 2) < 0.5).float()
    scale = between(math.log(0.75), math.log(1.4)).exp() * between(0.9, 1.1, 2)
    kept = between(0, 1) < _KEPT
    scale = scale.masked_fill(kept, 1.0)
    # Where an output pixel comes from, in -1..1: factor * place + move.
    factor = signs / scale * (side / size)
    corners = boxes.reshape(count, -1, 2, 2) * (2 / size) - 1
    anywhere, off = between(-1, 1, 2), between(-0.8, 0.8, 2)
    if window:
        # Around one of the ships, which need not lie in the middle, or anywhere.
        ship = (ships * there).argmax(1)[:, None, None].expand(-1, -1, 2)
        centre = corners.mean(2).gather(1, ship)[:, 0] + off * factor.abs()
        near = (between(0, 1) < _NEAR) & there.any(1, keepdim=True)
        move = torch.where(near, centre, anywhere)
        room = (1 - factor.abs()).clamp_min(0)
        move = torch.minimum(torch.maximum(move, -room), room)
    else:
        move = 0.3 * anywhere
    move = torch.where(kept, (move * (size / 2)).round() / (size / 2), move)
    theta = torch.cat((torch.diag_embed(factor), move[:, :, None]), 2)
    grid = functional.affine_grid(theta, (count, 1, side, side), align_corners=False)
    x = functional.grid_sample(x, grid, align_corners=False)
    x = (x * between(0.7, 1.4)[:, :, None, None]).round_().clamp_(0, 255)

    corners = ((corners - move[:, None, None]) / factor[:, None, None] + 1) * (side / 2)
    start, end = corners.amin(2), corners.amax(2)
    centre = (start + end) / 2
    inside = ((centre >= 0) & (centre < side)).all(-1)
    start, end = start.clamp(0, side), end.clamp(0, side)
    there = there & inside & ((end - start) >= _SMALLEST).all(-1)
    return x, torch.cat((start, end), -1), there


def paired_overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap and generalised overlap (Rezatofighi et al., 2019) of boxes, broadcast."""
    common = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    common, around = _area(common.clamp_min(0)), _area(around.clamp_min(0)).clamp_min(1e-6)
    areas = _area(a[..., 2:] - a[..., :2]) + _area(b[..., 2:] - b[..., :2])
    union = (areas - common).clamp_min(1e-6)
    return common / union, common / union - (around - union) / around


def _sides(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(1.0)


def _area(sides: Tensor) -> Tensor:
    """Of (..., 2) sides. The gradient of `prod` looks for zeros, and so waits for the device."""
    return sides[..., 0] * sides[..., 1]


def predicted(maps: Tensor, anchors: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Boxes (N, cells*anchors, 4) and logits of objects (N, cells*anchors) of score maps."""
    count, _, height, width = maps.shape
    t = maps.float().permute(0, 2, 3, 1).reshape(count, height, width, len(anchors), 5)
    columns = torch.arange(width, device=maps.device)[:, None]
    rows = torch.arange(height, device=maps.device)[:, None, None]
    inside = REACH * t[..., :2].sigmoid() - (REACH - 1) / 2
    x, y = (columns + inside[..., 0]) * stride, (rows + inside[..., 1]) * stride
    half = t[..., 2:4].clamp(-EXPONENT, EXPONENT).exp() * anchors / 2
    boxes = torch.stack(
        (x - half[..., 0], y - half[..., 1], x + half[..., 0], y + half[..., 1]), -1
    )
    return boxes.flatten(1, 3), t[..., 4].flatten(1)


def turned(images: Tensor, way: int) -> Tensor:
    """Square images (..., size, size) in one of eight orientations: with 4 in ``way`` rows and
    columns change places, then 1 mirrors the columns and 2 the rows."""
    if way & 4:
        images = images.transpose(-2, -1)
    flipped = [-1] * (way & 1) + [-2] * (way >> 1 & 1)
    return images.flip(flipped).contiguous()


def turned_boxes(boxes: Tensor, way: int, size: int) -> Tensor:
    """Boxes (..., 4) as they lie in images that are :func:`turned`."""
    left, top, right, bottom = boxes.unbind(-1)
    if way & 4:
        left, top, right, bottom = top, left, bottom, right
    if way & 1:
        left, right = size - right, size - left
    if way & 2:
        top, bottom = size - bottom, size - top
    return torch.stack((left, top, right, bottom), -1)


def box_loss(
    maps: Tensor,
    boxes: Tensor,
    there: Tensor,
    anchors: Tensor,
    stride: int,
    size_weight: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss; boxes found with an overlap of a half; boxes to find, one for each anchor that fits.

    Parameters
    ----------
    maps : (N, anchors*5, height, width)
    boxes : (N, M, 4) in pixels
    there : bool (N, M)
    size_weight : float
        Of the squared logarithm by which a side is wrong. The overlap says as much of a long ship
        as of a short one, though a wrong side of the former is rare, and so hardly learned.
    """
    height, width = maps.shape[2:]
    ours, logits = predicted(maps, anchors, stride)
    with torch.no_grad():
        # Shapes alone: both around the same centre.
        sizes = boxes[..., 2:] - boxes[..., :2]
        common = torch.minimum(sizes[:, :, None], anchors).prod(-1)
        union = sizes.prod(-1)[..., None] + anchors.prod(-1) - common
        fit = common / union.clamp_min(1e-6)
        chosen = (fit >= _FITS) | (fit == fit.amax(-1, keepdim=True))
        chosen = (chosen & there[..., None]).flatten(1)
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2 / stride
        column = centre[..., 0].long().clamp(0, width - 1)
        row = centre[..., 1].long().clamp(0, height - 1)
        cell = (row * width + column)[..., None] * len(anchors)
        place = (cell + torch.arange(len(anchors), device=maps.device)).flatten(1)
        taken = torch.zeros_like(logits).scatter_add_(1, place, chosen.to(logits.dtype))
        background = (_nearest(ours, boxes, there) < _IGNORED) & (taken == 0)
    # All boxes and anchors, those that are none or do not fit with a weight of 0: how many there
    # are is known to the device alone, and nothing waits for it.
    real = boxes.repeat_interleave(len(anchors), 1)
    mine = ours.gather(1, place[..., None].expand(-1, -1, 4))
    said = logits.gather(1, place)
    overlap, closeness = paired_overlaps(mine, real)
    count = chosen.sum().clamp_min(1)
    wanted = 0.5 + 0.5 * overlap.detach().clamp(0, 1)
    found = functional.binary_cross_entropy_with_logits(said, wanted, reduction="none")
    found = found + 2 * (1 - closeness)
    if size_weight:
        wrong = (_sides(mine).log() - _sides(real).log()).square().sum(-1)
        found = found + size_weight * wrong
    found = (found * chosen).sum()
    # Of the many cells without a ship those that are sure of it hardly count (Lin et al., 2017).
    doubt = logits.detach().sigmoid().square() * background
    nothing = (functional.softplus(logits) * doubt).sum()
    right = ((overlap >= 0.5) & (said > 0) & chosen).sum()
    return (found + nothing) / count, right, count


def _nearest(ours: Tensor, boxes: Tensor, there: Tensor) -> Tensor:
    """The largest overlap of each of (N, P, 4) boxes with one of (N, M, 4) that are there."""
    a = [ours[..., None, side] for side in range(4)]
    b = [boxes[:, None, :, side] for side in range(4)]
    width = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp_min_(0)
    common = (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp_min_(0).mul_(width)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    union = (areas[0] + areas[1] - common).clamp_min_(1e-6)
    return (common.div_(union) * there[:, None]).amax(-1)


def taught_loss(maps: Tensor, taught: Tensor, anchors: Tensor, stride: int) -> Tensor:
    """How far a detector's maps are from what a teacher's say of the same images.

    Every place is to be as sure of a ship as the teacher is (the divergence of Hinton et al.,
    2015), and its box is to be the teacher's where the teacher is sure.

    Parameters
    ----------
    maps, taught : (N, anchors*5, height, width)
    """
    ours, logits = predicted(maps, anchors, stride)
    theirs, known = predicted(taught, anchors, stride)
    sure = known.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits
    objects = entropy(logits, sure, reduction="sum") - entropy(known, sure, reduction="sum")
    _, closeness = paired_overlaps(ours, theirs)
    return (objects + 2 * (sure * (1 - closeness)).sum()) / sure.sum().clamp_min(1)


class Ships:
    """SSDD's training images, augmented on the device, and the loss of a detector's maps."""

    metric = "train_recall"

    def __init__(self, options: argparse.Namespace, network: nn.Module, device: torch.device):
        if options.validation:
            raise ValueError("--validation is for networks that label images: it must be 0 here")
        for option in ("mirror", "crop", "cutout", "smoothing"):
            if getattr(options, option, None):
                raise ValueError(f"--{option} is for networks that label images")
        self.options, self.network = options, network
        size, window = network.image[0], options.window
        if window and (window % network.stride or not 0 < window <= size):
            raise ValueError(
                f"--window must be a multiple of {network.stride} up to {size}, not {window}"
            )
        scenes: Scenes = read_split("train", dataset_folder(FOLDER, options.data), size)
        if len(scenes.names) < options.batch:
            raise ValueError(
                f"{len(scenes.names)} training images do not make a batch of {options.batch}"
            )
        self.steps = len(scenes.names) // options.batch
        self.images = torch.from_numpy(scenes.images.transpose(0, 3, 1, 2).copy()).to(device)
        boxes, there = padded(scenes.boxes)
        self.boxes, self.there = boxes.to(device), there.to(device)
        self.anchors = torch.tensor(network.anchors, dtype=torch.float32, device=device)
        if not 1 <= options.orientations <= 8:
            raise ValueError(f"--orientations must lie in 1..8, not {options.orientations}")
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.no_grad()
    def seen(self, share: tuple[int, int] = (0, 1)) -> tuple[Tensor, Tensor, Tensor]:
        """What the part that learns sees of a process's share of the images in one orientation
        after the other, (orientations*N, channels, height, width) in 16 bits, their boxes, and
        which of them there are; computed once, by the network as it is used.

        Parameters
        ----------
        share : (int, int)
            Number of the process, and how many there are.
        """
        if self._seen is None:
            self.network.eval()
            compute = self.network.features
            if self.options.compile:
                compute = torch.compile(compute)
            rank, world = share
            images, boxes, there = (
                part[rank::world] for part in (self.images, self.boxes, self.there)
            )
            count, ways = len(images), range(self.options.orientations)
            places = [(way, first) for way in ways for first in range(0, count, 4)]
            features = None
            for way, first in track(places, "what the part that learns sees", len(places)):
                part = compute(turned(images[first : first + 4], way))
                if features is None:
                    shape = count * len(ways), *part.shape[1:]
                    # In place, not joined in the end: these are gigabytes.
                    features = part.new_empty(shape, dtype=torch.float16)
                start = way * count + first
                features[start : start + len(part)] = part
            size = self.network.image[0]
            boxes = torch.cat([turned_boxes(boxes, way, size) for way in ways])
            self._seen = features, boxes, there.repeat(len(ways), 1)
            self.network.train()
        return self._seen

    def _seen_batches(self, generator: torch.Generator, share: tuple[int, int]):
        """Batches of what the part that learns sees. Each process keeps to its own images, for
        which alone it computes that; together they see each image once."""
        rank, world = share
        features, boxes, there = self.seen(share)
        own, size = len(features) // self.options.orientations, self.options.batch // world
        for _ in range(rank + 1):
            # Not in the order of another process: neighbours would meet in every epoch.
            order = torch.randperm(own, generator=generator)[: self.steps * size]
        ways = torch.randint(self.options.orientations, (len(order),), generator=generator)
        for chosen in (ways * own + order).to(features.device).split(size):
            x = features[chosen].float().contiguous(memory_format=torch.channels_last)
            yield x, (boxes[chosen], there[chosen])

    def batches(self, epoch: int, share: tuple[int, int]):
        generator = torch.Generator().manual_seed(self.options.seed * 1000 + epoch)
        if self.options.head_only:
            yield from self._seen_batches(generator, share)
            return
        rank, world = share
        size, window = self.options.batch, self.options.window
        order = drawn_order(self.there.cpu(), generator, by_ships=bool(window))
        order = order[: self.steps * size]
        drawn = torch.rand(len(order), _DRAWN + self.there.shape[1], generator=generator)
        # To the device at once: each copy of its own would wait for it.
        order, drawn = order.to(self.images.device), drawn.to(self.images.device)
        for start in range(0, len(order), size):
            own = slice(start + rank, start + size, world)
            chosen = order[own]
            x, boxes, there = augmented(
                self.images[chosen], self.boxes[chosen], self.there[chosen], drawn[own], window
            )
            yield x, (boxes, there)

    def loss(
        self, maps: Tensor, target: tuple[Tensor, Tensor], taught: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        stride, share = self.network.stride, self.options.distill
        loss, right, count = box_loss(maps, *target, self.anchors, stride, self.options.size_loss)
        if taught is not None:
            learned = taught_loss(maps, taught, self.anchors, stride)
            loss = (1 - share) * loss + share * learned
        return loss, right, count
