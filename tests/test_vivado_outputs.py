"""What goes to the board beside the driver: bitstreams, the overlay, the handoff for PYNQ."""

import re
import shutil
import struct
import subprocess
from importlib.util import find_spec
from xml.etree import ElementTree

import pytest

from boards.registers import Register
from boards.vivado.bitstream import read_bit, to_bin
from boards.vivado.metadata import handoff
from boards.vivado.overlay import overlay_source
from boards.vivado.reports import read_power, read_timing, read_utilisation, unit_of
from tests.fake_vivado import PAYLOAD, POWER, bit_file, timing_report, utilisation_report


def test_a_bit_file_tells_of_design_and_device():
    found = read_bit(bit_file())
    assert found.design.startswith("top;") and found.part == "xczu9eg-ffvb1156-2-e"
    assert (found.date, found.time, found.payload) == ("2023/06/01", "12:00:00", PAYLOAD)


def test_a_bin_file_has_the_bytes_of_each_word_turned_around():
    made = to_bin(bit_file())
    assert len(made) == len(PAYLOAD)
    assert b"".join(made[at : at + 4][::-1] for at in range(0, len(made), 4)) == PAYLOAD
    # The synchronisation word as a processor reads it.
    (word,) = struct.unpack_from("<I", made, PAYLOAD.index(bytes.fromhex("aa995566")))
    assert word == 0xAA995566


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "must begin with its header"),
        (b"\x7fELF" + bit_file(), "must begin with its header"),
        (bit_file()[:20], "cut short"),
        (bit_file()[:70], "cut short"),
        (bit_file().replace(b"b\0\x15", b"z\0\x15"), "must not hold a field b'z'"),
        (bit_file()[:-1], "must hold the 32 bytes it tells of, not 31"),
        (bit_file() + b"x", "must hold the 32 bytes it tells of, not 33"),
        (bit_file(PAYLOAD[:-1]), "must be of whole 32-bit words, not 31 bytes"),
        (bit_file(bytes(32)), "must begin with its synchronisation word"),
    ],
)
def test_what_is_no_whole_bit_file_is_refused(content, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_bit(content)


# The overlay.


def overlay(**changes):
    arguments = dict(
        name="tiny", title="tiny on ZCU102", hertz=1.5e9 / 7, data_bits=128, base=0xA000_0000
    )
    return overlay_source(**{**arguments, **changes})


def properties(text: str) -> dict[str, dict[str, str]]:
    """Properties of every node of the overlay's source."""
    nodes: dict[str, dict[str, str]] = {}
    path: list[str] = []
    text = re.sub(r"//.*", "", text)
    for opened, closed, name, value in re.findall(
        r"([^;{}]+)\{|(\};)|([\w,#-]+)(?: = ([^;]+))?;", text
    ):
        if opened:
            path.append(opened.strip())
            nodes["/".join(path)] = {}
        elif closed:
            path.pop()
        elif path:
            nodes["/".join(path)][name] = value
    assert not path
    return nodes


def test_overlay_describes_bitstream_clock_widths_registers_and_memory():
    nodes = properties(overlay())
    assert nodes["&fpga_full"]["firmware-name"] == '"tiny.bin"'
    amba = {name.partition(":")[0]: node for name, node in
            ((key.rpartition("/")[2], value) for key, value in nodes.items())}  # fmt: skip
    assert amba["bitwright_clock"]["assigned-clocks"] == "<&zynqmp_clk 71>"
    # A hertz more than 214,285,714.28, never less, as the kernel does not take a faster clock.
    assert amba["bitwright_clock"]["assigned-clock-rates"] == "<214285715>"
    assert amba["bitwright"]["reg"] == "<0x0 0xa0000000 0x0 0x10000>"
    assert amba["bitwright"]["interrupts"] == "<0 89 4>"
    assert amba["bitwright"]["compatible"] == '"generic-uio"'
    assert amba["bitwright_afi"]["config-afi"] == "<4 0>, <5 0>, <14 0x0>"
    assert amba["bitwright_buffer"]["device-name"] == '"udmabuf0"'
    assert amba["bitwright_buffer"]["size"] == "<0x0 0x1000000>"


def test_overlay_follows_the_width_of_the_memory_port():
    assert "config-afi = <4 1>, <5 1>, <14 0x0>" in overlay(data_bits=64)


@pytest.mark.skipif(shutil.which("dtc") is None, reason="there is no device-tree compiler")
def test_overlay_is_accepted_by_the_compiler(tmp_path):
    (tmp_path / "tiny.dtso").write_text(overlay())
    command = ["dtc", "-@", "-I", "dts", "-O", "dtb", "-o", "tiny.dtbo", "tiny.dtso"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tiny.dtbo").read_bytes().startswith(bytes.fromhex("d00dfeed"))


# The handoff for PYNQ.


def text_of_handoff(**changes):
    arguments = dict(
        part="xczu9eg-ffvb1156-2-e",
        network="tiny",
        divisors=(7, 2),
        hertz=1.5e9 / 14,
        data_bits=128,
        base=0xA000_0000,
    )
    return handoff(**{**arguments, **changes})


def test_handoff_has_what_pynq_sets_the_processing_system_by():
    root = ElementTree.fromstring(text_of_handoff())
    system = root.find("SYSTEMINFO")
    assert (system.get("DEVICE"), system.get("PACKAGE")) == ("xczu9eg", "ffvb1156")
    ps, core = root.findall("MODULES/MODULE")
    assert ps.get("MODTYPE") == "zynq_ultra_ps_e"
    parameters = {p.get("NAME"): p.get("VALUE") for p in ps.findall("PARAMETERS/PARAMETER")}
    assert parameters["C_MAXIGP0_DATA_WIDTH"] == "32"
    assert parameters["C_SAXIGP2_DATA_WIDTH"] == "128"
    clock = "PSU__CRL_APB__PL0_REF_CTRL__"
    assert (parameters[f"{clock}DIVISOR0"], parameters[f"{clock}DIVISOR1"]) == ("7", "2")
    # PYNQ wants all four clocks.
    enabled = [parameters[f"PSU__FPGA_PL{k}_ENABLE"] for k in range(4)]
    assert enabled == ["1", "0", "0", "0"]
    range_ = ps.find("MEMORYMAP/MEMRANGE")
    assert range_.get("BASEVALUE") == "0xA0000000" and range_.get("HIGHVALUE") == "0xA000FFFF"
    assert range_.get("INSTANCE") == core.get("INSTANCE")
    for module, key in ((ps, "MASTERBUSINTERFACE"), (core, "SLAVEBUSINTERFACE")):
        assert range_.get(key) in [b.get("NAME") for b in module.iter("BUSINTERFACE")]


def test_handoff_lists_every_register_at_its_place():
    root = ElementTree.fromstring(text_of_handoff())
    found = {
        register.get("NAME"): {p.get("NAME"): p.get("VALUE") for p in register.iter("PROPERTY")}
        for register in root.iter("REGISTER")
    }
    assert {name: int(entry["ADDRESS_OFFSET"], 16) for name, entry in found.items()} == {
        register.name: register.value for register in Register
    }
    assert found["SUBMIT"]["ACCESS"] == "write-only" and found["STATUS"]["ACCESS"] == "read-only"


@pytest.mark.skipif(find_spec("pynqmetadata") is None, reason="pynqmetadata is not installed")
def test_pynqs_own_parser_reads_the_handoff(tmp_path):
    from pynqmetadata.frontends import Metadata
    from pynqmetadata.views.runtime import RuntimeMetadataParser

    (tmp_path / "tiny.hwh").write_text(text_of_handoff())
    parser = RuntimeMetadataParser(Metadata(input=str(tmp_path / "tiny.hwh")))
    core = parser.ip_dict["bitwright_0"]
    assert (core["phys_addr"], core["addr_range"]) == (0xA000_0000, 0x1_0000)
    assert core["registers"]["FRAMES"]["address_offset"] == Register.FRAMES
    clock = parser.clock_dict[0]
    assert (clock["enable"], clock["divisor0"], clock["divisor1"]) == (1, 7, 2)
    assert parser.family_ps == "zynq_ultra_ps_e"
    assert parser.ip_dict[parser.ps_name]["parameters"]["C_SAXIGP2_DATA_WIDTH"] == "128"


# Reports.


def test_utilisation_is_read_by_instance():
    found = read_utilisation(utilisation_report())
    assert found.total.luts == 1000 and found.total.brams == 3.5 and found.total.lutrams == 40
    assert set(found.units) == {"conv_window", "conv", "scores"}
    assert found.units["conv"].luts == 400 and found.units["conv_window"].brams == 1.5
    assert found.streams.luts == 700 - 650 and found.shell.ffs == 900 - 600


def test_timing_is_read_by_clock():
    found = read_timing(timing_report(period=5.333, setup=-0.667))
    assert (found.setup, found.hold, found.pulse_width) == (-0.667, 0.012, 2.225)
    (clock,) = found.clocks
    assert clock.name == "pl_clk0" and clock.achieved_mhz == 166.667 and not clock.met


def test_power_is_read_with_how_much_is_known_of_it():
    found = read_power(POWER)
    assert (found.total_w, found.dynamic_w, found.static_w) == (2.756, 2.438, 0.318)
    assert (found.confidence, found.nets_matched) == ("Low", "NA")


@pytest.mark.parametrize(
    ("read", "text", "sentence"),
    [
        (read_utilisation, "", "must have a table by instance, and has none"),
        (read_utilisation, utilisation_report({"top": (1,) * 6}), "has no instance shell/probed"),
        (read_utilisation, utilisation_report().replace(" 1000 ", " many "), "is damaged"),
        (read_timing, "", "must have a design timing summary, and has none"),
        (read_timing, timing_report().replace("pl_clk0  {", "other    {"), "knows no clock"),
        (read_timing, timing_report().partition("| Clock Summary")[0], "is damaged"),
        (read_timing, timing_report().replace(" 0.333", " x.333"), "is damaged"),
        (read_power, POWER.replace("2.438", "much"), "must have a summary, and has none"),
    ],
)
def test_damaged_reports_are_refused(read, text, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read(text)


@pytest.mark.parametrize(
    ("cell", "unit"),
    [
        ("shell/probed/accelerator/conv_mvau$7/pe0/sum_reg[3]/D", "conv_mvau"),
        ("shell/probed/accelerator/conv/x_reg/C", "conv"),
        ("shell/probed/accelerator/x_reg", None),
        ("shell/reader/x_reg/C", None),
        ("ps/ps8/PLCLK[0]", None),
    ],
)
def test_a_cell_belongs_to_a_unit_of_the_accelerator_or_to_none(cell, unit):
    assert unit_of(cell) == unit
