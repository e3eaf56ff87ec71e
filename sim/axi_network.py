"""A network so small that a frame takes a few dozen cycles."""

import numpy as np

from model.graph import (
    BINARY,
    Conv,
    Dense,
    GlobalPool,
    Input,
    LabelSelect,
    Network,
    parse_element,
)

__all__ = ["small_network"]


def small_network(seed: int = 0) -> Network:
    """Image 4x4x2, a convolution with binary weights, pool, three scores and a label.

    Networks of two seeds differ in their parameters alone.
    """
    source = np.random.default_rng(seed)
    convolution = Conv(
        name="conv",
        inputs=("image",),
        weights=source.choice([-1, 1], (4, 3, 3, 2)),
        weight_type=BINARY,
        padding=1,
    )
    scores = Dense(
        name="scores",
        inputs=("pool",),
        weights=source.integers(-8, 8, (3, 4)),
        weight_type=parse_element("int4"),
        bias=source.integers(-20, 20, 3),
    )
    return Network(
        "small",
        (
            Input(name="image", height=4, width=4, channels=2),
            convolution,
            GlobalPool(name="pool", inputs=("conv",), shift=4),
            scores,
            LabelSelect(name="label", inputs=("scores",)),
        ),
        ("scores", "label"),
    )
