"""The one check that every streaming unit passes: data under stalls, cycles without them."""

from collections.abc import Callable, Mapping, Sequence

from amaranth.lib import wiring

from hw.schedule import simulate_unit
from tests.streams import Run, drive

__all__ = ["check"]


def check(
    make: Callable[[], wiring.Component],
    inputs: Mapping[str, Sequence[int]],
    expected: Mapping[str, Sequence[int]],
    *,
    seeds: Sequence[int] = (1, 2),
) -> Run:
    """Assert what ``make()`` gives for ``inputs``, and in which cycles.

    Parameters
    ----------
    make : callable
        Makes the unit; called once for each run.
    inputs : dict of list of int
        Beats for each input, in the order of the unit's timing.
    expected : dict of list of int
        Beats of each output, in the order of the unit's timing.
    seeds : sequence of int
        Seeds of the runs with stalls.

    Returns
    -------
    The run without stalls.
    """
    expected = {name: list(words) for name, words in expected.items()}
    counts = {name: len(words) for name, words in expected.items()}
    unit = make()
    run = drive(unit, inputs, counts)
    assert {name: run.beats[name] for name in expected} == expected
    taken, given = simulate_unit(unit.timing, [len(words) for words in inputs.values()])
    assert [run.cycles[name] for name in inputs] == taken
    assert [run.cycles[name] for name in expected] == given
    for seed in seeds:
        stalled = drive(make(), inputs, counts, seed=seed)
        assert {name: stalled.beats[name] for name in expected} == expected
    return run
