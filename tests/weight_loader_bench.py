"""Weight loader between a memory and an array: alone, and behind an axi_reader."""

import random
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.units.state import State
from hdl.axi_reader import AxiReader
from hdl.weight_loader import WeightLoader
from tests.amaranth_bench import simulate

SEED = 7
BASE = 0x4_0F80  # a request crosses 4 KB soon


def region_of(size):
    return np.random.default_rng(SEED).integers(0, 256, size, dtype=np.uint8).tobytes()


def rows_of(size, region, command):
    """Rows (n, size) that the array takes for {offset, passes, tiles, chunks}."""
    state = State(AcceleratorConfig(size=size), {"weights": region}, bytearray(64))
    offset, passes, tiles, chunks = command
    weights = state.weights(offset, (chunks, passes * size, size))
    return np.repeat(weights[:, None], tiles, axis=1).reshape(-1, size).tolist()


def expected(size, region, commands):
    return [row for command in commands for row in rows_of(size, region, command)]


class Memory:
    """Client ``weights`` of a reader: answers requests in order, with random pauses."""

    def __init__(self, block, region, draw, offers=0.7, takes=0.6):
        self.block, self.region, self.draw = block, region, draw
        self.offers, self.takes = offers, takes
        self.requests: list[list[int]] = []
        self.count = 0
        self.held = False

    def drive(self, ctx):
        block, size = self.block, self.block.axi_bytes
        ctx.set(block.request.ready, self.draw.random() < self.takes)
        self.held = bool(self.requests) and (self.held or self.draw.random() < self.offers)
        ctx.set(block.data.valid, self.held)
        if self.held:
            at, left = self.requests[0]
            beat = self.region[at : at + size].ljust(size, b"\x5a")
            ctx.set(block.data.payload.data, int.from_bytes(beat, "little"))
            ctx.set(block.data.payload.last, left == 1)

    def sample(self, ctx):
        request = self.block.request
        if self.held and ctx.get(self.block.data.ready):
            self.held = False
            self.requests[0][0] += self.block.axi_bytes
            self.requests[0][1] -= 1
            if not self.requests[0][1]:
                self.requests.pop(0)
        if ctx.get(request.valid) and ctx.get(request.ready):
            offset, beats = ctx.get(request.payload.offset), ctx.get(request.payload.beats)
            assert offset % self.block.axi_bytes == 0
            assert beats > 0
            self.requests.append([offset, beats])
            self.count += 1


def run_loader(block, region, commands, cycles_max=30000):
    """Give all commands, with random pauses at every port; return the rows."""
    draw = random.Random(SEED)
    memory = Memory(block, region, draw)
    wanted = sum(passes * tiles * chunks for _, passes, tiles, chunks in commands) * block.size
    rows: list[list[int]] = []

    async def bench(ctx):
        waiting, left = list(commands), 40  # cycles in which nothing may follow
        for cycle in range(cycles_max):
            memory.drive(ctx)
            valid = bool(waiting) and draw.random() < 0.5
            ctx.set(block.i.valid, valid)
            if valid:
                names = ("offset", "passes", "tiles", "chunks")
                ctx.set(block.i.payload, dict(zip(names, waiting[0], strict=True)))
            ready = draw.random() < (0.1, 0.95)[cycle // 200 % 2]  # the buffer fills and empties
            ctx.set(block.o.ready, ready)
            if ready and ctx.get(block.o.valid):
                rows.append([ctx.get(block.o.payload.weights[c]) for c in range(block.size)])
            memory.sample(ctx)
            if valid and ctx.get(block.i.ready):
                waiting.pop(0)
            await ctx.tick()
            left -= len(rows) >= wanted and not waiting
            if not left:
                break

    simulate(block, bench)
    return rows


class WithReader(wiring.Component):
    """A loader behind an axi_reader."""

    o: Any

    def __init__(self, size, axi_bytes, outstanding):
        self.loader: Any = WeightLoader(size=size, axi_bytes=axi_bytes)
        self.reader: Any = AxiReader(axi_bytes=axi_bytes, outstanding=outstanding)
        super().__init__({"o": Out(self.loader.o.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader, m.submodules.reader = self.loader, self.reader
        wiring.connect(m, self.loader.request, self.reader.request_weights)
        wiring.connect(m, self.reader.data_weights, self.loader.data)
        wiring.connect(m, self.loader.o, wiring.flipped(self.o))
        m.d.comb += self.reader.base_weights.eq(BASE)
        return m


def run_with_reader(size, axi_bytes, outstanding, commands, latency):
    """Run from a memory that gives a beat a cycle; return the rows and the cycle of each."""
    region = region_of(1 << 15)
    top = WithReader(size, axi_bytes, outstanding)
    reader, i = top.reader, top.loader.i
    wanted = sum(p * t * c for _, p, t, c in commands) * size
    rows: list[list[int]] = []
    cycles: list[int] = []

    async def bench(ctx):
        waiting = list(commands)
        bursts: list[list[int]] = []
        ctx.set(reader.m_axi_arready, 1)
        ctx.set(top.o.ready, 1)
        for cycle in range(20000):
            beat = bool(bursts) and bursts[0][0] <= cycle
            ctx.set(reader.m_axi_rvalid, beat)
            if beat:
                _, at, left = bursts[0]
                found = region[at : at + axi_bytes]
                ctx.set(reader.m_axi_rdata, int.from_bytes(found, "little"))
                ctx.set(reader.m_axi_rlast, left == 1)
                bursts[0][1:] = [at + axi_bytes, left - 1]
                if left == 1:
                    bursts.pop(0)
            ctx.set(i.valid, bool(waiting))
            if waiting:
                names = ("offset", "passes", "tiles", "chunks")
                ctx.set(i.payload, dict(zip(names, waiting[0], strict=True)))
                if ctx.get(i.ready):
                    waiting.pop(0)
            if ctx.get(reader.m_axi_arvalid):
                at = ctx.get(reader.m_axi_araddr) - BASE
                bursts.append([cycle + latency, at, ctx.get(reader.m_axi_arlen) + 1])
            if ctx.get(top.o.valid):
                rows.append([ctx.get(top.o.payload.weights[c]) for c in range(size)])
                cycles.append(cycle)
            await ctx.tick()
            if len(rows) == wanted:
                break

    simulate(top, bench)
    assert rows == expected(size, region, commands)
    return cycles
