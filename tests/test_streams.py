"""The bench itself: it must find what units can do wrong."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.lanes import lanes
from hw.timing import Steps
from tests.streams import beats, drive, numbers, step_cycles


class Increment(wiring.Component):
    """One register, and on demand one fault."""

    def __init__(self, fault: str | None = None):
        self.fault = fault
        super().__init__(
            {
                "i": In(stream.Signature(lanes("int4", 2))),
                "o": Out(stream.Signature(lanes("int5", 2))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        valid, given = self.o.valid, self.i.valid
        if self.fault == "waits for ready":
            valid = stream.Signature(1).create().valid
            m.d.comb += self.o.valid.eq(valid & self.o.ready)
        take = self.o.ready | ~valid
        if self.fault == "overwrites":
            take = self.o.ready | ~valid | given
        if self.fault == "sticks":
            given = given & (self.i.payload[0] != 0)
        m.d.comb += self.i.ready.eq(take & (given if self.fault == "sticks" else 1))
        with m.If(take):
            m.d.sync += valid.eq(1 if self.fault == "repeats" else given)
            for lane in range(2):
                m.d.sync += self.o.payload[lane].eq(self.i.payload[lane] + 1)
        if self.fault == "withdraws":
            with m.If(~take):
                m.d.sync += valid.eq(0)
        return m


CHANNELS = [-8, 7, 3, 0, 0, 6, -1, 2, 5, 5]


def run(fault=None, seed=None, count=5):
    return drive(Increment(fault), {"i": beats("int4", 2, CHANNELS)}, {"o": count}, seed=seed)


@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_gives_the_beats_of_a_good_unit(seed):
    assert numbers("int5", 2, run(seed=seed).beats["o"]) == [x + 1 for x in CHANNELS]


def test_gives_the_cycles_of_every_transfer():
    found = run()
    assert found.cycles == {"i": [0, 1, 2, 3, 4], "o": [1, 2, 3, 4, 5]}
    assert found.cycles["o"] == step_cycles(Steps(((1,),), (1,), 1), i=5)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("overwrites", "o changed an untaken beat in cycle"),
        ("withdraws", "o withdrew a beat in cycle"),
        ("waits for ready", "o.valid waits for ready"),
        ("repeats", "a surplus beat in cycle"),
        ("sticks", "stuck in cycle .*: i took 2 of 5 beats; o gave 2 of 5 beats"),
    ],
)
def test_finds_a_faulty_unit(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        for seed in range(12):
            run(fault, seed=seed)


def test_finds_a_beat_too_few_and_one_too_many():
    with pytest.raises(AssertionError, match="stuck in cycle .*; o gave 5 of 6 beats"):
        run(count=6)
    with pytest.raises(AssertionError, match="a surplus beat in cycle 5: .*; o gave 5 of 4 beats"):
        run(count=4)


def test_step_cycles_follow_the_patterns():
    timing = Steps(consumes=((1, 1, 0, 0),), emits=(0, 1, 0, 1), latency=3)
    assert step_cycles(timing, i=4) == [1 + 3, 3 + 3, 5 + 3, 7 + 3]
    # A third beat is taken, but the step after it has none.
    assert step_cycles(timing, i=3) == [4, 6]
    two = Steps(consumes=((1, 0), (0, 1)), emits=(1, 1), latency=1)
    assert step_cycles(two, a=2, b=2) == [1, 2, 3, 4]


@pytest.mark.parametrize("element", ["binary", "uint3", "int3"])
def test_numbers_undo_beats(element):
    channels = {"binary": [0, 1, 1], "uint3": [0, 7, 4], "int3": [-4, 3, -1]}[element] * 2
    assert numbers(element, 3, beats(element, 3, channels)) == channels
    with pytest.raises(AssertionError, match="channels must be within"):
        beats(element, 1, [8])
    with pytest.raises(AssertionError, match="6 channels do not fill beats of 4"):
        beats(element, 4, channels)
