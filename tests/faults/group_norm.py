"""Faults planted in ``hdl/group_norm.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"lanes": 3, "side_width": 5}

FAULTS = (
    Fault(
        "norm_floor",
        "norm_lane.py",
        "half = Const(1 << (_POINT - 1), ",
        "half = Const(0, ",
        "group_norm",
        ("o", "i", "i_constants"),
        "u rounded down in place of half up",
    ),
    Fault(
        "norm_saturation_misses_a_bit",
        "norm_lane.py",
        "above = named(affine[U_WIDTH - 1 :], ",
        "above = named(affine[U_WIDTH:], ",
        "group_norm",
        ("o", "i", "i_constants"),
        "u of 2048..4095 wraps",
    ),
    Fault(
        "norm_shift_of_the_next_chunk",
        "norm_lane.py",
        "coarse = constant(given.shift[_FINE:], 3, ",
        "coarse = constant(given.shift[_FINE:], 1, ",
        "group_norm",
        ("o", "i", "i_constants"),
        "shift taken two registers too early, words of the chunk before get it",
    ),
    Fault(
        "norm_total_wraps",
        "norm_lane.py",
        "_TOTAL_WIDTH = 33",
        "_TOTAL_WIDTH = 32",
        "group_norm",
        ("o", "i", "i_constants"),
        "x*slope + offset of 2**31 wraps",
    ),
    Fault(
        "norm_word_before_its_constants",
        "group_norm.py",
        "waits.eq(due & (~full | leaving))",
        "waits.eq(due & ~full & ~leaving)",
        "group_norm",
        ("o", "i", "i_constants"),
        "a chunk of few words is followed before the next constants are there",
    ),
    Fault(
        "norm_ragged_lane_keeps_its_constants",
        "group_norm.py",
        "with m.If(released):\n                m.d.sync += entry.as_value().eq(0)",
        "with m.If(0):\n                m.d.sync += entry.as_value().eq(0)",
        "group_norm",
        ("o", "i", "i_constants"),
        "a lane behind the last channel keeps those of a chunk before",
    ),
    Fault(
        "norm_set_released_too_early",
        "group_norm.py",
        "released.eq(moves & enters[-1])",
        "released.eq(moves & enters[-2])",
        "group_norm",
        ("o", "i", "i_constants"),
        "the next constants come before the last of these are taken",
    ),
)
