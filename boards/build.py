"""The one place where network, accelerator and board meet: ``python -m boards.build``."""

import argparse
import json
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from boards.board import BoardError, find_board
from boards.command import exit_code, make_console
from boards.design import DEFAULT_TARGET_CYCLES, TOP, Design, make_design, make_plan, read_units
from boards.flow import BuildError, Record, locked, plan_digest, run_plan, sha256_of
from boards.options import Options
from boards.output import check_fit, clear_report, prepare, say, show_report, write_report
from boards.protocol import PACKET_OVERHEAD
from boards.report import read_clocks, read_placed
from boards.tools import TOOLS, Ticker
from boards.vivado import flow as vivado_flow

__all__ = ["main"]


def _build(options: Options, console) -> None:
    """Make the bitstream, unless it is there; another build in the folder is left alone."""
    with locked(prepare(options.out)):
        _build_alone(options, console)


def _build_alone(options: Options, console) -> None:
    out, name = options.out, options.network.name
    report_path = out / "report.json"
    sources = options.sources(tool.version() for tool in TOOLS.values())
    record = Record.read(out)
    if record is not None and record.sources == sources and show_report(report_path, console):
        say(console, f"{out / record.bitstream} is up to date")
        return
    clock = options.clock()
    design, plan = _elaborate(options, clock, console)
    digest = plan_digest(plan)
    if record is not None and record.plan == digest and show_report(report_path, console):
        Record(sources, digest, record.bitstream, record.sha256).write(out)
        say(console, f"{out / record.bitstream} is up to date")
        return

    made: dict[str, object] = {}

    def after_synthesis(work: Path, seconds: dict[str, float]) -> None:
        netlist = json.loads((work / f"{TOP}.json").read_text())
        units, around = read_units(netlist, "ecp5")
        made["layers"] = design.layers(units, **around)
        check_fit(design.report(made["layers"]))

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
            write_report(report, out, console)
            raise

    def begin() -> None:
        _forget(out, name)
        design.folding.save(out / "folding.json")

    seconds = run_plan(
        plan,
        out=out,
        name=name,
        ticker=Ticker(console),
        begin=begin,
        after={"yosys": after_synthesis, "nextpnr-ecp5": after_routing},
    )
    write_report(replace(made["report"], seconds=seconds), out, console)
    bitstream = f"{name}.bit"
    Record(sources, digest, bitstream, sha256_of(out / bitstream)).write(out)
    say(console, f"wrote {out / bitstream}")


def _forget(out: Path, name: str) -> None:
    """Remove what an earlier build has made, its record first: what lies beside the folding that
    follows is made from it."""
    Record.path(out).unlink(missing_ok=True)
    (out / f"{name}.bit").unlink(missing_ok=True)
    clear_report(out)


def _estimate(options: Options, console) -> None:
    """Synthesise every unit and report what it takes."""
    from boards.estimate import estimate

    design = _fold(options, console)
    out = prepare(options.out)
    clear_report(out)
    design.folding.save(out / "folding.json")
    found = estimate(design, out / "units", Ticker(console))
    report = design.report(found.layers, longest_path=found.longest_path, versions=found.versions)
    write_report(report, out, console)
    check_fit(report)


def _plan_only(options: Options, console) -> None:
    """Write everything that a build needs, and build nothing."""
    out = options.out
    with locked(prepare(out)):
        design, plan = _elaborate(options, options.clock(), console)
        record, work = Record.read(out), out / "work"
        if record is None or record.plan != plan_digest(plan):
            _forget(out, options.network.name)
        plan.extract(str(work))
        design.folding.save(out / "folding.json")
    say(console, f"wrote the build plan to {work}; `sh {plan.script}.sh` there builds it")


def _fold(options: Options, console) -> Design:
    with Ticker(console).step("folding"):
        design = make_design(
            options.board,
            options.network,
            target_cycles=options.target_cycles,
            folding=options.folding,
            writable=options.writable,
        )
        # Computed here, where it is waited for.
        _ = design.accelerator.interval
    return design


