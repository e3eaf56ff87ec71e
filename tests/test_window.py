import itertools
import random

import pytest

from hw.window import SlidingWindow
from tests.check import check
from tests.streams import beats, drive

FRAMES = 3


def window_beats(element, maps, kernel, stride, padding, lanes):
    """The windows of every map [y][x][c], as beats; padding is the number whose bits are zero."""
    found = []
    for pixels in maps:
        height, width, channels = len(pixels), len(pixels[0]), len(pixels[0][0])
        for top in range(-padding, height + padding - kernel[0] + 1, stride):
            for left in range(-padding, width + padding - kernel[1] + 1, stride):
                for low in range(0, channels, lanes):
                    lane_values = []
                    for y in range(top, top + kernel[0]):
                        for x in range(left, left + kernel[1]):
                            inside = 0 <= y < height and 0 <= x < width
                            lane_values += (
                                pixels[y][x][low : low + lanes] if inside else [0] * lanes
                            )
                    found += beats(element, len(lane_values), lane_values)
    return found


def map_beats(element, maps, lanes):
    return beats(
        element, lanes, [c for rows in maps for row in rows for pixel in row for c in pixel]
    )


def random_maps(element, height, width, channels, seed):
    source = random.Random(seed)
    low, high = {"binary": (0, 1), "uint4": (0, 15), "int3": (-4, 3), "uint8": (0, 255)}[element]
    return [
        [
            [[source.randint(low, high) for _ in range(channels)] for _ in range(width)]
            for _ in range(height)
        ]
        for _ in range(FRAMES)
    ]


# height, width, channels, kernel, stride, padding, lanes, element
GEOMETRIES = [
    (1, 1, 1, (1, 1), 1, 0, 1, "uint4"),
    (1, 1, 1, (1, 1), 3, 0, 1, "uint8"),
    (1, 1, 1, (3, 3), 1, 1, 1, "uint4"),
    (1, 1, 4, (5, 5), 2, 2, 2, "int3"),
    (1, 5, 2, (3, 3), 1, 1, 1, "uint4"),
    (5, 1, 2, (3, 3), 2, 1, 2, "uint4"),
    (2, 2, 1, (2, 2), 1, 0, 1, "binary"),
    (4, 4, 3, (1, 1), 1, 0, 3, "binary"),
    (5, 4, 2, (1, 1), 2, 0, 1, "int3"),
    (5, 5, 2, (1, 1), 3, 0, 1, "int3"),
    (6, 5, 2, (2, 2), 2, 0, 1, "binary"),
    (7, 5, 3, (2, 2), 3, 0, 3, "uint4"),
    (6, 6, 4, (3, 3), 1, 1, 1, "binary"),
    (6, 6, 4, (3, 3), 1, 1, 4, "binary"),
    (5, 7, 4, (3, 3), 1, 0, 2, "int3"),
    (7, 5, 4, (3, 3), 2, 1, 2, "uint4"),
    (6, 6, 2, (3, 3), 2, 1, 2, "uint4"),
    (7, 8, 2, (3, 3), 3, 1, 1, "uint4"),
    (8, 7, 2, (3, 3), 3, 0, 1, "uint4"),
    (2, 2, 2, (3, 3), 1, 1, 1, "uint4"),
    (6, 7, 2, (5, 5), 1, 2, 1, "uint4"),
    (7, 6, 2, (5, 5), 2, 2, 2, "binary"),
    (9, 8, 1, (5, 5), 3, 1, 1, "int3"),
    (3, 2, 1, (5, 5), 1, 2, 1, "int3"),
    (4, 4, 6, (4, 4), 1, 0, 3, "binary"),
    (3, 5, 4, (3, 5), 1, 0, 2, "uint4"),
    (5, 3, 2, (5, 3), 2, 1, 1, "uint4"),
    (4, 9, 1, (1, 3), 2, 0, 1, "uint8"),
    (9, 3, 2, (3, 1), 2, 0, 1, "uint8"),
]


@pytest.mark.parametrize("ram_style", ["distributed", "block"])
@pytest.mark.parametrize(
    ("height", "width", "channels", "kernel", "stride", "padding", "lanes", "element"), GEOMETRIES
)
def test_windows_of_frames_back_to_back(
    height, width, channels, kernel, stride, padding, lanes, element, ram_style
):
    maps = random_maps(element, height, width, channels, f"{height} {width} {kernel} {stride}")
    check(
        lambda: SlidingWindow(
            height=height,
            width=width,
            channels=channels,
            kernel=kernel,
            stride=stride,
            padding=padding,
            lanes=lanes,
            element=element,
            ram_style=ram_style,
        ),
        {
            "i": beats(
                element, lanes, [c for m in maps for row in m for pixel in row for c in pixel]
            )
        },
        {"o": window_beats(element, maps, kernel, stride, padding, lanes)},
        seeds=(1, 2),
    )


