"""Shuffled, augmented batches, made on the device that holds the images."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["BORDER", "batches", "cropped", "cut_out"]

#: Pixels of black around an image that a crop is taken from.
BORDER = 4


def batches(
    images: Tensor,
    labels: Tensor,
    size: int,
    seed: int,
    *,
    mirror: bool = False,
    crop: bool = False,
    cutout: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches of full size; half of the images mirrored, each moved by some pixels.

    Parameters
    ----------
    images : uint8 Tensor (N, channels, height, width)
    size : int
        Images of a batch.
    cutout : int
        Side of a black square that covers a part of each image, 0 for none.
    share : (rank, world)
        Of every batch only the images rank, rank + world ...
    """
    # Drawn where every machine draws the same, and taken to the device at once.
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    starts = range(0, len(images) - size + 1, size)
    mirrored, corners, squares = [], [], []
    limits = torch.tensor(images.shape[2:])[:, None]
    for _ in starts:
        if mirror:
            mirrored.append(torch.rand(size, 1, 1, 1, generator=generator) < 0.5)
        if crop:
            corners.append(torch.randint(2 * BORDER + 1, (2, size), generator=generator))
        if cutout:
            squares.append((torch.rand(2, size, generator=generator) * limits).long())
    order = order.to(images.device)
    rank, world = share

    def drawn(parts: list[Tensor]) -> Tensor | None:
        return torch.stack(parts).to(images.device) if parts else None

    mirrored, corners, squares = drawn(mirrored), drawn(corners), drawn(squares)
    for number, start in enumerate(starts):
        chosen = order[start : start + size][rank::world]
        batch = images[chosen]
        if mirror:
            batch = torch.where(mirrored[number, rank::world], batch.flip(3), batch)
        if crop:
            batch = cropped(batch, corners[number, :, rank::world])
        if cutout:
            batch = cut_out(batch, squares[number, :, rank::world], cutout)
        yield batch, labels[chosen]


def cropped(batch: Tensor, corners: Tensor) -> Tensor:
    """Each image with a black border, cut to its size from its corner (rows, columns) on."""
    size, _, height, width = batch.shape
    padded = functional.pad(batch, (BORDER,) * 4).permute(0, 2, 3, 1)
    rows = corners[0][:, None] + torch.arange(height, device=batch.device)
    columns = corners[1][:, None] + torch.arange(width, device=batch.device)
    images = torch.arange(size, device=batch.device)[:, None, None]
    return padded[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_out(batch: Tensor, centres: Tensor, side: int) -> Tensor:
    """Each image with a black square around its centre (row, column); the rest lies outside."""
    height, width = batch.shape[2:]

    def inside(centre: Tensor, length: int) -> Tensor:
        start = centre[:, None] - side // 2
        place = torch.arange(length, device=batch.device)
        return (place >= start) & (place < start + side)

    square = inside(centres[0], height)[:, :, None] & inside(centres[1], width)[:, None, :]
    return batch.masked_fill(square[:, None], 0)
