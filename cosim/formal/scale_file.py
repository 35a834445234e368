"""Scale file: the constants of a beat are those of its tile's step and group.

The reference sees the ports alone: the boundaries and tables that were written, what each bank was
committed as, and which tiles are in flight. One row of each table, chosen by the solver, is
followed. Writes, commits and tiles come in any order; assumed is what the datapath guarantees: the
beats of a tile name the same bank, table set and step, each has ``start`` first and ``end`` last,
a tile is released once, after its end has been delivered, and a row is read only for a tile of the
conv path that is in flight.
"""

from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value
from amaranth.lib import data

from cosim.formal.flow import stable
from cosim.formal.harness import Harness, Internals, every, implies, ones
from golden.scale_tables import STEP_BITS, ScaleFileConfig, Table
from hdl.scale_file import PATHS, ScaleFile
from hdl.tile_lookup import bank_layout, tile_layout

__all__ = ["Reference", "constants"]

ALL_TABLES = {
    "conv": Table.OPERAND,
    "activation": Table.SILU,
    "edge": Table.EDGE,
    "scale": Table.SCALE,
    "bias": Table.BIAS,
}
TABLES = {"conv": Table.OPERAND, "activation": Table.SILU, "edge": Table.EDGE}
IN_FLIGHT = 3  # tiles of a path and bank at most: keeps the solver's states few


def _tile(payload: Any) -> Value:
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


class _Path:
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
        self.tile = tile = Signal(len(_tile(beat)), name=f"{path}_tile")
        with h.m.If(self.i.valid & self.i.ready):
            h.m.d.sync += [is_open.eq(~end), tile.eq(_tile(beat))]
        formed = (beat.start != is_open) & implies(is_open, _tile(beat) == tile)
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
            h.m.d.sync += [self.out_open.eq(~out_end), self.out_tile.eq(_tile(self.out))]
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


