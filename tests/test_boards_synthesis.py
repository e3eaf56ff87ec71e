"""Counting cells, and synthesis of single units with Yosys."""

import io
import itertools
import random
import sys

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from rich.console import Console

from boards import synthesis
from boards.resources import Resources, count_cells, pack_luts
from boards.synthesis import Netlist, estimate_units, find_module, read_netlist, safe_names
from boards.tools import Ticker, ToolError, run_tool
from hw.eltwise import AddUnit
from hw.label_select import LabelSelect


def test_cells_of_ecp5():
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7, "DP16KD": 2}
    assert count_cells("ecp5", {**cells, "MULT18X18D": 4, "EHXPLLL": 1}) == Resources(
        luts=10 + 6 + 8, ffs=7, brams=2, dsps=4, lutrams=8
    )


def test_cells_of_ultrascale():
    cells = {"LUT1": 1, "LUT6": 5, "CARRY4": 9, "MUXF7": 2, "INV": 3, "BUFG": 1}
    memory = {"RAM64M8": 2, "SRL16E": 3, "RAM32X1D": 1, "RAMB18E2": 3, "RAMB36E2": 1}
    registers = {"FDRE": 4, "FDSE": 1, "FDCE": 1, "FDPE": 1}
    assert count_cells("xcup", {**cells, **memory, **registers, "DSP48E2": 2}) == Resources(
        luts=6 + 3 + 16 + 3 + 2, ffs=7, brams=2.5, dsps=2, lutrams=21
    )


def test_parts_add_up_and_the_deepest_decides():
    first = Resources(1, 2, 0.5, 4, 1, 1, 9)
    assert first + Resources(10, 20, 1, 0, 0, 7, 4) == Resources(11, 22, 1.5, 4, 1, 8, 9)
    assert first + Resources(luts=3) == Resources(4, 2, 0.5, 4, 1, 1, 9)


@pytest.mark.parametrize(
    ("luts", "packed"),
    [
        ([], 0),
        ([range(6), range(6)], 2),
        ([range(5), range(5)], 1),
        ([range(5), range(1, 6)], 2),
        ([(1, 2), (3, 4, 5)], 1),
        ([(1, 2, 3), (4, 5, 6)], 2),
        ([(1, 2, 3), (3, 4, 5)], 1),
        ([(1, 2, 3, 4), (4, 5), (9,)], 2),
        ([(1,)] * 5, 3),
    ],
)
def test_luts_pair_if_they_have_five_inputs_together(luts, packed):
    assert pack_luts(luts) == packed


@pytest.mark.parametrize("seed", range(20))
def test_pairing_is_possible_and_near_the_best(seed):
    rng = random.Random(seed)
    luts = [rng.sample(range(8), rng.randint(1, 6)) for _ in range(7)]

    def best(rest):
        if not rest:
            return 0
        first, *others = rest
        found = 1 + best(others)
        for index, other in enumerate(others):
            if len({*first, *other}) <= 5:
                found = min(found, 1 + best(others[:index] + others[index + 1 :]))
        return found

    assert best(luts) <= pack_luts(luts) <= best(luts) + 1


class Child(wiring.Component):
    a: In(8)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a + 3)
        return m


class Parent(wiring.Component):
    """Two adders, one of which has the name of a signal, and a memory."""

    a: In(8)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Child()
        m.submodules.a = second = Child()
        m.submodules.memory = memory = Memory(shape=unsigned(32), depth=512, init=[])
        write, read = memory.write_port(), memory.read_port()
        wide = Signal(32)
        m.d.comb += [
            first.a.eq(self.a),
            second.a.eq(first.o),
            wide.eq(Cat(first.o, second.o, self.a, self.a)),
            write.addr.eq(self.a),
            write.data.eq(wide),
            write.en.eq(self.a[0]),
            read.addr.eq(second.o),
            self.o.eq(read.data[:8] ^ read.data[8:16] ^ read.data[16:24] ^ read.data[24:]),
        ]
        return m


@pytest.fixture(scope="module")
def netlist():
    return Netlist(rtlil.convert(Parent(), name="parent", emit_src=False))


def test_modules_are_found_under_the_names_that_amaranth_gave_them(netlist):
    assert find_module(netlist.modules, "parent") == "parent"
    assert find_module(netlist.modules, "parent.first") == "parent.first"
    numbered = find_module(netlist.modules, "parent.a")
    assert numbered.startswith("parent.a$") and numbered in netlist.modules
    with pytest.raises(ValueError, match="no module 'parent.second'"):
        find_module(netlist.modules, "parent.second")


def test_subtree_is_the_module_and_all_below(netlist):
    assert netlist.subtree("parent.first").count("\nmodule ") == 1
    assert netlist.subtree("parent").count("\nmodule ") == len(netlist.modules)
    assert "attribute \\top 1" in netlist.subtree("parent")


def estimate(units, tmp_path, family):
    output = io.StringIO()
    ticker = Ticker(Console(file=output))
    return estimate_units(units, family=family, cache=tmp_path / "units", ticker=ticker)


