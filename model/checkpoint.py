"""Trained parameters of torch networks in files.

``.pt`` is the checkpoint that training writes and resumes from; ``.npz`` holds the parameters
alone, for the networks that are shipped.
"""

import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from model.cli import write_file
from model.layers import QuantConv2d

__all__ = [
    "check_parameters", "load_matching", "load_parameters", "read_checkpoint", "read_npz",
    "save_parameters",
]  # fmt: skip


def read_checkpoint(path: str | Path) -> dict:
    """The content of a ``.pt`` checkpoint of :mod:`model.train`.

    Raises
    ------
    ValueError
        The file is missing, damaged, or no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"checkpoint {str(path)!r} does not exist") from None
    except (RuntimeError, EOFError, LookupError, ValueError, OSError, pickle.UnpicklingError):
        raise ValueError(f"checkpoint {str(path)!r} is damaged or no checkpoint") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise ValueError(f"checkpoint {str(path)!r} holds no parameters")
    return content


def save_parameters(network: nn.Module, path: str | Path) -> None:
    """Write the network's parameters and statistics as ``.npz``."""
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    write_file(path, lambda partial: np.savez_compressed(partial, **arrays))


def load_parameters(network: nn.Module, path: str | Path) -> None:
    """Fill ``network`` from a ``.npz`` file or a ``.pt`` checkpoint. Where its numbers are of
    float64, such as those of a fused network, it computes in float64 then.

    Raises
    ------
    ValueError
        The file is missing or damaged, or its parameters are those of another network.
    """
    parameters = _read_parameters(path)
    check_parameters(network, parameters, path)
    if any(values.dtype == torch.float64 for values in parameters.values()):
        network.double()
    network.load_state_dict(parameters)


def check_parameters(
    network: nn.Module, parameters: dict[str, torch.Tensor], path: str | Path
) -> None:
    """Whether these are the parameters of ``network``, by name and shape.

    Raises
    ------
    ValueError
        They are those of another network; ``path`` is where they come from.
    """
    wanted = network.state_dict()
    name = type(network).__name__
    for key in (*wanted, *parameters):
        if key not in parameters:
            raise ValueError(f"{path} lacks {key!r} of {name}")
        if key not in wanted:
            raise ValueError(f"{path} holds {key!r}, which {name} does not have")
        if parameters[key].shape != wanted[key].shape:
            raise ValueError(
                f"{path}: {key!r} of {name} must have shape {tuple(wanted[key].shape)}, "
                f"not {tuple(parameters[key].shape)}"
            )


def load_matching(network: nn.Module, path: str | Path) -> set[str]:
    """Fill what ``network`` has in common with the one in a file, by name and shape; the names of
    these arrays. What a depthwise convolution of four bits has in a smaller kernel lies in the
    middle of a larger one, among zeros, which computes the same.

    Raises
    ------
    ValueError
        The file is missing or damaged, or the two networks have nothing in common.
    """
    parameters, ours = _read_parameters(path), network.state_dict()
    for key, layer in network.named_modules():
        name = f"{key}.weight"
        if isinstance(layer, QuantConv2d) and layer.depthwise and name in parameters:
            parameters[name] = _widened(parameters[name], layer.weight.shape)
    common = {
        key: values
        for key, values in parameters.items()
        if key in ours and values.shape == ours[key].shape
    }
    if not common:
        raise ValueError(f"{path} has nothing in common with {type(network).__name__}")
    network.load_state_dict(ours | common)
    return set(common)


def _widened(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A kernel in the middle of one of ``shape``; as it is where it does not fit there."""
    if weight.dim() != 4 or weight.shape[:2] != shape[:2]:
        return weight
    rows, columns = (more - less for more, less in zip(shape[2:], weight.shape[2:], strict=True))
    if rows < 0 or columns < 0 or rows % 2 or columns % 2:
        return weight
    return functional.pad(weight, (columns // 2, columns // 2, rows // 2, rows // 2))


def _read_parameters(path: str | Path) -> dict[str, torch.Tensor]:
    """The parameters in a ``.npz`` file or a ``.pt`` checkpoint, all of them finite."""
    path = Path(path)
    if path.suffix == ".npz":
        arrays = read_npz(path)
        if any(values.dtype.kind not in "biuf" for values in arrays.values()):
            raise ValueError(f"parameter file {str(path)!r} is damaged or no npz file")
        parameters = {key: torch.from_numpy(values) for key, values in arrays.items()}
    else:
        parameters = read_checkpoint(path)["parameters"]
    for key, values in parameters.items():
        if not torch.isfinite(values).all():
            raise ValueError(f"{path}: {key!r} holds values that are not finite")
    return parameters


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file.

    Raises
    ------
    ValueError
        The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise ValueError(f"parameter file {str(path)!r} does not exist") from None
    except (
        ValueError, TypeError, KeyError, EOFError, OSError, AttributeError, zipfile.BadZipFile,
        zlib.error,
    ):  # fmt: skip
        raise ValueError(f"parameter file {str(path)!r} is damaged or no npz file") from None
