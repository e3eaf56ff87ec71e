"""Export a trained torch network to the integer network.

The network's forward pass is replayed on "scale times integers plus offset" (:mod:`model.replay`);
here is what the layers of :mod:`model.layers` become, in :mod:`model.export_fractional` those of
:mod:`model.fractional`, in :mod:`model.export_fused` those of :mod:`model.fused`.

    python -m model.export hybnn-mini --checkpoint runs/hybnn-mini/checkpoint.pt --out exported
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from torch import nn

from model import export_fractional, export_fused, fuse, graph, layers
from model.checkpoint import load_parameters
from model.cli import run_command, write_report
from model.networks import NETWORKS, build
from model.networks.fusebnn import fuse_network
from model.networks.reactnet import BaseBNN
from model.replay import Exporter, Value, array, integers

__all__ = ["export", "main"]

#: Range of RPReLU and of shortcuts in multiples of the largest magnitude seen in training.
_MARGIN = 1.125


def _pixels(run: Exporter, name: str, module: layers.Pixels, x: Value) -> Value:
    return dataclasses.replace(x, scale=x.scale * module.scale)


def _square(run: Exporter, what: str, value: int | Sequence[int]) -> int:
    values = {value} if isinstance(value, int) else set(value)
    if len(values) != 1:
        raise run.fail(f"{what} must be the same in both directions, not {tuple(value)}")
    return values.pop()


def _conv(run: Exporter, name: str, module: nn.Module, x: Value) -> Value:
    if isinstance(module, layers.BinaryConv2d):
        if not module.binary_weights:
            raise run.fail(
                "its weights are not binary yet: export after the second step of training"
            )
        # In float64 the mean is the same on every machine, to more than it is rounded to later.
        weights, step = layers.binarize_weights(module.weight.double())
        weight_type = graph.BINARY
    else:
        weights, step = layers.quantize_weights(module.weight, module.weight_bits)
        weight_type = graph.ElementType("int", module.weight_bits)
    if x.offset.any():
        raise run.fail("needs a sign or quantiser before it: its input has an offset")
    scale = x.scale if module.depthwise else run.uniform(x)
    op = graph.Conv(
        name=name,
        inputs=(x.name,),
        weights=integers(weights).transpose(0, 2, 3, 1),
        weight_type=weight_type,
        stride=module.stride,
        padding=module.padding,
        depthwise=module.depthwise,
    )
    return run.emit(op, scale * array(step).reshape(-1))


def _batch_norm(run: Exporter, name: str, module: nn.BatchNorm2d, x: Value) -> Value:
    a, b = fuse.batch_norm(
        array(module.weight),
        array(module.bias),
        array(module.running_mean),
        array(module.running_var),
        module.eps,
    )
    private = x.private and len(run.node.users) == 1
    return Value(x.name, x.scale * a, x.offset * a + b, private)


def _threshold(
    run: Exporter, name: str, x: Value, shift: np.ndarray, levels: list[float], step: float,
    element: graph.ElementType,
) -> Value:  # fmt: skip
    thresholds, directions = fuse.level_thresholds(
        x.scale, x.offset - shift, levels, run.types[x.name].element
    )
    op = graph.Threshold(
        name=name,
        inputs=(x.name,),
        thresholds=thresholds,
        directions=directions,
        element=element,
    )
    return run.emit(op, step)


def _sign(run: Exporter, name: str, module: layers.Sign | layers.RSign, x: Value) -> Value:
    shift = array(module.shift) if isinstance(module, layers.RSign) else np.zeros(1)
    return _threshold(run, name, x, shift, [0.0], 1.0, graph.BINARY)


def _quantizer(run: Exporter, name: str, module: layers.QuantReLU, x: Value) -> Value:
    step = float(array(module.positive_step()))
    levels = [step * (t - 0.5) for t in range(1, module.levels + 1)]
    element = graph.ElementType("uint", module.bits)
    return _threshold(run, name, x, np.zeros(1), levels, step, element)


def _affine(
    run: Exporter, name: str, x: Value, step: np.ndarray, element: graph.ElementType,
    bits: int, extra: np.ndarray | float = 0.0,
) -> str:  # fmt: skip
    """Round ``x + extra`` to multiples of ``step``; the new operation's name.

    ``bits`` are those of the multipliers.
    """
    shift = run.kept(name, "shift")
    element_of_x = run.types[x.name].element
    reach = max(-element_of_x.lo, element_of_x.hi)
    points = fuse.fixed_point(x.scale / step, (x.offset + extra) / step, bits, shift, reach)
    op = graph.Affine(
        name=name,
        inputs=(x.name,),
        scale=points.scale,
        bias=points.bias,
        shift=points.shift,
        element=element,
    )
    return run.emit(op, step).name


def _residual(
    run: Exporter, name: str, module: layers.Residual, branch: Value, shortcut: Value
) -> Value:
    """Add the shortcut in the units of the branch's accumulator where they suit (see fuse)."""
    limit = array(module.limit) * _MARGIN
    if run.types[branch.name].shape != run.types[shortcut.name].shape:
        raise run.fail("branch and shortcut must have the same shape")
    source = run.operations[branch.name]
    grid = None
    if isinstance(source, graph.Conv) and branch.private and source.bias is None:
        # The offset of the branch joins the shortcut's.
        grid = fuse.shortcut_grid(
            np.abs(branch.scale), limit + np.abs(branch.offset), bits=module.bits
        )
    if name in run.like:
        grid = _kept_grid(run, name, branch, limit + np.abs(branch.offset), grid is not None)
    if grid is not None:
        shift, element = grid
        signs = np.where(branch.scale < 0, -1, 1)
        flipped = dataclasses.replace(source, weights=source.weights * signs[:, None, None, None])
        run.types[branch.name] = flipped.output(*(run.types[i] for i in source.inputs))
        run.operations[branch.name] = flipped
        step = np.abs(branch.scale) / 2.0**shift
        right = _affine(
            run, f"{name}_shortcut", shortcut, step, element, module.scale_bits, branch.offset
        )
        inputs, shifts = (branch.name, right), (shift, 0)
    else:
        accumulator = run.types[branch.name].element
        reach = limit + np.abs(branch.offset)
        # The shortcut alone may be a bit narrower than the sum of both.
        step, element = fuse.common_grid(branch.scale, accumulator, reach, bits=module.bits - 1)
        left = _affine(run, f"{name}_branch", branch, step, element, module.scale_bits)
        right = _affine(run, f"{name}_shortcut", shortcut, step, element, module.scale_bits)
        inputs, shifts = (left, right), (0, 0)
    a, b = (run.types[source].element for source in inputs)
    element = graph.int_for((a.lo << shifts[0]) + b.lo, (a.hi << shifts[0]) + b.hi)
    op = graph.Add(name=name, inputs=inputs, shifts=shifts, element=element)
    return run.emit(op, step)


