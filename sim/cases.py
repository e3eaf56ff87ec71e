"""Unit cases: a device, its input beats and what it must give, many of them in one model.

Compiling takes far longer than running, so all cases of a test module stand side by side in one
model, each with ports of its own, and run at the same time. A test module lists its cases under
``CASES`` and takes what they gave from the fixture ``played``.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.hdl import Module, Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.lanes import element_shape
from hw.schedule import simulate_unit
from hw.verilog import port_widths, to_verilog
from sim.harness import Model, build

__all__ = ["SEEDS", "Bench", "Case", "Played", "pack", "play_cases"]

#: A run without stalls, and some with.
SEEDS = (None, 1, 2, 3)


def pack(element: str, lanes: int, numbers: np.ndarray) -> list[int]:
    """Stored numbers (0/1 for "binary"), flattened, as beats of ``lanes``; lane 0 lowest."""
    shape = Shape.cast(element_shape(element))
    values = np.asarray(numbers).reshape(-1, lanes).tolist()
    low = -(1 << shape.width - 1) if shape.signed else 0
    for beat in values:
        for value in beat:
            if not low <= value < low + (1 << shape.width):
                raise ValueError(f"{value} is no {element}")
    mask = (1 << shape.width) - 1
    return [
        sum((value & mask) << lane * shape.width for lane, value in enumerate(beat))
        for beat in values
    ]


@dataclass(frozen=True)
class Case:
    """One device and its test.

    Parameters
    ----------
    name : str
    make : callable
        Makes the device.
    inputs : dict of list of int
        Beats for each input, in the order of the device's timing.
    expected : dict of list of int
        Beats of each output, in the order of the device's timing.
    patience : int
        Cycles without any transfer after which a device without stalls counts as stuck.
    """

    name: str
    make: Callable[[], wiring.Component]
    inputs: Mapping[str, Sequence[int]]
    expected: Mapping[str, Sequence[int]]
    patience: int = 2000

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Played:
    """What the cases of a model gave, with each seed."""

    runs: list[dict]
    timings: dict[str, object]

    def cycles(self, case: Case) -> dict[str, list[int]]:
        """The cycle of every transfer at each port of ``case``, in the run without stalls."""
        (run,) = (run for run in self.runs if run["seed"] is None)
        ports = run["cases"][case.name]["ports"]
        return {port: found["cycles"] for port, found in ports.items()}

    def check_beats(self, case: Case) -> None:
        """Assert that every run of ``case`` kept the protocol and gave the expected beats."""
        for run in self.runs:
            found = run["cases"][case.name]
            where = f"{case.name}, stalls of seed {run['seed']}"
            assert found["error"] is None, f"{where}: {found['error']}"
            for port, words in case.expected.items():
                beats = found["ports"][port]["beats"]
                wrong = [
                    at for at, pair in enumerate(zip(beats, words, strict=True)) if len({*pair}) > 1
                ]
                assert not wrong, (
                    f"{where}: {len(wrong)} of {len(words)} beats of {port} differ, the first is "
                    f"beat {wrong[0]}: {beats[wrong[0]]:#x} instead of {words[wrong[0]]:#x}"
                )

    def check_cycles(self, case: Case) -> None:
        """Assert that the run without stalls moved every beat in the cycle that was predicted."""
        taken, given = simulate_unit(
            self.timings[case.name], [len(words) for words in case.inputs.values()]
        )
        predicted = dict(zip([*case.inputs, *case.expected], [*taken, *given], strict=True))
        assert self.cycles(case) == predicted


class Bench(wiring.Component):
    """Several devices side by side, each with ports of its own: ``NAME_i``, ``NAME_o``, ...

    One device to convert and to compile instead of many, each of which would cost the start of a
    tool.
    """

    def __init__(self, units: Mapping[str, wiring.Component]):
        self.units = units
        super().__init__(
            {
                f"{name}_{port}": member
                for name, unit in units.items()
                for port, member in unit.signature.members.items()
            }
        )

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            for port, member in unit.signature.members.items():
                own, inner = getattr(self, f"{name}_{port}"), getattr(unit, port)
                if member.is_port:
                    m.d.comb += inner.eq(own) if member.flow is In else own.eq(inner)
                else:
                    wiring.connect(m, wiring.flipped(own), inner)
        return m


def play_cases(
    cases: Sequence[Case],
    *,
    simulator: str = "verilator",
    seeds: Sequence[int | None] = SEEDS,
    abandoned: int = 50,
) -> Played:
    """Build one model of all ``cases`` and play them.

    Parameters
    ----------
    seeds : sequence of int or None
        Seeds of the stalls; None is the run without any.
    abandoned : int
        Cycles of a first run that is given up by a reset.
    """
    units = {f"u{index}": case.make() for index, case in enumerate(cases)}
    model = build(to_verilog(Bench(units), "bench"), "bench", simulator=simulator)
    runs = _play(model, cases, units, seeds, abandoned)
    timings = {
        case.name: getattr(unit, "timing", None)
        for case, unit in zip(cases, units.values(), strict=True)
    }
    return Played(runs, timings)


def _play(
    model: Model,
    cases: Sequence[Case],
    units: Mapping[str, wiring.Component],
    seeds: Sequence[int | None],
    abandoned: int,
) -> list[dict]:
    stimulus = {"seeds": list(seeds), "abandoned": abandoned, "cases": []}
    for case, (prefix, unit) in zip(cases, units.items(), strict=True):
        widths = port_widths(unit)
        stimulus["cases"].append(
            {
                "name": case.name,
                "prefix": prefix,
                # Both sides may rest nine cycles in ten, so a stalled device gets longer.
                "patience": case.patience,
                "after": 30,
                "inputs": [
                    {"port": port, "width": widths[f"{port}_payload"][1], "words": list(words)}
                    for port, words in case.inputs.items()
                ],
                "outputs": [
                    {"port": port, "count": len(words)} for port, words in case.expected.items()
                ],
            }
        )
    with tempfile.TemporaryDirectory(prefix="play-", dir=model.folder.parent) as folder:
        stimulus_file, results_file = Path(folder) / "stimulus.json", Path(folder) / "results.json"
        stimulus_file.write_text(json.dumps(stimulus))
        model.run(
            "sim.testbench",
            environment={
                "BITWRIGHT_STIMULUS": str(stimulus_file),
                "BITWRIGHT_RESULTS": str(results_file),
            },
        )
        return json.loads(results_file.read_text())
