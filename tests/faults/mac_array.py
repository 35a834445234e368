"""Faults planted in ``hdl/mac_array.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"rows": 4, "cols": 3, "side_width": 5}

FAULTS = (
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
)
