import random

import pytest

from hw.fractional import FractionalMVAU
from hw.lanes import element_for
from hw.timing import Steps
from tests.check import check
from tests.streams import beats


def case(
    *,
    rows,
    cols,
    simd,
    pe,
    row_classes=(0,),
    column_classes=(0, 0, 0),
    frames=2,
    seed=0,
    weights=None,
    gate=None,
    windows=None,
    **options,
):
    """Parameters of a unit, its input beats and its expected output beats.

    Each border class has columns of its own that are padding: they come as 00 and count nothing.
    """
    source = random.Random(f"{rows} {cols} {simd} {pe} {seed}")
    if weights is None:
        weights = [[source.choice((-1, 1)) for _ in range(cols)] for _ in range(rows)]
    if gate is None:
        gate = [source.choice((-cols, cols + 1, *[source.randint(-3, 3)] * 3)) for _ in range(rows)]
    columns = max(column_classes) + 1
    classes = (max(row_classes) + 1) * columns
    padding = [
        {column for column in range(cols) if number and source.random() < 0.4}
        for number in range(classes)
    ]
    initial = [[sum(row[column] for column in outside) for row in weights] for outside in padding]
    output = element_for(-3 * cols, 3 * cols)
    given, expected = [], []
    for _ in range(frames):
        for row_class in row_classes:
            for column_class in column_classes:
                outside = padding[row_class * columns + column_class]
                if windows is not None:
                    window = list(windows[len(expected) * pe // rows])
                else:
                    window = [source.randint(0, 3) for _ in range(cols)]
                window = [0 if column in outside else x for column, x in enumerate(window)]
                given += beats("uint2", simd, window)
                results = []
                for row, threshold in zip(weights, gate, strict=True):
                    upper, lower = (
                        sum(
                            w * (1 if x >> bit & 1 else -1)
                            for column, (w, x) in enumerate(zip(row, window, strict=True))
                            if column not in outside
                        )
                        for bit in (1, 0)
                    )
                    results.append(2 * upper + (lower if upper >= threshold else 0))
                expected += beats(output, pe, results)
    parameters = {
        "rows": rows,
        "cols": cols,
        "weights": weights,
        "gate": gate,
        "initial": initial,
        "height": len(row_classes),
        "width": len(column_classes),
        "row_classes": row_classes,
        "column_classes": column_classes,
        "output": output,
        "simd": simd,
        "pe": pe,
        **options,
    }
    return parameters, given, expected


def run(parameters, given, expected, seeds=(1, 2)):
    return check(lambda: FractionalMVAU(**parameters), {"i": given}, {"o": expected}, seeds=seeds)


# rows, cols, simd, pe: one channel, one lane, everything at once, one fold in either direction.
GEOMETRIES = [
    (1, 1, 1, 1),
    (1, 9, 9, 1),
    (1, 9, 1, 1),
    (8, 1, 1, 2),
    (4, 12, 12, 4),
    (4, 12, 12, 1),
    (4, 12, 3, 4),
    (6, 18, 9, 2),
    (6, 18, 2, 3),
    (5, 35, 7, 1),
    (3, 64, 32, 1),
]


@pytest.mark.parametrize(("rows", "cols", "simd", "pe"), GEOMETRIES)
def test_gated_sums_of_two_planes(rows, cols, simd, pe):
    run(*case(rows=rows, cols=cols, simd=simd, pe=pe))


@pytest.mark.parametrize(("rows", "cols", "simd", "pe"), GEOMETRIES)
def test_one_beat_a_step_without_stalls(rows, cols, simd, pe):
    parameters, given, expected = case(rows=rows, cols=cols, simd=simd, pe=pe, frames=3)
    nf, sf = rows // pe, cols // simd
    unit = FractionalMVAU(**parameters)
    assert unit.interval == 3 * nf * sf
    found = run(parameters, given, expected, seeds=())
    latency = 5 + unit.pe_latency
    assert found.cycles["o"] == [(n + 1) * sf - 1 + latency for n in range(9 * nf)]
    assert found.cycles["i"] == [n // sf * nf * sf + n % sf for n in range(9 * sf)]


@pytest.mark.parametrize(
    ("row_classes", "column_classes"),
    [((0, 1, 1, 2), (0, 1, 1, 1, 2)), ((0, 0, 1), (0,)), ((2, 0, 1), (0, 1, 0, 2))],
)
@pytest.mark.parametrize(("rows", "pe"), [(1, 1), (6, 2), (6, 6), (5, 1)])
def test_padding_counts_nothing_in_either_plane(row_classes, column_classes, rows, pe):
    run(
        *case(
            rows=rows, cols=6, simd=3, pe=pe, row_classes=row_classes, column_classes=column_classes
        )
    )


@pytest.mark.parametrize("opening", ["always", "never"])
def test_a_gate_may_be_always_or_never_open(opening):
    gate = [-18 if opening == "always" else 19] * 4
    run(*case(rows=4, cols=18, simd=6, pe=2, gate=gate))


@pytest.mark.parametrize("number", [1, -1])
def test_equal_bits_reach_the_ends_of_the_range(number):
    weights = [[number] * 16, [-number] * 16]
    windows = [[x] * 16 for x in (0, 3, 1, 2, 3, 0)]
    run(*case(rows=2, cols=16, simd=4, pe=1, weights=weights, gate=[16, -16], windows=windows))


def test_the_gate_opens_from_its_number_on():
    # The upper plane's sum is -2, 0 and 2; the lower plane adds 2 where the gate is open.
    windows = [[1, 1], [3, 1], [3, 3]]
    parameters, given, expected = case(
        rows=1, cols=2, simd=2, pe=1, weights=[[1, 1]], gate=[0], windows=windows, frames=1
    )
    assert expected == [2**4 - 4, 0 + 2, 4 + 2]
    run(parameters, given, expected)


@pytest.mark.parametrize("ram_style", ["auto", "block", "distributed"])
def test_styles_change_no_result(ram_style):
    run(*case(rows=6, cols=8, simd=4, pe=3, ram_style=ram_style))


def test_timing_states_steps_and_latency():
    parameters, *_ = case(rows=4, cols=6, simd=3, pe=2)
    unit = FractionalMVAU(**parameters)
    assert unit.timing == Steps(consumes=((1, 1, 0, 0),), emits=(0, 1, 0, 1), latency=6)
    parameters, *_ = case(rows=4, cols=64, simd=64, pe=4)
    unit = FractionalMVAU(**parameters)
    assert unit.timing == Steps(consumes=((1,),), emits=(1,), latency=5 + unit.pe_latency)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pe": 3}, "rows must be a multiple of pe, not 4 and 3"),
        ({"simd": 4}, "cols must be a multiple of simd, not 6 and 4"),
        ({"weights": [[2] * 6] * 4}, "weights must be integers of element binary, not 2"),
        ({"gate": [0] * 3}, "gate must be given for 4 rows, not 3"),
        ({"gate": [0, 0, 0, 8]}, r"gate must lie in -6..7, not 8"),
        ({"gate": [0, 0, 0, -7]}, r"gate must lie in -6..7, not -7"),
        ({"gate": [0, 0, 0, 0.5]}, r"gate must lie in -6..7, not 0.5"),
        ({"output": "int5"}, "output must hold -18..18, not 'int5'"),
        ({"output": "uint9"}, "output must be 'intK', not 'uint9'"),
        ({"initial": [[0] * 4] * 2}, "initial must be 4 sums for each of 1 border classes"),
        ({"ram_style": "ultra"}, "ram_style must be one of auto, block, distributed, not 'ultra'"),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    parameters, *_ = case(rows=4, cols=6, simd=3, pe=2)
    with pytest.raises(ValueError, match=sentence):
        FractionalMVAU(**(parameters | changes))
