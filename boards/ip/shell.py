"""An accelerator with AXI4-Stream for images and results, and registers behind AXI4-Lite."""

from dataclasses import replace

from amaranth.hdl import Module, Mux, ResetInserter, Shape, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from boards.axi.counters import StreamCounters
from boards.axi.instruments import connect_instruments
from boards.axi.parameters import ParameterAccess
from boards.axi.ports import AXILite
from boards.axi.probe import ProbedAccelerator
from boards.axi.registers import RegisterBlock
from boards.axi.results import ResultPacker
from boards.registers import ADDRESS_BITS, Identity
from hw.stream import SkidBuffer

__all__ = ["AXIStream", "StreamShell"]

#: Frames that can be inside at once, as a number of bits that is always enough.
_FRAMES_BITS = 16


class AXIStream(wiring.Signature):
    """An AXI4-Stream interface (Arm IHI 0051), seen from the transmitter.

    Parameters
    ----------
    data_bytes : int
    last : bool
        Whether it has ``tlast``.
    """

    def __init__(self, data_bytes: int, *, last: bool):
        if not isinstance(data_bytes, int) or data_bytes < 1:
            raise ValueError(f"data_bytes must be a positive integer, not {data_bytes!r}")
        self.data_bytes = data_bytes
        members = {"tdata": Out(8 * data_bytes), "tvalid": Out(1), "tready": In(1)}
        super().__init__(members | ({"tlast": Out(1)} if last else {}))


