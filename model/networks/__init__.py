"""Network families by name. Importing this needs no torch; :func:`build` does."""

from importlib import import_module

__all__ = ["NETWORKS", "build", "is_detector"]

_MINI = {"width": 4, "depth": (1, 1)}

#: MobileNetV1's 13 blocks, none of them behind a stride of more than 8: what a cell sees is 171
#: pixels wide, and 323 with kernels of 5x5 in the last ten, as ships of 240 pixels need it. A map
#: of 52x52 with five anchors: k-means of the boxes of SSDD's training images brought to 416x416
#: (:func:`model.ssdd.choose_anchors`), in whole pixels.
_SSDD = {
    "width": 24,
    "depth": (1, 2, 10),
    "image": (416, 416, 1),
    "stride": 2,
    "anchors": ((11, 14), (10, 36), (26, 22), (19, 65), (57, 75)),
    "residual_bits": 20,
}

#: To begin with: the deeper networks start from one of these that is trained.
_SSDD_SHALLOW = _SSDD | {"depth": (1, 2, 5)}

#: A float detector of the same map: 15 G multiply-accumulates a frame, and cells see 223 pixels.
_SSDD_TEACHER = {key: _SSDD[key] for key in ("image", "stride", "anchors")} | {
    "width": 48, "depth": (1, 2, 6),
}  # fmt: skip

_SSDD_MINI = _MINI | {
    "image": (32, 32, 1), "stride": 2, "anchors": ((4, 4), (8, 8)),
}  # fmt: skip

#: Of BaseBNN and FuseBNN, whose integer networks are one function: for CIFAR-10, 0.20 points from
#: PyTorch on 1,017 test images, with 22 bits 0.49 above it, with 24 0.39 below; for SSDD, 0.12
#: points of AP50, with 20 bits 0.31.
_BINARY = {"residual_bits": 23}
_BINARY_SSDD = _SSDD | {"residual_bits": 22}

#: Name of the network -> module, class and the arguments that differ from its defaults.
NETWORKS: dict[str, tuple[str, str, dict]] = {
    "hybnn-mini": ("model.networks.hybnn_mini", "HybnnMini", {}),
    "fracbnn": ("model.networks.fracbnn", "FracBNN", {}),
    # As the released parameters are: with norms folded to scale and bias.
    "fracbnn-folded": ("model.networks.fracbnn", "FracBNN", {"folded": True}),
    # For a first try and for tests.
    "fracbnn-mini": ("model.networks.fracbnn", "FracBNN", {"width": 4, "blocks": 1, "levels": 8}),
    "basebnn": ("model.networks.reactnet", "BaseBNN", _BINARY),
    "basebnn-mini": ("model.networks.reactnet", "BaseBNN", _MINI),
    # BaseBNN's, fused: `python -m model.fusion` makes its parameters.
    "fusebnn": ("model.networks.fusebnn", "FuseBNN", _BINARY),
    "fusebnn-mini": ("model.networks.fusebnn", "FuseBNN", _MINI),
    # 0.20 points from PyTorch on 1,017 test images, 0.49 with 16 bits; about ten labels differ
    # either way.
    "fourbit": ("model.networks.fourbit", "FourBitNet", {"residual_bits": 18}),
    "fourbit-mini": ("model.networks.fourbit", "FourBitNet", _MINI),
    # As many of 1,017 test images right as PyTorch has; 0.39 points fewer with 16 bits.
    "hybnn": ("model.networks.hybnn", "HyBNN", {"residual_bits": 20}),
    # With standard binary 3x3 convolutions for the depthwise ones: more weights, few more LUTs.
    "hybnn-3x3": ("model.networks.hybnn", "HyBNN", {"blocks": "44444443333"}),
    "hybnn-cifar-mini": ("model.networks.hybnn", "HyBNN", _MINI | {"blocks": "41"}),
    # Detectors of ships in SAR images.
    "basebnn-ssdd": ("model.networks.reactnet", "BaseBNN", _BINARY_SSDD),
    "basebnn-ssdd-shallow": ("model.networks.reactnet", "BaseBNN", _SSDD_SHALLOW),
    "fusebnn-ssdd": ("model.networks.fusebnn", "FuseBNN", _BINARY_SSDD),
    # 0.30 points from PyTorch. Earlier parameters: 0.20, and 0.37 with 20 bits.
    "fourbit-ssdd": (
        "model.networks.fourbit",
        "FourBitNet",
        _SSDD | {"residual_bits": 22, "large": 10},
    ),
    "fourbit-ssdd-shallow": ("model.networks.fourbit", "FourBitNet", _SSDD_SHALLOW),
    # Binary blocks between ones of four bits learn much more quickly than one after the other.
    "hybnn-ssdd": ("model.networks.hybnn", "HyBNN", _SSDD | {"blocks": "4445551515151"}),
    "hybnn-ssdd-mini": ("model.networks.hybnn", "HyBNN", _SSDD_MINI | {"blocks": "51"}),
    "basebnn-ssdd-mini": ("model.networks.reactnet", "BaseBNN", _SSDD_MINI),
    "fusebnn-ssdd-mini": ("model.networks.fusebnn", "FuseBNN", _SSDD_MINI),
    # Float networks to learn from.
    "teacher": ("model.networks.teacher", "Teacher", {}),
    "teacher-ssdd": ("model.networks.teacher", "Teacher", _SSDD_TEACHER),
    # For where there is no GPU.
    "teacher-quick": ("model.networks.teacher", "QuickTeacher", {}),
    "teacher-mini": ("model.networks.teacher", "Teacher", _MINI),
    "teacher-ssdd-mini": ("model.networks.teacher", "Teacher", _SSDD_MINI),
}


def build(name: str):
    """A new, untrained torch network.

    Raises
    ------
    ValueError
        There is no network of this name.
    """
    if name not in NETWORKS:
        known = ", ".join(sorted(NETWORKS))
        raise ValueError(f"there is no network {name!r} (known: {known})")
    module, cls, arguments = NETWORKS[name]
    return getattr(import_module(module), cls)(**arguments)


def is_detector(name: str) -> bool:
    """Whether there is a network of this name that makes boxes, not labels."""
    return "anchors" in NETWORKS.get(name, ("", "", {}))[2]
