"""What the layers of :mod:`model.fused` become in the integer network.

A residual counts steps of ``2**-k`` of the next convolution's sums, in every channel alike: the
join is a shift and an addition, and the multiplication of :class:`model.fused.Segments` the only
one of a unit. Its factors are the products of two integers, a slope and the ratio of one block's
units to the next one's: multiplied by one after the other, nothing being rounded in between, they
give the same integers. That is how BaseBNN has it, so that both networks are one function.
"""

from math import ceil, floor, log2

import numpy as np

from model import fuse, fused, graph
from model.replay import Exporter, Value, array

__all__ = ["LAYERS"]

#: Range in multiples of the largest magnitude seen in training.
_MARGIN = 1.125


def _fraction(limit: float, bits: int) -> tuple[int, graph.ElementType]:
    """k for steps of 2**-k that count up to ``limit`` within so many bits, and their type."""
    limit = max(limit, 1.0) * _MARGIN
    k = max(0, floor(log2(((1 << bits - 1) - 1) / limit)))
    reach = ceil(limit * 2.0**k)
    return k, graph.int_for(-reach, reach)


def _grid(
    run: Exporter, name: str, join: graph.Add | None, limit: float, bits: int
) -> tuple[int, graph.ElementType]:
    """The same, but for the operation ``name`` those of the network to be like, where there is one.

    ``join`` is what it is added in there, if it is: that has k.
    """
    element = run.kept(name, "element")
    if element is None:
        return _fraction(limit, bits)
    k = _fraction(limit, element.bits)[0] if join is None else join.shifts[0]
    if limit * 2.0**k > element.hi:
        raise run.fail(f"its numbers do not suit shift {k} and {element} of the network to be like")
    return k, element


def _next_join(run: Exporter, name: str) -> graph.Add | None:
    """Of the network to be like: what that operation is added in, as it is or as means."""
    for op in run.like.values():
        if name in op.inputs and isinstance(op, graph.Add | graph.AvgPool):
            return op if isinstance(op, graph.Add) else _next_join(run, op.name)
    return None


def _join(run: Exporter, name: str, module: fused.CountJoin, sums: Value, x: Value) -> Value:
    if run.types[sums.name].shape != run.types[x.name].shape:
        raise run.fail("sums and shortcut must have the same shape")
    if (sums.scale != 1).any() or sums.offset.any():
        raise run.fail("needs sums of a binary convolution without scale")
    step = float(x.scale[0])
    k = -round(log2(step)) if step > 0 else -1
    if k < 0 or (x.scale != 2.0**-k).any() or x.offset.any():
        # From the stem, or where channels doubled: brought to the units first.
        affine, join = f"{name}_shortcut", run.like.get(name)
        k, element = _grid(run, affine, join, float(module.limit.max()), module.bits)
        shift = run.kept(affine, "shift")
        points = fuse.fixed_point(x.scale * 2.0**k, x.offset * 2.0**k, fused.SCALE_BITS, shift)
        op = graph.Affine(name=affine, inputs=(x.name,), element=element, **vars(points))
        x = run.emit(op, 2.0**-k)
    a, b = (run.types[value.name].element for value in (sums, x))
    element = graph.int_for((a.lo << k) + b.lo, (a.hi << k) + b.hi)
    op = graph.Add(name=name, inputs=(sums.name, x.name), shifts=(k, 0), element=element)
    return run.emit(op, 2.0**-k)


def _segments(run: Exporter, name: str, module: fused.Segments, x: Value) -> Value:
    last = f"{name}_units" if module.apart else name
    k, element = _grid(run, last, _next_join(run, last), float(module.limit), module.bits)
    step = 2.0**-k
    threshold, _ = fuse.level_thresholds(
        x.scale, x.offset - array(module.threshold), [0.0], run.types[x.name].element
    )
    # x*slopes + lifts, of which nothing is lost, counts steps of 2**-SLOPE_FRACTION of x's own.
    scale, one = array(module.scale), 1 << fused.SLOPE_FRACTION
    slopes = np.stack([fuse.round_half_up(one * scale[0] / scale[1]), np.full(len(scale[1]), one)])
    unit = scale[1] * x.scale / one
    lifts = fuse.round_half_up((scale * x.offset + array(module.bias)) / unit)
    kind = run.types[x.name].element
    reach = int((np.abs(slopes) * max(-kind.lo, kind.hi) + np.abs(lifts)).max())
    bits, shift = fused.unit_bits(np.abs(slopes).max() / one), run.kept(last, "shift")
    units = fuse.fixed_point(unit / step, np.zeros_like(unit), bits, shift, reach)
    kept = run.kept(name, "element") if module.apart else None
    whole = kept or graph.int_for(-reach, reach)
    if reach > whole.hi:
        raise run.fail(f"its numbers do not suit {whole} of the network to be like")
    first = graph.RPReLU(
        name=name,
        inputs=(x.name,),
        threshold=threshold[:, 0],
        scale=slopes,
        bias=lifts,
        shift=0,
        element=whole,
    )
    second = graph.Affine(name=last, inputs=(name,), element=element, **vars(units))
    if not module.apart:
        return run.emit(fuse.put_together(first, second), step)
    run.emit(first, unit)
    return run.emit(second, step)


LAYERS = {fused.CountJoin: _join, fused.Segments: _segments}
