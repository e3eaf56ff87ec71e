import itertools
import random

import pytest

from hw.depthwise import DepthwiseEngine
from hw.dsc import DSCEngine
from hw.lanes import element_for, element_range
from hw.mvau import MVAU
from hw.schedule import Pipeline
from hw.threshold import ThresholdUnit
from tests.streams import beats, drive

FRAMES = 3
FOUR_BIT = ("uint4", "int4", 12)
ONE_BIT = ("binary", "binary", 1)
MIXED = ("uint2", "binary", 3)


def random_number(source, element):
    lo, hi = element_range(element)
    return source.choice((lo, hi)) if element == "binary" else source.randint(lo, hi)


def stored(element, number):
    return int(number > 0) if element == "binary" else number


class Case:
    """A random depthwise-separable block: its parts' parameters, and what it computes."""

    def __init__(self, *, height, width, channels, rows, lanes, simd, pe, kind, taps=9):
        source = random.Random(f"{height} {width} {channels} {rows} {lanes} {simd} {pe} {kind}")
        self.element, self.weight, count = kind
        self.kernels = [
            [random_number(source, self.weight) for _ in range(taps)] for _ in range(channels)
        ]
        self.matrix = [
            [random_number(source, self.weight) for _ in range(channels)] for _ in range(rows)
        ]
        self.bias = [source.randint(-5, 5) for _ in range(rows)]
        most = max(
            abs(a * w) for a in element_range(self.element) for w in element_range(self.weight)
        )
        middle = element_for(-most * taps, most * taps)
        output = element_for(-most * channels - 5, most * channels + 5)
        # Thresholds where the sums are, so that every result comes up.
        self.thresholds, self.directions = [], []
        for _ in range(channels):
            direction = source.choice((-1, 1))
            reach = most * taps // 3
            row = sorted(
                (source.randint(-reach, reach) for _ in range(count)), reverse=direction < 0
            )
            self.thresholds.append(row)
            self.directions.append(direction)
        plain = {
            "height": height,
            "width": width,
            "row_classes": [0] * height,
            "column_classes": [0] * width,
            "activation": self.element,
            "weight": self.weight,
        }
        self.parts = {
            "depthwise": lambda: DepthwiseEngine(
                channels=channels,
                lanes=lanes,
                kernel_taps=taps,
                weights=self.kernels,
                initial=[[0] * channels],
                output=middle,
                **plain,
            ),
            "threshold": lambda: ThresholdUnit(
                channels=channels,
                lanes=lanes,
                thresholds=self.thresholds,
                directions=self.directions,
                input=middle,
                output=self.element,
            ),
            "pointwise": lambda: MVAU(
                rows=rows,
                cols=channels,
                weights=self.matrix,
                initial=[self.bias],
                simd=simd,
                pe=pe,
                output=output,
                **plain,
            ),
        }
        self.inputs, self.outputs = [], []
        for _ in range(FRAMES * height * width):
            window = [
                [random_number(source, self.element) for _ in range(channels)] for _ in range(taps)
            ]
            for at in range(0, channels, lanes):
                flat = [stored(self.element, c) for tap in window for c in tap[at : at + lanes]]
                self.inputs += beats(self.element, taps * lanes, flat)
            self.outputs += beats(output, pe, self.pixel(window))

    def pixel(self, window):
        """The block's sums for one window [tap][channel]."""
        activations = []
        for channel, kernel in enumerate(self.kernels):
            x = sum(w * tap[channel] for w, tap in zip(kernel, window, strict=True))
            passed = (
                x >= t if self.directions[channel] > 0 else x <= t for t in self.thresholds[channel]
            )
            count = sum(passed)
            activations.append(2 * count - 1 if self.element == "binary" else count)
        return [
            bias + sum(w * a for w, a in zip(row, activations, strict=True))
            for row, bias in zip(self.matrix, self.bias, strict=True)
        ]

    def engine(self, **other):
        return DSCEngine(**{name: (other.get(name) or make)() for name, make in self.parts.items()})


