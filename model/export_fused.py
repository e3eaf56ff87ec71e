"""What the layers of :mod:`model.fused` become in the integer network.

A residual counts steps of ``2**-k`` of the next convolution's sums, in every channel alike: the
join is a shift and an addition, and the multiplication of :class:`model.fused.Segments` the only
one of a block.
"""

from math import ceil, floor, log2

import numpy as np

from model import fuse, fused, graph
from model.replay import Exporter, Value, array

__all__ = ["LAYERS"]

#: Bits of the multipliers: a side of a DSP's.
_SCALE_BITS = 18

#: Range in multiples of the largest magnitude seen in training.
_MARGIN = 1.125


def _fraction(limit: float, bits: int) -> tuple[int, graph.ElementType]:
    """k for steps of 2**-k that count up to ``limit`` within so many bits, and their type."""
    limit = max(limit, 1.0) * _MARGIN
    k = max(0, floor(log2(((1 << bits - 1) - 1) / limit)))
    reach = ceil(limit * 2.0**k)
    return k, graph.int_for(-reach, reach)


def _join(run: Exporter, name: str, module: fused.CountJoin, sums: Value, x: Value) -> Value:
    if run.types[sums.name].shape != run.types[x.name].shape:
        raise run.fail("sums and shortcut must have the same shape")
    if (sums.scale != 1).any() or sums.offset.any():
        raise run.fail("needs sums of a binary convolution without scale")
    step = float(x.scale[0])
    k = -round(log2(step)) if step > 0 else -1
    if k < 0 or (x.scale != 2.0**-k).any() or x.offset.any():
        # From the stem, or where channels doubled: brought to the units first.
        k, element = _fraction(float(module.limit.max()), module.bits)
        points = fuse.fixed_point(x.scale * 2.0**k, x.offset * 2.0**k, _SCALE_BITS)
        op = graph.Affine(
            name=f"{name}_shortcut", inputs=(x.name,), element=element, **vars(points)
        )
        x = run.emit(op, 2.0**-k)
    a, b = (run.types[value.name].element for value in (sums, x))
    element = graph.int_for((a.lo << k) + b.lo, (a.hi << k) + b.hi)
    op = graph.Add(name=name, inputs=(sums.name, x.name), shifts=(k, 0), element=element)
    return run.emit(op, 2.0**-k)


def _segments(run: Exporter, name: str, module: fused.Segments, x: Value) -> Value:
    k, element = _fraction(float(module.limit), module.bits)
    step = 2.0**-k
    threshold, _ = fuse.level_thresholds(
        x.scale, x.offset - array(module.threshold), [0.0], run.types[x.name].element
    )
    scale, bias = array(module.scale), array(module.bias)
    points = fuse.fixed_point(
        (scale * x.scale / step).reshape(-1),
        ((scale * x.offset + bias) / step).reshape(-1),
        _SCALE_BITS,
    )
    op = graph.RPReLU(
        name=name,
        inputs=(x.name,),
        threshold=threshold[:, 0],
        scale=points.scale.reshape(2, -1),
        bias=points.bias.reshape(2, -1),
        shift=points.shift,
        element=element,
    )
    return run.emit(op, np.full(len(x.scale), step))


LAYERS = {fused.CountJoin: _join, fused.Segments: _segments}
