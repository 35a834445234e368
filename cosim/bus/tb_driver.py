"""The Python driver of a package at the accelerator, through cocotbext-axi: the C driver's twin.

Task: ``driver``, folder with the driver and the constants of the registers; ``regions``, name ->
(base, bytes); ``expected``, of the data region; ``steps``, first and last; ``waits``.
"""

import sys
from typing import Any

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp
from cocotbext.axi.sparse_memory import SparseMemory

from cosim.bus import clock
from cosim.bus.verdict import BusVerdict, finish, task

__all__ = ["drive"]

CYCLES_A_WAIT = 1000


@cocotb.test()
async def drive(dut: Any) -> None:
    """Open, place, load, start, wait, fetch; a second run that is stopped."""
    work = task()
    dut.aresetn.value = 0
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn, False)
    bus = AxiBus.from_prefix(dut, "m_axi")
    memory = AxiRam(bus, dut.aclk, dut.aresetn, False, mem=SparseMemory(1 << 62))
    clock.start(dut)
    await clock.reset(dut)

    @resume
    async def read(offset: int) -> int:
        return int.from_bytes((await host.read(offset, 4)).data, "little")

    @resume
    async def write(offset: int, value: int) -> bool:
        answer = await host.write(offset, value.to_bytes(4, "little"))
        return bool(answer.resp == AxiResp.OKAY)

    @resume
    async def wait() -> None:
        if not int(dut.irq.value):
            await First(RisingEdge(dut.irq), ClockCycles(dut.aclk, CYCLES_A_WAIT))

    @resume
    async def store(address: int, content: bytes) -> None:
        memory.write(address, content)

    @resume
    async def fetch(address: int, size: int) -> bytes:
        return bytes(memory.read(address, size))

    @bridge
    def host_program() -> list[str]:
        sys.path.insert(0, work["driver"])
        import stepscale_driver  # noqa: PLC0415 (it lies in the package)

        device = stepscale_driver.Device(read, write, store, fetch, wait)
        return _program(stepscale_driver, device, work)

    wrong = await host_program()
    cycles = clock.cycles_now(get_sim_time("ns"))
    finish(BusVerdict(len(work["expected"]), cycles, wrong[:20]))


def _program(driver: Any, device: Any, work: dict[str, Any]) -> list[str]:
    """What a user would write; return what is not as it should be."""
    wrong = []
    shape = device.open()
    if shape != work["shape"]:
        wrong.append(f"shape: expected {work['shape']}, got {shape}")
    for name, (base, content) in work["regions"].items():
        device.place(name, base, len(content))
        device.load(name, content)
    device.start(*work["steps"])
    device.wait(work["waits"])
    got = device.fetch_from("data", len(work["expected"]))
    wrong += [
        f"byte {n}: expected {e}, got {g}"
        for n, (e, g) in enumerate(zip(work["expected"], got, strict=True))
        if e != g
    ]
    counters = device.counters()
    if not counters["cycles"] > counters["array_beats"] > 0:
        wrong.append(f"counters: {counters}")
    device.start(*work["steps"])
    device.stop()
    try:
        device.wait(work["waits"])
        wrong.append("a stopped run did not fail")
    except driver.RunError as error:
        if error.cause != 13:
            wrong.append(f"a stopped run: {error}")
    return wrong
