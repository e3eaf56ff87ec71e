"""The AXI shell around accelerators: what is seen of their inside, and their parameters."""

import struct

import numpy as np
import pytest

from boards.axi.ports import Response
from boards.board import BoardError, find_board
from boards.design import make_design, make_shell
from boards.registers import FIFO_MARKS, INSIDE, Control, Register, Status
from hw.accelerator import Accelerator
from model import golden
from model.graph import (
    BINARY,
    Add,
    Conv,
    Dense,
    GlobalPool,
    Input,
    LabelSelect,
    Network,
    Thermometer,
    parse_element,
)
from tests.axi_bench import ShellBench
from tests.networks import tiny

# Refused designs are made and thrown away here.
pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")

IMAGES, RESULTS = 0x1FF3, 0x8_0000_0FE6


def shortcut(seed: int = 0) -> Network:
    """Image 5x5x1, two convolutions of which the second one has a shortcut around it."""
    rng = np.random.default_rng(seed)
    four = parse_element("int4")

    def conv(name, source, channels):
        weights = rng.integers(-8, 8, (2, 3, 3, channels))
        return Conv(name=name, inputs=(source,), weights=weights, weight_type=four, padding=1)

    return Network(
        "shortcut",
        (
            Input(name="image", height=5, width=5, channels=1),
            conv("first", "image", 1),
            conv("second", "first", 2),
            Add(name="add", inputs=("second", "first"), element=parse_element("int20")),
            GlobalPool(name="pool", inputs=("add",), shift=4),
            Dense(
                name="scores",
                inputs=("pool",),
                weights=rng.integers(-8, 8, (3, 2)),
                weight_type=four,
            ),
            LabelSelect(name="label", inputs=("scores",)),
        ),
        ("scores", "label"),
    )


def shell_of(network, **more):
    design = make_design(find_board("ultra96v2"), network, target_cycles=200, **more)
    return design, make_shell(design, 1e6, 0, 64)


async def classify(bench: ShellBench, lite, network, frames: int) -> None:
    """Have images classified, and compare with golden."""
    await bench.submit(lite, IMAGES, RESULTS, frames)
    await bench.wait(lite, Status.BUSY, Status(0))
    kind = network.types[network.input.name]
    size = kind.height * kind.width * kind.channels
    images = np.frombuffer(bench.content.read(IMAGES, frames * size), np.uint8)
    expected = golden.run(network, images.reshape(frames, *kind.shape))
    classes = network.types["scores"].channels
    record = struct.Struct(f"<{classes}iI")
    found = list(record.iter_unpack(bench.content.read(RESULTS, frames * record.size)))
    assert found == [
        (*scores, *label)
        for scores, label in zip(
            expected["scores"].reshape(frames, -1).tolist(),
            expected["label"].reshape(frames, -1).tolist(),
            strict=True,
        )
    ]


def test_marks_of_the_queues_are_those_of_the_cycle_model():
    network, frames = shortcut(), 4
    design, shell = shell_of(network)
    bench = ShellBench(shell)
    predicted = design.accelerator.play(frames=frames).high_water
    names = [name for name, _ in shell.identity.fifos]
    assert "add_fifo_1" in names

    async def marks(lite) -> list[int]:
        return [await lite.read(FIFO_MARKS + 4 * index) for index in range(len(names))]

    async def test(lite, ctx):
        await classify(bench, lite, network, frames)
        assert await marks(lite) == [predicted[name] for name in names]
        assert max(await marks(lite)) > 1
        assert (await lite.try_read(FIFO_MARKS + 4 * len(names)))[1] == Response.SLVERR
        await lite.write(Register.CONTROL, Control.CLEAR)
        assert await marks(lite) == [0] * len(names)

    bench.run(test)


