"""The cocotb side of ``sim.test_axi_memory``: a manager that does one thing wrong at a time."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer

from sim.axi_memory import BASE, ProtocolError, SimulatedMemory, StableChannel, stall

__all__ = ["a_manager_without_faults_is_served", "what_axi_forbids_is_noticed"]

#: Faults by their numbers in ``axi_manager.v``, and how the sentence about each begins.
FAULTS = {
    1: "4 beats from 0x800000ff0 cross 4 KiB",
    2: "memory_aw must keep",
    3: "memory_w must keep",
    4: "wlast in beat 0 of 4",
    5: "4 beats from 0x800000ff0 cross 4 KiB",
    6: "memory_ar must keep",
    7: "size 2, burst 1, id 0",
    8: "memory_w must keep",
    9: "size 3, burst 0, id 0",
    10: "size 3, burst 1, id 1",
}

_PERIOD = 2000


async def _start(dut: object, fault: int) -> SimulatedMemory:
    dut.fault.value = fault
    dut.rst.value = 1
    Clock(dut.clk, _PERIOD, unit="ps", impl="gpi").start()
    memory = SimulatedMemory(dut, _PERIOD, 1 << 13)
    memory.read_latency = memory.write_latency = (1, 9)
    await Timer(5 * _PERIOD, unit="ps")
    dut.rst.value = 0
    stall(memory.channels, 3)
    for channel, fields in {
        "ar": ("addr", "len", "size", "burst", "id"),
        "aw": ("addr", "len", "size", "burst", "id"),
        "w": ("data", "strb", "last"),
    }.items():
        StableChannel(dut, f"memory_{channel}", fields).watch(True)
    await ClockCycles(dut.clk, 3000)
    return memory


@cocotb.test()
async def a_manager_without_faults_is_served(dut: object) -> None:
    memory = await _start(dut, 0)
    bursts = int(dut.bursts.value)
    assert bursts > 20
    # What was read last is what was written: the words count up from 1, four a burst.
    words = memory.bytes[0xFC0:0xFE0].view("<u8").tolist()
    assert words[0] % 4 == 1 and words == list(range(words[0], words[0] + 4))
    assert int(dut.memory_awaddr.value) == BASE + 0xFC0
    # The last burst may be on its way.
    if int(dut.memory_wdata.value) == 4 * bursts + 1:
        assert int(dut.sum.value) == sum(range(1, 4 * bursts + 1))


@cocotb.test(expect_error=ProtocolError)
@cocotb.parametrize(fault=list(FAULTS))
async def what_axi_forbids_is_noticed(dut: object, fault: int) -> None:
    try:
        await _start(dut, fault)
    finally:
        dut.rst.value = 1
