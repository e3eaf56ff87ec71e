"""The packet protocol of :mod:`boards.protocol` in gateware: requests in, replies out."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from boards.protocol import HEADER, REPLY_MAGIC, REQUEST_MAGIC, Fault, Kind

__all__ = ["PacketReceiver", "PacketSender", "Reply"]

_CHECKSUM_BYTES = 4


class Reply(data.Struct):
    """A reply that is due: its kind, the sequence number of the request, and the fault if any."""

    kind: unsigned(8)
    sequence: unsigned(8)
    fault: unsigned(8)


class PacketReceiver(wiring.Component):
    """Parses requests, and says for each one which reply is due.

    The payload of a ``CLASSIFY`` request is written out byte by byte as it comes, and is good only
    if the reply that follows is a ``RESULT``.

    Parameters
    ----------
    image_bytes : int
        Payload of a ``CLASSIFY`` request.
    gap_cycles : int
        Clock cycles without a byte after which the line counts as silent.

    Members
    -------
    data, valid : In(8), In(1)
        A byte from the line. Bytes are at least four cycles apart.
    room : In(1)
        Whether an image may be written. Looked at when its header is complete.
    write, address : Out(1), Out(range(image_bytes))
        In the cycle in which ``write`` is 1, ``data`` is byte ``address`` of an image.
    reply, reply_push : Out(Reply), Out(1)
        The reply that is due, for one cycle.
    reply_room : In(1)
        Where it is 0, no reply is pushed and the request is forgotten.
    receiving : Out(1)
        Inside a packet.
    """

    def __init__(self, *, image_bytes: int, gap_cycles: int):
        if image_bytes < 1:
            raise ValueError(f"image_bytes must be positive, not {image_bytes}")
        if gap_cycles < 1:
            raise ValueError(f"gap_cycles must be positive, not {gap_cycles}")
        self.image_bytes = image_bytes
        self.gap_cycles = gap_cycles
        super().__init__(
            {
                "data": In(8),
                "valid": In(1),
                "room": In(1),
                "write": Out(1),
                "address": Out(range(image_bytes)),
                "reply": Out(Reply),
                "reply_push": Out(1),
                "reply_room": In(1),
                "receiving": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(8).create()
        m.d.comb += [crc.data.eq(self.data), crc.valid.eq(self.valid)]

        silence = Signal(range(self.gap_cycles + 1))
        silent = Signal()
        m.d.comb += silent.eq(silence == self.gap_cycles)
        with m.If(self.valid):
            m.d.sync += silence.eq(0)
        with m.Elif(~silent):
            m.d.sync += silence.eq(silence + 1)

        # Bytes come in low end first, so that the fields end up where the header has them.
        kind, sequence, length = Signal(8), Signal(8), Signal(32)
        header = Cat(kind, sequence, length)
        count = Signal(range(max(len(header) // 8, _CHECKSUM_BYTES)))
        m.d.comb += self.reply.sequence.eq(sequence)

        def refuse(fault: Fault):
            m.d.comb += [
                self.reply.kind.eq(Kind.ERROR),
                self.reply.fault.eq(fault),
                self.reply_push.eq(self.reply_room),
            ]

        with m.FSM() as fsm:
            with m.State("SEEK"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [count.eq(0), self.address.eq(0)]
                with m.If(self.valid & (self.data == REQUEST_MAGIC[0])):
                    m.next = "MATCH"
            with m.State("MATCH"):
                with m.If(self.valid):
                    with m.If(self.data == REQUEST_MAGIC[1]):
                        m.next = "HEADER"
                    with m.Elif(self.data == REQUEST_MAGIC[0]):
                        m.d.comb += crc.start.eq(1)
                    with m.Else():
                        m.next = "SEEK"
                with m.Elif(silent):
                    m.next = "SEEK"
            with m.State("HEADER"):
                with m.If(self.valid):
                    m.d.sync += [header.eq(Cat(header[8:], self.data)), count.eq(count + 1)]
                    with m.If(count == len(header) // 8 - 1):
                        m.d.sync += count.eq(0)
                        m.next = "CHECK"
                with m.Elif(silent):
                    m.next = "SEEK"
            with m.State("CHECK"):
                m.next = "IGNORE"
                with m.If((kind != Kind.CLASSIFY) & (kind != Kind.IDENTIFY)):
                    refuse(Fault.KIND)
                with m.Elif(length != Mux(kind == Kind.CLASSIFY, self.image_bytes, 0)):
                    refuse(Fault.LENGTH)
                with m.Elif(kind == Kind.IDENTIFY):
                    m.next = "CHECKSUM"
                with m.Elif(~self.room):
                    refuse(Fault.BUSY)
                with m.Else():
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += self.write.eq(self.valid)
                with m.If(self.valid):
                    m.d.sync += self.address.eq(self.address + 1)
                    with m.If(self.address == self.image_bytes - 1):
                        m.next = "CHECKSUM"
                with m.Elif(silent):
                    refuse(Fault.INCOMPLETE)
                    m.next = "SEEK"
            with m.State("CHECKSUM"):
                with m.If(self.valid):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == _CHECKSUM_BYTES - 1):
                        m.next = "JUDGE"
                with m.Elif(silent):
                    refuse(Fault.INCOMPLETE)
                    m.next = "SEEK"
            with m.State("JUDGE"):
                with m.If(crc.match_detected):
                    m.d.comb += [
                        self.reply.kind.eq(kind | 0x80),
                        self.reply_push.eq(self.reply_room),
                    ]
                    m.next = "SEEK"
                with m.Else():
                    refuse(Fault.CHECKSUM)
                    m.next = "IGNORE"
            with m.State("IGNORE"):
                with m.If(silent):
                    m.next = "SEEK"
        m.d.comb += self.receiving.eq(~fsm.ongoing("SEEK"))
        return m


class PacketSender(wiring.Component):
    """Sends the replies that are due, one after the other.

    Parameters
    ----------
    identity_bytes, result_bytes : int
        Payload of an ``IDENTITY`` and of a ``RESULT``.

    Members
    -------
    i : In(stream of Reply)
    address : Out
        Byte of the payload that is wanted.
    identity, result : In(8)
        That byte, from the next cycle on.
    result_valid : In(1)
        A result is there; a ``RESULT`` waits for it.
    result_taken : Out(1)
        For one cycle, when the result has been sent.
    o : Out(stream of unsigned(8))
    """

    def __init__(self, *, identity_bytes: int, result_bytes: int):
        if identity_bytes < 1 or result_bytes < 1:
            raise ValueError(
                f"payloads must not be empty, not {identity_bytes} and {result_bytes} bytes"
            )
        self.identity_bytes = identity_bytes
        self.result_bytes = result_bytes
        super().__init__(
            {
                "i": In(stream.Signature(Reply)),
                "address": Out(range(max(identity_bytes, result_bytes))),
                "identity": In(8),
                "result": In(8),
                "result_valid": In(1),
                "result_taken": Out(1),
                "o": Out(stream.Signature(unsigned(8))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(8).create()
        m.d.comb += [crc.data.eq(self.o.payload), crc.valid.eq(self.o.valid & self.o.ready)]

        reply = self.i.payload
        length = Signal(range(max(self.identity_bytes, self.result_bytes) + 1))
        payload = Signal(8)
        with m.Switch(reply.kind):
            with m.Case(Kind.IDENTITY):
                m.d.comb += [length.eq(self.identity_bytes), payload.eq(self.identity)]
            with m.Case(Kind.RESULT):
                m.d.comb += [length.eq(self.result_bytes), payload.eq(self.result)]
            with m.Default():
                m.d.comb += [length.eq(1), payload.eq(reply.fault)]
        magic = int.from_bytes(REPLY_MAGIC, "little")
        header = Signal(8 * HEADER.size)
        m.d.comb += header.eq(Cat(Const(magic, 16), reply.kind, reply.sequence, length))
        count = Signal(range(HEADER.size))

        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [count.eq(0), self.address.eq(0)]
                with m.If(self.i.valid & ((reply.kind != Kind.RESULT) | self.result_valid)):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(header.word_select(count, 8)),
                ]
                with m.If(self.o.ready):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == HEADER.size - 1):
                        m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(payload)]
                with m.If(self.o.ready):
                    m.d.sync += self.address.eq(self.address + 1)
                    m.next = "FETCH"
                    with m.If(self.address == length - 1):
                        m.d.sync += count.eq(0)
                        m.next = "CHECKSUM"
            with m.State("CHECKSUM"):
                checksum = Signal(32)
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(checksum.word_select(count[:2], 8)),
                ]
                # Its own bytes would change the checksum while it is being sent.
                m.d.comb += [crc.valid.eq(0), checksum.eq(crc.crc)]
                with m.If(self.o.ready):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == _CHECKSUM_BYTES - 1):
                        m.d.comb += [
                            self.i.ready.eq(1),
                            self.result_taken.eq(reply.kind == Kind.RESULT),
                        ]
                        m.next = "WAIT"
        return m