def test_streams_inside_show_where_a_frame_waits():
    design, shell = shell_of(shortcut())
    bench = ShellBench(shell)
    inside = shell.identity.inside
    assert inside[0].startswith("image -> ")
    assert len(inside) == sum(len(node.sources) for node in design.accelerator.nodes)

    async def streams(lite) -> dict[str, tuple[int, int]]:
        found = {}
        for at in range(0, len(inside), 16):
            word = await lite.read(INSIDE + at // 4)
            for bit, name in enumerate(inside[at : at + 16]):
                found[name] = (word >> bit & 1, word >> 16 + bit & 1)
        return found

    units = {node.name: node.unit for node in design.accelerator.nodes}

    def now(ctx) -> list[tuple[int, int]]:
        found = []
        for node in design.accelerator.nodes:
            for index in range(len(node.sources)):
                unit = units[node.name]
                port = unit.i if len(node.sources) == 1 else getattr(unit, f"i_{index}")
                found.append((ctx.get(port.valid), ctx.get(port.ready)))
        return found

    async def test(lite, ctx):
        # In the middle of the second frame the memory falls silent; soon everything stands still.
        bench.reads.rest["data"] = 1.0
        await bench.submit(lite, IMAGES, RESULTS, 2)
        bench.reads.rest["data"] = 0.0
        while bench.reads.words < 5:
            await ctx.tick()
        bench.reads.rest["data"] = 1.0
        await ctx.tick().repeat(600)
        state = await streams(lite)
        assert list(state.values()) == now(ctx)
        assert state[inside[0]] == (0, 1)
        # The shortcut's beats wait for those of the convolution.
        assert (1, 0) in state.values()
        assert (await lite.try_read(INSIDE + 4 * (len(inside) // 16 + 1)))[1] == Response.SLVERR

        # Marks that begin anew begin with what is inside.
        await lite.write(Register.CONTROL, Control.CLEAR)
        levels = [ctx.get(units[name].level) for name, _ in shell.identity.fifos]
        assert max(levels) > 0
        for index, level in enumerate(levels):
            assert await lite.read(FIFO_MARKS + 4 * index) == level

    bench.run(test)


def test_parameters_of_another_network_are_written_and_read_back():
    before, after = tiny(0), tiny(1)
    design, shell = shell_of(before, writable=True)
    wanted = Accelerator(network=after, folding=design.folding, writable=True).space
    bench = ShellBench(shell)
    assert shell.identity.parameter_words == wanted.size == len(wanted.words) > 0
    assert wanted.words != design.accelerator.space.words
    digest = bytes.fromhex(after.digest())
    network_words = struct.unpack("<8I", digest)

    async def read_all(lite) -> list[int]:
        await lite.write(Register.PARAMETER_ADDRESS, 0)
        return [await lite.read(Register.PARAMETER_DATA) for _ in range(wanted.size)]

    async def network_of(lite) -> tuple:
        return tuple([await lite.read(Register.NETWORK + 4 * at) for at in range(8)])

    async def test(lite, ctx):
        assert await lite.read(Register.PARAMETER_WORDS) == wanted.size
        assert await read_all(lite) == list(design.accelerator.space.words)
        assert await network_of(lite) == struct.unpack("<8I", bytes.fromhex(before.digest()))
        await classify(bench, lite, before, 2)
        await lite.write(Register.PARAMETER_ADDRESS, 0)
        for word in wanted.words:
            await lite.write(Register.PARAMETER_DATA, word)
        assert await lite.read(Register.PARAMETER_ADDRESS) == wanted.size
        for at, word in enumerate(network_words):
            await lite.write(Register.NETWORK + 4 * at, word)
        await classify(bench, lite, after, 2)

        # While a batch is under way they are not touched.
        await bench.submit(lite, IMAGES, RESULTS, 30)
        assert (await lite.try_read(Register.PARAMETER_DATA))[1] == Response.SLVERR
        assert await lite.try_write(Register.PARAMETER_DATA, 1) == Response.SLVERR
        assert await lite.try_write(Register.PARAMETER_ADDRESS, 1) == Response.SLVERR
        await bench.reset(lite)
        assert await network_of(lite) == network_words
        await classify(bench, lite, after, 1)

    bench.run(test)


def test_networks_that_the_shell_cannot_take_are_refused():
    board = find_board("zcu102")
    binary = Network(
        "binary",
        (
            Input(name="image", height=2, width=2, channels=1),
            Thermometer(name="bits", inputs=("image",), thresholds=np.array([100])),
        ),
        ("bits",),
    )
    assert binary.types["bits"].element == BINARY
    with pytest.raises(BoardError, match="must be numbers that an int32 holds, not binary"):
        make_shell(make_design(board, binary, target_cycles=100), 1e6, 0)
    whole = tiny()
    two = Network("two", whole.order, ("scores", "label", "pool"))
    with pytest.raises(BoardError, match="scores and at most a LabelSelect called 'label', not"):
        make_shell(make_design(board, two, target_cycles=100), 1e6, 0)
