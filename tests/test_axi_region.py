import random

import pytest

from boards.axi.region import BurstPlanner, exact_log2, narrow_lanes
from tests.axi_memory import bursts_of
from tests.streams import drive


def plan(regions, *, data_bits, burst_beats, seed=None):
    """The bursts of the regions: address, beats, last, start and end of each."""
    planner = BurstPlanner(address_bits=40, data_bits=data_bits, burst_beats=burst_beats)
    words = [address | length << 40 for address, length in regions]
    expected = bursts_of(regions, data_bits // 8, burst_beats)
    run = drive(planner, {"i": words}, {"o": len(expected)}, seed=seed)
    place = exact_log2(data_bits // 8)
    low = (1 << place) - 1
    found = [
        (
            word & (1 << 40) - 1,
            (word >> 40 & 0xFF) + 1,
            word >> 48 & 1,
            word >> 49 & low,
            word >> 49 + place & low,
        )
        for word in run.beats["o"]
    ]
    assert [burst[:2] for burst in found] == expected
    return run, found


@pytest.mark.parametrize("seed", range(4))
def test_bursts_tell_where_their_regions_begin_and_end(seed):
    source = random.Random(seed)
    data_bits, burst_beats = source.choice(((32, 1), (64, 16), (128, 4), (1024, 32)))
    regions = [
        (source.randrange(1 << 30), source.randint(1, source.choice((3, 40, 600))))
        for _ in range(20)
    ]
    _, found = plan(regions, data_bits=data_bits, burst_beats=burst_beats, seed=seed)
    size = data_bits // 8
    wanted = []
    for address, length in regions:
        bursts = bursts_of([(address, length)], size, burst_beats)
        for index in range(len(bursts)):
            last = index == len(bursts) - 1
            wanted.append((last, address % size, (address + length) % size))
    assert [burst[2:] for burst in found] == wanted


@pytest.mark.parametrize("length", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 5000])
@pytest.mark.parametrize("offset", [0, 1, 4095])
def test_long_regions_are_counted_to_their_end(length, offset):
    # Lengths are added up and counted down in two parts.
    _, found = plan([(4096 + offset, length), (0, 1)], data_bits=1024, burst_beats=32)
    assert [k for k, burst in enumerate(found) if burst[2]] == [len(found) - 2, len(found) - 1]


def test_a_burst_comes_each_cycle_and_a_region_costs_four_more():
    regions = [(0, 160), (32, 32), (48, 17)]
    run, _ = plan(regions, data_bits=128, burst_beats=2)
    assert run.cycles["i"] == [0, 9, 14]
    assert run.cycles["o"] == [5, 6, 7, 8, 9, 14, 19, 20]


@pytest.mark.parametrize(("lanes", "narrow"), [(1, 1), (16, 16), (24, 12), (40, 10), (17, 1)])
def test_many_lanes_go_through_a_word_in_equal_parts(lanes, narrow):
    assert narrow_lanes(lanes, 16) == narrow
