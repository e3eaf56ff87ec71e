"""How many epochs fit into a time, by training for a moment."""

import time
from collections.abc import Callable

from torch import nn

__all__ = ["fitting_epochs"]

#: Batches of the trial that are timed, after as many as compile, or try kernels out.
_TIMED = 20
_BEFORE = 3

#: Share of the time that is left to plan with: checkpoints, and other programs, take some, too.
_SHARE = 0.92


def fitting_epochs(
    network: nn.Module, train: Callable[[int], object], steps: int, until: float
) -> int:
    """Epochs that can be trained until ``time.perf_counter()`` is ``until``.

    A few batches are trained and timed. Then the network is what it was before; what else has a
    state, the caller makes anew.

    Parameters
    ----------
    train : callable
        Trains so many batches, and does what is done at the end of an epoch.
    steps : int
        Batches of an epoch.

    Raises
    ------
    ValueError
        Not even one fits.
    """
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train(min(_BEFORE, steps))
    took = []
    # The time of an epoch's end and that of a batch, from two numbers of batches.
    for batches in (1, min(_TIMED, steps)):
        started = time.perf_counter()
        train(batches)
        took.append(time.perf_counter() - started)
    network.load_state_dict(before)
    batch = (took[1] - took[0]) / max(1, min(_TIMED, steps) - 1)
    epoch = max(took[1], took[0] + batch * (steps - 1))
    epochs = int(_SHARE * (until - time.perf_counter()) / epoch)
    if epochs < 1:
        raise ValueError(f"an epoch takes {epoch:.1f} s: --minutes leave no time for one")
    return epochs
