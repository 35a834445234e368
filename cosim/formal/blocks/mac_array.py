"""MAC array: its streams, and which weights a beat is multiplied by.

The products themselves are not recomputed by a solver: what meets at each multiplier is proven to
be the weight of the beat's tile and its decoded operand, and the sums to be those of the
multipliers' outputs.
"""

from typing import Any

from amaranth.hdl import Mux, Signal, Value, signed

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, every, implies
from golden.operand import K_MAX
from hdl.mac_array import MacArray

__all__ = ["sums"]

SIDE = 2


class _Weights:
    """Row j of a set is its j-th beat; a beat with ``tile_start`` takes the set that is complete.

    ``shadow``, ``active``: rows x cols copies made from the ports alone; ``count``: rows of the
    next set that have come; ``begun``: a set is active.
    """

    def __init__(self, h: Harness, dut: MacArray) -> None:
        rows, cols = dut.rows, dut.cols
        i, weights = dut.i, dut.i_weights

        def bank(name: str) -> list[list[Any]]:
            return [
                [Signal(signed(8), name=f"{name}_{row}_{col}") for col in range(cols)]
                for row in range(rows)
            ]

        self.shadow, self.active, self.of_beat = bank("shadow"), bank("active"), bank("of_beat")
        self.count = count = Signal(range(rows + 2), name="count")
        self.begun = Signal(name="begun")
        self.loads = loads = h.named(weights.valid & weights.ready, "loads")
        self.swap = swap = h.named(i.valid & i.ready & i.payload.tile_start, "swap")
        place = h.named(Mux(swap, 0, count), "place")
        h.m.d.sync += count.eq((place + loads)[: len(count)])
        with h.m.If(swap):
            h.m.d.sync += self.begun.eq(1)
        for row in range(rows):
            for col in range(cols):
                with h.m.If(loads & (place == row)):
                    h.m.d.sync += self.shadow[row][col].eq(weights.payload.weights[col])
                with h.m.If(swap):
                    h.m.d.sync += self.active[row][col].eq(self.shadow[row][col])

    def keep(self, h: Harness, marked: Any) -> Any:
        """Keep the weights of the followed beat; return whether it has some."""
        has = Signal(name="has_weights")
        with h.m.If(marked):
            h.m.d.sync += has.eq(self.begun | self.swap)
            for kept, shadow, active in zip(self.of_beat, self.shadow, self.active, strict=True):
                for copy, new, old in zip(kept, shadow, active, strict=True):
                    h.m.d.sync += copy.eq(Mux(self.swap, new, old))
        return has


def sums(rows: int = 2, cols: int = 2, decode: str = "edge") -> Harness:
    """Every beat leaves once, in order, as the sums of the products of its tile's weights."""
    h = Harness()
    dut = MacArray(rows=rows, cols=cols, decode=decode, side_width=SIDE)
    inside = h.add("dut", dut)
    i, o, latency = dut.i, dut.o, dut.latency
    h.assume("k", i.payload.k <= K_MAX)
    cells = [[inside.child(f"cell_{row}_{col}") for col in range(cols)] for row in range(rows)]
    weights = _Weights(h, dut)
    products = [
        [Signal(signed(20), name=f"product_{row}_{col}") for col in range(cols)]
        for row in range(rows)
    ]
    totals = [
        h.named(
            sum((products[row][col] for row in range(1, rows)), products[0][col]), f"total_{col}"
        )
        for col in range(cols)
    ]
    cells_of = [(row, col) for row in range(rows) for col in range(cols)]
    boxed: dict[str, Any] = {}

    def shift_of(saved: Any, row: int) -> Value:
        return Mux(saved.flag[row], saved.k, 0)

    def right(saved: Any) -> Value:
        wanted = [o.payload.sums[col] == totals[col] for col in range(cols)]
        return every([o.payload.side == saved.side, *wanted])

    def holds(s: int, saved: Any) -> Value:
        stage = s + 1
        facts = [inside[f"side_{stage}"] == saved.side]
        has = boxed["has"]
        if stage == latency:
            return right(saved)
        for row, col in cells_of:
            cell = cells[row][col]
            if stage == 1:
                operand = saved.mantissa[row]
                if decode == "edge":
                    operand = operand << shift_of(saved, row)
                else:
                    facts.append(inside[f"operand_shift_{row}"] == shift_of(saved, row))
                facts.append(inside[f"operand_{row}"] == operand)
                facts.append(implies(has, cell["active"] == weights.of_beat[row][col]))
            if stage == 2 and decode == "edge":
                facts.append(cell["raw"] == products[row][col])
            if stage == 2 and decode != "edge":
                facts.append(cell["raw"] << shift_of(saved, row) == products[row][col])
                facts.append(cell["shift"] == shift_of(saved, row))
            if stage == 3 and decode != "edge":
                facts.append(cell["shifted"] == products[row][col])
        level = max(0, stage - (2 if decode == "edge" else 3))
        for col in range(cols):
            for index, first in enumerate(range(0, rows if level > 0 else 0, 1 << level)):
                part = [products[row][col] for row in range(first, min(rows, first + (1 << level)))]
                partial = inside[f"tree_{col}.level{level}_{index}"]
                facts.append(partial == sum(part[1:], part[0]))
        return every(facts)

    flow = Flow(h, "beat", i, o, capacity=latency, wait=latency - 1, expect=right)
    boxed["has"] = weights.keep(h, flow.marked)
    flow.follow(Stages([inside[f"valid_{s + 1}"] for s in range(latency)], holds))
    moves = o.ready | ~o.valid
    with h.m.If(moves & flow.markers[0]):
        for row, col in cells_of:
            # the same cell as the block's multiplier
            product = cells[row][col]["active"] * inside[f"operand_{row}"]
            if decode != "edge":
                product = product << shift_of(flow.saved, row)
            h.m.d.sync += products[row][col].eq(product[:20].as_signed())
    h.check("saved_k", implies(flow.tracking, flow.saved.k <= K_MAX))
    _loading(h, dut, weights, inside, cells)
    return h


def _loading(h: Harness, dut: MacArray, weights: _Weights, inside: Any, cells: Any) -> None:
    """A set takes ``rows`` beats; neither stream waits for anything else."""
    rows, count = dut.rows, weights.count
    moves = dut.o.ready | ~dut.o.valid
    starts = dut.i.valid & dut.i.payload.tile_start
    h.check("loaded", (inside["loaded"] == count) & (count <= rows))
    h.check("ready", dut.i.ready == (moves & ((count == rows) | ~starts)))
    h.check("weights_ready", dut.i_weights.ready == ((count < rows) | weights.swap))
    for loaded in range(1, rows + 1):
        chain = [
            cells[rows - loaded + j][col]["shadow"] == weights.shadow[j][col]
            for j in range(loaded)
            for col in range(dut.cols)
        ]
        h.check(f"chain_{loaded}", implies(count == loaded, every(chain)))
    active = [
        cells[row][col]["active"] == weights.active[row][col]
        for row in range(rows)
        for col in range(dut.cols)
    ]
    h.check("active", implies(weights.begun, every(active)))
    h.cover("swap_and_load", weights.swap & weights.loads & weights.begun)
