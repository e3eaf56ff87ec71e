"""The command line of :mod:`model.train`."""

import argparse

from model.networks import NETWORKS
from model.training.augment import BORDER

__all__ = ["parse"]

#: Names of model.layers.STRAIGHT_THROUGH, which needs torch.
_GRADIENTS = ("quadratic", "clip", "tanh")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.train",
        description=description,
        epilog="Where no default is named, the network's recipe decides.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    switch = argparse.BooleanOptionalAction
    add("network", choices=sorted(NETWORKS))
    add("--data", help="folder of the data sets (default: BITWRIGHT_DATA, or Debian's)")
    add("--out", help="folder to write (default: runs/NETWORK)")
    add("--resume", action="store_true", help="continue --out's checkpoint")
    add("--start", help="parameters to start from, .pt or .npz")
    add(
        "--warm-start",
        metavar="FILE",
        help="another network's parameters: those of the same name and shape are taken; or none",
    )
    add("--seed", type=int, default=1)
    add("--minutes", type=float, help="end before, between two epochs; --resume goes on")

    group = parser.add_argument_group("optimisation")
    add = group.add_argument
    add("--epochs", type=_count)
    add(
        "--fill",
        action="store_true",
        help="as many epochs as fit into --minutes, by a trial of some batches, whatever --epochs "
        "says; --epochs N of the log is the same training; with --resume, as many as it was to "
        "have",
    )
    add("--batch", type=_count, help="images, over all processes")
    add("--optimizer", choices=("adam", "adamw", "sgd"))
    add("--learning-rate", type=float, help="at its peak")
    add(
        "--small-rate",
        type=float,
        metavar="SHARE",
        help="of the learning rate for norms, shifts, biases and quantiser steps, 0 to 1",
    )
    add(
        "--fit-steps",
        action=switch,
        default=None,
        help="set quantiser steps by the first images before training",
    )
    add("--schedule", choices=("cosine", "linear", "steps"), help="of the learning rate")
    add("--weight-decay", type=float)
    add("--ema", type=float, metavar="DECAY", help="use moving averages of the parameters; 0: none")
    add(
        "--step",
        type=int,
        choices=(1, 2),
        help="1 with binary weights as they are, 2 with their signs (default: 2)",
    )
    add(
        "--head-only",
        action=switch,
        default=None,
        help="train a detector's head alone, on whole images; the rest is computed once",
    )
    add(
        "--last-blocks",
        type=int,
        metavar="N",
        help="with --head-only: that the last N blocks learn, too, with the statistics that they "
        "have",
    )
    add(
        "--orientations",
        type=int,
        metavar="N",
        help="with --head-only: images as they are and as N - 1 of seven mirrored and turned ones",
    )
    add(
        "--size-loss",
        type=float,
        metavar="WEIGHT",
        help="of the squared logarithms by which a detector's boxes are too large or too small",
    )
    add("--gradient", choices=_GRADIENTS, help="straight-through gradient of the signs")
    add("--gate-weight", type=float, help="of the pull that closes FracBNN's gates")
    add("--gate-target", type=float, help="where it pulls the gates' thresholds")

    group = parser.add_argument_group("teacher")
    add = group.add_argument
    add("--teacher", metavar="FILE", help="parameters of a network to learn from, or none")
    add("--teacher-network", choices=sorted(NETWORKS))
    add("--distill", type=float, metavar="SHARE", help="of the teacher in the loss, 0 to 1")
    add(
        "--temperature",
        type=float,
        help="at which both networks' scores are compared; not for detectors",
    )
    add(
        "--hint",
        type=float,
        metavar="WEIGHT",
        help="of the share of the teacher's residuals that is no linear function of the network's "
        "own: for a teacher of the family, with as many blocks",
    )

    group = parser.add_argument_group("images")
    add = group.add_argument
    add("--validation", type=int, help="training images held out and scored after every epoch")
    add("--mirror", action=switch, default=None, help="mirror half of the images")
    add(
        "--crop",
        action=switch,
        default=None,
        help=f"cut each from one with {BORDER} black pixels around it",
    )
    add("--cutout", type=int, metavar="SIDE", help="cover a square of each image; 0: none")
    add(
        "--window",
        type=int,
        metavar="SIDE",
        help="show a detector squares of the images; 0: all of each",
    )
    add("--smoothing", type=float, help="of the labels, 0 to 1")

    group = parser.add_argument_group("machine")
    add = group.add_argument
    add("--device", default="cpu", help="of PyTorch: cpu, cuda ... (default: cpu)")
    add("--threads", type=_count, default=1, help="CPU threads (default: 1)")
    add("--amp", action=switch, default=None, help="convolutions in bfloat16")
    add("--compile", action="store_true", help="compile the network before training")
    add(
        "--record",
        action="store_true",
        help="record the passes of a batch on a CUDA device once, and replay them: quicker where "
        "kernels are so short that launching them takes longer",
    )
    add("--fast", action="store_true", help="kernels that are quick, not repeatable to the bit")
    return parser


#: Options that are parts of something.
_SHARES = ("distill", "smoothing", "ema", "small_rate")


def parse(description: str, argv: list[str] | None) -> argparse.Namespace:
    parser = _parser(description)
    options = parser.parse_args(argv)
    options.out = options.out or f"runs/{options.network}"
    if options.validation is not None and not 0 <= options.validation <= 50_000:
        parser.error(f"--validation must lie in 0..50000, not {options.validation}")
    if options.learning_rate is not None and not 0 < options.learning_rate < 1:
        parser.error(f"--learning-rate must lie between 0 and 1, not {options.learning_rate}")
    for key in _SHARES:
        value = getattr(options, key)
        if value is not None and not 0 <= value <= 1:
            parser.error(f"--{key.replace('_', '-')} must lie in 0..1, not {value}")
    for key, least in (
        ("temperature", 0.01),
        ("minutes", 0.01),
        ("cutout", 0),
        ("window", 0),
        ("size_loss", 0),
        ("hint", 0),
    ):
        value = getattr(options, key)
        if value is not None and value < least:
            parser.error(f"--{key} must be at least {least}, not {value}")
    return options
