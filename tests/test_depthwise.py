import itertools
import random

import pytest

from hw.depthwise import DepthwiseEngine
from hw.lanes import element_for, element_range
from hw.lowering import border_classes
from tests.check import check
from tests.streams import beats

FRAMES = 3


def random_number(source, element):
    """A number of an element, often one at an end of the range; never 0 where binary."""
    lo, hi = element_range(element)
    return source.choice((lo, hi) if element == "binary" else (lo, hi, source.randint(lo, hi)))


def stored(element, number):
    return int(number > 0) if element == "binary" else number


def case(height, width, channels, lanes, taps, activation, weight, classes, bias, seed):
    """Parameters of an engine, its input beats and what is to come out."""
    source = random.Random(seed)
    weights = [[random_number(source, weight) for _ in range(taps)] for _ in range(channels)]
    row_classes = [source.randrange(classes[0]) for _ in range(height)]
    column_classes = [source.randrange(classes[1]) for _ in range(width)]
    # Every class is there, however few rows there are: the highest at least.
    row_classes[-1], column_classes[-1] = classes[0] - 1, classes[1] - 1
    initial = [
        [source.randint(-bias, bias) for _ in range(channels)]
        for _ in range(classes[0] * classes[1])
    ]
    most = taps * max(abs(a * w) for a in element_range(activation) for w in element_range(weight))
    output = element_for(-most - bias, most + bias)
    inputs, outputs = [], []
    for _, y, x in itertools.product(range(FRAMES), range(height), range(width)):
        sums = initial[row_classes[y] * classes[1] + column_classes[x]]
        window = [[random_number(source, activation) for _ in range(channels)] for _ in range(taps)]
        for at in range(0, channels, lanes):
            lane_values = [
                stored(activation, tap[channel])
                for tap in window
                for channel in range(at, at + lanes)
            ]
            inputs += beats(activation, taps * lanes, lane_values)
        dots = [
            sums[channel] + sum(weights[channel][tap] * window[tap][channel] for tap in range(taps))
            for channel in range(channels)
        ]
        outputs += beats(output, lanes, dots)
    parameters = {
        "channels": channels,
        "lanes": lanes,
        "kernel_taps": taps,
        "weights": weights,
        "initial": initial,
        "height": height,
        "width": width,
        "row_classes": row_classes,
        "column_classes": column_classes,
        "activation": activation,
        "weight": weight,
        "output": output,
    }
    return parameters, inputs, outputs


ELEMENTS = [
    ("binary", "binary", "lut"),
    ("uint4", "int4", "lut"),
    ("uint4", "int4", "dsp"),
    ("uint4", "binary", "lut"),
    ("int3", "int5", "lut"),
    ("int3", "int5", "dsp"),
    ("binary", "int3", "lut"),
    ("uint8", "int2", "lut"),
]

# height, width, channels, lanes, taps, (row, column classes), bias
GEOMETRIES = [
    (1, 1, 1, 1, 1, (1, 1), 0),
    (1, 1, 1, 1, 9, (1, 1), 3),
    (3, 3, 4, 4, 9, (3, 3), 5),
    (3, 4, 4, 4, 1, (2, 3), 5),
    (4, 3, 4, 1, 9, (3, 3), 5),
    (4, 3, 6, 2, 9, (1, 1), 0),
    (2, 5, 6, 2, 4, (1, 1), 7),
    (5, 2, 5, 1, 1, (3, 2), 4),
    (3, 3, 3, 1, 25, (3, 1), 9),
    (2, 2, 2, 2, 25, (1, 2), 9),
]


@pytest.mark.parametrize(("activation", "weight", "multiplier"), ELEMENTS)
@pytest.mark.parametrize(
    ("height", "width", "channels", "lanes", "taps", "classes", "bias"), GEOMETRIES
)
def test_sums_of_frames_back_to_back(
    height, width, channels, lanes, taps, classes, bias, activation, weight, multiplier
):
    seed = f"{height} {width} {channels} {lanes} {taps} {classes} {activation} {weight}"
    parameters, inputs, outputs = case(
        height, width, channels, lanes, taps, activation, weight, classes, bias, seed
    )
    run = check(
        lambda: DepthwiseEngine(**parameters, multiplier=multiplier),
        {"i": inputs},
        {"o": outputs},
        seeds=(1, 2),
    )
    unit = DepthwiseEngine(**parameters, multiplier=multiplier)
    assert unit.interval == height * width * channels // lanes == len(outputs) // FRAMES
    assert run.cycles["o"][-1] == FRAMES * unit.interval - 1 + unit.timing.latency


@pytest.mark.parametrize("ram_style", ["auto", "block", "distributed"])
def test_sums_in_each_memory_style(ram_style):
    parameters, inputs, outputs = case(3, 3, 4, 1, 9, "binary", "binary", (3, 3), 5, 0)
    check(lambda: DepthwiseEngine(**parameters, ram_style=ram_style), {"i": inputs}, {"o": outputs})