def _kept_grid(
    run: Exporter, name: str, branch: Value, limit: np.ndarray, possible: bool
) -> tuple[int, graph.ElementType] | None:
    """The grid of the shortcut in the network to be like, None where it has none."""
    if f"{name}_branch" in run.like:
        return None
    shift, element = run.kept(name, "shifts")[0], run.kept(f"{name}_shortcut", "element")
    if not possible or not fuse.suits_grid(np.abs(branch.scale), limit, shift, element):
        raise run.fail(
            f"its shortcut does not suit shift {shift} and {element} of the network to be like"
        )
    return shift, element


def _rprelu(run: Exporter, name: str, module: layers.RPReLU, x: Value) -> Value:
    element = graph.ElementType("int", module.bits)
    limit = float(module.limit)
    step = (limit if limit > 0 else 1.0) * _MARGIN / element.hi
    segments = fuse.rprelu_segments(
        x.scale,
        x.offset,
        kink=array(module.shift),
        slope=array(module.effective_slope()),
        lift=array(module.lift),
        step=step,
        element=run.types[x.name].element,
        bits=module.scale_bits,
        shift=run.kept(name, "shift"),
    )
    op = graph.RPReLU(
        name=name,
        inputs=(x.name,),
        element=element,
        **vars(segments),
    )
    return run.emit(op, step)


def _fixed_point(run: Exporter, name: str, module: layers.FixedPoint, x: Value) -> Value:
    step = np.full(len(x.scale), 2.0**-module.fraction)
    element = graph.ElementType("int", module.bits)
    _affine(run, name, x, step, element, module.scale_bits)
    return Value(name, step, np.zeros(len(step)))


def _squares(run: Exporter, module: nn.MaxPool2d | nn.AvgPool2d) -> int:
    kernel = _square(run, "kernel", module.kernel_size)
    if _square(run, "stride", module.stride) != kernel or module.padding or module.ceil_mode:
        raise run.fail("squares that overlap, or padding, are not supported")
    return kernel


def _max_pool(run: Exporter, name: str, module: nn.MaxPool2d, x: Value) -> Value:
    if (x.scale <= 0).any():
        raise run.fail("needs an input with positive scales: put an activation before it")
    op = graph.MaxPool(name=name, inputs=(x.name,), kernel=_squares(run, module))
    return run.emit(op, x.scale, x.offset)


def _mean(
    run: Exporter, x: Value, pixels: int, operation: Callable[[int], graph.Operation]
) -> Value:
    """Mean of ``pixels``: as much of the division as is a shift is done, the rest is scale."""
    shift = pixels.bit_length() - 1
    return run.emit(operation(shift), x.scale * 2**shift / pixels, x.offset)


