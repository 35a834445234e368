"""The whole vector unit in the simulator, with memories and its scale file around it."""

from collections import deque

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring

from golden.accelerator.instruction import Instruction, Unit
from golden.accelerator.legality import output_count
from golden.accelerator.program import NORM_HEADER_WORDS
from golden.accelerator.writes import records
from golden.scale_tables import writes
from hdl.scale_file import ScaleFile
from hdl.vector_unit import VectorUnit
from tests.amaranth_bench import simulate
from tests.array_bench import instruction_value
from tests.vector_programs import run_golden

__all__ = ["VectorBench"]


class VectorBench:
    """Runs a program; ``differences`` stays empty if all is equal.

    ``stall``: how often each partner hesitates, 0..1. ``counts``: cycles between two counts of the
    array; words and sums of an input chunk are there only once its count is.
    """

    def __init__(self, program, *, seed=0, stall=0.0, unit=VectorUnit, pace=0):
        config = program.config
        names = ("size", "stream_words", "code_words", "sum_chunks", "depth", "channel_tiles")
        self.unit = unit(**{name: getattr(config, name) for name in names})
        self.scale_file = ScaleFile(
            groups=1, resident_groups=1, steps=1, channel_tiles=config.channel_tiles,
            lanes=config.size, activation_side=1, edge_side=1,
        )  # fmt: skip
        self.program, self.stall, self.pace = program, stall, pace
        self.rng = np.random.default_rng(seed)
        self.differences: list[str] = []
        self.expected = {port: deque() for port in ("vector_codes", "vector_stream")}  # type: ignore[var-annotated]
        self.final = run_golden(program, self._record)
        self.row_scales = program.state.row_scales.copy()
        self.stream = program.state.stream.copy()
        self.cycles = 0
        self.written: list[int] = []
        self.busy: list[int] = []
        self.counted = 0
        self.finished: list[int] = []

    def _record(self, state, i):
        found = records(state, i)
        assert found is not None
        port, words = found
        self.expected[port].extend(words.copy())

    def run(self, limit=60000):
        """Simulate until all is done."""
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.scale_file = scales = self.scale_file
        for path in ("activation", "edge"):
            wiring.connect(m, getattr(unit, f"o_{path}"), getattr(scales, f"i_{path}"))
            wiring.connect(m, getattr(scales, f"o_{path}"), getattr(unit, f"i_{path}"))
            m.d.comb += [
                getattr(scales, f"release_{path}").eq(getattr(unit, f"released_{path}")),
                getattr(scales, f"release_{path}_bank").eq(unit.released_bank),
            ]
        simulate(m, self._testbench(limit))
        return self

    def _goes(self):
        return self.rng.random() >= self.stall

    async def _load(self, ctx):
        unit, port = self.unit, self.scale_file.i_write  # type: ignore[attr-defined]
        payload = writes(self.scale_file.config, [], self.program.sets).payload
        for beat in range(len(payload["table"])):
            ctx.set(port.payload, {name: int(values[beat]) for name, values in payload.items()})
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)
        for bank, table in self.program.state.norms.items():
            pairs = (table.gamma & 0xFFFF) | (table.beta & 0xFFFF) << 16
            header = [table.E & 0xFFFFFFFF, table.E >> 32, table.elements, 0]
            assert len(header) == NORM_HEADER_WORDS
            for index, word in enumerate([*header, *pairs.tolist()]):
                write = {"valid": 1, "bank": bank, "index": index, "data": word}
                for name, value in write.items():
                    ctx.set(getattr(unit.norm_write, name), value)
                await ctx.tick()
        ctx.set(unit.norm_write.valid, 0)
        *coefficients, reach, _ = self.program.state.sampler.tolist()
        row = dict(zip("pqabdc", coefficients, strict=True)) | {"reach": reach}
        ctx.set(unit.i_row.payload, row)
        ctx.set(unit.i_row.valid, 1)
        await ctx.tick().until(unit.i_row.ready)
        ctx.set(unit.i_row.valid, 0)

    def _testbench(self, limit):
        async def testbench(ctx):
            unit, program = self.unit, self.program
            await self._load(ctx)
            waiting = deque(program.instructions)
            running: deque[Instruction] = deque()
            offered, count = False, 0
            for cycle in range(limit):
                if waiting and not offered and self._goes():
                    offered = True
                    value = instruction_value(unit.i.payload.shape(), waiting[0])
                    ctx.set(unit.i.payload, value)
                ctx.set(unit.i.valid, offered)
                if self.pace and cycle % self.pace == self.pace - 1:
                    count += 1
                ctx.set(unit.counts, {"array": count, "vector": 0, "mover": 0})
                replies = self._answer(ctx, running, count)
                self._take_writes(ctx, cycle)
                self.busy.append(ctx.get(unit.busy))
                self.counted += ctx.get(unit.count)
                if ctx.get(unit.finish):
                    self.finished.append(ctx.get(unit.finish_bank))
                    running.popleft()
                if ctx.get(unit.fault):
                    self.differences.append(f"cycle {cycle}: fault")
                if offered and ctx.get(unit.i.ready):
                    running.append(waiting.popleft())
                    offered = False
                self.cycles = cycle + 1
                if len(self.finished) == len(program.instructions) or len(self.differences) > 5:
                    break
                await ctx.tick()
                for port, value in replies:
                    ctx.set(port, value)
            else:
                self.differences.append(f"not done after {limit} cycles")

        return testbench

    def _there(self, i, chunk, count):
        """Whether the words and sums of an input chunk were written."""
        return i["step_unit"] != Unit.ARRAY or count >= min(i["step_base"] + chunk, i["step_cap"])

    def _answer(self, ctx, running, count):
        """Grant reads; garbage where a word is not there yet."""
        unit, state = self.unit, self.program.state
        read, sums = unit.read_stream, unit.read_sums
        ctx.set(read.ready, self._goes())
        word = self.rng.integers(-32768, 32768, self.program.config.size)
        if ctx.get(read.valid) and ctx.get(read.ready):
            at = ctx.get(read.address)
            if self._permitted(running, at, count):
                word = self.stream[at]
        entry = {
            "S1": self.rng.integers(0, 99, self.program.config.size).tolist(),
            "S2": self.rng.integers(0, 99, self.program.config.size).tolist(),
        }
        if ctx.get(sums.valid) and self._sums_permitted(running, ctx.get(sums.entry), count):
            at = ctx.get(sums.entry)
            entry = {"S1": state.S1[at].tolist(), "S2": state.S2[at].tolist()}
        return [(read.data, word.tolist()), (sums.data, entry)]

    def _permitted(self, running, at, count):
        """A word is there once its chunk is counted, whichever instruction reads it."""
        i = running[0]  # the next one reads nothing before this one is written
        chunks = i["chunks0"] + i.fields.get("chunks1", 0) if self.pace else 0
        return not any(
            not self._there(i, chunk, count) and at in self._words(i, chunk)
            for chunk in range(chunks)
        )

    def _words(self, i, chunk):
        second = chunk >= i["chunks0"]
        number = chunk - i["chunks0"] if second else chunk
        first = i["source1" if second else "source0"]
        first += number * i["source1_plane" if second else "source_plane"]
        first += (i["row_first"] - i["source_row"]) * i["width"]
        return range(first, first + i["rows"] * i["width"])

    def _sums_permitted(self, running, entry, count):
        if not self.pace:
            return True
        i = running[-1]  # sums are joined as soon as an instruction is taken
        # the groups that begin in a chunk may end in the chunks behind it
        behind = i["group_channels"] // self.program.config.size + 1
        return self._there(i, max(entry - i["sums0"] - behind, 0), count)

    def _take_writes(self, ctx, cycle):
        unit = self.unit
        for name, port in (
            ("vector_codes", unit.write_codes),
            ("vector_stream", unit.write_stream),
        ):
            ctx.set(port.ready, self._goes())
            if not (ctx.get(port.valid) and ctx.get(port.ready)):
                continue
            self.written.append(cycle)
            got = (ctx.get(port.address), [value & 0xFFFF for value in ctx.get(port.data)])
            if not self.expected[name]:
                self.differences.append(f"cycle {cycle}: {name} {got} too many")
                continue
            want = self.expected[name].popleft()
            if got != (want["address"], want["lanes"].tolist()):
                self.differences.append(
                    f"cycle {cycle}: {name} {got}, not {want['address']} {want['lanes'].tolist()}"
                )
            if name == "vector_stream":
                self.stream[got[0]] = np.array(got[1], np.uint16).astype(np.int16)
        scale = unit.write_scale
        if ctx.get(scale.valid):
            words = (ctx.get(scale.multiplier), ctx.get(scale.shift))
            self.row_scales[ctx.get(scale.bank), ctx.get(scale.row)] = words

    def check(self):
        """Compare everything with the golden state."""
        assert self.differences == []
        assert not any(self.expected.values())
        assert self.counted == sum(output_count(i) for i in self.program.instructions)
        assert self.finished == [i.fields.get("bank", 0) for i in self.program.instructions]
        assert np.array_equal(self.row_scales, self.final.row_scales)
