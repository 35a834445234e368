"""AXI4-Stream sources and sinks of cocotbext-axi round a block: every beat, in order.

Task: ``inputs`` and ``outputs``, prefix -> (bytes of a beat, beats as integers); ``plain``,
values of plain inputs; ``order`` and ``answers``, of ``golden.order``, by prefixes; ``memory``
behind AXI4, if any, and what is ``kept`` in it, address -> bytes; ``share``, of paused cycles.
"""

import random
from collections.abc import Sequence
from typing import Any

import cocotb
from cocotb.utils import get_sim_time
from cocotbext.axi import (
    AxiRamRead,
    AxiRamWrite,
    AxiReadBus,
    AxiStreamBus,
    AxiStreamSink,
    AxiStreamSource,
    AxiWriteBus,
)
from cocotbext.axi.sparse_memory import SparseMemory

from cosim.bus import clock
from cosim.bus.steps import Steps
from cosim.bus.verdict import BusVerdict, finish, task

__all__ = ["streams"]

QUIET_CYCLES = 400
KEPT = 20


@cocotb.test()
async def streams(dut: Any) -> None:
    """Send everything until nothing moves any more; compare all that came."""
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
    steps = Steps(dut, [*sources, *sinks], work["order"], work["answers"])
    memory = _memory(dut, work, generator)
    clock.start(dut)
    for end in (*sources.values(), *sinks.values()):
        end.set_pause_generator(clock.pauses(generator, work["share"]))
    await clock.reset(dut)
    data = {
        prefix: [beat.to_bytes(size, "little") for beat in beats]
        for prefix, (size, beats) in work["inputs"].items()
    }
    for prefix, beats in data.items():
        if prefix not in work["order"]:
            await sources[prefix].send(b"".join(beats))
    cocotb.start_soon(steps.run({name: (sources[name], data[name]) for name in work["order"]}))
    most = {prefix: len(beats) for prefix, (_, beats) in work["outputs"].items()}
    await steps.quiet(QUIET_CYCLES, most)
    compared, wrong = 0, []
    for prefix, (size, beats) in work["outputs"].items():
        compared += min(len(beats), sinks[prefix].count())
        wrong += _differences(prefix, size, beats, sinks[prefix])
    wrong += [
        f"{prefix}: {steps.moved[prefix]} of {len(beats)} beats were taken"
        for prefix, beats in data.items()
        if steps.moved[prefix] != len(beats)
    ]
    for address, content in work["kept"].items():
        compared += len(content)
        wrong += [
            f"byte {address + n:#x}: expected {byte:#x}, got {got:#x}"
            for n, (byte, got) in enumerate(
                zip(content, memory.read(address, len(content)), strict=True)
            )
            if byte != got
        ]
    cycles = clock.cycles_now(get_sim_time("ns"))
    finish(BusVerdict(compared, cycles, wrong[:KEPT]))


def _memory(dut: Any, work: Any, generator: random.Random) -> Any:
    """Put a memory at the block's AXI4 port, read or write; None if it has none."""
    if not work["memory"]:
        return None
    memory: Any
    if work["kept"]:
        bus = AxiWriteBus.from_prefix(dut, "m_axi")
        memory = AxiRamWrite(bus, dut.aclk, dut.aresetn, False, mem=SparseMemory(1 << 62))
        channels = [memory.aw_channel, memory.w_channel, memory.b_channel]
    else:
        bus = AxiReadBus.from_prefix(dut, "m_axi")
        memory = AxiRamRead(bus, dut.aclk, dut.aresetn, False, mem=SparseMemory(1 << 62))
        channels = [memory.ar_channel, memory.r_channel]
    for channel in channels:
        channel.set_pause_generator(clock.pauses(generator, work["share"]))
    for address, content in work["memory"].items():
        memory.write(address, content)
    return memory


def _differences(prefix: str, size: int, beats: Sequence[int], sink: AxiStreamSink) -> list[str]:
    """One line for each wrong beat, one for a wrong number of them."""
    got = [bytes(sink.recv_nowait().tdata) for _ in range(sink.count())]
    wrong = [f"{prefix}: {len(got)} beats, expected {len(beats)}"] * (len(got) != len(beats))
    return wrong + [
        f"{prefix}, beat {number}: expected {beat:#x}, got {int.from_bytes(seen, 'little'):#x}"
        for number, (beat, seen) in enumerate(zip(beats, got, strict=False))
        if seen != beat.to_bytes(size, "little")
    ]
