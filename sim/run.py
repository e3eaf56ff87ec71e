"""Simulate the composed accelerator of a network on images, and compare it with golden.

    python -m sim.run NETWORK --images X.npy --out Y.npy [--target-cycles N | --folding FILE]

Writes the class scores, (frames, classes) int64, to Y.npy and a JSON report to Y.json, and prints
the report. Ends with exit code 1 where a score or, without stalls, a cycle is not as predicted.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from hw.accelerator import Accelerator
from hw.fold import Folding
from hw.folding import choose
from model import golden, graph
from model.cli import run_command, write_array, write_report
from sim.composed import Result, StuckError, simulate
from sim.harness import SIMULATORS, SimulatorError

__all__ = ["main"]

#: Cycles a frame where neither a target nor a folding is given.
DEFAULT_TARGET = 4000


def _interval(ends: list[int]) -> int | None:
    return ends[-1] - ends[-2] if len(ends) > 1 else None


def _simulate(options: argparse.Namespace, accelerator: Accelerator, images: np.ndarray) -> Result:
    trace = None if options.trace is None else Path(options.trace)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("compiling", total=len(images))

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description="simulating")

        return simulate(
            accelerator,
            images,
            stalls=options.stalls,
            simulator=options.simulator,
            trace=trace,
            progress=progress,
        )


def _fifos(accelerator: Accelerator, result: Result, frames: int) -> dict[str, dict]:
    """Depth and high-water marks of every FIFO, as they were and as the cycle model has them."""
    predicted = accelerator.play(frames=min(frames, len(accelerator.ends))).high_water
    depths = {name: accelerator.node(name).unit.depth for name in result.high_water}
    return {
        name: {"depth": depths[name], "high_water": mark, "predicted": predicted[name]}
        for name, mark in result.high_water.items()
    }


def _report(
    options: argparse.Namespace,
    accelerator: Accelerator,
    images: np.ndarray,
    result: Result,
) -> dict:
    network = accelerator.network
    expected = golden.run(network, images)
    wrong = np.zeros(len(images), dtype=bool)
    for name, tensor in expected.items():
        wrong |= (result.outputs[name] != tensor).reshape(len(images), -1).any(axis=1)
    ends = result.ends[network.outputs[0]]
    predicted = accelerator.ends[: len(images)]
    stalled = options.stalls is not None
    report = {
        "network": network.name,
        "digest": network.digest(),
        "frames": len(images),
        "mismatches": int(wrong.sum()),
        "first_mismatch": int(wrong.argmax()) if wrong.any() else None,
        "interval": _interval(ends),
        "latency": ends[0],
        "predicted_interval": _interval(predicted),
        "predicted_latency": predicted[0],
        "as_predicted": None if stalled else ends[: len(predicted)] == predicted,
        "fifos": _fifos(accelerator, result, len(images)),
        "cycles": result.cycles,
        "stalls": options.stalls,
        "simulator": options.simulator,
        "compile_seconds": round(result.compile_seconds, 2),
        "seconds": round(result.seconds, 3),
        "frames_per_second": round(len(images) / result.seconds, 1),
        "cycles_per_second": round(result.cycles / result.seconds),
    }
    if not stalled and len(images) > len(predicted):
        report["as_predicted"] = report["as_predicted"] and _interval(ends) == _interval(predicted)
    return report


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sim.run", description=__doc__.split("\n")[0])
    parser.add_argument("network", help="network folder, or name of a shipped network")
    parser.add_argument("--images", required=True, help="uint8 images, (N, H, W, C), as .npy")
    parser.add_argument("--out", required=True, help="class scores, (N, classes) int64, as .npy")
    fold = parser.add_mutually_exclusive_group()
    fold.add_argument(
        "--target-cycles",
        type=int,
        default=DEFAULT_TARGET,
        help="cycles a frame to fold for, %(default)s unless told",
    )
    fold.add_argument("--folding", help="folding file")
    parser.add_argument("--stalls", type=int, metavar="SEED", help="random stalls at every port")
    parser.add_argument(
        "--trace",
        metavar="FILE",
        help="write a waveform, .fst or .vcd, or switching activity, .saif",
    )
    parser.add_argument("--simulator", choices=SIMULATORS, default=SIMULATORS[0])
    options = parser.parse_args(argv)
    if options.trace and Path(options.trace).suffix not in (".fst", ".vcd", ".saif"):
        raise ValueError(f"trace file must end in .fst, .vcd or .saif, not {options.trace!r}")
    if options.stalls is not None and options.stalls < 1:
        raise ValueError(f"stalls must be a positive seed, not {options.stalls}")
    return options


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    network = graph.load(options.network)
    images = golden.load_images(network, options.images)
    if not len(images):
        raise ValueError(f"{options.images} holds no images")
    if options.folding:
        folding = Folding.load(options.folding, network)
    else:
        folding = choose(network, target_cycles=options.target_cycles)
    accelerator = Accelerator(network=network, folding=folding)
    # FIFOs that are too small are to be found before the simulator's model is compiled.
    _ = accelerator.latency
    if options.trace:
        # The simulator says nothing where it cannot write.
        Path(options.trace).parent.mkdir(parents=True, exist_ok=True)
    try:
        result = _simulate(options, accelerator, images)
    except (SimulatorError, StuckError) as error:
        raise ValueError(str(error)) from None
    report = _report(options, accelerator, images, result)
    out = Path(options.out)
    scores = result.outputs[network.outputs[0]].reshape(len(images), -1)
    write_array(out, scores)
    write_report(out.with_suffix(".json"), report)
    print(json.dumps(report))
    if report["mismatches"]:
        print(
            f"error: {report['mismatches']} of {len(images)} frames differ from golden, the first "
            f"is frame {report['first_mismatch']}",
            file=sys.stderr,
        )
        return 1
    if report["as_predicted"] is False:
        print("error: the cycles are not those that were predicted", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
