"""Faults planted in ``hdl/operand.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"rows": 4, "side_width": 5}

FAULTS = (
    Fault(
        "zero_point_off_by_one",
        "operand.py",
        "offset.eq(beat.zero_point &",
        "offset.eq((beat.zero_point + 1)[:7] &",
        "operand",
        ("o",),
        "z off by one",
    ),
    Fault(
        "k_off_by_one",
        "operand.py",
        "m.d.comb += o_beat.k.eq(K_MAX)",
        "m.d.comb += o_beat.k.eq(K_MAX - 1)",
        "operand",
        ("o",),
        "k off by one in the hi pass",
    ),
    Fault(
        "hi_lo_swapped",
        "operand.py",
        "is_hi.eq(beat.mode == OperandMode.HI)",
        "is_hi.eq(beat.mode == OperandMode.LO)",
        "operand",
        ("o",),
        "hi and lo passes swapped",
    ),
    Fault(
        "pad_ignored",
        "operand.py",
        "with m.If(beat.pad[row]):",
        "with m.If(beat.pad[row] & is_region):",
        "operand",
        ("o",),
        "padding not forced to zero outside region mode",
    ),
    Fault(
        "beat_dropped_on_a_stall",
        "operand.py",
        "m.d.comb += self.i.ready.eq(enable)",
        "m.d.comb += self.i.ready.eq(1)",
        "operand",
        ("i", "o"),
        "beat taken although the stage is full: dropped on a stall",
    ),
)
