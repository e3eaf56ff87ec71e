"""A Zynq UltraScale+: its processing system as a component, and the top of a design beside it."""

from itertools import pairwise

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.axi.bridge import AXILiteBridge
from boards.axi.ports import AXI
from boards.ps8_ports import PS8_INPUTS, PS8_ONES

__all__ = ["CONTROL_BASE", "PS8", "PSPorts", "ZynqTop"]

#: Where software finds the first register: the start of M_AXI_HPM0_FPD.
CONTROL_BASE = 0xA000_0000

_ADDRESS_BITS = 40
_CONTROL_ID_BITS = 16

#: EMIO GPIO whose output is the reset that AMD's tools call pl_resetn0, active low.
_RESET_GPIO = 95


def _members(data_bits: int) -> dict[str, wiring.Member]:
    if data_bits not in (64, 128):
        raise ValueError(f"data_bits must be 64 or 128, not {data_bits!r}")
    return {
        "control": Out(AXI(_ADDRESS_BITS, 32, _CONTROL_ID_BITS)),
        "memory": In(AXI(_ADDRESS_BITS, data_bits)),
        "interrupt": In(1),
    }


class PS8(wiring.Component):
    """The processing system: it drives the domain ``sync``, and has the AXI ports in use.

    The domain is defined outside. The widths of its AXI ports are set by software; ``control`` must
    be set to 32 bits, ``memory`` to ``data_bits``.

    Parameters
    ----------
    data_bits : 64 or 128

    Members
    -------
    control : Out(AXI(40, 32, 16))
        M_AXI_HPM0_FPD, which the primitive calls MAXIGP0.
    memory : In(AXI(40, data_bits))
        S_AXI_HP0_FPD, which the primitive calls SAXIGP2.
    interrupt : In(1)
        pl_ps_irq0[0], active high.

    Raises
    ------
    ValueError
        ``data_bits`` is neither 64 nor 128.
    """

    def __init__(self, *, data_bits: int = 128):
        members = _members(data_bits)
        self.data_bits = data_bits
        #: Ports of the top: none, as all pads of the processing system have their places.
        self.outside: dict[str, wiring.Member] = {}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        clocks, gpio = Signal(4), Signal(96)
        clock = Signal()
        m.submodules.clock_buffer = Instance("BUFG_PS", i_I=clocks[0], o_O=clock)

        # A ResetSynchronizer with the attribute by which Vivado keeps its registers together.
        m.domains.release = ClockDomain(local=True, async_reset=True)
        stages = [
            Signal(name=f"reset_stage{k}", init=1, attrs={"ASYNC_REG": "TRUE"}) for k in range(2)
        ]
        for before, after in pairwise([Const(0), *stages]):
            m.d.release += after.eq(before)
        m.d.comb += [
            ClockSignal("release").eq(clock),
            ResetSignal("release").eq(~gpio[_RESET_GPIO]),
            ClockSignal().eq(clock),
            ResetSignal().eq(stages[-1]),
        ]

        inputs = {
            name: Const(2**bits - 1 if name in PS8_ONES else 0, bits)
            for name, bits in PS8_INPUTS.items()
        }
        outputs = {"PLCLK": clocks, "EMIOGPIOO": gpio}
        inputs |= {"MAXIGP0ACLK": clock, "SAXIGP2RCLK": clock, "SAXIGP2WCLK": clock}
        inputs["PLPSIRQ0"] = Cat(self.interrupt, Const(0, 7))
        self._connect(m, "MAXIGP0", self.control, inputs, outputs)
        self._connect(m, "SAXIGP2", self.memory, inputs, outputs)
        m.submodules.ps8 = Instance(
            "PS8",
            a_keep="TRUE",
            a_DONT_TOUCH="TRUE",
            **{f"i_{name}": value for name, value in inputs.items()},
            **{f"o_{name}": value for name, value in outputs.items()},
        )
        return m

    @staticmethod
    def _connect(m: Module, prefix: str, port, inputs: dict, outputs: dict) -> None:
        """Connect an AXI port, whose signals may be narrower than the primitive's."""
        for name in port.signature.members:
            signal, pin = getattr(port, name), f"{prefix}{name.upper()}"
            if pin in PS8_INPUTS:
                inputs[pin] = Cat(signal, Const(0, PS8_INPUTS[pin] - len(signal)))
            else:
                wide = Signal(_OUTPUT_BITS.get(name, len(signal)), name=pin.lower())
                m.d.comb += signal.eq(wide)
                outputs[pin] = wide


class PSPorts(wiring.Component):
    """What takes the place of a :class:`PS8` in simulation: its AXI ports as ports of the top.

    Parameters and members are those of :class:`PS8`; further members, called as these with
    ``outside_`` before it, are the other ends. The domain ``sync`` comes from outside.
    """

    def __init__(self, *, data_bits: int = 128):
        members = _members(data_bits)
        self.data_bits = data_bits
        #: Ports of the top.
        self.outside = {name: member.flip() for name, member in members.items()}
        super().__init__(
            members | {f"outside_{name}": member for name, member in self.outside.items()}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        for name in ("control", "memory"):
            inner, outer = getattr(self, name), getattr(self, f"outside_{name}")
            wiring.connect(m, wiring.flipped(inner), wiring.flipped(outer))
        m.d.comb += self.outside_interrupt.eq(self.interrupt)
        return m


class ZynqTop(wiring.Component):
    """A shell beside a processing system, and its status on LEDs.

    Parameters
    ----------
    shell : boards.axi.shell.AXIShell
    clock : boards.pl_clock.PLClock or None
        What software sets; nothing in the top depends on it.
    leds : int
        The first so many bits of the shell's status are led out.
    ps : PS8, PSPorts or None
        None for a :class:`PS8`.

    Members
    -------
    leds : Out(leds)
    control, memory, interrupt
        With :class:`PSPorts` alone: the AXI ports, as the shell has them but for ``control``, which
        is ``In(AXI(40, 32, 16))``.
    """

    def __init__(self, shell: wiring.Component, clock=None, *, leds: int = 1, ps=None):
        self.shell = shell
        self.clock = clock
        self.ps = PS8(data_bits=shell.data_bits) if ps is None else ps
        super().__init__({"leds": Out(leds)} | self.ps.outside)

    def elaborate(self, platform) -> Module:
        m = Module()
        if isinstance(self.ps, PS8):
            m.domains.sync = ClockDomain()
        m.submodules.ps = ps = self.ps
        m.submodules.shell = shell = self.shell
        m.submodules.bridge = bridge = AXILiteBridge(
            i_address_bits=_ADDRESS_BITS,
            o_address_bits=shell.control.signature.address_bits,
            id_bits=_CONTROL_ID_BITS,
        )
        wiring.connect(m, ps.control, bridge.i)
        wiring.connect(m, bridge.o, shell.control)
        wiring.connect(m, shell.memory, ps.memory)
        m.d.comb += [ps.interrupt.eq(shell.interrupt), self.leds.eq(shell.status)]
        for name in ps.outside:
            if name == "interrupt":
                m.d.comb += self.interrupt.eq(ps.outside_interrupt)
            else:
                outer = getattr(self, name)
                wiring.connect(m, wiring.flipped(outer), getattr(ps, f"outside_{name}"))
        return m


#: Outputs of the primitive's AXI ports that are wider than what they are connected to.
_OUTPUT_BITS = {"wdata": 128, "wstrb": 16, "rdata": 128, "rid": 6, "bid": 6}
