"""A composed accelerator in simulation: all images back to back, exact cycles, speed.

Images and results pass through files that the Verilog reads and writes itself; Python only looks in
every few thousand cycles. A pipeline that stops is told apart stream by stream.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Event, Thread

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.accelerator import Accelerator
from hw.stream import StreamFIFO
from hw.verilog import port_widths, to_verilog
from sim.harness import build
from sim.loader import ParameterLoader

__all__ = ["Probed", "Result", "StuckError", "simulate", "unpack"]

_SINKS_AND_SOURCES = Path(__file__).with_name("streams.v")

#: Bits in which the simulation counts the beats in a queue.
MARK_BITS = 24

# How often sources and sinks rest in runs with stalls, in 256ths; drawn for each port.
_RESTS = (0, 26, 128, 205)


class StuckError(RuntimeError):
    """Nothing moves any more; the sentence names the streams that wait."""


class Probed(wiring.Component):
    """An accelerator and, besides its own ports, the handshake of every stream inside.

    Members
    -------
    edge_valid, edge_ready : bit for each of `edges`, out
    high_water : `MARK_BITS` bits for each of `queues`, out
        The most beats that were ever inside, one that leaves in the same cycle included.

    Parameters are no port: where there are ``words``, these are written before images go in.
    """

    def __init__(self, accelerator: Accelerator, words: Sequence[int] | None = None):
        self.accelerator = accelerator
        self.loader = None if words is None else ParameterLoader(accelerator.space, words)
        self.edges = [
            (node.name, index, source)
            for node in accelerator.nodes
            for index, (source, _) in enumerate(node.sources)
        ]
        self.queues = [node.name for node in accelerator.nodes if isinstance(node.unit, StreamFIFO)]
        members = dict(accelerator.signature.members)
        members.pop("parameters", None)
        self.streams = list(members)
        members["edge_valid"] = Out(max(1, len(self.edges)))
        members["edge_ready"] = Out(max(1, len(self.edges)))
        members["high_water"] = Out(MARK_BITS * max(1, len(self.queues)))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        for name in self.streams:
            if name != "i" or self.loader is None:
                wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(accelerator, name))
        if self.loader is not None:
            m.submodules.loader = loader = self.loader
            wiring.connect(m, loader.parameters, accelerator.parameters)
            m.d.comb += [
                accelerator.i.payload.eq(self.i.payload),
                accelerator.i.valid.eq(self.i.valid & loader.loaded),
                self.i.ready.eq(accelerator.i.ready & loader.loaded),
            ]
        units = {node.name: node.unit for node in accelerator.nodes}
        valids, readies = [], []
        for name, index, _ in self.edges:
            unit = units[name]
            port = unit.i if hasattr(unit, "i") else getattr(unit, f"i_{index}")
            valids.append(port.valid)
            readies.append(port.ready)
        if self.edges:
            m.d.comb += [self.edge_valid.eq(Cat(valids)), self.edge_ready.eq(Cat(readies))]
        marks = []
        for name in self.queues:
            fifo = units[name]
            mark = Signal(MARK_BITS, name=f"{name}_mark")
            inside = fifo.level + (fifo.i.valid & fifo.i.ready)
            with m.If(inside > mark):
                m.d.sync += mark.eq(inside)
            marks.append(mark)
        m.d.comb += self.high_water.eq(Cat(marks))
        return m


@dataclass(frozen=True)
class Result:
    """What a simulation gave.

    Members
    -------
    outputs : dict of int64 arrays (frames, height, width, channels)
        By operation name, as the golden executor gives them.
    ends : dict of list of int
        For each output the cycle in which the last beat of each frame was taken, counted from the
        transfer of the first image beat.
    high_water : dict of int
        For each FIFO, the most beats that were ever inside, one that leaves in the same cycle
        included.
    cycles : int
    seconds : float
        Of simulation alone.
    compile_seconds : float
        0 where the model was there already.
    """

    outputs: dict[str, np.ndarray]
    ends: dict[str, list[int]]
    high_water: dict[str, int]
    cycles: int
    seconds: float
    compile_seconds: float


def unpack(words: Sequence[int], lanes: int, width: int, signed: bool) -> np.ndarray:
    """Numbers in beats of ``lanes`` elements of ``width`` bits."""
    mask, sign = (1 << width) - 1, 1 << (width - 1)
    numbers = [word >> (lane * width) & mask for word in words for lane in range(lanes)]
    if signed:
        numbers = [(number ^ sign) - sign for number in numbers]
    return np.array(numbers, dtype=np.int64)


def _top(accelerator: Probed) -> str:
    """Verilog of ``network_bench``: the accelerator between its sources and sinks."""
    widths = port_widths(accelerator)
    streams = [name.removesuffix("_payload") for name in widths if name.endswith("_payload")]
    edges = widths["edge_valid"][1]
    ports = [
        "input clk",
        "input rst",
        f"output [{edges - 1}:0] edge_valid",
        f"output [{edges - 1}:0] edge_ready",
        f"output [{widths['high_water'][1] - 1}:0] high_water",
        "output reg [31:0] cycle",
        "output reg [31:0] idle",
    ]
    body = [
        "  always @(posedge clk) if (rst) cycle <= 0; else cycle <= cycle + 1;",
        "  always @(posedge clk) if (rst || ("
        + " || ".join(f"({name}_valid && {name}_ready)" for name in streams)
        + ")) idle <= 0; else idle <= idle + 1;",
    ]
    probes = ("clk", "rst", "edge_valid", "edge_ready", "high_water")
    connections = [f".{port}({port})" for port in probes]
    for name in streams:
        direction, width = widths[f"{name}_payload"]
        ports += [
            f"input [3199:0] {name}_path",
            f"input [31:0] {name}_seed",
            f"input [7:0] {name}_rest",
            f"output [31:0] {name}_taken",
        ]
        body += [
            f"  wire {name}_valid, {name}_ready;",
            f"  wire [{width - 1}:0] {name}_payload;",
        ]
        connections += [f".{name}_{part}({name}_{part})" for part in ("payload", "valid", "ready")]
        shared = [f".{port}({port})" for port in ("clk", "rst", "cycle")] + [
            f".{port}({name}_{port})"
            for port in ("path", "seed", "rest", "valid", "payload", "ready", "taken")
        ]
        if direction == "input":
            ports += [f"input [31:0] {name}_count", f"output [31:0] {name}_first"]
            shared += [f".count({name}_count)", f".first({name}_first)"]
        else:
            ports.append(f"output {name}_broken")
            shared.append(f".broken({name}_broken)")
        kind = "bench_source" if direction == "input" else "bench_sink"
        body.append(f"  {kind} #({width}) {name}_end ({', '.join(shared)});")
    wires = [line for line in body if line.startswith("  wire")]
    rest = [line for line in body if not line.startswith("  wire")]
    header = ",\n  ".join(ports)
    return (
        f"module network_bench(\n  {header}\n);\n"
        + "\n".join([*wires, *rest])
        + f"\n  accelerator dut ({', '.join(connections)});\nendmodule\n"
    )


@lru_cache(maxsize=4)
def _converted(accelerator: Accelerator, words: tuple[int, ...] | None) -> tuple[Probed, str]:
    """The accelerator with its probes, and the Verilog of both ends and what is between them."""
    probed = Probed(accelerator, words)
    parts = [to_verilog(probed, "accelerator"), _SINKS_AND_SOURCES.read_text(), _top(probed)]
    return probed, "\n".join(parts)


def _where_stuck(probed: Probed, stuck: dict) -> str:
    """A sentence on a pipeline in which nothing moves."""
    valid, ready = stuck["edge_valid"], stuck["edge_ready"]
    waiting, starving = [], []
    for bit, (name, index, source) in enumerate(probed.edges):
        edge = f"{name} (input {index}, from {source})"
        if valid >> bit & 1 and not ready >> bit & 1:
            waiting.append(edge)
        elif not valid >> bit & 1:
            starving.append((name, edge))
    joins = {name.rsplit(" (", 1)[0] for name in waiting}
    missing = [edge for name, edge in starving if name in joins]
    text = f"nothing moved for {stuck['idle']} cycles up to cycle {stuck['cycle']}"
    counts = ", ".join(f"{name} {taken}" for name, taken in stuck["taken"].items())
    text += f"; beats moved: {counts}"
    text += f"; a beat waits at {', '.join(waiting) or 'no unit'}"
    if missing:
        text += f"; of these units one waits for {', '.join(missing)}"
    return text


def simulate(
    accelerator: Accelerator,
    images: np.ndarray,
    *,
    words: Sequence[int] | None = None,
    stalls: int | None = None,
    simulator: str = "verilator",
    trace: Path | None = None,
    optimise: int = 1,
    patience: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Simulate ``accelerator`` on ``images``, one after the other without a gap.

    Parameters
    ----------
    images : uint8 array (frames, height, width, channels)
    words : sequence of int or None
        Parameters that are written before the first image; None for those that it was made with.
    stalls : int or None
        Seed of stalls at every port, None for none.
    trace : Path or None
        Waveform to write, FST or VCD by its suffix.
    optimise : int
        Of the C++ compiler: 1 for long runs, 0 where compiling takes longer than running.
    patience : int or None
        Cycles without a transfer at any port after which the pipeline counts as stuck.
    progress : callable or None
        Is told frames done and frames in all.

    Raises
    ------
    StuckError
        The pipeline stops, or breaks the rules of its output streams.
    sim.harness.SimulatorError
        The simulator is missing or fails.
    """
    probed, text = _converted(accelerator, None if words is None else tuple(words))
    kind = None if trace is None else trace.suffix.lstrip(".")
    model = build(text, "network_bench", simulator=simulator, trace=kind, optimise=optimise)
    if patience is None:
        # The longest a pipeline is silent is while the first frame fills it. Ports that rest most
        # of the time make everything slower.
        patience = (20 if stalls else 2) * (accelerator.latency + accelerator.interval) + 1000
        patience += len(words or ())
    generator = np.random.default_rng(0 if stalls is None else stalls)
    with tempfile.TemporaryDirectory(prefix="network-", dir=model.folder.parent) as temporary:
        folder = Path(temporary)
        beats = {port: len(images) * count for port, count in accelerator.beats.items()}
        lanes = accelerator.folding[accelerator.network.input.name].pe
        words = np.ascontiguousarray(images).reshape(-1, lanes)[:, ::-1]
        (folder / "i").write_text("".join(f"{bytes(word).hex()}\n" for word in words))
        setup = {
            "ports": {
                port: {
                    "path": str(folder / port),
                    "count": count,
                    "seed": 0 if stalls is None else int(generator.integers(1, 1 << 32)),
                    "rest": int(generator.choice(_RESTS)),
                    "source": port == "i",
                }
                for port, count in beats.items()
            },
            "patience": patience,
            "frames": len(images),
            "per_frame": accelerator.beats["o"],
            "results": str(folder / "results.json"),
            "progress": str(folder / "progress"),
        }
        (folder / "setup.json").write_text(json.dumps(setup))
        started = time.perf_counter()
        environment = {"BITWRIGHT_SETUP": str(folder / "setup.json")}
        _watched(
            lambda: model.run("sim.network_testbench", environment=environment, trace=trace),
            folder / "progress",
            len(images),
            progress,
        )
        seconds = time.perf_counter() - started
        ended = json.loads((folder / "results.json").read_text())
        if ended["idle"] >= patience:
            raise StuckError(_where_stuck(probed, ended))
        broken = [port for port, wrong in ended["broken"].items() if wrong]
        if broken:
            raise StuckError(f"{broken[0]} changed or withdrew a beat that was not taken")
        surplus = [port for port, count in beats.items() if ended["taken"][port] != count]
        if surplus:
            port = surplus[0]
            raise StuckError(f"{port} moved {ended['taken'][port]} beats, not {beats[port]}")
        outputs, ends = {}, {}
        for name, (port, link) in zip(
            accelerator.network.outputs, accelerator.outputs.items(), strict=True
        ):
            lines = [line.split() for line in (folder / port).read_text().splitlines()]
            element = accelerator.network.types[name].element
            numbers = unpack(
                [int(word, 16) for _, word in lines],
                link.lanes,
                element.bits,
                element.kind == "int",
            )
            outputs[name] = numbers.reshape(len(images), *accelerator.network.types[name].shape)
            each = accelerator.beats[port]
            ends[name] = [int(line[0]) - ended["first"] for line in lines[each - 1 :: each]]
        marks = {
            name: ended["high_water"] >> index * MARK_BITS & (1 << MARK_BITS) - 1
            for index, name in enumerate(probed.queues)
        }
        return Result(outputs, ends, marks, ended["cycle"], seconds, model.seconds)


def _watched(
    run: Callable[[], object],
    file: Path,
    frames: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run, and meanwhile pass on what the simulation writes of its progress."""
    if progress is None:
        run()
        return
    over = Event()

    def look() -> None:
        while not over.wait(0.25):
            if file.is_file():
                text = file.read_text()
                if text.isdigit():
                    progress(int(text), frames)

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        run()
    finally:
        over.set()
        thread.join()
    progress(frames, frames)
