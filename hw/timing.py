"""When a unit takes and makes beats: the four timing patterns that units state.

The patterns are those of cyclo-static dataflow (Bilsen et al., IEEE Trans. Signal Processing 44(2),
1996) with the pipeline register, queue and handshake behaviour of the units added.
"""

from dataclasses import dataclass

__all__ = ["Broadcast", "Queue", "Steps", "Timing", "WindowSteps"]


@dataclass(frozen=True)
class Steps:
    """A rigid pipeline that takes one step a cycle.

    All stages advance together while the output is empty or taken. A step fires when the pipeline
    advances and every input that the step consumes is valid.

    Parameters
    ----------
    consumes : tuple of tuple of 0/1
        For each input, whether the step takes a beat; one entry for each step of the period.
    emits : tuple of 0/1
        Whether the step makes an output beat.
    latency : int
        Cycles from the step until its beat is visible at the output, at least 1.
    """

    consumes: tuple[tuple[int, ...], ...]
    emits: tuple[int, ...]
    latency: int

    def __post_init__(self):
        if self.latency < 1:
            raise ValueError(f"latency must be at least 1, not {self.latency}")
        for pattern in self.consumes:
            if len(pattern) != len(self.emits):
                raise ValueError(
                    f"patterns must have equal length, not {len(pattern)} and {len(self.emits)}"
                )


@dataclass(frozen=True)
class WindowSteps:
    """Line buffer with a writer and a reader that share ``rows`` row banks.

    The writer takes a beat a cycle while a bank is free; a bank is free again when the reader has
    finished the last output row that needs it. The reader is a rigid pipeline: for each output row
    it steps over columns ``0 .. columns - 1`` of ``fold`` beats each, real columns first, and fires
    when the newest row that it needs holds that column. It emits where a window is complete.

    Parameters
    ----------
    height, width, fold : int
        Input map, and beats a pixel.
    kernel : (int, int)
    stride, padding : int
    latency : int
        Cycles from the reader's step until its beat is visible at the output.
    """

    height: int
    width: int
    fold: int
    kernel: tuple[int, int]
    stride: int
    padding: int
    latency: int

    @property
    def rows(self) -> int:
        """Row banks: the rows of a window and those that are written meanwhile."""
        return self.kernel[0] + self.stride

    @property
    def out_height(self) -> int:
        return (self.height + 2 * self.padding - self.kernel[0]) // self.stride + 1

    @property
    def out_width(self) -> int:
        return (self.width + 2 * self.padding - self.kernel[1]) // self.stride + 1

    @property
    def columns(self) -> int:
        """Columns that the reader visits for an output row, those in the right padding included."""
        return (self.out_width - 1) * self.stride - self.padding + self.kernel[1]

    @property
    def interval(self) -> int:
        """Cycles a frame."""
        reading = self.out_height * self.columns * self.fold
        return max(self.height * self.width * self.fold, reading)

    def oldest(self, row: int) -> int:
        """First real input row that output row ``row`` needs."""
        return max(0, row * self.stride - self.padding)

    def newest(self, row: int) -> int:
        """Last real input row that output row ``row`` needs."""
        return min(self.height - 1, row * self.stride - self.padding + self.kernel[0] - 1)

    def needed(self, row: int) -> int:
        """Rows that output row ``row`` needs."""
        return self.newest(row) - self.oldest(row) + 1

    def released(self, row: int) -> int:
        """Rows that no later output row needs once output row ``row`` is done."""
        last = row == self.out_height - 1
        return (self.height if last else self.oldest(row + 1)) - self.oldest(row)

    def emits(self, column: int) -> bool:
        """Whether a window is complete when the reader is at ``column``."""
        ahead = column - (self.kernel[1] - 1 - self.padding)
        return ahead >= 0 and ahead % self.stride == 0


@dataclass(frozen=True)
class Queue:
    """FIFO of ``depth`` beats; a beat written in cycle t is at the output in t + ``latency``.

    It is ready while fewer than ``depth`` beats are inside (always, without a depth), and does not
    look at the output for that.
    """

    depth: int | None
    latency: int = 1


@dataclass(frozen=True)
class Broadcast:
    """Combinational fork to ``outputs`` branches that remembers which branch has the beat."""

    outputs: int


Timing = Steps | WindowSteps | Queue | Broadcast
