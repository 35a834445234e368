"""Residual sum: its stream, and its value for every pair of words."""

from typing import Any

from amaranth.hdl import Mux, Value

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, every
from hdl.residual import Residual

__all__ = ["stream"]

SIDE = 3
LIMIT = 1 << 15


def stream() -> Harness:
    """Every beat comes out once, in order, as ``sat16(a + b)``, whatever the stalls."""
    h = Harness()
    dut = Residual(lanes=1, side_width=SIDE)
    inside = h.add("dut", dut)
    o = dut.o

    def value(saved: Any) -> Value:
        total = saved.a[0] + saved.b[0]
        return Mux(total >= LIMIT, LIMIT - 1, Mux(total < -LIMIT, -LIMIT, total))

    def right(saved: Any) -> Value:
        return (o.payload.side == saved.side) & (o.payload["values"][0] == value(saved))

    def holds(stage: int, saved: Any) -> Value:
        if stage:
            return right(saved)
        total = inside["total_0"] == saved.a[0] + saved.b[0]
        return every([inside["side"] == saved.side, total])

    flow = Flow(h, "beat", dut.i, o, capacity=2, wait=1, expect=right)
    flow.follow(Stages([inside["valid"], o.valid], holds))
    h.check("ready", dut.i.ready == (o.ready | ~o.valid))
    return h
