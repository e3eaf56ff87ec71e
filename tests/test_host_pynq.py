"""The driver's way to the board by PYNQ, of which a stand-in is laid out here."""

import mmap
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from boards.host import HostError, open_accelerator
from tests.axi_device import IDENTITY_OF_IT
from tests.board_files import AFI_FS, Board


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path)


class FakePynq:
    """What the driver uses of PYNQ."""

    def __init__(self, board):
        self.board = board
        self.calls = []
        self.Overlay = lambda path: self.calls.append(("overlay", path))
        self.Bitstream = lambda path: SimpleNamespace(
            download=lambda: self.calls.append(("bitstream", path))
        )

    def MMIO(self, address, size):
        with open(self.board.root / "dev/mem", "r+b") as file:
            mapped = mmap.mmap(file.fileno(), size, offset=address)
        words = np.frombuffer(mapped, dtype=np.uint32)
        return SimpleNamespace(
            read=lambda offset: words[offset // 4],
            write=lambda offset, value: words.__setitem__(offset // 4, value),
        )

    def allocate(self, shape, dtype):
        calls = self.calls

        class Buffer(np.ndarray):
            physical_address = 0x7654_3000
            flush = staticmethod(lambda: calls.append("flush"))
            invalidate = staticmethod(lambda: calls.append("invalidate"))
            freebuffer = staticmethod(lambda: calls.append("freebuffer"))

        return Buffer(shape, dtype)


@pytest.fixture
def pynq(board, monkeypatch):
    fake = FakePynq(board)
    monkeypatch.setitem(sys.modules, "pynq", fake)
    board.bitstream.with_suffix(".bit").write_bytes(b"bits")
    return fake


@pytest.mark.parametrize("hwh", [False, True])
def test_pynq_loads_the_bitstream_where_it_is_installed(board, pynq, hwh):
    if hwh:
        board.bitstream.with_suffix(".hwh").write_text("<EDKSYSTEM/>")
    with open_accelerator(bitstream=board.bitstream, root=board.root) as opened:
        assert opened.identity == IDENTITY_OF_IT
    kind = "overlay" if hwh else "bitstream"
    assert pynq.calls == [(kind, str(board.bitstream.with_suffix(".bit")))]
    assert not (board.manager / "firmware").exists()
    assert board.peek(AFI_FS) == 0x800


def test_pynq_gives_the_memory(board, pynq):
    opened = open_accelerator(root=board.root)
    buffer = opened.transport.allocate(100)
    assert buffer.address == 0x7654_3000
    assert buffer.data.dtype == np.uint8 and buffer.data.shape == (100,)
    buffer.flush()
    buffer.invalidate()
    buffer.close()
    assert pynq.calls == ["flush", "invalidate", "freebuffer"]
    opened.close()


def test_what_pynq_refuses_is_named(board, pynq):
    def refuse(*arguments, **options):
        raise RuntimeError("out of something")

    pynq.Bitstream = refuse
    with pytest.raises(HostError, match="PYNQ cannot load top.bit: out of something"):
        open_accelerator(bitstream=board.bitstream, root=board.root)
    with pytest.raises(HostError, match="there is no bitstream"):
        open_accelerator(bitstream=board.root / "nowhere.bit", root=board.root)
    opened = open_accelerator(root=board.root)
    pynq.allocate = refuse
    with pytest.raises(HostError, match="PYNQ has no 100 bytes in one piece .*`cma=`"):
        opened.transport.allocate(100)
    opened.close()


def test_pynq_that_is_asked_for_must_be_there(board):
    with pytest.raises(HostError, match="PYNQ is not installed here"):
        open_accelerator(use_pynq=True, root=board.root)
