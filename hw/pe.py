"""Processing elements: the products of some activations and weights, and their sum.

A processing element advances while ``en`` is 1, and its result follows its operands by ``latency``
enabled cycles. Operands are plain bits, lane 0 low, as in ``hw.lanes``.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.lanes import element_range, element_shape, is_binary, lanes
from hw.popcount import adder_tree, adder_tree_latency, popcount, popcount_latency

__all__ = ["MULTIPLIERS", "MultiplyPE", "XnorPopcountPE", "dot_range", "multiply_latency"]

MULTIPLIERS = ("lut", "dsp")

# Adders between registers.
_LEVELS = 2

# The narrower operand of the DSPs of ECP5 (18x18) and UltraScale+ (27x18).
_DSP_OPERAND = 18


def dot_range(simd: int, activation: str, weight: str) -> tuple[int, int]:
    """Lowest and highest sum of ``simd`` products of two elements."""
    ends = [a * w for a in element_range(activation) for w in element_range(weight)]
    return simd * min(ends), simd * max(ends)


class XnorPopcountPE(wiring.Component):
    """Binary dot product: the number of lanes in which activation and weight are equal.

    The dot product of the +1/-1 numbers is ``2 * matches - simd`` (Courbariaux et al., "Binarized
    neural networks", 2016).

    Parameters
    ----------
    simd : int
        Lanes.
    levels : int
        Compressor levels between registers.
    compressor : str
        ``"3:2"`` or ``"6:3"``; see :func:`hw.popcount.popcount` for both.

    Members
    -------
    en : In(1)
    a, w : In(simd)
        Activations and weights, 1 for +1.
    matches : Out(range(simd + 1))

    ``latency`` is ``popcount_latency(simd, levels, compressor=compressor)``, at least 1.

    Raises
    ------
    ValueError
        A number is not a positive integer, or the compressor unknown.
    """

    def __init__(self, *, simd: int, levels: int = 2, compressor: str = "3:2"):
        for name, value in (("simd", simd), ("levels", levels)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        self.simd = simd
        self.levels = levels
        self.compressor = compressor
        self.latency = popcount_latency(simd, levels, compressor=compressor)
        super().__init__(
            {"en": In(1), "a": In(simd), "w": In(simd), "matches": Out(range(simd + 1))}
        )

    def elaborate(self, platform):
        m = Module()
        # A signal, as every slice of an expression would make the whole expression anew.
        matching = Signal(self.simd)
        m.d.comb += matching.eq(~(self.a ^ self.w))
        count, _ = popcount(
            m,
            [matching[lane] for lane in range(self.simd)],
            enable=self.en,
            levels=self.levels,
            compressor=self.compressor,
        )
        m.d.comb += self.matches.eq(count)
        return m


def _packing(
    simd: int, activation: str, weight: str, rows: int, multiplier: str
) -> tuple[int, bool] | None:
    if rows == 1 or multiplier != "dsp" or is_binary(activation) or is_binary(weight):
        return None
    lo, hi = element_range(weight)
    for terms in (simd, 1):
        ends = dot_range(terms, activation, weight)
        # Signed at any rate, so that the parts are told from each other in one way.
        shift = Shape.cast(range(min(ends[0], -1), ends[1] + 1)).width
        pair = Shape.cast(range((lo << shift) + lo, (hi << shift) + hi + 1))
        if pair.width <= _DSP_OPERAND:
            return shift, terms == simd
    return None


def _planes(weight: str) -> int:
    """Weight bits that are summed one by one; a sign bit alone is doubled to have a value."""
    return max(2, element_shape(weight).width)


def multiply_latency(
    simd: int, activation: str, weight: str, rows: int = 1, multiplier: str = "lut"
) -> int:
    """Latency of a :class:`MultiplyPE`, whose parameters it checks."""
    for name, value in (("simd", simd), ("rows", rows)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, not {value!r}")
    if not is_binary(weight) and not element_shape(weight).signed:
        raise ValueError(f"weight must be 'binary' or 'intK', not {weight!r}")
    if is_binary(activation) and is_binary(weight):
        raise ValueError("activation and weight must not both be binary: use XnorPopcountPE")
    if multiplier not in MULTIPLIERS:
        raise ValueError(f"multiplier must be lut or dsp, not {multiplier!r}")
    tree = adder_tree_latency(simd, _LEVELS)
    if is_binary(activation) or is_binary(weight):
        return tree + 1
    if multiplier == "lut":
        return tree + adder_tree_latency(_planes(weight))
    return tree + (3 if _packing(simd, activation, weight, rows, multiplier) else 1)


class MultiplyPE(wiring.Component):
    """Dot products of the same activations with some rows of weights, not both binary.

    Parameters
    ----------
    simd : int
        Lanes.
    activation : str
        Element ``"binary"``, ``"uintK"`` or ``"intK"``.
    weight : str
        Element ``"binary"`` or ``"intK"``.
    rows : int
        Dot products.
    multiplier : str
        ``"lut"``: sums of the activations that a weight bit selects, bit by bit of the weight.
        ``"dsp"``: multipliers, which two rows share where both fit into 18 bits (Fu et al., "Deep
        learning with INT8 optimization on Xilinx devices", WP486, 2016). A binary operand selects
        between a number and its negative and never takes a multiplier.

    Members
    -------
    en : In(1)
    a : In(simd activations)
    w : In(rows of simd weights)
    dot_0, dot_1, ... : Out, one for each row, of the exact range of the dot product

    ``latency`` is ``adder_tree_latency(simd, 2)`` and

    * 1 with a binary operand,
    * ceil(log2(max(2, K))) for ``"lut"`` with intK weights,
    * 1 for ``"dsp"``; 3 where rows share multipliers.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(
        self, *, simd: int, activation: str, weight: str, rows: int = 1, multiplier: str = "lut"
    ):
        self.latency = multiply_latency(simd, activation, weight, rows, multiplier)
        self.simd = simd
        self.activation = activation
        self.weight = weight
        self.rows = rows
        self.multiplier = multiplier
        self.range = dot_range(simd, activation, weight)
        shape = Shape.cast(range(self.range[0], self.range[1] + 1))
        super().__init__(
            {
                "en": In(1),
                "a": In(lanes(activation, simd).size),
                "w": In(lanes(weight, simd).size * rows),
                **{f"dot_{row}": Out(shape) for row in range(rows)},
            }
        )

    @property
    def packing(self) -> tuple[int, bool] | None:
        """Distance of two weights in one multiplier operand, and whether sums fit into it.

        Where they do, the products of two rows are added up together and parted at the end, else
        each product is parted. None: no multipliers are shared.
        """
        return _packing(self.simd, self.activation, self.weight, self.rows, self.multiplier)

    def elaborate(self, platform):
        m = Module()
        # What follows reads as numbers: lists of values, and their bounds.
        if is_binary(self.weight):
            dots = self._select_activations(m)
        elif is_binary(self.activation):
            dots = self._select_weights(m)
        elif self.multiplier == "lut":
            dots = [self._bit_planes(m, row) for row in range(self.rows)]
        elif self.packing is None:
            dots = [self._products(m, row) for row in range(self.rows)]
        else:
            dots = [dot for row in range(0, self.rows, 2) for dot in self._packed(m, row)]
        for row, dot in enumerate(dots):
            m.d.comb += getattr(self, f"dot_{row}").eq(dot)
        return m

    def _weights(self, row: int) -> list[Value]:
        every = data.View(lanes(self.weight, self.simd * self.rows), self.w)
        return [every[row * self.simd + lane] for lane in range(self.simd)]

    def _activations(self) -> list[Value]:
        every = data.View(lanes(self.activation, self.simd), self.a)
        return [every[lane] for lane in range(self.simd)]

    def _tree(self, m: Module, values: list[Value], bounds: tuple[int, int], name: str) -> Value:
        return adder_tree(
            m, values, enable=self.en, bounds=[bounds] * len(values), levels=_LEVELS, name=name
        )[0]

    def _register(self, m: Module, value: Value, bounds: tuple[int, int], name: str) -> Signal:
        result = Signal(range(bounds[0], bounds[1] + 1), name=name, reset_less=True)
        with m.If(self.en):
            m.d.sync += result.eq(value)
        return result

    def _masked(self, bits: list[Value]) -> tuple[list[Value], tuple[int, int]]:
        """The activations where a bit is set, else 0."""
        lo, hi = element_range(self.activation)
        pairs = zip(bits, self._activations(), strict=True)
        return [Mux(bit, a, 0) for bit, a in pairs], (min(lo, 0), max(hi, 0))

    def _select_activations(self, m: Module) -> list[Value]:
        # Twice the sum where the weight is +1, less the sum of all, which the rows share.
        everything = self._tree(
            m, self._activations(), element_range(self.activation), "activations"
        )
        dots = []
        for row in range(self.rows):
            masked, bounds = self._masked(self._weights(row))
            selected = self._tree(m, masked, bounds, f"selected_{row}")
            dot = (selected << 1) - everything
            dots.append(self._register(m, dot, self.range, f"row_{row}"))
        return dots

    def _select_weights(self, m: Module) -> list[Value]:
        # -w is ~w + 1; the ones to add are the same for every row.
        negative = [~a for a in self._activations()]
        ones = self._tree(m, negative, (0, 1), "ones")
        dots = []
        for row in range(self.rows):
            terms = [
                (w.as_unsigned() ^ n.replicate(len(w))).as_signed()
                for w, n in zip(self._weights(row), negative, strict=True)
            ]
            total = self._tree(m, terms, element_range(self.weight), f"terms_{row}")
            dots.append(self._register(m, total + ones, self.range, f"row_{row}"))
        return dots

    def _bit_planes(self, m: Module, row: int) -> Value:
        weights = self._weights(row)
        planes = []
        for plane in range(_planes(self.weight)):
            masked, bounds = self._masked([w[min(plane, len(w) - 1)] for w in weights])
            value = self._tree(m, masked, bounds, f"row_{row}_bit{plane}")
            planes.append((value, (bounds[0] * self.simd, bounds[1] * self.simd)))
        # Put together in pairs; the highest bit counts negative.
        distance, level = 1, 0
        while len(planes) > 1:
            joined = []
            for index in range(0, len(planes), 2):
                value, (lo, hi) = planes[index]
                if index + 1 < len(planes):
                    upper, (upper_lo, upper_hi) = planes[index + 1]
                    if level == 0 and index + 2 == len(planes):
                        upper, upper_lo, upper_hi = -upper, -upper_hi, -upper_lo
                    # The lowest bits of the sum are those of the lower plane alone.
                    high = (value >> distance) + upper
                    value = Cat(value[:distance], high)
                    value = value.as_signed() if high.shape().signed else value
                    lo, hi = lo + (upper_lo << distance), hi + (upper_hi << distance)
                elif level == 0:
                    value, lo, hi = -value, -hi, -lo
                name = f"row_{row}_planes{level}_{index // 2}"
                joined.append((self._register(m, value, (lo, hi), name), (lo, hi)))
            planes = joined
            distance, level = 2 * distance, level + 1
        return planes[0][0]

    def _products(self, m: Module, row: int) -> Value:
        bounds = dot_range(1, self.activation, self.weight)
        products = [
            self._register(m, a * w, bounds, f"row_{row}_product{lane}")
            for lane, (a, w) in enumerate(zip(self._activations(), self._weights(row), strict=True))
        ]
        return self._tree(m, products, bounds, f"row_{row}")

    def _packed(self, m: Module, row: int) -> list[Value]:
        """Dot products of ``row`` and the next one, where there is a next one."""
        shift, whole = self.packing
        lower = self._weights(row)
        paired = row + 1 < self.rows
        upper = self._weights(row + 1) if paired else [Const(0, signed(1))] * self.simd
        lo, hi = element_range(self.weight)
        ends = ((lo << shift) + lo, (hi << shift) + hi) if paired else (lo, hi)
        product = dot_range(1, self.activation, self.weight)
        both = tuple((end << shift) + end for end in product) if paired else product
        products = []
        for lane, a in enumerate(self._activations()):
            name = f"rows_{row}_lane{lane}"
            pair = self._register(m, (upper[lane] << shift) + lower[lane], ends, f"{name}_pair")
            delayed = Signal.like(a, name=f"{name}_a", reset_less=True)
            with m.If(self.en):
                m.d.sync += delayed.eq(a)
            products.append(self._register(m, pair * delayed, both, f"{name}_product"))

        def part(value: Value, bounds: tuple[int, int], name: str) -> list[Value]:
            if not paired:
                return [self._register(m, value, bounds, f"{name}_lower")]
            low = value[:shift].as_signed()
            # The upper number has lent one where the lower one is negative.
            high = (value >> shift) + value[shift - 1]
            return [
                self._register(m, low, bounds, f"{name}_lower"),
                self._register(m, high, bounds, f"{name}_upper"),
            ]

        if whole:
            total = self._tree(m, products, both, f"rows_{row}")
            return part(total, self.range, f"rows_{row}")
        parts = [part(value, product, f"rows_{row}_{k}") for k, value in enumerate(products)]
        return [
            self._tree(m, [lane[k] for lane in parts], product, f"row_{row + k}")
            for k in range(1 + paired)
        ]
