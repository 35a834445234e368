"""AXI4-Stream sources and sinks of cocotbext-axi round a block: every beat, in order.

Task: ``inputs`` and ``outputs``, prefix -> (bytes of a beat, beats as integers); ``plain``,
values of plain inputs; ``share``, of paused cycles on every stream.
"""

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiStreamBus, AxiStreamSink, AxiStreamSource

from cosim.bus import clock
from cosim.bus.verdict import BusVerdict, finish, task

__all__ = ["streams"]

CYCLES_A_BEAT = 200
QUIET_CYCLES = 200
KEPT = 20


@cocotb.test()
async def streams(dut: Any) -> None:
    """Send everything, receive as much, compare; then nothing more may come."""
    work = task()
    generator = random.Random(work["seed"])
    for name, value in work["plain"].items():
        getattr(dut, name).value = value
    dut.aresetn.value = 0
    sources, sinks = {}, {}
    for prefix in work["inputs"]:
        bus = AxiStreamBus.from_prefix(dut, prefix)
        sources[prefix] = AxiStreamSource(bus, dut.aclk, dut.aresetn, False)
    for prefix in work["outputs"]:
        bus = AxiStreamBus.from_prefix(dut, prefix)
        sinks[prefix] = AxiStreamSink(bus, dut.aclk, dut.aresetn, False)
    clock.start(dut)
    for end in (*sources.values(), *sinks.values()):
        end.set_pause_generator(clock.pauses(generator, work["share"]))
    await clock.reset(dut)
    for prefix, (size, beats) in work["inputs"].items():
        await sources[prefix].send(b"".join(beat.to_bytes(size, "little") for beat in beats))
    wrong: list[str] = []
    compared = 0
    for prefix, (size, beats) in work["outputs"].items():
        for number, expected in enumerate(beats):
            frame = await with_timeout(
                sinks[prefix].recv(), CYCLES_A_BEAT * len(beats) * clock.PERIOD_NS, "ns"
            )
            got = int.from_bytes(bytes(frame.tdata), "little")
            compared += 1
            if got != expected or len(frame.tdata) != size:
                wrong.append(f"{prefix}, beat {number}: expected {expected:#x}, got {got:#x}")
    for _ in range(QUIET_CYCLES):
        await RisingEdge(dut.aclk)
    for prefix, sink in sinks.items():
        if not sink.empty():
            wrong.append(f"{prefix}: {sink.count()} beats too many")
    cycles = clock.cycles_now(get_sim_time("ns"))
    finish(BusVerdict(compared, cycles, wrong[:KEPT]))
