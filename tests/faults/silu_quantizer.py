"""Faults planted in ``hdl/silu_quantizer.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"lanes": 2, "side_width": 5}

FAULTS = (
    Fault(
        "silu_round_floor",
        "silu_lane.py",
        "offset = Cat(Const(1, 1), self.zero_point",
        "offset = Cat(Const(0, 1), self.zero_point",
        "silu_quantizer",
        ("o",),
        "rounding constant forgotten in the code",
    ),
    Fault(
        "silu_zero_point_of_the_neighbour",
        "silu_quantizer.py",
        'delayed(offset, "zero_point", self.latency - 2)',
        'delayed(offset, "zero_point", self.latency - 3)',
        "silu_quantizer",
        ("o",),
        "z taken from the next beat",
    ),
    Fault(
        "silu_k_off_by_one",
        "silu_quantizer.py",
        'delayed(exponent, "k_less_one", self.latency - 2)',
        'delayed(exponent ^ 1, "k_less_one", self.latency - 2)',
        "silu_quantizer",
        ("o",),
        "k off by one in the upper region",
    ),
    Fault(
        "silu_zero_point_in_wide_codes",
        "silu_quantizer.py",
        "offset.eq(Mux(beat.wide, 0, beat.zero_point))",
        "offset.eq(beat.zero_point)",
        "silu_quantizer",
        ("o",),
        "z added to a 12-bit code",
    ),
)
