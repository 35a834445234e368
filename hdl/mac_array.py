"""Weight-stationary array of int8 multipliers, one dot product a column and beat."""

from amaranth.hdl import Assert, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.mac_array import DECODES, MULTIPLIERS, latency, sum_width
from golden.operand import K_MAX
from hdl.adder_tree import AdderTree
from hdl.checks import check_choice, check_size
from hdl.processing_element import ProcessingElement

__all__ = ["MacArray"]


class MacArray(wiring.Component):
    """``sums[c] = sum_r weights[r][c] * (mantissa[r] << (k if flag[r] else 0))``, exact.

    Weights are stationary and double buffered. Rows of the next set enter the shadow bank
    while the active one works; row j of a set is its j-th beat. The beat flagged
    ``tile_start`` swaps the banks and is the first to see the new set. Tiles of at least
    ``rows`` beats follow each other without a bubble.

    ====================  ============================================================
    state                 ``loaded``: rows in the shadow bank, 0..rows
    ====================  ============================================================
    accepts a beat        the pipeline moves, and loaded = rows if tile_start is set
    swap                  a beat with tile_start is accepted
    accepts weights       loaded < rows, or in the cycle of the swap
    loaded, next          0 after a swap, plus 1 if a row was accepted
    ====================  ============================================================

    Parameters
    ----------
    rows, cols : int
        Size, 1..64 each; need not be equal.
    decode : str
        ``edge``: mantissas are shifted once a row, at the array's edge (for multipliers of 12
        bits and more). ``product_shift``: 8 x 8 multipliers, each product is shifted.
    multiplier : str
        ``inferred``: products as yosys maps them. ``mult18x18d``: with registered operands; on an
        ECP5 the registers are those of the MULT18X18D.
    pipeline : int
        Levels of the adder tree between two registers.
    side_width : int
        Opaque bits that travel with the beat.

    Members
    -------
    i : stream of mantissa (rows x int8), flag (rows x 1), k (0..4), tile_start, side
    i_weights : stream of weights (cols x int8), one row a beat
    o : stream of sums (cols x sum_width bits signed), side

    Timing
    ------
    Latency 2 (``product_shift``: one more; ``mult18x18d``: one more) plus
    ``ceil(ceil(log2 rows) / pipeline)`` cycles, one beat a cycle. The pipeline moves while
    ``o.ready | ~o.valid``; ``i.ready`` depends on ``i.payload.tile_start``, ``i_weights.ready``
    on ``i.valid``.
    """

    i: stream.Interface
    i_weights: stream.Interface
    o: stream.Interface

    def __init__(
        self,
        *,
        rows=16,
        cols=16,
        decode="edge",
        pipeline=1,
        side_width=0,
        multiplier="inferred",
    ):
        self.rows = check_size("rows", rows, 1, 64)
        self.cols = check_size("cols", cols, 1, 64)
        self.decode = check_choice("decode", decode, DECODES)
        self.pipeline = check_size("pipeline", pipeline, 1, 6)
        self.side_width = check_size("side_width", side_width, 0, 4096)
        self.multiplier = check_choice("multiplier", multiplier, MULTIPLIERS)
        self.sum_width = sum_width(rows)
        self.i_layout = data.StructLayout(
            {
                "mantissa": data.ArrayLayout(signed(8), rows),
                "flag": data.ArrayLayout(1, rows),
                "k": 3,
                "tile_start": 1,
                "side": side_width,
            }
        )
        self.weights_layout = data.StructLayout({"weights": data.ArrayLayout(signed(8), cols)})
        self.o_layout = data.StructLayout(
            {
                "sums": data.ArrayLayout(signed(self.sum_width), cols),
                "side": side_width,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "i_weights": In(stream.Signature(self.weights_layout)),
                "o": Out(stream.Signature(self.o_layout)),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted beat to ``o.valid``."""
        return latency(self.rows, self.decode, self.pipeline, self.multiplier)

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        moves = Signal()
        swap = Signal()
        load = Signal()
        loaded = Signal(range(self.rows + 1))
        full = Signal()
        m.d.comb += [
            moves.eq(self.o.ready | ~self.o.valid),
            full.eq(loaded == self.rows),
            self.i.ready.eq(moves & (full | ~(self.i.valid & beat.tile_start))),
            swap.eq(self.i.valid & self.i.ready & beat.tile_start),
            self.i_weights.ready.eq(~full | swap),
            load.eq(self.i_weights.valid & self.i_weights.ready),
        ]
        fires = Signal()
        legal = Signal()
        m.d.comb += [
            fires.eq(self.i.valid & self.i.ready),
            legal.eq(~fires | (beat.k <= K_MAX)),
        ]
        m.d.sync += Assert(legal)  # type: ignore[call-arg]  # the stubs lag behind

        with m.If(swap):
            m.d.sync += loaded.eq(load)
        with m.Elif(load):
            m.d.sync += loaded.eq((loaded + 1)[: len(loaded)])

        # valid and side travel beside the arithmetic
        valid, side = self.i.valid & self.i.ready, beat.side
        for stage in range(1, self.latency + 1):
            stage_valid = Signal(name=f"valid_{stage}")
            stage_side = Signal(self.side_width, name=f"side_{stage}")
            with m.If(moves):
                m.d.sync += [stage_valid.eq(valid), stage_side.eq(side)]
            valid, side = stage_valid, stage_side
        m.d.comb += [self.o.valid.eq(valid), self.o.payload.side.eq(side)]

        operands, shifts = self._elaborate_edge(m, moves)
        products = self._elaborate_cells(m, moves, load, swap, operands, shifts)
        for col in range(self.cols):
            m.submodules[f"tree_{col}"] = tree = AdderTree(rows=self.rows, pipeline=self.pipeline)
            m.d.comb += [tree.enable.eq(moves), self.o.payload.sums[col].eq(tree.sum)]
            for row in range(self.rows):
                m.d.comb += tree.terms[row].eq(products[row][col])
        return m

    def _elaborate_edge(self, m, moves):
        """Register the operands of each row: shifted (``edge``), or with their shift."""
        beat = self.i.payload
        operands, shifts = [], []
        for row in range(self.rows):
            shift = Signal(3, name=f"shift_{row}")
            m.d.comb += shift.eq(beat.k & beat.flag[row].replicate(3))
            if self.decode == "edge":
                operand = Signal(signed(12), name=f"operand_{row}")
                wide = Signal(signed(12), name=f"wide_{row}")
                m.d.comb += wide.eq(beat.mantissa[row])
                for k in range(1, 5):
                    with m.If(shift == k):
                        m.d.comb += wide.eq((beat.mantissa[row] << k)[:12].as_signed())
                with m.If(moves):
                    m.d.sync += operand.eq(wide)
            else:
                operand = Signal(signed(8), name=f"operand_{row}")
                operand_shift = Signal(3, name=f"operand_shift_{row}")
                with m.If(moves):
                    m.d.sync += [operand.eq(beat.mantissa[row]), operand_shift.eq(shift)]
                shifts.append(operand_shift)
            operands.append(operand)
        return operands, shifts

    def _elaborate_cells(self, m, moves, load, swap, operands, shifts):
        """Instantiate rows x cols cells; return their products."""
        below = list(self.i_weights.payload.weights)
        products = [[] for _ in range(self.rows)]
        for row in reversed(range(self.rows)):
            for col in range(self.cols):
                cell = ProcessingElement(decode=self.decode, multiplier=self.multiplier)
                m.submodules[f"cell_{row}_{col}"] = cell
                m.d.comb += [
                    cell.enable.eq(moves),
                    cell.load.eq(load),
                    cell.swap.eq(swap),
                    cell.weight_in.eq(below[col]),
                    cell.operand.eq(operands[row]),
                ]
                if shifts:
                    m.d.comb += cell.shift.eq(shifts[row])
                below[col] = cell.weight_out
                products[row].append(cell.product)
        return products
