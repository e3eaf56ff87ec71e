"""The command line: images from a file through a board, scores into another."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from boards.host.accelerator import Accelerator, Throughput
from boards.host.error import HostError
from boards.host.opening import open_accelerator
from boards.host.parameters import load_parameters
from boards.host.serial import Connection, SerialTransport

__all__ = ["main"]

_BAUD = 1_000_000
_UDMABUF = "udmabuf0"

#: Options of the board that this runs on.
_FOR_ZYNQ = ("bitstream", "uio", "udmabuf", "no_pynq", "parameters", "batch", "benchmark")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see ``python -m boards.host --help``."""
    options = _options(arguments)
    try:
        _run(options)
    except (HostError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m boards.host",
        description="Classify images on a board: one behind a serial line with --port, else on the "
        "Zynq UltraScale+ whose processor this runs on.",
    )
    parser.add_argument("network", metavar="NETWORK", help="folder, or name of a shipped network")
    parser.add_argument("--images", required=True, metavar="X.npy", help="uint8, N x H x W x C")
    parser.add_argument("--out", required=True, metavar="Y.npy", help="scores, N x classes, int32")
    line = parser.add_argument_group("a board behind a serial line")
    line.add_argument("--port", help="serial port, such as /dev/ttyUSB0")
    line.add_argument("--baud", type=int, help=f"default: {_BAUD}")
    board = parser.add_argument_group("the Zynq UltraScale+ that this runs on")
    board.add_argument("--bitstream", metavar="FILE", help=".bit, .bin or .dtbo, loaded first")
    board.add_argument("--uio", metavar="NAME", help="default: the one at the address, if any")
    board.add_argument("--udmabuf", metavar="NAME", help=f"default: {_UDMABUF}")
    board.add_argument("--no-pynq", action="store_true", help="plain Linux even where PYNQ is")
    board.add_argument("--parameters", metavar="FILE.npz", help="those of a retrained network")
    board.add_argument("--batch", type=int, metavar="N", help="frames that go to memory at once")
    board.add_argument(
        "--benchmark", action="store_true", help="say how fast it was, and where the time went"
    )
    options = parser.parse_args(arguments)
    without = _FOR_ZYNQ if options.port is not None else ("baud",)
    for option in without:
        if getattr(options, option):
            other = "not for one behind --port" if options.port else "for a board behind --port"
            parser.error(f"--{option.replace('_', '-')} is {other}")
    options.baud = _BAUD if options.baud is None else options.baud
    options.udmabuf = options.udmabuf or _UDMABUF
    return options


def _run(options: argparse.Namespace) -> None:
    from model.cli import read_array
    from model.graph import load

    network = load(options.network)
    images = read_array(options.images, "images")
    if options.port is not None:
        _run_serial(options, network, images)
    else:
        _run_axi(options, network, images)


def _run_serial(options: argparse.Namespace, network, images: np.ndarray) -> None:
    from model.cli import write_array, write_report

    with Connection(SerialTransport(options.port, options.baud), network=network) as board:
        with _progress(images) as progress:
            _, scores = board.classify(images, progress=progress)
        identity, retried = board.identity, board.retried
    write_array(options.out, scores)
    report = _report(network, identity, images)
    report |= {"port": options.port, "baud": options.baud, "sent_again": retried}
    write_report(Path(options.out).with_suffix(".json"), report)
    print(
        f"{len(images)} images classified, {retried} requests sent again; scores in {options.out}"
    )


def _run_axi(options: argparse.Namespace, network, images: np.ndarray) -> None:
    from model.cli import write_array, write_report

    file = None if options.parameters is None else load_parameters(options.parameters)
    with open_accelerator(
        bitstream=options.bitstream,
        uio=options.uio,
        udmabuf=options.udmabuf,
        use_pynq=False if options.no_pynq else None,
        network=network,
        parameter_file=file,
        batch_frames=options.batch,
    ) as board:
        identity = board.identity
        with _progress(images) as progress:
            measured, scores = _classify(board, images, progress, options.benchmark)
    write_array(options.out, scores)
    report = _report(network, identity, images) | {"board": identity.board}
    if measured is not None:
        report |= dataclasses.asdict(measured)
        report["frames_per_second"] = measured.frames_per_second
        print(_table(measured))
    write_report(Path(options.out).with_suffix(".json"), report)
    print(f"{len(images)} images classified; scores in {options.out}")


def _report(network, identity, images: np.ndarray) -> dict:
    return {
        "network": network.name,
        "digest": network.digest(),
        "frames": len(images),
        "interval": identity.interval,
        "latency": identity.latency,
        "clock_hz": identity.clock_hz,
    }


def _classify(
    board: Accelerator, images: np.ndarray, progress: Callable[[int], object], measure: bool
) -> tuple[Throughput | None, np.ndarray]:
    if not measure:
        return None, board.classify(images, progress=progress)[1]
    return board.throughput(images, progress=progress)


def _table(measured: Throughput) -> str:
    lines = [f"{measured.frames_per_second:.0f} frames/s, {measured.frames} frames; seconds:"]
    for name, what in (
        ("seconds", "from the first image packed to the last result unpacked"),
        ("pack", "images copied to where the accelerator reads them"),
        ("busy", "the accelerator had a batch; of these"),
        ("compute", "  at its own interval"),
        ("transfer", "  filling the pipeline, waiting for memory"),
        ("unpack", "results copied"),
        ("wait", "the processor waited for a batch"),
    ):
        lines.append(f"  {getattr(measured, name):10.6f}  {what}")
    return "\n".join(lines)


@contextlib.contextmanager
def _progress(images: np.ndarray) -> Iterator[Callable[[int], object]]:
    """Shows how far it is, where someone looks; a board need not have the package for a bar."""
    total = len(images) if images.ndim else 0
    if not sys.stderr.isatty():
        yield lambda done: None
        return

    def show(done: int) -> None:
        print(f"\r{done} of {total} images", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print(file=sys.stderr)
