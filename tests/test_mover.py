"""mover, axi_reader and axi_writer between a stream scratchpad and a memory that hesitates."""

import random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

import hdl.axi_writer
from golden.accelerator.instruction import Opcode
from hdl.axi_reader import AxiReader
from hdl.axi_writer import AxiWriter
from hdl.mover import Mover
from tests.amaranth_bench import simulate

WORDS, BASE, REGION = 256, 0x1_0000_0F80, 1 << 14


class Bench:
    """Random moves; every byte of the region and every word are compared at the end."""

    def __init__(self, *, size, axi_bytes, seed, stall, moves=10, latency=30, error=None):
        self.rng = random.Random(seed)
        draw = np.random.default_rng(seed)
        self.size, self.axi_bytes, self.stall = size, axi_bytes, stall
        self.latency, self.error = latency, error
        self.mover = Mover(size=size, stream_words=WORDS, axi_bytes=axi_bytes)
        self.reader: Any = AxiReader(axi_bytes=axi_bytes)
        self.writer: Any = AxiWriter(axi_bytes=axi_bytes)
        self.memory = bytearray(draw.integers(0, 256, REGION, dtype=np.uint8).tobytes())
        self.stream = draw.integers(-32768, 32768, (WORDS, size))
        self.moves = [self._move() for _ in range(moves)]
        self.want_memory, self.want_stream = bytearray(self.memory), self.stream.copy()
        for opcode, at, words, offset in self.moves:
            length = 2 * size * words
            if opcode is Opcode.LOAD:
                found = np.frombuffer(self.want_memory, "<i2", words * size, offset)
                self.want_stream[at : at + words] = found.reshape(words, size)
            else:
                content = self.want_stream[at : at + words].astype("<i2").tobytes()
                self.want_memory[offset : offset + length] = content
        self.counts = self.faults = 0
        self.careless = False

    def _move(self):
        words = self.rng.choice([1, 2, 3, 7, self.rng.randrange(1, 100)])
        at = self.rng.randrange(WORDS - words + 1)
        offset = 64 * self.rng.randrange((REGION - 2 * self.size * words) // 64)
        return self.rng.choice([Opcode.LOAD, Opcode.STORE]), at, words, offset

    def _goes(self):
        return self.rng.random() >= self.stall

    def run(self, limit=40000):
        m = Module()
        m.submodules.mover, m.submodules.reader = self.mover, self.reader
        m.submodules.writer = self.writer
        mover, reader, writer = self.mover, self.reader, self.writer
        wiring.connect(m, mover.request, reader.request_data)
        wiring.connect(m, reader.data_data, mover.data)
        wiring.connect(m, mover.write_request, writer.request)
        wiring.connect(m, mover.write_data, writer.data)
        m.d.comb += [
            reader.base_data.eq(BASE),
            writer.base.eq(BASE),
            mover.writer_idle.eq(writer.idle),
        ]
        simulate(m, self._testbench(limit))
        return self

    def _testbench(self, limit):
        async def testbench(ctx):
            todo = list(self.moves)
            reads: list[list[int]] = []
            writes: list[list[int]] = []
            responses: list[int] = []
            beats: list[tuple[int, int, int]] = []
            held = None
            for cycle in range(limit):
                if todo:
                    opcode, at, words, offset = todo[0]
                    place = "destination" if opcode is Opcode.LOAD else "source0"
                    fields = {name: 0 for name, _ in self.mover.i.payload.shape()}
                    fields |= {"opcode": int(opcode), place: at, "words": words, "offset": offset}
                    ctx.set(self.mover.i.payload, fields)
                ctx.set(self.mover.i.valid, bool(todo))
                if todo and ctx.get(self.mover.i.ready):
                    todo.pop(0)
                replies = self._scratchpad(ctx)
                held = self._bus(ctx, cycle, reads, writes, responses, beats, held)
                self.counts += ctx.get(self.mover.count)
                self.faults += ctx.get(self.writer.fault)
                if self.counts == len(self.moves) and not todo:
                    assert ctx.get(self.writer.idle)
                    return
                await ctx.tick()
                for port, value in replies:
                    ctx.set(port, value)
            raise AssertionError(f"not done after {limit} cycles")

        return testbench

    def _scratchpad(self, ctx):
        read, write = self.mover.read_stream, self.mover.write_stream
        ctx.set(read.ready, self._goes())
        ctx.set(write.ready, self._goes())
        word = [self.rng.randrange(-32768, 32768) for _ in range(self.size)]
        if ctx.get(read.valid) and ctx.get(read.ready):
            word = self.stream[ctx.get(read.address)].tolist()
        if ctx.get(write.valid) and ctx.get(write.ready):
            self.stream[ctx.get(write.address)] = list(ctx.get(write.data))
        return [(read.data, word)]

    def _bus(self, ctx, cycle, reads, writes, responses, beats, held):
        """One cycle of the memory's side; return what must stay as it is."""
        reader, writer, size = self.reader, self.writer, self.axi_bytes
        ctx.set(reader.m_axi_arready, self._goes())
        ctx.set(writer.m_axi_awready, self._goes())
        ctx.set(writer.m_axi_wready, self._goes())
        gives = bool(reads) and reads[0][0] <= cycle and self._goes()
        ctx.set(reader.m_axi_rvalid, gives)
        if gives:
            at = reads[0][1]
            content = bytes(self.memory[at : at + size]).ljust(size, b"\xa5")
            ctx.set(reader.m_axi_rdata, int.from_bytes(content, "little"))
            ctx.set(reader.m_axi_rlast, reads[0][2] == 1)
            reads[0][1:] = [at + size, reads[0][2] - 1]
            if not reads[0][2]:
                reads.pop(0)
        answers = bool(responses) and responses[0] <= cycle
        ctx.set(writer.m_axi_bvalid, answers)
        if answers:
            responses.pop(0)
            ctx.set(writer.m_axi_bresp, 2 if self.error == 0 else 0)
            self.error = None if self.error is None else self.error - 1
        if ctx.get(reader.m_axi_arvalid) and ctx.get(reader.m_axi_arready):
            at, length = ctx.get(reader.m_axi_araddr) - BASE, ctx.get(reader.m_axi_arlen) + 1
            reads.append([cycle + self.rng.randrange(self.latency + 1), at, length])
        asked = (ctx.get(writer.m_axi_awaddr), ctx.get(writer.m_axi_awlen) + 1)
        if ctx.get(writer.m_axi_awvalid):
            assert held in (None, asked), "awvalid is not stable"
            held = asked
            if ctx.get(writer.m_axi_awready):
                assert asked[0] >> 12 == (asked[0] + asked[1] * size - 1) >> 12, "across 4 KB"
                assert asked[1] <= 16
                writes.append([asked[0] - BASE, asked[1]])
                held = None
        else:
            assert held is None, "awvalid fell"
        if ctx.get(writer.m_axi_wvalid) and ctx.get(writer.m_axi_wready):
            beats.append((ctx.get(writer.m_axi_wdata), ctx.get(writer.m_axi_wstrb),
                          ctx.get(writer.m_axi_wlast)))  # fmt: skip
        while writes and beats:
            value, strobe, last = beats.pop(0)
            at, left = writes[0]
            for byte in range(size):
                if strobe >> byte & 1 or self.careless:
                    self.memory[at + byte] = value >> 8 * byte & 255
            assert last == (left == 1)
            writes[0] = [at + size, left - 1]
            if left == 1:
                writes.pop(0)
                responses.append(cycle + 1 + self.rng.randrange(self.latency + 1))
        return held

    def check(self):
        assert self.memory == self.want_memory
        assert np.array_equal(self.stream, self.want_stream)
        assert self.faults == 0


@pytest.mark.parametrize("stall", [0.0, 0.4], ids=["flows", "stalls"])
@pytest.mark.parametrize(("size", "axi_bytes"), [(4, 8), (4, 32), (8, 16), (16, 8), (32, 32)])
def test_words_and_bytes(size, axi_bytes, stall):
    Bench(size=size, axi_bytes=axi_bytes, seed=size + axi_bytes, stall=stall).run().check()


def test_write_error_is_a_fault():
    assert Bench(size=8, axi_bytes=16, seed=3, stall=0.1, error=1).run().faults == 1


def test_bench_sees_a_burst_across_pages(monkeypatch):
    monkeypatch.setattr(hdl.axi_writer, "PAGE_BITS", 13)
    bench = Bench(size=16, axi_bytes=16, seed=5, stall=0.0, moves=40)
    with pytest.raises(AssertionError, match="across 4 KB"):
        bench.run()


def test_strobes_matter():
    """A memory that ignores them writes behind the last word."""
    bench = Bench(size=8, axi_bytes=32, seed=5, stall=0.0, moves=30)
    bench.careless = True
    with pytest.raises(AssertionError):
        bench.run().check()
