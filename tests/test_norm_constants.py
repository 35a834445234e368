"""Constants of a norm: root, slope and mean against golden, and whole norms with joined groups."""

import random
from typing import Any

import numpy as np
import pytest

from golden.accelerator.instruction import Opcode, Unit
from golden.group_norm import RSQRT_SEEDS, channel_constants, rsqrt
from hdl import norm_group
from hdl.norm_channel import NormChannel
from hdl.norm_constants import NormConstants
from hdl.norm_group import NormGroup
from tests.amaranth_bench import simulate

SEED = 7
GROUP_CYCLES, CHANNEL_CYCLES = 66, 19


def _sums(draw, bits):
    """S1, S2, elements of values whose squares sum to about 2**bits."""
    elements = draw.choice([1, 2, 3, 48, 1023, 1024, 65535, 65536, draw.randint(1, 65536)])
    S2 = min(draw.getrandbits(bits), elements << 30)
    limit = min(int((elements * S2) ** 0.5), elements << 15)
    return draw.choice([-1, 1]) * draw.randint(0, limit), S2, elements


def _groups():
    draw = random.Random(SEED)
    for bits in range(1, 47):
        for _ in range(2):
            yield (*_sums(draw, bits), draw.choice([1, 1 << 20, draw.getrandbits(40) + 1]))
    for exponent in range(63):  # every exponent of V, the powers of two and beside them
        for V in ((1 << exponent) - 1, 1 << exponent):
            if V:
                yield 0, 0, 1, V
    for address in range(32, 128):  # every seed
        yield 0, 0, 1, address * (1 << 25) + address
    yield from ((-(1 << 31), 1 << 46, 1 << 16, 1), (1 << 30, 1 << 46, 1 << 16, (1 << 62) - 1))


def _run_block(block, given, wanted):
    """Feed ``given`` payloads one by one; return those whose answer is not in ``wanted``."""
    wrong = []

    async def bench(ctx):
        ctx.set(block.o.ready, 1)
        for payload, want in zip(given, wanted, strict=True):
            ctx.set(block.i.payload, payload)
            ctx.set(block.i.valid, 1)
            await ctx.tick().until(block.i.ready)
            ctx.set(block.i.valid, 0)
            cycles = 1
            while not (ctx.get(block.o.valid) or ctx.get(block.fault)):
                await ctx.tick()
                cycles += 1
            got: Any = "fault"
            if not ctx.get(block.fault):
                found = ctx.get(block.o.payload)
                got = {name: found[name] for name, _ in block.o.payload.shape()}
                assert cycles == block.latency
            if got != want:
                wrong.append((payload, got, want))
            await ctx.tick()

    simulate(block, bench)
    return wrong


