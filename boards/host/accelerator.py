"""An accelerator behind AXI: images in, labels and scores out.

with Accelerator(LinuxTransport(), network=network) as board:
    labels, scores = board.classify(images)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from boards.host import parameters
from boards.host.batches import BatchRunner, Times
from boards.host.diagnosis import Snapshot, take_snapshot
from boards.host.error import HostError
from boards.host.images import check_images
from boards.host.port import RegisterPort
from boards.host.transport import AXITransport
from boards.registers import (
    FIFO_MARKS,
    IDENTITY,
    IDENTITY_LIMIT,
    MAGIC,
    VERSION,
    Control,
    Identity,
    Interrupt,
    Register,
    Status,
)

__all__ = ["Accelerator", "Throughput", "identify"]


@dataclass(frozen=True)
class Throughput:
    """Where the time of a run went.

    Parameters
    ----------
    frames : int
    seconds : float
        From the first image packed to the last result unpacked.
    pack, wait, unpack : float
        Seconds of the processor: copying images into memory that the accelerator reaches, waiting
        for a batch, copying results out. Packing and unpacking go on while batches run.
    busy : float
        Seconds in which the accelerator had a batch.
    compute : float
        Seconds that so many frames take at the accelerator's own interval.
    transfer : float
        ``busy`` less ``compute``: what filling the pipeline and waiting for the memory add.
    """

    frames: int
    seconds: float
    pack: float
    wait: float
    unpack: float
    busy: float
    compute: float
    transfer: float

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0


def identify(port: RegisterPort) -> Identity:
    """What stands behind these registers.

    Raises
    ------
    HostError
        It is not an accelerator of this project, or of another version.
    """
    magic = port.read(Register.MAGIC)
    if magic != MAGIC:
        raise HostError(
            f"no accelerator answers: the first register must read {MAGIC:#010x}, not "
            f"{magic:#010x}; is the bitstream loaded, and the address right?"
        )
    version = port.read(Register.VERSION)
    if version == 0:
        raise HostError(
            "only every fourth register can be read: the control port of the processor must be "
            "set to 32 bits (FPD_SLCR.afi_fs), which loading the bitstream with this driver does"
        )
    if version != VERSION:
        raise HostError(f"the accelerator has version {version} of the registers, not {VERSION}")
    size = port.read(Register.IDENTITY_BYTES)
    if not 0 < size <= IDENTITY_LIMIT or size % 4:
        raise HostError(f"the identity must have up to {IDENTITY_LIMIT} bytes, not {size}")
    try:
        identity = Identity.unpack(port.read_words(IDENTITY, size // 4).astype("<u4").tobytes())
    except ValueError as error:
        raise HostError(str(error)) from None
    if not identity.queue or not identity.clock_hz:
        raise HostError(
            "the accelerator has streams and no port to memory: a block of `boards.build ip` is "
            "fed by what is around it"
        )
    return identity


class Accelerator:
    """An accelerator that answers.

    Parameters
    ----------
    transport : AXITransport
        Closed together with the accelerator.
    network : model.graph.Network or None
        If given, an accelerator with another network's parameters is refused.
    parameter_file : boards.host.parameters.ParameterFile or None
        Written first, if given.
    batch_frames : int or None
        Frames that go through memory at once; None for about a megabyte.
    batches : int
        Batches that have memory. Three keep two in the queue while one is packed.
    slack : float
        Seconds without a new frame, beyond what the accelerator needs, that are a time-out.

    Members
    -------
    identity : Identity
        What the accelerator says of itself.

    Raises
    ------
    HostError
        There is no accelerator, or one of another network.
    """

    def __init__(
        self,
        transport: AXITransport,
        *,
        network=None,
        parameter_file: parameters.ParameterFile | None = None,
        batch_frames: int | None = None,
        batches: int = 3,
        slack: float = 0.5,
    ):
        self.transport = transport
        self._slack = slack
        self._port = RegisterPort(transport)
        self._runner: BatchRunner | None = None
        try:
            self.identity = identity = identify(self._port)
            self._runner = BatchRunner(
                transport, self._port, identity, frames=batch_frames, batches=batches, slack=slack
            )
            self.reset()
            if parameter_file is not None:
                self.write_parameters(parameter_file)
            if network is not None:
                self._check_network(network)
            self._port.write(Register.CONTROL, Control.CLEAR)
            self._port.write(Register.INTERRUPT_ENABLE, Interrupt.DONE | Interrupt.FAULT)
        except BaseException:
            transport.close()
            raise

    def __enter__(self) -> "Accelerator":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and let go of registers and memory."""
        if self._runner is None:
            return
        try:
            if self._port.read(Register.STATUS) & (Status.BUSY | Status.RESETTING):
                self.reset()
            self._port.write(Register.INTERRUPT_ENABLE, 0)
            self._runner.close()
        except HostError:
            # Memory that may still be written to is not given back.
            pass
        finally:
            self._runner = None
            self.transport.close()

    @property
    def network(self) -> str:
        """SHA-256 of the network whose parameters are loaded."""
        return self._port.read_digest()

    def snapshot(self) -> Snapshot:
        """Counters and states of all streams."""
        return take_snapshot(self._port, self.identity)

    def fifo_marks(self) -> dict[str, tuple[int, int]]:
        """Of each FIFO, the most beats that were in it since the last reset, and its depth."""
        fifos = self.identity.fifos
        marks = self._port.read_words(FIFO_MARKS, len(fifos)).tolist()
        return {name: (mark, depth) for (name, depth), mark in zip(fifos, marks, strict=True)}

    def reset(self) -> None:
        """Give up what is under way and begin anew.

        Raises
        ------
        HostError
            The memory does not answer, so that a read or write cannot be given up.
        """
        port, clock = self._port, self.transport.clock
        port.write(Register.CONTROL, Control.RESET)
        patience = 2 * self.identity.latency / self.identity.clock_hz + self._slack
        since = clock()
        while (status := Status(port.read(Register.STATUS) & 0xFF)) & Status.RESETTING:
            passed = clock() - since
            if passed >= patience:
                what = "write" if status & Status.READ_IDLE else "read"
                raise HostError(
                    f"a reset did not end in {passed:.3g} s, as the memory does not answer a "
                    f"{what}: load the bitstream anew, or restart the board"
                )
            self.transport.wait(min(1e-4, patience - passed))
        self._runner.forget()

    def classify(
        self, images: np.ndarray, progress: Callable[[int], object] | None = None
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Classify ``images``.

        Parameters
        ----------
        images : uint8 array of N, height, width, channels
        progress : callable or None
            Called with the number of images that are done.

        Returns
        -------
        labels : int64 array of N, or None where the network has none
        scores : int32 array of N, classes; of N, height, width, channels where it is a map

        Raises
        ------
        ValueError
            ``images`` has another shape or type.
        HostError
            A fault or a time-out. What was under way is given up; the next call begins anew.
        """
        return self._classify(images, progress, Times())

    def throughput(
        self, images: np.ndarray, progress: Callable[[int], object] | None = None
    ) -> tuple[Throughput, np.ndarray]:
        """Where the time goes, and the scores; takes and raises what :meth:`classify` does."""
        port, times, identity = self._port, Times(), self.identity
        port.write(Register.CONTROL, Control.CLEAR)
        began = self.transport.clock()
        _, scores = self._classify(images, progress, times)
        seconds = self.transport.clock() - began
        busy = port.read64(Register.BUSY_LOW) / identity.clock_hz
        compute = len(images) * identity.interval / identity.clock_hz
        measured = Throughput(
            frames=len(images),
            seconds=seconds,
            pack=times.pack,
            wait=times.wait,
            unpack=times.unpack,
            busy=busy,
            compute=compute,
            transfer=busy - compute,
        )
        return measured, scores

    def read_parameters(self) -> np.ndarray:
        """The words of parameters that are loaded; none where they are fixed."""
        return parameters.read_parameters(self._port, self.identity)

    def write_parameters(self, file: parameters.ParameterFile) -> None:
        """Load the parameters of a retrained network, read them back, and take over its digest.

        Raises
        ------
        ValueError
            They are for another folding, or another number of words.
        HostError
            Other words came back.
        """
        if file.folding != self.identity.folding:
            raise ValueError(
                f"the parameters are for another folding: its digest is {file.folding[:12]}, that "
                f"of the accelerator is {self.identity.folding[:12]}"
            )
        parameters.write_parameters(self._port, self.identity, file.words, file.network)

    def _classify(
        self, images: np.ndarray, progress: Callable[[int], object] | None, times: Times
    ) -> tuple[np.ndarray | None, np.ndarray]:
        if self._runner is None:
            raise HostError("the accelerator is closed")
        identity = self.identity
        images = check_images(images, identity.image)
        results = np.zeros((len(images), identity.result_bytes), dtype=np.uint8)
        if self._port.read(Register.STATUS) & (Status.BUSY | Status.FAULT | Status.RESETTING):
            self.reset()
        try:
            self._runner.run(images, results, progress, times)
        except BaseException as failure:
            self._recover(failure)
            raise
        words = results.view("<i4")
        count = words.shape[1] - identity.label
        labels = words[:, count].view("<u4").astype(np.int64) if identity.label else None
        scores = words[:, :count].astype(np.int32)
        if identity.result[:2] != (1, 1):
            scores = scores.reshape(len(images), *identity.result)
        return labels, scores

    def _recover(self, failure: BaseException) -> None:
        """Begin anew; where that fails too, the first sentence says so."""
        try:
            self.reset()
        except HostError as second:
            if isinstance(failure, HostError):
                raise HostError(f"{failure}; {second}") from None

    def _check_network(self, network) -> None:
        loaded, wanted = self.network, network.digest()
        if loaded != wanted:
            raise HostError(
                f"the accelerator has another network: its digest is {loaded[:12]}, that of "
                f"{network.name} is {wanted[:12]}"
            )
