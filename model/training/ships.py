"""Training to find ships: YOLOv2's cells and anchors, with an overlap for the loss of boxes."""

import argparse
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.boxes import EXPONENT, REACH
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
]

#: Anchors whose shape overlaps with a box by so much are to find it, and the best one at least.
_FITS = 0.5

#: What a prediction overlaps a box by is no mistake where it says "object".
_IGNORED = 0.6

#: Sides that are left of a box at the image's edge below which it is no ship any more.
_SMALLEST = 3.0

#: Share of windows that lie around a ship. The others show what is none: quays, masts, rocks.
_NEAR = 0.5


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
    images: Tensor,
    boxes: Tensor,
    there: Tensor,
    generator: torch.Generator,
    window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images flipped, transposed, stretched, moved, and made brighter or darker; the boxes that are
    left in them, (N, most, 4); and which of them there are.

    Parameters
    ----------
    images : uint8 Tensor (N, 1, size, size)
    boxes : (N, M, 4)
    there : bool (N, M)
    window : int
        Side of a square of each image to see instead of all of it: most often near a ship.
    """
    count, size, device = len(images), images.shape[-1], images.device
    side = window or size

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(*shape, generator=generator)).to(device)

    x = images.float()
    turned = drawn(0, 1, count) < 0.5
    x = torch.where(turned[:, None, None, None], x.transpose(2, 3), x)
    boxes = torch.where(turned[:, None, None], boxes[..., [1, 0, 3, 2]], boxes)
    signs = torch.where(drawn(0, 1, count, 2) < 0.5, -1.0, 1.0)
    scale = drawn(math.log(0.75), math.log(1.4), count, 1).exp() * drawn(0.9, 1.1, count, 2)
    # Where an output pixel comes from, in -1..1: factor * place + move.
    factor = signs / scale * (side / size)
    corners = boxes.reshape(count, -1, 2, 2) * (2 / size) - 1
    if window:
        # Around one of the ships, which need not lie in the middle, or anywhere.
        ship = (drawn(0, 1, *there.shape) * there).argmax(1)
        centre = corners.mean(2)[torch.arange(count, device=device), ship]
        centre = centre + drawn(-0.8, 0.8, count, 2) * factor.abs()
        near = (drawn(0, 1, count) < _NEAR) & there.any(1)
        move = torch.where(near[:, None], centre, drawn(-1, 1, count, 2))
        room = (1 - factor.abs()).clamp_min(0)
        move = torch.minimum(torch.maximum(move, -room), room)
    else:
        move = drawn(-0.3, 0.3, count, 2)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = factor[:, 0], factor[:, 1], move
    grid = functional.affine_grid(theta, (count, 1, side, side), align_corners=False)
    x = functional.grid_sample(x, grid, align_corners=False)
    x = (x * drawn(0.7, 1.4, count, 1, 1, 1)).round_().clamp_(0, 255)

    corners = ((corners - move[:, None, None]) / factor[:, None, None] + 1) * (side / 2)
    start, end = corners.amin(2), corners.amax(2)
    centre = (start + end) / 2
    inside = ((centre >= 0) & (centre < side)).all(-1)
    start, end = start.clamp(0, side), end.clamp(0, side)
    there = there & inside & ((end - start) >= _SMALLEST).all(-1)
    # Those that are left come first, and no more places than one image needs.
    most = max(1, int(there.sum(1).max()))
    there, order = there.sort(dim=1, descending=True, stable=True)
    boxes = torch.cat((start, end), -1).gather(1, order[..., None].expand(-1, -1, 4))
    return x, boxes[:, :most], there[:, :most]


def paired_overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap and generalised overlap (Rezatofighi et al., 2019) of boxes, broadcast."""
    common = (
        torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    ).clamp_min(0)
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    area_a, area_b = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    common, around = common.clamp_min(0).prod(-1), around.prod(-1).clamp_min(1e-6)
    union = (area_a + area_b - common).clamp_min(1e-6)
    return common / union, common / union - (around - union) / around


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


def box_loss(
    maps: Tensor, boxes: Tensor, there: Tensor, anchors: Tensor, stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss; boxes found with an overlap of a half; boxes to find, one for each anchor that fits.

    Parameters
    ----------
    maps : (N, anchors*5, height, width)
    boxes : (N, M, 4) in pixels
    there : bool (N, M)
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
        image, box, anchor = (chosen & there[..., None]).nonzero(as_tuple=True)
        centre = (boxes[image, box, :2] + boxes[image, box, 2:]) / 2 / stride
        column = centre[:, 0].long().clamp(0, width - 1)
        row = centre[:, 1].long().clamp(0, height - 1)
        place = (row * width + column) * len(anchors) + anchor
        near, _ = paired_overlaps(ours[:, :, None], boxes[:, None])
        background = near.mul_(there[:, None]).amax(-1) < _IGNORED
        background[image, place] = False
    real = boxes[image, box]
    overlap, closeness = paired_overlaps(ours[image, place], real)
    count = torch.full((), max(1, len(image)), device=maps.device)
    wanted = 0.5 + 0.5 * overlap.detach().clamp(0, 1)
    found = functional.binary_cross_entropy_with_logits(
        logits[image, place], wanted, reduction="sum"
    )
    # Of the many cells without a ship those that are sure of it hardly count (Lin et al., 2017).
    doubt = logits.detach().sigmoid().square() * background
    nothing = (functional.softplus(logits) * doubt).sum()
    loss = (found + nothing + 2 * (1 - closeness).sum()) / count
    right = ((overlap >= 0.5) & (logits[image, place] > 0)).sum()
    return loss, right, count


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

    def batches(self, epoch: int, share: tuple[int, int]):
        generator = torch.Generator().manual_seed(self.options.seed * 1000 + epoch)
        rank, world = share
        window = self.options.window
        order = drawn_order(self.there.cpu(), generator, by_ships=bool(window))
        for start in range(0, self.steps * self.options.batch, self.options.batch):
            chosen = order[start : start + self.options.batch].to(self.images.device)
            x, boxes, there = augmented(
                self.images[chosen], self.boxes[chosen], self.there[chosen], generator, window
            )
            own = slice(rank, None, world)
            yield x[own], (boxes[own], there[own])

    def loss(
        self, maps: Tensor, target: tuple[Tensor, Tensor], taught: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        stride, share = self.network.stride, self.options.distill
        loss, right, count = box_loss(maps, *target, self.anchors, stride)
        if taught is not None:
            learned = taught_loss(maps, taught, self.anchors, stride)
            loss = (1 - share) * loss + share * learned
        return loss, right, count
