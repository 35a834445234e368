"""Weight loader: the rows of CONVs, as golden's state reads them from the weights region."""

import inspect
import random
import textwrap
from functools import cache

import pytest

import hdl.weight_loader
from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Opcode
from golden.accelerator.operations import Section
from golden.accelerator.timing.tiles import Tiles
from hdl.weight_loader import FIFO_SETS, WeightLoader
from tests.accelerator_runs import several_heads
from tests.weight_loader_bench import (
    SEED,
    Memory,
    expected,
    region_of,
    run_loader,
    run_with_reader,
    simulate,
)


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
    region = region_of(1 << 15)
    commands = _random_commands(size, region, SEED + size, count)
    block = WeightLoader(size=size, axi_bytes=axi_bytes)
    assert run_loader(block, region, commands) == expected(size, region, commands)


def test_sets_that_share_a_beat():
    """Odd numbers of passes at size 4 on 32 bytes: requests begin and end in halves."""
    region = region_of(4096)
    commands = [(64, 1, 2, 3), (128, 3, 1, 2), (0, 2, 2, 2), (192, 9, 2, 3), (256, 1, 1, 1)]
    block = WeightLoader(size=4, axi_bytes=32)
    assert run_loader(block, region, commands) == expected(4, region, commands)


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
    assert run_loader(block, region, commands) == expected(size, region, commands)


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

    simulate(block, bench)
    assert found == [
        (offset + chunk * step, step // axi_bytes) for chunk in range(chunks) for _ in range(tiles)
    ]


def test_commands_are_prefetched():
    """With the array at rest, the next CONV is requested and the buffer of four sets fills."""
    block = WeightLoader(size=4, axi_bytes=16)
    memory = Memory(block, region_of(1024), random.Random(SEED), offers=1, takes=1)

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

    simulate(block, bench)


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
    cycles = run_with_reader(size, axi_bytes, outstanding, commands, latency=20)
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
    region = region_of(8192)
    commands = [(64, 3, 2, 3), (128, 2, 3, 2)]
    block = _mutant(*fault)(size=size, axi_bytes=axi_bytes)
    assert run_loader(block, region, commands, cycles_max=3000) != expected(size, region, commands)
