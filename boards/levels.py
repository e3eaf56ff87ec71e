"""Logic levels between registers, of one unit and across the units of a design.

Counted are the cells that a signal passes one after the other, in a mapped netlist:

* a LUT, an inverter that is left over, and the asynchronous read of LUT memory or of a shift
  register: one level each (a wide multiplexer behind LUTs, in the same slice: none);
* carry cells that are chained: one level for each eight bits or part of them, on UltraScale+ a
  CARRY8. An ECP5 slice (CCU2C, two bits with the LUTs before them) is counted the same way;
* a multiplier without registers of its own (DSP48E2, MULT18X18D): one level. It is the slowest of
  all levels by far; place and route takes a register that stands directly at it inside.

Paths begin at flip-flops, block RAMs and multiplier registers, and end there; a port of a unit
stands for a register until :func:`longest_path` joins the units.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["LongestPath", "Paths", "longest_path", "unit_paths"]

#: Bits of a carry chain that count as a level.
_CHAIN = 8

#: Bits of each carry cell, its chained input and output.
_CARRY = {"CARRY4": 4, "CARRY8": 8, "CCU2C": 2}
_CHAINED = ("CI", "CIN")

#: Prefixes of cells whose outputs come from registers.
_REGISTERS = ("FD", "RAMB", "URAM", "TRELLIS_FF", "DP16KD", "PDPW16KD")
_LUTRAM = ("RAM32", "RAM64", "RAM128", "RAM256", "RAM512", "TRELLIS_DPR")
_SHIFT = ("SRL",)
_LUTS = ("LUT", "INV")
_FREE = ("MUXF", "PFUMX", "L6MUX21")
_MULTIPLIERS = ("DSP48", "MULT18X18D", "ALU54B")
#: Clocks, and what is no logic.
_IGNORED = ("BUFG", "$scopeinfo", "GND", "VCC", "VLO", "VHI")


@dataclass(frozen=True)
class Paths:
    """Longest paths of a unit in levels.

    Parameters
    ----------
    inside : int
        Between registers.
    to : dict of input port to int
        From the port to a register.
    out : dict of output port to int
        From a register to the port.
    through : dict of input port to dict of output port to int
    ends : (str, str)
        Where the longest path of all these begins and ends: names of nets or ports.
    """

    inside: int = 0
    to: Mapping[str, int] = field(default_factory=dict)
    out: Mapping[str, int] = field(default_factory=dict)
    through: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ends: tuple[str, str] = ("", "")

    @property
    def depth(self) -> int:
        """Longest path where registers surround the unit."""
        through = (levels for ports in self.through.values() for levels in ports.values())
        return max((self.inside, *self.to.values(), *self.out.values(), *through))


@dataclass(frozen=True)
class LongestPath:
    """The longest path of a design: its levels, and the units that it passes, in order."""

    levels: int
    units: tuple[str, ...]


@dataclass
class _Arc:
    """Combinational outputs of a cell: from the nets of ``sources``, ``bits`` further."""

    outputs: list[int]
    sources: list[int]
    bits: int
    # A chained input continues the carry run that comes in; all others begin a level.
    chained: list[int] = field(default_factory=list)


def unit_paths(module: Mapping) -> Paths:
    """Longest paths of a flat, mapped module, as Yosys' ``write_json`` wrote it.

    Raises
    ------
    ValueError
        It has a cell that nothing is known of, or its logic has a loop.
    """
    arcs: list[_Arc] = []
    starts: set[int] = set()
    stops: set[int] = set()
    for name, cell in module["cells"].items():
        _read_cell(name, cell, arcs, starts, stops)
    order = _in_order(arcs)
    names = {bit: name for name, net in module.get("netnames", {}).items() for bit in _nets(net)}
    ports = module.get("ports", {})
    outputs = {name: _nets(port) for name, port in ports.items() if port["direction"] == "output"}
    worst = (-1, "", "")

    def measure(origin: str | None, nets: Iterable[int]) -> tuple[int | None, dict[str, int]]:
        nonlocal worst
        arrival = dict.fromkeys(nets, 0)
        before: dict[int, int] = {}
        for arc in order:
            latest, at = None, 0
            for source in arc.sources:
                if source in arrival and (latest is None or _whole(arrival[source]) > latest):
                    latest, at = _whole(arrival[source]), source
            for source in arc.chained:
                if source in arrival and (latest is None or arrival[source] > latest):
                    latest, at = arrival[source], source
            if latest is not None:
                for output in arc.outputs:
                    arrival[output] = latest + arc.bits
                    before[output] = at

        def furthest(nets: Iterable[int], end: str | None) -> int | None:
            nonlocal worst
            reached = [net for net in nets if net in arrival]
            if not reached:
                return None
            last = max(reached, key=lambda net: _whole(arrival[net]))
            levels = _whole(arrival[last]) // _CHAIN
            if levels > worst[0]:
                first = last
                while first in before:
                    first = before[first]
                worst = (levels, origin or names.get(first, ""), end or names.get(last, ""))
            return levels

        found = {name: furthest(bits, name) for name, bits in outputs.items()}
        to_register = furthest(stops, None)
        return to_register, {name: levels for name, levels in found.items() if levels is not None}

    inside, out = measure(None, starts)
    to: dict[str, int] = {}
    through: dict[str, dict[str, int]] = {}
    for name, port in ports.items():
        if port["direction"] != "input" or name in ("clk", "rst"):
            continue
        levels, reached = measure(name, _nets(port))
        if levels is not None:
            to[name] = levels
        if reached:
            through[name] = reached
    return Paths(inside or 0, to, out, through, worst[1:])


def _whole(bits: int) -> int:
    """A position in a carry chain as whole levels, still in bits."""
    return -(-bits // _CHAIN) * _CHAIN


def _nets(net: Mapping) -> list[int]:
    return [bit for bit in net["bits"] if isinstance(bit, int)]


def _read_cell(
    name: str, cell: Mapping, arcs: list[_Arc], starts: set[int], stops: set[int]
) -> None:
    kind = cell["type"]
    if kind.startswith(_IGNORED):
        return
    directions = cell["port_directions"]
    inputs, outputs = {}, {}
    for port, bits in cell["connections"].items():
        nets = [bit for bit in bits if isinstance(bit, int)]
        (outputs if directions[port] == "output" else inputs)[port] = nets
    every_input = [net for nets in inputs.values() for net in nets]
    every_output = [net for nets in outputs.values() for net in nets]
    if kind in _CARRY:
        chained = [net for port in _CHAINED for net in inputs.pop(port, [])]
        sources = [net for nets in inputs.values() for net in nets]
        arcs.append(_Arc(every_output, sources, _CARRY[kind], chained))
    elif kind.startswith(_LUTS):
        arcs.append(_Arc(every_output, every_input, _CHAIN))
    elif kind.startswith(_FREE):
        arcs.append(_Arc(every_output, every_input, 0))
    elif kind.startswith(_REGISTERS):
        starts.update(every_output)
        stops.update(every_input)
    elif kind.startswith(_LUTRAM + _SHIFT):
        stops.update(every_input)
        for port, nets in outputs.items():
            address = [net for key in _read_address(kind, port) for net in inputs.get(key, [])]
            # What is read may have been in the memory all along: that is a path of its own.
            memory = -1 - len(arcs)
            starts.add(memory)
            arcs.append(_Arc(nets, [*address, memory], _CHAIN))
    elif kind.startswith(_MULTIPLIERS):
        _read_multiplier(cell, every_input, every_output, arcs, starts, stops)
    else:
        raise ValueError(f"cell {name} is of type {kind}, of which no logic levels are known")


def _read_address(kind: str, output: str) -> list[str]:
    """The ports of a LUT memory that choose what is at an output."""
    if kind.startswith("SRL"):
        # The end of a shift register is its own, wherever the other output reads.
        return [] if output == "Q31" else ["A", "A0", "A1", "A2", "A3"]
    if kind.startswith("TRELLIS_DPR"):
        return ["RAD"]
    if output.startswith("DO"):
        return [f"ADDR{output[2:]}"]
    prefix = "DPRA" if output == "DPO" else "A"
    return [prefix, *(f"{prefix}{bit}" for bit in range(9))]


def _read_multiplier(
    cell: Mapping,
    inputs: list[int],
    outputs: list[int],
    arcs: list[_Arc],
    starts: set[int],
    stops: set[int],
) -> None:
    parameters = cell.get("parameters", {})

    def used(name: str) -> bool:
        value = parameters.get(name, 0)
        if isinstance(value, str) and not set(value) <= {"0", "1"}:
            return value.startswith("CLK")
        return int(str(value), 2) != 0

    before = any(map(used, ("AREG", "BREG", "REG_INPUTA_CLK", "REG_INPUTB_CLK")))
    after = any(map(used, ("PREG", "MREG", "REG_PIPELINE_CLK", "REG_OUTPUT_CLK")))
    if before:
        stops.update(inputs)
        inputs = [-1 - len(arcs)]
        starts.update(inputs)
    if after:
        # The work lies before the last register: a path that ends in the cell itself.
        inner = -1_000_000_000 - len(arcs)
        stops.add(inner)
        starts.update(outputs)
        outputs = [inner]
    arcs.append(_Arc(outputs, inputs, _CHAIN))


def _in_order(arcs: list[_Arc]) -> list[_Arc]:
    """The arcs such that each comes after those that feed it."""
    feeds = {net: index for index, arc in enumerate(arcs) for net in arc.outputs}
    readers: dict[int, list[int]] = defaultdict(list)
    waiting = []
    for index, arc in enumerate(arcs):
        feeding = [feeds[net] for net in (*arc.sources, *arc.chained) if net in feeds]
        waiting.append(len(feeding))
        for other in feeding:
            readers[other].append(index)
    ready = [index for index, count in enumerate(waiting) if not count]
    order = []
    while ready:
        index = ready.pop()
        order.append(arcs[index])
        for reader in readers[index]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(order) != len(arcs):
        raise ValueError("the logic has a loop without a register")
    return order


def longest_path(
    units: Mapping[str, Paths], wires: Iterable[tuple[tuple[str, str], tuple[str, str]]]
) -> LongestPath:
    """The longest path through connected units.

    Parameters
    ----------
    units : dict of unit name to Paths
    wires : iterable of ((unit, output port), (unit, input port))
        A port that nothing is connected to stands for a register outside.

    Raises
    ------
    ValueError
        A signal goes round in a circle through units without a register.
    """
    followers: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for output, entry in wires:
        followers[output].append(entry)
    known: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}

    def after(port: tuple[str, str], passed: tuple[tuple[str, str], ...]):
        """Levels from an output port to a register, and the units on the way."""
        return max((enter(entry, passed) for entry in followers[port]), default=(0, ()))

    def enter(port: tuple[str, str], passed: tuple[tuple[str, str], ...]):
        if port in passed:
            circle = " -> ".join(unit for unit, _ in passed[passed.index(port) :])
            raise ValueError(f"a signal goes round without a register: {circle}")
        if port not in known:
            unit, name = port
            paths = units[unit]
            found = [(paths.to.get(name, 0), (unit,))]
            for output, levels in paths.through.get(name, {}).items():
                more, way = after((unit, output), (*passed, port))
                found.append((levels + more, (unit, *way)))
            known[port] = max(found)
        return known[port]

    best = (0, ())
    entered = {entry for entries in followers.values() for entry in entries}
    for unit, paths in units.items():
        best = max(best, (paths.inside, (unit,)))
        for output, levels in paths.out.items():
            more, way = after((unit, output), ())
            best = max(best, (levels + more, (unit, *way)))
        for port in {*paths.to, *paths.through}:
            if (unit, port) not in entered:
                best = max(best, enter((unit, port), ()))
    return LongestPath(*best)
