import pytest
from amaranth.hdl import Cat, Fragment, Module, Signal, signed, unsigned

from hw.popcount import COMPRESSORS, adder_tree, adder_tree_latency, popcount, popcount_latency
from tests.enabled import pipeline, words_of


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("count", [*range(1, 18), 27, 31, 32, 64, 100, 144])
def test_popcount_counts_a_word_each_enabled_cycle(count, levels, compressor):
    m = Module()
    bits, enable = Signal(count), Signal()
    result, latency = popcount(m, bits, enable=enable, levels=levels, compressor=compressor)
    assert latency == popcount_latency(count, levels, compressor=compressor)
    assert result.shape() == unsigned(count.bit_length())
    words = words_of(count, 40, levels)
    results = pipeline(m, bits, [result], enable, words, latency, seed=count)
    assert results == [[word.bit_count()] for word in words]


def test_popcount_folds_expressions_and_takes_a_list():
    m = Module()
    a, w, enable = Signal(9), Signal(9), Signal()
    both = Signal(18)
    m.d.comb += Cat(a, w).eq(both)
    matches = ~(a ^ w)
    result, latency = popcount(m, [matches[k] for k in range(9)], enable=enable)
    words = words_of(18, 40, 0)
    results = pipeline(m, both, [result], enable, words, latency, seed=1)
    expected = [[sum((word >> k & 1) == (word >> 9 + k & 1) for k in range(9))] for word in words]
    assert results == expected


@pytest.mark.parametrize("carry", [1, 2, 3])
@pytest.mark.parametrize("count", [7, 20, 64])
def test_popcount_cuts_a_wide_final_adder(count, carry):
    m = Module()
    bits, enable = Signal(count), Signal()
    result, latency = popcount(m, bits, enable=enable, carry=carry)
    words = words_of(count, 60, carry)
    results = pipeline(m, bits, [result], enable, words, latency, seed=count)
    assert results == [[word.bit_count()] for word in words]
    if count == 64:
        assert latency == popcount_latency(count) + 1


def test_popcount_latency_is_short_at_the_default():
    found = {n: popcount_latency(n) for n in (1, 3, 9, 27, 64, 144, 288, 576)}
    assert found == {1: 1, 3: 1, 9: 2, 27: 3, 64: 5, 144: 6, 288: 7, 576: 8}


@pytest.mark.parametrize("shape", [unsigned(1), unsigned(4), signed(3), signed(1)])
@pytest.mark.parametrize(("count", "levels"), [(2, 1), (3, 2), (5, 1), (9, 3), (16, 2)])
def test_adder_tree_is_exact(shape, count, levels):
    m = Module()
    enable = Signal()
    values = [Signal(shape, name=f"value{k}") for k in range(count)]
    every = Signal(shape.width * count)
    m.d.comb += Cat(values).eq(every)
    result, latency = adder_tree(m, values, enable=enable, levels=levels)
    assert latency == adder_tree_latency(count, levels)
    lo, hi = (-(1 << shape.width - 1), (1 << shape.width - 1) - 1)
    if not shape.signed:
        lo, hi = 0, (1 << shape.width) - 1

    def number(word, k):
        value = word >> k * shape.width & (1 << shape.width) - 1
        return value - (1 << shape.width) if value > hi else value

    # Every value lowest, and every value highest.
    ends = [
        sum((end & (1 << shape.width) - 1) << k * shape.width for k in range(count))
        for end in (lo, hi)
    ]
    words = [*ends, *words_of(len(every), 40, levels)]
    results = pipeline(m, every, [result], enable, words, latency, seed=count)
    expected = [[sum(number(word, k) for k in range(count))] for word in words]
    assert expected[:2] == [[count * lo], [count * hi]]
    assert results == expected


def test_adder_tree_has_the_width_of_the_range():
    m = Module()
    values = [Signal(4, name=f"value{k}") for k in range(6)]
    total, latency = adder_tree(m, values, enable=1)
    assert (total.shape(), latency) == (unsigned(7), 3)
    total, latency = adder_tree(m, values, enable=1, bounds=[(0, 1)] * 6, levels=2)
    assert (total.shape(), latency) == (unsigned(3), 2)
    assert adder_tree(m, values[:1], enable=1)[1] == 0
    signed_values = [Signal(signed(4), name=f"signed{k}") for k in range(3)]
    total, latency = adder_tree(m, signed_values, enable=1, bounds=[(-8, 0)] * 3, levels=9)
    assert (total.shape(), latency) == (signed(6), 1)
    Fragment.get(m, None)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: popcount(m, [], enable=1), "popcount needs at least one bit"),
        (lambda m: popcount(m, Signal(3), enable=1, levels=0), "levels must be at least 1, not 0"),
        (lambda m: popcount(m, Signal(3), enable=1, carry=0), "carry must be at least 1, not 0"),
        (
            lambda m: popcount(m, Signal(3), enable=1, compressor="4:2"),
            "compressor must be 3:2 or 6:3, not '4:2'",
        ),
        (lambda m: adder_tree(m, [], enable=1), "adder_tree needs at least one value"),
        (lambda m: adder_tree(m, [1], enable=1, levels=0), "levels must be at least 1, not 0"),
        (
            lambda m: adder_tree(m, [1, 2], enable=1, bounds=[(0, 1)]),
            "bounds must be given for 2 values, not 1",
        ),
    ],
)
def test_refuses_bad_parameters(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        # Fragments are fine to leave unused, modules are not.
        call(Fragment())
