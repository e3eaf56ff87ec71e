"""Devices that break the rules of streams, each in one way: the testbench must notice."""

import pytest
from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.timing import Queue, Steps
from sim.cases import Case, play_cases
from sim.harness import SimulatorError, available, build

WORDS = [(37 * k + 11) % 256 for k in range(40)]


class Register(wiring.Component):
    """A register between two streams, with one fault."""

    i: In(stream.Signature(unsigned(8)))
    o: Out(stream.Signature(unsigned(8)))

    def __init__(self, fault: str):
        self.fault = fault
        self.timing = Steps(consumes=((1,),), emits=(1,), latency=1)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        full = Signal()
        held = Signal(8)
        count = Signal(8)
        en = Signal()
        m.d.comb += [
            en.eq(self.o.ready | ~full),
            self.i.ready.eq(en),
            self.o.valid.eq(full),
            self.o.payload.eq(held),
        ]
        with m.If(en):
            m.d.sync += [full.eq(self.i.valid), held.eq(self.i.payload)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += count.eq(count + 1)
        late = count == 20
        match self.fault:
            case "waits for ready":
                m.d.comb += self.o.valid.eq(full & self.o.ready)
            case "withdraws":
                with m.If(full & ~self.o.ready & late):
                    m.d.sync += [full.eq(0), count.eq(0)]
            case "changes":
                with m.If(full & ~self.o.ready & count[2]):
                    m.d.sync += held.eq(held + 1)
            case "hangs":
                m.d.comb += self.i.ready.eq(en & ~late)
                with m.If(en & late):
                    m.d.sync += full.eq(0)
            case "repeats":
                with m.If(en & late & full):
                    m.d.sync += [full.eq(1), held.eq(held), count.eq(0)]
                    m.d.comb += self.i.ready.eq(0)
            case "wrong":
                with m.If(en & late):
                    m.d.sync += held.eq(self.i.payload ^ 0x10)
            case "no reset":
                kept = Signal(reset_less=True)
                m.d.sync += kept.eq(1)
                with m.If(en & kept & (count == 0)):
                    m.d.sync += held.eq(0)
        return m


class LateRegister(Register):
    """States a latency that it does not have."""

    def __init__(self):
        super().__init__("")
        self.timing = Steps(consumes=((1,),), emits=(1,), latency=2)


FAULTS = {
    "waits for ready": "depends on ready",
    "withdraws": "withdrew an untaken beat|depends on ready",
    "changes": "changed an untaken beat|depends on ready",
    "hangs": "nothing moved for 300 cycles .* i took 20 of 40 beats, waits for its ready",
    "repeats": "gave a surplus beat|beats of o differ",
    "wrong": "1 of 40 beats of o differ, the first is beat 20: 0xff instead of 0xef",
    "no reset": "beats of o differ",
}

CASES = [
    *(
        Case(fault, lambda fault=fault: Register(fault), {"i": WORDS}, {"o": WORDS}, patience=300)
        for fault in ("", *FAULTS)
    ),
    Case("late", LateRegister, {"i": WORDS}, {"o": WORDS}),
    Case("short", lambda: Register(""), {"i": WORDS}, {"o": [*WORDS, 1]}, patience=300),
]
BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault, played):
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        played.check_beats(BY_NAME[fault])


def test_a_good_device_passes(played):
    played.check_beats(BY_NAME[""])
    played.check_cycles(BY_NAME[""])


def test_wrong_timing_is_found(played):
    played.check_beats(BY_NAME["late"])
    with pytest.raises(AssertionError):
        played.check_cycles(BY_NAME["late"])


def test_a_missing_beat_is_found(played):
    with pytest.raises(AssertionError, match="nothing moved .* o gave 40 of 41 beats"):
        played.check_beats(BY_NAME["short"])


def test_the_message_has_the_seed(played):
    with pytest.raises(AssertionError, match="hangs, stalls of seed"):
        played.check_beats(BY_NAME["hangs"])


def test_a_model_is_compiled_once(simulator):
    text = "module once(input clk, output y);\n  assign y = ~clk;\nendmodule\n"
    build(text, "once", simulator=simulator)
    assert build(text, "once", simulator=simulator).seconds == 0


def test_a_design_that_is_no_verilog_is_refused(simulator):
    with pytest.raises(SimulatorError, match="build failed, the end of"):
        build("module broken(input clk); endmodul", "broken", simulator=simulator)


def test_an_unknown_simulator_is_refused():
    with pytest.raises(SimulatorError, match="must be one of verilator, icarus, not 'x'"):
        build("module m(input clk); endmodule", "m", simulator="x")


def test_a_missing_tool_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert available("verilator") == "Verilator needs make, which is not installed"
    assert available("icarus") == "iverilog is not installed"
    with pytest.raises(SimulatorError, match="Verilator needs make"):
        build("module m(input clk); endmodule", "m")


def test_timing_of_a_queue_is_checked_too(simulator):
    class Slow(Register):
        def __init__(self):
            super().__init__("")
            self.timing = Queue(2, 2)

    case = Case("slow", Slow, {"i": WORDS}, {"o": WORDS})
    played = play_cases([case], simulator=simulator, seeds=(None,))
    with pytest.raises(AssertionError):
        played.check_cycles(case)
