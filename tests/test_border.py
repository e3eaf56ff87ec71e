import random

import pytest
from amaranth.sim import Simulator

from hw.border import BorderClass, border_count

MAPS = [
    ([0], [0]),
    ([0, 0, 0], [0, 0]),
    ([0, 1, 2], [0, 1, 1, 1, 2]),
    ([2, 0, 0, 0, 1], [1]),
    ([0, 1], [1, 0, 0, 2, 3, 3]),
    ([3, 1, 0, 2], [0, 4, 1, 1, 1, 3, 2]),
]


@pytest.mark.parametrize(("rows", "columns"), MAPS)
def test_index_follows_raster_order_frame_after_frame(rows, columns):
    unit = BorderClass(
        height=len(rows), width=len(columns), row_classes=rows, column_classes=columns
    )
    count = max(columns) + 1
    assert unit.classes == (max(rows) + 1) * count
    assert unit.classes == border_count(len(rows), len(columns), rows, columns)
    expected = [row * count + column for row in rows for column in columns] * 3
    source = random.Random(len(expected))

    async def bench(ctx):
        for index in expected:
            for wait in range(source.choice((0, 0, 2))):
                ctx.set(unit.advance, 0)
                assert ctx.get(unit.index) == index, f"after waiting {wait} cycles"
                await ctx.tick()
            assert ctx.get(unit.index) == index
            ctx.set(unit.advance, 1)
            await ctx.tick()

    sim = Simulator(unit)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"height": 0}, "height must be a positive integer, not 0"),
        ({"width": -1}, "width must be a positive integer, not -1"),
        ({"row_classes": [0]}, "row_classes must have 2 entries, not 1"),
        ({"column_classes": [0] * 4}, "column_classes must have 3 entries, not 4"),
        ({"row_classes": [0, -1]}, "row_classes must be integers from 0, not \\[0, -1\\]"),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    parameters = {"height": 2, "width": 3, "row_classes": [0, 1], "column_classes": [0, 1, 2]}
    with pytest.raises(ValueError, match=sentence):
        BorderClass(**(parameters | changes))
