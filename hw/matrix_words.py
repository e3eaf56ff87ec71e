"""The parameters of a matrix engine: checked, and as the words of its memories."""

from collections.abc import Sequence

from hw.lanes import element_range, element_shape, is_binary, pack

__all__ = ["checked_initial", "checked_weights", "initial_words", "weight_words"]


def checked_weights(
    weights: Sequence[Sequence[int]], rows: int, cols: int, weight: str
) -> list[list[int]]:
    """The matrix, which must be of that size and element."""
    if not is_binary(weight) and not element_shape(weight).signed:
        raise ValueError(f"weight must be 'binary' or 'intK', not {weight!r}")
    matrix = [list(row) for row in weights]
    if len(matrix) != rows or any(len(row) != cols for row in matrix):
        raise ValueError(f"weights must be {rows} rows of {cols} columns")
    lo, hi = element_range(weight)
    for w in (w for row in matrix for w in row):
        if not isinstance(w, int) or not lo <= w <= hi or (is_binary(weight) and w == 0):
            raise ValueError(f"weights must be integers of element {weight}, not {w!r}")
    return matrix


def checked_initial(initial: Sequence[Sequence[int]], classes: int, rows: int) -> list[list[int]]:
    """The initial sums, which must be as many of each class as rows."""
    sums = [list(row) for row in initial]
    if len(sums) != classes or any(len(row) != rows for row in sums):
        raise ValueError(f"initial must be {rows} sums for each of {classes} border classes")
    for value in (value for row in sums for value in row):
        if not isinstance(value, int):
            raise ValueError(f"initial must be integers, not {value!r}")
    return sums


def weight_words(weights: Sequence[Sequence[int]], weight: str, pe: int, simd: int) -> list[int]:
    """Words of the weight memory in the order of the steps; row minor to column."""
    bits = element_shape(weight).width
    return [
        pack(
            (
                (w + 1) // 2 if is_binary(weight) else w
                for row in weights[first : first + pe]
                for w in row[at : at + simd]
            ),
            bits,
        )
        for first in range(0, len(weights), pe)
        for at in range(0, len(weights[0]), simd)
    ]


def initial_words(starts: Sequence[Sequence[int]], bits: int, pe: int) -> list[int]:
    """Words of the initial sums: class major, in blocks of a power of two."""
    words = []
    for sums in starts:
        part = [pack(sums[first : first + pe], bits) for first in range(0, len(sums), pe)]
        words += part + part[-1:] * ((1 << (len(part) - 1).bit_length()) - len(part))
    return words
