"""Bytes over one wire each way: 8 data bits, no parity, one stop bit, least significant bit first.

The bit clock comes from a phase accumulator instead of a divider, so that the baud rate need not
divide the clock: 3 Mbaud is within 0.01 % of its nominal rate at 50 MHz, where the nearest divider
is 2 % off.
"""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UARTReceiver", "UARTTransmitter", "phase_step"]

_PHASE_BITS = 20

#: Sampling is off by up to one clock cycle, which must stay a small part of a bit.
_CYCLES_PER_BIT = 8


def phase_step(clock_hz: float, baud: int) -> int:
    """What the phase accumulator adds each cycle; it overflows once a bit.

    Raises
    ------
    ValueError
        The clock is not at least 8 times as fast as the line, or so fast that the accumulator
        cannot resolve a bit.
    """
    if baud < 1 or clock_hz < _CYCLES_PER_BIT * baud:
        raise ValueError(
            f"the clock must be at least {_CYCLES_PER_BIT} times the baud rate, "
            f"not {clock_hz:g} Hz and {baud} baud"
        )
    step = round(baud * (1 << _PHASE_BITS) / clock_hz)
    if step < 64:
        raise ValueError(f"{baud} baud is too slow for a clock of {clock_hz:g} Hz")
    return step


class UARTReceiver(wiring.Component):
    """Receives bytes.

    The line is sampled in the middle of each bit. A start bit that is gone by its middle is taken
    for a disturbance. A byte whose stop bit is missing is dropped, and the receiver then waits for
    the line to be idle.

    Parameters
    ----------
    clock_hz : float
    baud : int

    Members
    -------
    rx : In(1)
        The line, asynchronous.
    data : Out(8)
        The byte, in the cycle in which ``valid`` is 1.
    valid : Out(1)
        1 for one cycle for each byte, in the middle of its stop bit.
    """

    def __init__(self, *, clock_hz: float, baud: int):
        self._step = phase_step(clock_hz, baud)
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.line_sync = FFSynchronizer(self.rx, line, init=1)

        phase = Signal(_PHASE_BITS)
        tick = Signal()
        bits_left = Signal(range(9))
        m.d.sync += Cat(phase, tick).eq(phase + self._step)

        with m.FSM():
            with m.State("WAIT"):
                # Half a bit ahead, and the two cycles that this state and the tick take, so that
                # the accumulator overflows in the middle of the start bit.
                ahead = (1 << _PHASE_BITS - 1) + 2 * self._step
                m.d.sync += [phase.eq(ahead), tick.eq(0)]
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += bits_left.eq(8)
                with m.If(tick):
                    with m.If(line):
                        m.next = "WAIT"
                    with m.Else():
                        m.next = "DATA"
            with m.State("DATA"):
                with m.If(tick):
                    with m.If(bits_left == 0):
                        m.d.comb += self.valid.eq(line)
                        m.next = "STOP"
                    with m.Else():
                        m.d.sync += [
                            self.data.eq(Cat(self.data[1:], line)),
                            bits_left.eq(bits_left - 1),
                        ]
            with m.State("STOP"):
                with m.If(line):
                    m.next = "WAIT"
        return m


class UARTTransmitter(wiring.Component):
    """Sends bytes.

    Parameters
    ----------
    clock_hz : float
    baud : int

    Members
    -------
    i : In(stream of unsigned(8))
    tx : Out(1)
        The line; 1 when idle.

    Cycles
    ------
    A byte takes 10 bit times; the next one follows without a pause if it is valid by then.
    """

    def __init__(self, *, clock_hz: float, baud: int):
        self._step = phase_step(clock_hz, baud)
        super().__init__({"i": In(stream.Signature(unsigned(8))), "tx": Out(1, init=1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        phase = Signal(_PHASE_BITS)
        tick = Signal()
        # Ten bits from the start bit up; ones are shifted in, so the line idles high.
        shift = Signal(10, init=(1 << 10) - 1)
        bits_left = Signal(range(11))
        m.d.comb += [
            self.tx.eq(shift[0]),
            self.i.ready.eq((bits_left == 0) | (tick & (bits_left == 1))),
        ]
        m.d.sync += Cat(phase, tick).eq(phase + self._step)
        with m.If(tick & (bits_left != 0)):
            m.d.sync += [shift.eq(Cat(shift[1:], 1)), bits_left.eq(bits_left - 1)]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [shift.eq(Cat(0, self.i.payload, 1)), bits_left.eq(10)]
            with m.If(bits_left == 0):
                m.d.sync += [phase.eq(0), tick.eq(0)]
        return m
