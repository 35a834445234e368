"""The cocotb test that every bench shares; it runs inside the simulator process.

It replays the scripts that ``cosim.bench`` left in a file, one case after the other with a reset
before each, and writes the verdicts to a second file. It holds no expectation of its own: a run
counts only by what that second file says was compared.
"""

import json
import os
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadWrite, RisingEdge, with_timeout

from cosim.checker import CaseVerdict, Checker
from cosim.manifest import Port
from cosim.monitor import Monitor
from cosim.pins import reader, writer
from cosim.script import CaseScript
from cosim.sink import Sink, changes_of
from cosim.source import Source

__all__ = ["RESET_CYCLES", "replay"]

PERIOD_NS = 10
RESET_CYCLES = 1
PROGRESS_SECONDS = 0.5


@cocotb.test()
async def replay(dut: Any) -> None:
    """Replay every case of the script file."""
    folder = Path(os.environ["STEPSCALE_RUN"])
    ports, scripts = pickle.loads((folder / "script.pickle").read_bytes())
    cycles = sum(script.cycles + RESET_CYCLES for script in scripts)
    Clock(dut.clk, PERIOD_NS, unit="ns", impl="gpi").start()
    verdicts: list[dict[str, Any]] = []
    began = time.perf_counter()
    bench = _Bench(dut, ports)

    async def run() -> None:
        bench.idle()
        for script in scripts:
            started = time.perf_counter()
            verdict = await bench.run(script)
            verdict.seconds = time.perf_counter() - started
            verdicts.append(asdict(verdict))
            bench.progress(folder / "progress", len(verdicts))

    await with_timeout(run(), (cycles + 16) * PERIOD_NS, "ns")
    seconds = time.perf_counter() - began
    unfinished = folder / "verdict.json.part"
    unfinished.write_text(json.dumps({"verdicts": verdicts, "seconds": seconds}))
    unfinished.rename(folder / "verdict.json")


class _Bench:
    """Wires source, sink, monitor and checker of each case to the pins of one design."""

    def __init__(self, dut: Any, ports: Mapping[str, Port]) -> None:
        self._edge = RisingEdge(dut.clk)
        # elsewhere than in Verilator a write at the edge would land before the registers sample
        self._writes_wait = not cocotb.SIM_NAME.startswith("Verilator")
        self._write_reset = writer(dut.rst)
        self._ports = ports
        self._read: dict[str, Callable[[], str]] = {}
        self._write: dict[str, Callable[[str], None]] = {}
        for port in ports.values():
            for net in port.nets:
                driven = (port.direction == "in") != (net == port.ready)
                handle = getattr(dut, net)
                if driven:
                    self._write[net] = writer(handle)
                else:
                    self._read[net] = reader(handle)
        self._reported = 0.0

    def idle(self) -> None:
        """Drive zeros and reset."""
        self._write_reset("1")
        for port in self._ports.values():
            for net in port.nets:
                if net in self._write:
                    single = net in (port.valid, port.ready)
                    self._write[net]("0" * (1 if single else port.width))

    async def run(self, script: CaseScript) -> CaseVerdict:
        """Reset, then play one case; every cycle is sampled just before its edge."""
        checker = Checker(script)
        monitor = Monitor(checker)
        sources: list[tuple[str, Source]] = []
        sinks: list[Sink] = []
        for name, stream in script.inputs.items():
            port = self._ports[name]
            payload = self._write.get(port.payload)
            sources.append((name, Source(stream, self._write[port.valid], payload)))
            monitor.add_input(name, self._read[port.ready])
        for name, output in script.outputs.items():
            port = self._ports[name]
            sinks.append(Sink(changes_of(output.ready), self._write[port.ready], "0"))
            monitor.add_output(name, self._read[port.valid], self._read.get(port.payload))
        for name, changes in script.plain_in.items():
            port = self._ports[name]
            sinks.append(Sink(changes, self._write[name], "0" * port.width))
        # in the order of the ports, as level 3: of two differences in a cycle one is the first
        for name in (name for name in self._ports if name in script.plain_out):
            monitor.add_plain(name, self._read[name])
        parts: list[Source | Sink] = [*sinks, *(source for _, source in sources)]

        edge = self._edge
        self._write_reset("1")
        # a reset must win over traffic: every input offers, and no sink takes what is inside
        for name in script.inputs:
            self._write[self._ports[name].valid]("1")
        for _ in range(RESET_CYCLES):
            await edge
            if self._writes_wait:
                await ReadWrite()
        self._write_reset("0")
        checker.start()
        monitor.start()
        for part in parts:
            part.start()
        ready = monitor.ready
        for cycle in range(script.cycles):
            await edge
            monitor.clock(cycle)
            if self._writes_wait:
                await ReadWrite()
            for name, source in sources:
                source.clock(cycle, ready[name])
            for sink in sinks:
                sink.clock(cycle)
        for part in parts:
            part.stop()
        monitor.stop()
        return checker.stop(script.cycles)

    def progress(self, path: Path, done: int) -> None:
        """Leave the number of finished cases for whoever watches."""
        now = time.monotonic()
        if now - self._reported > PROGRESS_SECONDS:
            self._reported = now
            path.write_text(str(done))
