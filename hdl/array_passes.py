"""Instructions of the array become passes: for each chunk, tile, input chunk, tap, hi and lo."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.instruction import Format, Opcode
from golden.operand import OperandMode
from hdl.array_layouts import COORDINATE, ArrayLayouts, SetKind
from hdl.array_loop import PassLoop
from hdl.skid_buffer import SkidBuffer

__all__ = ["ArrayPasses"]


class ArrayPasses(wiring.Component):
    """CONV and MATMUL, cut into passes; each comes with the set of weights that it takes.

    A pass begins at image row ``row = (y << stride2) + dy - pad`` and column ``dx - pad``; word
    ``address`` is column 0 of that row, modulo the scratchpad. Addresses only add: one multiplier
    places the first row, then the step from tile to tile.

    ========  ===================================================  ==============================
    state     meaning                                              leaves it
    ========  ===================================================  ==============================
    idle      takes an instruction                                 an instruction is accepted
    place     row of the first tile times width                    by itself
    base      first word; words from tile to tile                  by itself
    walk      a pass and a set a cycle while both buffers take     the last pass is taken
    ========  ===================================================  ==============================

    Parameters
    ----------
    size, code_words, depth, channel_tiles : int
        As in ``AcceleratorConfig``.

    Members
    -------
    i : stream of instructions, CONV and MATMUL
    o : stream of ``ArrayLayouts.pass_``
    o_sets : stream of ``ArrayLayouts.set_``, one for each pass

    Timing
    ------
    ``o.valid`` comes 4 cycles after an instruction was accepted; one pass a cycle. Neither output
    runs more than two passes ahead of the other.
    """

    i: stream.Interface
    o: stream.Interface
    o_sets: stream.Interface

    def __init__(self, *, size=16, code_words=4096, depth=256, channel_tiles=32):
        self.size = size
        self.code_words = code_words
        self.depth = depth
        self.channel_tiles = channel_tiles
        self.layouts = ArrayLayouts(
            size=size, code_words=code_words, depth=depth, channel_tiles=channel_tiles
        )
        super().__init__(
            {
                "i": In(stream.Signature(self.layouts.instruction)),
                "o": Out(stream.Signature(self.layouts.pass_)),
                "o_sets": Out(stream.Signature(self.layouts.set_)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.passes = passes = SkidBuffer(self.layouts.pass_)
        m.submodules.sets = sets = SkidBuffer(self.layouts.set_)
        wiring.connect(m, passes.o, wiring.flipped(self.o))
        wiring.connect(m, sets.o, wiring.flipped(self.o_sets))
        work = Signal(self.layouts.instruction)
        top = Signal(COORDINATE)
        tile_rows = Signal(11)  # image rows from tile to tile
        first_row = Signal(COORDINATE)  # of words, from the first one that the source holds
        factor = Signal(COORDINATE)
        product = Signal(signed(24))
        begins = Signal()
        advance = Signal()
        ends = Signal()
        offered = self.i.payload
        m.d.comb += [
            top.eq((offered.row_first << offered.stride2) - offered.pad),
            tile_rows.eq(work.tile_rows << work.stride2),
            factor.eq(tile_rows >> work.upsample),
            passes.i.valid.eq(advance),
            sets.i.valid.eq(advance),
        ]
        m.d.sync += [
            first_row.eq((top >> offered.upsample) - offered.source_row),
            product.eq(factor * work.width),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += work.eq(offered)
                    m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += factor.eq(first_row)
                m.next = "BASE"
            with m.State("BASE"):
                m.d.comb += begins.eq(1)
                m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += advance.eq(passes.i.ready & sets.i.ready)
                with m.If(advance & ends):
                    m.next = "IDLE"
        loop = PassLoop(m, work, begins, advance)
        m.d.comb += ends.eq(loop.last_of_instruction)
        self._elaborate_pass(m, passes.i.payload, work, loop, begins, product, tile_rows)
        self._elaborate_set(m, sets.i.payload, work, loop, begins)
        return m

    def _elaborate_pass(self, m, o, work, loop, begins, product, tile_rows):
        """Rows and addresses: of the first tile, of this tile, of this input chunk, of this tap."""
        bits = self.layouts.address_bits
        base, tile, part, tap = (
            Signal(bits, name=f"{name}_address") for name in ("base", "tile", "part", "tap")
        )
        base_row, tile_row, tap_row = (
            Signal(COORDINATE, name=f"{name}_row") for name in ("base", "tile", "tap")
        )
        rows_left = Signal(10)
        last_tile = Signal()
        first_address = Signal(bits)
        first_row = Signal(COORDINATE)
        next_part = Signal(bits)
        next_tap = Signal(bits)
        next_tile = Signal(bits)
        next_tile_row = Signal(COORDINATE)
        # a step of an odd number of rows from an odd row crosses one more word row
        crosses = Signal()
        m.d.comb += [
            last_tile.eq(rows_left <= work.tile_rows),
            loop.last_tile.eq(last_tile),
            first_row.eq((work.row_first << work.stride2) - work.pad),
            first_address.eq((work.source0 + product)[:bits]),
            next_part.eq((part + work.source_plane)[:bits]),
            next_tap.eq((tap + Mux(~work.upsample | tap_row[0], work.width, 0))[:bits]),
            crosses.eq(work.upsample & tile_rows[0] & tile_row[0]),
            next_tile.eq((tile + product + Mux(crosses, work.width, 0))[:bits]),
            next_tile_row.eq((tile_row + tile_rows)[: len(tile_row)].as_signed()),
        ]
        with m.If(begins):
            m.d.sync += [
                Cat(base, tile, part, tap).eq(first_address.replicate(4)),
                Cat(base_row, tile_row, tap_row).eq(first_row.as_unsigned().replicate(3)),
                rows_left.eq(work.rows),
            ]
        with m.If(loop.next_tap):
            m.d.sync += [
                tap.eq(next_tap),
                tap_row.eq((tap_row + 1)[: len(tap_row)].as_signed()),
            ]
        with m.If(loop.next_part):
            m.d.sync += [Cat(part, tap).eq(next_part.replicate(2)), tap_row.eq(tile_row)]
        with m.If(loop.next_tile):
            m.d.sync += [
                Cat(tile, part, tap).eq(next_tile.replicate(3)),
                Cat(tile_row, tap_row).eq(next_tile_row.as_unsigned().replicate(2)),
                rows_left.eq((rows_left - work.tile_rows)[:10]),
            ]
        with m.If(loop.next_chunk):
            m.d.sync += [
                Cat(tile, part, tap).eq(base.replicate(3)),
                Cat(tile_row, tap_row).eq(base_row.as_unsigned().replicate(2)),
                rows_left.eq(work.rows),
            ]

        need = Signal(16)
        with m.If(begins | loop.next_tile | loop.next_chunk):
            m.d.sync += need.eq(work.step_base)
        with m.Elif(loop.next_part & (need != work.step_cap)):
            m.d.sync += need.eq((need + 1)[:16])

        matmul = Signal()
        height = work.height << work.upsample
        width = work.width << work.upsample
        m.d.comb += [
            matmul.eq(work.opcode == Opcode.MATMUL),
            o.address.eq(tap),
            o.row.eq(tap_row),
            o.column.eq(loop.dx - work.pad),
            o.height.eq(height),
            o.width.eq(width),
            o.row_words.eq(work.width),
            o.rows.eq(Mux(last_tile, rows_left, work.tile_rows)),
            o.columns.eq(width >> work.stride2),
            o.first.eq(loop.first),
            o.last.eq(loop.last),
            o.need.eq(need),
            o.matmul.eq(matmul),
            o.chunk_end.eq(last_tile),
            o.segment.eq(loop.part >= work.chunks0),
            o.channel_tile.eq(Mux(matmul, 0, loop.chunk)),
        ]
        for name in ("stride2", "upsample", "step_unit", "narrow", "row_scale", "scale_bank"):
            m.d.comb += o[name].eq(work[name])
        for name in ("bank", "table_set"):
            m.d.comb += o[name].eq(work[name])
        with m.Switch(work.format):
            with m.Case(Format.INT8):
                m.d.comb += o.mode.eq(OperandMode.INT8)
            with m.Case(Format.REGION):
                m.d.comb += o.mode.eq(OperandMode.REGION)
            with m.Default():
                m.d.comb += o.mode.eq(Mux(loop.lo, OperandMode.LO, OperandMode.HI))

    def _elaborate_set(self, m, o, work, loop, begins):
        """Stationary words: those of K go input chunk by plane, those of V by the array's size."""
        bits = self.layouts.address_bits
        chunk, part = (Signal(bits, name=f"stationary_{name}") for name in ("chunk", "part"))
        chunk_step = Signal(bits)
        part_step = Signal(bits)
        lanes = Signal(14)  # from this input chunk's first lane to the head's end
        lane_first = Signal(self.layouts.lane_bits)
        next_chunk = Signal(bits)
        m.d.comb += [
            chunk_step.eq(Mux(work.transpose, self.size, work.auxiliary_plane)[:bits]),
            part_step.eq(Mux(work.transpose, work.auxiliary_plane, self.size)[:bits]),
            next_chunk.eq((chunk + chunk_step)[:bits]),
        ]
        with m.If(begins):
            m.d.sync += [chunk.eq(work.auxiliary[:bits]), part.eq(work.auxiliary[:bits])]
        with m.If(loop.next_part):
            m.d.sync += part.eq((part + part_step)[:bits])
        with m.If(loop.next_tile):
            m.d.sync += part.eq(chunk)
        with m.If(loop.next_chunk):
            m.d.sync += [chunk.eq(next_chunk), part.eq(next_chunk)]

        with m.If(begins | loop.next_tile | loop.next_chunk):
            m.d.sync += [
                lanes.eq(work.lane_first + work.channels),
                lane_first.eq(work.lane_first[: len(lane_first)]),
            ]
        with m.Elif(loop.next_part):
            m.d.sync += [
                lanes.eq(Mux(lanes > self.size, lanes - self.size, 0)[: len(lanes)]),
                lane_first.eq(0),
            ]
        m.d.comb += [
            o.address.eq(part),
            o.lane_first.eq(lane_first),
            o.lanes.eq(Mux(lanes > self.size, self.size, lanes)[: len(o.lanes)]),
        ]
        with m.If(work.opcode != Opcode.MATMUL):
            m.d.comb += o.kind.eq(SetKind.STREAM)
        with m.Else():
            m.d.comb += o.kind.eq(Mux(work.transpose, SetKind.TRANSPOSED, SetKind.ROWS))
