import pytest

from boards.axi.writer import MemoryWriter
from formal.prove import prove, refute
from formal.tampered import Tampered
from formal.writing import Writing


def writer(lanes=3):
    return MemoryWriter(address_bits=13, data_bits=32, lanes=lanes, burst_beats=2, depth=4)


def test_writer_keeps_the_rules_with_any_delays_stops_and_failures():
    prove(Writing(writer(), beats=2, faults=True), method="bounded", depth=13, cover=17)


def test_writer_changes_the_bytes_of_its_regions_and_no_others():
    design = Writing(writer(), beats=2, faults=False, prompt=True)
    prove(design, method="bounded", depth=17, cover=17)


@pytest.mark.parametrize(
    ("port", "change", "sentence"),
    [
        ("memory.wstrb", lambda m, value: 15, "a byte is written as it came"),
        ("memory.wstrb", lambda m, value: 0, "a region is done when all its bytes are in memory"),
        ("memory.wdata", lambda m, value: value ^ 1, "a byte is written as it came"),
        ("memory.awlen", lambda m, value: value + 1, "no burst crosses a multiple of 4 KiB"),
        ("memory.wlast", lambda m, value: 1, "the last word of a burst is marked"),
        ("idle", lambda m, value: 1, "it is not idle while anything is offered"),
    ],
)
def test_a_broken_writer_is_found_out(port, change, sentence):
    design = Writing(Tampered(writer(2), {port: change}), beats=2, faults=False, prompt=True)
    failed = refute(design, depth=18)
    assert any(name.startswith(sentence) for name in failed), failed


def test_a_writer_that_does_not_wait_for_responses_is_found_out():
    unit = writer(2)
    early = {"done": lambda m, value: unit.memory.wvalid & unit.memory.wlast}
    failed = refute(Writing(Tampered(unit, early), beats=1, faults=False, prompt=True), depth=18)
    assert failed == {"a region is done when all its bytes are in memory"}
