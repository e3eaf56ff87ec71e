import pytest

from sim.cases import Played, play_cases
from sim.harness import SIMULATORS, available

__all__ = ["played", "simulator"]


@pytest.fixture(scope="module", params=SIMULATORS)
def simulator(request) -> str:
    """Every simulator that is installed."""
    reason = available(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="module")
def played(request, simulator) -> Played:
    """What the module's CASES gave."""
    return play_cases(request.module.CASES, simulator=simulator)
