"""Faults planted in ``hdl/sampler.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"lanes": 2, "side_width": 5}

FAULTS = (
    Fault(
        "sampler_clamp_forgets_the_lower_side",
        "sampler_lane.py",
        "m.Elif(rounded < least)",
        "m.Elif(rounded < least - 1)",
        "sampler",
        ("o",),
        "x0 one below -reach is not clamped",
    ),
    Fault(
        "sampler_floor_of_x0",
        "sampler_lane.py",
        "named(kept + Const(1, signed(2)), ",
        "named(kept + Const(0, signed(2)), ",
        "sampler",
        ("o",),
        "x0 rounded down in place of half up",
    ),
    Fault(
        "sampler_noise_of_the_beat_before",
        "sampler_lane.py",
        'noise = register(self.noise, "noise_1")',
        'noise = register(register(self.noise, "noise_0"), "noise_1")',
        "sampler",
        ("o",),
        "noise a register too late",
    ),
    Fault(
        "sampler_byte_wraps",
        "sampler_lane.py",
        "Mux(level[8:].any(), 255, level[:8])",
        "level[:8]",
        "sampler",
        ("o",),
        "byte of an x above 1 wraps",
    ),
    Fault(
        "sampler_row_while_beats_are_in_flight",
        "sampler.py",
        "self.i_row.ready.eq(~valid.any())",
        "self.i_row.ready.eq(~valid[:-1].any())",
        "sampler",
        ("i_row",),
        "constants change while the last beat waits at the output",
    ),
    Fault(
        "sampler_beat_beside_a_row",
        "sampler.py",
        "self.i.ready.eq(enable & ~self.i_row.valid)",
        "self.i.ready.eq(enable)",
        "sampler",
        ("i", "o"),
        "a beat slips in while a row waits",
    ),
)
