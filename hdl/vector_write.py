"""Where the vector unit's words go: addresses, counts and the end of each instruction."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Opcode
from golden.operand import CODE_BITS
from hdl.accelerator_layouts import instruction_layout, write_signature
from hdl.row_scales import MULTIPLIER_BITS, SHIFT_BITS, scale_write_signature
from hdl.vector_walk import VECTOR_OPCODES

__all__ = ["VectorWrite"]


class VectorWrite(wiring.Component):
    """One instruction at a time: its words, in the order in which vector_walk read them.

    NORM and EDGE: chunk by chunk, ``destination + chunk*destination_plane + word``, and a count
    for each chunk. SOFTMAX: row by row, a word of each chunk, and a scale a row; one count when
    both are written. SAMPLE: words to the stream, one count.

    Parameters
    ----------
    size, stream_words, code_words, depth : int
        As in ``AcceleratorConfig``.

    Members
    -------
    i : stream of instructions; a field that an opcode has not is 0
    i_codes : stream of codes (size x 12)
    i_values : stream of values (size x int16), of SAMPLE
    i_scale : stream of P, n of a row, of SOFTMAX
    write_codes : write port of the code scratchpad
    write_stream : of the stream scratchpad
    write_scale : of row_scales
    count, finish : pulses; beside ``finish`` finish_bank, finish_sample (it was a SAMPLE)

    Timing
    ------
    A word a cycle, written in the cycle in which it is taken. ``count`` comes in the cycle after
    its last word, ``finish`` with the last ``count``, ``i.ready`` in the cycle after that one.
    """

    i: stream.Interface
    i_codes: stream.Interface
    i_values: stream.Interface
    i_scale: stream.Interface
    write_codes: Any
    write_stream: Any
    write_scale: Any
    count: Signal
    finish: Signal
    finish_bank: Signal
    finish_sample: Signal

    def __init__(self, *, size=16, stream_words=4096, code_words=4096, depth=256):
        AcceleratorConfig(size=size, stream_words=stream_words, code_words=code_words, depth=depth)
        self.size = size
        self.stream_words = stream_words
        self.code_words = code_words
        self.depth = depth
        self.stream_bits = max(1, (stream_words - 1).bit_length())
        self.code_bits = max(1, (code_words - 1).bit_length())
        self.row_bits = max(1, (depth - 1).bit_length())
        self.word = data.ArrayLayout(signed(16), size)
        self.codes = data.ArrayLayout(CODE_BITS, size)
        scale = data.StructLayout({"P": MULTIPLIER_BITS, "n": SHIFT_BITS})
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(*VECTOR_OPCODES))),
                "i_codes": In(stream.Signature(self.codes)),
                "i_values": In(stream.Signature(self.word)),
                "i_scale": In(stream.Signature(scale)),
                "write_codes": Out(write_signature(self.code_bits, self.codes, mask=size)),
                "write_stream": Out(write_signature(self.stream_bits, self.word)),
                "write_scale": Out(scale_write_signature(self.row_bits)),
                "count": Out(1),
                "finish": Out(1),
                "finish_bank": Out(1),
                "finish_sample": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = max(self.stream_bits, self.code_bits)
        work = Signal(self.i.payload.shape())
        address, row_address = Signal(bits), Signal(bits)
        inner, outer = Signal(20), Signal(20)  # words of an inner loop, and loops, that are left
        inner_first = Signal(20)
        product = Signal(20)
        softmax, sample = Signal(), Signal()
        rows, rows_left = Signal.like(self.write_scale.row), Signal(self.row_bits + 1)
        accepted, ends_inner, ends = Signal(), Signal(), Signal()
        running = Signal()
        m.d.comb += [
            softmax.eq(work.opcode == Opcode.SOFTMAX),
            sample.eq(work.opcode == Opcode.SAMPLE),
            self.write_codes.valid.eq(running & self.i_codes.valid),
            self.write_codes.address.eq(address[: self.code_bits]),
            self.write_codes.mask.eq((1 << self.size) - 1),
            self.write_codes.data.eq(self.i_codes.payload),
            self.i_codes.ready.eq(running & self.write_codes.ready),
            self.write_stream.valid.eq(running & self.i_values.valid),
            self.write_stream.address.eq(address[: self.stream_bits]),
            self.write_stream.data.eq(self.i_values.payload),
            self.i_values.ready.eq(running & self.write_stream.ready),
            accepted.eq(
                (self.write_codes.valid & self.write_codes.ready)
                | (self.write_stream.valid & self.write_stream.ready)
            ),
            ends_inner.eq(inner == 1),
            ends.eq(ends_inner & (outer == 1)),
            self.finish_bank.eq(work.bank),
            self.finish_sample.eq(sample),
        ]
        # a row's scale
        m.d.comb += [
            self.i_scale.ready.eq(1),
            self.write_scale.valid.eq(self.i_scale.valid),
            self.write_scale.bank.eq(work.scale_bank),
            self.write_scale.row.eq(rows),
            self.write_scale.multiplier.eq(self.i_scale.payload.P),
            self.write_scale.shift.eq(self.i_scale.payload.n),
        ]
        with m.If(self.i_scale.valid):
            m.d.sync += [rows.eq((rows + 1)[: self.row_bits]), rows_left.eq(rows_left - 1)]

        plane = work.destination_plane
        words = product
        chunks = Signal(9)
        m.d.sync += product.eq(Mux(sample, work.height, work.rows) * work.width)
        m.d.comb += chunks.eq(work.chunks0 + work.chunks1)
        with m.If(sample):
            m.d.comb += chunks.eq(1)
        with m.Elif((work.opcode == Opcode.EDGE) & work.window):
            m.d.comb += chunks.eq(work.chunks)
        m.d.sync += Cat(self.count, self.finish).eq(0)
        with m.FSM(name="state"):
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += work.eq(self.i.payload)
                    m.next = "words"
            with m.State("words"):
                m.next = "begin"
            with m.State("begin"):
                m.d.sync += [
                    address.eq(work.destination[:bits]),
                    row_address.eq(work.destination[:bits]),
                    *(x.eq(Mux(softmax, chunks, words)) for x in (inner, inner_first)),
                    outer.eq(Mux(softmax, words, chunks)),
                    rows.eq(0),
                    rows_left.eq(Mux(softmax, words, 0)),
                ]
                m.next = "run"
            with m.State("run"):
                m.d.comb += running.eq(1)
                with m.If(accepted):
                    following = (row_address + Mux(softmax, 1, plane))[:bits]
                    m.d.sync += [
                        address.eq((address + Mux(softmax, plane, 1))[:bits]),
                        inner.eq((inner - 1)[: len(inner)]),
                    ]
                    with m.If(ends_inner):
                        m.d.sync += [
                            inner.eq(inner_first),
                            outer.eq((outer - 1)[: len(outer)]),
                            address.eq(following),
                            row_address.eq(following),
                            self.count.eq(~softmax),
                        ]
                    with m.If(ends & softmax):
                        m.next = "scales"
                    with m.Elif(ends):
                        m.d.sync += self.finish.eq(1)
                        m.next = "end"
            with m.State("scales"), m.If(rows_left == 0):
                m.d.sync += [self.count.eq(1), self.finish.eq(1)]
                m.next = "end"
            with m.State("end"):
                m.next = "idle"
        return m
