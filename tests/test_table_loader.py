"""Table loader: every TABLE of compiled programs, as golden's scale file and state take them."""

import random
from functools import cache
from typing import Any

import numpy as np
import pytest

from golden.accelerator.compiler import compile_artifact
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Opcode
from golden.accelerator.operations import Section
from golden.accelerator.units.state import State
from golden.scale_tables import ScaleFileConfig, Table, TableSet, writes
from hdl.sampler_lane import ROW_LAYOUT
from hdl.table_loader import TableLoader
from tests.accelerator_runs import several_heads
from tests.amaranth_bench import simulate

SEED = 4
STEP, GROUP = 1, 1


@cache
def _program(size):
    config = AcceleratorConfig(size=size, stream_words=16384, code_words=32768)
    return compile_artifact(several_heads(), config)


def _tables(size):
    return [i for _, i in _program(size).listed[Section.STEP] if i.opcode is Opcode.TABLE]


def _final(i):
    """The instruction with the offsets of STEP and GROUP."""
    if i["sampler_row"]:
        return i.replace(step_offset=i["step_offset"] + STEP * i["step_stride"])
    return i.replace(
        step_offset=i["step_offset"] + STEP * i["step_stride"],
        group_offset=i["group_offset"] + GROUP * i["group_stride"],
    )


def _expected(size, i):
    """Scale file beats, norm words and row that golden's state stands for."""
    program = _program(size)
    state = State(program.header.config, program.regions, bytearray(64))
    state.load_tables(i, GROUP, STEP)
    if i["sampler_row"]:
        return [], [], [int(value) for value in state.sampler[:7]]
    held = state.scales[i["bank"]]
    lanes = len(held.multiplier)
    one: Any = {
        "operand_z": held.zero_point, "operand_k": held.k, "multiplier": held.multiplier,
        "shift": held.shift, "bias": held.bias, "silu": np.array(held.silu),
        "edge_multiplier": held.edge_multiplier, "edge_shift": held.edge_shift,
    }  # fmt: skip
    tables = TableSet(i["bank"], i["table_set"], 0, 0, **{n: v[None] for n, v in one.items()})
    beats = writes(ScaleFileConfig(1, 1, 1, lanes // size, size), [], [tables]).payload
    rows = sorted(
        zip(*(beats[n].tolist() for n in ("table", "bank", "row", "lane", "data")), strict=True)
    )
    words = []
    if i["norm_chunks"]:
        norm = state.norms[i["bank"]]
        words = [norm.E & 0xFFFFFFFF, norm.E >> 32, norm.elements, 0]
        pairs = zip(norm.gamma.tolist(), norm.beta.tolist(), strict=True)
        words += [(gamma & 0xFFFF) | (beta & 0xFFFF) << 16 for gamma, beta in pairs]
    return rows, [(i["bank"], n, word) for n, word in enumerate(words)], None


def _run(size, axi_bytes, instructions, region, cycles_max=4000):
    """Load each in turn; return for each what was written, and whether it faulted."""
    draw = random.Random(SEED)
    block: Any = TableLoader(size=size, channel_tiles=32, axi_bytes=axi_bytes)
    found = []

    async def bench(ctx):
        requests: list[list[int]] = []
        for i in instructions:
            fields = {name: i.fields.get(name, 0) for name, _ in block.i.payload.shape()}
            ctx.set(block.i.payload, fields | {"opcode": int(i.opcode)})
            ctx.set(block.i.valid, 1)
            await ctx.tick().until(block.i.ready)
            ctx.set(block.i.valid, 0)
            seen: Any = {"writes": [], "norm": [], "row": None, "fault": False}
            found.append(seen)
            for _ in range(cycles_max):
                ctx.set(block.request.ready, draw.random() < 0.6)
                offers = bool(requests) and draw.random() < 0.7
                ctx.set(block.data.valid, offers)
                if requests:
                    at, left = requests[0]
                    beat = region[at : at + axi_bytes].ljust(axi_bytes, b"\x5a")
                    ctx.set(block.data.payload.data, int.from_bytes(beat, "little"))
                    ctx.set(block.data.payload.last, left == 1)
                ctx.set(block.scale_write.ready, draw.random() < 0.8)
                ctx.set(block.row.ready, draw.random() < 0.5)
                if ctx.get(block.request.valid) and ctx.get(block.request.ready):
                    asked = ctx.get(block.request.payload)
                    requests.append([asked["offset"], asked["beats"]])
                if offers and ctx.get(block.data.ready):
                    requests[0][0] += axi_bytes
                    requests[0][1] -= 1
                    if not requests[0][1]:
                        requests.pop(0)
                if ctx.get(block.scale_write.valid) and ctx.get(block.scale_write.ready):
                    beat = ctx.get(block.scale_write.payload)
                    seen["writes"].append(
                        tuple(beat[n] for n in ("table", "bank", "row", "lane", "data"))
                    )
                if ctx.get(block.norm_write.valid):
                    port = block.norm_write
                    seen["norm"].append(
                        tuple(ctx.get(s) for s in (port.bank, port.index, port.data))
                    )
                if ctx.get(block.row.valid) and ctx.get(block.row.ready):
                    row = ctx.get(block.row.payload)
                    seen["row"] = [row[name] for name, _ in ROW_LAYOUT]
                ends, seen["fault"] = ctx.get(block.finish), ctx.get(block.fault)
                assert not ends or ctx.get(block.finish_row) == i["sampler_row"]
                await ctx.tick()
                if ends or seen["fault"]:
                    break
            assert ends or seen["fault"]
            assert seen["fault"] or not requests

    simulate(block, bench)
    return found


@pytest.mark.parametrize(("size", "axi_bytes"), [(4, 8), (4, 32), (8, 16), (16, 32)])
def test_loads_what_golden_loads(size, axi_bytes):
    instructions = [_final(i) for i in _tables(size)]
    chosen = instructions[:6] + instructions[-2:]
    found = _run(size, axi_bytes, chosen, _program(size).regions["tables"])
    for i, seen in zip(_tables(size)[:6] + _tables(size)[-2:], found, strict=True):
        rows, words, row = _expected(size, i)
        assert sorted(seen["writes"]) == rows
        assert not rows or seen["writes"][-1][0] == Table.COMMIT
        assert seen["norm"] == words
        assert seen["row"] == row
        assert not seen["fault"]
    assert any(seen["norm"] for seen in found)
    assert any(seen["row"] for seen in found)


@pytest.mark.parametrize(
    ("field", "at", "value"),
    [("group_offset", 0, 113), ("group_offset", 4, 5 << 7), ("group_offset", 8, 48 << 16),
     ("group_offset", 16, 7 << 28), ("group_offset", 16, 113 << 21), ("group_offset", 36, 48 << 16),
     ("norm_offset", 4, 1 << 31), ("norm_offset", 8, 0), ("norm_offset", 8, (1 << 16) + 1)],
)  # fmt: skip
def test_values_that_no_artifact_has(field, at, value):
    i = next(i for i in map(_final, _tables(4)) if i["norm_chunks"])
    region = bytearray(_program(4).regions["tables"])
    region[i[field] + at : i[field] + at + 4] = value.to_bytes(4, "little")
    (seen,) = _run(4, 16, [i], bytes(region))
    assert seen["fault"]
    if field == "norm_offset":
        assert at // 4 not in [index for _, index, _ in seen["norm"]]
    else:
        assert value not in [beat[4] for beat in seen["writes"]]
    assert all(beat[0] != Table.COMMIT for beat in seen["writes"])
