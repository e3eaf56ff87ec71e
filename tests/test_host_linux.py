"""The driver's way to the board by plain Linux, on a file system that is laid out here."""

import os
from dataclasses import replace

import numpy as np
import pytest

from boards.host import Accelerator, HostError, LinuxTransport, open_accelerator
from boards.host.bitstream import load_bitstream
from boards.host.linux import Interrupts, PollingWait, find_uio
from boards.host.memory import DMAMemory
from boards.host.settings import ProcessingSystem
from boards.registers import MAGIC, Register
from tests.axi_device import DIGEST, IDENTITY_OF_IT
from tests.board_files import (
    AFI_FS,
    CONTROL,
    DIRM_5,
    IOPLL_CTRL,
    MASK_DATA_5_MSW,
    OEN_5,
    PL0_REF_CTRL,
    RDCTRL,
    WRCTRL,
    Board,
)


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path)


# Registers and interrupt.


def test_registers_are_words_of_the_device(board):
    transport = LinuxTransport(root=board.root)
    assert transport.read32(Register.MAGIC) == MAGIC
    transport.write32(Register.FRAMES, 0xFFFF_FFFF)
    assert board.peek(CONTROL + Register.FRAMES) == 0xFFFF_FFFF
    transport.close()


def test_registers_of_a_uio_device_begin_at_its_beginning(board):
    with open(board.root / "dev/uio0", "wb") as file:
        file.truncate(1 << 16)
    transport = LinuxTransport(uio="uio0", root=board.root)
    transport.write32(Register.FRAMES, 7)
    transport.close()
    assert (board.root / "dev/uio0").read_bytes()[0x30:0x34] == b"\x07\0\0\0"


