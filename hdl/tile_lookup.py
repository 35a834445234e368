"""One path through the scale file: from a tile's step to the constants of its group."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.scale_file import LOOKUP_BACK, LOOKUP_FRONT
from golden.scale_tables import STEP_BITS, TABLE_SET_BITS

__all__ = [
    "TileLookup",
    "bank_layout",
    "operand_layout",
    "scale_layout",
    "silu_layout",
    "tile_layout",
]

GROUP_BITS = 4  # at most 16 groups


def operand_layout():
    """Return the layout of an OPERAND row."""
    return data.StructLayout({"zero_point": 7, "k": 3})


def silu_layout():
    """Return the layout of a SILU row."""
    return data.StructLayout({"multiplier": 16, "shift": 5, "zero_point": 7, "k": 3})


def scale_layout():
    """Return the layout of an EDGE row, and of a lane of a SCALE row."""
    return data.StructLayout({"multiplier": 16, "shift": 6})


def tile_layout(side_width, channel_tile_bits):
    """Return the payload of a lookup: the tile's fields, which every beat carries."""
    return data.StructLayout(
        {
            "bank": 1,
            "table_set": TABLE_SET_BITS,
            "step": STEP_BITS,
            "segment": 1,
            "channel_tile": channel_tile_bits,
            "start": 1,
            "side": side_width,
        }
    )


def bank_layout():
    """Return what a bank knows of its contents."""
    return data.StructLayout(
        {
            "table_set": TABLE_SET_BITS,
            "step_first": STEP_BITS,
            "step_last": STEP_BITS,
            "group_first": GROUP_BITS,
            "loaded": 1,
        }
    )


def _matches(bank, tile):
    """Return whether ``bank`` holds the table set and the step of ``tile``."""
    return (
        (bank.table_set == tile.table_set)
        & (bank.step_first <= tile.step)
        & (tile.step <= bank.step_last)
    )


class TileLookup(wiring.Component):
    """One path through the scale file: group of the step, check of the bank, table row.

    Two registers stand before the check (the beat; the beat and the boundaries it has reached)
    and two after it (the beat and its row numbers; the beat and its constants). The front moves
    if its last register is a bubble, or its beat passes and the back moves (``o.ready |
    ~o.valid``). What a waiting beat is compared with may change under it; ``loaded`` comes a
    cycle after the new contents, so the comparison is registered.

    Parameters
    ----------
    config : ScaleFileConfig
    side_width : int
        Opaque bits that travel with the beat.
    row_bits : int
        Bits of ``table_row``, which selects a row of this path's table.
    row_layout : data.StructLayout
        A row of this path's table.
    by_segment : bool
        The row is {group row, segment} instead of {group row}.

    Members
    -------
    i : stream of ``tile_layout``
    o : stream of constants (``row_layout``), bank, scale_row, bias_row, side
    boundaries : first step of groups 1.. (STEP_BITS + 1 bits each: 2**STEP_BITS is never reached)
    banks : table_set, first and last step, first group, loaded, of both banks
    shut (2) : tiles may pass that name this bank
    open : beats may enter; boundaries do not change while one waits in front of the check
    waiting : a beat stands in front of the check
    starts (2) : a tile enters the bank in this cycle
    table_row, constants : read of the path's table, in the same cycle
    """

    def __init__(self, *, config, side_width, row_layout, by_segment):
        self.config = config
        self.side_width = side_width
        self.by_segment = by_segment
        self.row_bits = config.group_row_bits + (1 if by_segment else 0) + 1
        self.i_layout = tile_layout(side_width, config.channel_tile_bits)
        self.o_layout = data.StructLayout(
            {
                "constants": row_layout,
                "bank": 1,
                "scale_row": config.scale_row_bits,
                "bias_row": config.bias_row_bits,
                "side": side_width,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
                "boundaries": In(data.ArrayLayout(STEP_BITS + 1, max(1, config.groups - 1))),
                "banks": In(data.ArrayLayout(bank_layout(), 2)),
                "shut": In(2),
                "open": In(1),
                "waiting": Out(1),
                "starts": Out(2),
                "table_row": Out(self.row_bits),
                "constants": In(row_layout),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted beat to ``o.valid`` if its bank is loaded."""
        return LOOKUP_FRONT + LOOKUP_BACK

    def elaborate(self, platform):
        m = Module()
        config = self.config
        back_moves = Signal()
        front_moves = Signal()
        passes = Signal()

        # front: the beat, then the beat with the boundaries that its step has reached
        first = Signal(self.i_layout)
        first_valid = Signal()
        checked = Signal(self.i_layout)
        checked_valid = Signal()
        reached = Signal(max(1, config.groups - 1))
        first_bank = Signal(bank_layout())
        bank = Signal(bank_layout())
        first_matches = Signal()
        checked_matches = Signal()
        matches = Signal()
        shut = Signal()
        m.d.comb += [
            self.i.ready.eq(front_moves & self.open),
            self.waiting.eq(first_valid | checked_valid),
            first_bank.eq(Mux(first.bank, self.banks[1], self.banks[0])),
            bank.eq(Mux(checked.bank, self.banks[1], self.banks[0])),
            shut.eq(Mux(checked.bank, self.shut[1], self.shut[0])),
            first_matches.eq(_matches(first_bank, first)),
            checked_matches.eq(_matches(bank, checked)),
        ]
        with m.If(front_moves):
            m.d.sync += [
                first.eq(self.i.payload),
                first_valid.eq(self.i.valid & self.open),
                checked.eq(first),
                checked_valid.eq(first_valid),
                # a bank whose contents change is not loaded before `matches` has seen them
                matches.eq(first_matches),
            ]
            for index in range(config.groups - 1):
                m.d.sync += reached[index].eq(self.boundaries[index] <= first.step)
        with m.Else():
            m.d.sync += matches.eq(checked_matches)
        m.d.comb += [
            back_moves.eq(self.o.ready | ~self.o.valid),
            passes.eq(checked_valid & matches & bank.loaded & shut & back_moves),
            front_moves.eq(~checked_valid | passes),
            self.starts.eq(
                Cat(
                    passes & checked.start & ~checked.bank,
                    passes & checked.start & checked.bank,
                )
            ),
        ]

        # back: the beat and its rows, then the beat and its constants
        group = Signal(GROUP_BITS)
        group_row = Signal(config.group_row_bits)
        step_row = Signal(config.step_row_bits)
        m.d.comb += [
            group.eq(sum(reached[1:], reached[0])[:GROUP_BITS]),
            group_row.eq((group - bank.group_first)[: config.group_row_bits]),
            step_row.eq((checked.step - bank.step_first)[: config.step_row_bits]),
        ]
        rowed = Signal(self.o_layout)
        rowed_valid = Signal()
        rowed_segment = Signal()
        output = Signal(self.o_layout)
        group_row_at = config.channel_tile_bits
        m.d.comb += [
            self.table_row.eq(
                Cat(
                    rowed_segment if self.by_segment else [],
                    rowed.scale_row[group_row_at:],
                    rowed.bank,
                )
            ),
            output.eq(rowed),
            output.constants.eq(self.constants),
        ]
        with m.If(back_moves):
            m.d.sync += [
                rowed_valid.eq(passes),
                rowed.bank.eq(checked.bank),
                rowed.scale_row.eq(Cat(checked.channel_tile, group_row)),
                rowed.bias_row.eq(Cat(checked.channel_tile, step_row)),
                rowed.side.eq(checked.side),
                rowed_segment.eq(checked.segment),
                self.o.valid.eq(rowed_valid),
                self.o.payload.eq(output),
            ]
        return m
