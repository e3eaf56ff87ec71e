"""The register space of :mod:`boards.registers` in gateware."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from boards.axi.batches import FRAMES_BITS
from boards.axi.events import EventBlock, SoftReset
from boards.axi.lite import AXILiteSubordinate
from boards.axi.long_counter import LongCounter
from boards.axi.ports import AXILite
from boards.axi.selector import LATENCY, select_word
from boards.registers import (
    ADDRESS_BITS,
    FIFO_MARKS,
    IDENTITY,
    INSIDE,
    MAGIC,
    STREAM_STRIDE,
    STREAMS,
    VERSION,
    Control,
    Identity,
    Register,
)

__all__ = ["RegisterBlock"]

_WORD = 32
_NETWORK_WORDS = 8


class RegisterBlock(wiring.Component):
    """Registers of an accelerator behind AXI, read and written through AXI4-Lite.

    A soft reset does not reset this component: it begins here, ends here, and leaves the interrupt
    enables, the digest of the network and an access that is under way as they are.

    Parameters
    ----------
    identity : boards.registers.Identity
    address_bits : int
        Of the memory port.

    Members
    -------
    bus : In(AXILite(16))
    interrupt : Out(1)
    images, results, frames, submit, submitted, refused, room, busy, completed
        To and from a :class:`boards.axi.batches.BatchQueue`.
    batch_done : In(1)
    frame_in, frame_out : In(1)
        A frame is in, or out of, the accelerator, for one cycle.
    slverr, decerr : In(2), In(2)
        Bit 0: the engine that reads met such a response; bit 1: the one that writes.
    idle : In(2)
        Likewise: nothing is under way at the memory port.
    stop : Out(1)
        The engines shall begin nothing.
    reset : Out(1)
        For one cycle: reset all that a soft reset resets.
    clear : Out(1)
        For one cycle: set counters and marks to 0.
    resetting, fault : Out(1)
        As in ``Register.STATUS``.
    counter_read, counter_index, counter_done, counter_value
        To and from :class:`boards.axi.counters.StreamCounters`.
    mark_0, mark_1, ... : In
        The high-water marks, in the order of ``identity.fifos``.
    valid, ready : In
        Of the streams in ``identity.inside``.
    parameter_seek, parameter_write, parameter_read, parameter_data : Out
        Where there are parameters: ``Register.PARAMETER_ADDRESS`` or ``PARAMETER_DATA`` is written
        with this, or the latter read, for one cycle.
    parameter_address, parameter_value, parameter_done : In
        What the former reads as, and the answer to a read of the latter.
    """

    def __init__(self, *, identity: Identity, address_bits: int):
        self.identity = identity
        self.address_bits = address_bits
        self.parameters = identity.parameter_words > 0
        inside = max(1, len(identity.inside))
        members = {
            "bus": In(AXILite(ADDRESS_BITS)),
            "interrupt": Out(1),
            "images": Out(address_bits),
            "results": Out(address_bits),
            "frames": Out(FRAMES_BITS),
            "submit": Out(1),
            "submitted": In(1),
            "refused": In(1),
            "room": In(range(identity.queue + 1)),
            "busy": In(1),
            "completed": In(_WORD),
            "batch_done": In(1),
            "frame_in": In(1),
            "frame_out": In(1),
            "slverr": In(2),
            "decerr": In(2),
            "idle": In(2),
            "stop": Out(1),
            "reset": Out(1),
            "clear": Out(1),
            "resetting": Out(1),
            "fault": Out(1),
            "counter_read": Out(1),
            "counter_index": Out(range(4 * len(identity.streams))),
            "counter_done": In(1),
            "counter_value": In(_WORD),
            "valid": In(inside),
            "ready": In(inside),
        }
        for index, (_, depth) in enumerate(identity.fifos):
            members[f"mark_{index}"] = In(range(depth + 1))
        if self.parameters:
            members |= {
                "parameter_seek": Out(1),
                "parameter_write": Out(1),
                "parameter_read": Out(1),
                "parameter_data": Out(_WORD),
                "parameter_address": In(_WORD),
                "parameter_value": In(_WORD),
                "parameter_done": In(1),
            }
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.lite = lite = AXILiteSubordinate(address_bits=ADDRESS_BITS)
        wiring.connect(m, wiring.flipped(self.bus), lite.bus)
        whole = Signal()
        m.d.comb += whole.eq(lite.write & lite.write_strobe.all())
        written = {}
        for register in self._writable():
            written[register] = Signal(name=f"write_{register.name.lower()}")
            m.d.comb += written[register].eq(whole & (lite.address == register))
        network = Signal(name="write_network")
        if self.parameters:
            here = self._within(lite.address, Register.NETWORK, _NETWORK_WORDS)
            m.d.comb += network.eq(whole & here)
        events = self._events(m, written, lite.write_data)
        words = self._words(m, lite, network) | {
            Register.FAULT: events.faults,
            Register.INTERRUPT_ENABLE: events.enable,
            Register.INTERRUPT: events.interrupts,
        }
        self._read(m, lite, words)
        self._write(m, lite, written, network)
        return m

    # Writing.

    def _writable(self) -> list[Register]:
        registers = [
            Register.CONTROL,
            Register.INTERRUPT_ENABLE,
            Register.INTERRUPT,
            Register.IMAGES_LOW,
            Register.IMAGES_HIGH,
            Register.RESULTS_LOW,
            Register.RESULTS_HIGH,
            Register.FRAMES,
            Register.SUBMIT,
        ]
        if self.parameters:
            registers += [Register.PARAMETER_ADDRESS, Register.PARAMETER_DATA]
        return registers

    def _write(self, m: Module, lite, written: dict[Register, Value], network: Value) -> None:
        """What registers do when they are written, and the answers to writes."""
        high = self.address_bits - _WORD
        places = {
            Register.IMAGES_LOW: self.images[:_WORD],
            Register.RESULTS_LOW: self.results[:_WORD],
            Register.FRAMES: self.frames,
        }
        if high > 0:
            places |= {
                Register.IMAGES_HIGH: self.images[_WORD:],
                Register.RESULTS_HIGH: self.results[_WORD:],
            }
        for register, place in places.items():
            with m.If(written[register]):
                m.d.sync += place.eq(lite.write_data)

        refused = Signal()
        if self.parameters:
            seek, data = written[Register.PARAMETER_ADDRESS], written[Register.PARAMETER_DATA]
            held = self.busy | self.resetting
            m.d.comb += [
                refused.eq(held & (seek | data)),
                self.parameter_seek.eq(seek & ~held),
                self.parameter_write.eq(data & ~held),
                self.parameter_data.eq(lite.write_data),
            ]
        # A batch has its answer when it is in the queue; everything else at once.
        submitting, answer, wrong = Signal(), Signal(), Signal()
        m.d.comb += self.submit.eq(written[Register.SUBMIT] & ~self.resetting)
        with m.If(self.submit):
            m.d.sync += submitting.eq(1)
        with m.Elif(self.submitted):
            m.d.sync += submitting.eq(0)
        known = Cat(*written.values(), network).any() & ~refused
        m.d.sync += [answer.eq(lite.write & ~self.submit), wrong.eq(~known)]
        with m.If(answer):
            m.d.comb += [lite.done.eq(1), lite.error.eq(wrong)]
        with m.If(submitting & self.submitted):
            m.d.comb += lite.done.eq(1)

    def _events(self, m: Module, written: dict[Register, Value], value: Value) -> EventBlock:
        """Connect what remembers faults and interrupts, and the soft reset."""
        m.submodules.soft_reset = soft_reset = SoftReset()
        m.submodules.events = events = EventBlock()
        control = Mux(written[Register.CONTROL], value, 0)
        m.d.comb += [
            soft_reset.begin.eq((control & Control.RESET).any()),
            soft_reset.idle.eq(self.idle.all()),
            self.resetting.eq(soft_reset.resetting),
            self.reset.eq(soft_reset.reset),
            self.clear.eq((control & Control.CLEAR).any() | self.reset),
            self.stop.eq(self.resetting | self.fault),
            events.slverr.eq(self.slverr),
            events.decerr.eq(self.decerr),
            events.refused.eq(self.submitted & self.refused),
            events.batch_done.eq(self.batch_done),
            events.reset.eq(self.reset),
            events.acknowledge.eq(Mux(written[Register.INTERRUPT], value, 0)),
            events.set_enable.eq(written[Register.INTERRUPT_ENABLE]),
            events.new_enable.eq(value),
            self.fault.eq(events.fault),
            self.interrupt.eq(events.interrupt),
        ]
        return events

    # Reading.

    def _words(self, m: Module, lite, write_network: Value) -> dict[int, Value]:
        """What the registers below ``STREAMS`` read as."""
        status = Cat(self.busy, self.resetting, self.fault, self.idle, Const(0, 3), self.room)
        words: dict[int, Value] = {
            Register.MAGIC: Const(MAGIC, _WORD),
            Register.VERSION: Const(VERSION, _WORD),
            Register.IDENTITY_BYTES: Const(len(self.identity.pack()), _WORD),
            Register.CONTROL: Const(0),
            Register.STATUS: status,
            Register.IMAGES_LOW: self.images[:_WORD],
            Register.IMAGES_HIGH: self.images[_WORD:],
            Register.RESULTS_LOW: self.results[:_WORD],
            Register.RESULTS_HIGH: self.results[_WORD:],
            Register.FRAMES: self.frames,
            Register.SUBMIT: Const(0),
            Register.BATCHES: self.completed,
            Register.PARAMETER_WORDS: Const(self.identity.parameter_words, _WORD),
        }
        events = {Register.FRAMES_IN: self.frame_in, Register.FRAMES_OUT: self.frame_out}
        for register, event in events.items():
            words[register] = count = Signal(_WORD, name=register.name.lower())
            with m.If(self.reset):
                m.d.sync += count.eq(0)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)
        long = {
            Register.CYCLES_LOW: (Register.CYCLES_HIGH, Const(1)),
            Register.BUSY_LOW: (Register.BUSY_HIGH, self.busy),
        }
        for low, (high, event) in long.items():
            name = low.name.lower().removesuffix("_low")
            m.submodules[name] = count = LongCounter()
            m.d.comb += [
                count.event.eq(event),
                count.clear.eq(self.clear),
                count.keep.eq(lite.read & (lite.address == low)),
            ]
            words[low], words[high] = count.low, count.high
        if self.parameters:
            words[Register.PARAMETER_ADDRESS] = self.parameter_address
        digest = bytes.fromhex(self.identity.network)
        digits = [int.from_bytes(digest[at : at + 4], "little") for at in range(0, 32, 4)]
        if self.parameters:
            m.submodules.network = memory = Memory(
                shape=unsigned(_WORD),
                depth=_NETWORK_WORDS,
                init=digits,
                attrs={"ram_style": "distributed"},
            )
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(lite.address[2:]),
                write.data.eq(lite.write_data),
                write.en.eq(write_network),
                read.addr.eq(lite.address[2:]),
            ]
            network = [read.data] * _NETWORK_WORDS
        else:
            network = [Const(word, _WORD) for word in digits]
        for index, word in enumerate(network):
            words[Register.NETWORK + 4 * index] = word
        return words

    @staticmethod
    def _within(address: Value, start: int, words: int) -> Value:
        """Whether a byte address is that of one of so many words."""
        first = start // 4
        word = address[2:]
        return (address[:2] == 0) & (word >= first) & (word < first + words)

    def _read(self, m: Module, lite, words: dict[int, Value]) -> None:
        """The answers to reads."""
        identity = self.identity
        index = lite.address[2:]
        packed = identity.pack()
        rom = [int.from_bytes(packed[at : at + 4], "little") for at in range(0, len(packed), 4)]
        m.submodules.identity = memory = Memory(shape=unsigned(_WORD), depth=len(rom), init=rom)
        port = memory.read_port()
        m.d.comb += port.addr.eq((lite.address - IDENTITY)[2:])

        basic = [words.get(4 * at, Const(0)) for at in range(max(words) // 4 + 1)]
        exists = Const(sum(1 << register // 4 for register in words), len(basic))
        marks = [getattr(self, f"mark_{at}") for at in range(len(identity.fifos))]
        inside = [
            Cat(self.valid[at : at + 16], Const(0, max(0, at + 16 - len(self.valid))))
            | self.ready[at : at + 16] << 16
            for at in range(0, len(identity.inside), 16)
        ]
        # Whether the address is one of a group's, and what is there.
        groups: list[tuple[Value, Value]] = [
            (
                self._within(lite.address, 0, len(basic)) & exists.bit_select(index[:6], 1),
                select_word(m, "basic", basic, index, _WORD),
            ),
            (self._within(lite.address, IDENTITY, len(rom)), port.data),
        ]
        for start, name, group in ((FIFO_MARKS, "marks", marks), (INSIDE, "inside", inside)):
            if group:
                here = self._within(lite.address, start, len(group))
                groups.append((here, select_word(m, name, group, index, _WORD)))
        counters = len(identity.streams) * STREAM_STRIDE // 4
        counting = len(groups)
        groups.append((self._within(lite.address, STREAMS, counters), self.counter_value))
        m.d.comb += self.counter_index.eq(index)
        if self.parameters:
            here = (lite.address == Register.PARAMETER_DATA) & ~self.busy & ~self.resetting
            groups.append((here, self.parameter_value))

        # The address stays as it is until the answer.
        hits, values = Signal(len(groups)), [value for _, value in groups]
        m.d.sync += hits.eq(Cat(here for here, _ in groups))
        timer = Signal(range(LATENCY + 1))
        done = Signal()
        with m.FSM(name="read"):
            with m.State("WAIT"):
                m.d.sync += timer.eq(0)
                with m.If(lite.read):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += timer.eq(timer + 1)
                with m.If(timer == LATENCY):
                    with m.If(hits[counting]):
                        m.next = "COUNT"
                    if self.parameters:
                        with m.Elif(hits[-1]):
                            m.d.comb += self.parameter_read.eq(1)
                            m.next = "FETCH"
                    with m.Else():
                        m.d.comb += done.eq(1)
                        m.next = "WAIT"
            with m.State("COUNT"):
                m.d.comb += [self.counter_read.eq(1), done.eq(self.counter_done)]
                with m.If(self.counter_done):
                    m.next = "WAIT"
            if self.parameters:
                with m.State("FETCH"):
                    m.d.comb += done.eq(self.parameter_done)
                    with m.If(self.parameter_done):
                        m.next = "WAIT"
        with m.If(done):
            m.d.comb += [lite.done.eq(1), lite.error.eq(~hits.any())]
        for hit, value in zip(hits, values, strict=True):
            with m.If(hit):
                m.d.comb += lite.read_data.eq(value)
