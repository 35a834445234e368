"""Sampler: its stream, and the row of constants that each beat meets."""

from typing import Any

from amaranth.hdl import Signal, Value

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, every, implies
from hdl.sampler import Sampler

__all__ = ["stream"]

SIDE = 3


def stream() -> Harness:
    """Every beat comes out once, in order; it meets the row that was taken last before it."""
    h = Harness()
    dut = Sampler(lanes=1, side_width=SIDE)
    inside = h.add("dut", dut)
    o, depth = dut.o, dut.latency
    row = Value.cast(inside["row"])

    def holds(stage: int, saved: Any) -> Value:
        facts = [inside[f"side_{stage + 1}"] == saved.side]
        if stage < depth - 1:
            facts.append(inside["image"][stage] == saved.image)
        return every(facts)

    flow = Flow(h, "beat", dut.i, o, capacity=depth, wait=depth - 1,
                expect=lambda saved: o.payload.side == saved.side)  # fmt: skip
    flow.follow(Stages([inside["valid"][stage] for stage in range(depth)], holds))
    newest = Signal(len(row), name="newest_row")  # that left its stream last
    own = Signal(len(row), name="own_row")  # of the followed beat
    with h.m.If(dut.i_row.valid & dut.i_row.ready):
        h.m.d.sync += newest.eq(Value.cast(dut.i_row.payload))
    with h.m.If(flow.marked):
        h.m.d.sync += own.eq(newest)
    taken = h.register(1, "row_taken", enable=dut.i_row.valid & dut.i_row.ready)
    before = h.register(taken, "own_row_taken", enable=flow.marked)
    h.check("row_is_the_newest", implies(taken, row == newest))
    h.check("row_stays", implies(flow.tracking & before, row == own))
    h.check("taken_before", implies(flow.tracking & before, taken))
    h.check("own_is_the_newest", implies(flow.tracking & before, own == newest))
    h.check("ready", dut.i.ready == ((o.ready | ~o.valid) & ~dut.i_row.valid))
    h.check("row_ready", dut.i_row.ready == (flow.inside == 0))
    h.cover("a_row_waits", dut.i_row.valid & ~dut.i_row.ready)
    return h
