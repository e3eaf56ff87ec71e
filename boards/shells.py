"""What stands between an accelerator and the pins of a board."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from boards.buffers import ImageBuffer, ResultBuffer
from boards.frame import PacketReceiver, PacketSender, Reply
from boards.protocol import GAP_BYTES, Identity, Kind
from boards.uart import UARTReceiver, UARTTransmitter

__all__ = ["DEFAULT_BAUD", "UARTShell"]

DEFAULT_BAUD = 1_000_000

#: Bits of a byte on the line, start and stop bit included.
_BITS_PER_BYTE = 10

#: Replies that may be due at once: those for the images on their way, and some for refusals.
_REPLIES = 8


class UARTShell(wiring.Component):
    """An accelerator behind a serial line, with the packets of :mod:`boards.protocol`.

    Parameters
    ----------
    accelerator : wiring.Component
        Has ``i`` (stream of an array of bytes), ``o`` (stream of an array of signed scores),
        ``o_label`` (stream of an unsigned label), ``interval`` and ``latency``.
    digest : bytes
        SHA-256 of the network, which the host compares with its own.
    height, width, channels, classes : int
        Geometry of an image, and scores in a frame.
    clock_hz : float
    baud : int
    gap_bytes : int
        Silence on the line that ends a packet, in byte times.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    status : Out(8)
        For LEDs. Bits 0 to 3: the last label. 4: a packet is coming in. 5: an image is waiting.
        6: the last request was refused. 7: the clock runs (changes about once a second).

    Raises
    ------
    ValueError
        The clock is too slow for the baud rate, or the geometry does not fit the accelerator.
    """

    def __init__(
        self,
        *,
        accelerator: wiring.Component,
        digest: bytes,
        height: int,
        width: int,
        channels: int,
        classes: int,
        clock_hz: float,
        baud: int = DEFAULT_BAUD,
        gap_bytes: int = GAP_BYTES,
    ):
        self.accelerator = accelerator
        self.identity = Identity(
            digest=digest,
            height=height,
            width=width,
            channels=channels,
            classes=classes,
            buffers=2,
            gap_bytes=gap_bytes,
            clock_hz=round(clock_hz),
            interval=accelerator.interval,
            latency=accelerator.latency,
        )
        self.clock_hz = clock_hz
        gap_cycles = round(gap_bytes * _BITS_PER_BYTE * clock_hz / baud)
        self._receiver = UARTReceiver(clock_hz=clock_hz, baud=baud)
        self._transmitter = UARTTransmitter(clock_hz=clock_hz, baud=baud)
        self._packet_receiver = PacketReceiver(
            image_bytes=self.identity.image_bytes, gap_cycles=gap_cycles
        )
        self._packet_sender = PacketSender(
            identity_bytes=len(self.identity.pack()), result_bytes=self.identity.result_bytes
        )
        self._image_buffer = ImageBuffer(
            image_bytes=self.identity.image_bytes,
            lanes=_layout(accelerator, "i").length,
        )
        self._result_buffer = ResultBuffer(
            scores=_layout(accelerator, "o"),
            classes=classes,
            label_bits=len(accelerator.o_label.payload),
        )
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "status": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        m.submodules.uart_receiver = receiver = self._receiver
        m.submodules.uart_transmitter = transmitter = self._transmitter
        m.submodules.packet_receiver = requests = self._packet_receiver
        m.submodules.packet_sender = replies = self._packet_sender
        m.submodules.image_buffer = images = self._image_buffer
        m.submodules.result_buffer = results = self._result_buffer
        m.submodules.due = due = SyncFIFO(width=Reply.as_shape().size, depth=_REPLIES)

        payload = list(self.identity.pack())
        m.submodules.identity = identity = Memory(
            shape=unsigned(8), depth=len(payload), init=payload
        )
        identity_port = identity.read_port()

        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            requests.data.eq(receiver.data),
            requests.valid.eq(receiver.valid),
            images.data.eq(receiver.data),
            images.write.eq(requests.write),
            images.address.eq(requests.address),
            requests.room.eq(images.room),
            # Image and reply go on together, so each image has its reply and each in its turn.
            images.commit.eq(requests.reply_push & (requests.reply.kind == Kind.RESULT)),
            due.w_data.eq(requests.reply),
            due.w_en.eq(requests.reply_push),
            requests.reply_room.eq(due.w_rdy),
            replies.i.payload.eq(due.r_data),
            replies.i.valid.eq(due.r_rdy),
            due.r_en.eq(replies.i.ready),
            identity_port.addr.eq(replies.address),
            replies.identity.eq(identity_port.data),
            results.address.eq(replies.address),
            replies.result.eq(results.data),
            replies.result_valid.eq(results.valid),
            results.taken.eq(replies.result_taken),
        ]
        wiring.connect(m, images.o, accelerator.i)
        wiring.connect(m, accelerator.o, results.i)
        wiring.connect(m, accelerator.o_label, results.i_label)
        wiring.connect(m, replies.o, transmitter.i)

        refused = Signal()
        with m.If(requests.reply_push):
            m.d.sync += refused.eq(requests.reply.kind == Kind.ERROR)
        heartbeat = Signal(range(round(self.clock_hz)))
        m.d.sync += heartbeat.eq(heartbeat + 1)
        m.d.comb += self.status.eq(
            Cat(
                results.label[:4],
                requests.receiving,
                images.o.valid,
                refused,
                heartbeat[-1],
            )
        )
        return m


def _layout(accelerator: wiring.Component, port: str) -> data.ArrayLayout:
    shape = getattr(accelerator, port).payload.shape()
    if not isinstance(shape, data.ArrayLayout):
        raise ValueError(f"port {port} of the accelerator must carry an array, not {shape!r}")
    return shape
