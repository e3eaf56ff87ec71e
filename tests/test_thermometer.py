import random

import pytest

from hw.lanes import element_for
from hw.level_mvau import LevelMVAU
from hw.table_pe import LookupPE
from hw.thermometer import ThermometerUnit, level_element
from hw.timing import Steps
from tests.check import check
from tests.streams import beats


@pytest.mark.parametrize(("lanes", "levels"), [(1, 1), (1, 3), (3, 32), (4, 7)])
def test_bits_below_the_level_are_one(lanes, levels):
    source = random.Random(levels)
    numbers = [source.randint(0, levels) for _ in range(12 * lanes)] + [0, levels] * lanes
    bits = [int(number > k) for number in numbers for k in range(levels)]
    check(
        lambda: ThermometerUnit(lanes=lanes, levels=levels),
        {"i": beats(level_element(levels), lanes, numbers)},
        {"o": beats("binary", lanes * levels, bits)},
    )


def test_a_level_is_as_wide_as_the_number_of_levels():
    assert [level_element(levels) for levels in (1, 3, 4, 31, 32)] == [
        "uint1", "uint2", "uint3", "uint5", "uint6",
    ]  # fmt: skip


def case(
    *,
    rows,
    lanes,
    levels,
    simd,
    pe,
    row_classes=(0,),
    column_classes=(0, 0, 0),
    frames=2,
    bias=50,
    weights=None,
    **options,
):
    """Parameters of a unit, its input beats and its expected output beats."""
    source = random.Random(f"{rows} {lanes} {levels} {simd} {pe}")
    cols = lanes * levels
    if weights is None:
        weights = [[source.choice((-1, 1)) for _ in range(cols)] for _ in range(rows)]
    columns = max(column_classes) + 1
    classes = (max(row_classes) + 1) * columns
    initial = [[source.randint(-bias, bias) for _ in range(rows)] for _ in range(classes)]
    output = element_for(-bias - cols, bias + cols)
    given, expected = [], []
    for _ in range(frames):
        for row_class in row_classes:
            for column_class in column_classes:
                window = [
                    source.choice((0, levels, source.randint(0, levels))) for _ in range(lanes)
                ]
                given += beats(level_element(levels), simd // levels, window)
                bits = [1 if level > k else -1 for level in window for k in range(levels)]
                start = initial[row_class * columns + column_class]
                sums = [
                    start[row] + sum(w * x for w, x in zip(weights[row], bits, strict=True))
                    for row in range(rows)
                ]
                expected += beats(output, pe, sums)
    parameters = {
        "rows": rows,
        "cols": cols,
        "levels": levels,
        "weights": weights,
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
    return check(lambda: LevelMVAU(**parameters), {"i": given}, {"o": expected}, seeds=seeds)


# rows, lanes, levels, simd, pe: one of each, all at once, one fold in either direction, all folds.
GEOMETRIES = [
    (1, 1, 1, 1, 1),
    (1, 9, 4, 36, 1),
    (8, 1, 5, 5, 2),
    (4, 6, 3, 18, 4),
    (4, 6, 3, 18, 1),
    (4, 6, 3, 3, 4),
    (6, 12, 32, 96, 2),
    (5, 4, 7, 14, 1),
    (3, 5, 31, 155, 3),
]


@pytest.mark.parametrize(("rows", "lanes", "levels", "simd", "pe"), GEOMETRIES)
def test_sums_are_those_of_the_bits(rows, lanes, levels, simd, pe):
    run(*case(rows=rows, lanes=lanes, levels=levels, simd=simd, pe=pe))


@pytest.mark.parametrize(("rows", "lanes", "levels", "simd", "pe"), GEOMETRIES)
def test_one_beat_a_step_without_stalls(rows, lanes, levels, simd, pe):
    parameters, given, expected = case(
        rows=rows, lanes=lanes, levels=levels, simd=simd, pe=pe, frames=3
    )
    nf, sf = rows // pe, lanes * levels // simd
    unit = LevelMVAU(**parameters)
    assert unit.interval == 3 * nf * sf
    found = run(parameters, given, expected, seeds=())
    latency = 3 + unit.pe_latency
    assert found.cycles["o"] == [(n + 1) * sf - 1 + latency for n in range(9 * nf)]


@pytest.mark.parametrize(
    ("row_classes", "column_classes"),
    [((0, 1, 1, 2), (0, 1, 1, 1, 2)), ((0, 0, 1), (0,)), ((2, 0, 1), (0, 1, 0, 2))],
)
@pytest.mark.parametrize(("rows", "pe"), [(1, 1), (6, 2)])
def test_initial_sums_by_border_class(row_classes, column_classes, rows, pe):
    run(
        *case(
            rows=rows,
            lanes=6,
            levels=3,
            simd=9,
            pe=pe,
            row_classes=row_classes,
            column_classes=column_classes,
        )
    )


@pytest.mark.parametrize("number", [1, -1])
def test_equal_weights_reach_the_ends_of_the_range(number):
    weights = [[number] * 16, [-number] * 16]
    run(*case(rows=2, lanes=4, levels=4, simd=8, pe=1, weights=weights, bias=0, frames=9))


@pytest.mark.parametrize("ram_style", ["auto", "block", "distributed"])
def test_styles_change_no_result(ram_style):
    run(*case(rows=4, lanes=4, levels=4, simd=8, pe=2, ram_style=ram_style))


def test_timing_states_steps_and_latency():
    parameters, *_ = case(rows=4, lanes=6, levels=3, simd=9, pe=2)
    unit = LevelMVAU(**parameters)
    # Two for the tables, two levels of adders.
    assert unit.timing == Steps(consumes=((1, 1, 0, 0),), emits=(0, 1, 0, 1), latency=3 + 4)


def test_tables_leave_out_what_all_levels_have():
    # Levels 0, 1 and 2 of weights +1 -1 have 1, 2 and 1 equal columns.
    unit = LookupPE(levels=2, weights=[[[1, -1, -1, -1]]])
    assert unit.least == [[1 + 0]]
    assert unit.matches_0.shape().width == 2
    assert unit._words(0, 1) == [0, 1, 0, 0]
    assert unit._words(1, 2) == [2, 1, 0, 0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lanes": 0}, "lanes must be a positive integer, not 0"),
        ({"levels": "3"}, "levels must be a positive integer, not '3'"),
    ],
)
def test_the_thermometer_refuses_bad_parameters(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ThermometerUnit(**({"lanes": 1, "levels": 3} | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"levels": 0}, "levels must be a positive integer, not 0"),
        ({"levels": 2}, "columns must be a multiple of levels, not 3 and 2"),
        ({"weights": [[[1, 1, 1]], [[1, 1]]]}, "weights must be as many rows of as many columns"),
        ({"weights": []}, "weights must be as many rows of as many columns"),
        ({"weights": [[[1, 0, 1]]]}, r"weights must be \+1 and -1"),
    ],
)
def test_the_tables_refuse_bad_parameters(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        LookupPE(**({"levels": 3, "weights": [[[1, 1, -1]]]} | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"levels": 0}, "levels must be a positive integer, not 0"),
        ({"levels": 2}, "simd must be a multiple of levels, not 9 and 2"),
        ({"simd": 4}, "cols must be a multiple of simd, not 18 and 4"),
        ({"output": "int5"}, "output must hold -18..18 of row 0, not 'int5'"),
        ({"ram_style": "ultra"}, "ram_style must be one of auto, block, distributed, not 'ultra'"),
    ],
)
def test_the_engine_refuses_bad_parameters(changes, sentence):
    parameters, *_ = case(rows=4, lanes=6, levels=3, simd=9, pe=2, bias=0)
    with pytest.raises(ValueError, match=sentence):
        LevelMVAU(**(parameters | changes))
