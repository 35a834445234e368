"""Faults planted in ``hdl/residual.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"lanes": 2, "side_width": 5}

FAULTS = (
    Fault(
        "residual_wraps",
        "residual.py",
        "clips.eq(total[-1] ^ total[-2])",
        "clips.eq(0)",
        "residual",
        ("o",),
        "sum wraps in place of saturating",
    ),
    Fault(
        "residual_clips_to_the_wrong_side",
        "residual.py",
        "Mux(total[-1], -(1 <<",
        "Mux(total[-2], -(1 <<",
        "residual",
        ("o",),
        "limit chosen by the sign of the sum that has wrapped",
    ),
    Fault(
        "residual_sum_without_carry",
        "residual.py",
        "total.eq(beat.a[lane] + beat.b[lane])",
        "total.eq((beat.a[lane] + beat.b[lane])[:WIDTH].as_signed())",
        "residual",
        ("o",),
        "sum cut to 16 bits before it is saturated",
    ),
    Fault(
        "residual_side_of_the_next_beat",
        "residual.py",
        "self.o.payload.side.eq(side)",
        "self.o.payload.side.eq(beat.side)",
        "residual",
        ("o",),
        "side taken a register too early",
    ),
)
