"""What every flow leaves in the output folder, and what it says on the way."""

import json
from pathlib import Path

from boards.flow import BuildError, write_atomically
from boards.report import Report, read_report

__all__ = ["check_fit", "clear_report", "prepare", "say", "show_report", "write_report"]


def say(console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def prepare(folder: Path) -> Path:
    """``folder``, which is there afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_fit(report: Report) -> None:
    """Refuse what the device has no room for.

    Raises
    ------
    BuildError
        The sentence names the largest layers.
    """
    over = report.over()
    if over:
        layers = ", ".join(
            f"{layer.name} {layer.resources.luts:,} LUTs" for layer in report.largest()
        )
        raise BuildError(
            f"{report.network} does not fit {report.device.name}: it needs {', '.join(over)}, "
            f"most of it in {layers}; a larger --target-cycles makes it smaller"
        )


def clear_report(out: Path) -> None:
    """Remove what :func:`write_report` writes."""
    for name in ("report.json", "report.png"):
        (out / name).unlink(missing_ok=True)


def write_report(report: Report, out: Path, console) -> None:
    """Print a report, and write it with its picture into ``out``."""
    report.print(console)
    partial = out / ".report.png.partial"
    try:
        report.draw(partial)
        partial.replace(out / "report.png")
    finally:
        partial.unlink(missing_ok=True)
    text = json.dumps(report.to_json(), indent=1) + "\n"
    write_atomically(out / "report.json", text.encode())
    say(console, f"report in {out / 'report.json'} and {out / 'report.png'}")


def show_report(path: Path, console) -> bool:
    """Print a report that was written before; False if it is not there."""
    try:
        read_report(path).print(console)
    except (OSError, ValueError):
        return False
    return True
