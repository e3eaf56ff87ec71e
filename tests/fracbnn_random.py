"""Networks of FracBNN's structure with random parameters, at its own size or smaller."""

from collections.abc import Sequence

import numpy as np

from model.graph import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Dense,
    FractionalConv,
    GlobalPool,
    Input,
    LabelSelect,
    Network,
    Operation,
    RPReLU,
    Thermometer,
    Threshold,
    parse_element,
)

__all__ = ["random_fracbnn"]


def random_fracbnn(
    *,
    size: int = 32,
    widths: Sequence[int] = (16, 32, 64),
    blocks: int = 3,
    levels: int = 32,
    residual_bits: int = 18,
    seed: int = 1,
) -> Network:
    """The CIFAR-10 network, by default as large as the published one.

    Parameters
    ----------
    size : int
        Height and width of the image, a multiple of ``2 ** (len(widths) - 1)``.
    widths : sequence of int
        Channels of each group; each but the first one halves the map and doubles the channels.
    blocks : int
        Blocks of two stages in a group.
    levels : int
        Thresholds of the thermometer.
    residual_bits : int
        Of the residual stream, first and last stage included.
    """
    rng = np.random.default_rng(seed)
    binary, residual = parse_element("binary"), parse_element(f"int{residual_bits}")
    operations: list[Operation] = [
        Input(name="image", height=size, width=size, channels=3),
        Thermometer(
            name="thermometer",
            inputs=("image",),
            thresholds=np.arange(1, levels + 1) * 256 // (levels + 1),
        ),
        Conv(
            name="conv1",
            inputs=("thermometer",),
            weights=rng.choice([-1, 1], (widths[0], 3, 3, 3 * levels)),
            weight_type=binary,
            padding=1,
        ),
    ]
    r, channels = "conv1", widths[0]
    scale = 27 * levels // 4
    for group, width in enumerate(widths):
        for stage in range(2 * blocks):
            name = f"s{group + 1}_{stage + 1}"
            stride = 2 if group and not stage else 1
            products = 9 * channels
            directions = rng.choice([-1, 1], channels)
            # Ascending where a larger number reaches more of them, else descending.
            cuts = np.sort(rng.integers(-scale, scale, (channels, 3)), axis=1)
            cuts = np.where(directions[:, None] > 0, cuts, cuts[:, ::-1])
            operations += [
                Threshold(
                    name=f"{name}_quantise",
                    inputs=(r,),
                    thresholds=cuts,
                    directions=directions,
                    element=parse_element("uint2"),
                ),
                FractionalConv(
                    name=f"{name}_conv",
                    inputs=(f"{name}_quantise",),
                    weights=rng.choice([-1, 1], (width, 3, 3, channels)),
                    gate=rng.integers(-products // 8, products // 8 + 1, width),
                    stride=stride,
                    padding=1,
                ),
                RPReLU(
                    name=f"{name}_act",
                    inputs=(f"{name}_conv",),
                    threshold=rng.integers(-99, 99, width),
                    scale=rng.integers(1, 1 << 16, (2, width)),
                    bias=rng.integers(-(1 << 20), 1 << 20, (2, width)),
                    shift=12,
                    element=residual,
                ),
            ]
            shortcut = r
            if stride == 2:
                operations += [
                    AvgPool(name=f"{name}_pool", inputs=(r,), kernel=2, shift=2),
                    Concat(name=f"{name}_twice", inputs=(f"{name}_pool", f"{name}_pool")),
                ]
                shortcut = f"{name}_twice"
            elif r == "conv1":
                scale *= 4
            operations.append(
                Add(
                    name=f"{name}_add",
                    inputs=(f"{name}_act", shortcut),
                    shifts=(0, 2 if r == "conv1" else 0),
                    element=residual,
                )
            )
            r, channels = f"{name}_add", width
    last = size >> (len(widths) - 1)
    operations += [
        GlobalPool(name="mean", inputs=(r,), shift=(last * last).bit_length() - 1),
        Dense(
            name="scores",
            inputs=("mean",),
            weights=rng.integers(-(1 << 11), 1 << 11, (10, channels)),
            weight_type=parse_element("int12"),
            bias=rng.integers(-(1 << 20), 1 << 20, 10),
        ),
        LabelSelect(name="label", inputs=("scores",)),
    ]
    return Network("fracbnn-random", tuple(operations), ("scores", "label"))
