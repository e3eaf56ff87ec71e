"""The memory behind the simulated tops notices what AXI forbids; else their tests show little."""

from pathlib import Path

import pytest

from sim.axi_memory_testbench import FAULTS
from sim.harness import build

TESTBENCH = "sim.axi_memory_testbench"


@pytest.fixture(scope="module")
def log() -> str:
    """Of all testbenches; it fails where a fault goes unnoticed, or a good manager is blamed."""
    verilog = (Path(__file__).parent / "axi_manager.v").read_text()
    return build(verilog, "manager").run(TESTBENCH, environment={})


def test_a_manager_without_faults_is_served(log):
    assert "a_manager_without_faults_is_served passed" in log


@pytest.mark.parametrize("fault", FAULTS)
def test_what_axi_forbids_is_noticed(fault, log):
    _, _, after = log.partition(f"running {TESTBENCH}.what_axi_forbids_is_noticed/fault={fault} ")
    told = after.partition(" running ")[0]
    assert f"ProtocolError: {FAULTS[fault]}" in told
