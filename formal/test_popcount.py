import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Cover, Elaboratable, Module, Signal, Value

from formal.prove import prove, refute
from hw.popcount import COMPRESSORS, popcount


class Counting(Elaboratable):
    """A pipelined popcount beside one that adds bit by bit.

    Parameters
    ----------
    n : int
    compressor : str
    wrong : int or None
        A bit that the popcount is not given.
    """

    def __init__(self, n: int, compressor: str, wrong: int | None = None):
        self.n = n
        self.compressor = compressor
        self.wrong = wrong

    def elaborate(self, platform):
        m = Module()
        bits = Signal(self.n)
        m.d.comb += bits.eq(AnySeq(self.n))
        given: list[Value] = [bit for k, bit in enumerate(bits) if k != self.wrong]
        count, latency = popcount(m, given, enable=1, compressor=self.compressor)
        past = bits
        for k in range(latency):
            stage = Signal(self.n, name=f"past_{k}")
            m.d.sync += stage.eq(past)
            past = stage
        total = Signal(range(self.n + 1))
        m.d.comb += total.eq(self._add(list(past)))
        settled = Signal(range(latency + 1))
        with m.If(settled < latency):
            m.d.sync += settled.eq(settled + 1)
        with m.Else():
            m.d.comb += [
                Assert(count == total, "popcount equals the sum of the bits"),
                Cover(count == self.n, "all bits are counted"),
            ]
        return m

    def _add(self, terms: list[Value]) -> Value:
        half = len(terms) // 2
        return terms[0] if len(terms) == 1 else self._add(terms[:half]) + self._add(terms[half:])


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_popcount_of_18_bits_equals_the_sum(compressor):
    prove(Counting(18, compressor), method="induction", depth=5, cover=8)


def test_a_popcount_that_misses_a_bit_is_found_out():
    assert refute(Counting(18, "3:2", wrong=17), depth=8) == {"popcount equals the sum of the bits"}
