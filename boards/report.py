"""What a build or an estimate says about a design: tables, JSON and one picture."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from boards.levels import LongestPath
from boards.resources import Resources
from hw.cost import Device

__all__ = ["Clock", "Layer", "Power", "Report", "read_clocks", "read_placed", "read_report"]

VERSION = 3

#: Labels of the resources, in the order of the columns.
_COLUMNS = {
    "luts": "LUT",
    "packed_luts": "packed LUT",
    "lutrams": "LUTRAM",
    "ffs": "FF",
    "brams": "BRAM",
    "dsps": "DSP",
    "depth": "depth",
}


#: Those that a placed layer has, too.
_PLACED = ("luts", "ffs", "brams", "dsps")

#: Numbers at the bars, readable also where a line passes behind them.
_LABEL = {
    "padding": 3,
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5},
}


@dataclass(frozen=True)
class Layer:
    """One operation of the network, or a part of the design around it.

    Parameters
    ----------
    name : str
    kind : str
        The operation, or "" for what belongs to no operation.
    interval : int
        Cycles a frame, 0 for what belongs to no operation.
    pe, simd : int
        Folding, 0 where there is none.
    resources : Resources
        After synthesis.
    placed : Resources or None
        After placement, where it is known by layer.
    """

    name: str
    kind: str
    interval: int
    pe: int
    simd: int
    resources: Resources
    placed: Resources | None = None


@dataclass(frozen=True)
class Clock:
    """A clock after place and route."""

    name: str
    achieved_mhz: float
    wanted_mhz: float

    @property
    def met(self) -> bool:
        return self.achieved_mhz >= self.wanted_mhz


@dataclass(frozen=True)
class Power:
    """What the tool thinks that the placed design takes.

    Parameters
    ----------
    total_w, dynamic_w, static_w : float
    confidence : str
        The tool's own word for how much it knows of the switching activity.
    nets_matched : str
        How many of the nets have their activity from a simulation; "NA" without one.
    """

    total_w: float
    dynamic_w: float
    static_w: float
    confidence: str
    nets_matched: str = "NA"


@dataclass(frozen=True)
class Report:
    """All there is to say.

    Parameters
    ----------
    board, network, network_digest : str
    device : Device
    layers : tuple of Layer
    interval, latency : int
        Cycles a frame in steady state, and cycles from the first beat in to the last score out.
    longest_path : LongestPath or None
        Of the whole accelerator, through all its units; None where the units were not measured.
    clock_mhz : float or None
        Clock that the design is built for; None for a mere estimate.
    clocks : tuple of Clock
        Empty for a mere estimate.
    placed : dict
        What the placed design takes, by resource; empty for a mere estimate.
    slowest_layer : str or None
        Where the worst path after place and route ends, where that is known.
    power : Power or None
    line_frames_per_second : float or None
        What the line to the host can carry.
    seconds : dict of step to float
    versions : dict of tool to str
    """

    board: str
    network: str
    network_digest: str
    device: Device
    layers: tuple[Layer, ...]
    interval: int
    latency: int
    longest_path: LongestPath | None = None
    clock_mhz: float | None = None
    clocks: tuple[Clock, ...] = ()
    placed: dict[str, float] = field(default_factory=dict)
    slowest_layer: str | None = None
    power: Power | None = None
    line_frames_per_second: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> Resources:
        total = Resources()
        for layer in self.layers:
            total += layer.resources
        return total

    @property
    def frames_per_second(self) -> float | None:
        """Frames a second of the accelerator at its clock."""
        return None if self.clock_mhz is None else self.clock_mhz * 1e6 / self.interval

    @property
    def latency_us(self) -> float | None:
        return None if self.clock_mhz is None else self.latency / self.clock_mhz

    def utilisation(self) -> dict[str, float]:
        """Used part of the device, by resource; after place and route where there was one."""
        total = asdict(self.total) | self.placed
        return {
            name: total[name] / getattr(self.device, name)
            for name in ("luts", "ffs", "brams", "dsps")
        }

    def over(self) -> list[str]:
        """Resources of which the design needs more than there are, as text."""
        total = asdict(self.total)
        # Where LUTs can be paired, it takes more than the pairs to be too many.
        luts = "luts" if total["packed_luts"] is None else "packed_luts"
        return [
            f"{total[name]:,} of {available:,} {_COLUMNS[name]}s"
            for name, available in (
                (luts, self.device.luts),
                ("ffs", self.device.ffs),
                ("brams", self.device.brams),
                ("dsps", self.device.dsps),
            )
            if total[name] > available
        ]

    def largest(self, count: int = 3) -> list[Layer]:
        """The layers with the most LUTs."""
        return sorted(self.layers, key=lambda layer: layer.resources.luts, reverse=True)[:count]

    def to_json(self) -> dict:
        return {
            "format": "bitwright-report",
            "version": VERSION,
            "board": self.board,
            "device": asdict(self.device),
            "network": self.network,
            "network_digest": self.network_digest,
            "clock_mhz": self.clock_mhz,
            "clocks": [{**asdict(clock), "met": clock.met} for clock in self.clocks],
            "interval": self.interval,
            "latency": self.latency,
            "longest_path": self.longest_path and asdict(self.longest_path),
            "frames_per_second": self.frames_per_second,
            "latency_us": self.latency_us,
            "line_frames_per_second": self.line_frames_per_second,
            "layers": [
                {
                    key: value
                    for key, value in asdict(layer).items()
                    if key not in ("resources", "placed")
                }
                | asdict(layer.resources)
                | {"placed": layer.placed and asdict(layer.placed)}
                for layer in self.layers
            ],
            "total": asdict(self.total),
            "placed": self.placed,
            "utilisation": self.utilisation(),
            "slowest_layer": self.slowest_layer,
            "power": self.power and asdict(self.power),
            "seconds": self.seconds,
            "versions": self.versions,
        }

    def print(self, console) -> None:
        """Print the tables on a ``rich.console.Console``."""
        from rich.table import Table

        shown = [
            name
            for name in _COLUMNS
            if any(getattr(layer.resources, name) is not None for layer in self.layers)
        ]
        placed = [name for name in _PLACED if any(layer.placed for layer in self.layers)]
        title = f"{self.network} on {self.board} ({self.device.name})"
        table = Table("layer", "operation", title=title)
        labels = [*(_COLUMNS[name] for name in shown), *(f"{_COLUMNS[n]} placed" for n in placed)]
        for label in ("pe", "simd", "cycles", *labels):
            table.add_column(label, justify="right")
        for layer in self.layers:
            numbers = (layer.pe, layer.simd, layer.interval)
            table.add_row(
                layer.name,
                layer.kind,
                *(f"{number:,}" if number else "" for number in numbers),
                *(_text(getattr(layer.resources, name)) for name in shown),
                *(_text(getattr(layer.placed, name, None)) for name in placed),
            )
        table.add_section()
        total = self.total
        table.add_row(
            "sum", "", "", "", "", *(_text(getattr(total, name)) for name in shown), style="bold"
        )
        if self.placed:
            table.add_row(
                *("placed", "", "", "", ""), *(_text(self.placed.get(name)) for name in shown)
            )
        used = self.utilisation()
        table.add_row(
            *("of the device", "", "", "", ""),
            *(f"{used[name]:.1%}" if name in used else "" for name in shown),
        )
        console.print(table)
        for line in self.lines():
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def lines(self) -> list[str]:
        """What the table leaves out, as sentences."""
        lines = [f"interval {self.interval:,} cycles, latency {self.latency:,} cycles"]
        if self.longest_path is not None:
            lines.append(
                f"longest path between registers: {self.longest_path.levels} levels, in "
                f"{' -> '.join(self.longest_path.units)}"
            )
        if self.power is not None:
            lines.append(
                f"power {self.power.total_w:.3f} W, of it {self.power.static_w:.3f} W static; "
                f"confidence {self.power.confidence}"
            )
        for clock in self.clocks:
            verdict = "met" if clock.met else "NOT met"
            lines.append(
                f"clock {clock.name}: {clock.achieved_mhz:.1f} MHz reached, "
                f"{clock.wanted_mhz:.1f} MHz wanted, {verdict}"
            )
        if self.slowest_layer is not None:
            lines.append(f"the worst path ends in {self.slowest_layer}")
        if self.clock_mhz is not None:
            lines.append(
                f"at {self.clock_mhz:.1f} MHz: {self.frames_per_second:,.0f} frames/s, "
                f"latency {self.latency_us:,.1f} us"
            )
        if self.line_frames_per_second is not None:
            lines.append(f"the serial line carries {self.line_frames_per_second:,.0f} frames/s")
        return lines

    def draw(self, path: Path) -> None:
        """Write the picture: where the cycles and the LUTs go."""
        # The object interface, so that no display and no global state of pyplot is touched.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        layers = self.layers[::-1]
        names = [layer.name for layer in layers]
        figure = Figure(figsize=(10, 1.6 + 0.28 * len(layers)), layout="constrained")
        FigureCanvasAgg(figure)
        cycles, luts = figure.subplots(1, 2, sharey=True)
        bars = cycles.barh(names, [layer.interval for layer in layers], color="#4c72b0")
        cycles.bar_label(bars, [f"{v:,}" if v else "" for v in bars.datavalues], **_LABEL)
        cycles.axvline(self.interval, color="0.4", linestyle=":")
        cycles.set_xlabel(f"cycles a frame (pipeline: {self.interval:,})")
        self._draw_luts(luts, names)
        for axes in (cycles, luts):
            axes.margins(x=0.18)
            axes.spines[["top", "right"]].set_visible(False)
        title = f"{self.network} on {self.board}"
        if self.frames_per_second is not None:
            title += f": {self.frames_per_second:,.0f} frames/s at {self.clock_mhz:.1f} MHz"
        figure.suptitle(title)
        figure.savefig(path, format="png", dpi=120)

    def _draw_luts(self, axes, names: list[str]) -> None:
        """The LUTs of each layer; below those of synthesis those after placement, where known."""
        layers = self.layers[::-1]
        kinds = [("synthesis", "#dd8452", [layer.resources.luts for layer in layers])]
        if any(layer.placed for layer in layers):
            placed = [layer.placed.luts if layer.placed else 0 for layer in layers]
            kinds.append(("placed", "#8c8c8c", placed))
        height = 0.8 / len(kinds)
        for index, (label, color, values) in enumerate(kinds):
            at = [place + height * ((len(kinds) - 1) / 2 - index) for place in range(len(names))]
            bars = axes.barh(at, values, height=height, color=color, label=label)
            axes.bar_label(bars, [f"{v:,}" for v in bars.datavalues], **_LABEL)
        if len(kinds) > 1:
            axes.legend()
        axes.set_xlabel(f"LUTs (sum: {self.total.luts:,} of {self.device.luts:,})")


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if value % 1 else f"{value:,.0f}"


def read_report(path: Path) -> Report:
    """A report that ``Report.to_json`` wrote.

    Raises
    ------
    ValueError, OSError
        The file is damaged or missing.
    """
    try:
        entries = json.loads(path.read_text())
        longest = entries["longest_path"]
        resources = set(Resources.__dataclass_fields__)
        return Report(
            board=entries["board"],
            network=entries["network"],
            network_digest=entries["network_digest"],
            device=Device(**entries["device"]),
            layers=tuple(
                Layer(
                    **{
                        key: value
                        for key, value in layer.items()
                        if key not in resources and key != "placed"
                    },
                    resources=Resources(**{key: layer[key] for key in resources}),
                    placed=layer["placed"] and Resources(**layer["placed"]),
                )
                for layer in entries["layers"]
            ),
            interval=entries["interval"],
            latency=entries["latency"],
            longest_path=longest and LongestPath(longest["levels"], tuple(longest["units"])),
            clock_mhz=entries["clock_mhz"],
            clocks=tuple(
                Clock(clock["name"], clock["achieved_mhz"], clock["wanted_mhz"])
                for clock in entries["clocks"]
            ),
            placed=entries["placed"],
            slowest_layer=entries["slowest_layer"],
            power=entries["power"] and Power(**entries["power"]),
            line_frames_per_second=entries["line_frames_per_second"],
            seconds=entries["seconds"],
            versions=entries["versions"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report of this version ({error!r})") from None


def read_clocks(report: dict) -> tuple[Clock, ...]:
    """The clocks in the JSON report of nextpnr."""
    return tuple(
        Clock(
            # nextpnr marks nets on the global network so.
            name=name.removeprefix("$glbnet$"),
            achieved_mhz=round(entry["achieved"], 3),
            wanted_mhz=round(entry["constraint"], 3),
        )
        for name, entry in sorted(report["fmax"].items())
    )


def read_placed(report: dict) -> dict[str, float]:
    """What the placed design takes of an ECP5, in the JSON report of nextpnr."""
    cells = {
        "luts": "TRELLIS_COMB",
        "ffs": "TRELLIS_FF",
        "brams": "DP16KD",
        "dsps": "MULT18X18D",
    }
    return {name: report["utilization"][cell]["used"] for name, cell in cells.items()}
