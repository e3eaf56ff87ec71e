"""From a convolution's weights to what its engine is given: column order, classes, initial sums.

Pure functions on ints and lists. A binary map has no zero, so its padding enters the engines as -1,
and an initial sum for each border class of the output map takes those products out again: exact
zero padding at the cost of a small ROM.
"""

from collections.abc import Sequence

__all__ = ["border_classes", "initial_sums", "stream_columns", "window_lanes"]


def border_classes(
    size: int, out_size: int, kernel: int, stride: int, padding: int
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Classes of output rows (or columns) by the kernel taps that fall into the padding.

    Returns
    -------
    classes : list of int, one for each output row
    outside : list of tuple of int
        For each class, the taps outside of the map.
    """
    outside: list[tuple[int, ...]] = []
    classes = []
    for position in range(out_size):
        first = position * stride - padding
        taps = tuple(tap for tap in range(kernel) if not 0 <= first + tap < size)
        if taps not in outside:
            outside.append(taps)
        classes.append(outside.index(taps))
    return classes, outside


def initial_sums(
    weights: Sequence[Sequence[Sequence[Sequence[int]]]],
    bias: Sequence[int] | None,
    rows_outside: Sequence[Sequence[int]],
    columns_outside: Sequence[Sequence[int]],
) -> list[list[int]]:
    """Initial sum of each border class and output channel.

    Parameters
    ----------
    weights : nested lists, (out channels, kernel height, kernel width, in channels)
        The weights of a binary map; for other maps, which pad with real zeros, pass one class
        with nothing outside.
    bias : list of int (out channels), or None

    Returns
    -------
    list (row class * column classes + column class) of list (out channel)
    """
    sums = []
    for rows in rows_outside:
        for columns in columns_outside:
            sums.append(
                [
                    (bias[channel] if bias is not None else 0)
                    + sum(
                        sum(tap)
                        for ky, line in enumerate(kernel)
                        for kx, tap in enumerate(line)
                        if ky in rows or kx in columns
                    )
                    for channel, kernel in enumerate(weights)
                ]
            )
    return sums


def stream_columns(
    weights: Sequence[Sequence[Sequence[Sequence[int]]]], lanes: int
) -> list[list[int]]:
    """Weights as a matrix whose columns are in the order of a window stream.

    That order is: fold of ``lanes`` channels, kernel row, kernel column, lane.
    """
    return [
        [
            tap[fold * lanes + lane]
            for fold in range(len(kernel[0][0]) // lanes)
            for line in kernel
            for tap in line
            for lane in range(lanes)
        ]
        for kernel in weights
    ]


def window_lanes(channels: int, taps: int, simd: int, most_folds: int) -> int | None:
    """Channels a beat of the sliding window that feeds ``simd`` lanes.

    The fewest that divide ``channels``, whose window divides into beats of ``simd``, and that need
    no more than ``most_folds`` beats a pixel; where none is fast enough the fastest, and None where
    no window divides into beats of ``simd``.
    """
    fitting = [
        lanes
        for lanes in range(1, channels + 1)
        if channels % lanes == 0 and taps * lanes % simd == 0
    ]
    quick = [lanes for lanes in fitting if channels // lanes <= most_folds]
    return min(quick, default=max(fitting, default=None))
