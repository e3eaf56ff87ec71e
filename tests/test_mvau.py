import random

import pytest

from hw.lanes import element_for, element_range
from hw.mvau import MVAU
from hw.timing import Steps
from tests.check import check
from tests.streams import beats


def number(element, source):
    lo, hi = element_range(element)
    if element == "binary":
        return source.choice((-1, 1))
    return source.choice((lo, hi, source.randint(lo, hi)))


def stored(element, values):
    return [(value + 1) // 2 for value in values] if element == "binary" else values


def case(
    *,
    rows,
    cols,
    simd,
    pe,
    activation="binary",
    weight="binary",
    row_classes=(0,),
    column_classes=(0, 0, 0),
    frames=2,
    seed=0,
    bias=50,
    weights=None,
    **options,
):
    """Parameters of a unit, its input beats and its expected output beats."""
    source = random.Random(f"{rows} {cols} {simd} {pe} {activation} {weight} {seed}")
    if weights is None:
        weights = [[number(weight, source) for _ in range(cols)] for _ in range(rows)]
    columns = max(column_classes) + 1
    classes = (max(row_classes) + 1) * columns
    initial = [[source.randint(-bias, bias) for _ in range(rows)] for _ in range(classes)]
    reach = max(map(abs, element_range(activation))) * max(map(abs, element_range(weight)))
    output = element_for(-bias - reach * cols, bias + reach * cols)
    given, expected = [], []
    for _ in range(frames):
        for row_class in row_classes:
            for column_class in column_classes:
                window = [number(activation, source) for _ in range(cols)]
                given += beats(activation, simd, stored(activation, window))
                sums = [
                    initial[row_class * columns + column_class][row]
                    + sum(w * a for w, a in zip(weights[row], window, strict=True))
                    for row in range(rows)
                ]
                expected += beats(output, pe, sums)
    parameters = {
        "rows": rows,
        "cols": cols,
        "weights": weights,
        "initial": initial,
        "height": len(row_classes),
        "width": len(column_classes),
        "row_classes": row_classes,
        "column_classes": column_classes,
        "activation": activation,
        "weight": weight,
        "output": output,
        "simd": simd,
        "pe": pe,
        **options,
    }
    return parameters, given, expected


def run(parameters, given, expected, seeds=(1, 2, 3)):
    return check(lambda: MVAU(**parameters), {"i": given}, {"o": expected}, seeds=seeds)


# rows, cols, simd, pe: one channel, one lane, everything at once, one fold in either direction.
GEOMETRIES = [
    (1, 1, 1, 1),
    (1, 9, 9, 1),
    (1, 9, 1, 1),
    (8, 1, 1, 2),
    (8, 1, 1, 8),
    (4, 12, 12, 4),
    (4, 12, 12, 1),
    (4, 12, 3, 4),
    (6, 18, 9, 2),
    (6, 18, 2, 3),
    (5, 35, 7, 1),
    (3, 64, 16, 1),
]

ELEMENTS = [
    ("binary", "binary"),
    ("uint4", "int4"),
    ("uint8", "binary"),
    ("int4", "binary"),
    ("binary", "int4"),
    ("uint8", "int8"),
]


@pytest.mark.parametrize(("activation", "weight"), ELEMENTS)
@pytest.mark.parametrize(("rows", "cols", "simd", "pe"), GEOMETRIES)
def test_sums_of_products(rows, cols, simd, pe, activation, weight):
    run(
        *case(rows=rows, cols=cols, simd=simd, pe=pe, activation=activation, weight=weight),
        seeds=(1, 2),
    )


@pytest.mark.parametrize(("rows", "cols", "simd", "pe"), GEOMETRIES)
def test_one_beat_a_step_without_stalls(rows, cols, simd, pe):
    parameters, given, expected = case(rows=rows, cols=cols, simd=simd, pe=pe, frames=3)
    nf, sf = rows // pe, cols // simd
    unit = MVAU(**parameters)
    assert unit.interval == 3 * nf * sf
    found = run(parameters, given, expected, seeds=())
    # Sum n is complete after n + 1 folds of sf steps.
    latency = unit.timing.latency
    assert found.cycles["o"] == [(n + 1) * sf - 1 + latency for n in range(9 * nf)]
    assert found.cycles["i"] == [n // sf * nf * sf + n % sf for n in range(9 * sf)]


@pytest.mark.parametrize("activation", ["binary", "int3"])
@pytest.mark.parametrize(
    ("row_classes", "column_classes"),
    [
        ((0, 1, 1, 2), (0, 1, 1, 1, 2)),
        ((0, 0, 1), (0,)),
        ((0,), (1, 0, 2)),
        ((2, 0, 1), (0, 1, 0, 2)),
    ],
)
@pytest.mark.parametrize(("rows", "pe"), [(1, 1), (6, 2), (6, 6), (5, 1)])
def test_initial_sums_by_border_class(row_classes, column_classes, rows, pe, activation):
    run(
        *case(
            rows=rows,
            cols=6,
            simd=3,
            pe=pe,
            activation=activation,
            weight="binary",
            row_classes=row_classes,
            column_classes=column_classes,
        )
    )


@pytest.mark.parametrize("activation", ["binary", "uint4"])
@pytest.mark.parametrize("number", [1, -1])
def test_equal_weights_reach_the_ends_of_the_range(number, activation):
    parameters, *_ = case(
        rows=2,
        cols=16,
        simd=4,
        pe=1,
        activation=activation,
        bias=0,
        weights=[[number] * 16, [-number] * 16],
    )
    lo, hi = element_range(activation)
    given, expected = [], []
    for value in (lo, hi, hi, lo, lo, hi):
        given += beats(activation, 4, stored(activation, [value] * 16))
        sums = [16 * value * number, -16 * value * number]
        expected += beats(parameters["output"], 1, sums)
    run(parameters, given, expected)


@pytest.mark.parametrize("multiplier", ["lut", "dsp"])
@pytest.mark.parametrize("ram_style", ["auto", "block", "distributed"])
def test_styles_change_no_result(ram_style, multiplier):
    run(
        *case(
            rows=6,
            cols=8,
            simd=4,
            pe=3,
            activation="uint4",
            weight="int4",
            ram_style=ram_style,
            multiplier=multiplier,
        )
    )


def test_timing_states_steps_and_latency():
    parameters, *_ = case(rows=4, cols=6, simd=3, pe=2)
    unit = MVAU(**parameters)
    assert (unit.nf, unit.sf) == (2, 2)
    assert unit.timing == Steps(consumes=((1, 1, 0, 0),), emits=(0, 1, 0, 1), latency=4)
    parameters, *_ = case(rows=4, cols=64, simd=64, pe=4)
    unit = MVAU(**parameters)
    assert unit.timing == Steps(consumes=((1,),), emits=(1,), latency=3 + 5)


def test_output_of_a_padded_map_holds_the_sum_without_border():
    # A 3x3 kernel of +1 on a 3x3 map of 7 channels: corners leave out five of nine taps.
    weights = [[1] * 63]
    parameters, *_ = case(
        rows=1, cols=63, simd=9, pe=1, weights=weights, bias=0,
        row_classes=(0, 1, 2), column_classes=(0, 1, 2),
    )  # fmt: skip
    outside = {0: 3, 1: 0, 2: 3}
    initial = [
        [7 * (outside[r] + outside[c] - (outside[r] and outside[c] and 1))]
        for r in range(3)
        for c in range(3)
    ]
    MVAU(**(parameters | {"initial": initial, "output": "int7"}))
    with pytest.raises(ValueError, match="output must hold -63..98 of row 0, not 'int6'"):
        MVAU(**(parameters | {"initial": initial, "output": "int6"}))
    with pytest.raises(ValueError, match="output must hold -126..98 of row 0, not 'int7'"):
        MVAU(**(parameters | {"initial": initial, "output": "int7", "activation": "int2"}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rows": 0}, "rows must be a positive integer, not 0"),
        ({"simd": 0}, "simd must be a positive integer, not 0"),
        ({"pe": 3}, "rows must be a multiple of pe, not 4 and 3"),
        ({"simd": 4}, "cols must be a multiple of simd, not 6 and 4"),
        ({"weights": [[1] * 6] * 3}, "weights must be 4 rows of 6 columns"),
        ({"weights": [[1] * 5] * 4}, "weights must be 4 rows of 6 columns"),
        ({"weights": [[0] * 6] * 4}, "weights must be integers of element binary, not 0"),
        (
            {"weight": "int2", "weights": [[2] * 6] * 4},
            "weights must be integers of element int2, not 2",
        ),
        ({"initial": [[0] * 4] * 2}, "initial must be 4 sums for each of 1 border classes"),
        ({"initial": [[0.5] * 4]}, "initial must be integers, not 0.5"),
        ({"height": 0}, "height must be a positive integer, not 0"),
        ({"column_classes": [0]}, "column_classes must have 3 entries, not 1"),
        ({"activation": "bits"}, "element must be 'binary', 'uintK' or 'intK', not 'bits'"),
        ({"weight": "uint4"}, "weight must be 'binary' or 'intK', not 'uint4'"),
        ({"output": "uint9"}, "output must be 'intK', not 'uint9'"),
        ({"output": "binary"}, "output must be 'intK', not 'binary'"),
        ({"output": "int3"}, "output must hold -6..6 of row 0, not 'int3'"),
        ({"initial": [[9, 0, 0, 0]], "output": "int4"}, "must hold 3..15 of row 0, not 'int4'"),
        ({"ram_style": "ultra"}, "ram_style must be one of auto, block, distributed, not 'ultra'"),
        (
            {"multiplier": "x", "weight": "int2"},
            "multiplier must be lut or dsp, not 'x'",
        ),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    parameters, *_ = case(rows=4, cols=6, simd=3, pe=2, bias=0)
    with pytest.raises(ValueError, match=sentence):
        MVAU(**(parameters | changes))
