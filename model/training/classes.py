"""Training to label images."""

import argparse

import torch
from torch import Tensor, nn

from model.data import load_split
from model.training.augment import batches
from model.training.optimize import gate_loss, loss_of

__all__ = ["Classes"]


class Classes:
    """Images and labels of a data set, and the loss of scores.

    Members
    -------
    held_out : (images, labels)
        Numpy arrays, not trained with.
    """

    metric = "train_accuracy"

    def __init__(self, options: argparse.Namespace, network: nn.Module, device: torch.device):
        self.options, self.network = options, network
        for key in ("window", "size_loss"):
            if getattr(options, key):
                option = key.replace("_", "-")
                raise ValueError(f"--{option} is for detectors, which {options.network} is not")
        images, labels = load_split("train", options.data, network.image)
        split = len(images) - options.validation
        if split < options.batch:
            raise ValueError(
                f"{len(images)} training images less {options.validation} for validation do not "
                f"make a batch of {options.batch}"
            )
        self.steps = split // options.batch
        pixels = images[:split].transpose(0, 3, 1, 2).copy()
        self.images = torch.from_numpy(pixels).to(device)
        self.labels = torch.from_numpy(labels[:split]).to(device)
        self.held_out = images[split:], labels[split:]

    def batches(self, epoch: int, share: tuple[int, int]):
        options = self.options
        return batches(
            self.images, self.labels, options.batch, options.seed * 1000 + epoch,
            mirror=options.mirror, crop=options.crop, cutout=options.cutout, share=share,
        )  # fmt: skip

    def loss(
        self, scores: Tensor, labels: Tensor, taught: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, images labelled correctly, images."""
        loss = loss_of(scores, labels, taught, self.options)
        loss = loss + gate_loss(self.network, self.options.gate_weight, self.options.gate_target)
        right = (scores.argmax(1) == labels).sum()
        return loss, right, torch.full_like(right, len(labels))
