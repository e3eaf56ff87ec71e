"""Replay a traced torch network on :class:`Value`, "scale times integers plus offset".

The forward pass is traced (``torch.fx``), and each layer replayed by the function stated for its
type: batch-norm only changes scale and offset, and an operation comes into being where a layer
convolves, decides or rounds. An operation takes the name of its layer.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import fx, nn

from model import graph

__all__ = ["Exporter", "Handlers", "Value", "array", "integers"]

Handlers = Mapping[type, Callable[..., "Value"]]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the torch network: ``scale[c]*x + offset[c]`` of the integer tensor ``name``.

    ``private`` holds while nothing else can read ``name``, so that its operation may still change.
    """

    name: str
    scale: np.ndarray
    offset: np.ndarray
    private: bool = False


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def integers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.int64)


class _Tracer(fx.Tracer):
    def __init__(self, handlers: Handlers):
        super().__init__()
        self.handlers = handlers

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return type(module) in self.handlers or super().is_leaf_module(module, name)


class Exporter(fx.Interpreter):
    """Replays the traced network on Values and collects the operations.

    Parameters
    ----------
    handlers : dict
        Type of a layer -> function ``(run, name, module, *values) -> Value`` that replays it.
    like : graph.Network or None
        A network whose operations the new ones must equal but for their parameters, so that both
        can share an accelerator.

    Raises
    ------
    ValueError
        The network cannot be traced.
    """

    def __init__(self, network: nn.Module, handlers: Handlers, like: graph.Network | None = None):
        try:
            traced = _Tracer(handlers).trace(network)
        except fx.proxy.TraceError:
            raise ValueError(
                f"{type(network).__name__} has no integer network: which operations it has depends "
                "on its inputs"
            ) from None
        super().__init__(fx.GraphModule(network, traced), garbage_collect_values=False)
        self.handlers = handlers
        self.extra_traceback = False  # errors stay one sentence
        self.operations: dict[str, graph.Operation] = {}
        self.types: dict[str, graph.TensorType] = {}
        #: Lowest and highest integers of each channel, where they are narrower than the type.
        self.bounds: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.node: fx.Node | None = None
        self.like = {} if like is None else {op.name: op for op in like.operations}
        self.like_types = {} if like is None else like.types

    def run_node(self, node: fx.Node):
        self.node = node
        return super().run_node(node)

    def fail(self, what: str) -> graph.NetworkError:
        return graph.NetworkError(f"layer {self.node.target!s}: {what}")

    def emit(
        self, op: graph.Operation, scale: np.ndarray, offset: np.ndarray | None = None
    ) -> Value:
        if op.name in self.operations:
            raise self.fail(f"is used twice: the operation name {op.name!r} is taken")
        kind = op.output(*(self.types[source] for source in op.inputs))
        if self.like:
            self._check_like(op, kind)
        self.operations[op.name], self.types[op.name] = op, kind
        scale = np.broadcast_to(np.asarray(scale, np.float64), (kind.channels,))
        offset = np.zeros(kind.channels) if offset is None else offset
        return Value(op.name, scale, offset, len(self.node.users) == 1)

    def kept(self, name: str, attribute: str) -> object:
        """An attribute of that operation in the network to be like; None where there is none."""
        return getattr(self.like.get(name), attribute, None)

    def _check_like(self, op: graph.Operation, kind: graph.TensorType) -> None:
        other = self.like.get(op.name)
        if type(other) is not type(op):
            raise self.fail(f"the network to be like has no {type(op).__name__} {op.name!r}")
        for field in fields(op):
            here, there = (
                getattr(value, "shape", value)
                for value in (getattr(op, field.name), getattr(other, field.name))
            )
            if here != there:
                raise self.fail(
                    f"{field.name} of {op.name!r} must be {there} as in the network to be like, "
                    f"not {here}"
                )
        if kind != self.like_types[op.name]:
            raise self.fail(
                f"{op.name!r} must make {self.like_types[op.name]} as in the network to be like, "
                f"not {kind}"
            )

    def call_module(self, target: str, args: tuple, kwargs: dict) -> Value:
        module = self.fetch_attr(target)
        handler = self.handlers.get(type(module))
        if handler is None:
            raise self.fail(f"{type(module).__name__} has no integer meaning here")
        try:
            return handler(self, target.replace(".", "_"), module, *args)
        except graph.NetworkError:
            raise
        except ValueError as error:
            raise self.fail(str(error)) from None

    def call_function(self, target: Callable, args: tuple, kwargs: dict) -> Value:
        if target is torch.flatten:
            return self._flatten(args[0], *args[1:], **kwargs)
        if target in (operator.add, torch.add):
            raise self.fail("add a shortcut with the Residual layer: it follows the range")
        raise self.fail("this function has no integer meaning here")

    def call_method(self, target: str, args: tuple, kwargs: dict) -> Value:
        if target == "flatten":
            return self._flatten(args[0], *args[1:], **kwargs)
        raise self.fail("this method has no integer meaning here")

    def _flatten(self, x: Value, start_dim: int = 0) -> Value:
        kind = self.types[x.name]
        if start_dim != 1 or (kind.height, kind.width) != (1, 1):
            raise self.fail(f"flatten(1) of a 1x1 map is supported, not of {kind}")
        return x

    def uniform(self, x: Value) -> float:
        """The one scale of all channels."""
        if (x.scale != x.scale[0]).any():
            raise self.fail("needs an input with one scale for all channels")
        return float(x.scale[0])
