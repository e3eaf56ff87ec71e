from pathlib import Path

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Signal

from formal.prove import ProofError, prove, refute


class Counter(Elaboratable):
    """Counts to `top`, with the properties that are asked for."""

    def __init__(self, top=5, limit=5, reached=5, forbid=None, properties=("assert", "cover")):
        self.top = top
        self.limit = limit
        self.reached = reached
        self.forbid = forbid
        self.properties = properties

    def elaborate(self, platform):
        m = Module()
        count = Signal(4)
        go = Signal()
        m.d.comb += go.eq(AnySeq(1))
        with m.If(go & (count < self.top)):
            m.d.sync += count.eq(count + 1)
        if "assert" in self.properties:
            m.d.comb += Assert(count <= self.limit, f"the count is {self.limit} at most")
        if "cover" in self.properties:
            m.d.comb += Cover(count == self.reached, f"the count gets to {self.reached}")
        if self.forbid is not None:
            m.d.comb += Assume(~go | (count != self.forbid), "it stays there")
        return m


@pytest.mark.parametrize(
    ("method", "depth"), [("pdr", None), ("induction", 2), ("bounded", 12)], ids=str
)
def test_what_holds_is_proven(method, depth):
    prove(Counter(), method=method, depth=depth, cover=8)


@pytest.mark.parametrize("method", ["pdr", "induction", "bounded"])
def test_what_does_not_hold_is_named_with_a_trace(method):
    with pytest.raises(ProofError, match="'the count is 4 at most' does not hold") as caught:
        prove(Counter(limit=4), method=method, depth=None if method == "pdr" else 8, cover=8)
    trace = Path(str(caught.value).split("; see ")[1])
    assert "$enddefinitions" in trace.read_text()


def test_what_fails_too_late_for_the_depth_is_not_found():
    prove(Counter(limit=4), method="bounded", depth=4, cover=8)
    with pytest.raises(ProofError, match="every property holds for 4 cycles"):
        refute(Counter(limit=4), depth=4)


def test_refute_tells_what_fails():
    assert refute(Counter(limit=4), depth=8) == {"the count is 4 at most"}


def test_assumptions_hold_at_all_earlier_times():
    prove(Counter(limit=3, reached=3, forbid=3), method="pdr", cover=8)
    prove(Counter(limit=3, reached=3, forbid=3), method="bounded", depth=12, cover=8)


def test_what_cannot_be_reached_is_named():
    with pytest.raises(ProofError, match="'the count gets to 6' is not reached in 8 cycles"):
        prove(Counter(reached=6), method="pdr", cover=8)


@pytest.mark.parametrize(("properties", "kind"), [(("cover",), "assert"), (("assert",), "cover")])
def test_a_proof_of_nothing_is_refused(properties, kind):
    with pytest.raises(ValueError, match=f"must have at least one {kind}"):
        prove(Counter(properties=properties), method="pdr", cover=8)


@pytest.mark.parametrize(
    ("method", "depth", "sentence"),
    [
        ("guess", None, "method must be one of pdr, induction, bounded, not 'guess'"),
        ("pdr", 4, "a depth belongs to every method but pdr, not 4 to pdr"),
        ("bounded", None, "a depth belongs to every method but pdr, not None to bounded"),
    ],
)
def test_bad_questions_are_refused(method, depth, sentence):
    with pytest.raises(ValueError, match=sentence):
        prove(Counter(), method=method, depth=depth, cover=8)


def test_a_property_without_a_message_is_refused():
    m = Module()
    m.d.comb += Assert(AnySeq(1))
    with pytest.raises(ValueError, match="every property must have a message"):
        prove(m, method="pdr", cover=8)


def test_a_verdict_is_kept(monkeypatch):
    prove(Counter(), method="pdr", cover=8)
    monkeypatch.setattr("formal.prove._symbiyosys", lambda folder: pytest.fail("asked again"))
    prove(Counter(), method="pdr", cover=8)
