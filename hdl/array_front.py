"""From instructions to totals: words, operands, array, accumulator."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.mac_array import DECODES, MULTIPLIERS
from golden.scale_file import LOOKUP_BACK, LOOKUP_FRONT
from hdl.accelerator_layouts import COUNTS_LAYOUT, read_signature
from hdl.accumulator import Accumulator
from hdl.array_layouts import ArrayLayouts
from hdl.array_walk import ArrayWalk
from hdl.checks import check_choice, check_size
from hdl.mac_array import MacArray
from hdl.operand import Operand
from hdl.skid_buffer import SkidBuffer
from hdl.stationary import Stationary

__all__ = ["ArrayFront"]


class ArrayFront(wiring.Component):
    """Products of codes and weights, summed over the passes of a tile.

    array_walk -> lookup of the scale file -> skid -> operand -> skid -> mac_array -> accumulator;
    stationary gives mac_array its weights. A MATMUL has k = 0.

    Parameters
    ----------
    size, code_words, depth, channel_tiles : int
        As in ``AcceleratorConfig``.
    decode, pipeline, multiplier
        Of the array.

    Members
    -------
    i : stream of instructions, CONV and MATMUL; a field that an opcode has not is 0
    counts : counts of array, vector and mover (16 bits each)
    i_weights : stream of weights (size x int8)
    o_lookup, i_lookup : streams to and from the conv lookup of the scale file
    read_operand, read_stationary : read ports of the code scratchpad
    o : stream of acc (size x int32), pixel, end, side (``ArrayLayouts.tag``)
    busy : the array takes a beat

    Timing
    ------
    One beat a cycle. ``latency`` is from a granted request to the array's input.
    """

    i: stream.Interface
    i_weights: stream.Interface
    o_lookup: stream.Interface
    i_lookup: stream.Interface
    o: stream.Interface
    counts: data.View
    read_operand: Any
    read_stationary: Any
    busy: Signal

    def __init__(
        self,
        *,
        size=16,
        code_words=4096,
        depth=256,
        channel_tiles=32,
        decode="edge",
        pipeline=1,
        multiplier="inferred",
    ):
        self.size = size
        self.code_words = code_words
        self.depth = depth
        self.channel_tiles = channel_tiles
        self.decode = check_choice("decode", decode, DECODES)
        self.pipeline = check_size("pipeline", pipeline, 1, 6)
        self.multiplier = check_choice("multiplier", multiplier, MULTIPLIERS)
        sizes = {"code_words": code_words, "depth": depth, "channel_tiles": channel_tiles}
        self.layouts = layouts = ArrayLayouts(size=size, **sizes)
        self.walk = ArrayWalk(size=size, **sizes)
        self.stationary = Stationary(size=size, **sizes)
        self.operand = Operand(rows=size, side_width=layouts.operand_side.size)
        self.mac_array = MacArray(
            rows=size,
            cols=size,
            decode=decode,
            pipeline=pipeline,
            multiplier=multiplier,
            side_width=layouts.array_side.size,
        )
        self.accumulator = Accumulator(
            depth=depth,
            cols=size,
            sum_width=self.mac_array.sum_width,
            side_width=layouts.tag.size,
        )
        port = read_signature(layouts.address_bits, layouts.code_word)
        super().__init__(
            {
                "i": In(stream.Signature(layouts.instruction)),
                "counts": In(COUNTS_LAYOUT),
                "i_weights": In(stream.Signature(self.stationary.weights_layout)),
                "o_lookup": Out(stream.Signature(layouts.lookup)),
                "i_lookup": In(stream.Signature(layouts.found)),
                "read_operand": Out(port),
                "read_stationary": Out(port),
                "o": Out(stream.Signature(layouts.totals)),
                "busy": Out(1),
            }
        )

    @property
    def latency(self):
        """Cycles from a granted request to the array's input if the bank is loaded."""
        lookup, skids = LOOKUP_FRONT + LOOKUP_BACK, 2
        return self.walk.reader.latency + lookup + skids + self.operand.latency

    def elaborate(self, platform):
        m = Module()
        for name in ("walk", "stationary", "operand", "mac_array", "accumulator"):
            m.submodules[name] = getattr(self, name)
        walk, stationary = self.walk, self.stationary
        wiring.connect(m, wiring.flipped(self.i), walk.i)
        wiring.connect(m, wiring.flipped(self.i_weights), stationary.i_weights)
        wiring.connect(m, walk.o_sets, stationary.i)
        wiring.connect(m, stationary.o, self.mac_array.i_weights)
        wiring.connect(m, walk.read_operand, wiring.flipped(self.read_operand))
        wiring.connect(m, stationary.read_stationary, wiring.flipped(self.read_stationary))
        wiring.connect(m, self.accumulator.o, wiring.flipped(self.o))
        m.d.comb += walk.counts.eq(self.counts)
        self._elaborate_lookup(m)
        self._elaborate_operand(m)
        self._elaborate_array(m)
        return m

    def _elaborate_lookup(self, m):
        """Words: lookup of z and k."""
        beat = self.walk.o
        where = beat.payload.side
        side = Signal(self.layouts.code_side)
        lookup = self.o_lookup
        m.d.comb += [
            side.word.eq(beat.payload.word),
            lookup.valid.eq(beat.valid),
            beat.ready.eq(lookup.ready),
            lookup.payload.start.eq(where.tile_start & where.first),
            lookup.payload.side.eq(side),
        ]
        for name, _ in self.layouts.code_side:
            if name != "word":
                m.d.comb += side[name].eq(where[name])
        for name in ("bank", "table_set", "segment", "channel_tile"):
            m.d.comb += lookup.payload[name].eq(where[name])

    def _elaborate_operand(self, m):
        """Words with their constants: what the array multiplies."""
        m.submodules.code_skid = skid = SkidBuffer(self.layouts.found)
        wiring.connect(m, wiring.flipped(self.i_lookup), skid.i)
        found = skid.o.payload
        fields = Signal(self.layouts.code_side)
        operand = self.operand
        side = Signal(self.layouts.operand_side)
        m.d.comb += [
            fields.eq(found.side),
            operand.i.valid.eq(skid.o.valid),
            skid.o.ready.eq(operand.i.ready),
            operand.i.payload.codes.eq(fields.word),
            operand.i.payload.pad.eq(fields.pad.replicate(self.size)),
            operand.i.payload.mode.eq(fields.mode),
            operand.i.payload.zero_point.eq(found.constants.zero_point),
            operand.i.payload.k.eq(Mux(fields.matmul, 0, found.constants.k)),
            operand.i.payload.side.eq(side),
            side.tile_start.eq(fields.tile_start),
            side.array.tag.bank.eq(found.bank),
            side.array.tag.scale_row.eq(found.scale_row),
            side.array.tag.bias_row.eq(found.bias_row),
        ]
        for name in ("narrow", "matmul", "row_scale", "scale_bank", "chunk_end"):
            m.d.comb += side.array.tag[name].eq(fields[name])
        for name in ("first", "last", "end", "pixel"):
            m.d.comb += side.array[name].eq(fields[name])

    def _elaborate_array(self, m):
        """Sums and their totals."""
        m.submodules.operand_skid = skid = SkidBuffer(self.operand.o_layout)
        wiring.connect(m, self.operand.o, skid.i)
        decoded = skid.o.payload
        array, accumulator = self.mac_array, self.accumulator
        entering = Signal(self.layouts.operand_side)
        leaving = Signal(self.layouts.array_side)
        m.d.comb += [
            entering.eq(decoded.side),
            array.i.valid.eq(skid.o.valid),
            skid.o.ready.eq(array.i.ready),
            array.i.payload.mantissa.eq(decoded.mantissa),
            array.i.payload.flag.eq(decoded.flag),
            array.i.payload.k.eq(decoded.k),
            array.i.payload.tile_start.eq(entering.tile_start),
            array.i.payload.side.eq(entering.array),
            self.busy.eq(array.i.valid & array.i.ready),
            leaving.eq(array.o.payload.side),
            accumulator.i.valid.eq(array.o.valid),
            array.o.ready.eq(accumulator.i.ready),
            accumulator.i.payload.sums.eq(array.o.payload.sums),
            accumulator.i.payload.side.eq(leaving.tag),
        ]
        for name in ("first", "last", "end", "pixel"):
            m.d.comb += accumulator.i.payload[name].eq(leaving[name])
