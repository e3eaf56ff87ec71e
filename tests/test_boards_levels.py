"""Logic levels of mapped netlists, and of paths through several units."""

import random

import pytest

from boards.levels import LongestPath, Paths, longest_path, unit_paths

OUTPUTS = ("O", "CO", "Q", "DOA", "DOB", "P", "F", "S0", "S1", "COUT", "DO", "DOUT")


def module(cells, **ports):
    """A module of ``{name: (type, {port: nets})}``; ports are ``(direction, nets)``."""
    return {
        "cells": {
            name: {
                "type": kind,
                "parameters": dict(more[0]) if more else {},
                "port_directions": {
                    port: "output" if port in OUTPUTS else "input" for port in connections
                },
                "connections": {
                    port: nets if isinstance(nets, list) else [nets]
                    for port, nets in connections.items()
                },
            }
            for name, (kind, connections, *more) in cells.items()
        },
        "ports": {
            name: {"direction": direction, "bits": nets}
            for name, (direction, nets) in ports.items()
        },
        "netnames": {"begin": {"bits": [100]}, "end": {"bits": [199]}},
    }


def between(cells):
    """Cells between a register that makes net 100 and one that takes net 199."""
    return module(
        {
            "first": ("FDRE", {"C": 1, "Q": 100}),
            **cells,
            "last": ("FDRE", {"C": 1, "D": 199}),
        }
    )


def chain(length, kind="CARRY4"):
    """A run of carry cells, entered at the lowest one by net 100 and left at the highest."""
    into = {"CARRY4": "CI", "CCU2C": "CIN"}[kind]
    out, carry, data = ("O", "CO", "S") if kind == "CARRY4" else ("S0", "COUT", "A0")
    return {
        f"carry{k}": (
            kind,
            {
                into: [200 + k] if k else ["0"],
                data: [100] if k == 0 else ["1"],
                carry: [201 + k],
                out: [199] if k == length - 1 else [300 + k],
            },
        )
        for k in range(length)
    }


def test_a_wire_between_registers_has_no_level():
    first = {"bits": ("FDRE", {"C": 1, "D": 100})}
    assert unit_paths(between(first)).inside == 0


def test_luts_count_one_each_and_the_ends_are_named():
    paths = unit_paths(
        between(
            {
                "b": ("LUT6", {"I0": 101, "I1": "1", "O": 199}),
                "a": ("LUT2", {"I0": 100, "I1": 100, "O": 101}),
            }
        )
    )
    assert paths == Paths(inside=2, ends=("begin", "end"))
    assert paths.depth == 2


@pytest.mark.parametrize(("cells", "levels"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (16, 8)])
def test_a_carry_chain_counts_a_level_for_each_eight_bits(cells, levels):
    assert unit_paths(between(chain(cells))).inside == levels


@pytest.mark.parametrize(("cells", "levels"), [(1, 1), (4, 1), (5, 2), (12, 3)])
def test_a_carry_chain_of_an_ecp5_does_too(cells, levels):
    made = between(chain(cells, "CCU2C"))
    made["cells"]["first"]["type"] = made["cells"]["last"]["type"] = "TRELLIS_FF"
    assert unit_paths(made).inside == levels


def test_a_lut_behind_a_chain_waits_for_the_whole_level():
    cells = chain(1)
    cells["carry0"][1]["O"] = [150]
    assert unit_paths(between({**cells, "lut": ("LUT1", {"I0": 150, "O": 199})})).inside == 2


def test_a_chain_is_left_where_the_path_leaves_it():
    cells = chain(5)
    cells["carry4"][1]["O"], cells["carry1"][1]["O"] = [350], [199]
    assert unit_paths(between(cells)).inside == 1


def test_multiplexers_of_a_slice_are_free():
    cells = {
        "a": ("LUT6", {"I0": 100, "O": 101}),
        "b": ("LUT6", {"I0": 100, "O": 102}),
        "m": ("MUXF7", {"I0": 101, "I1": 102, "S": 100, "O": 199}),
    }
    assert unit_paths(between(cells)).inside == 1


def test_what_a_lut_memory_holds_is_a_level_behind_its_address():
    ram = ("RAM64M8", {"ADDRA": [100], "ADDRB": [103], "DOA": [101], "DOB": [199], "WCLK": 1})
    assert unit_paths(between({"ram": ram})).inside == 1
    both = {"ram": ram, "lut": ("LUT2", {"I0": 101, "I1": 101, "O": 103})}
    # Address of A, what A holds, the LUT, what B holds.
    assert unit_paths(between(both)).inside == 3


