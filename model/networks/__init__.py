"""Network families by name. Importing this needs no torch; :func:`build` does."""

from importlib import import_module

__all__ = ["NETWORKS", "build"]

#: Name of the network -> module and class.
NETWORKS = {"hybnn-mini": ("model.networks.hybnn_mini", "HybnnMini")}


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
    module, cls = NETWORKS[name]
    return getattr(import_module(module), cls)()
