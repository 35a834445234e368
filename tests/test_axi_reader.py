"""axi_reader against a memory with random latency, back-pressure and errors."""

import random

import pytest

from hdl.axi_reader import CLIENTS, AxiReader
from tests.amaranth_bench import simulate

BASES = {"tables": 0x1000, "program": 0x1_0000_0FC0, "weights": 0x20F80, "data": 0x7FFF_F000}


def byte_word(address, size):
    return int.from_bytes(
        bytes((a * 7 + (a >> 8) * 13 + (a >> 16)) & 255 for a in range(address, address + size)),
        "little",
    )


class Bench:
    """Four clients and a memory around one reader; raises where the bus breaks a rule."""

    def __init__(self, dut, seed, requests=12, latency=200, error=None):
        self.dut, self.random = dut, random.Random(seed)
        self.latency, self.error = latency, error
        self.requests = {
            name: [
                (64 * self.random.randrange(256), self.random.choice([1, 2, 15, 16, 17, 70, 300]))
                for _ in range(requests)
            ]
            for name in CLIENTS
        }
        self.want = {
            name: [
                (
                    byte_word(BASES[name] + offset + beat * dut.axi_bytes, dut.axi_bytes),
                    int(beat == beats - 1),
                )
                for offset, beats in asked
                for beat in range(beats)
            ]
            for name, asked in self.requests.items()
        }
        self.got: dict[str, list] = {name: [] for name in CLIENTS}
        self.bursts, self.faults, self.beats = [], 0, 0
        self.most, self.drained = 0, False

    def check_burst(self, address, length, cycle):
        size = self.dut.axi_bytes
        assert length <= 16
        assert address >> 12 == (address + length * size - 1) >> 12, "across 4 KB"
        assert address % size == 0
        self.bursts.append([cycle + self.random.randrange(self.latency + 1), address, length])
        self.most = max(self.most, len(self.bursts))
        assert len(self.bursts) <= self.dut.outstanding

    async def run(self, ctx, drain_at=None, limit=60000):
        dut, chance = self.dut, self.random.random
        asked, held = dict.fromkeys(CLIENTS, 0), None
        for name in CLIENTS:
            ctx.set(getattr(dut, f"base_{name}"), BASES[name])
        for cycle in range(limit):
            if drain_at == cycle:
                ctx.set(dut.drain, 1)
            ready = chance() < 0.6
            ctx.set(dut.m_axi_arready, ready)
            beat = bool(self.bursts) and self.bursts[0][0] <= cycle and chance() < 0.8
            ctx.set(dut.m_axi_rvalid, beat)
            if beat:
                _, address, left = self.bursts[0]
                ctx.set(dut.m_axi_rdata, byte_word(address, dut.axi_bytes))
                ctx.set(dut.m_axi_rlast, left == 1)
                ctx.set(dut.m_axi_rresp, 2 if self.beats == self.error else 0)
                self.beats += 1
            for name in CLIENTS:
                port, taker = getattr(dut, f"request_{name}"), getattr(dut, f"data_{name}")
                todo = asked[name] < len(self.requests[name])
                ctx.set(port.valid, todo)
                if todo:
                    offset, beats = self.requests[name][asked[name]]
                    ctx.set(port.payload, {"offset": offset, "beats": beats})
                    asked[name] += ctx.get(port.ready)
                take = chance() < 0.5
                ctx.set(taker.ready, take)
                if take and ctx.get(taker.valid):
                    self.got[name].append(
                        (ctx.get(taker.payload.data), ctx.get(taker.payload.last))
                    )
            assert ctx.get(dut.m_axi_rready) == 1
            self.faults += ctx.get(dut.fault)
            now = None
            if ctx.get(dut.m_axi_arvalid):
                now = (ctx.get(dut.m_axi_araddr), ctx.get(dut.m_axi_arlen) + 1)
            assert held is None or now == held, "arvalid is not stable"
            draining = drain_at is not None and cycle > drain_at
            assert not draining or now == held, "a burst while draining"
            held = None if ready else now
            if beat:
                self.bursts[0][1] += dut.axi_bytes
                self.bursts[0][2] -= 1
            if beat and self.bursts[0][2] == 0:
                self.bursts.pop(0)
            if now and ready:
                self.check_burst(*now, cycle)
            await ctx.tick()
            if draining and ctx.get(dut.idle):
                assert not self.bursts
                self.drained = True
                return
            if self.got == self.want:
                break


def run(dut, seed, drain_at=None, **options):
    bench = Bench(dut, seed, **options)

    async def testbench(ctx):
        await bench.run(ctx, drain_at)

    simulate(dut, testbench)
    return bench


@pytest.mark.parametrize("axi_bytes, outstanding, latency", [(8, 1, 3), (16, 4, 200), (32, 16, 40)])
def test_every_beat_arrives(axi_bytes, outstanding, latency):
    dut = AxiReader(axi_bytes=axi_bytes, outstanding=outstanding)
    bench = run(dut, axi_bytes, requests=4, latency=latency)
    assert bench.got == bench.want
    assert bench.faults == 0
    assert outstanding in (bench.most, 16)


@pytest.mark.parametrize("error", [0, 37])
def test_error_is_a_fault(error):
    assert run(AxiReader(), 5, requests=2, latency=9, error=error).faults == 1


@pytest.mark.parametrize("at", [7, 150, 401])
def test_drain_takes_what_is_outstanding(at):
    assert run(AxiReader(), at, drain_at=at).drained


class AcrossPages(AxiReader):
    """A reader that looks at 8 KB."""

    def elaborate(self, platform):
        import hdl.axi_reader as module

        module.PAGE_BITS = 13
        try:
            return super().elaborate(platform)
        finally:
            module.PAGE_BITS = 12


def test_a_burst_across_4_kb_is_found():
    with pytest.raises(AssertionError, match="across 4 KB"):
        run(AcrossPages(), 16, requests=8, latency=3)
