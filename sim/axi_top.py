"""From a network and a board to what its driver got at the simulated top."""

import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from boards.board import find_board
from boards.design import make_design, make_simulation
from hw.verilog import to_verilog
from sim.harness import build

__all__ = ["SimulatedTop"]


@dataclass(frozen=True)
class SimulatedTop:
    """A board's complete top, behind a processing system that is a model of its ports.

    Parameters
    ----------
    board : str
    network : model.graph.Network
    target_cycles : int
    data_bits : 64 or 128
        Width of the memory port.
    writable : bool
        Whether its parameters can be written.
    """

    board: str
    network: object
    target_cycles: int
    data_bits: int = 128
    writable: bool = False

    @cached_property
    def design(self):
        return make_design(
            find_board(self.board),
            self.network,
            target_cycles=self.target_cycles,
            writable=self.writable,
        )

    @cached_property
    def interval(self) -> int:
        return self.design.accelerator.interval

    @cached_property
    def identity(self):
        return self.top.shell.identity

    @cached_property
    def top(self):
        return make_simulation(self.design, data_bits=self.data_bits)

    @cached_property
    def verilog(self) -> str:
        return to_verilog(self.top, "top")

    def play(self, images: np.ndarray, scenarios: dict[str, dict], *, optimise: int = 0) -> dict:
        """What became of each scenario, by its name; see ``sim.axi_scenarios``.

        Raises
        ------
        SimulatorError
            The design does not compile, or a scenario came to no end.
        """
        model = build(self.verilog, "top", optimise=optimise)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            np.save(folder / "images.npy", images)
            setup = {
                "images": str(folder / "images.npy"),
                "results": str(folder / "results.json"),
                "clock_hz": self.identity.clock_hz,
                "scenarios": [{"name": name, **what} for name, what in scenarios.items()],
            }
            (folder / "setup.json").write_text(json.dumps(setup))
            model.run(
                "sim.axi_testbench", environment={"BITWRIGHT_SETUP": str(folder / "setup.json")}
            )
            return json.loads((folder / "results.json").read_text())
