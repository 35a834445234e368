"""The list of planted faults.

A fault is one text of one file of ``hdl/`` replaced by another. The text must occur exactly once,
so a change of the RTL that moves it is noticed. The fault must be seen by the block's own bench, at
one of ``streams``.
"""

from dataclasses import dataclass

__all__ = ["FAULTS", "PARAMETERS", "Fault"]

PARAMETERS: dict[str, dict[str, int | str]] = {
    "operand": {"rows": 4, "side_width": 5},
    "mac_array": {"rows": 4, "cols": 3, "side_width": 5},
    "accumulator": {"depth": 16, "cols": 3, "sum_width": 22, "side_width": 5},
    "scale_file": {"lanes": 2},
    "requantizer": {"lanes": 2, "side_width": 5},
    "silu_quantizer": {"lanes": 2, "side_width": 5},
    "residual": {"lanes": 2, "side_width": 5},
    "datapath": {"rows": 4, "cols": 4, "depth": 16},
}


@dataclass(frozen=True)
class Fault:
    """``old`` becomes ``new`` in ``hdl/file``; ``models`` says what a designer did wrong."""

    name: str
    file: str
    old: str
    new: str
    block: str
    streams: tuple[str, ...]
    models: str

    @property
    def caught_by(self) -> str:
        """The test that a developer would see fail."""
        return f"tests/test_{self.block}.py (bench cosim/tb_{self.block}.py)"


FAULTS = (
    # rounding, saturation, sign
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
    # operand
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
    # array
    Fault(
        "weights_a_beat_early",
        "processing_element.py",
        "raw.eq(active * self.operand)",
        "raw.eq(((shadow & self.swap.replicate(8)) | (active & ~self.swap.replicate(8)))"
        ".as_signed() * self.operand)",
        "mac_array",
        ("o",),
        "weight tile swapped a beat early",
    ),
    Fault(
        "weights_a_beat_late",
        "processing_element.py",
        "        with m.If(self.swap):\n",
        "        late = Signal()\n"
        "        m.d.sync += late.eq(self.swap)\n"
        "        with m.If(late):\n",
        "mac_array",
        ("o",),
        "weight tile swapped a beat late",
    ),
    Fault(
        "bubble_between_tiles",
        "mac_array.py",
        "self.i_weights.ready.eq(~full | swap)",
        "self.i_weights.ready.eq(~full)",
        "mac_array",
        ("i_weights", "i", "o"),
        "next weights not accepted in the cycle of the swap",
    ),
    Fault(
        "beat_duplicated",
        "mac_array.py",
        "valid, side = self.i.valid & self.i.ready, beat.side",
        "valid, side = self.i.valid, beat.side",
        "mac_array",
        ("o",),
        "beat duplicated while it waits for its weights",
    ),
    Fault(
        "row_swap",
        "mac_array.py",
        "cell.operand.eq(operands[row])",
        "cell.operand.eq(operands[(row ^ 1) % self.rows])",
        "mac_array",
        ("o",),
        "rows swapped",
    ),
    Fault(
        "decoded_sign_lost",
        "mac_array.py",
        "wide.eq((beat.mantissa[row] << k)[:12].as_signed())",
        "wide.eq((beat.mantissa[row] << k)[:11].as_signed())",
        "mac_array",
        ("o",),
        "decoded operand one bit too narrow",
    ),
    # accumulator
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
    # scale file
    Fault(
        "group_a_tile_early",
        "tile_lookup.py",
        "self.boundaries[index] <= first.step",
        "self.boundaries[index] <= self.i.payload.step",
        "scale_file",
        ("o_conv", "o_activation", "o_edge", "o_read"),
        "group switched a tile early",
    ),
    Fault(
        "group_a_tile_late",
        "tile_lookup.py",
        "self.boundaries[index] <= first.step",
        "self.boundaries[index] <= checked.step",
        "scale_file",
        ("o_conv", "o_activation", "o_edge", "o_read"),
        "group switched a tile late",
    ),
    Fault(
        "boundary_off_by_one",
        "tile_lookup.py",
        "self.boundaries[index] <= first.step",
        "self.boundaries[index] < first.step",
        "scale_file",
        ("o_conv", "o_activation", "o_edge", "o_read"),
        "group begins a step late",
    ),
    Fault(
        "stale_bank",
        "tile_lookup.py",
        "passes.eq(checked_valid & matches & bank.loaded",
        "passes.eq(checked_valid & bank.loaded",
        "scale_file",
        ("o_conv", "o_activation", "o_edge", "i_conv", "i_activation", "i_edge", "bank_busy"),
        "stale scale bank: a tile passes before its set is loaded",
    ),
    Fault(
        "bank_overwritten_in_use",
        "scale_file.py",
        "idle[bank].eq(~self.bank_busy[bank] & ~Cat(starts).any())",
        "idle[bank].eq(1)",
        "scale_file",
        ("i_write", "o_conv", "o_activation", "o_edge"),
        "bank written while its tiles are in flight",
    ),
    # SiLU
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
        'delayed(offset, "zero_point", 9)',
        'delayed(offset, "zero_point", 8)',
        "silu_quantizer",
        ("o",),
        "z taken from the next beat",
    ),
    Fault(
        "silu_k_off_by_one",
        "silu_quantizer.py",
        'delayed(exponent, "k_less_one", 9)',
        'delayed(exponent ^ 1, "k_less_one", 9)',
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
    # residual
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
    # datapath
    Fault(
        "operand_constants_of_another_tile",
        "datapath.py",
        "operand.i.payload.zero_point.eq(found.constants.zero_point)",
        "operand.i.payload.zero_point.eq(self.scale_file.o_conv.payload.constants.zero_point)",
        "datapath",
        ("o_conv",),
        "operand's z taken from another tile than the requantizer's M and n",
    ),
    Fault(
        "requantizer_row_of_another_tile",
        "datapath.py",
        "operand_side.array.tag.scale_row.eq(found.scale_row)",
        "operand_side.array.tag.scale_row.eq(self.scale_file.o_conv.payload.scale_row)",
        "datapath",
        ("o_conv",),
        "requantizer's M and n taken from another tile than the operand's z and k",
    ),
    Fault(
        "skid_drops_a_beat",
        "skid_buffer.py",
        "m.d.sync += [tail.eq(self.i.payload), tail_valid.eq(1)]",
        "m.d.sync += tail.eq(self.i.payload)",
        "datapath",
        ("o_conv", "o_activation", "o_edge", "i_conv", "i_activation", "i_edge"),
        "skid buffer drops the beat that a stall caught",
    ),
    Fault(
        "bank_released_early",
        "datapath.py",
        "self.scale_file.release_conv.eq(self.o_conv.valid & self.o_conv.ready & done.end)",
        "self.scale_file.release_conv.eq(accumulator.o.valid & accumulator.o.ready & total.end)",
        "datapath",
        ("bank_busy", "i_write", "o_conv"),
        "bank released before its last value has left the requantizer",
    ),
)
