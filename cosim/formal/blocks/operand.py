"""Operand: its stream, its formula for every code, and the sum of the hi and lo passes."""

from typing import Any

from amaranth.hdl import Mux, Value

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, every, implies
from golden.operand import K_MAX, ZERO_POINT_MAX, OperandMode
from hdl.operand import Operand

__all__ = ["decode", "passes", "stream"]

SIDE = 3


def decode(h: Harness, beat: Any, output: Any, row: int) -> Value:
    """One bit: ``mantissa << (k if flag else 0)`` is the value that the code stands for.

    ``beat`` is the payload of the input, z in 0..112 and k in 0..4.
    """
    code = beat.codes[row]
    region, m = code[7], code[:7]
    value = Value.cast(output.mantissa[row])
    decoded = Mux(output.flag[row], value << output.k, value)
    wanted = [
        (OperandMode.REGION, Mux(region, m << beat.k, m - beat.zero_point)),
        (OperandMode.INT8, code[:8].as_signed() << beat.k),
        (OperandMode.HI, (code.as_signed() >> 4) << K_MAX),
        (OperandMode.LO, code[:4]),
    ]
    right = every(implies(beat.mode == mode, decoded == number) for mode, number in wanted)
    return Mux(beat.pad[row], decoded == 0, right)


def stream(rows: int = 2) -> Harness:
    """Every beat comes out once, in order, decoded by the formula of the numeric contract."""
    h = Harness()
    dut = Operand(rows=rows, side_width=SIDE)
    h.add("dut", dut)
    i, o = dut.i, dut.o
    h.assume("z", i.payload.zero_point <= ZERO_POINT_MAX)
    h.assume("k", i.payload.k <= K_MAX)

    def right(saved: Any) -> Value:
        beat = o.payload
        k = Mux(saved.mode == OperandMode.HI, K_MAX, Mux(saved.mode == OperandMode.LO, 0, saved.k))
        lanes = [decode(h, saved, beat, row) for row in range(rows)]
        return every([beat.side == saved.side, beat.k == k, *lanes])

    flow = Flow(h, "beat", i, o, capacity=1, wait=0, expect=right)
    flow.follow(Stages([o.valid], lambda _, saved: right(saved)))
    h.check("ready", i.ready == (o.ready | ~o.valid))
    for mode in OperandMode:
        h.cover(f"mode_{mode.name.lower()}", o.valid & flow.tracking & (flow.saved.mode == mode))
    return h


def passes() -> Harness:
    """The hi pass and the lo pass of a 12-bit lane add up to it, for all 4096 values."""
    h = Harness()
    outputs = []
    code = h.free(12, "code")
    for mode in (OperandMode.HI, OperandMode.LO):
        dut = Operand(rows=1)
        h.add(mode.name.lower(), dut)
        beat = dut.i.payload
        h.assume(f"{mode.name}_same", (beat.codes[0] == code) & ~beat.pad[0] & (beat.mode == mode))
        h.assume(f"{mode.name}_moves", dut.i.valid & dut.o.ready)
        out = dut.o.payload
        mantissa = Value.cast(out.mantissa[0])
        outputs.append((dut.o.valid, Mux(out.flag[0], mantissa << out.k, mantissa)))
    (hi_valid, hi), (lo_valid, lo) = outputs
    before = h.register(code, "code_before")
    value = h.named((hi + lo).as_signed(), "value")
    both = hi_valid & lo_valid
    h.check("recombined", implies(both, value == before.as_signed()))
    h.check("flags_of_lo", implies(lo_valid, (lo >= 0) & (lo < 16)))
    h.cover("negative", both & (value == -2048))
    h.cover("positive", both & (value == 2047))
    return h
