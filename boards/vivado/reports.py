"""Reading the reports that Vivado writes as text."""

import re
from dataclasses import dataclass

from boards.report import Clock, Power
from boards.resources import Resources
from boards.vivado.project import INSIDE

__all__ = [
    "Timing",
    "Utilisation",
    "read_power",
    "read_timing",
    "read_utilisation",
    "unit_of",
]


@dataclass(frozen=True)
class Utilisation:
    """What a design takes after placement, or after synthesis where it was not placed.

    Parameters
    ----------
    total : Resources
    units : dict of str to Resources
        Each submodule of the accelerator, whole.
    streams, shell : Resources
        What is in the accelerator outside of its units, and what is around the accelerator.
    """

    total: Resources
    units: dict[str, Resources]
    streams: Resources
    shell: Resources


@dataclass(frozen=True)
class Timing:
    """A timing summary, all in nanoseconds.

    Parameters
    ----------
    setup, hold : float
        Slack of the worst path of each kind, negative where it is too long or too short.
    pulse_width : float
        Slack of the narrowest clock pulse.
    clocks : tuple of Clock
        What each clock reaches with its own worst setup path.
    """

    setup: float
    hold: float
    pulse_width: float
    clocks: tuple[Clock, ...]


def unit_of(cell: str, inside: tuple[str, ...] = INSIDE) -> str | None:
    """The submodule of the accelerator that a cell or pin, by its path in Vivado, belongs to.

    None where it is around the accelerator, or belongs to none of its submodules. ``inside`` is the
    path of the accelerator.
    """
    parts = cell.split("/")
    if tuple(parts[: len(inside)]) != inside or len(parts) < len(inside) + 2:
        return None
    # Amaranth numbers a submodule whose name a signal has.
    return parts[len(inside)].partition("$")[0]


def _rows(text: str, first: str) -> list[dict[str, str]]:
    """Rows of the table whose heading begins with ``first``; cells keep spaces on their left."""
    heading: list[str] | None = None
    rows = []
    for line in text.splitlines():
        if not line.startswith("|"):
            if heading and rows and not line.startswith("+"):
                break
            continue
        # One space after the bar belongs to the table, further ones tell the depth.
        cells = [cell.removeprefix(" ").rstrip() for cell in line.strip().strip("|").split("|")]
        if heading is None:
            names = [cell.strip() for cell in cells]
            heading = names if names[0] == first else None
        elif len(cells) == len(heading):
            rows.append(dict(zip(heading, cells, strict=True)))
    return rows


def read_utilisation(text: str, inside: tuple[str, ...] = INSIDE) -> Utilisation:
    """The report of ``report_utilization -hierarchical``.

    Raises
    ------
    ValueError
        It is not such a report, or has no accelerator at the path ``inside``.
    """
    found: dict[tuple[str, ...], Resources] = {}
    path: list[str] = []
    for row in _rows(text, "Instance"):
        name = row["Instance"].strip()
        depth = (len(row["Instance"]) - len(row["Instance"].lstrip())) // 2
        # What an instance has itself, in a row of its own, is part of its sum.
        if name.startswith("("):
            continue
        path[depth:] = [name]
        if len(path) == depth + 1:
            found.setdefault(tuple(path[1:]), _resources(row))
    if () not in found:
        raise ValueError("the utilisation report must have a table by instance, and has none")
    if inside not in found:
        raise ValueError(f"the utilisation report has no instance {'/'.join(inside)}")
    units: dict[str, Resources] = {}
    for instance, resources in found.items():
        if len(instance) == len(inside) + 1 and instance[: len(inside)] == inside:
            unit = instance[-1].partition("$")[0]
            units[unit] = units.get(unit, Resources()) + resources
    within = sum(units.values(), Resources())
    return Utilisation(
        total=found[()],
        units=units,
        streams=_less(found[inside], within),
        shell=_less(found[()], found[inside]),
    )


def _resources(row: dict[str, str]) -> Resources:
    def count(*names: str) -> int:
        return next((int(row[name].replace(",", "")) for name in names if name in row), 0)

    try:
        return Resources(
            luts=count("Total LUTs"),
            ffs=count("FFs"),
            brams=count("RAMB36") + count("RAMB18") / 2,
            dsps=count("DSP Blocks", "DSP48 Blocks", "DSPs"),
            lutrams=count("LUTRAMs") + count("SRLs"),
        )
    except ValueError as error:
        raise ValueError(f"the utilisation report is damaged ({error})") from None


def _less(whole: Resources, part: Resources) -> Resources:
    return Resources(
        whole.luts - part.luts,
        whole.ffs - part.ffs,
        whole.brams - part.brams,
        whole.dsps - part.dsps,
        whole.lutrams - part.lutrams,
    )


def _numbers(line: str) -> list[float]:
    """All numbers of a line; NA, where there is nothing to check, is no slack missing."""
    return [0.0 if word == "NA" else float(word) for word in line.split()]


def read_timing(text: str) -> Timing:
    """The report of ``report_timing_summary``.

    Raises
    ------
    ValueError
        It is not such a report, or knows no clock.
    """
    summary = re.search(r"^ *WNS\(ns\).*WPWS\(ns\).*\n *-[- ]*\n(.*)$", text, re.MULTILINE)
    if summary is None:
        raise ValueError("the timing report must have a design timing summary, and has none")
    try:
        wns, _, _, _, whs, _, _, _, wpws, *_ = _numbers(summary[1])
        periods = {
            name: float(period)
            for name, period in re.findall(
                r"^ *(\S+) +\{[^}]*\} +([\d.]+) +[\d.]+ *$", _section(text, "Clock Summary"), re.M
            )
        }
        clocks = []
        for line in _section(text, "Intra Clock Table").splitlines():
            words = line.split()
            if words and words[0] in periods and len(words) > 1:
                period = periods[words[0]]
                slack = float(words[1])
                clocks.append(
                    Clock(words[0], round(1e3 / (period - slack), 3), round(1e3 / period, 3))
                )
    except ValueError as error:
        raise ValueError(f"the timing report is damaged ({error})") from None
    if not clocks:
        raise ValueError("the timing report knows no clock")
    return Timing(wns, whs, wpws, tuple(clocks))


def _section(text: str, title: str) -> str:
    """What follows a title in a box, up to the next box."""
    _, found, rest = text.partition(f"| {title}\n")
    if not found:
        raise ValueError(f"no section {title!r}")
    _, _, rest = rest.partition("\n---")
    return rest.partition("\n| ")[0]


def read_power(text: str) -> Power:
    """The report of ``report_power``.

    Raises
    ------
    ValueError
        It is not such a report.
    """

    def entry(label: str) -> str | None:
        found = re.search(rf"^\| *{re.escape(label)} *\| *(.*?) *\|", text, re.MULTILINE)
        return found and found[1]

    try:
        return Power(
            total_w=float(entry("Total On-Chip Power (W)")),
            dynamic_w=float(entry("Dynamic (W)")),
            static_w=float(entry("Device Static (W)")),
            confidence=entry("Confidence Level") or "unknown",
            nets_matched=entry("Design Nets Matched") or "NA",
        )
    except (TypeError, ValueError):
        raise ValueError("the power report must have a summary, and has none") from None
