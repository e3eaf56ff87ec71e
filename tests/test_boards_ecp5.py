"""Clocks of ECP5 boards, and the list of boards."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, Signal

from boards.board import BOARDS, BoardError, find_board
from boards.ecp5 import PLL, ECP5Clock, find_pll
from hw.cost import Device


@pytest.mark.parametrize(
    ("wanted", "exact"),
    [(12.5, 12.5), (25, 25), (40, 40), (48, 48.0769), (50, 50), (62.5, 62.5), (100, 100)],
)
def test_common_clocks_are_made_exactly_or_nearly(wanted, exact):
    assert find_pll(25e6, wanted * 1e6).hertz == pytest.approx(exact * 1e6, rel=1e-5)


def test_every_clock_keeps_the_limits_of_the_data_sheet():
    for tenths in range(40, 4000, 37):
        wanted = tenths * 1e5
        try:
            pll = find_pll(25e6, wanted)
        except ValueError:
            # Above 100 MHz the divider of the output leaves gaps.
            assert wanted > 100e6
            continue
        assert abs(pll.hertz - wanted) <= 0.02 * wanted
        assert pll.input_hz / pll.input_divider >= 10e6
        assert 400e6 <= pll.oscillator_hz <= 800e6
        assert pll.hertz * pll.output_divider == pytest.approx(pll.oscillator_hz)
        for divider in (pll.input_divider, pll.feedback_divider, pll.output_divider):
            assert 1 <= divider <= 128


@pytest.mark.parametrize("wanted", [1e6, 500e6, 0, -5e6])
def test_clocks_out_of_reach_are_refused(wanted):
    with pytest.raises(ValueError, match="no PLL setting makes .* MHz of 25 MHz"):
        find_pll(25e6, wanted)


def test_pll_of_the_design_has_the_dividers_and_resets_until_lock():
    m = Module()
    m.domains.sync = ClockDomain()
    source, count = Signal(name="ref"), Signal(4)
    m.d.sync += count.eq(count + 1)
    m.submodules.clock = ECP5Clock(pll=PLL(25e6, 2, 37, 7), source=source)
    text = rtlil.convert(m, name="top", ports=[source, count], emit_src=False)
    for line in (
        "cell \\EHXPLLL",
        "parameter \\CLKI_DIV 2",
        "parameter \\CLKOP_DIV 37",
        "parameter \\CLKOS_DIV 7",
        "parameter \\CLKFB_DIV 1",
        'attribute \\FREQUENCY_PIN_CLKOS "66.0714"',
        "connect \\CLKI \\ref",
    ):
        assert line in text
    assert "reset_sync" in text


def test_every_board_of_the_list_is_found_and_names_itself():
    for name in BOARDS:
        board = find_board(name)
        assert board.name == name and isinstance(board.device, Device)


def test_unknown_boards_are_refused():
    with pytest.raises(BoardError, match="no board 'de10'; known are ultra96v2, ulx3s_85f, zcu102"):
        find_board("de10")


def test_facts_of_the_devices():
    facts = {
        name: (board.device.luts, board.device.brams, board.device.dsps)
        for name, board in ((name, find_board(name)) for name in BOARDS)
    }
    assert facts == {
        "ulx3s_85f": (83_640, 208, 156),
        "ultra96v2": (70_560, 216, 360),
        "zcu102": (274_080, 912, 2_520),
    }
