"""Switching activity of a simulated accelerator, as that of the accelerator in a design."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["place_activity"]

_TIMES = ("T0", "T1", "TX", "TZ", "TB", "IG")


@dataclass
class _Instance:
    """Lines from ``start`` to before ``end`` are what is inside of it."""

    start: int
    end: int = 0
    children: set[str] = field(default_factory=set)


def place_activity(
    text: str, *, units: Iterable[str], path: tuple[str, ...], period_ns: float
) -> str:
    """A SAIF file of the accelerator in ``text``, at another place and at another clock.

    Only the accelerator is kept; what else was simulated with it is not in the design.

    Parameters
    ----------
    text : str
        A SAIF file in which every instance begins on a line of its own, as Verilator writes it.
    units : iterable of str
        Submodules of the accelerator, by which it is found.
    path : tuple of str
        Instances that it shall be in, itself included, outermost first.
    period_ns : float
        Of its clock. Times are scaled so that the clock of the simulation gets this period.

    Raises
    ------
    ValueError
        The file is none, is cut short, or has no such accelerator.
    """
    lines = text.splitlines()
    if "(SAIFILE" not in text[:1000]:
        raise ValueError("it must begin with (SAIFILE, and does not")
    found = _find(lines, set(units))
    inside = lines[found.start : found.end]
    duration = re.search(r"^\s*\(DURATION\s+(\d+)\s*\)", text, re.MULTILINE)
    clock = next((line for line in inside if re.match(r"\s*\(clk\s", line)), "")
    changes = re.search(r"\(TC\s+(\d+)\s*\)", clock)
    if duration is None or changes is None or not int(changes[1]):
        raise ValueError("it must tell its duration and how often the clock clk switches")
    picoseconds = int(changes[1]) / 2 * period_ns * 1e3
    factor = picoseconds / int(duration[1])

    def scale(entry: re.Match) -> str:
        return f"({entry[1]} {round(int(entry[2]) * factor)})"

    scaled = re.sub(rf"\(({'|'.join(_TIMES)})\s+(\d+)\s*\)", scale, "\n".join(inside))
    opening = "\n".join(f"(INSTANCE {name}" for name in path)
    return (
        '(SAIFILE\n(SAIFVERSION "2.0")\n(DIRECTION "backward")\n(DIVIDER / )\n(TIMESCALE 1 ps)\n'
        f"(DURATION {round(picoseconds)})\n{opening}\n{scaled}\n{')' * len(path)}\n)\n"
    )


def _find(lines: list[str], units: set[str]) -> _Instance:
    """The innermost instance that has all these submodules."""
    open_: list[tuple[int, _Instance]] = []
    found: _Instance | None = None
    depth = 0
    for number, line in enumerate(lines):
        begins = re.match(r"\s*\(INSTANCE\s+(?:\"[^\"]*\"\s+)?(\S+)\s*$", line)
        if begins:
            if open_:
                # Amaranth numbers a submodule whose name a signal has.
                open_[-1][1].children.add(begins[1].replace("\\", "").partition("$")[0])
            open_.append((depth, _Instance(number + 1)))
        # Brackets of names have a backslash before them.
        depth += len(re.findall(r"(?<!\\)\(", line)) - len(re.findall(r"(?<!\\)\)", line))
        while open_ and depth <= open_[-1][0]:
            _, instance = open_.pop()
            instance.end = number
            if found is None and units <= instance.children:
                found = instance
    if depth:
        raise ValueError("it is cut short")
    if found is None:
        raise ValueError(
            f"it must hold an instance with the units of the accelerator, such as "
            f"{min(units)!r}; is it of another network or folding?"
        )
    return found
