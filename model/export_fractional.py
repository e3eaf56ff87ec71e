"""What the layers of :mod:`model.fractional` become in the integer network.

The residual is kept in per-channel units, so that a stage costs one multiplication an element:
RPReLU's, whose result comes in the units of the shortcut. The join is then a plain addition, and
batch-norm after it only changes what a unit means, which is taken account of in the next
thresholds, in the next RPReLU's multipliers and at last in the classifier's weights.

Every range follows from the parameters, as the worst that any image could do: nothing saturates,
and no images are needed to calibrate.
"""

import dataclasses
from functools import partial

import numpy as np
from torch import nn

from model import fractional, fuse, graph
from model.layers import RPReLU
from model.replay import Exporter, Value, array, integers

__all__ = ["LAYERS"]

#: A unit of the residual at its first join is at most this, 1/42 of a quantiser's step. Finer units
#: do not make the network better: a decision that falls the other way changes later ones whatever
#: the units are, for better as often as for worse.
_UNIT = 2.0**-6

#: Bits of RPReLU's multipliers: with the accumulator, one side each of a 27x18 multiplier.
_SCALE_BITS = 18

#: The most bits of a residual; beyond, it is rounded to coarser units.
_RESIDUAL_BITS = 24

_MEAN_BITS = 18
_CLASSIFIER_BITS = 16


def _thermometer(run: Exporter, name: str, module: fractional.Thermometer, x: Value) -> Value:
    if (x.scale != 1).any() or x.offset.any():
        raise run.fail("needs the image's pixels as they are")
    thresholds = np.array(module.thresholds, np.int64)
    return run.emit(graph.Thermometer(name=name, inputs=(x.name,), thresholds=thresholds), 1.0)


def _quantizer(run: Exporter, name: str, module: fractional.Quantizer2, x: Value) -> Value:
    thresholds, directions = fuse.level_thresholds(
        x.scale, x.offset, [-2 / 3, 0.0, 2 / 3], run.types[x.name].element
    )
    op = graph.Threshold(
        name=name,
        inputs=(x.name,),
        thresholds=thresholds,
        directions=directions,
        element=graph.ElementType("uint", 2),
    )
    return run.emit(op, 2.0, np.full(len(x.scale), -3.0))


def _binary_weights(run: Exporter, module: fractional.SignConv2d) -> np.ndarray:
    if not module.binary_weights:
        raise run.fail("its weights are not binary yet: export after the second step of training")
    return np.where(integers(module.weight >= 0), 1, -1).transpose(0, 2, 3, 1)


def _conv(run: Exporter, name: str, module: fractional.SignConv2d, x: Value) -> Value:
    weights = _binary_weights(run, module)
    if not run.types[x.name].element.is_binary:
        raise run.fail("needs a binary input")
    op = graph.Conv(
        name=name,
        inputs=(x.name,),
        weights=weights,
        weight_type=graph.BINARY,
        stride=module.stride,
        padding=module.padding,
    )
    n = weights[0].size
    run.bounds[name] = np.full(len(weights), -n), np.full(len(weights), n)
    return run.emit(op, run.uniform(x))


def _fractional_conv(
    run: Exporter, name: str, module: fractional.FractionalConv2d, x: Value
) -> Value:
    weights = _binary_weights(run, module)
    if (x.scale != 2).any() or (x.offset != -3).any():
        raise run.fail("needs a Quantizer2 before it")
    n = weights[0].size
    gate = fuse.gate_thresholds(array(module.threshold), n)
    op = graph.FractionalConv(
        name=name,
        inputs=(x.name,),
        weights=weights,
        gate=gate,
        stride=module.stride,
        padding=module.padding,
    )
    # 2*m from -2*n on, and 2*m + l where m is at least the gate, which is n + 1 where it is shut.
    low = np.where(gate > n, -2 * n, np.minimum(-2 * n, 2 * gate - n))
    run.bounds[name] = low, np.where(gate > n, 2 * n, 3 * n)
    return run.emit(op, 1 / 3)


def _affine(run: Exporter, name: str, module: fractional.ChannelAffine, x: Value) -> Value:
    scale, bias = array(module.scale), array(module.bias)
    return dataclasses.replace(x, scale=x.scale * scale, offset=x.offset * scale + bias)


