"""The vector unit: NORM, EDGE, SOFTMAX and SAMPLE, from stream words to codes and the next x."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Format, Opcode
from golden.operand import CODE_BITS
from golden.scale_tables import ScaleFileConfig
from hdl.accelerator_layouts import COUNTS_LAYOUT, NORM_WRITE, instruction_layout, read_signature
from hdl.channel_sums import sums_read_signature
from hdl.group_norm import GroupNorm
from hdl.image_sampler import ImageSampler
from hdl.norm_constants import NormConstants
from hdl.requantizer import Requantizer
from hdl.sampler_lane import ROW_LAYOUT
from hdl.silu_quantizer import SiluQuantizer
from hdl.softmax import Softmax
from hdl.tile_lookup import scale_layout, silu_layout, tile_layout
from hdl.vector_walk import AHEAD, VECTOR_OPCODES, VectorWalk
from hdl.vector_write import VectorWrite
from hdl.window import Window

__all__ = ["VectorUnit"]

STREAM_BITS = 16
KEYS_MAX = 8191  # of the field ``channels``


class VectorUnit(wiring.Component):
    """vector_walk -> the lanes of the operation -> vector_write, one instruction after the other.

    =======  ====================================================================
    opcode   lanes
    =======  ====================================================================
    NORM     group_norm (constants from norm_constants) -> silu_quantizer, or requantizer
    EDGE     requantizer (-> window)
    SOFTMAX  softmax, scales to row_scales
    SAMPLE   image_sampler
    =======  ====================================================================

    The next instruction is taken while one runs: its constants are fetched from the scale file and
    its norm's sums are joined. Its first word is read when the one before is written.

    Parameters
    ----------
    size, stream_words, code_words, sum_chunks, depth, channel_tiles : int
        As in ``AcceleratorConfig``.
    segments : int
        Of the silu_quantizer.
    multiplier : str
        Of silu_quantizer and requantizer.

    Members
    -------
    i : stream of instructions; a field that an opcode has not is 0
    counts : counts of array, vector and mover (16 bits each)
    o_activation, i_activation, o_edge, i_edge : streams to and from the scale file's lookups
    released_activation, released_edge, released_bank : pulses
    norm_write, i_row : from table_loader
    read_stream, read_sums : read ports
    write_codes, write_stream, write_scale, count, finish, finish_bank, finish_sample : of
        vector_write
    busy : a word is read
    fault : pulse: a norm table is not that of its sums
    clear, saturations : of the requantizer

    Timing
    ------
    A word a cycle. ``latency`` names cycles from a word read to its code written.
    """

    i: stream.Interface
    counts: data.View
    o_activation: stream.Interface
    i_activation: stream.Interface
    o_edge: stream.Interface
    i_edge: stream.Interface
    released_activation: Signal
    released_edge: Signal
    released_bank: Signal
    norm_write: wiring.PureInterface
    i_row: stream.Interface
    read_stream: Any
    read_sums: Any
    write_codes: Any
    write_stream: Any
    write_scale: Any
    count: Signal
    finish: Signal
    finish_bank: Signal
    finish_sample: Signal
    busy: Signal
    fault: Signal
    clear: Signal
    saturations: Signal

    def __init__(
        self,
        *,
        size=16,
        stream_words=4096,
        code_words=4096,
        sum_chunks=64,
        depth=256,
        channel_tiles=32,
        segments=32,
        multiplier="inferred",
    ):
        AcceleratorConfig(
            size=size,
            stream_words=stream_words,
            code_words=code_words,
            sum_chunks=sum_chunks,
            depth=depth,
            channel_tiles=channel_tiles,
        )
        self.size = size
        self.stream_words = stream_words
        self.code_words = code_words
        self.sum_chunks = sum_chunks
        self.depth = depth
        self.channel_tiles = channel_tiles
        self.segments = segments
        self.multiplier = multiplier
        self.walk = VectorWalk(size=size, stream_words=stream_words)
        self.write = VectorWrite(
            size=size, stream_words=stream_words, code_words=code_words, depth=depth
        )
        config = ScaleFileConfig(1, 1, 1, channel_tiles, size)
        rows = {"bank": 1, "scale_row": config.scale_row_bits, "bias_row": config.bias_row_bits}
        lookup = tile_layout(1, config.channel_tile_bits)
        self.activation = data.StructLayout({"constants": silu_layout(), **rows, "side": 1})
        self.edge = data.StructLayout({"constants": scale_layout(), **rows, "side": 1})
        written = dict(self.write.signature.members)
        for name in ("i", "i_codes", "i_values", "i_scale"):
            del written[name]
        self._written = tuple(written)
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(*VECTOR_OPCODES))),
                "counts": In(COUNTS_LAYOUT),
                "o_activation": Out(stream.Signature(lookup)),
                "i_activation": In(stream.Signature(self.activation)),
                "o_edge": Out(stream.Signature(lookup)),
                "i_edge": In(stream.Signature(self.edge)),
                "released_activation": Out(1),
                "released_edge": Out(1),
                "released_bank": Out(1),
                "norm_write": In(NORM_WRITE),
                "i_row": In(stream.Signature(ROW_LAYOUT)),
                "read_stream": Out(read_signature(self.walk.address_bits, self.walk.word)),
                "read_sums": Out(sums_read_signature(size, sum_chunks)),
                **written,
                "busy": Out(1),
                "fault": Out(1),
                "clear": In(1),
                "saturations": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = self.walk
        m.submodules.write = write = self.write
        m.submodules.norm_constants = constants = NormConstants(
            size=self.size, sum_chunks=self.sum_chunks
        )
        wiring.connect(m, wiring.flipped(self.norm_write), constants.norm_write)
        wiring.connect(m, constants.read_sums, wiring.flipped(self.read_sums))
        wiring.connect(m, walk.read_stream, wiring.flipped(self.read_stream))
        for name in self._written:
            inner, outer = getattr(write, name), getattr(self, name)
            if isinstance(outer, Signal):
                m.d.comb += outer.eq(inner)
            else:
                wiring.connect(m, inner, wiring.flipped(outer))

        waiting = Signal(self.i.payload.shape())  # taken, and fetching what it needs
        work = Signal(self.i.payload.shape())
        held, begins = Signal(), Signal()
        fetched, looked_up = self._lookup(m, waiting, held)
        found = Signal.like(looked_up)  # of the instruction that runs
        is_norm = self.i.payload.opcode == Opcode.NORM
        takes = Signal()
        m.d.comb += [
            walk.counts.eq(self.counts),
            constants.counts.eq(self.counts),
            self.busy.eq(walk.busy),
            self.fault.eq(constants.fault),
            self.i.ready.eq((~held | begins) & (constants.i.ready | ~is_norm)),
            takes.eq(self.i.valid & self.i.ready),
            constants.i.valid.eq(self.i.valid & (~held | begins) & is_norm),
            begins.eq(held & fetched & walk.i.ready & write.i.ready),
            walk.i.valid.eq(begins),
            walk.i.payload.eq(waiting),
            write.i.valid.eq(begins),
            write.i.payload.eq(waiting),
        ]
        for name, _ in constants.i.payload.shape():
            m.d.comb += constants.i.payload[name].eq(self.i.payload[name])
        with m.If(begins):
            m.d.sync += [work.eq(waiting), found.eq(looked_up), held.eq(0)]
        # decoded once: every register of the lanes waits for these
        runs = {}
        for name in ("NORM", "EDGE", "SOFTMAX", "SAMPLE"):
            runs[name] = Signal(name=f"runs_{name.lower()}")
            with m.If(begins):
                m.d.sync += runs[name].eq(waiting.opcode == Opcode[name])
        activates, packs = Signal(), Signal()
        with m.If(begins):
            m.d.sync += [
                activates.eq((waiting.opcode == Opcode.NORM) & waiting.silu),
                packs.eq((waiting.opcode == Opcode.EDGE) & waiting.window),
            ]
        with m.If(takes):
            m.d.sync += [waiting.eq(self.i.payload), held.eq(1)]
        self._lanes(m, work, found, begins, constants, runs, activates, packs)
        return m

    def _lookup(self, m, waiting, held):
        """Fetch what the waiting instruction needs of the scale file; it lies in registers then."""
        found = Signal(
            data.StructLayout({"silu": silu_layout(), "edge": data.ArrayLayout(scale_layout(), 2)})
        )
        silu = (waiting.opcode == Opcode.NORM) & waiting.silu
        asked, answered = Signal(2), Signal(2)  # segments
        need = Signal(2)
        with m.If(waiting.opcode == Opcode.SAMPLE):
            m.d.comb += need.eq(0)
        with m.Elif((waiting.opcode == Opcode.EDGE) & (waiting.chunks1 != 0)):
            m.d.comb += need.eq(3)
        with m.Else():
            m.d.comb += need.eq(1)
        segment = asked[0]
        for o, mine in ((self.o_activation, silu), (self.o_edge, ~silu)):
            m.d.comb += [
                o.valid.eq(held & mine & ((need & ~asked) != 0)),
                o.payload.bank.eq(waiting.bank),
                o.payload.table_set.eq(waiting.table_set),
                o.payload.segment.eq(segment),
                o.payload.start.eq(1),
                o.payload.side.eq(segment),
            ]
            with m.If(o.valid & o.ready):
                m.d.sync += asked.eq(Cat(1, segment))
        m.d.comb += [
            self.i_activation.ready.eq(1),
            self.i_edge.ready.eq(1),
            self.released_bank.eq(waiting.bank),
            self.released_activation.eq(self.i_activation.valid),
            self.released_edge.eq(self.i_edge.valid),
        ]
        with m.If(self.i_activation.valid):
            m.d.sync += [found.silu.eq(self.i_activation.payload.constants), answered.eq(1)]
        with m.If(self.i_edge.valid):
            side = self.i_edge.payload.side
            m.d.sync += [
                found.edge[side].eq(self.i_edge.payload.constants),
                answered.eq(answered | (1 << side)),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [asked.eq(0), answered.eq(0)]
        return answered == need, found

    def _lanes(self, m, work, found, begins, constants, runs, activates, packs):
        """Join the walk, the lanes of each operation and the write."""
        size = self.size
        walk, write = self.walk, self.write
        m.submodules.group_norm = norm = GroupNorm(lanes=size)
        m.submodules.silu_quantizer = silu = SiluQuantizer(
            lanes=size, segments=self.segments, multiplier=self.multiplier
        )
        m.submodules.requantizer = edge = Requantizer(
            lanes=size,
            acc_width=STREAM_BITS,
            out_width=CODE_BITS,
            bias_width=0,
            side_width=1,
            multiplier=self.multiplier,
        )
        m.submodules.softmax = softmax = Softmax(lanes=size, keys_max=KEYS_MAX, ahead=AHEAD)
        m.submodules.window = window = Window(size=size, depth=self.depth)
        m.submodules.image_sampler = sampler = ImageSampler(size=size)
        wiring.connect(m, constants.o, norm.i_constants)
        wiring.connect(m, softmax.o_scale, write.i_scale)
        wiring.connect(m, sampler.o, write.i_values)
        wiring.connect(m, wiring.flipped(self.i_row), sampler.i_row)
        beat = walk.o.payload
        wide = work.format == Format.WIDE
        m.d.comb += [
            norm.i.valid.eq(walk.o.valid & runs["NORM"]),
            norm.i.payload.x.eq(beat.word),
            norm.i.payload.last.eq(beat.side.last),
            silu.i.valid.eq(norm.o.valid & activates),
            silu.i.payload.u.eq(norm.o.payload.u),
            silu.i.payload.wide.eq(wide),
            silu.i.payload.multiplier.eq(found.silu.multiplier),
            silu.i.payload.shift.eq(found.silu.shift),
            silu.i.payload.zero_point.eq(found.silu.zero_point),
            silu.i.payload.k.eq(Mux(found.silu.k == 0, 1, found.silu.k)),
            norm.o.ready.eq(Mux(activates, silu.i.ready, edge.i.ready)),
            edge.i.valid.eq((norm.o.valid & ~activates) | (walk.o.valid & runs["EDGE"])),
            edge.i.payload.narrow.eq(~wide),
            edge.clear.eq(self.clear),
            self.saturations.eq(edge.saturations),
            softmax.i.valid.eq(walk.o.valid & runs["SOFTMAX"]),
            softmax.i.payload.logits.eq(beat.word),
            softmax.i.payload.keys.eq(beat.side.keys),
            softmax.i.payload.second.eq(beat.side.second),
            softmax.i.payload.last.eq(beat.side.last),
            softmax.multiplier.eq(found.edge[0].multiplier),
            softmax.shift.eq(found.edge[0].shift),
            sampler.i.valid.eq(walk.o.valid & runs["SAMPLE"]),
            sampler.i.payload.word.eq(beat.word),
            sampler.i.payload.which.eq(beat.side.which),
            sampler.i.payload.last.eq(beat.side.last),
            sampler.image.eq(work.image),
            sampler.channels.eq(work.channels[:3]),
            window.start.eq(begins),
            window.width.eq(work.width),
            window.height.eq(work.height),
            window.channels.eq(work.channels[:3]),
        ]
        scale = Mux(beat.side.segment & runs["EDGE"], found.edge[1].as_value(),
                    found.edge[0].as_value())  # fmt: skip
        for lane in range(size):
            m.d.comb += [
                edge.i.payload.acc[lane].eq(
                    Mux(runs["EDGE"], beat.word[lane], norm.o.payload.u[lane])
                ),
                Cat(edge.i.payload.multiplier[lane], edge.i.payload.shift[lane]).eq(scale),
            ]
        with m.If(runs["NORM"]):
            m.d.comb += walk.o.ready.eq(norm.i.ready)
        with m.Elif(runs["EDGE"]):
            m.d.comb += walk.o.ready.eq(edge.i.ready)
        with m.Elif(runs["SOFTMAX"]):
            m.d.comb += walk.o.ready.eq(softmax.i.ready)
        with m.Else():
            m.d.comb += walk.o.ready.eq(sampler.i.ready)

        # codes
        m.d.comb += [
            window.i.valid.eq(edge.o.valid & packs),
            edge.o.ready.eq(Mux(packs, window.i.ready, write.i_codes.ready)),
            window.o.ready.eq(write.i_codes.ready),
            silu.o.ready.eq(write.i_codes.ready),
            softmax.o.ready.eq(write.i_codes.ready),
        ]
        for lane in range(size):
            m.d.comb += window.i.payload[lane].eq(edge.o.payload["values"][lane].as_unsigned())
        with m.If(activates):
            m.d.comb += [
                write.i_codes.valid.eq(silu.o.valid),
                write.i_codes.payload.eq(silu.o.payload.codes),
            ]
        with m.Elif(runs["SOFTMAX"]):
            m.d.comb += write.i_codes.valid.eq(softmax.o.valid)
            for lane in range(size):
                m.d.comb += write.i_codes.payload[lane].eq(softmax.o.payload.e[lane])
        with m.Elif(packs):
            m.d.comb += [
                write.i_codes.valid.eq(window.o.valid),
                write.i_codes.payload.eq(window.o.payload),
            ]
        with m.Else():
            m.d.comb += write.i_codes.valid.eq(edge.o.valid)
            for lane in range(size):
                m.d.comb += write.i_codes.payload[lane].eq(
                    edge.o.payload["values"][lane].as_unsigned()
                )
