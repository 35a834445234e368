"""Faults planted in ``hdl/datapath.py`` and what it is made of."""

from tests.faults.fault import Fault

__all__ = ["FAULTS", "PARAMETERS"]

PARAMETERS: dict[str, int | str] = {"rows": 4, "cols": 4, "depth": 16}

FAULTS = (
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
        ("o_conv", "o_activation", "o_edge", "i_conv", "i_activation", "i_edge", "i_weights"),
        "skid buffer drops the beat that a stall caught",
    ),
    Fault(
        "bank_released_early",
        "datapath.py",
        "self.scale_file.release_conv.eq(self.o_conv.valid & self.o_conv.ready & done.end),\n"
        "            self.scale_file.release_conv_bank.eq(done.bank),",
        "self.scale_file.release_conv.eq(read.valid & read.ready & total.end),\n"
        "            self.scale_file.release_conv_bank.eq(tag.bank),",
        "datapath",
        ("bank_busy", "i_write", "o_conv"),
        "bank released before its last value has left the requantizer",
    ),
)
