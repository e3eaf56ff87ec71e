"""A serial line in Amaranth's simulator, and a stand-in for an accelerator."""

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BIT", "PERIOD", "StandIn", "receive_bytes", "send_bytes", "stand_in_result", "watchdog"]

#: Clock cycles a bit on the line of the bench.
BIT = 8

#: Seconds a clock cycle. Processes wait for times and not for edges, of which there are many more.
PERIOD = 1e-6


def stand_in_result(image: bytes, classes: int) -> tuple[int, list[int]]:
    """What :class:`StandIn` answers for ``image``."""
    total = 0
    for value in image:
        total = (total * 3 + value) & 0xFFF
    scores = [((total * (index + 1)) & 0xFFF) - 2048 for index in range(classes)]
    return scores.index(max(scores)), scores


class StandIn(wiring.Component):
    """Takes ``pixels`` beats of ``lanes`` bytes and answers with scores that depend on all of them.

    Unlike a network it has no weights, but the same ports, and it stalls its input for
    ``busy`` cycles a frame.
    """

    def __init__(self, *, beats: int, lanes: int, classes: int, score_lanes: int, busy: int = 0):
        self.beats = beats
        self.lanes = lanes
        self.classes = classes
        self.score_lanes = score_lanes
        self.busy = busy
        self.interval = beats + busy + classes
        self.latency = beats + busy + 1
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(unsigned(8), lanes))),
                "o": Out(stream.Signature(data.ArrayLayout(signed(12), score_lanes))),
                "o_label": Out(stream.Signature(unsigned((classes - 1).bit_length() or 1))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        total = Signal(12)
        beat = Signal(range(self.beats))
        wait = Signal(range(self.busy + 1))
        index = Signal(range(self.classes + 1))
        best = Signal(signed(12))
        best_index = Signal.like(self.o_label.payload)
        position = Signal(range(self.classes + 1))
        after = total
        for lane in range(self.lanes):
            following = Signal(12)
            m.d.comb += following.eq(after * 3 + self.i.payload[lane])
            after = following
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [total.eq(after), beat.eq(beat + 1)]
                    with m.If(beat == self.beats - 1):
                        m.d.sync += [beat.eq(0), wait.eq(self.busy), index.eq(0), position.eq(0)]
                        m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "SCORES"
            with m.State("SCORES"):
                # The scores of the beat, and on the way the arg-max, one class a cycle.
                m.d.comb += self.o.valid.eq(position == self.classes)
                for lane in range(self.score_lanes):
                    value = Signal(12)
                    m.d.comb += value.eq(total * (index + lane + 1))
                    m.d.comb += self.o.payload[lane].eq(value - 2048)
                with m.If(position != self.classes):
                    score = Signal(12)
                    signed_score = Signal(signed(12))
                    m.d.comb += [
                        score.eq(total * (position + 1)),
                        signed_score.eq(score - 2048),
                    ]
                    m.d.sync += position.eq(position + 1)
                    with m.If((position == 0) | (signed_score > best)):
                        m.d.sync += [best.eq(signed_score), best_index.eq(position)]
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += index.eq(index + self.score_lanes)
                    with m.If(index == self.classes - self.score_lanes):
                        m.next = "LABEL"
            with m.State("LABEL"):
                m.d.comb += [self.o_label.valid.eq(1), self.o_label.payload.eq(best_index)]
                with m.If(self.o_label.ready):
                    m.d.sync += total.eq(0)
                    m.next = "TAKE"
        return m


async def send_bytes(ctx, line, sent: bytes, *, bit: float = BIT, pause: int = 0):
    """Drive ``sent`` onto ``line``, ``bit`` cycles a bit, ``pause`` idle bits after a byte."""
    for byte in sent:
        for level in (0, *((byte >> index) & 1 for index in range(8)), 1, *[1] * pause):
            ctx.set(line, level)
            await ctx.delay(bit * PERIOD)


async def receive_bytes(ctx, line, received: bytearray, *, bit: float = BIT):
    """Background process: append each byte on ``line`` to ``received``; the stop bit is checked."""
    while True:
        await ctx.negedge(line)
        await ctx.delay(bit / 2 * PERIOD)
        byte = 0
        for index in range(8):
            await ctx.delay(bit * PERIOD)
            byte |= ctx.get(line) << index
        await ctx.delay(bit * PERIOD)
        assert ctx.get(line) == 1, "stop bit missing"
        received.append(byte)


def watchdog(cycles: int):
    """Background process that ends a simulation that does not end by itself."""

    async def watch(ctx):
        await ctx.delay(cycles * PERIOD)
        raise TimeoutError(f"the test is not done after {cycles} cycles")

    return watch
