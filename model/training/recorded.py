"""The passes of a batch recorded on a GPU once, and replayed.

A network of the family is hundreds of short kernels, which a CPU takes several times longer to
launch than the GPU to run; replayed from a CUDA graph they are launched at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Recorded"]

#: Batches that are passed as usual, before the recording: what is compiled or tried out at first
#: is so by then.
_BEFORE = 3

#: Images and what is to be learned of them: a tensor, or several.
Target = Tensor | tuple[Tensor, ...]


def _parts(y: Target) -> tuple[Tensor, ...]:
    return y if isinstance(y, tuple) else (y,)


class Recorded:
    """``passes(x, y)``, recorded with the first batch; every batch must have its shape.

    Gradients are in the parameters after a call, as without a recording, but must stay where they
    are: they are not to be set to None.

    Parameters
    ----------
    passes : callable
        From images and target to tensors, gradients left in the parameters of ``network``. It must
        not wait for the device.
    """

    def __init__(self, passes: Callable[[Tensor, Target], tuple[Tensor, ...]], network: nn.Module):
        self._passes, self._network = passes, network
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x: Tensor, y: Target) -> tuple[Tensor, ...]:
        if self._graph is None:
            self._record(x, y)
        for ours, new in zip(self._inputs, (x, *_parts(y)), strict=True):
            ours.copy_(new)
        self._graph.replay()
        return self._results

    def _record(self, x: Tensor, y: Target) -> None:
        images, *targets = (part.clone() for part in (x, *_parts(y)))
        target = tuple(targets) if isinstance(y, tuple) else targets[0]
        # Statistics that the first passes leave are not those of training.
        before = {name: value.clone() for name, value in self._network.named_buffers()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_BEFORE):
                self._passes(images, target)
        torch.cuda.current_stream().wait_stream(stream)
        self._network.zero_grad()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._results = self._passes(images, target)
        for name, value in self._network.named_buffers():
            value.copy_(before[name])
        self._inputs, self._graph = (images, *targets), graph
