"""The accelerator between an AXI4-Lite master and an AXI4 memory of cocotbext-axi: a whole run.

Task: ``memory``, address -> bytes; ``writes``, (register address, value) in order, the last one
starts the run; ``data``, address and bytes that must stand in memory at the end; ``status``,
address of that register; ``limit``, cycles; ``share``, of paused cycles on every channel.
"""

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp
from cocotbext.axi.sparse_memory import SparseMemory

from cosim.bus import clock
from cosim.bus.verdict import BusVerdict, finish, task

__all__ = ["run"]

DONE = 2


@cocotb.test()
async def run(dut: Any) -> None:
    """Load, start, wait for the interrupt, compare every byte."""
    work = task()
    generator = random.Random(work["seed"])
    dut.aresetn.value = 0
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, False)
    memory = AxiRam(
        AxiBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, False, mem=SparseMemory(1 << 62)
    )
    clock.start(dut)
    write, read = memory.write_if, memory.read_if
    for channel in (write.aw_channel, write.w_channel, write.b_channel,
                    read.ar_channel, read.r_channel):  # fmt: skip
        channel.set_pause_generator(clock.pauses(generator, work["share"]))
    for address, content in work["memory"].items():
        memory.write(address, content)
    await clock.reset(dut)
    wrong: list[str] = []
    for address, value in work["writes"]:
        answer = await host.write(address, value.to_bytes(4, "little"))
        if answer.resp != AxiResp.OKAY:
            wrong.append(f"write of {value:#x} to {address:#x}: {answer.resp.name}")
    if not int(dut.irq.value):
        await with_timeout(RisingEdge(dut.irq), work["limit"] * clock.PERIOD_NS, "ns")
    status = int.from_bytes((await host.read(work["status"], 4)).data, "little")
    if status != DONE:
        wrong.append(f"status: expected {DONE:#x}, got {status:#x}")
    address, expected = work["data"]
    got = memory.read(address, len(expected))
    wrong += [
        f"byte {n} of the data region: expected {e:#x}, got {g:#x}"
        for n, (e, g) in enumerate(zip(expected, got, strict=True))
        if e != g
    ]
    cycles = clock.cycles_now(get_sim_time("ns"))
    finish(BusVerdict(len(expected), cycles, wrong[:20]))
