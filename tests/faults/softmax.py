"""Faults planted in ``hdl/softmax.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"lanes": 4, "keys_max": 64, "side_width": 5}

FAULTS = (
    Fault(
        "softmax_counts_every_lane",
        "softmax.py",
        "far.eq(away[_DISTANCE_WIDTH:].any() | ~counts[lane])",
        "far.eq(away[_DISTANCE_WIDTH:].any())",
        "softmax",
        ("o", "o_scale"),
        "lanes behind the last key count",
    ),
    Fault(
        "softmax_maximum_of_every_lane",
        "softmax.py",
        "Mux(counts[lane], logits[lane], least)",
        "logits[lane]",
        "softmax",
        ("o", "o_scale"),
        "a lane behind the last key becomes the maximum",
    ),
    Fault(
        "softmax_distance_wraps",
        "softmax.py",
        "distance.eq(away[:_DISTANCE_WIDTH] | far.replicate(_DISTANCE_WIDTH))",
        "distance.eq(Mux(counts[lane], away[:_DISTANCE_WIDTH], 511))",
        "softmax",
        ("o", "o_scale"),
        "distance of 512 and more wraps",
    ),
    Fault(
        "softmax_maximum_of_the_row_before",
        "softmax.py",
        "so_far.eq(Mux(last[self.levels], least, found))",
        "so_far.eq(found)",
        "softmax",
        ("o", "o_scale", "i"),
        "maximum is not begun anew with a row",
    ),
    Fault(
        "softmax_sum_not_begun_anew",
        "softmax.py",
        "fresh.eq(ends)",
        "fresh.eq(0)",
        "softmax",
        ("o_scale",),
        "S goes on from row to row",
    ),
    Fault(
        "softmax_word_given_twice",
        "softmax.py",
        "with m.Elif(self.o.ready):",
        "with m.Elif(0):",
        "softmax",
        ("o",),
        "a word taken while a scale waits is offered again",
    ),
    Fault(
        "softmax_second_pass_a_cycle_early",
        "softmax.py",
        "& (held == 0)",
        "& (held == 0) & ~pushes",
        "softmax",
        ("i", "o"),
        "second pass starts while its maximum is being written",
    ),
    Fault(
        "reciprocal_remainder_not_restored",
        "row_reciprocal.py",
        "kept.eq(Mux(bit, less[:width], Cat(Const(0, 1), remainder)[:width]))",
        "kept.eq(less[:width])",
        "softmax",
        ("o_scale",),
        "a remainder below the divisor is not restored",
    ),
    Fault(
        "reciprocal_shift_off_by_one",
        "row_reciprocal.py",
        "(bits + self.shift - 1)",
        "(bits + self.shift)",
        "softmax",
        ("o_scale",),
        "n one too large",
    ),
)