@pytest.mark.parametrize(
    ("family", "bram", "ffs"),
    [("ecp5", 1, 8), ("xcup", 0.5, 8)],
)
def test_units_are_synthesised_one_by_one_and_once(
    netlist, tmp_path, monkeypatch, family, bram, ffs
):
    units = {name: netlist.subtree(name) for name in ("parent", "parent.first")}
    found = estimate(units, tmp_path, family)
    assert found["parent.first"].ffs == ffs and found["parent.first"].brams == 0
    assert 1 <= found["parent.first"].luts <= 20
    assert found["parent"].brams == bram and found["parent"].ffs >= 2 * ffs
    assert found["parent"].depth >= 1
    assert (found["parent"].packed_luts is None) == (family == "ecp5")
    if family == "xcup":
        assert 1 <= found["parent"].packed_luts <= found["parent"].luts
    # Nothing of the work is left, and nothing is done twice.
    kept = sorted(path.name for path in (tmp_path / "units").iterdir())
    assert len(kept) == 2 and all(name.endswith(".json") for name in kept)
    monkeypatch.setattr(synthesis, "run_tool", lambda *a, **k: pytest.fail("done again"))
    assert estimate(units, tmp_path, family) == found


def test_a_unit_that_fails_is_named_with_the_reason(netlist, tmp_path):
    text = netlist.subtree("parent.first").replace("cell $add", "cell \\Unknown")
    with pytest.raises(ToolError, match=r"synthesis of parent\.first failed: .*Unknown"):
        estimate({"parent.first": text}, tmp_path, "ecp5")
    assert list((tmp_path / "units").iterdir()) == []


def test_packing_and_depth_are_read_from_the_netlist():
    nets = itertools.count(2)

    def lut(inputs, out):
        directions = {**dict.fromkeys(inputs, "input"), "O": "output"}
        kind = f"LUT{len(inputs)}"
        return {
            "type": kind,
            "port_directions": directions,
            "connections": {**inputs, "O": [out]},
        }

    cells = {
        "a": lut({"I0": [2], "I1": [3], "I2": ["1"]}, 9),
        "b": lut({f"I{i}": [next(nets)] for i in range(5)}, 10),
        "c": {"type": "RAM32M16", "connections": {}, "port_directions": {}},
    }
    ports = {
        "i": {"direction": "input", "bits": [2, 3, 4, 5, 6]},
        "o": {"direction": "output", "bits": [9, 10]},
    }
    netlist = {"modules": {"unit": {"cells": cells, "ports": ports}}}
    unit = read_netlist(netlist, "unit", "xcup")
    assert unit.resources == Resources(luts=10, lutrams=8, packed_luts=9, depth=1)
    assert unit.paths.through == {"i": {"o": 1}}


def test_wires_between_units_are_found_whatever_their_ports_are_called(netlist):
    first, second = "first", find_module(netlist.modules, "parent.a").removeprefix("parent.")
    wires = netlist.wires("parent")
    between = {(output[0], entry[0]) for output, entry in wires}
    assert (first, second) in between and (second, first) not in between
    assert all(entry[0] != first for _, entry in wires)


class Lanes(wiring.Component):
    """Registers a beat of four lanes: all of them."""

    i: In(data.ArrayLayout(signed(6), 4))
    o: Out(data.ArrayLayout(unsigned(1), 4))

    def elaborate(self, platform):
        m = Module()
        held = Signal(data.ArrayLayout(signed(6), 4))
        m.d.sync += held.eq(self.i)
        for lane in range(4):
            result = Signal(name=f"result_{lane}")
            m.d.sync += result.eq(held[lane] > 2 * lane)
            m.d.comb += self.o[lane].eq(result)
        return m


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_no_lane_of_an_array_is_lost(tmp_path, family):
    # Without safe_names, three of the four results are gone.
    netlist = Netlist(rtlil.convert(Lanes(), name="lanes", emit_src=False))
    found = estimate({"lanes": netlist.subtree("lanes")}, tmp_path, family)
    assert found["lanes"].ffs == 4 * 6 + 4


@pytest.mark.parametrize(
    "unit",
    [
        Lanes(),
        AddUnit(lanes=4, a="int6", b="int5", shifts=(0, 1), output="int7"),
        LabelSelect(channels=6, lanes=3, input="int5"),
    ],
    ids=lambda unit: type(unit).__name__,
)
def test_mapped_cells_compute_what_the_unit_does(tmp_path, unit):
    # Proven by induction, against the models of the ECP5's cells.
    (tmp_path / "unit.il").write_text(safe_names(rtlil.convert(unit, name="unit", emit_src=False)))
    script = [
        "read_rtlil unit.il",
        "hierarchy -top unit",
        "proc",
        "memory",
        "equiv_opt -assert -undef -map +/ecp5/cells_sim.v synth_ecp5 -nowidelut",
    ]
    (tmp_path / "unit.ys").write_text("\n".join(script) + "\n")
    log = tmp_path / "log"
    code = run_tool([sys.executable, "-c", synthesis.RUN, "unit.ys"], cwd=tmp_path, log=log)
    assert code == 0, log.read_text()[-1000:]
    assert "Equivalence successfully proven!" in log.read_text()


def test_safe_names_change_nothing_but_names_with_brackets():
    text = (
        "wire width 4 \\a\nwire width 1 \\a[0]\nconnect \\a[0].b[1] \\a [0]\nconnect $1 \\a [3:1]\n"
    )
    assert safe_names(text) == (
        "wire width 4 \\a\nwire width 1 \\a(0)\nconnect \\a(0).b(1) \\a [0]\nconnect $1 \\a [3:1]\n"
    )