@pytest.mark.parametrize("lanes", [1, 3])
def test_border_classes_make_zero_padding_of_a_binary_map_exact(lanes):
    """A 3x3 kernel, padding 1, stride 2: out of the map a tap counts 0, though it reads as -1."""
    source = random.Random(lanes)
    size, out, channels = 5, 3, 3
    weights = [[source.choice((-1, 1)) for _ in range(9)] for _ in range(channels)]
    rows, outside = border_classes(size, out, 3, 2, 1)
    initial = [
        [
            sum(
                kernel[ky * 3 + kx]
                for ky in range(3)
                for kx in range(3)
                if ky in outside_rows or kx in outside_columns
            )
            for kernel in weights
        ]
        for outside_rows in outside
        for outside_columns in outside
    ]
    inputs, outputs = [], []
    for _ in range(FRAMES):
        pixels = {
            (y, x): [source.choice((-1, 1)) for _ in range(channels)]
            for y in range(size)
            for x in range(size)
        }
        for y, x in itertools.product(range(-1, size - 1, 2), repeat=2):
            window = [pixels.get((y + ky, x + kx)) for ky in range(3) for kx in range(3)]
            for at in range(0, channels, lanes):
                for tap in window:
                    bits = [int(c > 0) for c in tap] if tap else [0] * channels
                    inputs += bits[at : at + lanes]
            outputs += [
                sum(kernel[k] * tap[channel] for k, tap in enumerate(window) if tap)
                for channel, kernel in enumerate(weights)
            ]
    check(
        lambda: DepthwiseEngine(
            channels=channels,
            lanes=lanes,
            kernel_taps=9,
            weights=weights,
            initial=initial,
            height=out,
            width=out,
            row_classes=rows,
            column_classes=rows,
            activation="binary",
            weight="binary",
            output="int5",
        ),
        {"i": beats("binary", 9 * lanes, inputs)},
        {"o": beats("int5", lanes, outputs)},
    )


def make(**changes):
    parameters, _, _ = case(2, 3, 4, 2, 9, "uint4", "int4", (1, 2), 5, 0)
    return DepthwiseEngine(**(parameters | changes))


@pytest.mark.parametrize(
    ("channels", "ram_style", "cycles"),
    [
        (2, "auto", 0),
        (2, "block", 0),
        (4, "auto", 1),
        (4, "block", 2),
        (32, "auto", 1),
        (34, "auto", 2),
        (34, "distributed", 2),
    ],
)
def test_weights_in_a_memory_take_cycles(channels, ram_style, cycles):
    parameters, inputs, outputs = case(2, 3, channels, 2, 9, "uint4", "int4", (1, 1), 0, 0)
    unit = DepthwiseEngine(**parameters, ram_style=ram_style)
    assert unit.timing.latency == unit.pe_latency + cycles
    check(
        lambda: DepthwiseEngine(**parameters, ram_style=ram_style),
        {"i": inputs},
        {"o": outputs},
        seeds=(1,),
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channels": 0}, "channels must be a positive integer, not 0"),
        ({"kernel_taps": 1.0}, "kernel_taps must be a positive integer, not 1.0"),
        ({"lanes": 3}, "channels must be a multiple of lanes, not 4 and 3"),
        ({"lanes": 0}, "count of lanes must be a positive integer, not 0"),
        ({"kernel_taps": 8}, "weights must be 4 kernels of 8 taps, not 4 of \\[9\\]"),
        ({"weights": [[1] * 9] * 3}, "weights must be 4 kernels of 9 taps, not 3 of \\[9\\]"),
        ({"weights": [[8] * 9] * 4}, "weights must be of element int4, not 8"),
        (
            {"weight": "binary", "weights": [[0] * 9] * 4},
            "weights must be of element binary, not 0",
        ),
        ({"weight": "uint4"}, "weights? must be .*, not "),
        ({"initial": [[0] * 4]}, "initial must have 2 entries, one a class, not 1"),
        ({"initial": [[0] * 3] * 2}, "initial must have 4 integers a class, not \\[0, 0, 0\\]"),
        ({"height": 3}, "row_classes must have 3 entries, not 2"),
        ({"column_classes": [0, -1, 1]}, "column_classes must be integers from 0"),
        ({"output": "uint12"}, "output must be 'intK', not 'uint12'"),
        ({"output": "int10"}, "output must hold .* of channel 0, not 'int10'"),
        ({"output": "binary"}, "output must be 'intK', not 'binary'"),
        ({"activation": "word"}, "element must be 'binary', 'uintK' or 'intK', not 'word'"),
        ({"multiplier": "table"}, "multiplier must be lut or dsp, not 'table'"),
        ({"ram_style": "big"}, "ram_style must be one of auto, block, distributed, not 'big'"),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**changes)
