"""An accelerator behind AXI: registers, engines that move images and results, and counters."""

from dataclasses import replace

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Shape, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.batches import BatchQueue
from boards.axi.counters import StreamCounters
from boards.axi.instruments import connect_instruments
from boards.axi.parameters import ParameterAccess
from boards.axi.ports import AXI, AXILite
from boards.axi.probe import ProbedAccelerator
from boards.axi.reader import MemoryReader
from boards.axi.registers import RegisterBlock
from boards.axi.results import ResultPacker
from boards.axi.writer import MemoryWriter
from boards.registers import ADDRESS_BITS, Identity
from hw.stream import SkidBuffer

__all__ = ["QUEUE", "AXIShell"]

#: Batches that wait or are under way at once, at most.
QUEUE = 8


class AXIShell(wiring.Component):
    """An accelerator with the registers of :mod:`boards.registers` and a memory port.

    Images are read from memory and results written there as the batches say that software puts
    into a queue; as long as it is not empty, frames follow each other without a gap.

    Parameters
    ----------
    accelerator : wiring.Component
        Has ``i`` (stream of an array of bytes), ``o`` (stream of an array of scores), maybe
        ``o_label`` (stream of an unsigned label), and no further streams out; maybe ``parameters``
        (``hw.parameters.ParameterPort``), and then ``space``.
    identity : boards.registers.Identity
        What it is; the fields that depend on the shell itself (``data_bits``, ``queue``,
        ``streams``, ``inside``, ``fifos``, ``parameter_words``) are filled in here.
    data_bits : 64 or 128
        Width of the memory port.
    address_bits : int
    depth : int
        Words of memory that may be asked for and not yet used; at full rate it covers the latency
        of the memory, in cycles, and a burst more.

    Members
    -------
    control : In(AXILite(16))
    memory : Out(AXI(address_bits, data_bits))
        All bursts are of id 0, as large as the port is wide, and do not cross 4 KiB.
    interrupt : Out(1)
    status : Out(8)
        For LEDs. Bit 0: the clock runs (changes about once a second). 1: a batch is under way.
        2: a fault. 3: an interrupt. 4 to 7: the lowest bits of the frames that were done.

    Attributes
    ----------
    identity : boards.registers.Identity
        As it can be read from the registers.

    Raises
    ------
    ValueError
        The accelerator has other streams, or the identity does not fit it.
    """

    def __init__(
        self,
        *,
        accelerator: wiring.Component,
        identity: Identity,
        data_bits: int = 128,
        address_bits: int = 40,
        depth: int = 256,
    ):
        if data_bits not in (64, 128):
            raise ValueError(f"data_bits must be 64 or 128, not {data_bits!r}")
        image, scores, label_bits = _check(accelerator, identity)
        self.accelerator = accelerator
        self.data_bits = data_bits
        self.address_bits = address_bits
        self._probed = ProbedAccelerator(accelerator)
        self._reader = MemoryReader(
            address_bits=address_bits, data_bits=data_bits, lanes=image.length, depth=depth
        )
        height, width, channels = identity.result
        self._packer = ResultPacker(
            scores=scores, count=height * width * channels, label_bits=label_bits
        )
        self._writer = MemoryWriter(
            address_bits=address_bits, data_bits=data_bits, lanes=self._packer.lanes
        )
        self._access = ParameterAccess.of(accelerator)
        self.identity = replace(
            identity,
            parameter_words=0 if self._access is None else accelerator.space.size,
            data_bits=data_bits,
            queue=QUEUE,
            streams=tuple(self._streams()),
            inside=self._probed.inside,
            fifos=self._probed.fifos,
        )
        self._queue = BatchQueue(
            depth=QUEUE,
            image_bytes=identity.image_bytes,
            result_bytes=identity.result_bytes,
            address_bits=address_bits,
        )
        self._registers = RegisterBlock(identity=self.identity, address_bits=address_bits)
        self._counters = StreamCounters(streams=len(self.identity.streams))
        super().__init__(
            {
                "control": In(AXILite(ADDRESS_BITS)),
                "memory": Out(AXI(address_bits, data_bits)),
                "interrupt": Out(1),
                "status": Out(8),
            }
        )

    def _streams(self) -> dict[str, tuple]:
        """Valid and ready of the shell's own streams, in the order of the data's way."""

        def stream(port) -> tuple:
            return port.valid, port.ready

        def channel(port, name: str) -> tuple:
            return getattr(port, f"{name}valid"), getattr(port, f"{name}ready")

        read, write = self._reader.memory, self._writer.memory
        probed = self._probed
        streams = {
            "read address": channel(read, "ar"),
            "read data": channel(read, "r"),
            "images": stream(probed.i),
            "scores": stream(probed.o),
        }
        if hasattr(probed, "o_label"):
            streams["label"] = stream(probed.o_label)
        return streams | {
            "results": stream(self._packer.o),
            "write address": channel(write, "aw"),
            "write data": channel(write, "w"),
            "write response": channel(write, "b"),
        }

    def elaborate(self, platform) -> Module:
        m = Module()
        registers = m.submodules.registers = self._registers
        reset = ResetInserter(registers.reset)
        accelerator, reader, packer = self._probed, self._reader, self._packer
        writer, queue, counters = self._writer, self._queue, self._counters
        m.submodules.probed = reset(accelerator)
        m.submodules.reader = reset(reader)
        m.submodules.packer = reset(packer)
        m.submodules.writer = reset(writer)
        m.submodules.queue = reset(queue)
        m.submodules.counters = counters

        wiring.connect(m, wiring.flipped(self.control), registers.bus)
        for engine in (reader, writer):
            for name, member in engine.memory.signature.members.items():
                outer, inner = getattr(self.memory, name), getattr(engine.memory, name)
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        m.submodules.images = images = reset(SkidBuffer(accelerator.i.payload.shape()))
        m.submodules.results = results = reset(SkidBuffer(packer.o.payload.shape()))
        wiring.connect(m, queue.o_images, reader.i)
        wiring.connect(m, reader.o, images.i)
        wiring.connect(m, images.o, accelerator.i)
        wiring.connect(m, accelerator.o, packer.i)
        if hasattr(packer, "i_label"):
            wiring.connect(m, accelerator.o_label, packer.i_label)
        wiring.connect(m, packer.o, results.i)
        wiring.connect(m, queue.o_results, writer.i_region)
        wiring.connect(m, results.o, writer.i)

        m.d.comb += [
            self.interrupt.eq(registers.interrupt),
            queue.images.eq(registers.images),
            queue.results.eq(registers.results),
            queue.frames.eq(registers.frames),
            queue.submit.eq(registers.submit),
            registers.submitted.eq(queue.submitted),
            registers.refused.eq(queue.refused),
            registers.room.eq(queue.room),
            registers.busy.eq(queue.busy),
            registers.completed.eq(queue.completed),
            queue.done.eq(writer.done),
            registers.batch_done.eq(writer.done),
            reader.stop.eq(registers.stop),
            writer.stop.eq(registers.stop),
            registers.idle.eq(Cat(reader.idle, writer.idle)),
            registers.slverr.eq(Cat(reader.slverr, writer.slverr)),
            registers.decerr.eq(Cat(reader.decerr, writer.decerr)),
            counters.busy.eq(queue.busy),
        ]
        connect_instruments(
            m,
            registers,
            probed=accelerator,
            counters=counters,
            streams=self._streams().values(),
            access=self._access,
        )
        self._count_frames(m)
        self._show(m)
        return m

    def _count_frames(self, m: Module) -> None:
        """Tell the registers of frames that went in and came out whole."""
        registers, images, packer = self._registers, self._probed.i, self._packer
        beats = self.identity.image_bytes // len(images.payload)
        came = Signal()
        left = Signal(range(beats), init=beats - 1)
        m.d.sync += [
            came.eq(images.valid & images.ready),
            registers.frame_in.eq(came & (left == 0)),
            registers.frame_out.eq(packer.o.valid & packer.o.ready & packer.frame),
        ]
        with m.If(registers.reset):
            m.d.sync += [
                came.eq(0),
                left.eq(beats - 1),
                registers.frame_in.eq(0),
                registers.frame_out.eq(0),
            ]
        with m.Elif(came):
            m.d.sync += left.eq(Mux(left == 0, beats - 1, left - 1))

    def _show(self, m: Module) -> None:
        registers, queue = self._registers, self._queue
        second = Signal(range(max(2, self.identity.clock_hz)))
        m.d.sync += [
            second.eq(second + 1),
            self.status.eq(
                Cat(
                    second[-1],
                    queue.busy,
                    registers.fault,
                    self.interrupt,
                    queue.completed[:4],
                )
            ),
        ]


def _check(accelerator: wiring.Component, identity: Identity):
    """The layouts of image and scores and the width of the label of an accelerator that fits."""
    ports = {name for name in accelerator.signature.members if name.startswith("o")}
    wanted = {"o", "o_label"} if identity.label else {"o"}
    if ports != wanted:
        raise ValueError(
            f"the outputs of the accelerator must be {' and '.join(sorted(wanted))}, "
            f"not {', '.join(sorted(ports))}"
        )
    image = accelerator.i.payload.shape()
    if not isinstance(image, data.ArrayLayout) or image.elem_shape != unsigned(8):
        raise ValueError(f"the image must be an array of bytes, not {image!r}")
    if identity.image_bytes % image.length:
        raise ValueError(
            f"an image must fill beats of {image.length} bytes, not {identity.image_bytes} bytes"
        )
    scores = accelerator.o.payload.shape()
    if not isinstance(scores, data.ArrayLayout):
        raise ValueError(f"the scores must be an array, not {scores!r}")
    label_bits = Shape.cast(accelerator.o_label.payload.shape()).width if identity.label else None
    return image, scores, label_bits
