"""From totals to values: constants of the lanes, or of the pixel's row, and the requantizer."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.scale_file import READ_LATENCY
from hdl.array_layouts import ArrayLayouts, scale_read_signature
from hdl.requantizer import Requantizer

__all__ = ["ArrayBack"]


class ArrayBack(wiring.Component):
    """``sat(rsh(acc * M, n) + b)`` of every total.

    A MATMUL has no bias, and with ``row_scale`` one {P, n} for all lanes of a pixel: that of the
    pixel's row of the block, counted over all tiles of a chunk.

    Parameters
    ----------
    size, code_words, depth, channel_tiles : int
        As in ``AcceleratorConfig``.
    multiplier
        Of the requantizer.

    Members
    -------
    i : stream of acc (size x int32), pixel, end, side (``ArrayLayouts.tag``)
    o_constants, i_constants : streams to and from the scale file's read port
    read_scale : read port of row_scales
    o : stream of values (size x int16), end (of a tile)
    released, released_bank : a tile has left, for the scale file
    clear, saturations : of the requantizer

    Timing
    ------
    Latency 10 cycles with the scale file's read, one beat a cycle.
    """

    i: stream.Interface
    o_constants: stream.Interface
    i_constants: stream.Interface
    read_scale: Any
    o: stream.Interface
    released: Signal
    released_bank: Signal
    clear: Signal
    saturations: Signal

    def __init__(
        self, *, size=16, code_words=4096, depth=256, channel_tiles=32, multiplier="inferred"
    ):
        self.size = size
        self.code_words = code_words
        self.depth = depth
        self.channel_tiles = channel_tiles
        self.layouts = layouts = ArrayLayouts(
            size=size, code_words=code_words, depth=depth, channel_tiles=channel_tiles
        )
        self.requantizer = Requantizer(
            lanes=size, side_width=layouts.value_side.size, multiplier=multiplier
        )
        super().__init__(
            {
                "i": In(stream.Signature(layouts.totals)),
                "o_constants": Out(stream.Signature(layouts.constants_read)),
                "i_constants": In(stream.Signature(layouts.constants)),
                "read_scale": Out(scale_read_signature(layouts.pixel_bits)),
                "o": Out(stream.Signature(layouts.values)),
                "released": Out(1),
                "released_bank": Out(1),
                "clear": In(1),
                "saturations": Out(32),
            }
        )

    @property
    def latency(self):
        """Cycles from a total to its values."""
        return READ_LATENCY + self.requantizer.latency

    def elaborate(self, platform):
        m = Module()
        total, request = self.i, self.o_constants
        tag = Signal(self.layouts.tag)
        acc = Signal(self.layouts.acc_side)
        m.d.comb += [
            tag.eq(total.payload.side),
            request.valid.eq(total.valid),
            total.ready.eq(request.ready),
            request.payload.side.eq(acc),
            acc.acc.eq(total.payload.acc),
            acc.end.eq(total.payload.end),
        ]
        for name in ("bank", "scale_row", "bias_row"):
            m.d.comb += request.payload[name].eq(tag[name])
        for name in ("bank", "narrow", "matmul", "row_scale"):
            m.d.comb += acc[name].eq(tag[name])
        scale = self._elaborate_row_scale(m, tag)

        m.submodules.requantizer = requantizer = self.requantizer
        constants = self.i_constants
        held = Signal(self.layouts.acc_side)
        side = Signal(self.layouts.value_side)
        done = Signal(self.layouts.value_side)
        m.d.comb += [
            held.eq(constants.payload.side),
            side.end.eq(held.end),
            side.bank.eq(held.bank),
            requantizer.i.valid.eq(constants.valid),
            constants.ready.eq(requantizer.i.ready),
            requantizer.i.payload.acc.eq(held.acc),
            requantizer.i.payload.narrow.eq(held.narrow),
            requantizer.i.payload.side.eq(side),
            requantizer.clear.eq(self.clear),
            self.saturations.eq(requantizer.saturations),
            done.eq(requantizer.o.payload.side),
            self.o.valid.eq(requantizer.o.valid),
            requantizer.o.ready.eq(self.o.ready),
            self.o.payload["values"].eq(requantizer.o.payload["values"]),
            self.o.payload.end.eq(done.end),
            self.released.eq(self.o.valid & self.o.ready & done.end),
            self.released_bank.eq(done.bank),
        ]
        for lane in range(self.size):
            m.d.comb += [
                requantizer.i.payload.multiplier[lane].eq(
                    Mux(held.row_scale, scale.multiplier, constants.payload.multiplier[lane])
                ),
                requantizer.i.payload.shift[lane].eq(
                    Mux(held.row_scale, scale.shift, constants.payload.shift[lane])
                ),
                requantizer.i.payload.bias[lane].eq(
                    Mux(held.matmul, 0, constants.payload.bias[lane])
                ),
            ]
        return m

    def _elaborate_row_scale(self, m, tag):
        """Read beside the scale file, and move with it; return {P, n} as it comes out there."""
        total = self.i
        row = Signal(self.layouts.pixel_bits)
        asked = Signal(self.layouts.scale_place)
        place = Signal(self.layouts.scale_place)
        scale = Signal(self.layouts.row_scale)
        moves = Signal()
        m.d.comb += [
            moves.eq(self.i_constants.ready),
            # while nothing moves, the word that was asked for is read again
            place.eq(asked),
            self.read_scale.valid.eq(place.valid),
            self.read_scale.bank.eq(place.bank),
            self.read_scale.row.eq(place.row),
        ]
        with m.If(moves):
            m.d.comb += [
                place.valid.eq(total.valid & tag.row_scale),
                place.bank.eq(tag.scale_bank),
                place.row.eq(row),
            ]
            m.d.sync += [
                asked.eq(place),
                scale.multiplier.eq(self.read_scale.multiplier),
                scale.shift.eq(self.read_scale.shift),
            ]
        with m.If(total.valid & total.ready):
            m.d.sync += row.eq((row + 1)[: len(row)])
            with m.If(total.payload.end & tag.chunk_end):
                m.d.sync += row.eq(0)
        return scale
