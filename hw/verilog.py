"""Verilog out: one component as text, with port names that every tool can read."""

import os
import re
from contextlib import contextmanager

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil
from amaranth.hdl import Const, Signal, Value, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["port_widths", "to_verilog"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def _ports(component: wiring.Component) -> dict[str, tuple[Signal, wiring.Flow]]:
    ports: dict[str, tuple[Signal, wiring.Flow]] = {}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = Value.cast(value)
        # The ready (or valid) of a stream that is always so is a constant, and no port.
        if isinstance(value, Const):
            continue
        # A single underscore: Verilator gives names with two of them another form.
        name = "_".join(map(str, path))
        if name in ports or name in ("clk", "rst"):
            raise ValueError(f"port name {name!r} of {type(component).__name__} is used twice")
        ports[name] = (value, member.flow)
    return ports


def port_widths(component: wiring.Component) -> dict[str, tuple[str, int]]:
    """Direction ("input" or "output") and width of every port but ``clk`` and ``rst``.

    The names are those of :func:`to_verilog`: ``i_payload``, ``i_valid``, ``i_ready``, ...
    """
    return {
        name: ("input" if flow is wiring.In else "output", len(value))
        for name, (value, flow) in _ports(component).items()
    }


def to_verilog(component: wiring.Component, name: str, *, clocked: bool = True) -> str:
    """Convert ``component`` to Verilog.

    Parameters
    ----------
    component : wiring.Component
        Works in the domain ``sync`` alone, or has its clock within.
    name : str
        Name of the outermost module; those of the inner ones begin with it and a dot.
    clocked : bool
        False for a component that has its clock within: it gets no ports for it.

    Returns
    -------
    Verilog of the module and all its parts. Its ports are ``clk``, ``rst`` (synchronous, active
    high) and those of :func:`port_widths`. ``clk`` and ``rst`` are there even where nothing is
    clocked.

    Raises
    ------
    ValueError
        ``name`` is no Verilog identifier, or two ports have one name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"name must be a Verilog identifier, not {name!r}")
    directions = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}
    ports = {port: (value, directions[flow]) for port, (value, flow) in _ports(component).items()}
    with _builtin_yosys():
        text = rtlil.convert(component, name=name, ports=ports, emit_src=False)
        yosys = find_yosys(lambda version: version >= (0, 40))
    # Amaranth's own conversion leaves `always` blocks. Where two of them depend on each other, the
    # values they pass through on the way keep a simulator busy for ever (Icarus does this); with
    # `proc` combinational logic becomes continuous assignments, which have no such values.
    script = f"read_rtlil <<rtlil\n{text}\nrtlil\nproc\nmemory_collect\nwrite_verilog -norename"
    verilog = yosys.run(["-q", "-"], script, ignore_warnings=True)
    # Icarus takes a function whose name begins with `$` for one of its own.
    verilog = verilog.replace(r"\$procmux$", r"\procmux$")
    return _with_clock(verilog, name) if clocked else verilog


@contextmanager
def _builtin_yosys():
    """Have Amaranth use the Yosys that it is tested with, not one that happens to be installed."""
    before = os.environ.get("AMARANTH_USE_YOSYS")
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    try:
        yield
    finally:
        if before is None:
            del os.environ["AMARANTH_USE_YOSYS"]
        else:
            os.environ["AMARANTH_USE_YOSYS"] = before


def _with_clock(text: str, name: str) -> str:
    """Add ``clk`` and ``rst`` to a module that uses neither or one of them."""
    head = re.search(rf"^module {name}\((.*?)\);", text, re.DOTALL | re.MULTILINE)
    listed = [port.strip() for port in head[1].split(",") if port.strip()]
    missing = [port for port in ("clk", "rst") if port not in listed]
    if not missing:
        return text
    new_head = f"module {name}({', '.join([*listed, *missing])});"
    wires = "".join(f"\n  input {port};\n  wire {port};" for port in missing)
    return text[: head.start()] + new_head + wires + text[head.end() :]
