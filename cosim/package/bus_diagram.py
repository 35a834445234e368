"""Timing diagrams of the accelerator's buses, from simulated cycles (WaveDrom).

The parts that own the ports, registers, read and write master, run in Amaranth's simulator; what
stands at the other end, a host or a memory, is a test bench. Nobody draws them. ``python -m
cosim.package.bus_diagram FOLDER`` writes those of the documentation.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wavedrom
from amaranth.lib import wiring
from amaranth.sim import Simulator

from cosim.package.diagram import levels
from golden.files import atomic_write
from hdl.axi_reader import AxiReader
from hdl.axi_writer import AxiWriter
from hdl.register_map import PARAMETERS, addresses
from hdl.registers import Registers

__all__ = ["bus_diagrams"]

BEATS = 10  # of a request to memory
PAUSE = 3  # beats before the memory waits a cycle
LATENCY = 3  # cycles of the memory: few, so that the pictures are narrow
LIMIT = 200  # cycles
BUS = ("axi_bytes", "outstanding", "buffer")
HOST = {
    "aw": ("awvalid", "awready", "awaddr"),
    "w": ("wvalid", "wready", "wdata", "wstrb"),
    "b": ("bvalid", "bready", "bresp"),
    "ar": ("arvalid", "arready", "araddr"),
    "r": ("rvalid", "rready", "rdata", "rresp"),
}
READS = {
    "ar": ("arvalid", "arready", "araddr", "arlen"),
    "r": ("rvalid", "rready", "rdata", "rlast"),
}
WRITES = {
    "aw": ("awvalid", "awready", "awaddr", "awlen"),
    "w": ("wvalid", "wready", "wdata", "wstrb", "wlast"),
    "b": ("bvalid", "bready", "bresp"),
}

Channels = Mapping[str, Sequence[str]]


def bus_diagrams(parameters: Mapping[str, Any] | None = None) -> dict[str, tuple[str, str]]:
    """Name -> WaveJSON and SVG: ``registers``, ``read`` and ``write`` of an accelerator.

    ``parameters``: those of the accelerator, as its manifest has them; the defaults for others.
    """
    given = parameters or {}
    registers = Registers(**{name: given[name] for name in PARAMETERS if name in given})
    reader = AxiReader(**{name: given[name] for name in BUS if name in given})
    return {
        "registers": _picture(
            registers, "s_axi", HOST, _host,
            "mask written, status read, write to identity refused",
        ),
        "read": _picture(
            reader, "m_axi", READS, _reads,
            f"{BEATS} beats across a page; latency {LATENCY} and a pause",
        ),
        "write": _picture(
            AxiWriter(axi_bytes=reader.axi_bytes), "m_axi", WRITES, _writes,
            f"{BEATS} beats across a page; wready low for a cycle",
        ),
    }  # fmt: skip


class _Recorder:
    """Ports of a component, cycle by cycle."""

    def __init__(self, component: Any, prefix: str, channels: Channels) -> None:
        self.ports = {
            name: getattr(component, f"{prefix}_{name}")
            for names in channels.values()
            for name in names
        }
        self.seen: dict[str, list[int]] = {name: [] for name in self.ports}
        self.cycles = 0

    def __getitem__(self, name: str) -> Any:
        return self.ports[name]

    async def cycle(self, ctx: Any) -> None:
        """Note this cycle and go on to the next one."""
        for name, port in self.ports.items():
            self.seen[name].append(int(ctx.get(port)))
        self.cycles += 1
        if self.cycles > LIMIT:
            raise RuntimeError(f"timing diagram: no end within {LIMIT} cycles")
        await ctx.tick()


Bench = Callable[[Any, Any, _Recorder], Awaitable[None]]


def _picture(
    component: wiring.Component, prefix: str, channels: Channels, bench: Bench, what: str
) -> tuple[str, str]:
    recorder = _Recorder(component, prefix, channels)

    async def testbench(ctx: Any) -> None:
        await recorder.cycle(ctx)
        await bench(ctx, component, recorder)
        await recorder.cycle(ctx)

    simulator = Simulator(component)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()
    signals: list[Any] = [{"name": "aclk", "wave": "p" + "." * (recorder.cycles - 1)}]
    for channel, names in channels.items():
        valid = recorder.seen[names[0]]
        group = [_wave(name, recorder, valid) for name in names]
        signals.append([channel.upper(), *group])
    source = {
        "signal": signals,
        "head": {"text": f"{prefix}_*: {what}", "tick": 0},
        "foot": {"text": "simulated; values are hexadecimal"},
    }
    text = json.dumps(source, indent=1)
    return text + "\n", wavedrom.render(text).tostring()


def _wave(name: str, recorder: _Recorder, valid: Sequence[int]) -> dict[str, Any]:
    """Levels of a single bit; of others, and of ``last``, what they hold while ``valid``."""
    values = recorder.seen[name]
    if name.endswith(("valid", "ready")):
        return {"name": name, "wave": levels(values)}
    held = [value if there else -1 for value, there in zip(values, valid, strict=True)]
    wave, data = "", []
    for n, value in enumerate(held):
        if n and value == held[n - 1]:
            wave += "."
        elif value < 0:
            wave += "x"
        elif len(recorder[name]) == 1:
            wave += str(value)
        else:
            wave += "="
            data.append(f"{value:x}")
    return {"name": name, "wave": wave, "data": data}


async def _host(ctx: Any, registers: Any, at: _Recorder) -> None:
    place = addresses()
    await _write_word(ctx, at, place["mask"], 0b11)
    ctx.set(at["araddr"], place["status"])
    ctx.set(at["arvalid"], 1)
    ctx.set(at["rready"], 1)
    while not ctx.get(at["arready"]):
        await at.cycle(ctx)
    await at.cycle(ctx)
    ctx.set(at["arvalid"], 0)
    while not ctx.get(at["rvalid"]):
        await at.cycle(ctx)
    await at.cycle(ctx)
    ctx.set(at["rready"], 0)
    await _write_word(ctx, at, place["identity"], 0)


async def _write_word(ctx: Any, at: _Recorder, address: int, value: int) -> None:
    ctx.set(at["awaddr"], address)
    ctx.set(at["wdata"], value)
    ctx.set(at["wstrb"], 0b1111)
    ctx.set(at["bready"], 1)
    waiting = {"aw", "w"}
    for channel in waiting:
        ctx.set(at[f"{channel}valid"], 1)
    while not ctx.get(at["bvalid"]):
        taken = {channel for channel in waiting if ctx.get(at[f"{channel}ready"])}
        await at.cycle(ctx)
        for channel in taken:
            ctx.set(at[f"{channel}valid"], 0)
        waiting -= taken
    await at.cycle(ctx)
    ctx.set(at["bready"], 0)


async def _reads(ctx: Any, reader: Any, at: _Recorder) -> None:
    """Serve the request of a client as a memory does, with one pause."""
    ctx.set(reader.base_program, _base(reader.axi_bytes))
    ctx.set(reader.request_program.payload.beats, BEATS)
    ctx.set(reader.request_program.valid, 1)
    ctx.set(reader.data_program.ready, 1)
    ctx.set(at["arready"], 1)
    due: list[tuple[int, bool]] = []  # of each beat: from which cycle on, and whether it is last
    given, pauses = 0, 1
    while given < BEATS:
        paused = given == PAUSE and pauses > 0
        gives = bool(due) and due[0][0] <= at.cycles and not paused
        ctx.set(at["rvalid"], gives)
        if gives:
            ctx.set(at["rdata"], given)
            ctx.set(at["rlast"], due.pop(0)[1])
            given += 1
        pauses -= paused
        if ctx.get(at["arvalid"]):
            beats = int(ctx.get(at["arlen"])) + 1
            due += [(at.cycles + LATENCY, n == beats - 1) for n in range(beats)]
        await at.cycle(ctx)
        ctx.set(reader.request_program.valid, 0)
    ctx.set(at["rvalid"], 0)


async def _writes(ctx: Any, writer: Any, at: _Recorder) -> None:
    """Take what a client writes as a memory does, with one pause; its beats are there before."""
    for beat in range(BEATS):
        ctx.set(writer.data.payload.data, beat)
        ctx.set(writer.data.payload.strobe, -1)
        ctx.set(writer.data.valid, 1)
        await ctx.tick()
    ctx.set(writer.data.valid, 0)
    ctx.set(writer.base, _base(writer.axi_bytes))
    ctx.set(writer.request.payload.beats, BEATS)
    ctx.set(writer.request.valid, 1)
    ctx.set(at["awready"], 1)
    due: list[int] = []  # from which cycle on a response is there
    taken, pauses = 0, 1
    while taken < BEATS or due:
        paused = taken == PAUSE and pauses > 0
        ctx.set(at["wready"], not paused)
        answers = bool(due) and due[0] <= at.cycles
        ctx.set(at["bvalid"], answers)
        if answers:
            due.pop(0)
        pauses -= paused
        if ctx.get(at["wvalid"]) and not paused:
            taken += 1
            if ctx.get(at["wlast"]):
                due.append(at.cycles + LATENCY)
        await at.cycle(ctx)
        ctx.set(writer.request.valid, 0)
    ctx.set(at["bvalid"], 0)


def _base(axi_bytes: int) -> int:
    """Of a region of memory: the bursts from here meet the end of a page after 8 beats."""
    return 0x1000 - 8 * axi_bytes


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m cosim.package.bus_diagram FOLDER")
    for name, (_, picture) in bus_diagrams().items():
        with atomic_write(Path(sys.argv[1]) / f"bus_{name}.svg") as file:
            file.write_text(picture + "\n")
