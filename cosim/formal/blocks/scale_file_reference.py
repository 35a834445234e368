"""What the scale file must deliver, from its ports alone: contents as written, tiles in flight."""

from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value

from cosim.formal.harness import Harness, every, implies, ones
from golden.scale_tables import STEP_BITS, Table
from hdl.scale_file import ScaleFile

__all__ = ["ALL_TABLES", "IN_FLIGHT", "TABLES", "Path", "Reference", "tile_of"]

ALL_TABLES = {
    "conv": Table.OPERAND,
    "activation": Table.SILU,
    "edge": Table.EDGE,
    "scale": Table.SCALE,
    "bias": Table.BIAS,
}
TABLES = {"conv": Table.OPERAND, "activation": Table.SILU, "edge": Table.EDGE}
IN_FLIGHT = 3  # tiles of a path and bank at most: keeps the solver's states few


def tile_of(payload: Any) -> Value:
    """What all beats of a tile share."""
    return Cat(payload.bank, payload.table_set, payload.step)


class Reference:
    """Contents of the scale file as the writes have made them.

    ``boundaries``; ``held[bank]``: table_set, first and last step, first group of its last COMMIT;
    ``committed[bank]``: nothing was written since. ``row[path]``: the row that is followed, with
    the bank on top; ``word``, ``known``: its contents, once written.
    """

    def __init__(self, h: Harness, dut: ScaleFile) -> None:
        self.h, self.dut = h, dut
        write = dut.i_write.payload
        self.accepts = accepts = h.named(dut.i_write.valid & dut.i_write.ready, "accepts")

        def written(table: Table) -> Value:
            return accepts & (write.table == table)

        self.boundaries = []
        for index in range(dut.groups - 1):
            first_step = Signal(STEP_BITS + 1, name=f"first_step_{index}", init=1 << STEP_BITS)
            with h.m.If(written(Table.BOUNDARY) & (write.row == index)):
                h.m.d.sync += first_step.eq(write.data[:STEP_BITS])
            self.boundaries.append(first_step)
        self.held, self.committed = [], []
        for bank in range(2):
            held = Signal(32, name=f"held_{bank}")
            committed = Signal(name=f"held_committed_{bank}")
            with h.m.If(accepts & ((write.bank == bank) | (write.table == Table.BOUNDARY))):
                h.m.d.sync += committed.eq(write.table == Table.COMMIT)
                with h.m.If(write.table == Table.COMMIT):
                    h.m.d.sync += held.eq(write.data)
            self.held.append(held)
            self.committed.append(committed)
        self.row, self.word, self.known = {}, {}, {}
        widths = {path: unit.row_bits - 1 for path, unit in dut.lookups.items()}
        widths |= {"scale": dut.config.scale_row_bits, "bias": dut.config.bias_row_bits}
        for name, table in ALL_TABLES.items():
            width = widths[name]
            row = h.free(width + 1, f"{name}_row")
            h.constant(row)
            word = Signal(32, name=f"{name}_word")
            known = Signal(name=f"{name}_known")
            lane = (write.lane == 0) | (name in TABLES)
            with h.m.If(written(table) & (Cat(write.row[:width], write.bank) == row) & lane):
                h.m.d.sync += [word.eq(write.data), known.eq(1)]
            self.row[name], self.word[name], self.known[name] = row, word, known

    def group(self, step: Any) -> Value:
        """Number of boundaries that ``step`` has reached."""
        return ones([boundary <= step for boundary in self.boundaries])

    def of_bank(self, bank: Any) -> Any:
        """Return (table_set, first step, last step, first group, committed) of ``bank``."""
        held = Mux(bank, self.held[1], self.held[0])
        committed = Mux(bank, self.committed[1], self.committed[0])
        return held[:8], held[8:18], held[18:28], held[28:32], committed

    def rows(self, tile: Any) -> tuple[Value, Value, Value]:
        """Return (group row, scale row, bias row) that a beat must get."""
        config = self.dut.config
        _, first_step, _, first_group, _ = self.of_bank(tile.bank)
        group_row = (self.group(tile.step) - first_group)[: config.group_row_bits]
        step_row = (tile.step - first_step)[: config.step_row_bits]
        return group_row, Cat(tile.channel_tile, group_row), Cat(tile.channel_tile, step_row)

    def right(self, path: str, tile: Any, output: Any) -> Value:
        """The constants are those of the tile's bank, which holds its set, at its step."""
        table_set, first_step, last_step, _, committed = self.of_bank(tile.bank)
        group_row, scale_row, bias_row = self.rows(tile)
        segment = [] if path == "activation" else [tile.segment]
        row = Cat(*segment, group_row, tile.bank)
        word = self.word[path][: len(Value.cast(output.constants))]
        followed = self.known[path] & (row == self.row[path])
        return every(
            [
                committed,
                table_set == tile.table_set,
                (first_step <= tile.step) & (tile.step <= last_step),
                output.bank == tile.bank,
                output.scale_row == scale_row,
                output.bias_row == bias_row,
                implies(followed, Value.cast(output.constants) == word),
            ]
        )


class Path:
    """The tiles of one path: well formed at the input, released after their end.

    The side bits carry the beat's fields and ``end``, so that the output says whose it is.
    ``ended[bank]``: tiles delivered and not yet released.
    """

    def __init__(self, h: Harness, dut: ScaleFile, path: str) -> None:
        self.path = path
        self.i, self.o = getattr(dut, f"i_{path}"), getattr(dut, f"o_{path}")
        beat = self.i.payload
        self.fields = len(Value.cast(beat)) - len(beat.side)
        h.assume(f"{path}_side", beat.side[: self.fields] == Value.cast(beat)[: self.fields])
        self.end = end = beat.side[self.fields]
        self.open = is_open = Signal(name=f"{path}_open")
        self.tile = tile = Signal(len(tile_of(beat)), name=f"{path}_tile")
        with h.m.If(self.i.valid & self.i.ready):
            h.m.d.sync += [is_open.eq(~end), tile.eq(tile_of(beat))]
        formed = (beat.start != is_open) & implies(is_open, tile_of(beat) == tile)
        h.assume(f"{path}_formed", implies(self.i.valid, formed))
        # what leaves
        layout = dut.lookups[path].i_layout
        side = self.o.payload.side
        self.leaves = h.named(self.o.valid & self.o.ready, f"{path}_leaves")
        self.out = Signal(layout, name=f"{path}_out")
        h.m.d.comb += Value.cast(self.out)[: self.fields].eq(side[: self.fields])
        self.out_end = out_end = h.named(side[self.fields], f"{path}_out_end")
        self.out_open = Signal(name=f"{path}_out_open")
        self.out_tile = Signal(len(self.tile), name=f"{path}_out_tile")
        with h.m.If(self.leaves):
            h.m.d.sync += [self.out_open.eq(~out_end), self.out_tile.eq(tile_of(self.out))]
        self.ended = []
        release = getattr(dut, f"release_{path}")
        release_bank = getattr(dut, f"release_{path}_bank")
        for bank in range(2):
            ended = Signal(range(IN_FLIGHT + 2), name=f"{path}_ended_{bank}")
            more = h.named(self.leaves & out_end & (self.out.bank == bank), f"{path}_ends_{bank}")
            less = h.named(release & (release_bank == bank), f"{path}_released_{bank}")
            h.m.d.sync += ended.eq((ended + more - less)[: len(ended)])
            h.assume(f"{path}_release_{bank}", implies(less, ended + more != 0))
            h.assume(f"{path}_in_flight_{bank}", (ended + more) <= IN_FLIGHT)
            self.ended.append(ended)
