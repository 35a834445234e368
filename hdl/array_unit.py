"""The array's unit: CONV and MATMUL, from code words and weights to memory."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.accelerator_layouts import COUNTS_LAYOUT, read_signature
from hdl.array_back import ArrayBack
from hdl.array_front import ArrayFront
from hdl.array_layouts import ArrayLayouts, scale_read_signature
from hdl.write_back import WriteBack

__all__ = ["ArrayUnit"]


class ArrayUnit(wiring.Component):
    """array_front -> array_back -> write_back; each instruction goes to both ends at once.

    The scale file stands outside, with ``conv_side`` and ``read_side`` as its side widths, one
    group and one step.

    Parameters
    ----------
    size, stream_words, code_words, sum_chunks, depth, channel_tiles : int
        As in ``AcceleratorConfig``.
    decode, pipeline, multiplier
        Of the array; ``multiplier`` of the requantizer too.

    Members
    -------
    i : stream of instructions, CONV and MATMUL; a field that an opcode has not is 0
    counts : counts of array, vector and mover (16 bits each)
    i_weights : stream of weights (size x int8)
    o_lookup, i_lookup : streams to and from the scale file's conv lookup
    o_constants, i_constants : streams to and from its read port
    released, released_bank : a tile has left the requantizer
    read_operand, read_stationary : read ports of the code scratchpad
    read_scale : read port of row_scales
    read_residual, write_stream, write_codes, gather, count, finish, finish_bank : of write_back
    busy : the array takes a beat
    clear, saturations : of the requantizer

    Timing
    ------
    One beat a cycle. ``latencies`` names the cycles between its parts.
    """

    i: stream.Interface
    i_weights: stream.Interface
    o_lookup: stream.Interface
    i_lookup: stream.Interface
    o_constants: stream.Interface
    i_constants: stream.Interface
    counts: data.View
    read_operand: Any
    read_stationary: Any
    read_scale: Any
    read_residual: Any
    write_stream: Any
    write_codes: Any
    gather: Any
    count: Signal
    finish: Signal
    finish_bank: Signal
    released: Signal
    released_bank: Signal
    busy: Signal
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
        decode="edge",
        pipeline=1,
        multiplier="inferred",
    ):
        self.size = size
        self.stream_words = stream_words
        self.code_words = code_words
        self.sum_chunks = sum_chunks
        self.depth = depth
        self.channel_tiles = channel_tiles
        self.decode = decode
        self.pipeline = pipeline
        self.multiplier = multiplier
        sizes = {
            "size": size,
            "code_words": code_words,
            "depth": depth,
            "channel_tiles": channel_tiles,
        }
        self.layouts = layouts = ArrayLayouts(**sizes)
        self.conv_side = layouts.code_side.size
        self.read_side = layouts.acc_side.size
        self.front = ArrayFront(**sizes, decode=decode, pipeline=pipeline, multiplier=multiplier)
        self.back = ArrayBack(**sizes, multiplier=multiplier)
        self.write_back = WriteBack(
            size=size, stream_words=stream_words, code_words=code_words, sum_chunks=sum_chunks
        )
        port = read_signature(layouts.address_bits, layouts.code_word)
        written = dict(self.write_back.signature.members)
        del written["i"], written["i_instruction"]
        self._written = tuple(written)
        super().__init__(
            {
                "i": In(stream.Signature(layouts.instruction)),
                "counts": In(COUNTS_LAYOUT),
                "i_weights": In(stream.Signature(self.front.stationary.weights_layout)),
                "o_lookup": Out(stream.Signature(layouts.lookup)),
                "i_lookup": In(stream.Signature(layouts.found)),
                "o_constants": Out(stream.Signature(layouts.constants_read)),
                "i_constants": In(stream.Signature(layouts.constants)),
                "released": Out(1),
                "released_bank": Out(1),
                "read_operand": Out(port),
                "read_stationary": Out(port),
                "read_scale": Out(scale_read_signature(layouts.pixel_bits)),
                **written,
                "busy": Out(1),
                "clear": In(1),
                "saturations": Out(32),
            }
        )

    @property
    def latencies(self):
        """Cycles from one thing to the next, if nothing waits."""
        return {
            "setup": 7,  # instruction taken to the first request
            "front": self.front.latency,  # request to the array's input
            "array": self.front.mac_array.latency,  # to the accumulator's input
            "drain": self.front.accumulator.latency,  # a tile's last beat to its first total
            "back": self.back.latency,  # total to values
        }

    def elaborate(self, platform):
        m = Module()
        m.submodules.front = front = self.front
        m.submodules.back = back = self.back
        m.submodules.write_back = write_back = self.write_back
        for name in ("i_weights", "i_lookup"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(front, name))
        for name in ("o_lookup", "read_operand", "read_stationary"):
            wiring.connect(m, getattr(front, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.i_constants), back.i_constants)
        for name in ("o_constants", "read_scale"):
            wiring.connect(m, getattr(back, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, front.o, back.i)
        wiring.connect(m, back.o, write_back.i)
        for name in self._written:
            inner, outer = getattr(write_back, name), getattr(self, name)
            if isinstance(outer, Signal):
                m.d.comb += outer.eq(inner)
            else:
                wiring.connect(m, inner, wiring.flipped(outer))
        m.d.comb += [
            front.i.payload.eq(self.i.payload),
            front.i.valid.eq(self.i.valid & write_back.i_instruction.ready),
            write_back.i_instruction.payload.eq(self.i.payload),
            write_back.i_instruction.valid.eq(self.i.valid & front.i.ready),
            self.i.ready.eq(front.i.ready & write_back.i_instruction.ready),
            front.counts.eq(self.counts),
            back.clear.eq(self.clear),
            self.saturations.eq(back.saturations),
            self.busy.eq(front.busy),
            self.released.eq(back.released),
            self.released_bank.eq(back.released_bank),
        ]
        return m
