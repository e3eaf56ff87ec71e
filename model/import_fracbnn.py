"""Import released parameters of FracBNN's CIFAR-10 network.

FILE is an ``.npz`` with norms folded to scale and bias (``conv1_w``, ``layer1_0_conv1_w``,
``layer1_0_conv1_bn_scale_float`` ...), or a checkpoint of the authors' PyTorch code (the state
dictionary of their ``resnet20``). Writes the integer network and, as ``float.npz``, the parameters
of the torch network ``fracbnn-folded``; a LICENSE beside FILE is copied along.

    python -m model.import_fracbnn fracbnn_cifar10_float.npz --out fracbnn
"""

import argparse
import pickle
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from model import fuse, graph
from model.checkpoint import read_npz, save_parameters
from model.cli import run_command, write_file, write_report
from model.evaluate import PARAMETERS
from model.export import export
from model.networks import build
from model.networks.fracbnn import FracBNN

__all__ = ["from_arrays", "from_checkpoint", "main", "read_state_dict"]

NETWORK = "fracbnn-folded"


@dataclass(frozen=True)
class _Source:
    """A released array: its name, and the parameter of the torch network that it becomes."""

    name: str
    target: str
    factor: int = 1
    binary: bool = False


def _stages(network: FracBNN) -> Iterator[tuple[str, int, int]]:
    """Group's module, block and stage of every fractional convolution."""
    for group in ("layer1", "layer2", "layer3"):
        for block in range(len(getattr(network, group))):
            yield from ((group, block, stage) for stage in (1, 2))


def _sources(network: FracBNN) -> Iterator[_Source]:
    yield _Source("conv1_w", "conv1.weight", binary=True)
    yield _Source("bn1_scale_float", "bn1.scale")
    yield _Source("bn1_bias_float", "bn1.bias")
    for group, block, stage in _stages(network):
        name, target = f"{group}_{block}_conv{stage}", f"{group}.{block}"
        yield _Source(f"{name}_w", f"{target}.conv{stage}.weight", binary=True)
        yield _Source(f"{name}_threshold_float", f"{target}.conv{stage}.threshold")
        for norm in ("bn", "post_bn"):
            for what in ("scale", "bias"):
                yield _Source(f"{name}_{norm}_{what}_float", f"{target}.{norm}{stage}.{what}")
        rprelu = f"{target}.add{stage}.rprelu"
        # Theirs adds shift_x before the kink, ours subtracts it.
        yield _Source(f"{name}_shift_x_float", f"{rprelu}.shift", factor=-1)
        yield _Source(f"{name}_prelu_float", f"{rprelu}.slope")
        yield _Source(f"{name}_shift_y_float", f"{rprelu}.lift")
    yield _Source("fc_w_float", "scores.weight")
    yield _Source("fc_b_float", "scores.bias")


