"""Accumulator: which pixels leave, in which order, with which sum.

The reference numbers the tiles (modulo 8) and follows one pixel, which the solver picks, through
every tile. Values count for pixels that a beat with ``first`` has written in their tile.
"""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value, signed

from cosim.formal.flow import stable
from cosim.formal.harness import Harness, Internals, every, implies, ones
from hdl.accumulator import Accumulator

__all__ = ["Reference", "tiles"]

SIDE = 2
RING = 8


class Reference:
    """What must leave, from the ports alone.

    ``filling``, ``leaving``: numbers of the tile that takes beats and of the next one to leave;
    ``pixel``: the next one to leave. ``last``, ``side``, ``total``, ``known``: of each tile.
    """

    def __init__(self, h: Harness, dut: Accumulator) -> None:
        self.h, self.dut = h, dut
        m, i, o = h.m, dut.i, dut.o
        beat = i.payload
        self.chosen = chosen = h.free(dut.pixel_width, "chosen")
        h.constant(chosen)
        self.filling = filling = Signal(range(RING), name="filling")
        self.leaving = leaving = Signal(range(RING), name="leaving")
        self.pixel = pixel = Signal(dut.pixel_width, name="next_pixel")

        def ring(shape: Any, name: str) -> Array:
            return Array(Signal(shape, name=f"{name}_{tile}") for tile in range(RING))

        self.last = last = ring(dut.pixel_width, "last")
        self.side = side = ring(dut.side_width, "tile_side")
        self.total = total = ring(signed(dut.acc_width), "total")
        self.known = known = ring(1, "known")
        fires = h.named(i.valid & i.ready, "fires")
        self.finishes = finishes = h.named(fires & beat.last & beat.end, "finishes")
        self.leaves = leaves = h.named(o.valid & o.ready, "leaves")
        with m.If(fires & (beat.pixel == chosen)):
            added = Mux(beat.first, 0, total[filling]) + beat.sums[0]
            m.d.sync += total[filling].eq(Value.cast(added)[: dut.acc_width].as_signed())
            with m.If(beat.first):
                m.d.sync += known[filling].eq(1)
        with m.If(finishes):
            m.d.sync += [
                filling.eq((filling + 1)[:3]),
                last[filling].eq(beat.pixel),
                side[filling].eq(beat.side),
                known[(filling + 1)[:3]].eq(0),
            ]
        self.at_end = at_end = h.named(pixel == last[leaving], "at_end")
        with m.If(leaves):
            m.d.sync += [
                pixel.eq(Mux(at_end, 0, pixel + 1)[: dut.pixel_width]),
                leaving.eq((leaving + at_end)[:3]),
            ]
        self.left = h.named((filling - leaving)[:3], "finished_tiles")

    def right(self) -> Value:
        """The offered beat is the next pixel, with the sum if that is the one followed."""
        dut, leaving = self.dut, self.leaving
        beat = dut.o.payload
        followed = (self.pixel == self.chosen) & self.known[leaving]
        return (
            (beat.pixel == self.pixel)
            & (beat.end == self.at_end)
            & (beat.side == self.side[leaving])
            & implies(followed, beat.acc[0] == self.total[leaving])
        )


