"""Weights in the order of the array's passes: streamed, rows of V, or blocks of K transposed."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.accelerator_layouts import read_signature
from hdl.array_layouts import ArrayLayouts, SetKind
from hdl.skid_buffer import SkidBuffer
from hdl.transposer import Transposer
from hdl.word_reader import WordReader

__all__ = ["Stationary"]


class Stationary(wiring.Component):
    """``size`` rows of weights for each set that ``i`` names.

    ===========  ====================================================================
    kind         row r of the set
    ===========  ====================================================================
    stream       the next row of ``i_weights``
    rows         word ``address + r``
    transposed   lane r of the words ``address ..``; 0 where r lies not in
                 ``lane_first .. lanes - 1``
    ===========  ====================================================================

    Words are read ahead of their use, a block of K into the transposer while the block before
    leaves it, as far as ``i`` names sets.

    Parameters
    ----------
    size, code_words, depth, channel_tiles : int
        As in ``AcceleratorConfig``.

    Members
    -------
    i : stream of kind, address, lane_first, lanes (``ArrayLayouts.set_``)
    i_weights : stream of weights (size x int8)
    o : stream of weights (size x int8), as mac_array takes them
    read_stationary : read port of the code scratchpad, int8 in the low bits of its lanes

    Timing
    ------
    A row a cycle, sets follow each other without a bubble. From a set to its first row if nothing
    is before it: 2 cycles (stream), 3 (rows), ``3 + size`` (transposed).
    """

    i: stream.Interface
    i_weights: stream.Interface
    o: stream.Interface
    read_stationary: Any

    def __init__(self, *, size=16, code_words=4096, depth=256, channel_tiles=32):
        self.size = size
        self.code_words = code_words
        self.depth = depth
        self.channel_tiles = channel_tiles
        self.layouts = layouts = ArrayLayouts(
            size=size, code_words=code_words, depth=depth, channel_tiles=channel_tiles
        )
        self.word = data.ArrayLayout(signed(8), size)
        self.weights_layout = data.StructLayout({"weights": self.word})
        super().__init__(
            {
                "i": In(stream.Signature(layouts.set_)),
                "i_weights": In(stream.Signature(self.weights_layout)),
                "o": Out(stream.Signature(self.weights_layout)),
                "read_stationary": Out(read_signature(layouts.address_bits, layouts.code_word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layouts = self.layouts
        m.submodules.reader = reader = WordReader(
            address_bits=layouts.address_bits, word=layouts.code_word, side=1
        )
        m.submodules.sets = sets = SkidBuffer(layouts.set_)
        m.submodules.transposer = transposer = Transposer(size=self.size)
        m.submodules.rows = rows = SkidBuffer(self.weights_layout)
        wiring.connect(m, reader.port, wiring.flipped(self.read_stationary))
        wiring.connect(m, rows.o, wiring.flipped(self.o))
        last = self.size - 1

        # requests; ``sets`` has a set of words from its first request on
        offered = self.i.payload
        asked = Signal(range(self.size))
        reads = Signal()
        m.d.comb += [
            reads.eq(offered.kind != SetKind.STREAM),
            reader.i.valid.eq(self.i.valid & reads & ((asked != 0) | sets.i.ready)),
            reader.i.payload.read.eq(1),
            reader.i.payload.address.eq((offered.address + asked)[: layouts.address_bits]),
            reader.i.payload.side.eq(offered.kind == SetKind.TRANSPOSED),
            sets.i.payload.eq(offered),
        ]
        with m.If(reads):
            m.d.comb += [
                sets.i.valid.eq(self.i.valid & (asked == 0) & reader.i.ready),
                self.i.ready.eq((asked == last) & reader.i.ready),
            ]
        with m.Else():
            m.d.comb += [sets.i.valid.eq(self.i.valid), self.i.ready.eq(sets.i.ready)]
        with m.If(reader.i.valid & reader.i.ready):
            m.d.sync += asked.eq(Mux(asked == last, 0, asked + 1)[: len(asked)])

        # rows, behind it
        now = sets.o.payload
        row = Signal(range(self.size))
        live = Signal()
        found = Signal(self.word)
        m.d.comb += [
            sets.o.ready.eq(rows.i.valid & rows.i.ready & (row == last)),
            live.eq((row >= now.lane_first) & (row < now.lanes)),
        ]
        with m.If(rows.i.valid & rows.i.ready):
            m.d.sync += row.eq(Mux(row == last, 0, row + 1)[: len(row)])
        for lane in range(self.size):
            m.d.comb += found[lane].eq(reader.o.payload.word[lane][:8].as_signed())
        m.d.comb += [
            transposer.i.payload.eq(found),
            transposer.i.valid.eq(reader.o.valid & reader.o.payload.side),
        ]
        with m.If(reader.o.payload.side):
            m.d.comb += reader.o.ready.eq(transposer.i.ready)
        with m.Switch(now.kind):
            with m.Case(SetKind.STREAM):
                m.d.comb += [
                    rows.i.valid.eq(sets.o.valid & self.i_weights.valid),
                    self.i_weights.ready.eq(sets.o.valid & rows.i.ready),
                    rows.i.payload.eq(self.i_weights.payload),
                ]
            with m.Case(SetKind.ROWS):
                with m.If(~reader.o.payload.side):
                    m.d.comb += [
                        rows.i.valid.eq(sets.o.valid & reader.o.valid),
                        reader.o.ready.eq(sets.o.valid & rows.i.ready),
                    ]
                m.d.comb += rows.i.payload.weights.eq(found)
            with m.Default():
                m.d.comb += [
                    rows.i.valid.eq(sets.o.valid & transposer.o.valid),
                    transposer.o.ready.eq(sets.o.valid & rows.i.ready),
                ]
                with m.If(live):
                    m.d.comb += rows.i.payload.weights.eq(transposer.o.payload)
        return m
