"""Which border of the map an output pixel is at."""

from collections import Counter
from collections.abc import Sequence

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BorderClass", "border_count"]


def border_count(
    height: int, width: int, row_classes: Sequence[int], column_classes: Sequence[int]
) -> int:
    """Border classes of a map: row classes times column classes.

    Raises
    ------
    ValueError
        The map has no pixels, or the classes do not suit it.
    """
    count = 1
    for name, size, what, classes in (
        ("height", height, "row", list(row_classes)),
        ("width", width, "column", list(column_classes)),
    ):
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be a positive integer, not {size!r}")
        if len(classes) != size:
            raise ValueError(f"{what}_classes must have {size} entries, not {len(classes)}")
        if not all(isinstance(entry, int) and entry >= 0 for entry in classes):
            raise ValueError(f"{what}_classes must be integers from 0, not {classes}")
        count *= max(classes) + 1
    return count


class BorderClass(wiring.Component):
    """Class of each output pixel, by its row and its column.

    Parameters
    ----------
    height, width : int
        Output map.
    row_classes : sequence of int
        Class of each row.
    column_classes : sequence of int
        Class of each column.

    Members
    -------
    advance : In(1)
        Go on to the next pixel, in raster order; the first follows the last.
    index : Out(range(classes))
        ``row class * column classes + column class`` of the present pixel, from a register; the
        first pixel's after reset.

    ``classes`` is the number of indices, ``(max(row_classes) + 1) * (max(column_classes) + 1)``.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        row_classes: Sequence[int],
        column_classes: Sequence[int],
    ):
        self.classes = border_count(height, width, row_classes, column_classes)
        self.height = height
        self.width = width
        self.row_classes = list(row_classes)
        self.column_classes = list(column_classes)
        self.columns = max(self.column_classes) + 1
        super().__init__({"advance": In(1), "index": Out(range(self.classes))})

    def elaborate(self, platform):
        m = Module()
        column_class, last_column = self._axis(m, "column", self.column_classes, self.advance)
        row_class, _ = self._axis(m, "row", self.row_classes, self.advance & last_column)
        # Shifted and added: from a product, synthesis for ECP5 makes a DSP.
        index = column_class
        for bit in range(self.columns.bit_length()):
            if self.columns >> bit & 1:
                index = index + (row_class << bit)
        m.d.comb += self.index.eq(index)
        return m

    def _axis(self, m: Module, name: str, classes: list[int], advance) -> tuple[Signal, Signal]:
        """Class of the present row or column, and whether it is the last one."""
        size = len(classes)
        following = Signal(range(size), init=1 % size, name=f"{name}_next")
        present = Signal(range(max(classes) + 1), init=classes[0], name=f"{name}_class")
        last = Signal(name=f"{name}_last")
        # The class register is loaded with the class of the next position, so that nothing but a
        # register stands between the counters and what the index selects.
        m.d.comb += last.eq(following == 0)
        usual = Counter(classes).most_common(1)[0][0]
        with m.If(advance):
            m.d.sync += following.eq(following + 1)
            with m.If(following == size - 1):
                m.d.sync += following.eq(0)
            m.d.sync += present.eq(usual)
            with m.Switch(following):
                for position, entry in enumerate(classes):
                    if entry != usual:
                        with m.Case(position):
                            m.d.sync += present.eq(entry)
        return present, last
