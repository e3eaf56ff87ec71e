"""What every shell connects to its registers alike: probe, stream counters, parameters."""

from collections.abc import Iterable

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring

from boards.axi.counters import StreamCounters
from boards.axi.parameters import ParameterAccess
from boards.axi.probe import ProbedAccelerator
from boards.axi.registers import RegisterBlock

__all__ = ["connect_instruments"]


def connect_instruments(
    m: Module,
    registers: RegisterBlock,
    *,
    probed: ProbedAccelerator,
    counters: StreamCounters,
    streams: Iterable[tuple[Value, Value]],
    access: ParameterAccess | None,
) -> None:
    """Connect the registers to what observes the accelerator, and to its parameters.

    Parameters
    ----------
    m : Module
        Of the shell, whose submodules the others are, but for ``access``, which becomes one.
    streams : pairs of valid and ready
        Of the shell's own streams, in the order of ``registers.identity.streams``.
    access : ParameterAccess or None
        None where parameters cannot be written.
    """
    valids, readies = zip(*streams, strict=True)
    m.d.comb += [
        probed.clear.eq(registers.clear),
        registers.valid.eq(probed.valid),
        registers.ready.eq(probed.ready),
        counters.valid.eq(Cat(valids)),
        counters.ready.eq(Cat(readies)),
        counters.clear.eq(registers.clear),
        counters.read.eq(registers.counter_read),
        counters.index.eq(registers.counter_index),
        registers.counter_done.eq(counters.done),
        registers.counter_value.eq(counters.value),
    ]
    for index, (name, _) in enumerate(registers.identity.fifos):
        mark = getattr(probed, f"mark_{name}")
        m.d.comb += getattr(registers, f"mark_{index}").eq(mark)
    if access is None:
        return
    m.submodules.access = access
    wiring.connect(m, access.parameters, probed.parameters)
    m.d.comb += [
        access.seek.eq(registers.parameter_seek),
        access.write.eq(registers.parameter_write),
        access.read.eq(registers.parameter_read),
        access.write_data.eq(registers.parameter_data),
        registers.parameter_address.eq(access.address),
        registers.parameter_value.eq(access.read_data),
        registers.parameter_done.eq(access.done),
    ]