class _State:
    """Where writes, tiles and beats of the reference stand inside: what induction needs."""

    def __init__(self, h: Harness, dut: ScaleFile, inside: Internals, ref: Reference) -> None:
        self.h, self.dut, self.inside, self.ref = h, dut, inside, ref
        self.write = data.View(dut.write_layout, inside["write"])
        self.writes = inside["writes"]
        banks = data.View(data.ArrayLayout(bank_layout(), 2), inside["banks"])
        self.held = [Value.cast(banks[bank])[:32] for bank in range(2)]
        self.loaded = [banks[bank].loaded for bank in range(2)]
        self.boundary = h.named(self.writes & (self.write.table == Table.BOUNDARY), "boundary_next")

    def banks(self) -> None:
        """Registers follow the accepted writes by a cycle; a loaded bank has none to come."""
        h, write, ref = self.h, self.write, self.ref
        stored = data.View(
            data.ArrayLayout(STEP_BITS + 1, self.dut.groups - 1), self.inside["boundaries"]
        )
        for index, boundary in enumerate(ref.boundaries):
            comes = self.boundary & (write.row == index)
            now = Mux(comes, write.data[:STEP_BITS], stored[index])
            h.check(f"boundary_{index}", now == boundary)
        for bank in range(2):
            comes = self.writes & (write.table == Table.COMMIT) & (write.bank == bank)
            h.check(f"held_{bank}", Mux(comes, write.data, self.held[bank]) == ref.held[bank])
            settled = self.loaded[bank] | self.inside[f"committed_{bank}"]
            touched = self.writes & ((write.bank == bank) | self.boundary)
            h.check(f"settled_{bank}", implies(settled, ref.committed[bank] & ~touched))
            h.check(f"committed_{bank}", implies(comes, ref.committed[bank]))
        h.check("known", implies(self.inside["known"], ~self.boundary))

    def tables(self) -> None:
        """Memory, and the write that will still change it, give the reference's word."""
        h, write, ref = self.h, self.write, self.ref
        for name, table in ALL_TABLES.items():
            row = ref.row[name]
            memory = self.inside.look(f"table_{name}", row, f"stored_{name}")
            lane = (write.lane == 0) | (name in TABLES)
            comes = self.writes & (write.table == table) & lane
            comes = comes & (Cat(write.row[: len(row) - 1], write.bank) == row)
            now = Mux(comes, write.data, memory)[: len(memory)]
            h.check(
                f"stored_{name}", implies(ref.known[name], now == ref.word[name][: len(memory)])
            )

    def path(self, lane: _Path) -> tuple[Value, Value, list[Value]]:
        """Follow the beats from the output back to the input.

        Return (a tile has passed the check and is open, its bank, tiles of each bank that have
        ended between check and output).
        """
        h, path = self.h, lane.path
        inside = self.inside.child(f"lookup_{path}")
        unit = self.dut.lookups[path]
        layout = unit.i_layout
        rowed = data.View(unit.o_layout, inside["rowed"])
        of_side = Signal(layout, name=f"{path}_rowed_fields")
        h.m.d.comb += Value.cast(of_side)[: lane.fields].eq(rowed.side[: lane.fields])
        checked, first = (data.View(layout, inside[name]) for name in ("checked", "first"))
        beats = {
            "offered": (lane.o.valid, lane.out, lane.out_end),
            "rowed": (inside["rowed_valid"], of_side, rowed.side[lane.fields]),
            "checked": (inside["checked_valid"], checked, checked.side[lane.fields]),
            "first": (inside["first_valid"], first, first.side[lane.fields]),
        }
        is_open, tile = lane.out_open, lane.out_tile
        passed: tuple[Value, Value] = (is_open, tile[0])
        ended = [Value.cast(0), Value.cast(0)]
        for name, (valid, beat, end) in beats.items():
            formed = (beat.start != is_open) & implies(is_open, _tile(beat) == tile)
            h.check(f"{path}_{name}_formed", implies(valid, formed))
            if name in ("checked", "first"):
                fields = Value.cast(beat)[: lane.fields] == beat.side[: lane.fields]
                h.check(f"{path}_{name}_side", implies(valid, fields))
            is_open = h.named(Mux(valid, ~end, is_open)[0], f"{path}_{name}_open")
            tile = h.named(Mux(valid, _tile(beat), tile), f"{path}_{name}_tile")
            if name in ("offered", "rowed"):
                passed = (is_open, tile[0])
                ended = [ended[b] + (valid & end & (beat.bank == b)) for b in range(2)]
        h.check(f"{path}_input_open", lane.open == is_open)
        h.check(f"{path}_input_tile", implies(is_open, lane.tile == tile))
        self._lookup(path, inside, of_side, rowed, checked)
        return (*passed, ended)

    def _lookup(self, path: str, inside: Internals, fields: Any, rowed: Any, checked: Any) -> None:
        """The comparison and the boundaries are those of the beat; the row is the reference's."""
        h, ref = self.h, self.ref
        valid = inside["checked_valid"]
        loaded = Mux(checked.bank, *reversed(self.loaded))
        table_set, first_step, last_step, _, _ = ref.of_bank(checked.bank)
        matches = (
            (table_set == checked.table_set)
            & (first_step <= checked.step)
            & (checked.step <= last_step)
        )
        h.check(f"{path}_matches", implies(valid & loaded, inside["matches"] == matches[0]))
        reached = Cat(boundary <= checked.step for boundary in ref.boundaries)
        h.check(f"{path}_reached", implies(valid, inside["reached"] == reached))
        waits = inside["first_valid"] | valid
        h.check(f"{path}_no_boundary", implies(waits, ~self.boundary))
        table_set, first_step, last_step, _, _ = ref.of_bank(fields.bank)
        _, scale_row, bias_row = ref.rows(fields)
        held = (
            (table_set == fields.table_set)
            & (first_step <= fields.step)
            & (fields.step <= last_step)
        )
        rows = (rowed.scale_row == scale_row) & (rowed.bias_row == bias_row)
        right = held & rows & (rowed.bank == fields.bank)
        if path != "activation":
            right = right & (inside["rowed_segment"] == fields.segment)
        h.check(f"{path}_rowed", implies(inside["rowed_valid"], right))

    def in_flight(self, paths: Any, passed: Any) -> None:
        """The counters are the tiles between check and release; a bank in use stays loaded."""
        h = self.h
        for bank in range(2):
            total = Value.cast(0)
            for lane, (is_open, open_bank, ended) in zip(paths, passed, strict=True):
                total = total + lane.ended[bank] + ended[bank] + (is_open & (open_bank == bank))
                h.check(f"{lane.path}_ended_{bank}", lane.ended[bank] <= IN_FLIGHT)
            count = self.inside[f"in_flight_{bank}"]
            h.check(f"tiles_{bank}", count == total)
            h.check(f"bank_in_use_{bank}", implies(count != 0, self.loaded[bank]))
            h.check(f"busy_{bank}", self.dut.bank_busy[bank] == (total != 0))


