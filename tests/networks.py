"""Small networks for tests: one with every kind of operation, and a minimal one."""

import numpy as np

from model.graph import (
    BINARY,
    Add,
    Affine,
    AvgPool,
    Concat,
    Conv,
    Dense,
    FractionalConv,
    GlobalPool,
    Input,
    LabelSelect,
    MaxPool,
    Network,
    RPReLU,
    Thermometer,
    Threshold,
    parse_element,
)

__all__ = ["every_operation", "one_pixel", "tiny"]


def tiny(seed: int = 0) -> Network:
    """Image 4x4x2, one binary-weight convolution, pool, dense, label."""
    rng = np.random.default_rng(seed)
    return Network(
        "tiny",
        (
            Input(name="image", height=4, width=4, channels=2),
            Conv(
                name="conv",
                inputs=("image",),
                weights=rng.choice([-1, 1], (4, 3, 3, 2)),
                weight_type=BINARY,
                padding=1,
            ),
            GlobalPool(name="pool", inputs=("conv",), shift=4),
            Dense(
                name="scores",
                inputs=("pool",),
                weights=rng.integers(-8, 8, (3, 4)),
                weight_type=parse_element("int4"),
                bias=np.array([1, -2, 3]),
            ),
            LabelSelect(name="label", inputs=("scores",)),
        ),
        ("scores", "label"),
    )


def one_pixel(seed: int = 0) -> Network:
    """Convolutions with padding whose results are one pixel: all of it is border."""
    rng = np.random.default_rng(seed)
    signs = [
        Threshold(
            name=f"sign{count}",
            inputs=(source,),
            thresholds=np.full((channels, 1), middle),
            directions=np.ones(channels, np.int64),
            element=BINARY,
        )
        for count, (source, channels, middle) in enumerate((("image", 2, 128), ("conv", 4, 1)))
    ]
    return Network(
        "one_pixel",
        (
            Input(name="image", height=2, width=2, channels=2),
            signs[0],
            Conv(
                name="conv",
                inputs=("sign0",),
                weights=rng.choice([-1, 1], (4, 3, 3, 2)),
                weight_type=BINARY,
                padding=1,
                stride=2,
            ),
            signs[1],
            Conv(
                name="depthwise",
                inputs=("sign1",),
                weights=rng.choice([-1, 1], (4, 3, 3, 1)),
                weight_type=BINARY,
                padding=1,
                depthwise=True,
            ),
            Dense(
                name="scores",
                inputs=("depthwise",),
                weights=rng.integers(-8, 8, (3, 4)),
                weight_type=parse_element("int4"),
            ),
            LabelSelect(name="label", inputs=("scores",)),
        ),
        ("scores", "label"),
    )


def _thresholds(rng: np.random.Generator, channels: int, count: int, low: int, high: int) -> tuple:
    directions = rng.choice([-1, 1], channels)
    thresholds = np.sort(rng.integers(low, high, (channels, count)), axis=1)
    return np.where(directions[:, None] > 0, thresholds, thresholds[:, ::-1]), directions


def _fractional_half(rng: np.random.Generator) -> tuple:
    thresholds, directions = _thresholds(rng, 4, 3, -60, 60)
    return (
        Threshold(
            name="quantise",
            inputs=("rprelu",),
            thresholds=thresholds,
            directions=directions,
            element=parse_element("uint2"),
        ),
        FractionalConv(
            name="fractional",
            inputs=("quantise",),
            weights=rng.choice([-1, 1], (6, 3, 3, 4)),
            # Some that are open now and then, one that always is, one that never is.
            gate=np.array([0, 3, -5, -36, 37, 2]),
            stride=2,
            padding=1,
        ),
        Thermometer(name="thermometer", inputs=("image",), thresholds=np.array([50, 128, 200])),
        Conv(
            name="levels",
            inputs=("thermometer",),
            weights=rng.choice([-1, 1], (6, 3, 3, 3)),
            weight_type=BINARY,
            stride=2,
            padding=1,
        ),
        AvgPool(name="bits", inputs=("thermometer",), kernel=2),
        Concat(name="twice", inputs=("bits", "bits")),
        Add(name="joined", inputs=("fractional", "levels"), element=parse_element("int8")),
        Add(
            name="joined2",
            inputs=("joined", "twice"),
            shifts=(0, 2),
            element=parse_element("int8"),
        ),
        GlobalPool(name="pool2", inputs=("joined2",), shift=3),
    )