def _bounds(run: Exporter, x: Value) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest integers of each channel."""
    element = run.types[x.name].element
    whole = np.full(len(x.scale), element.lo), np.full(len(x.scale), element.hi)
    return run.bounds.get(x.name, whole)


def _least_unit(run: Exporter, module: RPReLU, branch: Value, shortcut: Value) -> np.ndarray:
    """For each channel the finest unit in which neither sum nor multipliers are too wide."""
    slope, kink, lift = map(array, (module.effective_slope(), module.shift, module.lift))
    steepest = np.maximum(np.abs(slope), 1)
    ends = [np.abs(end * branch.scale + branch.offset - kink) for end in _bounds(run, branch)]
    reach = steepest * np.maximum(*ends) + np.abs(lift)
    reach += np.abs(shortcut.scale) * np.maximum(*(np.abs(end) for end in _bounds(run, shortcut)))
    return np.maximum(
        reach / (1 << _RESIDUAL_BITS - 2),
        steepest * np.abs(branch.scale) / ((1 << _SCALE_BITS - 1) - 1),
    )


def _regrid(run: Exporter, name: str, x: Value, step: np.ndarray) -> Value:
    """``x`` rounded to multiples of ``step``: a multiplication that residuals seldom need."""
    points = fuse.fixed_point(x.scale / step, np.zeros_like(step), _SCALE_BITS)
    ends = [
        (end * points.scale + (1 << points.shift >> 1)) >> points.shift for end in _bounds(run, x)
    ]
    low, high = np.minimum(*ends), np.maximum(*ends)
    op = graph.Affine(
        name=name,
        inputs=(x.name,),
        scale=points.scale,
        bias=points.bias,
        shift=points.shift,
        element=graph.int_for(int(low.min()), int(high.max())),
    )
    run.bounds[name] = low, high
    return run.emit(op, step, x.offset)


def _residual(
    run: Exporter, name: str, module: fractional.RPReLUResidual, branch: Value, shortcut: Value
) -> Value:
    if run.types[branch.name].shape != run.types[shortcut.name].shape:
        raise run.fail("branch and shortcut must have the same shape")
    # An accumulator counts coarse units; what was added to before is fine enough.
    shift = 0
    if isinstance(run.operations[shortcut.name], graph.Conv) and shortcut.scale.any():
        shift = max(0, int(np.ceil(np.log2(np.abs(shortcut.scale).max() / _UNIT))))
    unit = shortcut.scale / 2.0**shift
    least = _least_unit(run, module.rprelu, branch, shortcut)
    if (np.abs(unit) < least).any():
        step = np.where(unit == 0, _UNIT, np.abs(unit))
        unit, shift = np.copysign(np.maximum(step, least), unit), 0
        shortcut = _regrid(run, f"{name}_shortcut", shortcut, unit)

    rprelu = module.rprelu
    low, high = _bounds(run, branch)
    segments = fuse.rprelu_segments(
        branch.scale,
        branch.offset,
        kink=array(rprelu.shift),
        slope=array(rprelu.effective_slope()),
        lift=array(rprelu.lift),
        step=unit,
        element=run.types[branch.name].element,
        bits=_SCALE_BITS,
    )
    left_low, left_high = fuse.rprelu_range(segments, low, high)
    op = graph.RPReLU(
        name=f"{name}_rprelu",
        inputs=(branch.name,),
        element=graph.int_for(int(left_low.min()), int(left_high.max())),
        **vars(segments),
    )
    left = run.emit(op, unit)
    low, high = _bounds(run, shortcut)
    low, high = left_low + (low << shift), left_high + (high << shift)
    add = graph.Add(
        name=name,
        inputs=(left.name, shortcut.name),
        shifts=(0, shift),
        element=graph.int_for(int(low.min()), int(high.max())),
    )
    run.bounds[name] = low, high
    return run.emit(add, unit, shortcut.offset)


def _doubling(run: Exporter, name: str, module: fractional.DoublingShortcut, x: Value) -> Value:
    op = graph.AvgPool(name=f"{name}_mean", inputs=(x.name,), kernel=2, shift=2)
    mean = run.emit(op, x.scale, x.offset)
    # The mean of four integers, rounded, is nowhere beyond them.
    run.bounds[name] = tuple(np.tile(ends, 2) for ends in _bounds(run, x))
    twice = graph.Concat(name=name, inputs=(mean.name, mean.name))
    return run.emit(twice, np.tile(mean.scale, 2), np.tile(mean.offset, 2))


def _global_mean(run: Exporter, name: str, module: fractional.GlobalMean, x: Value) -> Value:
    kind = run.types[x.name]
    pixels = kind.height * kind.width
    pool = partial(graph.GlobalPool, name=name, inputs=(x.name,))
    shift = 0
    while pool(shift=shift).output(kind).element.bits > _MEAN_BITS:
        shift += 1
    op = pool(shift=shift)
    return run.emit(op, x.scale * 2.0**shift / pixels, x.offset)


def _linear(run: Exporter, name: str, module: nn.Linear, x: Value) -> Value:
    real = array(module.weight)
    bias = real @ x.offset + (0 if module.bias is None else array(module.bias))
    weights, bias, unit = fuse.classifier(real * x.scale, bias, _CLASSIFIER_BITS)
    op = graph.Dense(
        name=name,
        inputs=(x.name,),
        weights=weights,
        weight_type=graph.ElementType("int", _CLASSIFIER_BITS),
        bias=bias,
    )
    return run.emit(op, unit)


LAYERS = {
    fractional.Thermometer: _thermometer,
    fractional.Quantizer2: _quantizer,
    fractional.SignConv2d: _conv,
    fractional.FractionalConv2d: _fractional_conv,
    fractional.ChannelAffine: _affine,
    fractional.RPReLUResidual: _residual,
    fractional.DoublingShortcut: _doubling,
    fractional.GlobalMean: _global_mean,
    nn.Linear: _linear,
}
