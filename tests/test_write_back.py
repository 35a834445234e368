"""write_back with channel_sums, memories that refuse and values that pause, against golden."""

import copy
import inspect
import types
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module

from golden.accelerator.instruction import Opcode
from golden.accelerator.legality import output_count
from golden.accelerator.timing.tiles import Tiles
from golden.accelerator.units.array import conv, matmul
from hdl import write_back
from hdl.channel_sums import ChannelSums
from tests.amaranth_bench import simulate
from tests.array_programs import CONFIG, random_program
from tests.array_unit_bench import ordered

LIMIT = 6000
COUNT_DELAY = 2
STALLS = {"flows": (0.0, 0.0), "refused": (0.0, 0.4), "pauses": (0.4, 0.0), "both": (0.3, 0.3)}
FAULTS = {
    "a residual word that waits is lost": ("kept.eq(word)", "kept.eq(0)"),
    "a refused residual read goes on": ("self.read_residual.ready | ~beat.residual", "1"),
    "memory is not waited for": ("self.write_codes.ready, self.write_stream.ready", "1, 1"),
    "count before the sums": ("COUNT_DELAY = 2", "COUNT_DELAY = 0"),
    "count of writes that were only offered": ("accepted & side.last,", "o.valid & side.last,"),
    "sums of refused words": ("accepted & side.sums", "o.valid & side.sums"),
    "clear at every word": ("job.sums_clear & first", "job.sums_clear"),
    "lanes of the first chunk in all": ("begin - self.size", "begin"),
    "every tile ends a chunk": ("self.i.payload.end & (rows_left <= job.tile_rows)",
                                "self.i.payload.end"),
    "planes are one word": ("chunk_address + job.destination_plane", "chunk_address + 1"),
}  # fmt: skip


def _values(state, i, rng):
    """(values, end of a tile) of every pixel as the requantizer gives them: no residual yet."""
    after = copy.deepcopy(state)
    if i.opcode is Opcode.CONV:
        conv(after, i.replace(residual=0, sums=0, sums_clear=0))
    else:
        matmul(after, i)
    memory = after.codes if i["narrow"] else after.stream
    beats = []
    lane = np.arange(memory.shape[1])
    for chunk in range(i["chunks"]):
        at = i["destination"] + chunk * i["destination_plane"]
        first = chunk * len(lane)
        for pixels in Tiles.of(i).pixels:
            for pixel in range(pixels):
                values = memory[at].copy()
                if i["narrow"]:
                    values = (values ^ 0x800) - 0x800
                if i["narrow"] and i.opcode is Opcode.MATMUL:
                    low = i["lane_first"] - first
                    live = (lane >= low) & (lane < low + i["channels"])
                    values = np.where(live, values, rng.integers(-128, 128, len(lane)))
                beats.append((values.tolist(), pixel == pixels - 1))
                at += 1
    return beats