def _elaborate(options: Options, clock, console):
    design = _fold(options, console)
    with Ticker(console).step("elaboration"):
        return design, make_plan(design, clock, options.baud)


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m boards.build",
        description="Build a network for a board, or estimate what it would take.",
    )
    parser.add_argument(
        "board",
        metavar="BOARD",
        help="such as ulx3s_85f or zcu102; `ip` for a block with AXI4-Stream and IP-XACT instead",
    )
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
    parser.add_argument("--baud", type=int, help=f"of the serial line (default: {Options.baud})")
    parser.add_argument(
        "--writable",
        action="store_true",
        help="parameters can be written at run time; for boards with a processing system",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--estimate", action="store_true", help="synthesise only, each layer by itself"
    )
    what.add_argument(
        "--ooc", action="store_true", help="synthesise the bare accelerator with Vivado"
    )
    parser.add_argument(
        "--no-build", action="store_true", help="write the build plan and run no tool"
    )
    parser.add_argument(
        "--saif", type=Path, metavar="FILE", help="switching activity for Vivado's power report"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: build/BOARD/NETWORK[/estimate or /ooc] from here",
    )
    return parser


def _check_arguments(arguments: argparse.Namespace, vivado: bool) -> None:
    """Refuse options that do not go together."""
    if arguments.estimate and arguments.no_build:
        raise BoardError("--estimate builds nothing, so --no-build does not go with it")
    for option in ("ooc", "saif", "writable"):
        if getattr(arguments, option) and not vivado:
            raise BoardError(
                f"--{option} is for boards with a processing system, not for {arguments.board}"
            )
    if arguments.baud is not None and (vivado or arguments.estimate):
        raise BoardError("--baud is for a bitstream with a serial line")
    if arguments.baud is not None and arguments.baud < 1:
        raise BoardError(f"--baud must be at least 1, not {arguments.baud}")
    if arguments.estimate and arguments.clock_mhz is not None:
        raise BoardError("--clock-mhz is for a bitstream, and --estimate makes none")
    if arguments.estimate and arguments.saif:
        raise BoardError("--saif is for Vivado's power report, which an estimate has not")


def _write_ip(arguments: argparse.Namespace, console) -> None:
    """Write the accelerator as a block for other designs."""
    from boards.ip.flow import write_ip
    from hw.accelerator import Accelerator
    from hw.folding import Folding, choose
    from model.graph import load

    for option in ("estimate", "ooc", "no_build", "saif", "clock_mhz", "baud"):
        if getattr(arguments, option):
            raise BoardError(f"--{option.replace('_', '-')} is for a board, and `ip` is none")
    network = load(arguments.network)
    ticker = Ticker(console)
    with ticker.step("folding"):
        if arguments.folding is not None:
            folding = Folding.load(arguments.folding, network)
        else:
            target = arguments.target_cycles
            target = DEFAULT_TARGET_CYCLES if target is None else target
            folding = choose(network, target_cycles=target)
        accelerator = Accelerator(network=network, folding=folding, writable=arguments.writable)
        # Computed here, where it is waited for.
        _ = accelerator.interval
    with ticker.step("elaboration"):
        out = arguments.out or Path("build") / "ip" / network.name
        written = write_ip(network, folding, accelerator, out)
    say(console, f"wrote {written}; add the folder {out} to the IP repositories of a project")


def _run(arguments: argparse.Namespace) -> None:
    from model.graph import load, save

    console = make_console()
    if arguments.board == "ip":
        _write_ip(arguments, console)
        return
    board = find_board(arguments.board)
    vivado = board.target.flow == "vivado"
    _check_arguments(arguments, vivado)
    network = load(arguments.network)
    if Path(network.name).name != network.name or network.name in ("", ".."):
        raise BoardError(
            f"a network's name is that of its files, so {network.name!r} cannot be built: "
            "rename it in network.json"
        )
    out = Path("build") / board.name / network.name
    if arguments.estimate:
        out /= "estimate"
    elif arguments.ooc:
        out /= "ooc"
    options = Options(
        board=board,
        network=network,
        target_cycles=arguments.target_cycles,
        folding=arguments.folding,
        clock_mhz=arguments.clock_mhz,
        writable=arguments.writable,
        baud=Options.baud if arguments.baud is None else arguments.baud,
        saif=arguments.saif,
        out=arguments.out or out,
    )

    def fold() -> Design:
        return _fold(options, console)

    if arguments.estimate:
        _estimate(options, console)
    elif arguments.ooc:
        vivado_flow.build_out_of_context(options, fold, console, no_build=arguments.no_build)
    elif vivado:
        vivado_flow.build(
            options,
            fold,
            lambda folder: save(network, folder),
            console,
            no_build=arguments.no_build,
        )
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
