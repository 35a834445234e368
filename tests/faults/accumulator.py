"""Faults planted in ``hdl/accumulator.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"depth": 16, "cols": 3, "sum_width": 22, "side_width": 5}

FAULTS = (
    Fault(
        "not_overwritten_on_first",
        "accumulator.py",
        "            m.d.sync += entry.eq(0)",
        "            m.d.sync += entry.eq(read.data)",
        "accumulator",
        ("o",),
        "accumulator not overwritten on first",
    ),
    Fault(
        "two_beats_in_flight",
        "accumulator.py",
        "Mux(same[0], 1, Mux(",
        "Mux(same[0], 0, Mux(",
        "accumulator",
        ("o",),
        "two beats in flight to one pixel lose one",
    ),
    Fault(
        "three_beats_in_flight",
        "accumulator.py",
        "Mux(same[2], 3, 0)",
        "Mux(same[2], 0, 0)",
        "accumulator",
        ("o",),
        "beats to one pixel three cycles apart lose one",
    ),
    Fault(
        "drain_before_the_last_write",
        "accumulator.py",
        "        with m.If(settled):\n            m.d.sync += complete[settled_bank].eq(1)",
        "        with m.If(finishes):\n            m.d.sync += complete[fill_bank].eq(1)",
        "accumulator",
        ("o",),
        "bank drained before its last sums are written",
    ),
    Fault(
        "drain_lost_on_a_stall",
        "accumulator.py",
        "drain_read.en.eq(moves)",
        "drain_read.en.eq(1)",
        "accumulator",
        ("o",),
        "entry read but not held while the output stalls",
    ),
)
