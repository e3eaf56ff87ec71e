"""Network families by name. Importing this needs no torch; :func:`build` does."""

from importlib import import_module

__all__ = ["NETWORKS", "build"]

_MINI = {"width": 4, "depth": (1, 1)}

#: Name of the network -> module, class and the arguments that differ from its defaults.
NETWORKS: dict[str, tuple[str, str, dict]] = {
    "hybnn-mini": ("model.networks.hybnn_mini", "HybnnMini", {}),
    "fracbnn": ("model.networks.fracbnn", "FracBNN", {}),
    # As the released parameters are: with norms folded to scale and bias.
    "fracbnn-folded": ("model.networks.fracbnn", "FracBNN", {"folded": True}),
    # For a first try and for tests.
    "fracbnn-mini": ("model.networks.fracbnn", "FracBNN", {"width": 4, "blocks": 1, "levels": 8}),
    "basebnn": ("model.networks.reactnet", "BaseBNN", {}),
    "basebnn-mini": ("model.networks.reactnet", "BaseBNN", _MINI),
    # BaseBNN's, fused: `python -m model.fusion` makes its parameters.
    "fusebnn": ("model.networks.fusebnn", "FuseBNN", {}),
    "fusebnn-mini": ("model.networks.fusebnn", "FuseBNN", _MINI),
    "fourbit": ("model.networks.fourbit", "FourBitNet", {}),
    "fourbit-mini": ("model.networks.fourbit", "FourBitNet", _MINI),
    "hybnn": ("model.networks.hybnn", "HyBNN", {}),
    # With standard binary 3x3 convolutions for the depthwise ones: more weights, few more LUTs.
    "hybnn-3x3": ("model.networks.hybnn", "HyBNN", {"blocks": "44444433333"}),
    "hybnn-cifar-mini": ("model.networks.hybnn", "HyBNN", _MINI | {"blocks": "41"}),
    # Float networks to learn from.
    "teacher": ("model.networks.teacher", "Teacher", {}),
    "teacher-mini": ("model.networks.teacher", "Teacher", _MINI),
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
