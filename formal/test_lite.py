import pytest
from amaranth.hdl import Signal

from boards.axi.lite import AXILiteSubordinate
from formal.lite import Serving
from formal.prove import prove, refute
from formal.tampered import Tampered


def test_axi_lite_subordinate_asks_and_answers_each_access_once_and_as_it_came():
    prove(Serving(AXILiteSubordinate(address_bits=4)), method="pdr", cover=12)


def test_axi_lite_subordinate_lets_neither_reads_nor_writes_wait_for_ever():
    design = Serving(AXILiteSubordinate(address_bits=4), patience=14)
    prove(design, method="pdr", cover=12)


def delayed(m, value):
    past = Signal.like(value)
    m.d.sync += past.eq(value)
    return past


def first_cycle(m, value):
    return value & ~delayed(m, value)


@pytest.mark.parametrize(
    ("port", "change", "sentence"),
    [
        ("bus.bvalid", first_cycle, "bus.b stays until it is taken"),
        ("bus.rdata", lambda m, value: value ^ 1, "a read's response is what was answered"),
        ("bus.awready", lambda m, value: 1, "a write is asked when its address"),
        ("address", delayed, "a read is asked as it came"),
        ("error", lambda m, value: 0, "a read's response is what was answered"),
        ("bus.bready", lambda m, value: 1, "a write has one response"),
    ],
)
def test_a_broken_subordinate_is_found_out(port, change, sentence):
    unit = Tampered(AXILiteSubordinate(address_bits=4), {port: change})
    failed = refute(Serving(unit), depth=10)
    assert any(name.startswith(sentence) for name in failed), failed


def test_a_subordinate_that_prefers_writes_is_found_out():
    unit = AXILiteSubordinate(address_bits=4)
    waits = {"bus.arvalid": lambda m, value: value & ~unit.bus.awvalid}
    failed = refute(Serving(Tampered(unit, waits), patience=14), depth=40)
    assert failed == {"a read is taken within 14 cycles"}
