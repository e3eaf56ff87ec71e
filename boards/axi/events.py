"""What happens behind AXI and software must hear of: faults, interrupts, and the way back."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["EventBlock", "SoftReset"]


class SoftReset(wiring.Component):
    """Stops what moves data, waits until it is still, and resets.

    Members
    -------
    begin : In(1)
        For one cycle.
    idle : In(1)
        Nothing is under way at the memory port.
    resetting : Out(1)
        From ``begin`` to the reset. What moves data shall begin nothing.
    reset : Out(1)
        The last cycle of ``resetting``.
    """

    begin: In(1)
    idle: In(1)
    resetting: Out(1)
    reset: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        # Engines that have just been told to stop may have a burst on its way to the port still.
        wait = Signal(3)
        m.d.sync += self.reset.eq(0)
        with m.If(self.begin):
            m.d.sync += [self.resetting.eq(1), wait.eq(0)]
        with m.Elif(self.resetting):
            with m.If(~wait.all()):
                m.d.sync += wait.eq(wait + 1)
            with m.Elif(self.reset):
                m.d.sync += self.resetting.eq(0)
            with m.Elif(self.idle):
                m.d.sync += self.reset.eq(1)
        return m


class EventBlock(wiring.Component):
    """Remembers faults and interrupts, in the order of the bits that ``boards.registers`` states.

    Members
    -------
    slverr, decerr : In(2), In(2)
        Such a response came, for one cycle each. Bit 0: to a read; bit 1: to a write.
    refused : In(1)
        A batch was refused, for one cycle.
    batch_done : In(1)
        For one cycle.
    reset : In(1)
        Forget all but ``enable``.
    acknowledge : In(2)
        Interrupts to forget. One that comes in the same cycle stays.
    set_enable, new_enable : In(1), In(2)
        Which interrupts raise the line from now on.
    faults : Out(5)
    fault : Out(1)
        One of ``faults``.
    interrupts, enable : Out(2), Out(2)
    interrupt : Out(1)
        The line: an interrupt that is enabled.
    """

    slverr: In(2)
    decerr: In(2)
    refused: In(1)
    batch_done: In(1)
    reset: In(1)
    acknowledge: In(2)
    set_enable: In(1)
    new_enable: In(2)
    faults: Out(5)
    fault: Out(1)
    interrupts: Out(2)
    enable: Out(2)
    interrupt: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        came = Cat(self.slverr[0], self.decerr[0], self.slverr[1], self.decerr[1], self.refused)
        before = Signal()
        happened = Cat(self.batch_done, self.fault & ~before)
        m.d.comb += self.fault.eq(self.faults.any())
        m.d.sync += [
            self.faults.eq(Mux(self.reset, 0, self.faults | came)),
            before.eq(self.fault & ~self.reset),
            self.interrupts.eq(Mux(self.reset, 0, self.interrupts & ~self.acknowledge | happened)),
            self.interrupt.eq((self.enable & self.interrupts).any()),
        ]
        with m.If(self.set_enable):
            m.d.sync += self.enable.eq(self.new_enable)
        return m
