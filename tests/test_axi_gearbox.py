import random

import pytest

from boards.axi.gearbox import ByteGearbox
from tests.axi_memory import simulate
from tests.streams import drive

RATIOS = [
    (1, 1), (16, 16), (16, 1), (1, 16), (16, 3), (3, 16), (3, 4), (4, 3), (12, 8), (8, 12),
    (5, 3), (3, 5), (24, 16), (40, 4), (7, 2), (2, 7), (2, 1), (3, 2), (2, 3),
]  # fmt: skip


def words(data, count):
    """Beats of ``count`` bytes, without those that fill none."""
    whole = len(data) // count * count
    return [int.from_bytes(data[k : k + count], "little") for k in range(0, whole, count)]


@pytest.mark.parametrize(("i_bytes", "o_bytes"), RATIOS)
def test_all_bytes_come_in_their_order(i_bytes, o_bytes):
    # One beat more than makes a whole number on both sides: what is left over stays inside.
    data = random.Random(f"{i_bytes} {o_bytes}").randbytes(i_bytes * (3 * o_bytes + 1))
    given, expected = words(data, i_bytes), words(data, o_bytes)
    for seed in (1, 2):
        unit = ByteGearbox(i_bytes=i_bytes, o_bytes=o_bytes)
        run = drive(unit, {"i": given}, {"o": len(expected)}, seed=seed)
        assert run.beats["o"] == expected


@pytest.mark.parametrize(("i_bytes", "o_bytes"), RATIOS)
def test_the_narrower_side_never_rests(i_bytes, o_bytes):
    data = bytes(k % 251 for k in range(i_bytes * o_bytes * 3))
    given, expected = words(data, i_bytes), words(data, o_bytes)
    unit = ByteGearbox(i_bytes=i_bytes, o_bytes=o_bytes)
    run = drive(unit, {"i": given}, {"o": len(expected)})
    assert run.beats["o"] == expected
    if i_bytes >= o_bytes:
        assert run.cycles["o"] == [1 + k for k in range(len(expected))]
    else:
        assert run.cycles["i"] == list(range(len(given)))
        # An output is there the cycle after the beat that completes it.
        assert run.cycles["o"] == [-(-(k + 1) * o_bytes // i_bytes) for k in range(len(expected))]


@pytest.mark.parametrize(("i_bytes", "o_bytes"), [(1, 16), (3, 16), (3, 4), (2, 7)])
def test_what_has_room_is_taken_while_the_output_waits(i_bytes, o_bytes):
    unit = ByteGearbox(i_bytes=i_bytes, o_bytes=o_bytes)
    taken = 0

    async def bench(ctx):
        nonlocal taken
        ctx.set(unit.i.valid, 1)
        for _ in range(3 * o_bytes):
            _, _, ready = await ctx.tick().sample(unit.i.ready)
            taken += ready

    simulate(unit, bench)
    # All but the beat that completes a second output.
    assert taken == -(-2 * o_bytes // i_bytes) - 1


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "4"])
def test_bytes_must_be_a_positive_integer(wrong):
    with pytest.raises(ValueError, match="i_bytes must be an integer of at least 1, not"):
        ByteGearbox(i_bytes=wrong, o_bytes=1)
    with pytest.raises(ValueError, match="o_bytes must be an integer of at least 1, not"):
        ByteGearbox(i_bytes=1, o_bytes=wrong)
