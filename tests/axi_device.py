"""A stand-in for an accelerator behind AXI: its registers and its pace, in plain Python."""

import numpy as np

from boards.host import HostError
from boards.registers import (
    FIFO_MARKS,
    IDENTITY,
    INSIDE,
    MAGIC,
    STREAM_STRIDE,
    STREAMS,
    VERSION,
    Control,
    Fault,
    Identity,
    Interrupt,
    Register,
    Status,
)
from tests.uart_bench import stand_in_result

__all__ = ["DIGEST", "FOLDING", "IDENTITY_OF_IT", "MEMORY", "Device", "expected", "images_of"]

DIGEST = bytes(range(100, 132)).hex()
FOLDING = bytes(range(32)).hex()

#: Above 4 GiB, so that an address needs both its registers.
MEMORY = 0x8_0000_1000

IDENTITY_OF_IT = Identity(
    name="tiny",
    board="ultra96v2",
    network=DIGEST,
    folding=FOLDING,
    image=(4, 3, 2),
    result=(1, 1, 5),
    label=True,
    interval=400,
    latency=900,
    clock_hz=100_000_000,
    data_bits=128,
    queue=4,
    streams=(
        *("read address", "read data", "images", "scores", "label", "results"),
        *("write address", "write data", "write response"),
    ),
    inside=tuple(f"unit{k} -> unit{k + 1}" for k in range(18)),
    fifos=(("images", 256), ("results", 64)),
    parameter_words=12,
)


def images_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 3, 2), dtype=np.uint8)


def expected(images: np.ndarray) -> tuple[list, list]:
    results = [stand_in_result(image.tobytes(), 5) for image in images]
    return [label for label, _ in results], [list(scores) for _, scores in results]


class _Memory:
    """A buffer that knows whether its owner changed hands as it must."""

    def __init__(self, device: "Device", start: int, size: int):
        self.device = device
        self.address = MEMORY + start
        self.data = device.memory[start : start + size]
        self.visible = None

    def flush(self) -> None:
        self.device.seen[self.address] = self.data.copy()

    def invalidate(self) -> None:
        self.device.invalidated += 1

    def close(self) -> None:
        self.device.given_back += 1


