"""Skid buffer and tile lookup: the streams between the blocks."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Mux, Signal, Value
from amaranth.lib import data

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, implies
from golden.scale_tables import ScaleFileConfig
from hdl.skid_buffer import SkidBuffer
from hdl.tile_lookup import TileLookup, operand_layout

__all__ = ["lookup", "skid_buffer"]

WIDTH = 4


def skid_buffer() -> Harness:
    """Every beat leaves once, in order, a cycle after it came; ready comes from a register."""
    h = Harness()
    dut = SkidBuffer(data.StructLayout({"word": WIDTH}))
    inside = h.add("dut", dut)
    i, o = dut.i, dut.o
    entries = [inside["tail"], inside["head"]]
    valid = [inside["tail_valid"], inside["head_valid"]]

    def step(markers: Any, marked: Any) -> Sequence[Any]:
        moves = o.ready | ~valid[1]
        head = Mux(moves, Mux(valid[0], markers[0], marked), markers[1])
        return Mux(moves, 0, markers[0] | marked)[0], head

    def right(saved: Any) -> Value:
        return o.payload.word == saved.word

    flow = Flow(h, "beat", i, o, capacity=2, wait=0, expect=right)
    flow.follow(Stages(valid, lambda s, saved: entries[s] == saved.word, step))
    h.check("tail_after_head", implies(valid[0], valid[1]))
    before = h.register(i.ready, "ready_before", init=1)
    stalls = h.register(o.valid & ~o.ready, "stalls")
    h.check("ready_after_a_move", implies(~stalls, i.ready | ~before))
    h.check("room", i.ready == (flow.inside < 2))
    return h


def lookup() -> Harness:
    """Every beat leaves once, in order; it waits for its bank only, and as long as that."""
    h = Harness()
    config = ScaleFileConfig(groups=3, resident_groups=2, steps=2, channel_tiles=1, lanes=1)
    dut = TileLookup(config=config, side_width=3, row_layout=operand_layout(), by_segment=True)
    inside = h.add("dut", dut)
    i, o = dut.i, dut.o
    first, checked = (data.View(dut.i_layout, inside[name]) for name in ("first", "checked"))
    rowed = data.View(dut.o_layout, inside["rowed"])
    beats = [first, checked, rowed, o.payload]
    valid = [inside[f"{name}_valid"] for name in ("first", "checked", "rowed")] + [o.valid]
    front, back, passes = (inside[name] for name in ("front_moves", "back_moves", "passes"))

    def step(markers: Any, marked: Any) -> Sequence[Any]:
        return (
            Mux(front, marked, markers[0]),
            Mux(front, markers[0], markers[1]),
            Mux(back, markers[1] & passes, markers[2]),
            Mux(back, markers[2], markers[3]),
        )

    def right(saved: Any) -> Value:
        return (o.payload.side == saved.side) & (o.payload.bank == saved.bank)

    def holds(s: int, saved: Any) -> Value:
        if s < 2:
            return Value.cast(beats[s]) == Value.cast(saved)
        return (beats[s].side == saved.side) & (beats[s].bank == saved.bank)

    flow = Flow(h, "beat", i, o, capacity=4, wait=None, expect=right)
    flow.follow(Stages(valid, holds, step))
    # the bank that the waiting beat names, as it was a cycle ago
    banks = [dut.banks[bank] for bank in range(2)]
    before = [h.register(Value.cast(bank), f"bank_{b}_before") for b, bank in enumerate(banks)]
    changed = [Value.cast(bank) != was for bank, was in zip(banks, before, strict=True)]
    bank = {name: Mux(checked.bank, banks[1][name], banks[0][name]) for name, _ in banks[0].shape()}
    holds_it = (
        bank["loaded"]
        & Mux(checked.bank, dut.shut[1], dut.shut[0])
        & (bank["table_set"] == checked.table_set)
        & (bank["step_first"] <= checked.step)
        & (checked.step <= bank["step_last"])
    )
    steady = ~Mux(checked.bank, changed[1], changed[0])
    restarted = Signal(name="restarted", init=1)  # what was before the reset does not count
    h.m.d.sync += restarted.eq(0)
    waits = valid[1] & ~passes & back
    h.check("waits_for_its_bank", implies(waits & steady & ~restarted, ~holds_it))
    h.check("passes_its_bank", implies(passes & steady & ~restarted, holds_it))
    h.check("takes", i.ready == (dut.open & (~valid[1] | passes)))
    return h
