"""Scratchpads and row scales against arrays, under random requests of every port."""

import random
from typing import Any

import pytest

from hdl import scratchpad
from hdl.code_scratchpad import CodeScratchpad
from hdl.row_scales import RowScales
from hdl.stream_scratchpad import StreamScratchpad
from tests.amaranth_bench import simulate

CYCLES = 600
SEED = 3
PADS = {
    "stream": lambda: StreamScratchpad(size=4, stream_words=24, stream_banks=4),
    "one bank": lambda: StreamScratchpad(size=4, stream_words=9, stream_banks=1),
    "codes": lambda: CodeScratchpad(size=4, code_words=20),
}


def _word(draw, pad):
    bits = pad.word.size // pad.lanes
    low = -(1 << (bits - 1)) if bits == 16 else 0
    return [draw.randrange(low, low + (1 << bits)) for _ in range(pad.lanes)]


def _winners(pad, asked):
    """Ports that are granted: the first that asks for a bank; ``asked`` in priority order."""
    taken: dict[int, str] = {}
    for name, address in asked.items():
        taken.setdefault(address // pad.bank_words, name)
    return set(taken.values())


def _run(pad, ports=None):
    """Ask at random; return what was wrong. ``ports``: readers and writers, first ones first."""
    readers, writers = ports or (pad.readers, pad.writers)
    draw = random.Random(SEED)
    model: dict[int, list[int]] = {}
    wrong: list[Any] = []

    async def bench(ctx):
        def port(name) -> Any:
            return getattr(pad, name)

        expected: dict[str, list[int]] = {}
        for cycle in range(CYCLES):
            writes = {n: draw.randrange(pad.words) for n in writers if draw.random() < 0.6}
            reads = {n: draw.randrange(pad.words) for n in readers if draw.random() < 0.6}
            writing = _winners(pad, writes)
            changed = {writes[name] for name in writing}
            # a word that is written in this cycle is not read, as in a program
            reads = {n: a for n, a in reads.items() if a in model and a not in changed}
            reading = _winners(pad, reads)
            for name in (*pad.readers, *pad.writers):
                ctx.set(port(name).valid, name in reads or name in writes)
                ctx.set(
                    port(name).address, {**reads, **writes}.get(name, draw.randrange(pad.words))
                )
            fresh = {}
            for name in pad.writers:
                words = _word(draw, pad)
                ctx.set(port(name).data, words)
                mask = draw.randrange(1 << pad.lanes) if pad.masked else -1
                if pad.masked:
                    ctx.set(port(name).mask, mask)
                if name in writing:
                    old = model.get(writes[name], [])
                    whole = bool(old) or mask in (-1, (1 << pad.lanes) - 1)
                    if not whole:  # lanes that nobody ever wrote are not known
                        ctx.set(port(name).mask, (1 << pad.lanes) - 1)
                        mask = -1
                    fresh[writes[name]] = [
                        new if mask >> n & 1 else old[n] for n, new in enumerate(words)
                    ]
            for name, address in {**reads, **writes}.items():
                if ctx.get(port(name).ready) != (name in reading | writing):
                    wrong.append((cycle, name, address))
            # beside the requests of this cycle, which must not change what was granted before
            for name, words in expected.items():
                if [ctx.get(port(name).data[n]) for n in range(pad.lanes)] != words:
                    wrong.append((cycle, name))
            expected = {name: model[reads[name]] for name in reading}
            await ctx.tick()
            model.update(fresh)

    simulate(pad, bench)
    assert len(model) == pad.words
    return wrong


@pytest.mark.parametrize("name", PADS)
def test_equals_an_array(name):
    assert _run(PADS[name]()) == []


def test_wrong_priority_is_seen():
    pad = PADS["stream"]()
    assert _run(pad, ports=(pad.readers[::-1], pad.writers))
    assert _run(PADS["stream"](), ports=(pad.readers, pad.writers[::-1]))


def test_data_of_the_wrong_bank_are_seen(monkeypatch):
    real = scratchpad._select

    def wrong(chosen, values):
        return real(chosen[::-1], values)

    monkeypatch.setattr(scratchpad, "_select", wrong)
    assert _run(PADS["stream"]())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: StreamScratchpad(size=5), "size must be one of 4, 8, 16, 32, got 5"),
        (lambda: StreamScratchpad(stream_words=9, stream_banks=2), "must be a multiple of 2"),
        (lambda: CodeScratchpad(code_words=7), "code_words must be a multiple of 2, got 7"),
    ],
)
def test_refuses(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_row_scales_keep_both_banks():
    scales: Any = RowScales(depth=6)
    draw = random.Random(SEED)
    model: dict[tuple[int, int], tuple[int, int]] = {}
    wrong = []

    async def bench(ctx):
        expected = None
        for cycle in range(CYCLES):
            read, write = scales.read, scales.write
            if expected is not None and (ctx.get(read.multiplier), ctx.get(read.shift)) != expected:
                wrong.append(cycle)
            at, value = (
                (draw.randrange(2), draw.randrange(6)),
                (draw.getrandbits(16), draw.getrandbits(6)),
            )
            place = (draw.randrange(2), draw.randrange(6))
            reads = place in model and place != at
            for port, (bank, row), valid in ((write, at, cycle % 3 > 0), (read, place, reads)):
                ctx.set(port.bank, bank)
                ctx.set(port.row, row)
                ctx.set(port.valid, valid)
            ctx.set(write.multiplier, value[0])
            ctx.set(write.shift, value[1])
            expected = model[place] if reads else None
            await ctx.tick()
            if cycle % 3:
                model[at] = value

    simulate(scales, bench)
    assert len(model) == 12
    assert wrong == []
