"""The one place where network, accelerator and board meet: ``python -m boards.build``."""

import argparse
import hashlib
import importlib.metadata
import json
import platform
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boards.board import Board, BoardError, find_board
from boards.command import exit_code, make_console
from boards.design import DEFAULT_TARGET_CYCLES, TOP, Design, make_design, make_plan, read_units
from boards.flow import (
    BuildError,
    Record,
    plan_digest,
    run_plan,
    sha256_of,
    write_atomically,
)
from boards.protocol import PACKET_OVERHEAD
from boards.report import Report, read_clocks, read_placed, read_report
from boards.tools import TOOLS, Ticker

__all__ = ["main"]

_ROOT = Path(__file__).parent.parent

#: What a bitstream is made from besides the network, the options and the tools.
_SOURCES = ("hw/*.py", "boards/*.py", "model/graph.py", "model/operations.py", "model/elements.py")
_PACKAGES = ("amaranth", "amaranth-boards")


@dataclass(frozen=True)
class _Options:
    """What the command line asks for."""

    board: Board
    network: object
    target_cycles: int | None
    folding: Path | None
    clock_mhz: float | None
    baud: int
    out: Path

    def sources(self) -> str:
        """Digest of all that a bitstream is made from."""
        digest = hashlib.sha256()

        def add(*parts: object) -> None:
            digest.update(json.dumps([str(part) for part in parts]).encode())

        add(self.board.name, self.target_cycles, self.clock_mhz, self.baud, DEFAULT_TARGET_CYCLES)
        add(self.network.name, self.network.digest(), platform.python_version())
        add(*(f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES))
        add(*(tool.version() for tool in TOOLS.values()))
        if self.folding is not None:
            add(self.folding.read_bytes().hex())
        for pattern in _SOURCES:
            for path in sorted(_ROOT.glob(pattern)):
                add(path.relative_to(_ROOT), sha256_of(path))
        return digest.hexdigest()


def _build(options: _Options, console) -> None:
    """Make the bitstream, unless it is there."""
    out, name = options.out, options.network.name
    report_path = out / "report.json"
    sources = options.sources()
    record = Record.read(out)
    if record is not None and record.sources == sources and _show_report(report_path, console):
        _say(console, f"{out / record.bitstream} is up to date")
        return
    clock = _clock(options)
    design, plan = _elaborate(options, clock, console)
    digest = plan_digest(plan)
    if record is not None and record.plan == digest and _show_report(report_path, console):
        Record(sources, digest, record.bitstream, record.sha256).write(out)
        _say(console, f"{out / record.bitstream} is up to date")
        return

    made: dict[str, object] = {}

    def after_synthesis(work: Path, seconds: dict[str, float]) -> None:
        netlist = json.loads((work / f"{TOP}.json").read_text())
        units, around = read_units(netlist, "ecp5")
        made["layers"] = design.layers(units, **around)
        _check_fit(design.report(made["layers"]))

    def after_routing(work: Path, seconds: dict[str, float]) -> None:
        routed = json.loads((work / f"{TOP}.report.json").read_text())
        report = made["report"] = design.report(
            made["layers"],
            clock_mhz=clock.hertz / 1e6,
            clocks=read_clocks(routed),
            placed=read_placed(routed),
            line_frames_per_second=options.baud / 10 / (design.image_bytes + PACKET_OVERHEAD),
            seconds=seconds,
            versions={tool: TOOLS[tool].version() for tool in TOOLS},
        )
        try:
            _check_timing(report.clocks, clock.hertz)
        except BuildError:
            # What takes how much is wanted all the more where the clock is not reached.
            _write_report(report, out, console)
            raise

    _clear_report(out)
    design.folding.save(_prepare(out) / "folding.json")
    seconds = run_plan(
        plan,
        out=out,
        name=name,
        ticker=Ticker(console),
        after={"yosys": after_synthesis, "nextpnr-ecp5": after_routing},
    )
    _write_report(replace(made["report"], seconds=seconds), out, console)
    bitstream = f"{name}.bit"
    Record(sources, digest, bitstream, sha256_of(out / bitstream)).write(out)
    _say(console, f"wrote {out / bitstream}")


def _estimate(options: _Options, console) -> None:
    """Synthesise every unit and report what it takes."""
    from amaranth.back import rtlil

    from boards.levels import longest_path
    from boards.synthesis import Netlist, find_module, synthesise_units

    design = _fold(options, console)
    out = _prepare(options.out)
    design.folding.save(out / "folding.json")
    ticker = Ticker(console)
    with ticker.step("elaboration"):
        text = rtlil.convert(design.accelerator, name="accelerator", emit_src=False)
    netlist = Netlist(text)
    modules = {
        unit: find_module(netlist.modules, f"accelerator.{unit}")
        for units in design.accelerator.layers.values()
        for unit in units
    }
    found = synthesise_units(
        {module: netlist.subtree(module) for module in modules.values()},
        family=options.board.device.family,
        cache=out / "units",
        ticker=ticker,
    )
    report = design.report(
        design.layers({unit: found[module].resources for unit, module in modules.items()}),
        longest_path=longest_path(
            {name.partition(".")[2]: unit.paths for name, unit in found.items()},
            netlist.wires("accelerator"),
        ),
        versions={"pyosys": importlib.metadata.version("pyosys")},
    )
    _write_report(report, out, console)
    _check_fit(report)


