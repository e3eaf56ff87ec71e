"""What the driver goes through at a simulated top: each scenario is a connection of its own."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from boards.host import Accelerator, HostError, load_parameters
from boards.host.diagnosis import explain
from boards.registers import IDENTITY, Register
from sim.axi_memory import BASE

__all__ = ["SCENARIOS"]

#: Seconds without a frame that are a time-out, beyond what the accelerator needs.
_SLACK = 30e-6

#: What memory holds before the driver or the accelerator write to it.
_UNTOUCHED = 0xEE


def _connect(board: object, **options: object) -> Accelerator:
    return Accelerator(board, **{"slack": _SLACK, "batch_frames": 4, **options})


def _answers(labels: np.ndarray, scores: np.ndarray) -> dict:
    return {"labels": labels.tolist(), "scores": scores.tolist()}


def classify(
    board: object,
    images: np.ndarray,
    *,
    frames: list[int],
    batch_frames: int = 4,
    latency: list[int] = (20, 20),
    stalls: int | None = None,
    offset: int = 0,
) -> dict:
    """Real images in, results out, on a memory that is slow, stalls, or begins anywhere."""
    memory = board.memory
    memory.read_latency = memory.write_latency = tuple(latency)
    memory.forget()
    memory.bytes[:] = _UNTOUCHED
    board.stall(stalls)
    board.offset = offset
    before = board.interrupts
    with _connect(board, batch_frames=batch_frames) as accelerator:
        answers = _answers(*accelerator.classify(images[slice(*frames)]))
        identity = accelerator.identity
        slots = [buffer for slot in accelerator._runner._slots for buffer in vars(slot).values()]
    board.stall(None)
    board.offset = 0
    memory.read_latency = memory.write_latency = (20, 20)
    return {
        **answers,
        "interrupts": board.interrupts - before,
        "identity": dataclasses.asdict(identity),
        "strays": _strays(memory.bytes, [slot for slot in slots if hasattr(slot, "address")]),
        "most_outstanding": memory.traffic.most_outstanding,
        "reads": memory.traffic.reads,
        "writes": memory.traffic.writes,
    }


def bus_error(
    board: object,
    images: np.ndarray,
    *,
    direction: str,
    response: int,
    buffer: int,
    frames: list[int],
) -> dict:
    """One address answers with an error: one sentence, an interrupt, and right results again.

    ``buffer`` is the byte, behind the memory that the driver takes first (images) or second
    (results), that answers so.
    """
    batch, memory = images[slice(*frames)], board.memory
    with _connect(board) as accelerator:
        identity = accelerator.identity
        image_bytes = 4 * identity.image_bytes
        results_begin = (image_bytes + 8191) // 4096 * 4096
        address = BASE + buffer + (results_begin if direction == "write" else 0)
        memory.errors = [(direction, address, address, response)]
        before = board.interrupts
        error = _error(lambda: accelerator.classify(batch))
        interrupts = board.interrupts - before
        memory.errors = []
        return {
            "error": error,
            "interrupts": interrupts,
            **_answers(*accelerator.classify(batch)),
        }


def nowhere(board: object, images: np.ndarray, *, frames: list[int]) -> dict:
    """A batch at an address where no memory is, by the registers."""
    with _connect(board) as accelerator:
        errors = []
        for low in (Register.IMAGES_LOW, Register.RESULTS_LOW):
            port = accelerator._port
            port.write64(Register.IMAGES_LOW, BASE)
            port.write64(Register.RESULTS_LOW, BASE)
            port.write64(low, 0x12_3456_7000)
            port.write(Register.FRAMES, 2)
            port.write(Register.SUBMIT, 1)
            errors.append(_error(accelerator._runner._wait))
            accelerator.reset()
        return {"errors": errors, **_answers(*accelerator.classify(images[slice(*frames)]))}


def reset_in_the_middle(
    board: object, images: np.ndarray, *, cycles: list[int], frames: list[int]
) -> dict:
    """A soft reset so many cycles after a batch began; right results each time after it."""
    batch, answers = images[slice(*frames)], []
    with _connect(board) as accelerator:
        for count in cycles:
            runner, port = accelerator._runner, accelerator._port
            slot = runner._allocate(1)[0]
            slot.frames = slice(0, 4)
            slot.images.data[:] = 0x5A
            runner._submit(slot)
            runner._submit(slot)
            board.sleep(count)
            busy = port.read(Register.STATUS) & 1
            accelerator.reset()
            left = [port.read(register) for register in (Register.BATCHES, Register.FRAMES_OUT)]
            answers.append({"busy": busy, "left": left, **_answers(*accelerator.classify(batch))})
    return {"answers": answers}


def dead_memory(board: object, images: np.ndarray, *, silent: list[str], frames: list[int]) -> dict:
    """Channels of the memory that fall silent: a time-out that names the stream, then recovery."""
    batch, memory = images[slice(*frames)], board.memory
    with _connect(board) as accelerator:
        memory.silence(*silent)
        began = board.clock()
        error = _error(lambda: accelerator.classify(batch))
        waited = board.clock() - began
        memory.silence()
        return {"error": error, "waited": waited, **_answers(*accelerator.classify(batch))}


def refusals(board: object, images: np.ndarray, *, frames: list[int]) -> dict:
    """Another network, images of another shape or type, and a register that is not there."""
    other = SimpleNamespace(name="other", digest=lambda: "ab" * 32)
    errors = {"network": _error(lambda: _connect(board, network=other))}
    with _connect(board) as accelerator:
        batch = images[slice(*frames)]
        for name, wrong in {
            "shape": batch[:, 1:],
            "type": batch.astype(np.int16),
            "dimensions": batch[0],
        }.items():
            errors[name] = _error(lambda wrong=wrong: accelerator.classify(wrong))
        errors["register"] = _error(lambda: accelerator._port.read(0x0FC))
        size = accelerator._port.read(Register.IDENTITY_BYTES)
        burst = board.read_burst(IDENTITY, size)
        words = accelerator._port.read_words(IDENTITY, size // 4).astype("<u4").tobytes()
        return {
            "errors": errors,
            "identity_by_bursts": burst == words,
            **_answers(*accelerator.classify(batch)),
        }


def retrained(
    board: object, images: np.ndarray, *, files: dict[str, str], frames: list[int]
) -> dict:
    """Parameters of other networks, one after the other, written by the driver."""
    batch, answers = images[slice(*frames)], {}
    for name, path in files.items():
        file = load_parameters(path)
        network = SimpleNamespace(name=name, digest=lambda file=file: file.network)
        error = _error(lambda network=network: _connect(board, network=network))
        try:
            with _connect(board, parameter_file=file, network=network) as accelerator:
                # They outlive a reset.
                accelerator.reset()
                same = accelerator.read_parameters().tolist() == file.words.tolist()
                answers[name] = {
                    "before": error,
                    "same": same,
                    "network": accelerator.network,
                    **_answers(*accelerator.classify(batch)),
                }
        except ValueError as refused:
            answers[name] = {"before": error, "error": str(refused)}
    return answers


def backed_up(board: object, images: np.ndarray, *, frames: int) -> dict:
    """The state of all streams when the results of many frames find no way into memory."""
    memory, batch = board.memory, images[np.arange(frames) % len(images)]
    with _connect(board, batch_frames=frames) as accelerator:
        runner = accelerator._runner
        slot = runner._allocate(1)[0]
        slot.frames = slice(0, frames)
        slot.images.data[:] = batch.ravel()
        memory.silence("aw", "w")
        runner._submit(slot)
        board.sleep(frames * 4 * accelerator.identity.interval)
        snapshot = accelerator.snapshot()
        memory.silence()
        while not runner._wait():
            pass
        results = slot.results.data.view("<i4").reshape(frames, -1)
    return {
        "frames_out": snapshot.frames_out,
        "blocked": [s.name for s in snapshot.streams if s.is_blocked],
        "inside_blocked": [s.name for s in snapshot.inside if s.is_blocked],
        "explained": explain(snapshot),
        **_answers(results[:, -1], results[:, :-1]),
    }


def measure(
    board: object,
    images: np.ndarray,
    *,
    frames: int,
    batch_frames: int,
    latency: list[int],
) -> dict:
    """The pace of many frames in a row, by the cycles in which results reached the memory."""
    memory = board.memory
    memory.read_latency = memory.write_latency = tuple(latency)
    batch = images[np.arange(frames) % len(images)]
    with _connect(board, batch_frames=batch_frames) as accelerator:
        memory.forget()
        measured, scores = accelerator.throughput(batch)
        identity, marks = accelerator.identity, accelerator.fifo_marks()
        snapshot = accelerator.snapshot()
    memory.read_latency = memory.write_latency = (20, 20)
    return {
        "scores": scores.tolist(),
        "interval": identity.interval,
        "result_bytes": identity.result_bytes,
        "written": list(memory.traffic.written),
        "most_outstanding": memory.traffic.most_outstanding,
        "busy_cycles": round(measured.busy * identity.clock_hz),
        "streams": {stream.name: stream.beats for stream in snapshot.streams},
        "throughput": [measured.pack, measured.wait, measured.unpack, measured.seconds],
        "clock_hz": identity.clock_hz,
        "marks": marks,
    }


def soak(
    board: object, images: np.ndarray, *, frames: int, batch_frames: int, latency: list[int]
) -> dict:
    """Very many frames in random order, and the numbers of those whose result is another one."""
    memory = board.memory
    memory.read_latency = memory.write_latency = tuple(latency)
    order = np.random.default_rng(3).integers(0, len(images), frames)
    with _connect(board, batch_frames=batch_frames) as accelerator:
        labels, scores = accelerator.classify(images)
        again, scores_again = accelerator.classify(images[order])
    memory.read_latency = memory.write_latency = (20, 20)
    wrong = (scores_again != scores[order]).any(axis=1) | (again != labels[order])
    return {**_answers(labels, scores), "frames": frames, "wrong": np.flatnonzero(wrong).tolist()}


def _strays(content: np.ndarray, buffers: list) -> int:
    """Bytes that were written outside of what the driver took."""
    changed = content != _UNTOUCHED
    for buffer in buffers:
        start = buffer.address - BASE
        changed[start : start + len(buffer.data)] = False
    return int(changed.sum())


def _error(call: Callable[[], object]) -> str | None:
    """The sentence by which ``call`` ends, or None."""
    try:
        call()
    except (HostError, ValueError) as error:
        return str(error)
    return None


SCENARIOS: dict[str, Callable[..., dict]] = {
    play.__name__: play
    for play in (
        *(classify, bus_error, nowhere, reset_in_the_middle, dead_memory),
        *(refusals, retrained, backed_up, measure, soak),
    )
}