class _State:
    """Where the beats and tiles of the reference stand inside the block: what induction needs."""

    def __init__(self, h: Harness, dut: Accumulator, inside: Internals, ref: Reference) -> None:
        self.h, self.dut, self.inside, self.ref = h, dut, inside, ref
        self.valid = [inside.twin("read_valid", 0)]
        self.valid += [inside[f"{name}_valid"] for name in ("add", "write", "written")]
        self.address = [inside[f"{name}_address"] for name in ("read", "add", "write", "written")]
        self.finish = [inside[f"{name}_finish"] for name in ("read", "add", "write")]
        self.busy = [inside[f"busy_{bank}"] for bank in range(2)]
        self.complete = [inside[f"complete_{bank}"] for bank in range(2)]
        self.draining = draining = Signal(range(RING), name="draining")
        self.read_tile = read_tile = Signal(range(RING), name="read_tile")
        ends = inside["issues"] & inside["issues_end"]
        with h.m.If(inside["moves"]):
            h.m.d.sync += [draining.eq((draining + ends)[:3]), read_tile.eq(draining)]
        self.finished = h.named((ref.filling - draining)[:3], "tiles_to_drain")
        # finishing[bank][s]: the beat in stage s finishes the tile of this bank
        self.finishing = [
            [self.finish[s] & (self.address[s][-1] == bank) for s in range(3)] for bank in range(2)
        ]

    def _in_flight(self, stage: int, bank: int) -> Value:
        return self.valid[stage] & (self.address[stage][-1] == bank)

    def fill(self) -> None:
        """Stages 0..2 hold beats of a bank that fills or settles."""
        h, busy, complete = self.h, self.busy, self.complete
        fill_bank = self.inside["fill_bank"]
        h.check("finish_valid", every(implies(self.finish[s], self.valid[s]) for s in range(3)))
        for bank in range(2):
            finishing = self.finishing[bank]
            settles = ones(finishing) != 0
            h.check(f"busy_{bank}", busy[bank] == (complete[bank] | settles))
            h.check(f"settles_{bank}", ones(finishing) + complete[bank] <= 1)
            younger = [
                implies(finishing[s], ~self._in_flight(t, bank)) for s in range(3) for t in range(s)
            ]
            h.check(f"younger_{bank}", every(younger))
            takes = ~complete[bank] & (busy[bank] | (fill_bank == bank))
            flying = [implies(self._in_flight(s, bank), takes) for s in range(3)]
            h.check(f"in_flight_{bank}", every(flying))

    def banks(self) -> None:
        """Tiles use the banks in turn; what is kept of them is theirs."""
        h, inside, ref = self.h, self.inside, self.ref
        h.check("fill_bank", inside["fill_bank"] == ref.filling[0])
        h.check("drain_bank", inside["drain_bank"] == self.draining[0])
        h.check("tiles_to_drain_at_most", self.finished <= 2)
        h.check("no_bank_no_sum", implies(self.finished == 2, ~ref.known[ref.filling]))
        h.check("tiles_leaving", (self.draining - ref.leaving)[:3] <= 2)
        for bank in range(2):
            first = self.draining[0] == bank
            tile = Mux(first, self.draining, self.draining + 1)[:3]
            occupied = h.named(Mux(first, self.finished >= 1, self.finished == 2), f"held_{bank}")
            h.check(f"occupied_{bank}", self.busy[bank] == occupied)
            kept = (inside[f"last_pixel_{bank}"] == ref.last[tile]) & (
                inside[f"side_{bank}"] == ref.side[tile]
            )
            h.check(f"kept_{bank}", implies(occupied, kept))

    def sums(self) -> None:
        """Memory, and the beats that will still change it, give the reference's sum."""
        h, inside, ref, dut = self.h, self.inside, self.ref, self.dut
        width = dut.acc_width
        totals = [inside[f"{name}_total"].as_signed() for name in ("write", "written")]
        entry = inside.read_data("entries", 0).as_signed()
        for bank in range(2):
            place = Cat(ref.chosen, Const(bank, 1))
            held = inside.look("entries", place, f"held_sum_{bank}").as_signed()
            at = [self.valid[s] & (self.address[s] == place) for s in range(4)]
            h.check(f"written_{bank}", implies(at[3], held == totals[1]))
            fresh = at[0] & ~inside["overwrite"] & ~at[3]
            h.check(f"entry_{bank}", implies(fresh, entry == held))
            after_write = Mux(at[2], totals[0], held)
            after_add = Mux(at[1], inside["added_0"][:width].as_signed(), after_write)
            augend = Mux(inside["overwrite"], 0, after_add)
            added = (augend + inside["read_sums"].as_signed())[:width].as_signed()
            will_be = h.named(Mux(at[0], added, after_add), f"will_be_{bank}")
            first = self.draining[0] == bank
            tile = Mux(first, self.draining, self.draining + 1)[:3]
            counts = ref.known[tile] & (first | (self.finished != 0))
            h.check(f"sum_{bank}", implies(counts, will_be == ref.total[tile]))

    def drain(self) -> None:
        """The beats in the last two registers, then the next read: in order, without a gap."""
        h, inside, ref, dut = self.h, self.inside, self.ref, self.dut
        width = dut.pixel_width

        def after(tile: Any, pixel: Any) -> Value:
            ends = pixel == ref.last[tile]
            return Cat(Mux(ends, 0, pixel + 1)[:width], (tile + ends)[:3])

        valid, pixel = inside.twin("read_valid", 1), inside["read_pixel"]
        now = Cat(ref.pixel, ref.leaving)
        to_read = h.named(Mux(dut.o.valid, after(ref.leaving, ref.pixel), now), "to_read")
        read = self.read_tile
        followed = (pixel == ref.chosen) & ref.known[read]
        data = inside.read_data("entries", 1).as_signed()
        right = (
            (Cat(pixel, read) == to_read)
            & (inside["read_end"] == (pixel == ref.last[read]))
            & (inside["read_side"] == ref.side[read])
            & implies(followed, data == ref.total[read])
        )
        h.check("read_is_right", implies(valid, right))
        h.check("read_within", implies(valid, pixel <= ref.last[read]))
        h.check("offered_within", implies(dut.o.valid, ref.pixel <= ref.last[ref.leaving]))
        to_issue = h.named(Mux(valid, after(read, pixel), to_read), "to_issue")
        drain_pixel = inside["drain_pixel"]
        h.check("issue_is_next", Cat(drain_pixel, self.draining) == to_issue)
        complete = h.named(Mux(self.draining[0], self.complete[1], self.complete[0]), "complete")
        h.check("drain_within", implies(complete, drain_pixel <= ref.last[self.draining]))
        h.check("drain_begins", complete | (drain_pixel == 0))

    def progress(self, waited: Any, starved: Any, blocked: Any) -> None:
        """How far the tile that drains has come bounds how long anyone has waited for it."""
        h, inside = self.h, self.inside
        settles = [
            Mux(self.draining[0], *(self.finishing[bank][s] for bank in (1, 0))) for s in range(3)
        ]
        complete = Mux(self.draining[0], self.complete[1], self.complete[0])
        settled = h.named(Mux(settles[2], 2, Mux(settles[1], 1, 0)), "settled")
        position = Mux(inside.twin("read_valid", 1), 4, Mux(complete, 3, settled))
        h.check("progress", implies(starved, waited <= position))
        reads = Mux(complete, 3 + inside["drain_pixel"], settled)
        h.check("progress_of_input", implies(~self.dut.i.ready, blocked <= reads))
        h.check("input_waits_for_banks", self.dut.i.ready == (self.finished != 2))