class StreamShell(wiring.Component):
    """An accelerator between two streams, with the registers of :mod:`boards.registers`.

    Those registers that belong to batches in memory do nothing: there is never room in the queue,
    and ``SUBMIT`` is a fault. ``BATCHES`` and the interrupt ``DONE`` count frames.

    A soft reset throws the frames away that are inside; the word that is at ``m_axis`` stays there
    until it is taken. Images may come again as soon as ``Status.RESETTING`` is 0.

    Parameters
    ----------
    accelerator : wiring.Component
        As :class:`boards.axi.shell.AXIShell` has it.
    identity : boards.registers.Identity
        Fields that depend on the shell itself are filled in here.

    Members
    -------
    s_axis : In(AXIStream)
        Images: bytes in raster order, channels minor, the first in the lowest bits; frame follows
        frame. There is no ``tlast``, as the bytes are counted.
    m_axis : Out(AXIStream)
        Results: scores as int32, then, where there is one, the label as uint32; ``tlast`` with the
        last beat of a frame.
    s_axi : In(AXILite(16))
    interrupt : Out(1)

    Attributes
    ----------
    identity : boards.registers.Identity
        As it can be read from the registers.
    """

    def __init__(self, *, accelerator: wiring.Component, identity: Identity):
        image = accelerator.i.payload.shape()
        if not isinstance(image, data.ArrayLayout) or image.elem_shape != unsigned(8):
            raise ValueError(f"the image must be an array of bytes, not {image!r}")
        self.accelerator = accelerator
        self._probed = ProbedAccelerator(accelerator)
        height, width, channels = identity.result
        label = accelerator.o_label.payload.shape() if identity.label else None
        self._packer = ResultPacker(
            scores=accelerator.o.payload.shape(),
            count=height * width * channels,
            label_bits=None if label is None else Shape.cast(label).width,
        )
        self._access = ParameterAccess.of(accelerator)
        self.identity = replace(
            identity,
            parameter_words=0 if self._access is None else accelerator.space.size,
            data_bits=0,
            queue=0,
            streams=tuple(self._streams()),
            inside=self._probed.inside,
            fifos=self._probed.fifos,
        )
        self._registers = RegisterBlock(identity=self.identity, address_bits=1)
        self._counters = StreamCounters(streams=len(self.identity.streams))
        super().__init__(
            {
                "s_axis": In(AXIStream(image.length, last=False)),
                "m_axis": Out(AXIStream(self._packer.lanes, last=True)),
                "s_axi": In(AXILite(ADDRESS_BITS)),
                "interrupt": Out(1),
            }
        )

    def _streams(self) -> dict[str, object]:
        """The shell's own streams, in the order of the data's way."""
        streams = {"images": self._probed.i, "scores": self._probed.o}
        if hasattr(self._probed, "o_label"):
            streams["label"] = self._probed.o_label
        return streams | {"results": self._packer.o}

    def elaborate(self, platform) -> Module:
        m = Module()
        registers = m.submodules.registers = self._registers
        reset = ResetInserter(registers.reset)
        probed, packer, counters = self._probed, self._packer, self._counters
        m.submodules.probed = reset(probed)
        m.submodules.packer = reset(packer)
        m.submodules.counters = reset(counters)
        m.submodules.images = images = reset(SkidBuffer(probed.i.payload.shape()))
        # Outside of the soft reset: a beat that was offered is not taken back.
        result = data.StructLayout({"data": packer.o.payload.shape(), "last": 1})
        m.submodules.results = results = SkidBuffer(result)

        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        wiring.connect(m, images.o, probed.i)
        wiring.connect(m, probed.o, packer.i)
        if hasattr(packer, "i_label"):
            wiring.connect(m, probed.o_label, packer.i_label)
        m.d.comb += [
            images.i.payload.eq(self.s_axis.tdata),
            images.i.valid.eq(self.s_axis.tvalid & ~registers.stop & ~registers.reset),
            self.s_axis.tready.eq(images.i.ready & ~registers.stop & ~registers.reset),
            results.i.payload.data.eq(packer.o.payload),
            results.i.payload.last.eq(packer.frame),
            results.i.valid.eq(packer.o.valid),
            packer.o.ready.eq(results.i.ready),
            self.m_axis.tdata.eq(results.o.payload.data),
            self.m_axis.tlast.eq(results.o.payload.last),
            self.m_axis.tvalid.eq(results.o.valid),
            results.o.ready.eq(self.m_axis.tready),
            self.interrupt.eq(registers.interrupt),
            # There is no queue, and no memory.
            registers.refused.eq(registers.submitted),
            registers.idle.eq(0b11),
        ]
        m.d.sync += registers.submitted.eq(registers.submit)
        connect_instruments(
            m,
            registers,
            probed=probed,
            counters=counters,
            streams=((stream.valid, stream.ready) for stream in self._streams().values()),
            access=self._access,
        )
        self._count_frames(m)
        return m

    def _count_frames(self, m: Module) -> None:
        """Tell the registers of frames that went in and came out, and whether some are inside."""
        registers, images, packer = self._registers, self._probed.i, self._packer
        beats = self.identity.image_bytes // len(images.payload)
        left = Signal(range(beats), init=beats - 1)
        inside = Signal(_FRAMES_BITS)
        done = Signal(32)
        came = images.valid & images.ready
        begins = Signal()
        ends = Signal()
        m.d.comb += [
            begins.eq(came & (left == beats - 1)),
            ends.eq(packer.o.valid & packer.o.ready & packer.frame),
            registers.completed.eq(done),
            registers.busy.eq(inside != 0),
            self._counters.busy.eq(inside != 0),
        ]
        m.d.sync += [
            inside.eq(inside + begins - ends),
            registers.frame_in.eq(came & (left == 0)),
            registers.frame_out.eq(ends),
            registers.batch_done.eq(ends),
            done.eq(done + ends),
        ]
        with m.If(came):
            m.d.sync += left.eq(Mux(left == 0, beats - 1, left - 1))
        with m.If(registers.reset):
            m.d.sync += [
                left.eq(beats - 1),
                inside.eq(0),
                done.eq(0),
                registers.frame_in.eq(0),
                registers.frame_out.eq(0),
                registers.batch_done.eq(0),
            ]
