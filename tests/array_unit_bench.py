"""The whole array unit in the simulator: what it writes, against the golden state."""

import numpy as np
from amaranth.hdl import Module

from golden.accelerator.instruction import Instruction, Opcode
from golden.accelerator.legality import output_count, output_size
from golden.accelerator.units.array import conv, matmul
from hdl.array_unit import ArrayUnit
from tests.array_bench import Bench, parameters
from tests.array_programs import expected_reads

__all__ = ["UnitBench", "ordered"]

Words = set[tuple[str, int]]


def touched(i, size):
    """(words read, words written) of an instruction, as (memory, word)."""
    reads: Words = {("codes", at) for at, _ in expected_reads(i) if at is not None}
    memory = "codes" if i["narrow"] else "stream"
    count = i["rows"] * output_size(i)[1]
    writes: Words = set()
    for chunk in range(i["chunks"]):
        first = i["destination"] + chunk * i["destination_plane"]
        writes |= {(memory, first + word) for word in range(count)}
        if i.opcode is Opcode.CONV and i["residual"]:
            first = i["auxiliary"] + chunk * i["auxiliary_plane"]
            reads |= {(memory, first + word) for word in range(count)}
        if i.opcode is Opcode.CONV and i["sums"]:
            writes.add(("sums", i["sums0"] + chunk))
    if i.opcode is Opcode.MATMUL:
        parts, tiles = i["chunks0"], i["chunks"]
        planes, blocks = (parts, tiles) if i["transpose"] else (tiles, parts)
        for plane in range(planes):
            first = i["auxiliary"] + plane * i["auxiliary_plane"]
            reads |= {("codes", first + word) for word in range(blocks * size)}
    return reads, writes


def ordered(program):
    """Drop instructions that would read what they write; let the others wait where they must."""
    kept: list[Instruction] = []
    marks: list[tuple[Words, Words, int]] = []
    done = 0
    for i in program.instructions:
        reads, writes = touched(i, program.config.size)
        in_place = i.opcode is Opcode.CONV and i["residual"] and i["auxiliary"] == i["destination"]
        if reads & writes and not in_place:
            continue
        wait = 0
        for before_reads, before_writes, count in marks:
            if (reads | writes) & before_writes or writes & before_reads:
                wait = count
        done += output_count(i)
        marks.append((reads, writes, done))
        kept.append(i.replace(wait_array=wait))
    program.instructions = kept
    return program


class UnitBench(Bench):
    """array_unit with memories that take every write at once."""

    def __init__(self, program, *, seed=0, stall=0.0):
        super().__init__(program, seed=seed, stall=stall)
        config, state = program.config, program.state
        self.unit = ArrayUnit(
            **parameters(config), stream_words=config.stream_words, sum_chunks=config.sum_chunks
        )
        for name in ("i", "counts", "i_weights", "read_operand", "read_stationary", "busy"):
            setattr(self.ports, name, getattr(self.unit, name))
        self.ports.read_scale = self.unit.read_scale
        self.stream = state.stream.copy()
        self.S1, self.S2 = state.S1.copy(), state.S2.copy()
        self.counted = 0
        self.finished: list[int] = []
        self.last_write = 0
        for i in program.instructions:
            (conv if i.opcode is Opcode.CONV else matmul)(state, i)

    def _module(self):
        m = Module()
        m.submodules.unit = self.unit
        self._join_scale_file(m, self.unit, self.unit)
        return m

    def _may_start(self, instruction):
        return self.counted >= instruction["wait_array"]

    def _drive_sink(self, ctx):
        for name in ("read_residual", "write_stream", "write_codes"):
            ctx.set(getattr(self.unit, name).ready, 1)

    def _sink(self, ctx, cycle):
        unit = self.unit
        residual = self.rng.integers(-32768, 32768, self.stream.shape[1])
        if ctx.get(unit.read_residual.valid):
            residual = self.stream[ctx.get(unit.read_residual.address)].copy()
        if ctx.get(unit.write_stream.valid):
            self.last_write = cycle
            word = np.array(list(ctx.get(unit.write_stream.data)))
            self.stream[ctx.get(unit.write_stream.address)] = word
        if ctx.get(unit.write_codes.valid):
            self.last_write = cycle
            at = ctx.get(unit.write_codes.address)
            mask = ctx.get(unit.write_codes.mask)
            live = np.array([mask >> lane & 1 for lane in range(self.codes.shape[1])], bool)
            word = np.array(list(ctx.get(unit.write_codes.data)))
            self.codes[at] = np.where(live, word, self.codes[at])
        if ctx.get(unit.gather.valid):
            entry = ctx.get(unit.gather.entry)
            if ctx.get(unit.gather.clear):
                self.S1[entry] = self.S2[entry] = 0
            word = np.array(list(ctx.get(unit.gather.data)))
            self.S1[entry] += word
            self.S2[entry] += word**2
        self.counted += ctx.get(unit.count)
        if ctx.get(unit.finish):
            self.finished.append(ctx.get(unit.finish_bank))
        return [(unit.read_residual.data, residual.tolist())]

    def _done(self):
        return len(self.finished) == len(self.program.instructions)

    def check(self):
        """Compare everything with the golden state."""
        program, state = self.program, self.program.state
        assert self.differences == []
        assert self.counted == sum(output_count(i) for i in program.instructions)
        assert self.finished == [i["bank"] for i in program.instructions]
        for name in ("stream", "codes", "S1", "S2"):
            assert np.array_equal(getattr(self, name), getattr(state, name)), name
