"""Several processes for one training, as ``torchrun`` starts them."""

import os
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["agreed", "processes", "share_of", "spread", "usable_device"]


def usable_device(name: str) -> torch.device:
    """The device of this name, for this process where there are several.

    Raises
    ------
    ValueError
        There is no such device here.
    """
    try:
        device = torch.device(name)
        if device.type == "cuda" and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used: {reason}") from None
    return device


def share_of() -> tuple[int, int]:
    """Rank of this process, and how many there are: (0, 1) without torchrun."""
    if "RANK" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@contextmanager
def processes(device: torch.device):
    """Join the other processes of torchrun, if there are any, and part from them at the end."""
    if "RANK" not in os.environ:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def spread(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with gradients that are averaged over all processes; itself where it is alone.

    It must be gone before the processes part: its end waits for the others.
    """
    if not distributed.is_initialized():
        return network
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids)


def agreed(value: bool, device: torch.device) -> bool:
    """What the first process says: clocks differ, and all must stop at the same epoch."""
    if not distributed.is_initialized():
        return value
    said = torch.tensor([value], device=device)
    distributed.broadcast(said, 0)
    return bool(said.item())