@pytest.mark.parametrize("seed", range(40))
def test_windows_of_random_geometries(seed):
    source = random.Random(seed)
    while True:
        kernel = (source.choice((1, 2, 3, 3, 5)), source.choice((1, 2, 3, 3, 5)))
        padding = source.randint(0, (min(kernel) - 1) // 2)
        height, width = source.randint(1, 7), source.randint(1, 7)
        if kernel[0] <= height + 2 * padding and kernel[1] <= width + 2 * padding:
            break
    stride = source.randint(1, 3)
    lanes = source.randint(1, 2)
    channels = lanes * source.randint(1, 3)
    print(height, width, channels, kernel, stride, padding, lanes)
    maps = random_maps("uint4", height, width, channels, seed)
    check(
        lambda: SlidingWindow(
            height=height,
            width=width,
            channels=channels,
            kernel=kernel,
            stride=stride,
            padding=padding,
            lanes=lanes,
            element="uint4",
        ),
        {
            "i": beats(
                "uint4", lanes, [c for m in maps for row in m for pixel in row for c in pixel]
            )
        },
        {"o": window_beats("uint4", maps, kernel, stride, padding, lanes)},
        seeds=(seed,),
    )


def test_frame_drains_without_the_next_one():
    # One frame alone gives all of its windows.
    unit = SlidingWindow(
        height=4, width=4, channels=2, kernel=(3, 3), stride=1, padding=1, lanes=1, element="uint4"
    )
    run = drive(unit, {"i": [1] * 32}, {"o": 32})
    assert len(run.beats["o"]) == 32


@pytest.mark.parametrize(
    ("geometry", "interval"),
    [
        # The writer sets the pace: 6 * 6 pixels, or 3 output rows of 6 columns.
        ({"height": 6, "width": 6, "kernel": (3, 3), "stride": 2, "padding": 1}, 6 * 6 * 2),
        # The reader does: 6 output rows of 7 columns.
        ({"height": 6, "width": 6, "kernel": (3, 3), "stride": 1, "padding": 1}, 6 * 7 * 2),
        ({"height": 5, "width": 5, "kernel": (5, 5), "stride": 1, "padding": 0}, 5 * 5 * 2),
    ],
)
def test_interval_is_what_a_long_run_takes(geometry, interval):
    unit = SlidingWindow(channels=4, lanes=2, element="uint4", **geometry)
    assert unit.interval == interval
    outputs = unit.timing.out_height * unit.timing.out_width * 2
    beats_in = geometry["height"] * geometry["width"] * 2
    run = drive(unit, {"i": [3] * (5 * beats_in)}, {"o": 5 * outputs})
    ends = run.cycles["o"][outputs - 1 :: outputs]
    assert [b - a for a, b in itertools.pairwise(ends[1:])] == [interval] * 3


def make(**changes):
    parameters = {
        "height": 4,
        "width": 4,
        "channels": 4,
        "kernel": (3, 3),
        "stride": 1,
        "padding": 1,
        "lanes": 2,
        "element": "uint4",
    }
    return SlidingWindow(**(parameters | changes))


def test_ports_and_parameters():
    unit = make()
    assert (unit.height, unit.width, unit.channels, unit.lanes) == (4, 4, 4, 2)
    assert unit.i.payload.shape().length == 2
    assert unit.o.payload.shape().length == 18
    assert unit.timing.rows == 4


def test_memory_style_sets_latency():
    assert make(ram_style="block").timing.latency == 4
    assert make(ram_style="distributed").timing.latency == 3
    assert (make().ram_style, make().timing.latency) == ("distributed", 3)
    # More than 64 beats, but only 264 bits; then 1056.
    unit = make(width=66, channels=1, lanes=1)
    assert (unit.ram_style, unit.timing.latency) == ("distributed", 3)
    unit = make(width=66, channels=4, lanes=4)
    assert (unit.ram_style, unit.timing.latency) == ("block", 4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"height": 0}, "height must be a positive integer, not 0"),
        ({"width": -3}, "width must be a positive integer, not -3"),
        ({"channels": 1.5}, "channels must be a positive integer, not 1.5"),
        ({"lanes": 3}, "channels must be a multiple of lanes, not 4 and 3"),
        ({"lanes": 0}, "count of lanes must be a positive integer, not 0"),
        ({"kernel": (3,)}, "kernel must be two positive integers, not \\(3,\\)"),
        ({"kernel": (0, 3)}, "kernel must be two positive integers, not \\(0, 3\\)"),
        ({"kernel": (7, 7)}, "kernel must fit in the padded map, not 7x7 in 6x6"),
        ({"stride": 0}, "stride must be a positive integer, not 0"),
        ({"padding": 2}, "padding must be in 0..1 with kernel 3x3, not 2"),
        ({"padding": -1}, "padding must be in 0..1 with kernel 3x3, not -1"),
        ({"kernel": (1, 5)}, "padding must be in 0..0 with kernel 1x5, not 1"),
        ({"element": "float"}, "element must be 'binary', 'uintK' or 'intK', not 'float'"),
        (
            {"ram_style": "ultra"},
            "ram_style must be 'auto', 'distributed' or 'block', not 'ultra'",
        ),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**changes)