def _group_cases():
    given: list[Any] = []
    wanted: list[Any] = []
    for S1, S2, elements, E in _groups():
        given.append({"S1": S1, "S2": S2, "elements": elements, "E": E})
        V = elements * S2 - S1 * S1 + E
        (r,), (e,) = rsqrt([V])
        wanted.append({"scale": int(r) * elements, "e": int(e), "mean": (S1 << 33) // elements})
    given.append({"S1": 3, "S2": 2, "elements": 4, "E": 1})
    wanted.append("fault")  # V = 0
    return given, wanted


def test_group_equals_golden_for_every_exponent():
    assert NormGroup().latency == GROUP_CYCLES
    assert _run_block(NormGroup(), *_group_cases()) == []


def test_group_bench_sees_a_wrong_seed(monkeypatch):
    monkeypatch.setattr(norm_group, "RSQRT_SEEDS", (*RSQRT_SEEDS[:50], 1, *RSQRT_SEEDS[51:]))
    assert _run_block(NormGroup(), *_group_cases())


def _channel_cases():
    draw = random.Random(SEED)
    given: list[Any] = []
    wanted: list[Any] = []
    sums = [_sums(draw, bits) for bits in range(2, 47) for _ in range(5)]
    # quotients that are whole, from means that are not
    sums += [(draw.randint(-9, 9), 90, draw.choice([3, 5, 6, 12, 48])) for _ in range(60)]
    for S1, S2, elements in sums:
        E = draw.choice([1 << 10, draw.getrandbits(40) + 1])
        gamma, beta = (
            draw.choice([0, 1, -1, 32767, -32768, draw.randint(-3000, 3000)]) for _ in range(2)
        )
        (r,), (e,) = rsqrt([elements * S2 - S1 * S1 + E])
        last = draw.randint(0, 1)
        group = {"scale": int(r) * elements, "e": int(e), "mean": (S1 << 33) // elements}
        given.append({"gamma": gamma, "beta": beta, "group": group, "last": last})
        wanted.append(_lane(S1, S2, elements, E, gamma, beta) or "fault")
        if wanted[-1] != "fault":
            wanted[-1]["last"] = last
    return given, wanted


def _lane(S1, S2, elements, E, gamma, beta):
    """Golden's constants in the form of the lanes; ``None`` if F is below 7."""
    try:
        found = channel_constants([[S1]], [[S2]], elements, E, [gamma], [beta])
    except ValueError:
        return None
    Am, B, F = (int(value[0, 0]) for value in found)
    shift = F - 7
    apart = beta if shift >= 4 else 0
    return {"slope": Am, "offset": B - (apart << max(shift - 4, 0)), "beta": apart, "shift": shift}


def test_channel_equals_golden():
    given, wanted = _channel_cases()
    shifts = {want["shift"] for want in wanted if want != "fault"}
    assert "fault" in wanted
    assert {0, 1, 2, 3, 4} & shifts
    assert max(shifts) > 35
    assert _run_block(NormChannel(), given, wanted) == []


# Whole norms

NORMS = [  # channels, channels1, channels a group
    (4, 0, 4),
    (8, 0, 2),
    (7, 0, 7),
    (6, 6, 3),
    (5, 10, 5),
    (9, 3, 6),
]


def _norm(draw, size, shape, elements):
    """An instruction's fields, the table's words, the memory of sums and the wanted beats."""
    channels, channels1, per_group = shape
    chunks = [-(-count // size) for count in (channels, channels1)]
    sums = np.array([_within(draw, elements) for _ in range(16 * size)]).reshape(16, size, 2)
    first = (draw.randint(0, 3), draw.randint(8, 11))
    lanes = [size * (0 if s == 0 else chunks[0]) + n
             for s, count in enumerate((channels, channels1)) for n in range(count)]  # fmt: skip
    rows = [sums[first[s] + n // size, n % size]
            for s, count in enumerate((channels, channels1)) for n in range(count)]  # fmt: skip
    S = np.array(rows).reshape(-1, per_group, 2).sum(axis=1).T
    total = elements * per_group
    E = draw.getrandbits(44) + 1
    pairs = [
        (draw.randint(-9000, 9000), draw.randint(-9000, 9000)) for _ in range(sum(chunks) * size)
    ]
    firsts, lasts = lanes[::per_group], lanes[per_group - 1 :: per_group]
    ahead = max(b // size - a // size for a, b in zip(firsts, lasts, strict=True))
    wanted = []
    for number, lane in enumerate(lanes):
        group = number // per_group
        found = _lane(int(S[0, group]), int(S[1, group]), total, E, *pairs[lane])
        ends = lane % size == size - 1 or number in (channels - 1, channels + channels1 - 1)
        wanted.append({**found, "last": int(ends)})
    words = [E & 0xFFFFFFFF, E >> 32, total, 0]
    words += [(gamma & 0xFFFF) | (beta & 0xFFFF) << 16 for gamma, beta in pairs]
    fields = {
        "opcode": int(Opcode.NORM), "sums0": first[0], "sums1": first[1], "chunks0": chunks[0],
        "chunks1": chunks[1], "channels": channels, "channels1": channels1,
        "group_channels": per_group, "step_unit": int(Unit.ARRAY),
        "step_base": 1 + ahead, "step_cap": sum(chunks), "bank": draw.randint(0, 1),
    }  # fmt: skip
    return fields, words, sums, wanted


def _within(draw, elements):
    mean, spread = draw.randint(-2000, 2000), draw.randint(1, 3000)
    return elements * mean, elements * (mean * mean + spread * spread)


def _run_norms(size, norms, seed):
    draw = random.Random(seed)
    block = NormConstants(size=size, sum_chunks=16)
    got: list[Any] = []
    wanted: list[Any] = []
    written_port: Any = block.norm_write
    sums_port: Any = block.read_sums

    async def bench(ctx):
        for shape in norms:
            fields, words, sums, beats = _norm(draw, size, shape, draw.choice([12, 64]))
            wanted.extend(beats)
            for index, word in enumerate(words):
                written = {"valid": 1, "bank": fields["bank"], "index": index, "data": word}
                for name, value in written.items():
                    ctx.set(getattr(written_port, name), value)
                await ctx.tick()
            ctx.set(written_port.valid, 0)
            ctx.set(block.i.payload, fields)
            ctx.set(block.i.valid, 1)
            ctx.set(block.counts.array, 0)
            await ctx.tick().until(block.i.ready)
            ctx.set(block.i.valid, 0)
            seen = len(got)
            for cycle in range(4000):
                if cycle % 150 == 149:
                    ctx.set(block.counts.array, ctx.get(block.counts.array) + 1)
                ready = draw.random() < 0.7
                ctx.set(block.o.ready, ready)
                reads, entry = ctx.get(sums_port.valid), ctx.get(sums_port.entry)
                if ready and ctx.get(block.o.valid):
                    found = ctx.get(block.o.payload)
                    got.append({name: found[name] for name, _ in block.o.payload.shape()})
                assert not ctx.get(block.fault)
                await ctx.tick()
                # data are there for one cycle, and right once the chunk was written
                chunk = entry - fields["sums0"]
                if not 0 <= chunk < fields["chunks0"]:
                    chunk = fields["chunks0"] + entry - fields["sums1"]
                right = reads and ctx.get(block.counts.array) > chunk
                lanes = sums[entry] if right else np.full((size, 2), 77)
                columns = zip(("S1", "S2"), lanes.T.tolist(), strict=True)
                ctx.set(sums_port.data, dict(columns))
                if len(got) == seen + len(beats):
                    break

    simulate(block, bench)
    return got, wanted


@pytest.mark.parametrize("size", [4, 8])
def test_norms_equal_golden(size):
    got, wanted = _run_norms(size, NORMS, SEED)
    assert len(wanted) > 50
    assert got == wanted
