"""From a design to a bitstream with Vivado, or to the project for a Vivado elsewhere.

What is in the output folder afterwards is either a complete bitstream together with the record of
what it was made from, or no bitstream. A project that was built elsewhere and put back is taken as
if it had been built here.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from boards.board import Board, BoardError
from boards.command import ElsewhereError
from boards.design import TOP, Design, make_shell
from boards.estimate import Estimate, estimate
from boards.flow import BuildError, Record, check_space, locked, sha256_of
from boards.options import Options
from boards.output import check_fit, clear_report, prepare, say, show_report, write_report
from boards.parameters import STRUCTURE, write_structure
from boards.report import Clock, Layer, Report
from boards.resources import Resources
from boards.tools import Ticker
from boards.vivado.activity import place_activity
from boards.vivado.outputs import OUTPUTS, check_bitstream, write_bitstreams, write_board_files
from boards.vivado.project import (
    INSIDE,
    SAIF_PATH,
    Project,
    constraints,
    out_of_context_constraints,
    plain_names,
)
from boards.vivado.reports import (
    Timing,
    Utilisation,
    read_power,
    read_timing,
    read_utilisation,
    unit_of,
)
from boards.vivado.run import Result, read_result, run_project
from boards.vivado.script import RESULT
from boards.vivado.tool import NEWEST, OLDEST, Vivado, find_vivado

__all__ = ["build", "build_out_of_context", "make_project"]

#: Vivado's checkpoints of a large design.
_SPACE = 2 << 30

#: In the output folder, where Vivado works; and a file in it that names the Vivado of this machine
#: that does.
_WORK, _TOOL = "vivado", "tool.txt"

#: Name of the bare accelerator as a design.
_BARE = "accelerator"


@dataclass(frozen=True)
class _Job:
    """A project in its folder, and whose it is."""

    options: Options
    design: Design
    clock: object
    project: Project
    console: object

    @property
    def work(self) -> Path:
        return self.options.out / _WORK

    @cached_property
    def estimated(self) -> Estimate:
        """What Yosys says that the layers take; it is asked once."""
        cache = prepare(self.options.out / "estimate" / "units")
        return estimate(self.design, cache, Ticker(self.console))

    @property
    def inside(self) -> tuple[str, ...]:
        return () if self.project.out_of_context else INSIDE


def _versions() -> str:
    return f"Vivado {'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"


def build(
    options: Options,
    fold: Callable[[], Design],
    save_network: Callable[[Path], object],
    console,
    *,
    no_build: bool = False,
) -> None:
    """Make the bitstream, unless it is there.

    Parameters
    ----------
    fold : callable
        Makes the design; not called where nothing has changed.
    save_network : callable
        Writes the network into a folder.
    no_build : bool
        Write the project and run nothing.

    Raises
    ------
    ElsewhereError
        There is no Vivado; the project is written.
    BuildError, ToolError, BoardError, ValueError, OSError
        Then there is no bitstream.
    """
    out = options.out
    vivado = find_vivado()
    tool = "" if vivado is None else vivado.identity()
    sources = options.sources(())
    record = None if no_build or _is_of_another(out / _WORK, tool) else Record.read(out)

    def is_shown() -> bool:
        """Whether there is nothing to do but to say so."""
        if not show_report(out / "report.json", console):
            return False
        say(console, f"{out / record.bitstream} is up to date")
        return True

    if record is not None and record.sources == sources and is_shown():
        return
    clock = options.clock()
    design = fold()
    shell = make_shell(design, clock.hertz, options.baud)
    with Ticker(console).step("elaboration"):
        project = make_project(options.board, shell, clock, saif=_read_saif(options, design, clock))
    job = _Job(options, design, clock, project, console)
    digest = project.digest()
    with locked(prepare(out)):
        if record is not None and record.plan == digest and is_shown():
            replace(record, sources=sources).write(out)
            return
        if _is_of_another(job.work, tool):
            (job.work / RESULT).unlink(missing_ok=True)
        _lay_out(job)
        write_board_files(
            out / OUTPUTS,
            name=options.network.name,
            save_network=save_network,
            board=options.board,
            clock=clock,
            data_bits=shell.data_bits,
        )
        if no_build:
            _tell_how(job)
            return
        result, seconds = _result(job, vivado)
        report, timing = _report(job, result, seconds)
        _check_timing(job, result, report, timing)
        content = (job.work / f"{TOP}.bit").read_bytes()
        check_bitstream(content, options.board.part)
        bitstream = write_bitstreams(out / OUTPUTS, options.network.name, content)
        made = bitstream.relative_to(out).as_posix()
        Record(sources, digest, made, sha256_of(bitstream)).write(out)
    say(console, f"wrote {bitstream}; copy the folder {bitstream.parent} to the board")


def build_out_of_context(
    options: Options, fold: Callable[[], Design], console, *, no_build: bool = False
) -> None:
    """Synthesise the bare accelerator for its area and timing; arguments as those of `build`."""
    from hw.verilog import to_verilog

    vivado = find_vivado()
    clock = options.clock()
    design = fold()
    with Ticker(console).step("elaboration"):
        project = Project(
            top=_BARE,
            part=options.board.part,
            verilog=plain_names(to_verilog(design.accelerator, _BARE)),
            constraints=out_of_context_constraints(clock.hertz),
            out_of_context=True,
            saif=_read_saif(options, design, clock),
        )
    job = _Job(options, design, clock, project, console)
    with locked(prepare(options.out)):
        if _is_of_another(job.work, "" if vivado is None else vivado.identity()):
            (job.work / RESULT).unlink(missing_ok=True)
        _lay_out(job)
        if no_build:
            _tell_how(job)
            return
        result, seconds = _result(job, vivado)
        report, timing = _report(job, result, seconds)
        say(console, "timing is that of synthesis: how long the wires are is a guess of Vivado's")
        check_fit(report)
        _check_timing(job, result, report, timing)


def make_project(board: Board, shell, clock, *, saif: bytes | None = None) -> Project:
    """The project of a shell on a board, at a clock of its target."""
    from hw.verilog import to_verilog

    return Project(
        top=TOP,
        part=board.part,
        verilog=plain_names(to_verilog(board.target.top(shell, clock), TOP, clocked=False)),
        constraints=constraints(clock.hertz, board.pins),
        saif=saif,
    )


def _read_saif(options: Options, design: Design, clock) -> bytes | None:
    """Switching activity of the accelerator, placed where it is in the design."""
    if options.saif is None:
        return None
    try:
        return place_activity(
            options.saif.read_text(errors="replace"),
            units={unit for units in design.accelerator.layers.values() for unit in units},
            path=SAIF_PATH,
            period_ns=1e9 / clock.hertz,
        ).encode()
    except ValueError as error:
        raise BoardError(f"{options.saif} cannot be used as switching activity: {error}") from None


def _lay_out(job: _Job) -> None:
    """Have the project in its folder, and nothing around that is of another one."""
    out = job.options.out
    if not job.project.is_in(job.work):
        check_space(out, 64 << 20)
        _forget(job)
        shutil.rmtree(job.work, ignore_errors=True)
        job.project.write(job.work)
    job.design.folding.save(out / "folding.json")
    if job.options.writable:
        write_structure(job.design.accelerator, out / STRUCTURE)
    else:
        (out / STRUCTURE).unlink(missing_ok=True)


def _forget(job: _Job) -> None:
    """Remove what an earlier build has made; its record first."""
    out, name = job.options.out, job.options.network.name
    Record.path(out).unlink(missing_ok=True)
    for suffix in (".bit", ".bin"):
        (out / OUTPUTS / f"{name}{suffix}").unlink(missing_ok=True)
    clear_report(out)


def _how(job: _Job) -> str:
    return (
        f"on a machine with {_versions()}, run `vivado -mode batch -source build.tcl` in it and "
        f"put the folder back: the same command then goes on from there"
    )


def _tell_how(job: _Job) -> None:
    say(job.console, f"the complete project is in {job.work}; {_how(job)}")


def _is_of_another(work: Path, tool: str) -> bool:
    """Whether another Vivado than that of this machine has built here.

    What was built elsewhere, or where there is no Vivado any more, is as good as ever.
    """
    try:
        return tool not in ("", (work / _TOOL).read_text())
    except OSError:
        return False


def _result(job: _Job, vivado: Vivado | None) -> tuple[Result, dict[str, float]]:
    """What Vivado makes of the project, or has made of it before."""
    _forget(job)
    result = read_result(job.work, job.project)
    if result is not None:
        say(job.console, f"{job.work} has been built by Vivado {result.version}")
        return result, {}
    if vivado is None:
        raise ElsewhereError(
            f"there is no Vivado here; the complete project is in {job.work}; {_how(job)}"
        )
    version = vivado.version()
    say(job.console, f"Vivado {'.'.join(map(str, version))} ({vivado.path})")
    if version > NEWEST:
        say(job.console, f"warning: the script is made for {_versions()}, this one is newer")
    check_space(job.options.out, _SPACE)
    if not job.project.out_of_context:
        # So that what cannot fit is refused in minutes.
        check_fit(job.design.report(job.estimated.layers))
    (job.work / _TOOL).write_text(vivado.identity())
    return run_project(job.project, vivado, job.work, Ticker(job.console))


def _text(job: _Job, name: str) -> str:
    return (job.work / name).read_text(errors="replace")


def _report(job: _Job, result: Result, seconds: dict[str, float]) -> tuple[Report, Timing]:
    """Read what Vivado reports; print it and write it."""
    try:
        used = read_utilisation(_text(job, "utilization.rpt"), job.inside)
        timing = read_timing(_text(job, "timing.rpt"))
        power = read_power(_text(job, "power.rpt"))
    except ValueError as error:
        raise BuildError(f"{job.work}: {error}") from None
    _check_clocks(timing, job.clock.hertz)
    more = dict(
        clock_mhz=job.clock.hertz / 1e6,
        clocks=timing.clocks,
        power=power,
        slowest_layer=_layer_of(job, result.paths[0].end),
        seconds=seconds,
    )
    versions = {"vivado": result.version}
    if job.project.out_of_context:
        layers = job.design.layers(used.units, streams=used.streams)
        report = job.design.report(layers, versions=versions, **more)
    else:
        estimated = job.estimated
        report = job.design.report(
            _with_placed(job.design, estimated.layers, used),
            longest_path=estimated.longest_path,
            placed=_placed(used.total),
            versions=versions | estimated.versions,
            **more,
        )
    write_report(report, job.options.out, job.console)
    return report, timing


def _check_clocks(timing: Timing, hertz: float) -> None:
    if not any(abs(clock.wanted_mhz * 1e6 - hertz) < 1e-3 * hertz for clock in timing.clocks):
        raise BuildError(f"Vivado knows no clock of {hertz / 1e6:g} MHz, so timing is unchecked")


def _placed(used: Resources) -> dict[str, float]:
    return {name: getattr(used, name) for name in ("luts", "ffs", "brams", "dsps", "lutrams")}


def _with_placed(design: Design, layers: tuple[Layer, ...], used: Utilisation) -> tuple[Layer, ...]:
    """The layers, each with what it takes after placement beside its estimate."""
    placed = {
        layer.name: layer.resources
        for layer in design.layers(used.units, streams=used.streams, shell=used.shell)
    }
    whole = [replace(layer, placed=placed.pop(layer.name, None)) for layer in layers]
    left = [Layer(name, "", 0, 0, 0, Resources(), more) for name, more in placed.items()]
    return (*whole, *left)


def _layer_of(job: _Job, pin: str) -> str:
    """The layer that a pin belongs to, or the part of the design around the layers."""
    unit = unit_of(pin, job.inside)
    if unit is None:
        inside = tuple(pin.split("/")[: len(job.inside)]) == job.inside
        return "streams" if inside else "shell"
    return next(
        (layer for layer, units in job.design.accelerator.layers.items() if unit in units), unit
    )


def _check_timing(job: _Job, result: Result, report: Report, timing: Timing) -> None:
    """Refuse a design that would not work at its clock."""
    if result.met and timing.pulse_width < 0:
        raise BuildError(
            f"timing is not met: a clock pulse is {-timing.pulse_width:.3f} ns shorter than the "
            f"device allows; see {job.work / 'timing.rpt'}"
        )
    if result.met:
        return
    worst = next(path for path in result.paths if path.slack_ns < 0)
    where = f"the worst {worst.kind} path, {-worst.slack_ns:.3f} ns too "
    where += "long" if worst.kind == "setup" else "short"
    start, end = _layer_of(job, worst.start), _layer_of(job, worst.end)
    where += f", is in {end}" if start == end else f", goes from {start} to {end}"
    where += f" (it ends at {worst.end})"
    if worst.kind == "hold":
        raise BuildError(f"timing is not met: {where}; a slower clock does not mend that")
    slowest: Clock = min(report.clocks, key=lambda clock: clock.achieved_mhz / clock.wanted_mhz)
    would_do = job.options.board.target.clock(slowest.achieved_mhz * 1e6).hertz
    raise BuildError(
        f"timing is not met: clock {slowest.name} reaches {slowest.achieved_mhz:.1f} MHz of "
        f"{slowest.wanted_mhz:.1f} MHz; {where}; "
        f"--clock-mhz {math.ceil(would_do / 1e3) / 1e3:g} should do"
    )
