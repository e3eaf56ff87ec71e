import pytest

from boards.axi.bridge import AXILiteBridge
from boards.axi.ports import Burst
from formal.bridge import Bridging
from formal.prove import prove, refute
from formal.tampered import Tampered


def bridge():
    return AXILiteBridge(i_address_bits=12, o_address_bits=12, id_bits=2)


def test_bridge_reads_each_beat_once_at_its_address():
    prove(Bridging(bridge(), "read"), method="bounded", depth=16, cover=24)


def test_bridge_writes_each_beat_once_at_its_address():
    prove(Bridging(bridge(), "write"), method="bounded", depth=14, cover=24)


@pytest.mark.parametrize(
    ("half", "port", "change", "sentence"),
    [
        ("read", "i.arburst", lambda m, value: Burst.INCR, "a read has the address of its beat"),
        ("read", "i.rlast", lambda m, value: 0, "beats have the burst's id, and its last one"),
        ("read", "o.rvalid", lambda m, value: 1, "a beat is given when the subordinate gave it"),
        ("write", "o.awaddr", lambda m, value: value & ~1, "a write has the address of its beat"),
        ("write", "o.wstrb", lambda m, value: 15, "a write is as it came"),
        ("write", "i.bresp", lambda m, value: 0, "a burst's response has its id, and is the worst"),
        ("write", "i.awlen", lambda m, value: 0, "a burst is answered once, when all of it"),
    ],
)
def test_a_broken_bridge_is_found_out(half, port, change, sentence):
    failed = refute(Bridging(Tampered(bridge(), {port: change}), half), depth=14)
    assert any(name.startswith(sentence) for name in failed), failed