def test_an_interrupt_is_let_come_again_and_waited_for(tmp_path):
    os.mkfifo(tmp_path / "uio0")
    interrupts = Interrupts(tmp_path / "uio0")
    # What unmasks it comes back here, as if it were the count of interrupts.
    interrupts.wait(10.0)
    other = os.open(tmp_path / "uio0", os.O_RDWR | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        os.read(other, 1)
    os.close(other)
    interrupts.close()


def test_without_an_interrupt_it_looks_again_soon(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    PollingWait().wait(1.0)
    PollingWait().wait(1e-6)
    assert slept[0] <= 1e-4 and slept[1] == 1e-6


def test_time_goes_on(board):
    transport = LinuxTransport(root=board.root)
    before = transport.clock()
    transport.wait(1e-4)
    assert transport.clock() > before
    transport.close()


def test_missing_registers_are_named(board):
    (board.root / "dev/mem").unlink()
    with pytest.raises(HostError, match="there is no .*/dev/mem; the kernel must have"):
        LinuxTransport(root=board.root)


def test_a_missing_uio_device_is_named(board):
    with pytest.raises(HostError, match="there is no .*/dev/uio3; .* `generic-uio`"):
        LinuxTransport(uio="uio3", root=board.root)
    with pytest.raises(HostError, match="/dev/uio3 cannot be opened .*: run as root"):
        Interrupts(board.root / "dev/uio3")


def test_a_device_that_may_not_be_used_is_named(board, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(HostError, match=r"/dev/mem cannot be opened \(Permission denied\): run as"):
        LinuxTransport(root=board.root)


def test_a_device_that_is_too_small_is_named(board):
    (board.root / "dev/mem").write_bytes(b"")
    with pytest.raises(HostError, match="65536 bytes at 0xa0000000 of .* cannot be mapped"):
        LinuxTransport(root=board.root)


# Memory.


def test_memory_is_shared_and_addressed(board):
    memory = DMAMemory(root=board.root)
    first, second = memory.allocate(5000), memory.allocate(1)
    assert (first.address, second.address) == (0x7000_0000, 0x7000_2000)
    second.data[:] = 99
    assert (board.root / "dev/udmabuf0").read_bytes()[0x2000] == 99
    assert (len(first.data), len(second.data)) == (5000, 1)


def test_memory_that_was_given_back_is_used_again(board):
    memory = DMAMemory(root=board.root)
    parts = [memory.allocate(4096) for _ in range(1024)]
    with pytest.raises(HostError, match=r"udmabuf0 has 4194304 bytes, and 4198400 are needed"):
        memory.allocate(1)
    parts[7].close()
    assert memory.allocate(3).address == parts[7].address
    with pytest.raises(HostError, match="load u-dma-buf with more"):
        memory.allocate(1)


@pytest.mark.parametrize(("what", "direction"), [("flush", "1"), ("invalidate", "2")])
def test_the_cache_is_told_which_part_changes_hands(board, what, direction):
    memory = DMAMemory(root=board.root)
    memory.allocate(1)
    getattr(memory.allocate(100), what)()
    told = {path.name: path.read_text() for path in board.memory.glob("sync*")}
    for_whom = "sync_for_device" if what == "flush" else "sync_for_cpu"
    expected = {"sync_offset": "4096", "sync_size": "100", "sync_direction": direction}
    assert told == {**expected, for_whom: "1"}


def test_memory_that_is_coherent_by_itself_is_not_synchronised(board):
    (board.memory / "dma_coherent").write_text("1\n")
    memory = DMAMemory(root=board.root)
    memory.allocate(100).flush()
    assert not list(board.memory.glob("sync*"))


def test_the_older_name_of_the_module_is_known(board):
    board.memory.parent.rename(board.root / "sys/class/udmabuf")
    assert DMAMemory(root=board.root).size == 1 << 22


@pytest.mark.parametrize("missing", ["dev/udmabuf0", "sys/class/u-dma-buf/udmabuf0/size"])
def test_missing_memory_is_named(board, missing):
    (board.root / missing).unlink()
    with pytest.raises(HostError, match="load the kernel module u-dma-buf, such as `modprobe"):
        DMAMemory(root=board.root)


def test_memory_that_may_not_be_used_is_named(board, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(HostError, match="udmabuf0 cannot be used .*: run as root"):
        DMAMemory(root=board.root)


# Clock and ports.


@pytest.mark.parametrize(
    ("wanted", "hertz", "divisor0", "divisor1"),
    [
        (187.5e6, 187.5e6, 8, 1),
        (200e6, 187.5e6, 8, 1),
        (214_285_714, 1.5e9 / 7, 7, 1),
        (100e6, 100e6, 15, 1),
        (1e6, 1.5e9 / 1500, 60, 25),
    ],
)
def test_the_clock_is_the_fastest_that_is_no_faster(board, wanted, hertz, divisor0, divisor1):
    assert round(ProcessingSystem(board.root).set_clock(wanted)) == round(hertz)
    # On, from the IOPLL.
    assert board.peek(PL0_REF_CTRL) == 1 << 24 | divisor1 << 16 | divisor0 << 8


def test_the_clock_is_that_which_the_design_was_built_for(board):
    from boards.pl_clock import find_pl_clock

    for wanted in (50e6, 123.4e6, 187.5e6, 250e6, 333e6):
        built_for = find_pl_clock(wanted)
        ProcessingSystem(board.root).set_clock(round(built_for.hertz))
        divisors = built_for.divisor1 << 16 | built_for.divisor0 << 8
        assert board.peek(PL0_REF_CTRL) == 1 << 24 | divisors


def test_clocks_that_cannot_be_made_are_named(board):
    system = ProcessingSystem(board.root)
    with pytest.raises(HostError, match="cannot be 0.1 MHz or less: its source has 1500 MHz"):
        system.set_clock(1e5)
    board.poke(IOPLL_CTRL, 0)
    with pytest.raises(HostError, match="the IOPLL is off"):
        system.set_clock(1e8)


def test_only_the_bits_of_a_width_are_changed(board):
    for address in (AFI_FS, RDCTRL, WRCTRL):
        board.poke(address, 0xFFFF_FFFF)
    system = ProcessingSystem(board.root)
    system.set_control_width(32)
    assert board.peek(AFI_FS) == 0xFFFF_FCFF
    for bits, code in ((128, 0), (64, 1)):
        system.set_memory_width(bits)
        assert board.peek(RDCTRL) == board.peek(WRCTRL) == 0xFFFF_FFFC | code


# The bitstream.


def test_a_bitstream_goes_to_the_fpga_manager(board):
    load_bitstream(board.bitstream, root=board.root)
    assert (board.root / "lib/firmware/top.bin").read_bytes() == b"configuration"
    assert (board.manager / "firmware").read_text() == "top.bin"
    assert (board.manager / "flags").read_text() == "0"
    assert os.listdir(board.root / "lib/firmware") == ["top.bin"]


def test_of_a_bit_file_the_bin_beside_it_is_taken(board):
    load_bitstream(board.bitstream.with_suffix(".bit"), root=board.root)
    assert (board.manager / "firmware").read_text() == "top.bin"


def test_a_missing_bitstream_is_named(board):
    with pytest.raises(HostError, match="there is no bitstream .*nowhere.bin"):
        load_bitstream(board.root / "nowhere.bin", root=board.root)
    with pytest.raises(HostError, match="there is no device-tree overlay"):
        load_bitstream(board.root / "nowhere.dtbo", root=board.root, overlay=True)


def test_a_kernel_without_fpga_manager_is_named(board):
    for path in board.manager.iterdir():
        path.unlink()
    board.manager.rmdir()
    with pytest.raises(HostError, match="fpga0: the kernel must have CONFIG_FPGA_MGR_ZYNQMP_FPGA"):
        load_bitstream(board.bitstream, root=board.root)


def test_a_bitstream_that_the_kernel_refuses_is_named(board):
    (board.manager / "state").write_text("write error\n")
    with pytest.raises(HostError, match="says 'write error' after top.bin, and not 'operating'"):
        load_bitstream(board.bitstream, root=board.root)


def test_firmware_that_may_not_be_written_is_named(board):
    (board.root / "lib").write_text("no folder")
    with pytest.raises(HostError, match="lib/firmware cannot be written"):
        load_bitstream(board.bitstream, root=board.root)


def test_an_overlay_goes_to_configfs_with_its_bitstream(board):
    overlay = board.bitstream.with_suffix(".dtbo")
    overlay.write_bytes(b"device tree")
    with pytest.raises(HostError, match="mount configfs"):
        load_bitstream(overlay, root=board.root, overlay=True)
    overlays = board.root / "sys/kernel/config/device-tree/overlays"
    overlays.mkdir(parents=True)
    load_bitstream(overlay, root=board.root, overlay=True)
    assert (overlays / "bitwright/dtbo").read_bytes() == b"device tree"
    assert (board.root / "lib/firmware/top.bin").read_bytes() == b"configuration"


# All of it.


@pytest.mark.parametrize(("data_bits", "code"), [(128, 0), (64, 1)])
def test_a_board_is_ready_after_it_was_opened(tmp_path, data_bits, code):
    board = Board(tmp_path, replace(IDENTITY_OF_IT, data_bits=data_bits))
    with open_accelerator(bitstream=board.bitstream, use_pynq=False, root=board.root) as opened:
        assert opened.identity.data_bits == data_bits
        assert opened.network == DIGEST
    assert (board.manager / "firmware").read_text() == "top.bin"
    assert board.peek(AFI_FS) == 0x800
    assert board.peek(RDCTRL) == board.peek(WRCTRL) == code
    # 100 MHz, as the identity says.
    assert board.peek(PL0_REF_CTRL) == 1 << 24 | 1 << 16 | 15 << 8
    # The reset is driven, and let go.
    assert board.peek(DIRM_5) == board.peek(OEN_5) == 1 << 31
    assert board.peek(MASK_DATA_5_MSW) == 0x7FFF_8000


def test_the_uio_device_at_the_address_is_found(board):
    assert find_uio(root=board.root) is None
    for name, address in {"uio0": "0x80000000", "uio1": "", "uio4": "0x00000000a0000000"}.items():
        place = board.root / f"sys/class/uio/{name}/maps/map0"
        place.mkdir(parents=True)
        (place / "addr").write_text(f"{address}\n")
    assert find_uio(root=board.root) == "uio4"
    with open(board.root / "dev/mem", "rb") as file:
        file.seek(CONTROL)
        (board.root / "dev/uio4").write_bytes(file.read(1 << 16))
    # It is there that the driver's registers are, and its interrupt.
    with open_accelerator(use_pynq=False, root=board.root):
        pass
    written = (board.root / "dev/uio4").read_bytes()
    assert written[Register.CONTROL] and not board.peek(CONTROL + Register.CONTROL)


def test_a_bitstream_that_is_loaded_already_is_left_alone(board):
    with open_accelerator(use_pynq=False, root=board.root):
        pass
    assert not (board.manager / "firmware").exists()
    assert board.peek(MASK_DATA_5_MSW) == 0


def test_the_logic_is_slow_until_it_says_what_it_bears(board, monkeypatch):
    clocks = []
    set_clock = ProcessingSystem.set_clock
    monkeypatch.setattr(
        ProcessingSystem,
        "set_clock",
        lambda system, hertz: clocks.append(hertz) or set_clock(system, hertz),
    )
    with open_accelerator(bitstream=board.bitstream, use_pynq=False, root=board.root):
        pass
    assert clocks == [50e6, 50e6, 100_000_000]


def test_a_time_out_on_the_board_is_one_sentence(board):
    # The registers of a file stay as they are: nothing ever comes.
    transport = LinuxTransport(root=board.root)
    with Accelerator(transport, batch_frames=4, slack=0.01) as opened:
        with pytest.raises(HostError, match="no result came for 0.01.* the memory does not answer"):
            opened.classify(np.zeros((3, 4, 3, 2), dtype=np.uint8))


@pytest.mark.parametrize("compatible", [None, b"", b"xlnx,zynq-7000\0", b"raspberrypi,4\0brcm\0"])
def test_registers_of_another_processor_are_not_touched(board, compatible):
    path = board.root / "proc/device-tree/compatible"
    path.unlink()
    if compatible is not None:
        path.write_bytes(compatible)
    before = board.peek(AFI_FS)
    with pytest.raises(HostError, match="this is no Zynq UltraScale.: run it on the board"):
        open_accelerator(bitstream=board.bitstream, use_pynq=False, root=board.root)
    assert board.peek(AFI_FS) == before
    assert not (board.manager / "firmware").exists()
