"""One training: its network, data and state, and how an epoch of it goes."""

import argparse
import copy
import os
from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice

import torch
from torch import Tensor, nn

from model.checkpoint import load_matching, load_parameters
from model.networks import build
from model.networks.fusebnn import FuseBNN
from model.training.classes import Classes
from model.training.distributed import share_of, usable_device
from model.training.hints import Tracing, hint_loss
from model.training.memory import keep_freed
from model.training.optimize import Average, learning_rate, make_optimizer
from model.training.recipes import complete, named
from model.training.ships import Ships

__all__ = ["LOOK", "Epochs", "boxes_of"]

#: Steps between two looks at the loss, by the kind of device: looking stops a GPU.
LOOK = {"cpu": 1, "cuda": 50}


def _prepare(options: argparse.Namespace, device: torch.device) -> tuple[nn.Module, set[str]]:
    """The network to train, its options made complete; names of the parameters trained before."""
    torch.set_num_threads(options.threads)
    if options.fast:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        keep_freed()
    else:
        # What deterministic matrix products on a GPU ask for.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.manual_seed(options.seed)
    network = build(options.network)
    if isinstance(network, FuseBNN):
        raise ValueError(f"{options.network} is not trained: model.fusion makes it of another")
    has_steps = hasattr(network, "binarize")
    if options.step and not has_steps:
        raise ValueError(f"--step is for networks of two steps, which {options.network} is not")
    options.step = options.step or (2 if has_steps else 0)
    if options.start and named(getattr(options, "warm_start", None)):
        raise ValueError("--start has all parameters: --warm-start is not for a run with it")
    complete(options, options.step)
    if options.start:
        options.warm_start = None  # Whatever the recipe says.
    if has_steps:
        network.binarize(options.step == 2)
    if hasattr(network, "straight_through"):
        network.straight_through(options.gradient)
    elif options.gradient != "quadratic":
        raise ValueError(f"--gradient is for networks with signs, which {options.network} is not")
    if options.head_only:
        if not (boxes_of(network) and hasattr(network, "only_end_learns")):
            raise ValueError(
                f"--head-only is for detectors of the HyBNN family, which {options.network} is not"
            )
        if options.window or named(options.teacher):
            raise ValueError(
                "--head-only learns from whole images and their boxes: it needs --window 0 "
                "--teacher none"
            )
        network.only_end_learns(options.last_blocks)
    elif options.last_blocks or options.orientations != 1:
        raise ValueError("--last-blocks and --orientations are for --head-only")
    known: set[str] = set()
    if options.resume:
        pass  # All that it began with is in the checkpoint.
    elif options.start:
        load_parameters(network, options.start)
        known = set(network.state_dict())
    elif named(options.warm_start):
        known = load_matching(network, options.warm_start)
        print(f"{len(known)} of {len(network.state_dict())} arrays as in {options.warm_start}")
    return network.to(device, memory_format=torch.channels_last), known


def boxes_of(network: nn.Module) -> tuple:
    """What a detector's map is made of; nothing of a network that labels images."""
    anchors = getattr(network, "anchors", ())
    return (network.stride, anchors) if anchors else ()


def _teacher(
    options: argparse.Namespace, student: nn.Module, device: torch.device
) -> nn.Module | None:
    if not named(options.teacher):
        if options.hint:
            raise ValueError("--hint is what a teacher says: it needs --teacher")
        return None
    teacher = build(options.teacher_network)
    if options.hint and not (hasattr(teacher, "trace") and hasattr(student, "trace")):
        raise ValueError(
            f"--hint is for networks of the HyBNN family: {options.teacher_network} cannot hint "
            f"at the blocks of {options.network}"
        )
    load_parameters(teacher, options.teacher)
    if teacher.image != student.image:
        raise ValueError(f"{options.teacher_network} does not see what {options.network} sees")
    if boxes_of(teacher) != boxes_of(student):
        raise ValueError(
            f"{options.teacher_network} cannot teach {options.network}: it must have the same "
            "stride and anchors"
        )
    teacher = teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    return Tracing(teacher) if options.hint else teacher


