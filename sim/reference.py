"""What every unit computes, said once more in plain numpy, from the definitions alone.

Nothing here is shared with the units or with the golden executor: shared code hides shared bugs.
Tensors hold stored numbers (binary: 1 for +1, 0 for -1) and are (height, width, channels) unless
said otherwise; a leading axis of frames is allowed where a function says so.
"""

import numpy as np

from sim.cases import pack

__all__ = [
    "add",
    "affine",
    "classes",
    "depthwise",
    "fractional",
    "half_up",
    "int_for",
    "limits",
    "matrix",
    "meaning",
    "pack_map",
    "pack_windows",
    "pool",
    "rprelu",
    "some",
    "some_weights",
    "thermometer",
    "threshold",
    "windows",
]


def limits(element: str) -> tuple[int, int]:
    """Lowest and highest stored number of an element."""
    if element == "binary":
        return 0, 1
    bits = int(element.removeprefix("u").removeprefix("int"))
    return (
        (0, 2**bits - 1) if element.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )


def some(generator: np.random.Generator, element: str, shape: object) -> np.ndarray:
    """Random stored numbers; both ends of the range are frequent."""
    low, high = limits(element)
    values = generator.integers(low, high, shape, endpoint=True)
    ends = generator.choice([low, high], shape)
    return np.where(generator.random(shape) < 0.15, ends, values)


def int_for(bound: int) -> str:
    """The narrowest "intK" that holds -bound .. bound."""
    return f"int{int(bound).bit_length() + 1}"


def some_weights(generator: np.random.Generator, weight: str, shape: object) -> np.ndarray:
    """Random weights as numbers: +1 and -1 where they are binary."""
    return meaning(weight, some(generator, weight, shape))


def classes(generator: np.random.Generator, size: int, count: int) -> list[int]:
    """A class for each of ``size`` rows or columns; every class below the largest is used."""
    while True:
        found = generator.integers(0, min(count, size), size).tolist()
        if len(set(found)) == max(found) + 1:
            return found


def meaning(element: str, stored: np.ndarray) -> np.ndarray:
    """The numbers that stored ones stand for."""
    stored = np.asarray(stored, dtype=object)
    return 2 * stored - 1 if element == "binary" else stored


def pack_map(element: str, lanes: int, maps: np.ndarray) -> list[int]:
    """A map (or several) as the beats of a stream."""
    return pack(element, lanes, maps)


def windows(maps: np.ndarray, kernel: tuple[int, int], stride: int, padding: int) -> np.ndarray:
    """(frames, height, width, channels) -> (frames, out height, out width, ky, kx, channels).

    What is outside of the map is stored as 0.
    """
    frames, height, width, channels = maps.shape
    out_height = (height + 2 * padding - kernel[0]) // stride + 1
    out_width = (width + 2 * padding - kernel[1]) // stride + 1
    out = np.zeros((frames, out_height, out_width, *kernel, channels), dtype=object)
    for y in range(out_height):
        for x in range(out_width):
            for ky in range(kernel[0]):
                for kx in range(kernel[1]):
                    row, column = y * stride - padding + ky, x * stride - padding + kx
                    if 0 <= row < height and 0 <= column < width:
                        out[:, y, x, ky, kx] = maps[:, row, column]
    return out


