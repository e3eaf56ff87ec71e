"""The queue of batches: from registers to regions of memory."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.region import LENGTH_BITS, Region
from hw.stream import StreamFIFO

__all__ = ["FRAMES_BITS", "BatchQueue"]

#: Width of the number of frames of a batch.
FRAMES_BITS = 24

#: Width of the largest number of bytes of a batch: 256 GiB.
_MOST_BITS = 38


class BatchQueue(wiring.Component):
    """Turns batches into regions of images and of results, and keeps account of them.

    Parameters
    ----------
    depth : int
        Batches that wait or are under way at once, at most.
    image_bytes, result_bytes : int
        Of a frame.
    address_bits : int

    Members
    -------
    images, results : In(address_bits)
        Where the images of a batch are, and where its results shall go.
    frames : In(24)
        All three are looked at from ``submit`` to ``submitted``.
    submit : In(1)
        For one cycle; the next one after ``submitted``.
    submitted : Out(1)
        For one cycle, about 50 cycles later.
    refused : Out(1)
        With ``submitted``: the batch is not in the queue, as that was full, or as the batch has no
        frames or too many bytes, 2**38 or more.
    o_images, o_results : Out(stream of Region(address_bits))
    done : In(1)
        The results of a batch are in memory.
    room : Out(range(depth + 1))
        Batches that may be submitted.
    busy : Out(1)
        A batch waits or is under way.
    completed : Out(32)
        Batches done since reset; wraps.

    Raises
    ------
    ValueError
        A parameter is not positive.
    """

    def __init__(self, *, depth: int, image_bytes: int, result_bytes: int, address_bits: int):
        values = {"depth": depth, "image_bytes": image_bytes, "result_bytes": result_bytes}
        for name, value in values.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
        self.depth = depth
        self.image_bytes = image_bytes
        self.result_bytes = result_bytes
        self.address_bits = address_bits
        region = Region(address_bits)
        super().__init__(
            {
                "images": In(address_bits),
                "results": In(address_bits),
                "frames": In(FRAMES_BITS),
                "submit": In(1),
                "submitted": Out(1),
                "refused": Out(1),
                "o_images": Out(stream.Signature(region)),
                "o_results": Out(stream.Signature(region)),
                "done": In(1),
                "room": Out(range(depth + 1), init=depth),
                "busy": Out(1),
                "completed": Out(32),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        region = Region(self.address_bits)
        m.submodules.image_regions = images = StreamFIFO(region, self.depth)
        m.submodules.result_regions = results = StreamFIFO(region, self.depth)
        wiring.connect(m, images.o, wiring.flipped(self.o_images))
        wiring.connect(m, results.o, wiring.flipped(self.o_results))

        # frames * bytes, from the highest bit of the constant to its lowest. The larger product
        # comes first: if it fits, so does the other, and both regions go into the queue.
        order = [
            (self.image_bytes, images, self.images),
            (self.result_bytes, results, self.results),
        ]
        order.sort(key=lambda part: -part[0])
        steps = order[0][0].bit_length()
        constants = [Const(bytes_, steps) for bytes_, _, _ in order]
        second = Signal()
        factor = Signal(steps)
        step = Signal(range(steps))
        # It goes on in every cycle, so that nothing stands between the adder and its register.
        first = Signal()
        product = Signal(LENGTH_BITS)
        so_far = Mux(first, 0, product)
        m.d.comb += first.eq(step == steps - 1)
        m.d.sync += product.eq((so_far << 1) + Mux(factor[-1], self.frames, 0))
        # Noticed two bits early, so that no step can carry out of the product.
        too_long, past = Signal(), Signal()
        m.d.comb += past.eq(too_long | product[_MOST_BITS:].any())
        enter = Signal()
        begin = [step.eq(steps - 1), too_long.eq(0)]
        for index, (_, fifo, address) in enumerate(order):
            m.d.comb += [
                fifo.i.payload.address.eq(address),
                fifo.i.payload.length.eq(product),
                fifo.i.valid.eq(enter & (second == index)),
            ]

        accept = Signal()
        with m.FSM():
            with m.State("WAIT"):
                m.d.sync += [
                    *begin,
                    factor.eq(constants[0]),
                    second.eq(0),
                    self.refused.eq((self.room == 0) | (self.frames == 0)),
                ]
                with m.If(self.submit):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [
                    too_long.eq(past & ~first),
                    factor.eq(factor << 1),
                    step.eq(step - 1),
                ]
                with m.If(step == 0):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                with m.If(self.refused | past):
                    m.d.sync += self.refused.eq(1)
                    m.next = "ANSWER"
                with m.Else():
                    m.d.comb += [enter.eq(1), accept.eq(second)]
                    m.d.sync += [*begin, factor.eq(constants[1]), second.eq(1)]
                    m.next = "MULTIPLY"
                    with m.If(second):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.submitted.eq(1)
                m.next = "WAIT"

        m.d.comb += self.busy.eq(self.room != self.depth)
        with m.If(accept ^ self.done):
            m.d.sync += self.room.eq(Mux(accept, self.room - 1, self.room + 1))
        with m.If(self.done):
            m.d.sync += self.completed.eq(self.completed + 1)
        return m
