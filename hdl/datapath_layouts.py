"""What travels on the paths of the datapath: payloads of its ports, and side bits in between."""

from amaranth.hdl import signed
from amaranth.lib import data

from golden.operand import CODE_BITS
from golden.scale_tables import STEP_BITS, TABLE_SET_BITS, ScaleFileConfig

__all__ = ["ACC_BITS", "STREAM_BITS", "U_BITS", "DatapathLayouts"]

ACC_BITS = 32
STREAM_BITS = 16
U_BITS = 12


def _tile_fields(channel_tile_bits=0):
    """Return the fields that name a tile's constants."""
    return {
        "bank": 1,
        "table_set": TABLE_SET_BITS,
        "step": STEP_BITS,
        "segment": 1,
        "channel_tile": channel_tile_bits,
    }


class DatapathLayouts:
    """Layouts of one size of datapath.

    Parameters
    ----------
    config : ScaleFileConfig
        Its ``lanes`` are the columns of the array.
    rows, lanes, depth : int
        Rows of the array, lanes of the vector paths, pixels of a tile.

    Attributes
    ----------
    i_conv, i_activation, i_edge, o_conv, o_activation, o_edge
        Payloads of the ports.
    code_side, activation_side, edge_side
        Through the lookups of the scale file: data and what is needed beside it.
    tag
        From a conv tile's lookup to its constants: ``narrow``, bank and rows.
    array_side, operand_side
        Beside the arithmetic of mac_array (pass, pixel, tag) and of operand (and tile_start).
    acc_side
        Through the scale file's read port.
    value_side, path_end
        Through the requantizer of the conv path, and through the vector paths.
    """

    def __init__(self, *, config: ScaleFileConfig, rows, lanes, depth):
        cols = config.lanes
        pixel_bits = max(1, (depth - 1).bit_length())
        pass_fields = {"first": 1, "last": 1, "end": 1, "pixel": pixel_bits}
        conv = {
            "codes": data.ArrayLayout(CODE_BITS, rows),
            "pad": data.ArrayLayout(1, rows),
            "mode": 2,
            "tile_start": 1,
            **pass_fields,
            "narrow": 1,
        }
        u = {"u": data.ArrayLayout(signed(U_BITS), lanes)}
        x = {"x": data.ArrayLayout(signed(STREAM_BITS), lanes)}
        vector = {"wide": 1, "start": 1, "end": 1, **_tile_fields()}

        self.i_conv = data.StructLayout({**conv, **_tile_fields(config.channel_tile_bits)})
        self.i_activation = data.StructLayout({**u, **vector})
        self.i_edge = data.StructLayout({**x, **vector})
        self.o_conv = data.StructLayout(
            {
                "values": data.ArrayLayout(signed(STREAM_BITS), cols),
                "pixel": pixel_bits,
                "end": 1,
            }
        )
        self.o_activation = data.StructLayout(
            {"codes": data.ArrayLayout(CODE_BITS, lanes), "end": 1}
        )
        self.o_edge = data.StructLayout(
            {"codes": data.ArrayLayout(signed(U_BITS), lanes), "end": 1}
        )

        self.code_side = data.StructLayout(conv)
        self.activation_side = data.StructLayout({**u, "wide": 1, "end": 1})
        self.edge_side = data.StructLayout({**x, "wide": 1, "end": 1})
        self.tag = data.StructLayout(
            {
                "narrow": 1,
                "bank": 1,
                "scale_row": config.scale_row_bits,
                "bias_row": config.bias_row_bits,
            }
        )
        self.array_side = data.StructLayout({**pass_fields, "tag": self.tag})
        self.operand_side = data.StructLayout({"tile_start": 1, "array": self.array_side})
        self.acc_side = data.StructLayout(
            {
                "acc": data.ArrayLayout(signed(ACC_BITS), cols),
                "pixel": pixel_bits,
                "end": 1,
                "bank": 1,
                "narrow": 1,
            }
        )
        self.value_side = data.StructLayout({"pixel": pixel_bits, "end": 1, "bank": 1})
        self.path_end = data.StructLayout({"end": 1, "bank": 1})