def pack_windows(element: str, lanes: int, taken: np.ndarray) -> list[int]:
    """Windows as beats: for each pixel and each fold of ``lanes`` channels ky, kx, lane."""
    frames, height, width, kh, kw, channels = taken.shape
    folded = taken.reshape(frames, height, width, kh, kw, channels // lanes, lanes)
    ordered = folded.transpose(0, 1, 2, 5, 3, 4, 6)
    return pack(element, kh * kw * lanes, ordered)


def matrix(
    weights: np.ndarray, initial: np.ndarray, vectors: np.ndarray, activation: str
) -> np.ndarray:
    """Sums of products of every vector, (n, columns) stored -> (n, rows).

    ``weights`` (rows, columns) are numbers, +1 and -1 where they are binary; ``initial`` (n, rows)
    is what each sum begins with.
    """
    return initial.astype(object) + meaning(activation, vectors) @ weights.astype(object).T


def fractional(
    weights: np.ndarray, gate: np.ndarray, vectors: np.ndarray, padding: np.ndarray
) -> np.ndarray:
    """Gated sums of the two bit planes of every vector, (n, columns) -> (n, rows).

    ``padding`` (n, columns) tells which columns of a vector count nothing. The upper plane counts
    twice; the lower one counts where the upper one's sum is at least ``gate`` (rows).
    """
    upper, lower = (
        np.where(padding, 0, np.where(vectors & bit, 1, -1)) @ weights.T for bit in (2, 1)
    )
    return np.where(upper >= gate, 2 * upper + lower, 2 * upper)


def thermometer(levels: np.ndarray, count: int) -> np.ndarray:
    """``count`` stored bits of each level along the last axis: as many ones, then zeros."""
    bits = np.zeros((*levels.shape, count), dtype=int)
    for place in np.ndindex(levels.shape):
        bits[place][: levels[place]] = 1
    return bits.reshape(*levels.shape[:-1], levels.shape[-1] * count)


def depthwise(
    weights: np.ndarray, initial: np.ndarray, taken: np.ndarray, activation: str
) -> np.ndarray:
    """Sums over the taps of every channel, (n, taps, channels) -> (n, channels).

    ``weights`` are (channels, taps).
    """
    return initial.astype(object) + (meaning(activation, taken) * weights.T[None]).sum(axis=1)


def threshold(values: np.ndarray, thresholds: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Thresholds that each value has reached; channels are the last axis."""
    out = np.zeros(values.shape, dtype=object)
    for channel, (levels, direction) in enumerate(zip(thresholds, directions, strict=True)):
        for level in levels:
            x = values[..., channel]
            out[..., channel] += (x >= level if direction > 0 else x <= level).astype(int)
    return out


def half_up(values: np.ndarray, shift: int) -> np.ndarray:
    """Division by 2**shift, to the nearest integer, halves up."""
    if shift == 0:
        return values
    return np.floor_divide(values + 2 ** (shift - 1), 2**shift)


def _limit(values: np.ndarray, element: str) -> np.ndarray:
    low, high = limits(element)
    return np.minimum(np.maximum(values, low), high)


def affine(
    values: np.ndarray, scale: np.ndarray, bias: np.ndarray, shift: int, output: str
) -> np.ndarray:
    return _limit(half_up(values.astype(object) * scale + bias, shift), output)


def rprelu(
    values: np.ndarray,
    bend: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    shift: int,
    output: str,
) -> np.ndarray:
    """Segment 1 of ``scale`` and ``bias`` (2, channels) from ``bend`` on, segment 0 below."""
    low = affine(values, scale[0], bias[0], shift, output)
    high = affine(values, scale[1], bias[1], shift, output)
    return np.where(values >= bend, high, low)


def add(
    a: np.ndarray, b: np.ndarray, elements: tuple[str, str], shifts: tuple[int, int], output: str
) -> np.ndarray:
    total = meaning(elements[0], a) * 2 ** shifts[0] + meaning(elements[1], b) * 2 ** shifts[1]
    return _limit(total, output)


def pool(
    maps: np.ndarray, kernel: tuple[int, int], mode: str, shift: int, element: str
) -> np.ndarray:
    """Maximum or rounded sum of windows side by side, (frames, height, width, channels)."""
    frames, height, width, channels = maps.shape
    out = np.zeros((frames, height // kernel[0], width // kernel[1], channels), dtype=object)
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            top, left = y * kernel[0], x * kernel[1]
            square = maps[:, top : top + kernel[0], left : left + kernel[1]]
            if mode == "max":
                out[:, y, x] = square.max(axis=(1, 2))
            else:
                out[:, y, x] = half_up(meaning(element, square).sum(axis=(1, 2)), shift)
    return out
