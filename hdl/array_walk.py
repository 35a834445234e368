"""Address generator of CONV and MATMUL: a code word for every pixel of every pass."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.instruction import Unit
from hdl.accelerator_layouts import COUNTS_LAYOUT, count_of, read_signature
from hdl.array_layouts import COORDINATE, ArrayLayouts
from hdl.array_passes import ArrayPasses
from hdl.word_reader import WordReader

__all__ = ["ArrayWalk"]


class ArrayWalk(wiring.Component):
    """Instructions in, code words out, a word a cycle, in the order of the weights.

    :class:`~hdl.array_passes.ArrayPasses` cuts instructions into passes. A pass runs row by row:
    ``address + (column >> upsample)`` is the word of a pixel, outside the image the beat is
    ``pad`` and reads nothing. A pass begins when the count that its input chunk needs is reached;
    it follows the one before without a bubble, as do tiles and instructions.

    Parameters
    ----------
    size, code_words, depth, channel_tiles : int
        As in ``AcceleratorConfig``.

    Members
    -------
    i : stream of instructions, CONV and MATMUL; a field that an opcode has not is 0
    counts : counts of array, vector and mover (16 bits each)
    o : stream of word (size x 12) and side: pad, mode, tile_start, first, last, end, pixel,
        narrow, matmul, row_scale, scale_bank, chunk_end (of the last tile of its chunk), bank,
        table_set, segment, channel_tile
    o_sets : stream of the set of weights of each pass: kind, address, lane_first, lanes
    read_operand : read port of the code scratchpad

    Timing
    ------
    The first request comes 7 cycles after an instruction was accepted if its pass may begin; its
    word is at ``o`` two cycles later. A pass of one pixel takes two cycles, as the one behind it
    looks at its count for one.
    """

    i: stream.Interface
    o: stream.Interface
    o_sets: stream.Interface
    read_operand: Any
    counts: data.View

    def __init__(self, *, size=16, code_words=4096, depth=256, channel_tiles=32):
        self.size = size
        self.code_words = code_words
        self.depth = depth
        self.channel_tiles = channel_tiles
        sizes = {"code_words": code_words, "depth": depth, "channel_tiles": channel_tiles}
        self.layouts = layouts = ArrayLayouts(size=size, **sizes)
        self.passes = ArrayPasses(size=size, **sizes)
        self.reader = WordReader(
            address_bits=layouts.address_bits, word=layouts.code_word, side=layouts.beat_side
        )
        super().__init__(
            {
                "i": In(stream.Signature(layouts.instruction)),
                "counts": In(COUNTS_LAYOUT),
                "o": Out(stream.Signature(layouts.beat)),
                "o_sets": Out(stream.Signature(layouts.set_)),
                "read_operand": Out(read_signature(layouts.address_bits, layouts.code_word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layouts = self.layouts
        m.submodules.passes = passes = self.passes
        m.submodules.reader = reader = self.reader
        wiring.connect(m, wiring.flipped(self.i), passes.i)
        wiring.connect(m, passes.o_sets, wiring.flipped(self.o_sets))
        wiring.connect(m, reader.o, wiring.flipped(self.o))
        wiring.connect(m, reader.port, wiring.flipped(self.read_operand))

        # the pass that runs
        work = Signal(layouts.pass_)
        running = Signal()
        row = Signal(COORDINATE)
        column = Signal(COORDINATE)
        address = Signal(layouts.address_bits)
        pixel = Signal(layouts.pixel_bits)
        rows_left = Signal(10)
        columns_left = Signal(11)
        moves = Signal()
        last_column = Signal()
        last_row = Signal()
        pass_ends = Signal()
        permitted = Signal()
        takes = Signal()
        offered = passes.o.payload
        m.d.comb += [
            pass_ends.eq(last_column & last_row),
            passes.o.ready.eq((~running | (moves & pass_ends)) & permitted),
            takes.eq(passes.o.valid & passes.o.ready),
        ]
        m.d.sync += permitted.eq(passes.o.valid & ~takes & self._permits(offered))
        # rows of words from one row of pixels to the next
        step = Signal(11)
        with m.If(work.upsample):
            m.d.comb += step.eq(Mux(row[0], work.row_words, 0))
        with m.Else():
            m.d.comb += step.eq(work.row_words << work.stride2)
        with m.If(running & moves):
            m.d.sync += [
                pixel.eq((pixel + 1)[: len(pixel)]),
                columns_left.eq((columns_left - 1)[: len(columns_left)]),
                last_column.eq(columns_left == 2),
                column.eq((column + 1 + work.stride2)[: len(column)].as_signed()),
            ]
            with m.If(last_column):
                m.d.sync += [
                    columns_left.eq(work.columns),
                    last_column.eq(work.columns == 1),
                    last_row.eq(rows_left == 2),
                    column.eq(work.column),
                    rows_left.eq((rows_left - 1)[: len(rows_left)]),
                    row.eq((row + 1 + work.stride2)[: len(row)].as_signed()),
                    address.eq((address + step)[: len(address)]),
                ]
            with m.If(pass_ends):
                m.d.sync += running.eq(0)
        with m.If(takes):
            m.d.sync += [
                running.eq(1),
                work.eq(offered),
                row.eq(offered.row),
                column.eq(offered.column),
                address.eq(offered.address),
                rows_left.eq(offered.rows),
                columns_left.eq(offered.columns),
                last_row.eq(offered.rows == 1),
                last_column.eq(offered.columns == 1),
                pixel.eq(0),
            ]

        # its beat: word and flags, registered
        beat = Signal(reader.i_layout)
        side = Signal(layouts.beat_side)
        outside = Signal()
        m.d.comb += [
            moves.eq(reader.i.ready | ~reader.i.valid),
            # a negative coordinate is beyond every limit
            outside.eq((row.as_unsigned() >= work.height) | (column.as_unsigned() >= work.width)),
            beat.read.eq(~outside),
            beat.address.eq((address + (column >> work.upsample))[: len(address)]),
            beat.side.eq(side),
            side.pad.eq(outside),
            side.tile_start.eq(pixel == 0),
            side.end.eq(pass_ends),
            side.pixel.eq(pixel),
        ]
        for name in ("mode", "first", "last", "narrow", "matmul", "row_scale", "scale_bank"):
            m.d.comb += side[name].eq(work[name])
        for name in ("chunk_end", "bank", "table_set", "segment", "channel_tile"):
            m.d.comb += side[name].eq(work[name])
        with m.If(moves):
            m.d.sync += [reader.i.valid.eq(running), reader.i.payload.eq(beat)]
        return m

    def _permits(self, offered):
        """Return whether the input chunk of the pass ``offered`` may be read."""
        reached = count_of(self.counts, offered.step_unit) >= offered.need
        return (offered.step_unit == Unit.NONE) | reached
