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

from cosim.formal.blocks.scale_file_reference import (
    ALL_TABLES,
    IN_FLIGHT,
    TABLES,
    Path,
    Reference,
    tile_of,
)
from cosim.formal.flow import stable
from cosim.formal.harness import Harness, Internals, implies
from golden.scale_tables import STEP_BITS, ScaleFileConfig, Table
from hdl.scale_file import PATHS, ScaleFile
from hdl.tile_lookup import bank_layout, tile_layout

__all__ = ["constants"]


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

    def path(self, lane: Path) -> tuple[Value, Value, list[Value]]:
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
            formed = (beat.start != is_open) & implies(is_open, tile_of(beat) == tile)
            h.check(f"{path}_{name}_formed", implies(valid, formed))
            if name in ("checked", "first"):
                fields = Value.cast(beat)[: lane.fields] == beat.side[: lane.fields]
                h.check(f"{path}_{name}_side", implies(valid, fields))
            is_open = h.named(Mux(valid, ~end, is_open)[0], f"{path}_{name}_open")
            tile = h.named(Mux(valid, tile_of(beat), tile), f"{path}_{name}_tile")
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


def _read(h: Harness, dut: ScaleFile, inside: Internals, ref: Reference, conv: Path) -> None:
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
    paths = [Path(h, dut, path) for path in PATHS]
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
