"""Several processes for one training, as ``torchrun`` starts them."""

import os
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["processes", "share_of"]


def share_of() -> tuple[int, int]:
    """Rank of this process, and how many there are: (0, 1) without torchrun."""
    if "RANK" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@contextmanager
def processes(network: nn.Module, device: torch.device):
    """The network to train with: itself, or, under torchrun, with gradients averaged over all
    processes."""
    if "RANK" not in os.environ:
        yield network
        return
    cuda = device.type == "cuda"
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield DistributedDataParallel(network, device_ids=[device] if cuda else None)
    finally:
        distributed.destroy_process_group()
