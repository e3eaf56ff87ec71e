import pytest

from boards.axi.reader import MemoryReader
from formal.prove import prove, refute
from formal.reading import Reading
from formal.tampered import Tampered


def reader(lanes=2):
    return MemoryReader(address_bits=13, data_bits=32, lanes=lanes, burst_beats=2, depth=4)


def test_reader_gives_the_bytes_of_memory_and_comes_to_rest_after_stops_and_failures():
    prove(Reading(reader(3), beats=4, faults=True), method="bounded", depth=16, cover=20)


def test_reader_gives_the_bytes_of_several_regions_in_time():
    design = Reading(reader(), beats=2, faults=False, patience=16)
    prove(design, method="bounded", depth=20, cover=20)


@pytest.mark.parametrize(
    ("port", "change", "sentence"),
    [
        ("memory.araddr", lambda m, value: value | 2, "a burst begins with a whole word"),
        ("memory.arlen", lambda m, value: value + 1, "a word is read once for each region"),
        ("memory.rdata", lambda m, value: value ^ 0x100, "a byte is given as it is in memory"),
        ("o.payload", lambda m, value: value.rotate_left(8), "a byte is given as it is in memory"),
        ("idle", lambda m, value: 1, "it is not idle while anything is offered"),
        ("stop", lambda m, value: 0, "once it is idle after a stop"),
        ("memory.rresp", lambda m, value: 0, "SLVERR is told two cycles later"),
    ],
)
def test_a_broken_reader_is_found_out(port, change, sentence):
    design = Reading(Tampered(reader(), {port: change}), beats=2, faults=True)
    failed = refute(design, depth=18)
    assert any(name.startswith(sentence) for name in failed), failed
