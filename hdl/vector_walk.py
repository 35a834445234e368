"""Address generator of NORM, EDGE, SOFTMAX and SAMPLE: stream words in the order of their work."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Opcode, Unit
from hdl.accelerator_layouts import COUNTS_LAYOUT, count_of, instruction_layout, read_signature
from hdl.word_reader import WordReader

__all__ = ["AHEAD", "VECTOR_OPCODES", "SampleWord", "VectorWalk"]

VECTOR_OPCODES = (Opcode.NORM, Opcode.EDGE, Opcode.SOFTMAX, Opcode.SAMPLE)
AHEAD = 4
"""Rows of softmax whose first pass may be ahead of the second pass that is due."""
STREAM_BITS = 16
WORDS_BITS = 20
CHUNKS_MAX = 511


class SampleWord(IntEnum):
    """Which of a pixel's words a beat of SAMPLE brings."""

    X = 0
    EPS = 1
    NOISE = 2


class VectorWalk(wiring.Component):
    """One instruction at a time becomes reads; words come back in order.

    ========  ==================================================================================
    opcode    order
    ========  ==================================================================================
    NORM,     chunks of source 0, then of source 1: all words of the rows, ``last`` with the last
    EDGE      one of a chunk
    window    for each output chunk the image once more: each row is followed by a beat of zeros,
              the last row by a row of zeros, so that 3x3 windows find their borders
    SOFTMAX   a row's words (one of each chunk) once with ``second`` 0, once with 1; first passes
              are up to four rows ahead
    SAMPLE    x, eps and noise of a pixel; where ``image`` is set, x alone
    ========  ==================================================================================

    The words of input chunk c wait until its count is reached; SAMPLE and windows have chunk 0
    only.

    Parameters
    ----------
    size, stream_words : int
        As in ``AcceleratorConfig``.

    Members
    -------
    i : stream of instructions, NORM, EDGE, SOFTMAX and SAMPLE; a field that an opcode has not is 0
    counts : counts of array, vector and mover (16 bits each)
    o : stream of word (size x int16; 0 where ``pad``) and side: last, pad, segment, second,
        keys (lanes that count, of SOFTMAX), which (``SampleWord``)
    read_stream : read port of the stream scratchpad
    busy : a read was granted

    Timing
    ------
    The first request comes 5 cycles after an instruction was accepted, its word two cycles later;
    a word a cycle. ``i.ready`` once the last request is on its way.
    """

    i: stream.Interface
    o: stream.Interface
    counts: data.View
    read_stream: Any
    busy: Signal

    def __init__(self, *, size=16, stream_words=4096):
        AcceleratorConfig(size=size, stream_words=stream_words)
        self.size = size
        self.stream_words = stream_words
        self.address_bits = max(1, (stream_words - 1).bit_length())
        self.word = data.ArrayLayout(signed(STREAM_BITS), size)
        self.instruction = instruction_layout(*VECTOR_OPCODES)
        self.side = data.StructLayout(
            {"last": 1, "pad": 1, "segment": 1, "second": 1, "keys": size.bit_length(), "which": 2}
        )
        self.o_layout = data.StructLayout({"word": self.word, "side": self.side})
        self.reader = WordReader(address_bits=self.address_bits, word=self.word, side=self.side)
        super().__init__(
            {
                "i": In(stream.Signature(self.instruction)),
                "counts": In(COUNTS_LAYOUT),
                "o": Out(stream.Signature(self.o_layout)),
                "read_stream": Out(read_signature(self.address_bits, self.word)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self.reader
        wiring.connect(m, reader.port, wiring.flipped(self.read_stream))
        m.d.comb += [
            self.o.valid.eq(reader.o.valid),
            reader.o.ready.eq(self.o.ready),
            self.o.payload.side.eq(reader.o.payload.side),
            self.busy.eq(self.read_stream.valid & self.read_stream.ready),
        ]
        for lane in range(self.size):
            word = Mux(reader.o.payload.side.pad, 0, reader.o.payload.word[lane])
            m.d.comb += self.o.payload.word[lane].eq(word)

        work = Signal(self.instruction)
        begins, running, moves, ends = Signal(), Signal(), Signal(), Signal()
        first0, first1 = Signal(self.address_bits), Signal(self.address_bits)
        factor = Signal(signed(12))
        product = Signal(signed(23))
        m.d.sync += product.eq(factor * work.width)
        with m.FSM(name="state"):
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += work.eq(self.i.payload)
                    m.next = "place"
            with m.State("place"):
                m.d.comb += factor.eq(work.row_first - work.source_row)
                m.next = "count"
            with m.State("count"):
                m.d.comb += factor.eq(Mux(work.opcode == Opcode.SAMPLE, work.height, work.rows))
                m.d.sync += [
                    first0.eq((work.source0 + product)[: self.address_bits]),
                    first1.eq((work.source1 + product)[: self.address_bits]),
                ]
                m.next = "begin"
            with m.State("begin"):
                m.d.comb += begins.eq(1)
                m.next = "run"
            with m.State("run"):
                m.d.comb += running.eq(1)
                with m.If(moves & ends):
                    m.next = "idle"

        walk = _Walk(m, self, work, begins, moves, product[:WORDS_BITS], (first0, first1))
        with m.If(work.opcode == Opcode.SOFTMAX):
            walk.rows()
        with m.Elif(work.opcode == Opcode.SAMPLE):
            walk.pixels()
        with m.Elif((work.opcode == Opcode.EDGE) & work.window):
            walk.windows()
        with m.Else():
            walk.planes()
        with m.If(begins):
            walk.begin()
        allowed = self._allowed(m, work, begins, running)

        # its beat, registered
        free = Signal()
        m.d.comb += [
            ends.eq(walk.ends),
            free.eq(reader.i.ready | ~reader.i.valid),
            moves.eq(free & running & (walk.chunk < allowed)),
        ]
        with m.If(free):
            m.d.sync += [reader.i.valid.eq(moves), reader.i.payload.eq(walk.beat)]
        return m

    def _allowed(self, m, work, begins, running):
        """Return the number of input chunks that may be read."""
        allowed = Signal(9)
        need = Signal(17)
        limited = Signal(16)
        reached = Signal()
        m.d.comb += [
            need.eq(work.step_base + allowed),
            limited.eq(Mux(need < work.step_cap, need, work.step_cap)),
            reached.eq(
                (work.step_unit == Unit.NONE) | (count_of(self.counts, work.step_unit) >= limited)
            ),
        ]
        with m.If(begins):
            m.d.sync += allowed.eq(0)
        with m.Elif(running & reached & (allowed != CHUNKS_MAX)):
            m.d.sync += allowed.eq((allowed + 1)[: len(allowed)])
        return allowed


class _Walk:
    """Registers that all orders share; each method is one order, in a branch of its own."""

    def __init__(self, m, unit, work, begins, moves, words, first):
        self.m, self.unit, self.work, self.moves = m, unit, work, moves
        self.first0, self.first1 = first
        self.given_words = words
        self.beat = Signal(unit.reader.i_layout)
        self.ends = Signal()
        self.chunk = Signal(9)
        bits = unit.address_bits
        self.address = Signal(bits)
        self.base = Signal(bits)  # of the chunk; of softmax: the row whose second pass is due
        self.third = Signal(bits)  # of softmax: the row whose first pass is due; of SAMPLE: eps
        self.words = Signal(WORDS_BITS)
        self.left = Signal(WORDS_BITS)
        self.first_left = Signal(WORDS_BITS)  # rows of softmax without a first pass
        self.column = Signal(11)
        self.row = Signal(10)
        self.keys = Signal(13)  # of the row; of a window: output chunks
        self.second = Signal()
        self.lead = Signal(range(AHEAD + 1))
        self.which = Signal(2)

    def begin(self):
        """Start: first words, and how many there are."""
        sample = self.work.opcode == Opcode.SAMPLE
        self.m.d.sync += [
            self.chunk.eq(0),
            self.address.eq(self.first0),
            self.base.eq(Mux(sample, self.first1, self.first0)),
            self.third.eq(Mux(sample, self.work.auxiliary, self.first0)[: len(self.third)]),
            *(x.eq(self.given_words) for x in (self.words, self.left, self.first_left)),
            Cat(self.column, self.row, self.second, self.lead, self.which).eq(0),
            self.keys.eq(Mux(self.work.window, self.work.chunks, self.work.channels)),
        ]

    def _step(self, register, by=1):
        return register.eq((register + by)[: len(register)])

    def planes(self):
        """Chunk by chunk, word by word."""
        m, work, beat = self.m, self.work, self.beat
        last, segment = Signal(), Signal()
        following = Signal.like(self.base)
        final = Signal(9)
        m.d.sync += final.eq(work.chunks0 + work.chunks1 - 1)
        plane = Mux(segment, work.source1_plane, work.source_plane)
        m.d.comb += [
            last.eq(self.left == 1),
            segment.eq(self.chunk >= work.chunks0),
            following.eq((self.base + plane)[: len(following)]),
            beat.read.eq(1),
            beat.address.eq(self.address),
            beat.side.last.eq(last),
            beat.side.segment.eq(segment),
            self.ends.eq(last & (self.chunk == final)),
        ]
        with m.If(self.chunk + 1 == work.chunks0):
            m.d.comb += following.eq(self.first1)
        with m.If(self.moves):
            m.d.sync += [self._step(self.address), self.left.eq((self.left - 1)[:WORDS_BITS])]
            with m.If(last):
                m.d.sync += [
                    self.address.eq(following),
                    self.base.eq(following),
                    self.left.eq(self.words),
                    self._step(self.chunk),
                ]

    def windows(self):
        """Raster order with a column and a row of zeros, once for each output chunk."""
        m, work, beat = self.m, self.work, self.beat
        pad, row_ends, pass_ends = Signal(), Signal(), Signal()
        m.d.comb += [
            row_ends.eq(self.column == work.width),
            pad.eq(row_ends | (self.row == work.height)),
            pass_ends.eq(row_ends & (self.row == work.height)),
            beat.read.eq(~pad),
            beat.address.eq(self.address),
            beat.side.pad.eq(pad),
            beat.side.last.eq(pass_ends),
            self.ends.eq(pass_ends & (self.keys == 1)),
        ]
        with m.If(self.moves):
            m.d.sync += [self._step(self.column), self._step(self.address, ~pad)]
            with m.If(row_ends):
                m.d.sync += [self.column.eq(0), self._step(self.row)]
            with m.If(pass_ends):
                m.d.sync += [
                    self.row.eq(0),
                    self.address.eq(self.first0),
                    self.keys.eq((self.keys - 1)[: len(self.keys)]),
                ]

    def rows(self):
        """Row by row: first passes as far ahead as they may be, then the second one that is due."""
        m, work, beat = self.m, self.work, self.beat
        size = self.unit.size
        last = Signal()
        first_row, second_row = Signal.like(self.base), Signal.like(self.base)
        first_left = Signal.like(self.first_left)
        lead = Signal.like(self.lead)
        goes_ahead = Signal()
        m.d.comb += [
            last.eq(self.chunk + 1 == work.chunks0),
            first_row.eq((self.third + ~self.second)[: len(first_row)]),
            second_row.eq((self.base + self.second)[: len(second_row)]),
            first_left.eq((self.first_left - ~self.second)[: len(first_left)]),
            lead.eq(Mux(self.second, self.lead - 1, self.lead + 1)[: len(lead)]),
            goes_ahead.eq((first_left != 0) & (lead != AHEAD)),
            beat.read.eq(1),
            beat.address.eq(self.address),
            beat.side.last.eq(last),
            beat.side.second.eq(self.second),
            beat.side.keys.eq(Mux(self.keys < size, self.keys, size)[: len(beat.side.keys)]),
            self.ends.eq(last & self.second & (self.left == 1)),
        ]
        with m.If(self.moves):
            m.d.sync += [
                self._step(self.chunk),
                self._step(self.address, work.source_plane),
                self.keys.eq((self.keys - size)[: len(self.keys)]),
            ]
            with m.If(last):
                m.d.sync += [
                    self.chunk.eq(0),
                    self.keys.eq(work.channels),
                    self.third.eq(first_row),
                    self.base.eq(second_row),
                    self.first_left.eq(first_left),
                    self.left.eq((self.left - self.second)[:WORDS_BITS]),
                    self.lead.eq(lead),
                    self.second.eq(~goes_ahead),
                    self.address.eq(Mux(goes_ahead, first_row, second_row)),
                ]

    def pixels(self):
        """Pixel by pixel: x, eps, noise."""
        m, work, beat = self.m, self.work, self.beat
        pixel_ends = Signal()
        m.d.comb += [
            pixel_ends.eq((self.which == SampleWord.NOISE) | work.image),
            beat.read.eq(1),
            beat.side.which.eq(self.which),
            beat.side.last.eq(pixel_ends),
            self.ends.eq(pixel_ends & (self.left == 1)),
        ]
        registers = {
            SampleWord.X: self.address,
            SampleWord.EPS: self.third,
            SampleWord.NOISE: self.base,
        }
        with m.Switch(self.which):
            for which, register in registers.items():
                with m.Case(which):
                    m.d.comb += beat.address.eq(register)
                    with m.If(self.moves):
                        m.d.sync += self._step(register)
        with m.If(self.moves):
            m.d.sync += self._step(self.which)
            with m.If(pixel_ends):
                m.d.sync += [self.which.eq(0), self.left.eq((self.left - 1)[:WORDS_BITS])]
