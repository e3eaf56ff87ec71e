"""How many epochs fit into a time, by training for a moment."""

import time
from collections.abc import Callable

from torch import nn

__all__ = ["fitting_epochs"]

#: Share of the time that is left to plan with: checkpoints, and other programs, take some, too.
_SHARE = 0.92


def fitting_epochs(network: nn.Module, epoch: Callable[[int], object], until: float) -> int:
    """Epochs that can be trained until ``time.perf_counter()`` is ``until``.

    Two are trained, of which the first may compile and the second is timed. Then the network is
    what it was before; what else has a state, the caller makes anew.

    Parameters
    ----------
    epoch : callable
        Trains one, by its number.

    Raises
    ------
    ValueError
        Not even one fits.
    """
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for number in range(2):
        started = time.perf_counter()
        epoch(number)
        took = time.perf_counter() - started
    network.load_state_dict(before)
    epochs = int(_SHARE * (until - time.perf_counter()) / took)
    if epochs < 1:
        raise ValueError(f"an epoch takes {took:.1f} s: --minutes leave no time for one")
    return epochs