class _Deciding(nn.Module):
    """Of a network the part that learns, and what it makes of what that part sees."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.decide(x)


class Epochs:
    """One run: its network, data and state, and how an epoch of it goes."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.rank, self.world = share_of()
        self.device = usable_device(options.device)
        if options.record and (self.device.type != "cuda" or self.world > 1):
            raise ValueError("--record is for one process on a CUDA device: leave it out here")
        if options.fill and (options.minutes is None or self.world > 1):
            raise ValueError("--fill needs --minutes to fill, and is for one process")
        self.network, self.known = _prepare(options, self.device)
        self.begin()
        self.teacher = _teacher(options, self.network, self.device)
        if options.batch % self.world:
            raise ValueError(
                f"batch must be a multiple of {self.world} processes, not {options.batch}"
            )
        task = Ships if boxes_of(self.network) else Classes
        self.task = task(options, self.network, self.device)
        self.steps = self.task.steps

    def begin(self) -> None:
        """Make what follows the network through a training: optimizer and averages."""
        options = self.options
        self.optimizer = make_optimizer(self.network, options)
        self.average = Average(self.network, options.ema) if options.ema else None

    def precision(self):
        """Convolutions and products in bfloat16 where ``--amp`` says so."""
        if not self.options.amp:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def trained(self) -> nn.Module:
        """The network as its passes see it."""
        if self.options.head_only:
            return _Deciding(self.network)
        return Tracing(self.network) if self.options.hint else self.network

    def passes(self, forward: nn.Module, x: Tensor, y) -> tuple[Tensor, Tensor, Tensor]:
        """Forward and backward through the network: loss, what it has right, and of how many."""
        with self.precision():
            with torch.no_grad():
                taught = None if self.teacher is None else self.teacher(x)
            scores = forward(x)
        if self.options.hint:
            (scores, ours), (taught, theirs) = scores, taught
        loss, good, count = self.task.loss(scores, y, taught)
        if self.options.hint:
            loss = loss + self.options.hint * hint_loss(ours, theirs)
        self.optimizer.zero_grad()
        loss.backward()
        return loss.detach(), good, count

    def run(
        self, passes: Callable, epoch: int, advance, kept: str, batches: int | None = None
    ) -> dict:
        """Train one epoch, or only its first batches, ``passes`` for each; the numbers of its loss
        and accuracy."""
        options, batches = self.options, batches or self.steps
        self.network.train()
        losses = torch.zeros(batches, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        seen = torch.zeros_like(right)
        look = LOOK.get(self.device.type, 1)
        looked = 0
        parts = self.task.batches(epoch, (self.rank, self.world))
        for index, (x, y) in enumerate(islice(parts, batches)):
            of = options.epochs, self.steps
            rate = learning_rate(options.schedule, options.learning_rate, epoch, index, of)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            loss, good, count = passes(x, y)
            losses[index] = loss
            if (index + 1) % look == 0 or index + 1 == batches:
                finite = torch.isfinite(losses[looked : index + 1])
                if not finite.all():
                    at = looked + int((~finite).nonzero()[0])
                    step = epoch * self.steps + at
                    raise ValueError(
                        f"the loss is {losses[at].item()} at step {step} (epoch {epoch + 1}); "
                        f"{kept}"
                    )
                looked = index + 1
            self.optimizer.step()
            if self.average is not None:
                self.average.update()
            right += good
            seen += count
            advance()
        return {
            "epoch": epoch + 1,
            "loss": round(losses.mean().item(), 4),
            self.task.metric: round(right.item() / seen.item(), 4),
        }

    def used(self) -> nn.Module:
        """The network with the parameters to use: the averages, where there are any."""
        if self.average is None:
            return self.network
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average.values)
        return network
