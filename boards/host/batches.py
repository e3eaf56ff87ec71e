"""Batches of frames on their way through an accelerator: the next is packed while one runs."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from boards.host.diagnosis import explain, take_snapshot
from boards.host.error import HostError
from boards.host.port import RegisterPort
from boards.host.transport import AXITransport, Buffer
from boards.registers import Fault, Identity, Interrupt, Register, Status

__all__ = ["BatchRunner", "Times"]

#: Bytes of images and results that a batch has about, where the user names no number of frames.
_BATCH_BYTES = 1 << 20


@dataclass
class Times:
    """Where the processor's time went, in seconds."""

    pack: float = 0.0
    wait: float = 0.0
    unpack: float = 0.0


@dataclass
class _Slot:
    """Memory of one batch, and the frames that are in it."""

    images: Buffer
    results: Buffer
    frames: slice = field(default_factory=lambda: slice(0))


class BatchRunner:
    """Sends images through an accelerator, some batches at a time.

    Parameters
    ----------
    transport : AXITransport
    port : RegisterPort
    identity : Identity
    frames : int or None
        Frames of a batch, or None for about a megabyte.
    batches : int
        Batches that have memory: one is packed or unpacked while the others are in the queue.
    slack : float
        Seconds without a new frame, beyond what the accelerator needs, that are a time-out.

    Raises
    ------
    ValueError
        ``frames`` or ``batches`` is out of range.
    """

    def __init__(
        self,
        transport: AXITransport,
        port: RegisterPort,
        identity: Identity,
        *,
        frames: int | None = None,
        batches: int = 3,
        slack: float = 0.5,
    ):
        if frames is not None and not 1 <= frames < 1 << 24:
            raise ValueError(f"a batch must have from 1 to {(1 << 24) - 1} frames, not {frames}")
        if batches < 1:
            raise ValueError(f"batches must be 1 or more, not {batches}")
        bytes_per_frame = identity.image_bytes + identity.result_bytes
        self.frames = frames or max(1, _BATCH_BYTES // bytes_per_frame)
        self._batches = min(batches, identity.queue)
        self._transport = transport
        self._port = port
        self._identity = identity
        # Twice what is due, so that a memory shared with others does not look like one that died.
        cycles = 2 * (identity.interval + identity.latency)
        self._patience = cycles / identity.clock_hz + slack
        self._slots: list[_Slot] = []
        self._finished = 0

    def forget(self) -> None:
        """After a reset: no batch is under way, and none was counted."""
        self._finished = 0

    def run(
        self,
        images: np.ndarray,
        results: np.ndarray,
        progress: Callable[[int], object] | None,
        times: Times,
    ) -> None:
        """Fill ``results`` (N x result_bytes, uint8) with what ``images`` gives.

        Raises
        ------
        HostError
            A fault, or nothing went on; the accelerator then needs a reset.
        """
        images = images.reshape(len(images), self._identity.image_bytes)
        free = deque(self._allocate(min(self._batches, -(-len(images) // self.frames))))
        under_way: deque[_Slot] = deque()
        sent = done = 0
        clock = self._transport.clock
        while done < len(images):
            while free and sent < len(images):
                began = clock()
                slot = free.popleft()
                slot.frames = slice(sent, min(sent + self.frames, len(images)))
                _rows(slot.images, images[slot.frames].shape)[:] = images[slot.frames]
                slot.images.flush()
                slot.results.flush()
                times.pack += clock() - began
                self._submit(slot)
                under_way.append(slot)
                sent = slot.frames.stop
            began = clock()
            finished = self._wait()
            times.wait += clock() - began
            for _ in range(finished):
                began = clock()
                slot = under_way.popleft()
                slot.results.invalidate()
                results[slot.frames] = _rows(slot.results, results[slot.frames].shape)
                done = slot.frames.stop
                free.append(slot)
                times.unpack += clock() - began
                if progress is not None:
                    progress(done)

    def close(self) -> None:
        """Give the memory back; nothing may be under way."""
        for slot in self._slots:
            slot.images.close()
            slot.results.close()
        self._slots = []

    def _allocate(self, count: int) -> list[_Slot]:
        allocate = self._transport.allocate
        while len(self._slots) < count:
            images = allocate(self.frames * self._identity.image_bytes)
            try:
                results = allocate(self.frames * self._identity.result_bytes)
            except BaseException:
                images.close()
                raise
            self._slots.append(_Slot(images, results))
        return self._slots[:count]

    def _submit(self, slot: _Slot) -> None:
        port = self._port
        port.write64(Register.IMAGES_LOW, slot.images.address)
        port.write64(Register.RESULTS_LOW, slot.results.address)
        port.write(Register.FRAMES, slot.frames.stop - slot.frames.start)
        port.write(Register.SUBMIT, 1)

    def _wait(self) -> int:
        """Wait for the next batch; how many are done that were not before."""
        port, transport = self._port, self._transport
        frames, since = -1, transport.clock()
        while True:
            # What happens after this raises the line again, so nothing is missed.
            port.write(Register.INTERRUPT, Interrupt.DONE | Interrupt.FAULT)
            if port.read(Register.STATUS) & Status.FAULT:
                raise HostError(Fault(port.read(Register.FAULT)).sentence)
            finished = port.read(Register.BATCHES)
            if finished != self._finished:
                news = (finished - self._finished) % 2**32
                self._finished = finished
                return news
            now_out, now = port.read(Register.FRAMES_OUT), transport.clock()
            if now_out != frames:
                frames, since = now_out, now
            elif now - since >= self._patience:
                raise HostError(self._stall(now - since))
            transport.wait(since + self._patience - now)

    def _stall(self, seconds: float) -> str:
        snapshot = take_snapshot(self._port, self._identity)
        return (
            f"no result came for {seconds:.3g} s ({snapshot.frames_in} frames went in, "
            f"{snapshot.frames_out} came out): {explain(snapshot)}"
        )


def _rows(buffer: Buffer, shape: tuple[int, ...]) -> np.ndarray:
    """The first bytes of a buffer as an array of this shape."""
    return buffer.data[: shape[0] * shape[1]].reshape(shape)
