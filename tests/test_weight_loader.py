"""Weight loader: the rows of CONVs, as golden's state reads them from the weights region."""

import inspect
import random
import textwrap
from functools import cache
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

import hdl.weight_loader
from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Opcode
from golden.accelerator.operations import Section
from golden.accelerator.timing.tiles import Tiles
from golden.accelerator.units.state import State
from hdl.axi_reader import AxiReader
from hdl.weight_loader import FIFO_SETS, WeightLoader
from tests.accelerator_runs import several_heads

SEED = 7
BASE = 0x4_0F80  # a request crosses 4 KB soon


def _region(size):
    return np.random.default_rng(SEED).integers(0, 256, size, dtype=np.uint8).tobytes()


def _rows(size, region, command):
    """Rows (n, size) that the array takes for {offset, passes, tiles, chunks}."""
    state = State(AcceleratorConfig(size=size), {"weights": region}, bytearray(64))
    offset, passes, tiles, chunks = command
    weights = state.weights(offset, (chunks, passes * size, size))
    return np.repeat(weights[:, None], tiles, axis=1).reshape(-1, size).tolist()


def _expected(size, region, commands):
    return [row for command in commands for row in _rows(size, region, command)]


def _simulate(block, bench):
    simulator = Simulator(block)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


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


def _run(block, region, commands, cycles_max=30000):
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

    _simulate(block, bench)
    return rows


