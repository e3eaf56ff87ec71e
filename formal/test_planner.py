import pytest

from boards.axi.region import BurstPlanner
from formal.planning import Planning
from formal.prove import prove, refute
from formal.tampered import Tampered


def planner():
    return BurstPlanner(address_bits=13, data_bits=32, burst_beats=4)


def test_planner_divides_every_region_into_bursts_that_cross_nothing():
    prove(Planning(planner()), method="bounded", depth=13, cover=13)


@pytest.mark.parametrize(
    ("port", "change", "sentence"),
    [
        ("o.payload", lambda m, value: value ^ (1 << 13), "a burst crosses no multiple"),
        ("i.payload", lambda m, value: value + (1 << 13), "the places of the first and the last"),
    ],
)
def test_a_broken_planner_is_found_out(port, change, sentence):
    failed = refute(Planning(Tampered(planner(), {port: change})), depth=15)
    assert any(name.startswith(sentence) for name in failed), failed