def tiles(depth: int = 4, acc_width: int = 32, sum_width: int = 24) -> Harness:
    """Each finished tile leaves once, pixels 0..last in order, with its sums; bounded waits."""
    h = Harness()
    dut = Accumulator(
        depth=depth, cols=1, sum_width=sum_width, acc_width=acc_width, side_width=SIDE
    )
    inside = h.add("dut", dut)
    i, o = dut.i, dut.o
    reference = Reference(h, dut)
    stable(h, "o", o)
    h.check("beat_is_right", implies(o.valid, (reference.left != 0) & reference.right()))
    h.check("tiles_at_a_time", reference.left <= 4)
    # without a beat at the output for at most 5 cycles after a tile was finished
    waited = Signal(range(16), name="waited")
    starved = h.named((reference.left != 0) & ~o.valid, "starved")
    h.m.d.sync += waited.eq(Mux(starved, (waited + 1)[:4], 0))
    h.check("not_stuck", waited + starved <= dut.latency - 1)
    # the input waits for as many moves of the output as a tile has pixels, and the settling
    blocked = Signal(range(2 * depth + 16), name="blocked")
    moves = o.ready | ~o.valid
    counts = Mux(i.ready, 0, Mux(moves, blocked + 1, blocked))
    h.m.d.sync += blocked.eq(counts[: len(blocked)])
    h.check("input_not_stuck", blocked + ~i.ready <= depth + 3)
    state = _State(h, dut, inside, reference)
    state.fill()
    state.banks()
    state.sums()
    state.drain()
    state.progress(waited, starved, blocked)
    known = reference.known[reference.leaving] & (reference.pixel == reference.chosen)
    h.cover("sum_leaves", o.valid & o.ready & known & (reference.leaving == 1))
    h.cover("both_banks", ~i.ready)
    h.cover("pixel_1", o.valid & o.ready & known & (reference.pixel == 1))
    return h
