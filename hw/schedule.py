"""The cycle model of the accelerator: the timing patterns of its units, played against each other.

``Pipeline`` plays connected units cycle by cycle, without any data. It is what latency, start-up
behaviour and FIFO depths are computed from, and simulation of the gateware must agree with it to
the cycle.
"""

from collections import deque
from collections.abc import Callable, Sequence

from hw.timing import Broadcast, Queue, Steps, Timing, WindowSteps

__all__ = [
    "Broadcast",
    "Pipeline",
    "Queue",
    "Steps",
    "Timing",
    "WindowSteps",
    "simulate_unit",
]


class Pipeline:
    """Connected units, played cycle by cycle.

    Add units in an order in which each comes after those that feed it. An input is named by the
    ``(unit, output index)`` that feeds it; every output must feed exactly one input or be a sink.

    Members
    -------
    cycle : int
        Cycles played so far.
    high_water : dict of str to int
        For each queue, the most beats inside, one that leaves in the same cycle included: the
        least depth at which it would not have stalled.
    stalls : dict of str to int
        For each queue, the cycles in which it was full and a beat waited at its input.
    """

    def __init__(self):
        self._valid: list[bool] = []
        self._taken: list[bool] = []
        self._edges: dict[tuple[str, int], int] = {}
        self._open: dict[tuple[str, int], None] = {}
        self._fronts: list[Callable[[], None]] = []
        self._units: list[Callable[[int], None]] = []
        self.cycle = 0
        self.high_water: dict[str, int] = {}
        self.stalls: dict[str, int] = {}
        self.taken_at: dict[tuple[str, int], list[int]] = {}

    def _new_edge(self, name: str, index: int) -> int:
        self._edges[name, index] = len(self._valid)
        self._open[name, index] = None
        self._valid.append(False)
        self._taken.append(False)
        return self._edges[name, index]

    def add_source(self, name: str, beats: int, every: float | None = None) -> None:
        """A stream of ``beats`` beats.

        Beat k is offered as soon as beat k - 1 is taken and, where ``every`` is given, not before
        cycle ``k * every``.
        """
        edge = self._new_edge(name, 0)
        times = self.taken_at[name, 0] = []
        valid, taken = self._valid, self._taken
        valid[edge] = beats > 0

        def step(now: int) -> None:
            if taken[edge]:
                times.append(now)
                valid[edge] = False
            if not valid[edge]:
                due = every is None or now + 1 >= len(times) * every
                valid[edge] = due and len(times) < beats

        self._units.append(step)

    def add(self, name: str, timing: Timing, inputs: Sequence[tuple[str, int]]) -> None:
        """Add a unit whose input k is fed by ``inputs[k]``."""
        for key in inputs:
            if key not in self._open:
                raise ValueError(f"{name}: input {key} is not an open output")
            del self._open[key]
        edges = [self._edges[key] for key in inputs]
        count = timing.outputs if isinstance(timing, Broadcast) else 1
        outputs = [self._new_edge(name, index) for index in range(count)]
        if isinstance(timing, Steps):
            if len(edges) != len(timing.consumes):
                raise ValueError(
                    f"{name} takes {len(timing.consumes)} inputs, but {len(edges)} are given"
                )
            self._add_steps(timing, edges, outputs[0])
        elif isinstance(timing, WindowSteps):
            self._add_window(timing, edges[0], outputs[0])
        elif isinstance(timing, Queue):
            self._add_queue(name, timing, edges[0], outputs[0])
        else:
            self._add_broadcast(edges[0], outputs)

    def _add_steps(self, timing: Steps, inputs: list[int], output: int) -> None:
        valid, taken = self._valid, self._taken
        emits, last = timing.emits, timing.latency - 1
        mask = (1 << timing.latency) - 1
        needs = [
            tuple(edge for edge, pattern in zip(inputs, timing.consumes, strict=True) if pattern[k])
            for k in range(len(emits))
        ]
        period = len(emits)
        index = flow = 0

        def step(now: int) -> None:
            nonlocal index, flow
            for edge in inputs:
                taken[edge] = False
            if valid[output] and not taken[output]:
                return
            flow = flow << 1 & mask
            need = needs[index]
            if all(valid[edge] for edge in need):
                for edge in need:
                    taken[edge] = True
                flow |= emits[index]
                index += 1
                if index == period:
                    index = 0
            valid[output] = bool(flow >> last)

        self._units.append(step)

    def _add_window(self, timing: WindowSteps, source: int, output: int) -> None:
        valid, taken = self._valid, self._taken
        t = timing
        last, mask = t.latency - 1, (1 << t.latency) - 1
        line, columns = t.width * t.fold, t.columns * t.fold
        emits = [t.emits(beat // t.fold) for beat in range(columns)]
        needed = [t.needed(row) for row in range(t.out_height)]
        released = [t.released(row) for row in range(t.out_height)]
        rows = written = row = beat = flow = 0

        def step(now: int) -> None:
            nonlocal rows, written, row, beat, flow
            complete, ahead = rows, written
            taken[source] = valid[source] and complete < t.rows
            if taken[source]:
                written += 1
                if written == line:
                    written = 0
                    rows += 1
            if valid[output] and not taken[output]:
                return
            flow = flow << 1 & mask
            want = needed[row]
            if beat >= line or complete >= want or (complete == want - 1 and ahead > beat):
                flow |= emits[beat]
                beat += 1
                if beat == columns:
                    beat = 0
                    rows -= released[row]
                    row = (row + 1) % t.out_height
            valid[output] = bool(flow >> last)

        self._units.append(step)

    def _add_queue(self, name: str, timing: Queue, source: int, output: int) -> None:
        valid, taken = self._valid, self._taken
        inside: deque[int] = deque()
        self.high_water[name] = self.stalls[name] = 0

        def step(now: int) -> None:
            room = timing.depth is None or len(inside) < timing.depth
            taken[source] = valid[source] and room
            if valid[source] and not room:
                self.stalls[name] += 1
            if taken[source]:
                inside.append(now + timing.latency)
                self.high_water[name] = max(self.high_water[name], len(inside))
            if taken[output]:
                inside.popleft()
            valid[output] = bool(inside) and inside[0] <= now + 1

        self._units.append(step)

    def _add_broadcast(self, source: int, outputs: list[int]) -> None:
        valid, taken = self._valid, self._taken
        done = [False] * len(outputs)

        def front() -> None:
            for k, edge in enumerate(outputs):
                valid[edge] = valid[source] and not done[k]

        def step(now: int) -> None:
            finished = [done[k] or taken[edge] for k, edge in enumerate(outputs)]
            taken[source] = valid[source] and all(finished)
            done[:] = [False] * len(outputs) if taken[source] or not valid[source] else finished

        self._fronts.append(front)
        self._units.append(step)

    def add_sink(self, key: tuple[str, int]) -> None:
        """Take every beat of an output at once; the cycles are in ``taken_at[key]``."""
        if key not in self._open:
            raise ValueError(f"sink {key} is not an open output")
        del self._open[key]
        edge, valid, taken = self._edges[key], self._valid, self._taken
        times = self.taken_at[key] = []

        def step(now: int) -> None:
            taken[edge] = valid[edge]
            if valid[edge]:
                times.append(now)

        self._units.append(step)

    def run(self, until: Callable[[], bool], limit: int, patience: int | None = None) -> None:
        """Play cycles until ``until()`` holds.

        Raises
        ------
        RuntimeError
            It does not hold within ``limit`` cycles, or nothing moved at any source or sink for
            ``patience`` of them: the pipeline is stuck.
        """
        if self._open:
            raise ValueError(f"output {next(iter(self._open))} feeds nothing")
        # Consumers come before their producers, so that a unit knows which of its beats are taken,
        # and may then overwrite its own outputs for the next cycle.
        units = self._units[::-1]
        end, look, moved = self.cycle + limit, self.cycle + (patience or limit), -1
        while not until():
            if self.cycle >= end:
                raise RuntimeError(f"the pipeline does not finish within {limit} cycles")
            if self.cycle == look:
                before, moved = moved, sum(map(len, self.taken_at.values()))
                if moved == before:
                    raise RuntimeError(f"nothing moves in the pipeline for {patience} cycles")
                look += patience
            for front in self._fronts:
                front()
            now = self.cycle
            for unit in units:
                unit(now)
            self.cycle += 1


def simulate_unit(
    timing: Timing, beats: Sequence[int], limit: int = 1_000_000
) -> tuple[list[list[int]], list[list[int]]]:
    """Play one unit between always-valid sources and always-ready sinks.

    Parameters
    ----------
    beats : sequence of int
        Beats offered at each input.

    Returns
    -------
    (cycles of each input's transfers, cycles of each output's transfers), counted from the first
    cycle after reset; the unit is played until nothing has moved for long enough to be idle.
    """
    pipeline = Pipeline()
    inputs = [(f"source {k}", 0) for k in range(len(beats))]
    for (name, _), count in zip(inputs, beats, strict=True):
        pipeline.add_source(name, count)
    pipeline.add("unit", timing, inputs)
    outputs = [("unit", k) for k in range(timing.outputs if isinstance(timing, Broadcast) else 1)]
    for key in outputs:
        pipeline.add_sink(key)
    patience = 2 * len(timing.emits) if isinstance(timing, Steps) else 64
    if isinstance(timing, WindowSteps):
        patience = 4 * timing.interval
    patience += getattr(timing, "latency", 0) + 8
    moved = -1

    def idle() -> bool:
        nonlocal moved
        moves = max((times[-1] for times in pipeline.taken_at.values() if times), default=-1)
        moved = max(moved, moves)
        return pipeline.cycle > moved + patience

    pipeline.run(idle, limit)
    return [pipeline.taken_at[key] for key in inputs], [pipeline.taken_at[key] for key in outputs]
