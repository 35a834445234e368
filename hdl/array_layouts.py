"""What travels through the array unit: passes, sets of weights, beats, and side bits in between."""

from enum import IntEnum

from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Opcode
from golden.operand import CODE_BITS
from golden.scale_tables import TABLE_SET_BITS, ScaleFileConfig
from hdl.accelerator_layouts import instruction_layout
from hdl.tile_lookup import operand_layout, tile_layout

__all__ = ["COORDINATE", "ArrayLayouts", "SetKind", "scale_read_signature"]

COORDINATE = signed(13)
"""A row or column of the image, before ``upsample`` halves it: -1..2048."""
ACC_BITS = 32
STREAM_BITS = 16


class SetKind(IntEnum):
    """Where a set of weights comes from."""

    STREAM = 0
    ROWS = 1
    TRANSPOSED = 2


def scale_read_signature(row_bits):
    """Return the read port of row_scales, as its reader sees it; data follow by one cycle."""
    return wiring.Signature(
        {
            "valid": Out(1),
            "bank": Out(1),
            "row": Out(row_bits),
            "multiplier": In(16),
            "shift": In(6),
        }
    )


class ArrayLayouts:
    """Layouts of one size of array unit, those of its streams to the scale file among them.

    Parameters
    ----------
    size, code_words, depth, channel_tiles : int
        As in :class:`~golden.accelerator.configuration.AcceleratorConfig`.

    Attributes
    ----------
    instruction
        Of CONV and MATMUL; a field that an opcode has not is 0.
    code_word, row_scale, scale_place
        Words of the code scratchpad; words of row_scales and where they are.
    pass_, set_
        A pass over a tile's pixels, and the weights that it takes.
    beat
        A word on its way to the array: the code and where it belongs.
    code_side, operand_side, array_side, tag
        Through the scale file's lookup, operand, mac_array and accumulator.
    acc_side, value_side
        Through the scale file's read port, and the requantizer.
    totals
        What the accumulator gives.
    values
        What leaves: a pixel of an output chunk, and whether it is the last one of its tile.
    lookup, found, constants_read, constants
        To and from the scale file's conv lookup, and its read port.
    """

    def __init__(self, *, size, code_words, depth, channel_tiles):
        AcceleratorConfig(
            size=size, code_words=code_words, depth=depth, channel_tiles=channel_tiles
        )
        config = ScaleFileConfig(1, 1, 1, channel_tiles, size)
        self.address_bits = max(1, (code_words - 1).bit_length())
        self.pixel_bits = max(1, (depth - 1).bit_length())
        self.lane_bits = (size - 1).bit_length()
        self.instruction = instruction_layout(Opcode.CONV, Opcode.MATMUL)
        self.row_scale = data.StructLayout({"multiplier": 16, "shift": 6})
        self.scale_place = data.StructLayout({"valid": 1, "bank": 1, "row": self.pixel_bits})
        self.code_word = data.ArrayLayout(CODE_BITS, size)

        tile = {
            "bank": 1,
            "table_set": TABLE_SET_BITS,
            "segment": 1,
            "channel_tile": config.channel_tile_bits,
        }
        kind = {"narrow": 1, "matmul": 1, "row_scale": 1, "scale_bank": 1, "chunk_end": 1}
        self.pass_ = data.StructLayout(
            {
                "address": self.address_bits,
                "row": COORDINATE,
                "column": COORDINATE,
                "height": 11,
                "width": 11,
                "row_words": 10,
                "rows": 10,
                "columns": 11,
                "stride2": 1,
                "upsample": 1,
                "mode": 2,
                "first": 1,
                "last": 1,
                "step_unit": 2,
                "need": 16,
                **kind,
                **tile,
            }
        )
        self.set_ = data.StructLayout(
            {
                "kind": 2,
                "address": self.address_bits,
                "lane_first": self.lane_bits,
                "lanes": self.lane_bits + 1,
            }
        )
        where = {"first": 1, "last": 1, "end": 1, "pixel": self.pixel_bits}
        code = {"pad": 1, "mode": 2, "tile_start": 1, **where, **kind}
        self.beat_side = data.StructLayout({**code, **tile})
        self.beat = data.StructLayout({"word": self.code_word, "side": self.beat_side})
        self.code_side = data.StructLayout({"word": self.code_word, **code})
        self.tag = data.StructLayout(
            {
                **kind,
                "bank": 1,
                "scale_row": config.scale_row_bits,
                "bias_row": config.bias_row_bits,
            }
        )
        self.array_side = data.StructLayout({**where, "tag": self.tag})
        self.operand_side = data.StructLayout({"tile_start": 1, "array": self.array_side})
        self.acc_side = data.StructLayout(
            {
                "acc": data.ArrayLayout(signed(ACC_BITS), size),
                "end": 1,
                "bank": 1,
                "narrow": 1,
                "matmul": 1,
                "row_scale": 1,
            }
        )
        self.totals = data.StructLayout(
            {
                "acc": data.ArrayLayout(signed(ACC_BITS), size),
                "pixel": self.pixel_bits,
                "end": 1,
                "side": self.tag.size,
            }
        )
        self.value_side = data.StructLayout({"end": 1, "bank": 1})
        self.values = data.StructLayout(
            {"values": data.ArrayLayout(signed(STREAM_BITS), size), "end": 1}
        )

        side = self.code_side.size
        rows = {"bank": 1, "scale_row": config.scale_row_bits, "bias_row": config.bias_row_bits}
        self.lookup = tile_layout(side, config.channel_tile_bits)
        self.found = data.StructLayout({"constants": operand_layout(), **rows, "side": side})
        self.constants_read = data.StructLayout({**rows, "side": self.acc_side.size})
        self.constants = data.StructLayout(
            {
                "multiplier": data.ArrayLayout(16, size),
                "shift": data.ArrayLayout(6, size),
                "bias": data.ArrayLayout(signed(16), size),
                "side": self.acc_side.size,
            }
        )
