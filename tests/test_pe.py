import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Shape, Signal, unsigned
from rich.console import Console

from boards.synthesis import estimate_units
from boards.tools import Ticker
from hw.lanes import element_range, element_shape
from hw.pe import MultiplyPE, XnorPopcountPE
from hw.popcount import COMPRESSORS, popcount_latency
from tests.enabled import pipeline, words_of


def around(pe, names):
    """A module around ``pe`` with all operands in one signal, and its enable."""
    m = Module()
    m.submodules.pe = pe
    operands = Cat(getattr(pe, name) for name in names)
    inputs, enable = Signal(len(operands)), Signal()
    m.d.comb += [operands.eq(inputs), pe.en.eq(enable)]
    return m, inputs, enable


def fields(word, element, count):
    """The numbers that ``count`` elements in a word stand for."""
    shape = element_shape(element)
    _, hi = element_range(element)
    found = []
    for k in range(count):
        stored = word >> k * shape.width & (1 << shape.width) - 1
        if element == "binary":
            found.append(2 * stored - 1)
        else:
            found.append(stored - (1 << shape.width) if stored > hi else stored)
    return found


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("simd", [1, 2, 3, 4, 9, 27, 64])
def test_xnor_popcount_counts_matches(simd, levels, compressor):
    pe = XnorPopcountPE(simd=simd, levels=levels, compressor=compressor)
    assert pe.latency == popcount_latency(simd, levels, compressor=compressor) >= 1
    assert pe.matches.shape() == unsigned(simd.bit_length())
    m, inputs, enable = around(pe, ("a", "w"))
    equal = (1 << simd) - 1
    words = [equal, equal << simd, *words_of(2 * simd, 50, levels)]
    expected = []
    for word in words:
        a, w = fields(word, "binary", 2 * simd)[:simd], fields(word >> simd, "binary", simd)
        dot = sum(x * y for x, y in zip(a, w, strict=True))
        expected.append([(dot + simd) // 2])
    assert pipeline(m, inputs, [pe.matches], enable, words, pe.latency, seed=simd) == expected


PAIRS = [
    ("uint4", "int4"),
    ("int4", "int4"),
    ("uint8", "int8"),
    ("uint1", "int1"),
    ("int1", "int1"),
    ("int5", "int3"),
    ("uint2", "int7"),
    ("uint4", "binary"),
    ("uint8", "binary"),
    ("int4", "binary"),
    ("int1", "binary"),
    ("binary", "int4"),
    ("binary", "int1"),
    ("binary", "int8"),
]


@pytest.mark.parametrize("multiplier", ["lut", "dsp"])
@pytest.mark.parametrize(("simd", "rows"), [(1, 1), (1, 2), (2, 3), (3, 1), (9, 2), (16, 1)])
@pytest.mark.parametrize(("activation", "weight"), PAIRS)
def test_multiply_gives_exact_dot_products(activation, weight, simd, rows, multiplier):
    pe = MultiplyPE(
        simd=simd, activation=activation, weight=weight, rows=rows, multiplier=multiplier
    )
    m, inputs, enable = around(pe, ("a", "w"))
    a_bits = element_shape(activation).width * simd
    w_bits = element_shape(weight).width * simd
    # The extremes of the range: every operand at one of its ends.
    ends = []
    for a in element_range(activation):
        for w in element_range(weight):
            a_field = (a > 0 if activation == "binary" else a) & (1 << a_bits // simd) - 1
            w_field = (w > 0 if weight == "binary" else w) & (1 << w_bits // simd) - 1
            word = sum(a_field << k * (a_bits // simd) for k in range(simd))
            word |= sum(w_field << a_bits + k * (w_bits // simd) for k in range(simd * rows))
            ends.append(word)
    words = [*ends, *words_of(len(inputs), 40, multiplier)]
    dots = [getattr(pe, f"dot_{row}") for row in range(rows)]
    expected = []
    for word in words:
        a = fields(word, activation, simd)
        w = fields(word >> a_bits, weight, simd * rows)
        expected.append(
            [sum(x * y for x, y in zip(a, w[row * simd :], strict=False)) for row in range(rows)]
        )
    most = max(max(row) for row in expected[:4])
    least = min(min(row) for row in expected[:4])
    assert all(dot.shape() == Shape.cast(range(least, most + 1)) for dot in dots)
    assert pipeline(m, inputs, dots, enable, words, pe.latency, seed=simd + rows) == expected


def test_multiply_latencies():
    def latency(activation="uint4", weight="int4", **parameters):
        return MultiplyPE(activation=activation, weight=weight, **parameters).latency

    assert latency(simd=1) == 2
    assert latency(simd=16, rows=4) == 2 + 2
    assert latency(simd=16, weight="int8") == 2 + 3
    assert latency(simd=9, weight="binary") == 2 + 1
    assert latency(simd=9, activation="binary", multiplier="dsp") == 2 + 1
    assert latency(simd=4, multiplier="dsp") == 1 + 1
    assert latency(simd=4, rows=2, multiplier="dsp") == 1 + 3


def test_dsp_packs_two_weights_where_they_fit():
    def packing(simd, activation, weight, rows=2, multiplier="dsp"):
        return MultiplyPE(
            simd=simd, activation=activation, weight=weight, rows=rows, multiplier=multiplier
        ).packing

    assert packing(9, "uint4", "int4") == (12, True)
    assert packing(128, "uint4", "int4") == (8, False)
    assert packing(4, "uint8", "int8") is None
    assert packing(9, "uint4", "int4", rows=1) is None
    assert packing(9, "uint4", "int4", multiplier="lut") is None


@pytest.mark.parametrize("rows", [2, 3])
def test_dsp_parts_every_product_where_sums_do_not_fit(rows):
    test_multiply_gives_exact_dot_products("int8", "int3", 40, rows, "dsp")
    pe = MultiplyPE(simd=40, activation="int8", weight="int3", rows=rows, multiplier="dsp")
    assert pe.packing == (11, False)


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_only_dsp_takes_multipliers(family, tmp_path):
    units = {
        multiplier: rtlil.convert(
            MultiplyPE(
                simd=3, activation="uint4", weight="int4", rows=rows, multiplier=multiplier[:3]
            ),
            name=multiplier,
        )
        for multiplier, rows in (("lut", 2), ("dsp", 2), ("dsp_odd", 3))
    }
    found = estimate_units(units, family=family, cache=tmp_path, ticker=Ticker(Console(quiet=True)))
    # Yosys makes no DSP48E2 of a product below nine bits, as in the row without a partner.
    odd = {"ecp5": 6, "xcup": 3}[family]
    assert {name: used.dsps for name, used in found.items()} == {"lut": 0, "dsp": 3, "dsp_odd": odd}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"simd": 0}, "simd must be a positive integer, not 0"),
        ({"rows": 0}, "rows must be a positive integer, not 0"),
        ({"activation": "byte"}, "element must be 'binary', 'uintK' or 'intK', not 'byte'"),
        ({"weight": "uint4"}, "weight must be 'binary' or 'intK', not 'uint4'"),
        (
            {"activation": "binary", "weight": "binary"},
            "activation and weight must not both be binary: use XnorPopcountPE",
        ),
        ({"multiplier": "fpga"}, "multiplier must be lut or dsp, not 'fpga'"),
    ],
)
def test_multiply_refuses_bad_parameters(changes, sentence):
    parameters = {"simd": 2, "activation": "uint4", "weight": "int4", "rows": 2}
    with pytest.raises(ValueError, match=sentence):
        MultiplyPE(**(parameters | changes))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"simd": 0}, "simd must be a positive integer, not 0"),
        ({"simd": 2.0}, "simd must be a positive integer, not 2.0"),
        ({"simd": 2, "levels": 0}, "levels must be a positive integer, not 0"),
        ({"simd": 2, "compressor": "2:1"}, "compressor must be 3:2 or 6:3, not '2:1'"),
    ],
)
def test_xnor_popcount_refuses_bad_parameters(parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        XnorPopcountPE(**parameters)
