"""Faults planted in ``hdl/requantizer.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"lanes": 2, "side_width": 5}

FAULTS = (
    Fault(
        "round_floor",
        "requantizer_lane.py",
        "Cat(Const(1, 1), bias if",
        "Cat(Const(0, 1), bias if",
        "requantizer",
        ("o",),
        "rounding constant forgotten: floor in place of round half up",
    ),
    Fault(
        "round_half_away",
        "requantizer_lane.py",
        "Cat(Const(1, 1), bias if",
        "Cat(~negative, bias if",
        "requantizer",
        ("o",),
        "tie rule: half away from zero in place of half up",
    ),
    Fault(
        "shift_by_one",
        "requantizer_lane.py",
        'named(Cat(Const(0, 1), product).as_signed(), "doubled")',
        'named(product.as_signed(), "doubled")',
        "requantizer",
        ("o",),
        "shift by one too many",
    ),
    Fault(
        "no_saturation",
        "requantizer_lane.py",
        "Mux(clipped, limit, rounded[: self.out_width])",
        "Mux(0, limit, rounded[: self.out_width])",
        "requantizer",
        ("o",),
        "missing saturation: the result wraps",
    ),
    Fault(
        "window_overflow_forgotten",
        "requantizer_lane.py",
        "over = named(over | lost,",
        "over = named(over | Const(0, 1),",
        "requantizer",
        ("o",),
        "saturation looks at the kept bits only",
    ),
    Fault(
        "sign_of_acc",
        "requantizer_lane.py",
        "acc[_LOW_WIDTH:].as_signed()",
        "acc[_LOW_WIDTH:]",
        "requantizer",
        ("o",),
        "sign extension forgotten in the upper partial product",
    ),
    Fault(
        "narrow_of_the_neighbour",
        "requantizer.py",
        "lane.narrow.eq(narrow[-1])",
        "lane.narrow.eq(narrow[-2])",
        "requantizer",
        ("o",),
        "output width taken from the next beat",
    ),
    Fault(
        "lane_swap",
        "requantizer.py",
        "lane.multiplier.eq(beat.multiplier[index])",
        "lane.multiplier.eq(beat.multiplier[(index ^ 1) % self.lanes])",
        "requantizer",
        ("o",),
        "lanes swapped: the neighbour's M",
    ),
    Fault(
        "saturations_counted_per_beat",
        "requantizer.py",
        "_ones(saturated), 0)",
        "saturated.any(), 0)",
        "requantizer",
        ("saturations",),
        "one saturation counted a beat, whatever the number of lanes",
    ),
)