def test_a_block_ram_ends_paths_and_begins_them():
    cells = {
        "a": ("LUT1", {"I0": 100, "O": 101}),
        "ram": ("RAMB18E2", {"ADDRARDADDR": [101], "DOUT": [102]}),
        "b": ("LUT1", {"I0": 102, "O": 103}),
        "c": ("LUT1", {"I0": 103, "O": 199}),
    }
    made = between(cells)
    made["cells"]["ram"]["port_directions"]["DOUT"] = "output"
    assert unit_paths(made).inside == 2


@pytest.mark.parametrize(
    ("registers", "levels"), [({}, 3), ({"PREG": "1"}, 2), ({"AREG": "1"}, 2), ({"MREG": "01"}, 2)]
)
def test_a_multiplier_is_a_level_unless_its_registers_are_used(registers, levels):
    cells = {
        "a": ("LUT1", {"I0": 100, "O": 101}),
        "dsp": ("DSP48E2", {"A": [101], "B": [101], "P": [102]}, registers),
        "b": ("LUT1", {"I0": 102, "O": 199}),
    }
    assert unit_paths(between(cells)).inside == levels


def test_ports_are_measured_apart():
    made = module(
        {
            "ff": ("FDRE", {"C": [1], "D": [12], "CE": [10], "Q": [20]}),
            "d0": ("LUT1", {"I0": 11, "O": 13}),
            "d1": ("LUT1", {"I0": 13, "O": 12}),
            "q": ("LUT2", {"I0": 20, "I1": 10, "O": 21}),
        },
        clk=("input", [1]),
        i=("input", [11]),
        en=("input", [10]),
        o=("output", [21]),
    )
    paths = unit_paths(made)
    assert paths.inside == 0
    assert paths.to == {"i": 2, "en": 0}
    assert paths.out == {"o": 1}
    assert paths.through == {"en": {"o": 1}}
    assert paths.depth == 2 and paths.ends[0] == "i"


def test_an_unknown_cell_and_a_loop_are_refused():
    with pytest.raises(ValueError, match="cell x is of type FOO, of which no logic levels"):
        unit_paths(between({"x": ("FOO", {"I0": 100, "O": 199})}))
    loop = {
        "a": ("LUT2", {"I0": 100, "I1": 102, "O": 101}),
        "b": ("LUT1", {"I0": 101, "O": 102}),
    }
    with pytest.raises(ValueError, match="loop without a register"):
        unit_paths(between(loop))


@pytest.mark.parametrize("seed", range(10))
def test_random_logic_is_as_deep_as_its_longest_way(seed):
    rng = random.Random(seed)
    cells, deepest = {}, {100: 0}
    for net in range(101, 160):
        chosen = rng.sample(sorted(deepest), min(len(deepest), rng.randint(1, 3)))
        deepest[net] = 1 + max(deepest[source] for source in chosen)
        cells[f"n{net}"] = ("LUT3", {**{f"I{k}": s for k, s in enumerate(chosen)}, "O": net})
    last = max(deepest, key=deepest.get)
    cells["end"] = ("LUT1", {"I0": last, "O": 199})
    shuffled = dict(rng.sample(sorted(cells.items()), len(cells)))
    assert unit_paths(between(shuffled)).inside == deepest[last] + 1


def test_the_longest_path_goes_through_several_units():
    units = {
        "a": Paths(inside=4, out={"o": 2}, to={"i": 1}),
        "b": Paths(inside=1, to={"i": 1}, through={"i": {"o": 3}}, out={"o": 1}),
        "c": Paths(inside=3, to={"i": 2, "back": 4}, out={}),
    }
    wires = [(("a", "o"), ("b", "i")), (("b", "o"), ("c", "i"))]
    assert longest_path(units, wires) == LongestPath(7, ("a", "b", "c"))
    # What comes from outside stands for a register.
    assert longest_path(units, wires[:1]) == LongestPath(5, ("a", "b"))
    assert longest_path(units, []) == LongestPath(4, ("c",))


def test_a_circle_without_a_register_is_named():
    units = {name: Paths(to={"i": 1}, through={"i": {"o": 1}}, out={"o": 1}) for name in ("a", "b")}
    wires = [(("a", "o"), ("b", "i")), (("b", "o"), ("a", "i"))]
    with pytest.raises(ValueError, match="goes round without a register: [ab] -> [ab]"):
        longest_path(units, wires)