def every_operation(seed: int = 0) -> Network:
    """A graph of every kind of operation on an 8x8x1 image, with forks and joins.

    Of its two halves, one has two bit planes, and a thermometer whose bits go to a convolution and
    elsewhere, and are concatenated with themselves.
    """
    rng = np.random.default_rng(seed)
    four, eight = parse_element("int4"), parse_element("int8")
    t1, d1 = _thresholds(rng, 4, 15, -300, 300)
    t2, d2 = _thresholds(rng, 4, 1, -40, 40)
    t3, d3 = _thresholds(rng, 8, 1, -30, 30)
    return Network(
        "every",
        (
            Input(name="image", height=8, width=8, channels=1),
            Conv(
                name="conv1",
                inputs=("image",),
                weights=rng.integers(-8, 8, (4, 3, 3, 1)),
                weight_type=four,
                padding=1,
                bias=rng.integers(-99, 99, 4),
            ),
            Threshold(
                name="act1",
                inputs=("conv1",),
                thresholds=t1,
                directions=d1,
                element=parse_element("uint4"),
            ),
            Conv(
                name="dw",
                inputs=("act1",),
                weights=rng.integers(-8, 8, (4, 3, 3, 1)),
                weight_type=four,
                padding=1,
                depthwise=True,
            ),
            Affine(
                name="affine",
                inputs=("dw",),
                scale=rng.integers(-40, 40, 4),
                bias=rng.integers(-400, 400, 4),
                shift=4,
                element=eight,
            ),
            Threshold(
                name="sign", inputs=("affine",), thresholds=t2, directions=d2, element=BINARY
            ),
            Conv(
                name="xnor",
                inputs=("sign",),
                weights=rng.choice([-1, 1], (4, 3, 3, 4)),
                weight_type=BINARY,
                padding=1,
            ),
            Add(
                name="add",
                inputs=("xnor", "affine"),
                shifts=(2, 0),
                element=parse_element("int9"),
            ),
            RPReLU(
                name="rprelu",
                inputs=("add",),
                threshold=rng.integers(-20, 20, 4),
                scale=rng.integers(-20, 20, (2, 4)),
                bias=rng.integers(-99, 99, (2, 4)),
                shift=3,
                element=eight,
            ),
            AvgPool(name="avg", inputs=("rprelu",), kernel=2, shift=2),
            MaxPool(name="max", inputs=("rprelu",), kernel=2),
            Concat(name="concat", inputs=("avg", "max")),
            Threshold(
                name="sign2", inputs=("concat",), thresholds=t3, directions=d3, element=BINARY
            ),
            Conv(
                name="strided",
                inputs=("sign2",),
                weights=rng.choice([-1, 1], (6, 3, 3, 8)),
                weight_type=BINARY,
                padding=1,
                stride=2,
            ),
            GlobalPool(name="pool", inputs=("strided",), shift=1),
            *_fractional_half(np.random.default_rng([seed, 1])),
            Add(name="total", inputs=("pool", "pool2"), element=eight),
            Dense(
                name="scores",
                inputs=("total",),
                weights=rng.integers(-8, 8, (5, 6)),
                weight_type=four,
                bias=rng.integers(-9, 9, 5),
            ),
            LabelSelect(name="label", inputs=("scores",)),
        ),
        ("scores", "label"),
    )