def _read(h: Harness, dut: ScaleFile, inside: Internals, ref: Reference, conv: _Path) -> None:
    """A row that is read is the reference's, for a bank with a conv tile in flight."""
    request, output = dut.i_read.payload, dut.o_read.payload
    stable(h, "read", dut.o_read)
    moves = dut.o_read.ready
    stages: list[tuple[Any, Any]] = [(dut.i_read.valid, request)]
    for stage in (1, 2):
        valid = h.register(stages[-1][0], f"read_valid_{stage}", enable=moves)
        kept = Signal(dut.read_layout, name=f"read_{stage}")
        with h.m.If(moves):
            h.m.d.sync += kept.eq(stages[-1][1])
        stages.append((valid, kept))
    for bank in range(2):
        tiles = conv.ended[bank] + (conv.out_open & (conv.out_tile[0] == bank))
        pending = [valid & (kept.bank == bank) for valid, kept in stages]
        h.assume(f"read_in_flight_{bank}", implies(pending[0], tiles != 0))
        released = dut.release_conv & (dut.release_conv_bank == bank)
        in_use = pending[0] | pending[1] | pending[2]
        h.assume(f"read_not_released_{bank}", implies(in_use & released, tiles >= 2))
        h.check(f"read_in_use_{bank}", implies(pending[1] | pending[2], tiles != 0))
    h.check(
        "read_valid", (inside["read_valid"] == stages[1][0]) & (dut.o_read.valid == stages[2][0])
    )

    def followed(name: str, kept: Any) -> Value:
        row = kept.scale_row if name == "scale" else kept.bias_row
        return ref.known[name] & (Cat(row, kept.bank) == ref.row[name])

    results = {
        "scale": Cat(output.multiplier[0], output.shift[0]),
        "bias": Value.cast(output.bias[0]).as_unsigned(),
    }
    for name, result in results.items():
        (_, _), (valid_1, first), (valid_2, second) = stages
        word = ref.word[name][: len(result)]
        fetched = inside.read_data(f"table_{name}", 0)
        h.check(f"read_{name}_fetched", implies(valid_1 & followed(name, first), fetched == word))
        h.check(f"read_{name}", implies(valid_2 & followed(name, second), result == word))
        h.cover(f"read_{name}", valid_2 & followed(name, second) & (word != 0))


def constants(
    groups: int = 3, resident_groups: int = 2, steps: int = 2, channel_tiles: int = 1
) -> Harness:
    """Each path's constants, and each row that is read, under any writes to the other bank."""
    h = Harness()
    sizes = {
        "groups": groups,
        "resident_groups": resident_groups,
        "steps": steps,
        "channel_tiles": channel_tiles,
        "lanes": 1,
    }
    fields = tile_layout(0, ScaleFileConfig(**sizes).channel_tile_bits).size
    dut = ScaleFile(**sizes, **{f"{path}_side": fields + 1 for path in PATHS})
    inside = h.add("dut", dut)
    reference = Reference(h, dut)
    paths = [_Path(h, dut, path) for path in PATHS]
    state = _State(h, dut, inside, reference)
    state.banks()
    state.tables()
    passed = [state.path(lane) for lane in paths]
    state.in_flight(paths, passed)
    _read(h, dut, inside, reference, paths[0])
    for lane in paths:
        path = lane.path
        stable(h, path, lane.o)
        right = reference.right(path, lane.out, lane.o.payload)
        h.check(f"{path}_constants", implies(lane.o.valid, right))
        h.check(f"{path}_starts", implies(lane.o.valid, lane.out.start != lane.out_open))
        followed = reference.known[path] & lane.leaves
        h.cover(f"{path}_second_group", followed & (reference.group(lane.out.step) == 1))
    return h