def _avg_pool(run: Exporter, name: str, module: nn.AvgPool2d, x: Value) -> Value:
    kernel = _squares(run, module)
    pool = partial(graph.AvgPool, name=name, inputs=(x.name,), kernel=kernel)
    return _mean(run, x, kernel**2, lambda shift: pool(shift=shift))


def _global_pool(run: Exporter, name: str, module: nn.AdaptiveAvgPool2d, x: Value) -> Value:
    if _square(run, "output size", module.output_size) != 1:
        raise run.fail(f"output size must be 1, not {module.output_size}")
    kind = run.types[x.name]
    pool = partial(graph.GlobalPool, name=name, inputs=(x.name,))
    return _mean(run, x, kind.height * kind.width, lambda shift: pool(shift=shift))


def _concat(run: Exporter, name: str, module: layers.Concat, *values: Value) -> Value:
    op = graph.Concat(name=name, inputs=tuple(x.name for x in values))
    return run.emit(
        op,
        np.concatenate([x.scale for x in values]),
        np.concatenate([x.offset for x in values]),
    )


def _linear(run: Exporter, name: str, module: layers.QuantLinear, x: Value) -> Value:
    scale = run.uniform(x)
    weights, step = layers.quantize_weights(module.weight, module.weight_bits, per_channel=False)
    weights = integers(weights)
    unit = float(step) * scale
    bias = array(module.bias) / unit + weights @ (x.offset / scale)
    op = graph.Dense(
        name=name,
        inputs=(x.name,),
        weights=weights,
        weight_type=graph.ElementType("int", module.weight_bits),
        bias=np.floor(bias + 0.5).astype(np.int64),
    )
    return run.emit(op, unit)


_LAYERS = {
    **export_fractional.LAYERS,
    **export_fused.LAYERS,
    layers.Concat: _concat,
    layers.FixedPoint: _fixed_point,
    layers.Pixels: _pixels,
    layers.QuantConv2d: _conv,
    layers.BinaryConv2d: _conv,
    layers.QuantLinear: _linear,
    layers.Sign: _sign,
    layers.RSign: _sign,
    layers.QuantReLU: _quantizer,
    layers.Residual: _residual,
    layers.RPReLU: _rprelu,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _global_pool,
}


def export(network: nn.Module, name: str, like: graph.Network | None = None) -> graph.Network:
    """The integer network of a trained torch network, with the label of class scores.

    Parameters
    ----------
    network : Module
        With an ``image`` attribute, (height, width, channels), made of the layers of
        :mod:`model.layers`, BatchNorm2d and non-overlapping pools.
    name : str
    like : Network or None
        Has the shifts and elements that the new one is to have, at the cost of some rounding, so
        that an accelerator for the one can take the parameters of the other.

    Raises
    ------
    NetworkError
        A layer has no integer meaning, or not where it stands; or it cannot be as in ``like``. The
        sentence names it.
    """
    if isinstance(network, BaseBNN):
        # So that its integers are FuseBNN's.
        network = fuse_network(network, apart=True)
    network.eval()
    run = Exporter(network, _LAYERS, like)
    height, width, channels = network.image
    image = graph.Input(name="image", height=height, width=width, channels=channels)
    run.operations["image"], run.types["image"] = image, image.output()
    scores = run.run(Value("image", np.ones(channels), np.zeros(channels)))
    if run.types[scores.name].shape[:2] != (1, 1):
        return graph.Network(name, tuple(run.operations.values()), outputs=(scores.name,))
    label = graph.LabelSelect(name="label", inputs=(scores.name,))
    return graph.Network(name, (*run.operations.values(), label), outputs=(scores.name, "label"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.export", description=__doc__)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--checkpoint", required=True, help=".pt of training, or .npz")
    parser.add_argument("--out", required=True, help="folder for network.json, params.npz")
    parser.add_argument(
        "--like",
        metavar="NETWORK",
        help="network whose shifts and elements to keep, so that its accelerator can be this one's",
    )
    options = parser.parse_args(argv)
    trained = build(options.network)
    load_parameters(trained, options.checkpoint)
    like = None if options.like is None else graph.load(options.like)
    network = export(trained, options.network, like)
    graph.save(network, options.out)
    report = {
        "network": network.name,
        "digest": network.digest(),
        "checkpoint": options.checkpoint,
        "tensors": {op.name: str(network.types[op.name]) for op in network.order},
    }
    write_report(f"{options.out}/export.json", report)
    for op in network.order:
        print(f"{op.name:16} {type(op).__name__:12} {network.types[op.name]}")
    return 0


if __name__ == "__main__":
    run_command(main)