class _Bench:
    """Partners of write_back: what it must write comes from golden, ``wrong`` says what differs."""

    def __init__(self, seed, *, pause=0.0, refuse=0.0, module: Any = write_back, count=30):
        self.rng = np.random.default_rng(seed)
        self.pause, self.refuse = pause, refuse
        program = ordered(random_program(seed, count, plain=False))
        self.state = state = program.state
        state.S1[:] = state.S2[:] = 0
        self.stream, self.codes = state.stream.copy(), state.codes.copy()
        self.instructions = program.instructions
        self.beats: list[tuple[Any, ...]] = []  # values, end, count that it waits for
        self.chunks: list[tuple[Any, ...]] = []  # finish, bank, entry and its sums, of each count
        for i in self.instructions:
            self.beats += [(*beat, i["wait_array"]) for beat in _values(state, i, self.rng)]
            self._run_golden(i)
        self.dut = module.WriteBack(
            size=CONFIG.size,
            stream_words=CONFIG.stream_words,
            code_words=CONFIG.code_words,
            sum_chunks=CONFIG.sum_chunks,
        )
        self.sums: Any = ChannelSums(size=CONFIG.size, sum_chunks=CONFIG.sum_chunks)
        self.wrong: list[Any] = []
        self.taken: list[int] = []
        self.written: list[int] = []
        self.counted: list[int] = []

    def _run_golden(self, i):
        (conv if i.opcode is Opcode.CONV else matmul)(self.state, i)
        sums = i.opcode is Opcode.CONV and i["sums"]
        for chunk in range(output_count(i)):
            entry = i["sums0"] + chunk if sums else None
            found = sums and [self.state.S1[entry].tolist(), self.state.S2[entry].tolist()]
            self.chunks.append((chunk + 1 == output_count(i), i["bank"], entry, found))

    def run(self):
        m = Module()
        m.submodules.dut, m.submodules.sums = self.dut, self.sums
        for name in ("valid", "entry", "clear", "data"):
            m.d.comb += getattr(self.sums.gather, name).eq(getattr(self.dut.gather, name))
        simulate(m, self._drive)
        for name in ("stream", "codes"):
            if not np.array_equal(getattr(self, name), getattr(self.state, name)):
                self.wrong.append(name)
        return self

    async def _drive(self, ctx):
        dut, fed, beat = self.dut, 0, 0
        offered = False
        self.held: dict[str, Any] = {}
        self.read: Any = None  # sums to be seen in this cycle
        self.residual: Any = None
        for self.cycle in range(LIMIT):
            if fed < len(self.instructions):
                self._offer(ctx, self.instructions[fed])
            ctx.set(dut.i_instruction.valid, fed < len(self.instructions))
            if not offered and beat < len(self.beats):
                offered = len(self.counted) >= self.beats[beat][2] and (
                    self.rng.random() >= self.pause
                )
            ctx.set(dut.i.valid, offered)
            if offered:
                ctx.set(dut.i.payload["values"], self.beats[beat][0])
                ctx.set(dut.i.payload.end, self.beats[beat][1])
            self._memories(ctx)
            self._counts(ctx)
            fed += bool(fed < len(self.instructions) and ctx.get(dut.i_instruction.ready))
            if offered and ctx.get(dut.i.ready):
                self.taken.append(self.cycle)
                beat, offered = beat + 1, False
            if len(self.counted) >= len(self.chunks) and self.read is None:
                break
            await ctx.tick()
        else:
            self.wrong.append("not finished")
        for _ in range(8):  # nothing more may come
            await ctx.tick()
            for name in ("count", "finish"):
                if ctx.get(getattr(dut, name)):
                    self.wrong.append(("after the end", name))

    def _offer(self, ctx, i):
        payload = self.dut.i_instruction.payload
        for name, _ in self.dut.instruction:
            value = int(i.opcode) if name == "opcode" else i.fields.get(name, 0)
            ctx.set(payload[name], value)

    def _memories(self, ctx):
        dut, size = self.dut, CONFIG.size
        garbage = self.rng.integers(-32768, 32768, size).tolist()
        ctx.set(dut.read_residual.data, garbage if self.residual is None else self.residual)
        self.residual = None
        ready = {
            name: bool(self.rng.random() >= self.refuse)
            for name in ("read_residual", "write_stream", "write_codes")
        }
        for name, value in ready.items():
            ctx.set(getattr(dut, name).ready, value)
        for name, value in ready.items():
            port = getattr(dut, name)
            valid = ctx.get(port.valid)
            now: Any = [valid, ctx.get(port.address)]
            if name != "read_residual":
                now.append([ctx.get(port.data[lane]) for lane in range(size)])
            if name == "write_codes":
                now.append(ctx.get(port.mask))
            if self.held.pop(name, now) != now:
                self.wrong.append((self.cycle, name, "changed while refused"))
            if valid and not value:
                self.held[name] = now
        if ctx.get(dut.read_residual.valid) and ready["read_residual"]:
            self.residual = self.stream[ctx.get(dut.read_residual.address)].tolist()
        if ctx.get(dut.write_stream.valid) and ready["write_stream"]:
            _, at, words = self._accepted(ctx, "write_stream")
            self.stream[at] = words
        if ctx.get(dut.write_codes.valid) and ready["write_codes"]:
            port, at, words = self._accepted(ctx, "write_codes")
            mask = ctx.get(port.mask)
            live = np.array([mask >> lane & 1 for lane in range(size)], bool)
            self.codes[at] = np.where(live, words, self.codes[at])

    def _accepted(self, ctx, name):
        self.written.append(self.cycle)
        port = getattr(self.dut, name)
        return port, ctx.get(port.address), [ctx.get(port.data[n]) for n in range(CONFIG.size)]

    def _counts(self, ctx):
        """A count is as golden's; sums are read in the cycle after it, and compared in the next."""
        dut, read = self.dut, self.sums.read
        if self.read is not None:
            due, entry, expected = self.read
            if self.cycle == due:
                ctx.set(read.entry, entry)
            else:
                found = ctx.get(read.data)
                got = [[int(found[n][lane]) for lane in range(CONFIG.size)] for n in ("S1", "S2")]
                if got != expected:
                    self.wrong.append((self.cycle, "sums", entry))
                self.read = None
        ctx.set(read.valid, self.read is not None)
        if not ctx.get(dut.count):
            if ctx.get(dut.finish):
                self.wrong.append((self.cycle, "finish without count"))
            return
        if len(self.counted) >= len(self.chunks):
            self.wrong.append((self.cycle, "a count too many"))
            return
        ends, bank, entry, expected = self.chunks[len(self.counted)]
        self.counted.append(self.cycle)
        if self.cycle - COUNT_DELAY not in self.written:
            self.wrong.append((self.cycle, "count not two cycles after a write"))
        if ctx.get(dut.finish) != ends or (ends and ctx.get(dut.finish_bank) != bank):
            self.wrong.append((self.cycle, "finish"))
        if entry is not None and self.read is None:
            self.read = (self.cycle + 1, entry, expected)


@pytest.mark.parametrize("name", STALLS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_memory_and_sums_equal_golden(name, seed):
    pause, refuse = STALLS[name]
    bench = _Bench(seed, pause=pause, refuse=refuse).run()
    assert bench.wrong == []
    assert len(bench.written) == len(bench.taken) == len(bench.beats)


def test_programs_are_varied():
    found = [i for seed in (0, 1, 2) for i in _Bench(seed).instructions]
    for opcode in (Opcode.CONV, Opcode.MATMUL):
        assert {i["narrow"] for i in found if i.opcode is opcode} == {0, 1}
    convs = [i for i in found if i.opcode is Opcode.CONV]
    for name in ("residual", "sums", "sums_clear"):
        assert {i["sums"] and i[name] if "clear" in name else i[name] for i in convs} == {0, 1}


def test_a_word_a_cycle():
    bench = _Bench(3)
    bench.beats = [(values, end, 0) for values, end, _ in bench.beats]
    bench.run()
    first = bench.taken[0]
    assert bench.taken == list(range(first, first + len(bench.beats)))
    assert bench.written == [cycle + bench.dut.latency for cycle in bench.taken]


def _mutant(text, replacement):
    source = inspect.getsource(write_back)
    assert source.count(text) == 1, text
    module = types.ModuleType("mutant")
    exec(compile(source.replace(text, replacement), "mutant", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_seen(name):
    module = _mutant(*FAULTS[name])
    assert any(_Bench(seed, pause=0.2, refuse=0.3, module=module).run().wrong for seed in (0, 1, 2))
