"""Group norm: its stream of words, and that a chunk begins only with constants of its own."""

from typing import Any

from amaranth.hdl import Signal, Value

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, implies
from hdl.group_norm import GroupNorm

__all__ = ["stream"]

SIDE = 3
LANES = 2


def stream() -> Harness:
    """Every word comes out once, in order; chunks begin after their set, one set is ahead."""
    h = Harness()
    dut = GroupNorm(lanes=LANES, side_width=SIDE)
    inside = h.add("dut", dut)
    o, depth = dut.o, dut.latency

    def holds(stage: int, saved: Any) -> Value:
        return inside[f"side_{stage + 1}"] == saved.side

    flow = Flow(h, "word", dut.i, o, capacity=depth, wait=depth - 1,
                expect=lambda saved: o.payload.side == saved.side)  # fmt: skip
    flow.follow(Stages([inside["valid"][stage] for stage in range(depth)], holds))
    # seen from outside: sets that came less chunks that began
    sets = Signal(2, name="sets")
    lane, begins = Signal(range(LANES), name="seen_lane"), Signal(init=1, name="begins")
    comes = h.named(dut.i_constants.valid & dut.i_constants.ready, "constant_comes")
    ends = h.named(comes & (dut.i_constants.payload.last | (lane == LANES - 1)), "set_ends")
    takes = h.named(dut.i.valid & dut.i.ready, "word_comes")
    with h.m.If(comes):
        h.m.d.sync += lane.eq(lane + 1)
    with h.m.If(ends):
        h.m.d.sync += lane.eq(0)
    with h.m.If(takes):
        h.m.d.sync += begins.eq(dut.i.payload.last)
    h.m.d.sync += sets.eq((sets + ends - (takes & begins))[:2])
    h.check("lane", inside["lane"] == lane)
    h.check("due", inside["due"] == begins)
    h.check("sets", sets == (inside["full"] & ~inside["leaving"]))
    h.check("leaving_is_full", implies(inside["leaving"], inside["full"]))
    firsts = Value.cast(inside["first"])
    h.check("leaving_is_on_its_way", inside["leaving"] == firsts.any())
    h.check("one_on_its_way", (firsts & (firsts - 1)[: len(firsts)]) == 0)
    h.check("a_chunk_needs_its_set", implies(takes & begins, sets == 1))
    h.check("one_set_ahead", implies(ends, sets == 0))
    h.check("words_wait_for_sets_alone",
            dut.i.ready == ((o.ready | ~o.valid) & (~begins | (sets == 1))))  # fmt: skip
    h.cover("a_chunk_waits", dut.i.valid & begins & (sets == 0))
    h.cover("constants_wait", dut.i_constants.valid & ~dut.i_constants.ready)
    return h