def predicted(engine, beats_in, beats_out):
    """Cycles of the beats at both ends, by the cycle model of the engine's units."""
    pipeline = Pipeline()
    pipeline.add_source("i", beats_in)
    last = "i"
    for name, unit in engine.units.items():
        pipeline.add(name, unit.timing, [(last, 0)])
        last = name
    pipeline.add_sink((last, 0))
    taken = pipeline.taken_at
    pipeline.run(lambda: len(taken[last, 0]) == beats_out, 100_000)
    return taken["i", 0], taken[last, 0]


@pytest.mark.parametrize("kind", [FOUR_BIT, ONE_BIT, MIXED])
@pytest.mark.parametrize(
    ("height", "width", "channels", "rows", "lanes", "simd", "pe", "between"),
    [
        (1, 1, 1, 1, 1, 1, 1, ()),
        (2, 3, 4, 4, 4, 4, 4, ()),
        (2, 2, 4, 6, 2, 2, 3, ()),
        (3, 2, 4, 4, 1, 4, 2, ("widen",)),
        (2, 3, 8, 4, 4, 1, 1, ("narrow",)),
        (2, 2, 6, 4, 3, 2, 4, ("widen", "narrow")),
        (1, 4, 6, 5, 2, 3, 1, ("widen", "narrow")),
    ],
)
def test_computes_a_depthwise_separable_block(
    height, width, channels, rows, lanes, simd, pe, between, kind
):
    block = Case(
        height=height,
        width=width,
        channels=channels,
        rows=rows,
        lanes=lanes,
        simd=simd,
        pe=pe,
        kind=kind,
    )
    engine = block.engine()
    assert tuple(engine.units) == ("depthwise", "threshold", *between, "skid", "pointwise")
    run = drive(engine, {"i": block.inputs}, {"o": len(block.outputs)})
    assert run.beats["o"] == block.outputs
    taken, given = predicted(engine, len(block.inputs), len(block.outputs))
    assert (run.cycles["i"], run.cycles["o"]) == (taken, given)
    frame = len(block.outputs) // FRAMES
    ends = given[frame - 1 :: frame]
    assert [b - a for a, b in itertools.pairwise(ends)] == [engine.interval] * (FRAMES - 1)
    for seed in (1, 2):
        stalled = drive(block.engine(), {"i": block.inputs}, {"o": len(block.outputs)}, seed=seed)
        assert stalled.beats["o"] == block.outputs


BLOCK = {
    "height": 2,
    "width": 3,
    "channels": 4,
    "rows": 4,
    "lanes": 2,
    "simd": 2,
    "pe": 2,
    "kind": FOUR_BIT,
}


def test_outputs_are_not_all_alike():
    block = Case(**BLOCK)
    assert len(set(block.outputs)) > len(block.outputs) // 2


@pytest.mark.parametrize(
    ("changes", "part", "sentence"),
    [
        (
            {"channels": 8, "simd": 2},
            "depthwise",
            "channels of depthwise and threshold must be equal, not 8 and 4",
        ),
        ({"lanes": 4}, "depthwise", "lanes of depthwise and threshold must be equal, not 4 and 2"),
        (
            {"taps": 25},
            "depthwise",
            "output of depthwise and input of threshold must be equal, not int13 and int12",
        ),
        (
            {"channels": 8},
            "pointwise",
            "channels of threshold and cols of pointwise must be equal, not 4 and 8",
        ),
        (
            {"kind": ONE_BIT},
            "pointwise",
            "output of threshold and activation of pointwise must be equal, not uint4 and binary",
        ),
        (
            {"height": 3},
            "pointwise",
            "maps of depthwise and pointwise must be equal, not 2x3 and 3x3",
        ),
    ],
)
def test_refuses_parts_that_do_not_fit(changes, part, sentence):
    other = Case(**(BLOCK | changes))
    with pytest.raises(ValueError, match=sentence):
        Case(**BLOCK).engine(**{part: other.parts[part]})


def test_refuses_parts_of_another_kind():
    block = Case(**BLOCK)
    with pytest.raises(ValueError, match="threshold must be a ThresholdUnit, not MVAU"):
        block.engine(threshold=block.parts["pointwise"])
