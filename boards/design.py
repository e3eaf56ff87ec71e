"""A network with its folding: as an accelerator, behind a shell, and as a build plan."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from boards.board import Board, BoardError
from boards.report import Layer, Report
from boards.resources import Resources, count_cells

__all__ = [
    "DEFAULT_TARGET_CYCLES",
    "TOP",
    "Design",
    "make_design",
    "make_identity",
    "make_plan",
    "make_shell",
    "make_simulation",
    "read_units",
]

#: Cycles a frame where the user names none. The serial line is slower than this by far; it is
#: chosen so that a build takes minutes on a small machine and every unit is truly folded.
DEFAULT_TARGET_CYCLES = 4000

#: Name of the design in the plan, and of its files.
TOP = "top"

_ACCELERATOR = f"{TOP}.shell.accelerator"

#: Rows of the report for what belongs to no layer.
_AROUND = "shell"
_BETWEEN = "streams"


@dataclass(frozen=True)
class Design:
    """A network with its folding and its accelerator.

    Parameters
    ----------
    board : Board
    network : model.graph.Network
    folding : hw.folding.Folding
    accelerator : hw.accelerator.Accelerator
    """

    board: Board
    network: object
    folding: object
    accelerator: object

    @property
    def image_bytes(self) -> int:
        image = self.network.types[self.network.input.name]
        return image.height * image.width * image.channels

    def layers(self, resources: dict[str, Resources], **around: Resources) -> tuple[Layer, ...]:
        """The layers, from the resources of each submodule of the accelerator.

        ``around`` are parts of the design that belong to no operation.
        """
        layers = []
        left = dict(resources)
        units = self.accelerator.layers
        for op in self.network.order:
            total = Resources()
            for unit in units.get(op.name, []):
                total += left.pop(unit, Resources())
            folded = self.folding[op.name]
            layers.append(
                Layer(
                    name=op.name,
                    kind=type(op).__name__,
                    interval=self.accelerator.intervals[op.name],
                    pe=folded.pe,
                    simd=folded.simd if hasattr(op, "weights") else 0,
                    resources=total,
                )
            )
        for name, part in {**left, **around}.items():
            if part != Resources():
                layers.append(Layer(name, "", 0, 0, 0, part))
        return tuple(layers)

    def report(self, layers: tuple[Layer, ...], **more) -> Report:
        return Report(
            board=self.board.name,
            network=self.network.name,
            network_digest=self.network.digest(),
            device=self.board.device,
            layers=layers,
            interval=self.accelerator.interval,
            latency=self.accelerator.latency,
            **more,
        )


def make_design(
    board: Board,
    network,
    *,
    target_cycles: int | None = None,
    folding: str | Path | None = None,
    writable: bool = False,
) -> Design:
    """Choose or load the folding and make the accelerator.

    ``writable``: its parameters can be written at run time.

    Raises
    ------
    ValueError
        The network does not fit the device at that target, or the folding does not suit it.
    """
    from hw.accelerator import Accelerator
    from hw.folding import Folding, choose

    if folding is not None:
        chosen = Folding.load(folding, network)
    else:
        target = DEFAULT_TARGET_CYCLES if target_cycles is None else target_cycles
        chosen = choose(network, target_cycles=target, device=board.device)
    accelerator = Accelerator(network=network, folding=chosen, writable=writable)
    return Design(board, network, chosen, accelerator)


def make_shell(design: Design, clock_hz: float, baud: int, data_bits: int = 128):
    """The accelerator behind what the board's target has: a serial line, or AXI.

    ``baud`` is for the former, ``data_bits`` for the latter.

    Raises
    ------
    BoardError
        The network's image or outputs are not what the shell can take.
    """
    if design.board.target.flow == "trellis":
        return _make_uart_shell(design, clock_hz, baud)
    return _make_axi_shell(design, clock_hz, data_bits)


def _make_uart_shell(design: Design, clock_hz: float, baud: int):
    from boards.shells import UARTShell

    network, accelerator = design.network, design.accelerator
    image = network.types[network.input.name]
    scores = network.types[network.outputs[0]]
    ports = {name for name in accelerator.signature.members if name != "parameters"}
    if ports != {"i", "o", "o_label"} or (scores.height, scores.width) != (1, 1):
        raise BoardError(
            f"{network.name} cannot be put behind a serial line: its outputs must be the class "
            f"scores and a LabelSelect called 'label', not {', '.join(network.outputs)}"
        )
    if str(image.element) != "uint8":
        raise BoardError(
            f"{network.name} cannot be put behind a serial line: its image must be uint8, "
            f"not {image.element}"
        )
    return UARTShell(
        accelerator=accelerator,
        digest=bytes.fromhex(network.digest()),
        height=image.height,
        width=image.width,
        channels=image.channels,
        classes=scores.channels,
        clock_hz=clock_hz,
        baud=baud,
    )


def make_identity(network, folding, accelerator, *, board: str, clock_hz: float):
    """What an accelerator behind AXI says of itself; the shell fills in the rest.

    Raises
    ------
    BoardError
        The network's outputs are not what a shell with AXI can take.
    """
    from boards.registers import Identity

    image = network.types[network.input.name]
    scores = network.types[network.outputs[0]]
    outputs = {name for name in accelerator.signature.members if name.startswith("o")}
    if str(image.element) != "uint8":
        raise BoardError(
            f"{network.name} cannot be put behind AXI: its image must be uint8, not {image.element}"
        )
    if not outputs <= {"o", "o_label"}:
        raise BoardError(
            f"{network.name} cannot be put behind AXI: its outputs must be scores and at most a "
            f"LabelSelect called 'label', not {', '.join(network.outputs)}"
        )
    if scores.element.bits > {"int": 32, "uint": 31}.get(scores.element.kind, 0):
        raise BoardError(
            f"{network.name} cannot be put behind AXI: its scores must be numbers that an int32 "
            f"holds, not {scores.element}"
        )
    return Identity(
        name=network.name,
        board=board,
        network=network.digest(),
        folding=hashlib.sha256(folding.text().encode()).hexdigest(),
        image=(image.height, image.width, image.channels),
        result=(scores.height, scores.width, scores.channels),
        label="o_label" in outputs,
        interval=accelerator.interval,
        latency=accelerator.latency,
        clock_hz=round(clock_hz),
    )


def _make_axi_shell(design: Design, clock_hz: float, data_bits: int):
    from boards.axi.shell import AXIShell

    identity = make_identity(
        design.network,
        design.folding,
        design.accelerator,
        board=design.board.name,
        clock_hz=clock_hz,
    )
    return AXIShell(accelerator=design.accelerator, identity=identity, data_bits=data_bits)


def make_simulation(design: Design, *, data_bits: int = 128, clock_hz: float | None = None):
    """The top of a board with a processing system, whose AXI ports are those of the top.

    Raises
    ------
    BoardError
        The board has no processing system, or the network does not suit it.
    """
    target = design.board.target
    if target is None or target.flow != "vivado":
        raise BoardError(f"{design.board.name} has no processing system")
    from boards.zynqmp import PSPorts

    clock = target.clock(target.clock_hz if clock_hz is None else clock_hz)
    shell = make_shell(design, clock.hertz, baud=0, data_bits=data_bits)
    return target.top(shell, clock, ps=PSPorts(data_bits=data_bits))


def make_plan(design: Design, clock, baud: int):
    """The build plan (``amaranth.build.run.BuildPlan``) of a board that has a target."""
    from boards.synthesis import safe_names, synthesis_script

    target = design.board.target
    top = target.top(make_shell(design, clock.hertz, baud), clock)
    before, synthesis, check = synthesis_script("ecp5", TOP)
    plan = target.platform().build(
        top,
        name=TOP,
        do_build=False,
        # Source positions would make a new plan of every comment that moves a line.
        emit_src=False,
        script_after_read="\n".join(
            [
                before,
                # Units stay apart until they are mapped, so that each cell can be counted where
                # it belongs; what is inside a unit is one piece.
                f"setattr -mod -set keep_hierarchy 1 {_ACCELERATOR} {_ACCELERATOR}.*",
                f"setattr -mod -unset keep_hierarchy {_ACCELERATOR}.*.*",
            ]
        ),
        synth_opts=synthesis.removeprefix("synth_ecp5 ").removesuffix(f" -top {TOP}"),
        script_after_synth="\n".join(
            [
                check,
                # nextpnr gets one flat module. Names keep the path of what they came from, and
                # what a unit computes in vain goes away here.
                "setattr -mod -unset keep_hierarchy *",
                "flatten",
                "opt_clean -purge",
                check,
            ]
        ),
        nextpnr_opts=f"--report {TOP}.report.json --timing-allow-fail",
    )
    plan.files[f"{TOP}.il"] = safe_names(plan.files[f"{TOP}.il"])
    return plan


def read_units(netlist: dict, family: str) -> tuple[dict[str, Resources], dict[str, Resources]]:
    """Resources of each unit, and of what is around them.

    ``netlist`` is the flat design as Yosys' ``write_json`` wrote it; the name of a cell begins with
    the path of the submodule that it comes from.
    """
    types: dict[str, dict[str, int]] = {}
    for name, cell in netlist["modules"][TOP]["cells"].items():
        # Names that Yosys made up have the path in their middle.
        path = name.removeprefix("$flatten").replace("\\", "").split(".")
        inside = path[:2] == _ACCELERATOR.split(".")[1:]
        # Amaranth numbers a submodule whose name a signal has.
        unit = path[2].partition("$")[0] if inside and len(path) > 3 else None
        part = (unit or (_BETWEEN if inside else _AROUND), unit is not None)
        counts = types.setdefault(part, {})
        counts[cell["type"]] = counts.get(cell["type"], 0) + 1
    counted = {part: count_cells(family, counts) for part, counts in types.items()}
    return (
        {name: resources for (name, is_unit), resources in counted.items() if is_unit},
        {name: resources for (name, is_unit), resources in counted.items() if not is_unit},
    )
