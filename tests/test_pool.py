import random

import pytest

from hw.lanes import element_for, element_range
from hw.pool import PoolUnit
from tests.check import check
from tests.streams import beats

FRAMES = 3


def pooled(pixels, kernel, mode, shift, binary):
    """The pooled channels of a map [y][x][c], in stream order."""
    found = []
    for top in range(0, len(pixels) - kernel[0] + 1, kernel[0]):
        for left in range(0, len(pixels[0]) - kernel[1] + 1, kernel[1]):
            for channel in range(len(pixels[0][0])):
                window = [
                    pixels[top + ky][left + kx][channel]
                    for ky in range(kernel[0])
                    for kx in range(kernel[1])
                ]
                if mode == "max":
                    found.append(max(window))
                    continue
                total = sum(2 * bit - 1 if binary else bit for bit in window)
                half = 2 ** (shift - 1) if shift else 0
                found.append((total + half) // 2**shift)
    return found


def sum_element(element, kernel, shift):
    half = 2 ** (shift - 1) if shift else 0
    lo, hi = ((kernel[0] * kernel[1] * x + half) >> shift for x in element_range(element))
    return f"uint{max(1, hi.bit_length())}" if lo >= 0 else element_for(lo, hi)


# height, width, channels, lanes, kernel
GEOMETRIES = [
    (1, 1, 1, 1, (1, 1)),
    (1, 1, 6, 2, (1, 1)),
    (3, 4, 2, 1, (1, 1)),
    (2, 2, 1, 1, (2, 2)),
    (4, 4, 3, 3, (2, 2)),
    (4, 6, 4, 2, (2, 2)),
    (4, 6, 4, 1, (2, 2)),
    (5, 5, 2, 2, (2, 2)),
    (5, 5, 4, 2, (2, 2)),
    (7, 8, 2, 2, (3, 3)),
    (8, 7, 2, 1, (3, 3)),
    (5, 4, 1, 1, (3, 3)),
    (4, 7, 2, 2, (1, 3)),
    (4, 7, 2, 1, (1, 3)),
    (7, 3, 2, 2, (3, 1)),
    (7, 1, 1, 1, (3, 1)),
    (7, 2, 2, 1, (3, 2)),
    (3, 3, 4, 4, (3, 3)),
    (3, 3, 6, 2, (3, 3)),
    (4, 5, 6, 1, (4, 5)),
]


@pytest.mark.parametrize("element", ["binary", "uint4", "int5"])
@pytest.mark.parametrize(("mode", "shift"), [("max", 0), ("sum", 0), ("sum", 1), ("sum", 3)])
@pytest.mark.parametrize(("height", "width", "channels", "lanes", "kernel"), GEOMETRIES)
def test_pools_frames_back_to_back(height, width, channels, lanes, kernel, mode, shift, element):
    output = element if mode == "max" else sum_element(element, kernel, shift)
    source = random.Random(f"{height} {width} {channels} {lanes} {kernel} {mode} {shift}")
    low, high = (0, 1) if element == "binary" else element_range(element)
    # Many channels at an end of the range, so that sums reach the ends of theirs.
    maps = [
        [
            [
                [source.choice((low, high, source.randint(low, high))) for _ in range(channels)]
                for _ in range(width)
            ]
            for _ in range(height)
        ]
        for _ in range(FRAMES)
    ]
    maps[1] = [[[source.choice((low, high))] * channels] * width] * height
    found = []
    for pixels in maps:
        found += pooled(pixels, kernel, mode, shift, element == "binary")
    pixels = [pixel for rows in maps for row in rows for pixel in row]
    check(
        lambda: PoolUnit(
            height=height,
            width=width,
            channels=channels,
            lanes=lanes,
            kernel=kernel,
            mode=mode,
            shift=shift,
            input=element,
            output=output,
        ),
        {"i": beats(element, lanes, [channel for pixel in pixels for channel in pixel])},
        {"o": beats(output, lanes, found)},
        seeds=(1, 2),
    )


@pytest.mark.parametrize("ram_style", ["auto", "distributed", "block"])
def test_memory_style_changes_no_cycle(ram_style):
    source = random.Random(ram_style)
    pixels = [[[source.randint(0, 15) for _ in range(4)] for _ in range(6)] for _ in range(4)]
    check(
        lambda: make(ram_style=ram_style),
        {"i": beats("uint4", 2, [channel for row in pixels for pixel in row for channel in pixel])},
        {"o": beats("uint4", 2, pooled(pixels, (2, 2), "sum", 2, False))},
    )


def make(**changes):
    parameters = {
        "height": 4,
        "width": 6,
        "channels": 4,
        "lanes": 2,
        "kernel": (2, 2),
        "mode": "sum",
        "shift": 2,
        "input": "uint4",
        "output": "uint4",
    }
    return PoolUnit(**(parameters | changes))


def test_takes_a_beat_in_every_step():
    unit = make()
    assert unit.interval == 4 * 6 * 2
    assert unit.timing.consumes == ((1,) * 48,)
    assert sum(unit.timing.emits) == 2 * 3 * 2
    assert unit.timing.latency == 3
    assert make(mode="max", shift=0).timing.latency == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"height": 0}, "height must be a positive integer, not 0"),
        ({"width": None}, "width must be a positive integer, not None"),
        ({"channels": -4}, "channels must be a positive integer, not -4"),
        ({"lanes": 3}, "channels must be a multiple of lanes, not 4 and 3"),
        ({"lanes": 0}, "count of lanes must be a positive integer, not 0"),
        ({"kernel": (2, 0)}, "kernel must be two positive integers, not \\(2, 0\\)"),
        ({"kernel": (5, 2)}, "kernel must fit in the map, not 5x2 in 4x6"),
        ({"mode": "mean"}, "mode must be 'max' or 'sum', not 'mean'"),
        ({"shift": -1}, "shift must be a non-negative integer, not -1"),
        ({"mode": "max"}, "shift must be 0 for the maximum, not 2"),
        (
            {"mode": "max", "shift": 0, "output": "uint5"},
            "output must be the input's element for the maximum, not uint5 for uint4",
        ),
        ({"shift": 1}, "output must hold 0..30, which uint4 does not"),
        ({"output": "int4"}, "output must hold 0..15, which int4 does not"),
        (
            {"input": "binary", "output": "binary"},
            "output must hold -1..1, which binary does not",
        ),
        ({"input": "float"}, "element must be 'binary', 'uintK' or 'intK', not 'float'"),
        ({"ram_style": "big"}, "ram_style must be 'auto', 'distributed' or 'block', not 'big'"),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**changes)
