"""The blocks joined: conv, activation and edge path, all fed by one scale file."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.mac_array import DECODES, MULTIPLIERS
from golden.scale_tables import ScaleFileConfig
from hdl.accumulator import Accumulator
from hdl.checks import check_choice, check_size
from hdl.datapath_layouts import STREAM_BITS, U_BITS, DatapathLayouts
from hdl.mac_array import MacArray
from hdl.operand import Operand
from hdl.requantizer import Requantizer
from hdl.scale_file import ScaleFile
from hdl.silu_quantizer import SiluQuantizer
from hdl.skid_buffer import SkidBuffer

__all__ = ["Datapath"]


class Datapath(wiring.Component):
    """Three paths through one scale file.

    - conv: code -> operand -> mac_array -> accumulator -> requantizer -> int16 stream, or int8
      where the tile is ``narrow`` (q, k, v)
    - activation: int12 u -> silu_quantizer -> region code, or 12 bits where ``wide``
    - edge: int16 stream or int12 u -> requantizer -> int8, or 12 bits where ``wide``

    A tile names its bank, table set and sampler step; these fields, ``segment``, ``channel_tile``
    and ``narrow`` are the same in every beat of an output tile, but for ``segment`` and ``mode``,
    which are the same in every beat of one set of weights. An output tile is one or more passes
    over its pixels; ``tile_start`` marks the first beat of each set of weights, ``first`` and
    ``last`` all beats of the first and last pass, ``end`` the highest pixel.

    Parameters
    ----------
    rows, cols : int
        Size of the array, 1..64.
    vector_lanes : int
        Lanes of the activation and edge paths, 1..64; 0 means ``cols``.
    depth : int
        Pixels of an output tile at most.
    groups, resident_groups, steps, channel_tiles : int
        Of the scale file.
    segments : int
        Pieces of the SiLU, 16 or 32.
    decode, pipeline, multiplier
        Of the array; ``multiplier`` of all blocks that multiply.

    Members
    -------
    i_write : stream of scale file writes
    i_weights : stream of weights (cols x int8), rows beats for each ``tile_start``
    i_conv : stream of codes (rows x 12), pad (rows x 1), mode, tile_start, first, last, end, pixel,
        narrow, and the tile's fields
    i_activation : stream of u (lanes x int12), wide, start, end, and the tile's fields
    i_edge : stream of x (lanes x int16), wide, start, end, and the tile's fields
    o_conv : stream of values (cols x int16), pixel, end
    o_activation : stream of codes (lanes x 12), end
    o_edge : stream of codes (lanes x int12), end
    clear : clears both saturation counters
    conv_saturations, edge_saturations (32) : of the two requantizers
    bank_busy (2) : tiles of the bank are in flight

    Timing
    ------
    One beat a cycle on every path. ``latency`` is that of the conv path's first pixel after its
    tile's last beat; ``activation_latency`` and ``edge_latency`` are those of a beat.
    """

    def __init__(
        self,
        *,
        rows=16,
        cols=16,
        vector_lanes=0,
        depth=256,
        groups=8,
        resident_groups=8,
        steps=8,
        channel_tiles=4,
        segments=32,
        decode="edge",
        pipeline=1,
        multiplier="inferred",
    ):
        self.rows = check_size("rows", rows, 1, 64)
        self.cols = check_size("cols", cols, 1, 64)
        self.vector_lanes = check_size("vector_lanes", vector_lanes, 0, 64)
        self.depth = check_size("depth", depth, 1, 4096)
        self.groups = check_size("groups", groups, 1, 16)
        self.resident_groups = check_size("resident_groups", resident_groups, 1, groups)
        self.steps = check_size("steps", steps, 1, 1024)
        self.channel_tiles = check_size("channel_tiles", channel_tiles, 1, 256)
        self.segments = segments
        self.decode = check_choice("decode", decode, DECODES)
        self.pipeline = check_size("pipeline", pipeline, 1, 6)
        self.multiplier = check_choice("multiplier", multiplier, MULTIPLIERS)
        lanes = vector_lanes or cols
        config = ScaleFileConfig(groups, resident_groups, steps, channel_tiles, cols)
        self.layouts = layouts = DatapathLayouts(config=config, rows=rows, lanes=lanes, depth=depth)
        self.scale_file = ScaleFile(
            groups=groups,
            resident_groups=resident_groups,
            steps=steps,
            channel_tiles=channel_tiles,
            lanes=cols,
            conv_side=layouts.code_side.size,
            activation_side=layouts.activation_side.size,
            edge_side=layouts.edge_side.size,
            read_side=layouts.acc_side.size,
        )
        self.operand = Operand(rows=rows, side_width=layouts.operand_side.size)
        self.mac_array = MacArray(
            rows=rows,
            cols=cols,
            decode=decode,
            pipeline=pipeline,
            multiplier=multiplier,
            side_width=layouts.array_side.size,
        )
        self.accumulator = Accumulator(
            depth=depth,
            cols=cols,
            sum_width=self.mac_array.sum_width,
            side_width=layouts.tag.size,
        )
        self.requantizer = Requantizer(
            lanes=cols, side_width=layouts.value_side.size, multiplier=multiplier
        )
        self.silu_quantizer = SiluQuantizer(
            lanes=lanes,
            segments=segments,
            side_width=layouts.path_end.size,
            multiplier=multiplier,
        )
        self.edge_requantizer = Requantizer(
            lanes=lanes,
            acc_width=STREAM_BITS,
            out_width=U_BITS,
            bias_width=0,
            side_width=layouts.path_end.size,
            multiplier=multiplier,
        )
        super().__init__(
            {
                "i_write": In(stream.Signature(self.scale_file.write_layout)),
                "i_weights": In(stream.Signature(self.mac_array.weights_layout)),
                "i_conv": In(stream.Signature(layouts.i_conv)),
                "i_activation": In(stream.Signature(layouts.i_activation)),
                "i_edge": In(stream.Signature(layouts.i_edge)),
                "o_conv": Out(stream.Signature(layouts.o_conv)),
                "o_activation": Out(stream.Signature(layouts.o_activation)),
                "o_edge": Out(stream.Signature(layouts.o_edge)),
                "clear": In(1),
                "conv_saturations": Out(32),
                "edge_saturations": Out(32),
                "bank_busy": Out(2),
            }
        )

    @property
    def latency(self):
        """Cycles from the finishing beat of a conv tile to ``o_conv.valid`` of its pixel 0."""
        skids = 2
        return (
            self.scale_file.latency
            + skids
            + self.operand.latency
            + self.mac_array.latency
            + self.accumulator.latency
            + self.scale_file.read_latency
            + self.requantizer.latency
        )

    @property
    def activation_latency(self):
        """Cycles from a beat of ``i_activation`` to ``o_activation.valid``."""
        return self.scale_file.latency + 1 + self.silu_quantizer.latency

    @property
    def edge_latency(self):
        """Cycles from a beat of ``i_edge`` to ``o_edge.valid``."""
        return self.scale_file.latency + 1 + self.edge_requantizer.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.scale_file = self.scale_file
        m.submodules.operand = self.operand
        m.submodules.mac_array = self.mac_array
        m.submodules.accumulator = self.accumulator
        m.submodules.requantizer = self.requantizer
        m.submodules.silu_quantizer = self.silu_quantizer
        m.submodules.edge_requantizer = self.edge_requantizer
        wiring.connect(m, wiring.flipped(self.i_write), self.scale_file.i_write)
        wiring.connect(m, wiring.flipped(self.i_weights), self.mac_array.i_weights)
        m.d.comb += self.bank_busy.eq(self.scale_file.bank_busy)
        self._elaborate_conv_front(m)
        self._elaborate_conv_back(m)
        self._elaborate_activation(m)
        self._elaborate_edge(m)
        return m

    def _enter(self, m, path, side, start):
        """Offer a path's beats to the scale file; return the skid buffer behind its lookup."""
        source = getattr(self, f"i_{path}")
        lookup = getattr(self.scale_file, f"i_{path}")
        found = getattr(self.scale_file, f"o_{path}")
        skid = SkidBuffer(found.payload.shape())
        m.submodules[f"{path}_skid"] = skid
        wiring.connect(m, found, skid.i)
        m.d.comb += [
            lookup.valid.eq(source.valid),
            source.ready.eq(lookup.ready),
            lookup.payload.start.eq(start),
            lookup.payload.side.eq(side),
        ]
        for name in ("bank", "table_set", "step", "segment"):
            m.d.comb += lookup.payload[name].eq(source.payload[name])
        if path == "conv":
            m.d.comb += lookup.payload.channel_tile.eq(source.payload.channel_tile)
        return skid

    def _elaborate_conv_front(self, m):
        """Codes: lookup, operand, array."""
        beat = self.i_conv.payload
        side = Signal(self.layouts.code_side)
        for name, _ in self.layouts.code_side:
            m.d.comb += side[name].eq(beat[name])
        skid = self._enter(m, "conv", side, beat.tile_start & beat.first)

        found = skid.o.payload
        fields = Signal(self.layouts.code_side)
        operand = self.operand
        operand_side = Signal(self.layouts.operand_side)
        m.d.comb += [
            fields.eq(found.side),
            operand.i.valid.eq(skid.o.valid),
            skid.o.ready.eq(operand.i.ready),
            operand.i.payload.codes.eq(fields.codes),
            operand.i.payload.pad.eq(fields.pad),
            operand.i.payload.mode.eq(fields.mode),
            operand.i.payload.zero_point.eq(found.constants.zero_point),
            operand.i.payload.k.eq(found.constants.k),
            operand.i.payload.side.eq(operand_side),
            operand_side.tile_start.eq(fields.tile_start),
            operand_side.array.tag.narrow.eq(fields.narrow),
            operand_side.array.tag.bank.eq(found.bank),
            operand_side.array.tag.scale_row.eq(found.scale_row),
            operand_side.array.tag.bias_row.eq(found.bias_row),
        ]
        for name in ("first", "last", "end", "pixel"):
            m.d.comb += operand_side.array[name].eq(fields[name])

        m.submodules.operand_skid = operand_skid = SkidBuffer(operand.o_layout)
        wiring.connect(m, operand.o, operand_skid.i)
        decoded = operand_skid.o.payload
        array = self.mac_array
        array_side = Signal(self.layouts.operand_side)
        m.d.comb += [
            array_side.eq(decoded.side),
            array.i.valid.eq(operand_skid.o.valid),
            operand_skid.o.ready.eq(array.i.ready),
            array.i.payload.mantissa.eq(decoded.mantissa),
            array.i.payload.flag.eq(decoded.flag),
            array.i.payload.k.eq(decoded.k),
            array.i.payload.tile_start.eq(array_side.tile_start),
            array.i.payload.side.eq(array_side.array),
        ]

    def _elaborate_conv_back(self, m):
        """Sums: accumulator, constants of the lanes, requantizer."""
        array, accumulator = self.mac_array, self.accumulator
        side = Signal(self.layouts.array_side)
        m.d.comb += [
            side.eq(array.o.payload.side),
            accumulator.i.valid.eq(array.o.valid),
            array.o.ready.eq(accumulator.i.ready),
            accumulator.i.payload.sums.eq(array.o.payload.sums),
            accumulator.i.payload.side.eq(side.tag),
        ]
        for name in ("first", "last", "end", "pixel"):
            m.d.comb += accumulator.i.payload[name].eq(side[name])

        read = self.scale_file.i_read
        tag = Signal(self.layouts.tag)
        acc = Signal(self.layouts.acc_side)
        total = accumulator.o.payload
        m.d.comb += [
            tag.eq(total.side),
            read.valid.eq(accumulator.o.valid),
            accumulator.o.ready.eq(read.ready),
            read.payload.bank.eq(tag.bank),
            read.payload.scale_row.eq(tag.scale_row),
            read.payload.bias_row.eq(tag.bias_row),
            acc.acc.eq(total.acc),
            acc.pixel.eq(total.pixel),
            acc.end.eq(total.end),
            acc.bank.eq(tag.bank),
            acc.narrow.eq(tag.narrow),
            read.payload.side.eq(acc),
        ]

        constants = self.scale_file.o_read
        requantizer = self.requantizer
        held = Signal(self.layouts.acc_side)
        value = Signal(self.layouts.value_side)
        m.d.comb += [
            held.eq(constants.payload.side),
            value.pixel.eq(held.pixel),
            value.end.eq(held.end),
            value.bank.eq(held.bank),
            requantizer.i.valid.eq(constants.valid),
            constants.ready.eq(requantizer.i.ready),
            requantizer.i.payload.acc.eq(held.acc),
            requantizer.i.payload.multiplier.eq(constants.payload.multiplier),
            requantizer.i.payload.shift.eq(constants.payload.shift),
            requantizer.i.payload.bias.eq(constants.payload.bias),
            requantizer.i.payload.narrow.eq(held.narrow),
            requantizer.i.payload.side.eq(value),
            requantizer.clear.eq(self.clear),
            self.conv_saturations.eq(requantizer.saturations),
        ]

        result = requantizer.o.payload
        done = Signal(self.layouts.value_side)
        m.d.comb += [
            done.eq(result.side),
            self.o_conv.valid.eq(requantizer.o.valid),
            requantizer.o.ready.eq(self.o_conv.ready),
            self.o_conv.payload.values.eq(result["values"]),
            self.o_conv.payload.pixel.eq(done.pixel),
            self.o_conv.payload.end.eq(done.end),
            self.scale_file.release_conv.eq(self.o_conv.valid & self.o_conv.ready & done.end),
            self.scale_file.release_conv_bank.eq(done.bank),
        ]

    def _elaborate_activation(self, m):
        """u: lookup, SiLU, code."""
        beat = self.i_activation.payload
        side = Signal(self.layouts.activation_side)
        m.d.comb += [side.u.eq(beat.u), side.wide.eq(beat.wide), side.end.eq(beat.end)]
        skid = self._enter(m, "activation", side, beat.start)
        found = skid.o.payload
        fields = Signal(self.layouts.activation_side)
        silu = self.silu_quantizer
        end = Signal(self.layouts.path_end)
        m.d.comb += [
            fields.eq(found.side),
            end.end.eq(fields.end),
            end.bank.eq(found.bank),
            silu.i.valid.eq(skid.o.valid),
            skid.o.ready.eq(silu.i.ready),
            silu.i.payload.u.eq(fields.u),
            silu.i.payload.wide.eq(fields.wide),
            silu.i.payload.multiplier.eq(found.constants.multiplier),
            silu.i.payload.shift.eq(found.constants.shift),
            silu.i.payload.zero_point.eq(found.constants.zero_point),
            silu.i.payload.k.eq(found.constants.k),
            silu.i.payload.side.eq(end),
        ]
        self._leave(m, "activation", silu.o, "codes")

    def _elaborate_edge(self, m):
        """x: lookup, requantizer, int8 or 12 bits."""
        beat = self.i_edge.payload
        side = Signal(self.layouts.edge_side)
        m.d.comb += [side.x.eq(beat.x), side.wide.eq(beat.wide), side.end.eq(beat.end)]
        skid = self._enter(m, "edge", side, beat.start)
        found = skid.o.payload
        fields = Signal(self.layouts.edge_side)
        requantizer = self.edge_requantizer
        end = Signal(self.layouts.path_end)
        m.d.comb += [
            fields.eq(found.side),
            end.end.eq(fields.end),
            end.bank.eq(found.bank),
            requantizer.i.valid.eq(skid.o.valid),
            skid.o.ready.eq(requantizer.i.ready),
            requantizer.i.payload.acc.eq(fields.x),
            requantizer.i.payload.narrow.eq(~fields.wide),
            requantizer.i.payload.side.eq(end),
            requantizer.clear.eq(self.clear),
            self.edge_saturations.eq(requantizer.saturations),
        ]
        for lane in range(requantizer.lanes):
            m.d.comb += [
                requantizer.i.payload.multiplier[lane].eq(found.constants.multiplier),
                requantizer.i.payload.shift[lane].eq(found.constants.shift),
            ]
        self._leave(m, "edge", requantizer.o, "values")

    def _leave(self, m, path, result, codes):
        """Deliver a path's beats and release the bank at a tile's end."""
        output = getattr(self, f"o_{path}")
        end = Signal(self.layouts.path_end, name=f"{path}_end")
        m.d.comb += [
            end.eq(result.payload.side),
            output.valid.eq(result.valid),
            result.ready.eq(output.ready),
            output.payload.codes.eq(result.payload[codes]),
            output.payload.end.eq(end.end),
            getattr(self.scale_file, f"release_{path}").eq(output.valid & output.ready & end.end),
            getattr(self.scale_file, f"release_{path}_bank").eq(end.bank),
        ]
