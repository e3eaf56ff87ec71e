"""Depthwise-separable convolution in one engine: depthwise, threshold, pointwise.

The block of MobileNet (Howard et al., 2017) as a pipeline without a map stored in between: what the
depthwise engine gives goes through its thresholds straight to the matrix of the 1x1 convolution.
"""

from math import lcm

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.depthwise import DepthwiseEngine
from hw.mvau import MVAU
from hw.parameters import ParameterUnit
from hw.stream import SkidBuffer, WidthConverter
from hw.threshold import ThresholdUnit

__all__ = ["DSCEngine"]


class DSCEngine(ParameterUnit):
    """Depthwise convolution, threshold and pointwise convolution, 4-bit, 1-bit or mixed.

    The elements of the three parts make it a 4-bit or a 1-bit engine: for instance uint4
    activations with int4 weights, or binary ones throughout. Lanes are converted where the
    pointwise convolution takes other lanes than the threshold gives.

    Parameters
    ----------
    depthwise : DepthwiseEngine
    threshold : ThresholdUnit
        Channels, lanes and input of what `depthwise` gives.
    pointwise : MVAU
        One column for each channel, activations as `threshold` gives them, the same map.

    Members
    -------
    i : stream of windows, as of `depthwise`
    o : stream of sums, as of `pointwise`
    parameters : In(ParameterPort)
        Where a part is writable.

    Timing
    ------
    `units`, a dict of the parts by name in the order of the stream, each with its own `timing`: a
    chain of pipelines whose stalls pass from one to the other, with a skid buffer before
    `pointwise`. `interval`, the cycles a frame, is that of the slowest part.

    Raises
    ------
    ValueError
        A part does not suit the one before it.
    """

    def __init__(self, *, depthwise: DepthwiseEngine, threshold: ThresholdUnit, pointwise: MVAU):
        for name, part, kind in (
            ("depthwise", depthwise, DepthwiseEngine),
            ("threshold", threshold, ThresholdUnit),
            ("pointwise", pointwise, MVAU),
        ):
            if not isinstance(part, kind):
                raise ValueError(f"{name} must be a {kind.__name__}, not {type(part).__name__}")
        for what, given, taken in (
            ("channels of depthwise and threshold", depthwise.channels, threshold.channels),
            ("lanes of depthwise and threshold", depthwise.lanes, threshold.lanes),
            ("output of depthwise and input of threshold", depthwise.output, threshold.input),
            ("channels of threshold and cols of pointwise", threshold.channels, pointwise.cols),
            (
                "output of threshold and activation of pointwise",
                threshold.output,
                pointwise.activation,
            ),
            (
                "maps of depthwise and pointwise",
                f"{depthwise.height}x{depthwise.width}",
                f"{pointwise.height}x{pointwise.width}",
            ),
        ):
            if given != taken:
                raise ValueError(f"{what} must be equal, not {given} and {taken}")
        self.depthwise = depthwise
        self.threshold = threshold
        self.pointwise = pointwise
        units = {"depthwise": depthwise, "threshold": threshold}
        lanes = threshold.lanes
        common = lcm(lanes, pointwise.simd)
        for name, wanted in (("widen", common), ("narrow", pointwise.simd)):
            if lanes != wanted:
                units[name] = WidthConverter(threshold.output, lanes, wanted)
                lanes = wanted
        # Four pipelines in a row would make a long way for `ready`.
        units["skid"] = SkidBuffer(pointwise.i.payload.shape())
        units["pointwise"] = pointwise
        self.units: dict[str, wiring.Component] = units
        self.writable = any(part.writable for part in (depthwise, threshold, pointwise))
        beats = depthwise.height * depthwise.width * depthwise.channels
        self.interval = max(
            depthwise.interval, beats // min(threshold.lanes, pointwise.simd), pointwise.interval
        )
        super().__init__(
            {
                "i": In(stream.Signature(depthwise.i.payload.shape())),
                "o": Out(stream.Signature(pointwise.o.payload.shape())),
                **self._parameter_port(),
            }
        )

    def _memories(self) -> dict[str, ParameterUnit]:
        return {
            "depthwise": self.depthwise,
            "threshold": self.threshold,
            "pointwise": self.pointwise,
        }

    def elaborate(self, platform):
        m = Module()
        self._connect_parameters(m)
        source = wiring.flipped(self.i)
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, source, unit.i)
            source = unit.o
        wiring.connect(m, source, wiring.flipped(self.o))
        return m