def _random_commands(size, region, seed, count):
    draw = random.Random(seed)
    commands = []
    for _ in range(count):
        passes, tiles, chunks = (draw.randrange(1, top) for top in (6, 4, 4))
        room = len(region) - passes * chunks * size * size
        commands.append((64 * draw.randrange(room // 64), passes, tiles, chunks))
    return commands


@pytest.mark.parametrize("axi_bytes", [8, 16, 32])
@pytest.mark.parametrize(("size", "count"), [(4, 12), (8, 5), (16, 3), (32, 1)])
def test_rows_are_those_of_the_region(size, count, axi_bytes):
    region = _region(1 << 15)
    commands = _random_commands(size, region, SEED + size, count)
    block = WeightLoader(size=size, axi_bytes=axi_bytes)
    assert _run(block, region, commands) == _expected(size, region, commands)


def test_sets_that_share_a_beat():
    """Odd numbers of passes at size 4 on 32 bytes: requests begin and end in halves."""
    region = _region(4096)
    commands = [(64, 1, 2, 3), (128, 3, 1, 2), (0, 2, 2, 2), (192, 9, 2, 3), (256, 1, 1, 1)]
    block = WeightLoader(size=4, axi_bytes=32)
    assert _run(block, region, commands) == _expected(4, region, commands)


@cache
def _program(size):
    config = AcceleratorConfig(size=size, stream_words=16384, code_words=32768)
    return compile_artifact(several_heads(), config)


@pytest.mark.parametrize(("size", "axi_bytes"), [(4, 16), (4, 32), (16, 16)])
def test_convs_of_a_compiled_network(size, axi_bytes):
    program = _program(size)
    commands = []
    for _, i in program.listed[Section.STEP]:
        if i.opcode is Opcode.CONV:
            tiles = Tiles.of(i)
            commands.append((i["offset"], tiles.passes, len(tiles.pixels), i["chunks"]))
    assert size == 16 or any(passes % 2 and chunks > 1 for _, passes, _, chunks in commands)
    commands = sorted(set(commands), key=lambda c: c[1] * c[2] * c[3])[:6]
    block = WeightLoader(size=size, axi_bytes=axi_bytes)
    region = program.regions["weights"]
    assert _run(block, region, commands) == _expected(size, region, commands)


@pytest.mark.parametrize(("size", "axi_bytes"), [(32, 8), (32, 32), (4, 32), (4, 8)])
def test_the_largest_conv_is_asked_for(size, axi_bytes):
    """510 input chunks of 9 taps, hi and lo; requests only, as no memory holds them."""
    passes, tiles, chunks = 510 * 9 * 2, 2, 3
    block = WeightLoader(size=size, axi_bytes=axi_bytes)
    step = passes * size * size
    offset = (1 << 32) - (chunks * step + 63) // 64 * 64
    found = []

    async def bench(ctx):
        command = {"offset": offset, "passes": passes, "tiles": tiles, "chunks": chunks}
        ctx.set(block.i.payload, command)
        ctx.set(block.i.valid, 1)
        ctx.set(block.request.ready, 1)
        await ctx.tick().until(block.i.ready)
        ctx.set(block.i.valid, 0)
        while ctx.get(block.request.valid):
            payload = block.request.payload
            found.append((ctx.get(payload.offset), ctx.get(payload.beats)))
            await ctx.tick()
        assert ctx.get(block.i.ready)

    _simulate(block, bench)
    assert found == [
        (offset + chunk * step, step // axi_bytes) for chunk in range(chunks) for _ in range(tiles)
    ]


def test_commands_are_prefetched():
    """With the array at rest, the next CONV is requested and the buffer of four sets fills."""
    block = WeightLoader(size=4, axi_bytes=16)
    memory = Memory(block, _region(1024), random.Random(SEED), offers=1, takes=1)

    async def bench(ctx):
        ctx.set(block.i.payload, {"offset": 0, "passes": 1, "tiles": 3, "chunks": 1})
        ctx.set(block.i.valid, 1)
        taken = 0
        for _ in range(40):
            memory.drive(ctx)
            memory.sample(ctx)
            taken += ctx.get(block.i.ready)
            await ctx.tick()
        ctx.set(block.i.valid, 0)
        assert taken > 2
        assert memory.count > 3
        answered = memory.count - len(memory.requests)
        assert FIFO_SETS <= answered <= FIFO_SETS + 1  # one beat waits to be cut
        ctx.set(block.o.ready, 1)
        ctx.set(block.data.valid, 0)
        rows = 0
        for _ in range(30):
            rows += ctx.get(block.o.valid)
            await ctx.tick()
        assert rows == 4 * answered

    _simulate(block, bench)


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


def _stream(size, axi_bytes, outstanding, commands, latency):
    """Run from a memory that gives a beat a cycle; return the rows and the cycle of each."""
    region = _region(1 << 15)
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

    _simulate(top, bench)
    assert rows == _expected(size, region, commands)
    return cycles


@pytest.mark.parametrize(
    ("size", "axi_bytes", "passes", "outstanding"),
    [
        (16, 16, 9, 4),
        (16, 16, 1, 16),
        (16, 32, 2, 4),
        (4, 16, 1, 16),
        (4, 32, 1, 16),
        (4, 32, 9, 4),
    ],
)
def test_a_row_a_cycle(size, axi_bytes, passes, outstanding):
    """No bubble once data come, across pixel tiles, channel tiles and CONVs."""
    commands = [(0, passes, 2, 3), (1024, passes, 1, 2), (64, passes, 4, 1)]
    cycles = _stream(size, axi_bytes, outstanding, commands, latency=20)
    assert cycles[-1] - cycles[0] == len(cycles) - 1


def _mutant(method, old, new):
    """A loader with a statement of a method replaced."""
    text = textwrap.dedent(inspect.getsource(getattr(WeightLoader, method)))
    assert text.count(old) == 1
    names = dict(vars(hdl.weight_loader))
    exec(text.replace(old, new), names)
    return type("Mutant", (WeightLoader,), {method: names[method]})


@pytest.mark.parametrize(
    ("size", "axi_bytes", "fault"),
    [
        (4, 16, ("_ask", "m.If(tiles_left == 1)", "m.If(tiles_left != 0)")),
        (4, 16, ("_ask", "tiles_left.eq(tiles),", "tiles_left.eq(chunks_left),")),
        (4, 32, ("_cut", "first & halves.r_data[0]", "halves.r_data[0]")),
        (4, 32, ("_cut", "beat.last & halves.r_data[1]", "halves.r_data[1]")),
        (16, 8, ("_gather", "Cat(held, beat)\n", "Cat(beat, held)\n")),
        (16, 16, ("_gather", "rows.w_rdy | ~ends", "1")),
    ],
)
def test_a_fault_is_seen(size, axi_bytes, fault):
    region = _region(8192)
    commands = [(64, 3, 2, 3), (128, 2, 3, 2)]
    block = _mutant(*fault)(size=size, axi_bytes=axi_bytes)
    assert _run(block, region, commands, cycles_max=3000) != _expected(size, region, commands)