def _check(
    path: str | Path, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Names, shapes and numbers of ``arrays`` are those that ``shapes`` tells of."""
    for name in (*shapes, *arrays):
        if name not in arrays:
            raise ValueError(f"{path} lacks tensor {name!r}")
        if name not in shapes:
            raise ValueError(f"{path} holds tensor {name!r}, which FracBNN does not have")
        values = arrays[name]
        if values.shape != shapes[name]:
            raise ValueError(
                f"{path}: tensor {name!r} must have shape {shapes[name]}, not {values.shape}"
            )
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{path}: tensor {name!r} must hold numbers, not {values.dtype}")
        if not np.isfinite(values).all():
            raise ValueError(f"{path}: tensor {name!r} holds values that are not finite")


def from_arrays(network: FracBNN, path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Fill ``network``, with folded norms, from the arrays of an ``.npz``.

    Raises
    ------
    ValueError
        An array is missing, unknown, of the wrong shape, not finite or, where weights are binary,
        not +1 and -1; the sentence names ``path`` and the array.
    """
    state, sources = network.state_dict(), list(_sources(network))
    _check(path, arrays, {source.name: tuple(state[source.target].shape) for source in sources})
    for source in sources:
        values = arrays[source.name]
        if source.binary and not np.isin(values, (-1, 1)).all():
            raise ValueError(f"{path}: tensor {source.name!r} must hold +1 and -1 alone")
        state[source.target] = torch.from_numpy(source.factor * values.astype(np.float32))
    network.load_state_dict(state)


def from_checkpoint(network: FracBNN, path: str | Path, state: Mapping[str, np.ndarray]) -> None:
    """Fill ``network``, with folded norms, from the authors' state dictionary.

    Raises
    ------
    ValueError
        As :func:`from_arrays`; weights are real numbers there, of which the sign counts.
    """
    # What is neither a parameter nor a statistic; data-parallel training names all "module.".
    state = {name.removeprefix("module."): values for name, values in state.items()}
    state = {
        name: values
        for name, values in state.items()
        if name != "encoder.placeholder" and not name.endswith(".num_batches_tracked")
    }
    shapes: dict[str, tuple[int, ...]] = {}
    target = {name: tuple(values.shape) for name, values in network.state_dict().items()}
    released: dict[str, np.ndarray] = {}

    def copy(theirs: str, ours: str, key: str, *, spread: bool = False) -> None:
        shapes[theirs] = (1, *target[key], 1, 1) if spread else target[key]
        copies.append((theirs, ours))

    def norm(theirs: str, ours: str, key: str) -> None:
        for statistic in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{theirs}.{statistic}"] = target[f"{key}.scale"]
        norms.append((theirs, ours))

    copies: list[tuple[str, str]] = []
    norms: list[tuple[str, str]] = []
    copy("conv1.weight", "conv1_w", "conv1.weight")
    norm("bn1", "bn1", "bn1")
    for group, block, stage in _stages(network):
        theirs, ours = f"{group}.{block}", f"{group}_{block}_conv{stage}"
        conv, rprelu = f"{theirs}.conv{stage}", f"{theirs}.rprelu{stage}"
        copy(f"{conv}.weight", f"{ours}_w", f"{conv}.weight")
        copy(f"{conv}.threshold", f"{ours}_threshold_float", f"{conv}.threshold", spread=True)
        norm(f"{theirs}.bn{stage}", f"{ours}_bn", f"{theirs}.bn{stage}")
        norm(f"{theirs}.bn{stage + 2}", f"{ours}_post_bn", f"{theirs}.post_bn{stage}")
        key = f"{theirs}.add{stage}.rprelu"
        copy(f"{rprelu}.shift_x.bias", f"{ours}_shift_x_float", f"{key}.shift", spread=True)
        copy(f"{rprelu}.prelu.weight", f"{ours}_prelu_float", f"{key}.slope")
        copy(f"{rprelu}.shift_y.bias", f"{ours}_shift_y_float", f"{key}.lift", spread=True)
    copy("linear.weight", "fc_w_float", "scores.weight")
    copy("linear.bias", "fc_b_float", "scores.bias")
    _check(path, state, shapes)

    for theirs, ours in copies:
        values = state[theirs]
        if ours.endswith("_w"):
            if not values.all():
                raise ValueError(f"{path}: tensor {theirs!r} holds a 0, which has no sign")
            values = np.sign(values)
        elif shapes[theirs][0] == 1 and len(shapes[theirs]) == 4:
            values = values.reshape(-1)
        released[ours] = values
    for theirs, ours in norms:
        names = (f"{theirs}.{what}" for what in ("weight", "bias", "running_mean", "running_var"))
        try:
            scale, bias = fuse.batch_norm(*(state[name] for name in names), eps=1e-5)
        except ValueError as error:
            raise ValueError(f"{path}: {theirs!r}: {error}") from None
        released[f"{ours}_scale_float"], released[f"{ours}_bias_float"] = scale, bias
    from_arrays(network, path, released)


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file of ``torch.save``, by name.

    Raises
    ------
    ValueError
        The file is missing, damaged, or holds something other than tensors.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"parameter file {str(path)!r} does not exist") from None
    except (RuntimeError, EOFError, KeyError, ValueError, OSError, pickle.UnpicklingError):
        raise ValueError(
            f"parameter file {str(path)!r} is damaged, or neither .npz nor a PyTorch checkpoint"
        ) from None
    if not isinstance(content, dict) or not content:
        raise ValueError(f"parameter file {str(path)!r} holds no state dictionary")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ValueError(f"parameter file {str(path)!r}: {name!r} is no tensor")
    return {name: value.detach().float().numpy() for name, value in content.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.import_fracbnn", description=__doc__)
    parser.add_argument("file", help=".npz with folded norms, or the authors' checkpoint")
    parser.add_argument("--out", required=True, help="network folder to write")
    options = parser.parse_args(argv)
    source, out = Path(options.file), Path(options.out)
    trained = build(NETWORK)
    if source.suffix == ".npz":
        from_arrays(trained, source, read_npz(source))
    else:
        from_checkpoint(trained, source, read_state_dict(source))
    network = export(trained, NETWORK)
    licence = source.parent / "LICENSE"
    if licence.is_file():
        write_file(out / "LICENSE", partial(shutil.copyfile, licence))
    else:
        print(f"note: no LICENSE beside {source}: its terms are for you to keep")
    save_parameters(trained, out / PARAMETERS)
    graph.save(network, out)
    tensors = {op.name: str(network.types[op.name]) for op in network.order}
    report = {
        "network": network.name,
        "digest": network.digest(),
        "file": str(source),
        "tensors": tensors,
    }
    write_report(out / "import.json", report)
    widest = max(kind.element.bits for kind in network.types.values())
    print(f"{out}: {len(network.order)} operations, at most {widest} bits")
    return 0


if __name__ == "__main__":
    run_command(main)
