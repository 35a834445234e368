"""Channel sums against Python integers: entries in any order, pauses, clears, reads beside."""

import random
from typing import Any

import pytest

from hdl.channel_sums import ChannelSums
from tests.amaranth_bench import simulate

CYCLES = 1500
SEEDS = (1, 2)
SETTLED = 3  # cycles from a word to the first read that sees it
CORNERS = (-32768, 32767, 0, -1)


def _run(block: Any, entries, seed):
    """Gather and read at random; return the reads that were wrong, and how many there were."""
    draw = random.Random(seed)
    size = block.size
    model: dict[int, list[list[int]]] = {}
    newest: dict[int, int] = {}
    wrong, reads = [], 0

    async def bench(ctx):
        nonlocal reads
        expected = None
        for cycle in range(CYCLES):
            if expected is not None:
                found = ctx.get(block.read.data)
                got = [[int(found[name][lane]) for lane in range(size)] for name in ("S1", "S2")]
                reads += 1
                if got != expected:
                    wrong.append(cycle)
            # long runs of one entry as well as quick changes
            entry = (
                draw.randrange(entries) if draw.random() < (0.9 if cycle % 100 < 50 else 0.1) else 0
            )
            valid, clear = draw.random() < 0.8, entry not in model or draw.random() < 0.05
            words = [draw.choice([*CORNERS, draw.randint(-32768, 32767)]) for _ in range(size)]
            for name, value in (("valid", valid), ("entry", entry), ("clear", clear)):
                ctx.set(getattr(block.gather, name), value)
            ctx.set(block.gather.data, words)
            if valid:
                S1, S2 = [[0] * size, [0] * size] if clear else model[entry]
                model[entry] = [
                    [total + word for total, word in zip(S1, words, strict=True)],
                    [total + word * word for total, word in zip(S2, words, strict=True)],
                ]
                newest[entry] = cycle
            asked = draw.randrange(entries)
            seen = asked in newest and cycle - newest[asked] >= SETTLED
            ctx.set(block.read.valid, seen)
            ctx.set(block.read.entry, asked)
            expected = model[asked] if seen else None
            await ctx.tick()

    simulate(block, bench)
    return wrong, reads


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_python(seed):
    wrong, reads = _run(ChannelSums(size=2, sum_chunks=4), 4, seed)
    assert reads > 300
    assert wrong == []


def test_one_entry():
    wrong, reads = _run(ChannelSums(size=1, sum_chunks=1), 1, 3)
    assert (wrong, reads > 3) == ([], True)


def test_refuses():
    with pytest.raises(ValueError, match=r"sum_chunks must be in 1\.\.4096, got 0"):
        ChannelSums(sum_chunks=0)