def _plan_only(options: _Options, console) -> None:
    """Write everything that a build needs, and build nothing."""
    design, plan = _elaborate(options, _clock(options), console)
    work = _prepare(options.out) / "work"
    plan.extract(str(work))
    design.folding.save(options.out / "folding.json")
    _say(console, f"wrote the build plan to {work}; `sh {plan.script}.sh` there builds it")


def _fold(options: _Options, console) -> Design:
    with Ticker(console).step("folding"):
        design = make_design(
            options.board,
            options.network,
            target_cycles=options.target_cycles,
            folding=options.folding,
        )
        # Computed here, where it is waited for.
        _ = design.accelerator.interval
    return design


def _elaborate(options: _Options, clock, console):
    design = _fold(options, console)
    with Ticker(console).step("elaboration"):
        return design, make_plan(design, clock, options.baud)


def _clock(options: _Options):
    target = options.board.target
    wanted = target.clock_hz if options.clock_mhz is None else options.clock_mhz * 1e6
    try:
        return target.clock(wanted)
    except ValueError as error:
        raise BoardError(f"{options.board.name} cannot be clocked so: {error}") from None


def _check_fit(report: Report) -> None:
    over = report.over()
    if over:
        layers = ", ".join(
            f"{layer.name} {layer.resources.luts:,} LUTs" for layer in report.largest()
        )
        raise BuildError(
            f"{report.network} does not fit {report.device.name}: it needs {', '.join(over)}, "
            f"most of it in {layers}; a larger --target-cycles makes it smaller"
        )


def _check_timing(clocks, hertz: float) -> None:
    if not any(abs(clock.wanted_mhz * 1e6 - hertz) < 1e-3 * hertz for clock in clocks):
        raise BuildError(
            f"place and route knows no clock of {hertz / 1e6:g} MHz, so its timing is unchecked"
        )
    missed = [clock for clock in clocks if not clock.met]
    if missed:
        worst = min(missed, key=lambda clock: clock.achieved_mhz / clock.wanted_mhz)
        slower = hertz / 1e6 * worst.achieved_mhz / worst.wanted_mhz
        raise BuildError(
            f"timing is not met: clock {worst.name} reaches {worst.achieved_mhz:.1f} MHz of "
            f"{worst.wanted_mhz:.1f} MHz; --clock-mhz {slower * 0.95:.0f} should do"
        )


def _say(console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _prepare(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _clear_report(out: Path) -> None:
    for name in ("report.json", "report.png"):
        (out / name).unlink(missing_ok=True)


def _write_report(report: Report, out: Path, console) -> None:
    report.print(console)
    partial = out / ".report.png.partial"
    try:
        report.draw(partial)
        partial.replace(out / "report.png")
    finally:
        partial.unlink(missing_ok=True)
    text = json.dumps(report.to_json(), indent=1) + "\n"
    write_atomically(out / "report.json", text.encode())
    _say(console, f"report in {out / 'report.json'} and {out / 'report.png'}")


def _show_report(path: Path, console) -> bool:
    """Print a report that was written before; False if it is not there."""
    try:
        read_report(path).print(console)
    except (OSError, ValueError):
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m boards.build",
        description="Build a network for a board, or estimate what it would take.",
    )
    parser.add_argument("board", metavar="BOARD", help="such as ulx3s_85f or zcu102")
    parser.add_argument("network", metavar="NETWORK", help="folder, or name of a shipped network")
    folding = parser.add_mutually_exclusive_group()
    folding.add_argument(
        "--target-cycles",
        type=int,
        metavar="N",
        help=f"cycles a frame that every layer must keep (default: {DEFAULT_TARGET_CYCLES})",
    )
    folding.add_argument("--folding", type=Path, metavar="FILE", help="folding to use instead")
    parser.add_argument("--clock-mhz", type=float, metavar="F", help="clock of the design")
    parser.add_argument(
        "--baud", type=int, default=1_000_000, help="of the serial line (default: %(default)s)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--estimate", action="store_true", help="synthesise only, each layer by itself"
    )
    what.add_argument(
        "--no-build", action="store_true", help="write the build plan and run no tool"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: build/BOARD/NETWORK[/estimate] from here"
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    from model.graph import load

    console = make_console()
    board = find_board(arguments.board)
    if board.target is None and not arguments.estimate:
        raise BoardError(
            f"bitstreams for {board.name} need the Vivado flow, which is not there yet; "
            f"--estimate tells what the network would take"
        )
    network = load(arguments.network)
    out = Path("build") / board.name / network.name
    options = _Options(
        board=board,
        network=network,
        target_cycles=arguments.target_cycles,
        folding=arguments.folding,
        clock_mhz=arguments.clock_mhz,
        baud=arguments.baud,
        out=arguments.out or (out / "estimate" if arguments.estimate else out),
    )
    if arguments.estimate:
        _estimate(options, console)
    elif arguments.no_build:
        _plan_only(options, console)
    else:
        _build(options, console)


def _terminate(number, frame) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see ``python -m boards.build --help``."""
    options = _parser().parse_args(arguments)
    # A build that is told to stop must stop its tools too.
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return exit_code(lambda: _run(options))
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    # What was made and then refused is no mistake of the program's.
    warnings.filterwarnings("ignore", "<.*created but never used", Warning)
    sys.exit(main())
