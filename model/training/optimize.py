"""Learning rates, losses and averages of a training."""

import argparse
import copy
import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers import START_STEP, QuantReLU

__all__ = [
    "Average", "fit_steps", "gate_loss", "learning_rate", "loss_of", "make_optimizer",
]  # fmt: skip

#: Quantiser steps are about so large, and want a rate as much smaller than that of norms.
_STEP = 0.2


def learning_rate(schedule: str, peak: float, epoch: int, index: int, of: tuple[int, int]) -> float:
    """Learning rate at batch ``index`` of ``epoch``, ``of`` so many epochs and batches in each.

    ``cosine``: one epoch of linear warm-up, then half a cosine down to 0. ``linear``: down to 0,
    epoch by epoch. ``steps``: a tenth at 40 %, 60 % and 80 % of the epochs.
    """
    epochs, batches = of
    if schedule == "linear":
        return peak * (1 - epoch / epochs)
    if schedule == "steps":
        return peak * 0.1 ** sum(10 * epoch >= tenths * epochs for tenths in (4, 6, 8))
    step, steps = epoch * batches + index, epochs * batches
    if step < batches:
        return peak * (step + 1) / batches
    return peak / 2 * (1 + math.cos(math.pi * (step - batches) / max(1, steps - batches)))


def make_optimizer(network: nn.Module, options: argparse.Namespace) -> torch.optim.Optimizer:
    """Adam over all parameters, or AdamW (Loshchilov and Hutter, 2019) or SGD with Nesterov's
    momentum, whose weight decay spares norms, biases and quantiser steps.

    ``share`` of a group is what it takes of the learning rate.
    """
    rate, decay = options.learning_rate, options.weight_decay
    everywhere = options.optimizer == "adam"
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        array = parameter.dim() > 1
        share = 1.0 if array else options.small_rate
        if options.small_rate != 1 and name.endswith(".step"):
            share *= _STEP
        groups.setdefault((decay if array or everywhere else 0.0, share), []).append(parameter)
    listed = [
        {"params": parameters, "weight_decay": each, "share": share}
        for (each, share), parameters in groups.items()
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(listed, rate, momentum=0.9, nesterov=True)
    # One kernel for all parameters where there is such a one, on a CPU where speed is asked for.
    fused = next(network.parameters()).is_cuda or options.fast
    kind = torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW
    return kind(listed, rate, fused=fused)


@torch.no_grad()
def fit_steps(network: nn.Module, images: Tensor, known: Collection[str] = ()) -> None:
    """Set the step of every quantiser to what these images bring it, one after the other, so that
    none starts with all of its inputs at one level. Statistics stay as they were.

    Parameters
    ----------
    known : collection of str
        Names of parameters that are trained already: such steps stay, too.
    """
    quantizers = [
        module
        for name, module in network.named_modules()
        if isinstance(module, QuantReLU) and f"{name}.step" not in known
    ]
    if not quantizers:
        return
    before = copy.deepcopy(network.state_dict())

    def fit(quantizer: QuantReLU, inputs: tuple[Tensor]) -> None:
        size = inputs[0].float().square().mean().sqrt()
        quantizer.step.copy_(START_STEP * size.clamp_min(1e-3))

    hooks = [quantizer.register_forward_pre_hook(fit) for quantizer in quantizers]
    network.train()
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    steps = [quantizer.step.clone() for quantizer in quantizers]
    network.load_state_dict(before)
    for quantizer, step in zip(quantizers, steps, strict=True):
        quantizer.step.copy_(step)


def gate_loss(network: nn.Module, weight: float, target: float) -> Tensor | float:
    """``weight/2 * |thresholds - target|**2``: pulls the gates of a fractional network closed."""
    if not weight or not hasattr(network, "thresholds"):
        return 0.0
    return weight / 2 * sum(((t - target) ** 2).sum() for t in network.thresholds())


def loss_of(
    scores: Tensor, labels: Tensor, taught: Tensor | None, options: argparse.Namespace
) -> Tensor:
    """Cross entropy; with a teacher's scores, in the share that ``--distill`` says, the divergence
    from what it says at ``--temperature`` (Hinton et al., 2015)."""
    scores = scores.float()
    more = {"label_smoothing": options.smoothing} if options.smoothing else {}
    loss = functional.cross_entropy(scores, labels, **more)
    if taught is None:
        return loss
    t = options.temperature
    divergence = functional.kl_div(
        functional.log_softmax(scores / t, 1),
        functional.log_softmax(taught.float() / t, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - options.distill) * loss + options.distill * t * t * divergence


class Average:
    """Exponential moving average of all parameters and statistics of a network.

    It forgets more quickly at first, so that the random beginning does not stay in it.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        # All of them change in place, so that looking them up once does.
        live = network.state_dict()
        self.values = {key: value.detach().clone() for key, value in live.items()}
        pairs = [(self.values[key], value) for key, value in live.items()]
        self._real = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards what the network has become."""
        self.updates += 1
        share = 1 - min(self.decay, self.updates / (self.updates + 10))
        for ours, theirs in self._counts:
            ours.copy_(theirs)
        ours, theirs = zip(*self._real, strict=True)
        torch._foreach_lerp_(ours, theirs, share)
