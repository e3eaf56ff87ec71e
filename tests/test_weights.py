import random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal

from boards.command import make_console
from boards.synthesis import Netlist, estimate_units
from boards.tools import Ticker
from hw.weights import RAM_STYLES, WeightMemory, lookup_latency, style_attributes
from tests.enabled import pipeline, words_of


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("ram_style", RAM_STYLES)
@pytest.mark.parametrize("latency", [0, 1, 2])
@pytest.mark.parametrize(("depth", "width"), [(1, 1), (1, 40), (2, 3), (7, 1), (64, 130)])
def test_gives_each_word_so_many_enabled_cycles_later(depth, width, latency, ram_style, writable):
    words = words_of(width, depth, "content")[-depth:]
    m = Module()
    m.submodules.dut = dut = WeightMemory(
        depth=depth,
        width=width,
        init=words,
        ram_style=ram_style,
        latency=latency,
        writable=writable,
    )
    address, enable = Signal(max(1, (depth - 1).bit_length())), Signal()
    m.d.comb += [dut.address.eq(address), dut.en.eq(enable)]
    if depth == 1 or latency == 0:
        # Logic has no clock, but the bench needs one.
        m.d.sync += Signal(name="unused").eq(enable)
    addresses = [word % depth for word in words_of(8, 60, depth)]
    found = pipeline(m, address, [dut.data], enable, addresses, latency, seed=depth)
    assert found == [[words[address]] for address in addresses]


def test_style_is_told_for_roms_and_for_rams():
    assert style_attributes("auto") == {}
    assert style_attributes("block") == {"ram_style": "block", "rom_style": "block"}
    # Yosys has no LUT RAM that is a ROM, and would give up.
    assert style_attributes("distributed") == {"ram_style": "logic", "rom_style": "distributed"}


def test_small_tables_are_read_sooner():
    assert [lookup_latency(depth) for depth in (1, 16, 17, 64, 65)] == [0, 0, 1, 1, 2]
    found = [lookup_latency(depth, registered=True) for depth in (1, 2, 16, 64, 65)]
    assert found == [0, 1, 1, 1, 2]
    assert WeightMemory.latency == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"depth": 0}, "depth must be a positive integer, not 0"),
        ({"width": 0}, "width must be a positive integer, not 0"),
        ({"init": [1, 2]}, "init must have 3 words, not 2"),
        ({"init": [1, 2, 16]}, "words must be integers of 4 bits, not 16"),
        ({"init": [1, -2, 3]}, "words must be integers of 4 bits, not -2"),
        ({"ram_style": "ultra"}, "ram_style must be one of auto, block, distributed, not 'ultra'"),
        ({"latency": 3}, "latency must be 0, 1 or 2, not 3"),
    ],
)
def test_refuses_bad_parameters(changes, sentence):
    parameters = {"depth": 3, "width": 4, "init": [1, 2, 3]}
    with pytest.raises(ValueError, match=sentence):
        WeightMemory(**(parameters | changes))


@pytest.mark.parametrize(("family", "brams"), [("xcup", 1.5), ("ecp5", 3)])
def test_a_memory_that_is_written_is_block_ram_with_one_port_to_read_and_one_to_write(
    family, brams, tmp_path
):
    init = [random.Random(row).getrandbits(96) for row in range(512)]
    memory = WeightMemory(depth=512, width=96, init=init, ram_style="block", writable=True)
    text = Netlist(rtlil.convert(memory, name="memory", emit_src=False)).subtree("memory")
    ticker = Ticker(make_console())
    found = estimate_units({"memory": text}, family=family, cache=tmp_path, ticker=ticker)
    # Three of 512 words of 36 bits, as many as a ROM of 96 bits takes.
    assert found["memory"].brams == brams
    assert found["memory"].lutrams == 0