class Device:
    """The transport, and what stands at its end; time passes where the driver waits or asks.

    Parameters
    ----------
    identity : Identity

    Members
    -------
    fault_at : (int, Fault) or None
        What happens instead of the frame with this number.
    stops_at : int or None
        Frames after which nothing goes on; ``status_of_stop``, ``states`` say how that looks.
    """

    def __init__(self, identity: Identity = IDENTITY_OF_IT):
        self.identity = identity
        self.packed = identity.pack()
        self.magic, self.version = MAGIC, VERSION
        self.memory = np.zeros(1 << 22, dtype=np.uint8)
        self.seen: dict[int, np.ndarray] = {}
        self.allocated = self.given_back = self.invalidated = self.closed = 0
        self.now = 0.0
        self.fault_at = self.stops_at = None
        self.status_of_stop = Status.READ_IDLE | Status.WRITE_IDLE
        self.states: dict[str, tuple[int, int, int, int]] = {}
        self.inside = [0b01] * len(identity.inside)
        self.marks = [0] * len(identity.fifos)
        self.reset_ends = True
        self.gone = self.resetting = False
        self.parameters = [0] * identity.parameter_words
        self.damaged_parameter = None
        self.digest = list(np.frombuffer(bytes.fromhex(identity.network), "<u4").tolist())
        self.registers = {Register.INTERRUPT_ENABLE: 0}
        self.most_waiting = self.resets = self.frames = 0
        self.submitted: list[int] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        self.queue: list[list[int]] = []
        self.fault = self.interrupt = self.batches = self.frames_out = 0
        self.parameter = 0
        self.next_frame = None

    # The transport.

    def read32(self, address: int) -> int:
        self.pass_time(2e-7)
        register = self.find(address)
        if isinstance(register, int) and not isinstance(register, Register):
            return register
        return self.read(register)

    def write32(self, address: int, value: int) -> None:
        assert 0 <= value < 1 << 32
        self.pass_time(2e-7)
        if self.gone:
            raise OSError("bus error")
        self.write(address, int(value))

    def allocate(self, size: int) -> _Memory:
        if self.allocated + size > len(self.memory):
            raise HostError("there is no more memory")
        start, self.allocated = self.allocated, self.allocated + size
        return _Memory(self, start, size)

    def wait(self, timeout: float) -> None:
        assert timeout > 0
        if not self.interrupt & self.registers[Register.INTERRUPT_ENABLE]:
            frame = self.identity.interval / self.identity.clock_hz
            self.pass_time(min(timeout, frame))

    def clock(self) -> float:
        return self.now

    def close(self) -> None:
        self.closed += 1

    # What stands at its end.

    def find(self, address: int) -> int:
        """The register's number, or the word of a table."""
        if self.gone:
            raise OSError("bus error")
        tables = (
            (IDENTITY, len(self.packed), self.identity_words),
            (STREAMS, STREAM_STRIDE * len(self.identity.streams), self.stream_words),
            (INSIDE, 4 * -(-len(self.inside) // 16), self.inside_words),
            (FIFO_MARKS, 4 * len(self.identity.fifos), lambda: self.marks),
            (Register.NETWORK, 32, lambda: self.digest),
        )
        for start, size, words in tables:
            if start <= address < start + size:
                return words()[(address - start) // 4]
        return Register(address)

    def read(self, register: Register) -> int:
        match register:
            case Register.STATUS:
                stopped = self.stops_at is not None and self.frames == self.stops_at
                idle = self.status_of_stop if stopped else Status.READ_IDLE | Status.WRITE_IDLE
                status = idle | (Status.BUSY if self.queue else 0)
                status |= Status.FAULT if self.fault else 0
                status |= Status.RESETTING if self.resetting else 0
                return int(status) | (self.identity.queue - len(self.queue)) << 8
            case Register.PARAMETER_DATA:
                word = self.parameters[self.parameter]
                if self.parameter == self.damaged_parameter:
                    word ^= 4
                self.parameter += 1
                return word
            case Register.BUSY_LOW:
                return round(self.frames * self.identity.interval * 1.5)
            case Register.BUSY_HIGH | Register.CYCLES_HIGH:
                return 0
        values = {
            Register.MAGIC: self.magic,
            Register.VERSION: self.version,
            Register.IDENTITY_BYTES: len(self.packed),
            Register.FAULT: self.fault,
            Register.INTERRUPT: self.interrupt,
            Register.BATCHES: self.batches % 2**32,
            Register.FRAMES_IN: self.frames_out,
            Register.FRAMES_OUT: self.frames_out,
            Register.PARAMETER_WORDS: self.identity.parameter_words,
        }
        return int(values[register])

    def write(self, address: int, value: int) -> None:
        if Register.NETWORK <= address < Register.NETWORK + 32:
            self.digest[(address - Register.NETWORK) // 4] = value
            return
        register = Register(address)
        match register:
            case Register.CONTROL if value & Control.RESET:
                self.resetting = not self.reset_ends
                if self.reset_ends:
                    self.begin_anew()
                self.resets += 1
            case Register.CONTROL:
                self.frames = 0
            case Register.INTERRUPT:
                self.interrupt &= ~value
            case Register.SUBMIT:
                self.submit()
            case Register.PARAMETER_ADDRESS:
                self.parameter = value
            case Register.PARAMETER_DATA:
                assert not self.queue
                self.parameters[self.parameter] = value
                self.parameter += 1
            case _:
                self.registers[register] = value

    def submit(self) -> None:
        registers = self.registers
        if len(self.queue) == self.identity.queue or not registers[Register.FRAMES]:
            self.raise_fault(Fault.SUBMIT)
            return
        images = registers[Register.IMAGES_LOW] | registers[Register.IMAGES_HIGH] << 32
        results = registers[Register.RESULTS_LOW] | registers[Register.RESULTS_HIGH] << 32
        self.queue.append([images, results, registers[Register.FRAMES], 0])
        self.submitted.append(registers[Register.FRAMES])
        self.most_waiting = max(self.most_waiting, len(self.queue))
        if self.next_frame is None:
            self.next_frame = self.now + self.identity.latency / self.identity.clock_hz

    def raise_fault(self, fault: Fault) -> None:
        self.fault |= fault
        self.interrupt |= Interrupt.FAULT

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        while self.queue and not self.fault and self.next_frame <= self.now:
            if self.frames == self.stops_at:
                return
            if self.fault_at is not None and self.frames == self.fault_at[0]:
                self.raise_fault(self.fault_at[1])
                return
            self.next_frame += self.identity.interval / self.identity.clock_hz
            self.do_frame()

    def do_frame(self) -> None:
        images, results, frames, done = self.queue[0]
        size, size_of_result = self.identity.image_bytes, self.identity.result_bytes
        # What the driver did not flush, the accelerator does not see.
        image = self.seen[images][done * size : (done + 1) * size]
        label, scores = stand_in_result(image.tobytes(), 5)
        start = results - MEMORY + done * size_of_result
        result = np.array([*scores, label], dtype="<i4").view(np.uint8)
        self.memory[start : start + size_of_result] = result
        self.queue[0][3] += 1
        self.frames += 1
        self.frames_out += 1
        if done + 1 == frames:
            del self.queue[0]
            self.batches += 1
            self.interrupt |= Interrupt.DONE
            if not self.queue:
                self.next_frame = None

    def identity_words(self) -> list[int]:
        return np.frombuffer(self.packed, "<u4").tolist()

    def stream_words(self) -> list[int]:
        words = []
        for name in self.identity.streams:
            words += self.states.get(name, (0, 0, 0, 0b10))
        return words

    def inside_words(self) -> list[int]:
        words = [0] * -(-len(self.inside) // 16)
        for index, state in enumerate(self.inside):
            words[index // 16] |= (state & 1) << index % 16 | (state >> 1) << 16 + index % 16
        return words
