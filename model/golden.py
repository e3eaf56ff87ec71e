"""Bit-exact executor of the integer network, one function per operation.

Tensors are integer arrays (frames, height, width, channels); binary elements are stored as 1 for +1
and 0 for -1. Sums of products run through the floating-point matrix product where every
intermediate sum is an integer that the format holds exactly: exact at the speed of BLAS.

    python -m model.golden NETWORK --images X.npy --out Y.npy
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from model.cli import read_array, run_command, write_array, write_report
from model.graph import Network, Operation, TensorType, load

__all__ = ["check_images", "load_images", "main", "run", "scores"]

#: Frames at a time.
BATCH = 16

#: Numbers that the windows of a convolution see at a time.
_WINDOWS = 1 << 18


def _numbers(x: np.ndarray, kind: TensorType) -> np.ndarray:
    """The numbers that stored elements stand for."""
    return 2 * x - 1 if kind.element.is_binary else x


def _exact_format(bound: int) -> type:
    """The fastest format whose sums are exact integers up to ``bound`` in magnitude."""
    for dtype, limit in ((np.float32, 1 << 24), (np.float64, 1 << 53)):
        if bound < limit:
            return dtype
    return np.int64


def _exact_matmul(a: np.ndarray, b: np.ndarray, bound: int) -> np.ndarray:
    """Integer ``a @ b`` where no partial sum exceeds ``bound`` in magnitude."""
    dtype = _exact_format(bound)
    return (a.astype(dtype, copy=False) @ b.astype(dtype)).astype(np.int64)


def _largest(kind: TensorType) -> int:
    return max(-kind.element.lo, kind.element.hi)


def _windows(x: np.ndarray, kernel: tuple[int, int], stride: int, padding: int):
    """For each kernel position, its row, its column and what all windows see there.

    What they see has the shape (frames, height, width, channels).
    """
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((n - k) // stride + 1 for n, k in zip(x.shape[1:3], kernel, strict=True))
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            rows = slice(ky, ky + (height - 1) * stride + 1, stride)
            columns = slice(kx, kx + (width - 1) * stride + 1, stride)
            yield ky, kx, x[:, rows, columns]


def _convolve(op: Operation, x: np.ndarray, largest: int) -> np.ndarray:
    """Sums of products of numbers that are at most ``largest`` in magnitude, as they come."""
    bound = largest * int(np.abs(op.weights).sum(axis=(1, 2, 3)).max())
    x = x.astype(_exact_format(bound))
    rows = op.weights.reshape(len(op.weights), -1).T.astype(x.dtype)
    # A few frames at a time: what their windows see should stay in the cache.
    seen_by_one = x[0].size * rows.shape[0] // x.shape[3] // op.stride**2
    frames = max(1, _WINDOWS // max(1, seen_by_one))
    parts = []
    for start in range(0, len(x), frames):
        windows = list(_windows(x[start : start + frames], op.kernel, op.stride, op.padding))
        columns = np.stack([seen for _, _, seen in windows], axis=3)
        sums = columns.reshape(-1, rows.shape[0]) @ rows
        parts.append(sums.reshape(*columns.shape[:3], -1))
    return np.concatenate(parts)


def _conv(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    x = _numbers(x, kind)
    if op.depthwise:
        out = sum(
            seen * op.weights[:, ky, kx, 0]
            for ky, kx, seen in _windows(x, op.kernel, op.stride, op.padding)
        )
    else:
        out = _convolve(op, x, _largest(kind)).astype(np.int64)
    return out if op.bias is None else out + op.bias


def _fractional_conv(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    # Both planes in one product: |sum(w * high)| is less than base/2, so that rounding to multiples
    # of base, a power of two, takes high + base*low apart again.
    base = 2 << int(op.weights[0].size).bit_length()
    high, low = 2 * (x >> 1) - 1, 2 * (x & 1) - 1
    both = _convolve(op, high + base * low, base + 1)
    low = np.rint(both / both.dtype.type(base))
    high = both - low * both.dtype.type(base)
    return (2 * high + np.where(high >= op.gate, low, 0)).astype(np.int64)


def _dense(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    bound = _largest(kind) * int(np.abs(op.weights).sum(axis=1).max())
    out = _exact_matmul(_numbers(x, kind), op.weights.T, bound)
    return out if op.bias is None else out + op.bias


def _thermometer(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    levels = x[..., None] >= op.thresholds
    return levels.astype(np.int64).reshape(*x.shape[:3], -1)


def _threshold(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    # x <= t is -x >= -t.
    x = x * op.directions
    thresholds = (op.thresholds * op.directions[:, None]).T
    # Counted in as few bits as will do: adding booleans up as int64 takes twice as long.
    passed = np.zeros(x.shape, np.min_scalar_type(len(thresholds)))
    for t in thresholds:
        passed += x >= t
    return passed.astype(np.int64)


def _round_shift(x: np.ndarray, shift: int) -> np.ndarray:
    return (x + ((1 << shift) >> 1)) >> shift


def _saturate(x: np.ndarray, op: Operation) -> np.ndarray:
    return np.clip(x, op.element.lo, op.element.hi)


def _affine(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    return _saturate(_round_shift(x * op.scale + op.bias, op.shift), op)


def _rprelu(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    above = x >= op.threshold
    scale = np.where(above, op.scale[1], op.scale[0])
    bias = np.where(above, op.bias[1], op.bias[0])
    return _saturate(_round_shift(x * scale + bias, op.shift), op)


def _add(op: Operation, a: np.ndarray, b: np.ndarray, *kinds: TensorType) -> np.ndarray:
    return _saturate((a << op.shifts[0]) + (b << op.shifts[1]), op)


def _concat(op: Operation, *tensors_and_kinds: np.ndarray) -> np.ndarray:
    return np.concatenate(tensors_and_kinds[: len(op.inputs)], axis=-1)


def _squares(x: np.ndarray, kernel: int) -> np.ndarray:
    """(frames, rows, kernel, columns, kernel, channels), the rest at the far edges dropped."""
    n, height, width, channels = x.shape
    rows, columns = height // kernel, width // kernel
    x = x[:, : rows * kernel, : columns * kernel]
    return x.reshape(n, rows, kernel, columns, kernel, channels)


def _max_pool(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    return _squares(x, op.kernel).max(axis=(2, 4))


def _avg_pool(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    return _round_shift(_squares(_numbers(x, kind), op.kernel).sum(axis=(2, 4)), op.shift)


def _global_pool(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    return _round_shift(_numbers(x, kind).sum(axis=(1, 2), keepdims=True), op.shift)


def _label_select(op: Operation, x: np.ndarray, kind: TensorType) -> np.ndarray:
    return x.argmax(axis=-1, keepdims=True)  # numpy, too, lets the lowest index win


_EXECUTE: dict[str, Callable[..., np.ndarray]] = {
    "Thermometer": _thermometer,
    "Conv": _conv,
    "FractionalConv": _fractional_conv,
    "Dense": _dense,
    "Threshold": _threshold,
    "Affine": _affine,
    "RPReLU": _rprelu,
    "Add": _add,
    "Concat": _concat,
    "MaxPool": _max_pool,
    "AvgPool": _avg_pool,
    "GlobalPool": _global_pool,
    "LabelSelect": _label_select,
}


def check_images(network: Network, images: np.ndarray) -> np.ndarray:
    """``images`` as the network wants them: uint8, (frames, height, width, channels).

    Raises
    ------
    ValueError
        Type or shape differ; the sentence says what came and what would be right.
    """
    wanted = network.types[network.input.name].shape
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        came = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise ValueError(f"images must be an array of uint8, not {came}")
    if images.ndim != 4 or images.shape[1:] != wanted:
        raise ValueError(
            f"images for {network.name} must have shape (N, {', '.join(map(str, wanted))}), "
            f"not {images.shape}"
        )
    return images


def load_images(network: Network, path: str | Path) -> np.ndarray:
    """Read images from a ``.npy`` file and check them.

    Raises
    ------
    ValueError
        The file is missing, no npy file, or its images do not suit ``network``.
    """
    images = read_array(path, "images")
    try:
        return check_images(network, images)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def run(
    network: Network, images: np.ndarray, *, keep: str = "outputs", batch: int = BATCH
) -> Mapping[str, np.ndarray]:
    """Execute ``network`` on ``images``.

    Parameters
    ----------
    images : uint8 array, (frames, height, width, channels)
    keep : str
        ``"outputs"``: only the network's outputs; ``"all"``: every tensor.
    batch : int
        Frames at a time; bounds the memory.

    Returns
    -------
    dict of int64 arrays (frames, height, width, channels) by operation name

    Raises
    ------
    ValueError
        ``images`` do not suit the network.
    """
    images = check_images(network, images)
    kept = [op.name for op in network.order] if keep == "all" else list(network.outputs)
    parts = {name: [np.zeros((0, *network.types[name].shape), np.int64)] for name in kept}
    last = {source: op.name for op in network.order for source in op.inputs}
    for start in range(0, len(images), batch):
        tensors: dict[str, np.ndarray] = {}
        for op in network.order:
            if not op.inputs:
                tensors[op.name] = images[start : start + batch].astype(np.int64)
            else:
                sources = [tensors[source] for source in op.inputs]
                kinds = [network.types[source] for source in op.inputs]
                tensors[op.name] = _EXECUTE[type(op).__name__](op, *sources, *kinds)
            if op.name in parts:
                parts[op.name].append(tensors[op.name])
            for source in set(op.inputs):
                if last[source] == op.name:
                    del tensors[source]  # The memory is warm for the next one.
    return {name: np.concatenate(part) for name, part in parts.items()}


def scores(network: Network, images: np.ndarray) -> np.ndarray:
    """Class scores, (frames, classes) int64: the network's first output, flattened."""
    return run(network, images)[network.outputs[0]].reshape(len(images), -1)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.golden", description="Execute an integer network, bit for bit."
    )
    parser.add_argument("network", help="network folder, or name of a shipped network")
    parser.add_argument("--images", required=True, help="uint8 images, (N, H, W, C), as .npy")
    parser.add_argument("--out", required=True, help="class scores, (N, classes) int64, as .npy")
    options = parser.parse_args(argv)
    network = load(options.network)
    images = load_images(network, options.images)
    started = time.perf_counter()
    rows = [np.zeros((0, network.types[network.outputs[0]].channels), np.int64)]
    starts = range(0, len(images), BATCH)
    # numpy lets other threads run while it computes.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        parts = pool.map(lambda start: scores(network, images[start : start + BATCH]), starts)
        console = Console(stderr=True)
        try:
            rows += track(parts, "golden", total=len(starts), console=console, transient=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # An interrupt does not wait for all frames.
            raise
    result = np.concatenate(rows)
    seconds = time.perf_counter() - started
    report = {
        "network": network.name,
        "digest": network.digest(),
        "frames": len(images),
        "classes": result.shape[1],
        "seconds": round(seconds, 3),
        "frames_per_second": round(len(images) / seconds, 1) if seconds else None,
    }
    write_array(options.out, result)
    write_report(Path(options.out).with_suffix(".json"), report)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    run_command(main)
