"""LOAD and STORE: words between external memory and the stream scratchpad."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import SIZES
from golden.accelerator.instruction import Opcode
from hdl.accelerator_layouts import (
    instruction_layout,
    memory_data_layout,
    memory_request_layout,
    read_signature,
    write_signature,
)
from hdl.axi_writer import GRANULE
from hdl.checks import check_choice, check_size
from hdl.word_reader import WordReader

__all__ = ["Mover"]

STREAM_BITS = 16


class Mover(wiring.Component):
    """One instruction at a time. Words of ``2 * size`` bytes and beats of the bus are cut into
    each other, whichever are longer; what a last beat has too much is dropped, or not written.

    ========  =====================================================
    state     leaves it
    ========  =====================================================
    idle      an instruction is taken
    ask       its request is taken
    load      the last word is written
    store     the last beat is handed over
    settle    the writer is idle: all of it is in memory
    ========  =====================================================

    Parameters
    ----------
    size, stream_words : int
        As in ``AcceleratorConfig``.
    axi_bytes : int
        Bytes of a beat: 8, 16 or 32.

    Members
    -------
    i : stream of LOAD and STORE; ``offset`` is that of the step that runs
    request, data : streams to and from client ``data`` of axi_reader
    write_request, write_data : streams to axi_writer
    writer_idle : In(1), of axi_writer
    read_stream, write_stream : ports of the stream scratchpad
    count, finish : Out(1), pulses
    busy : Out(1), a word is read or written

    Timing
    ------
    A word or a beat a cycle, whichever is more. ``count`` and ``finish`` come in the cycle after
    the last word was written, or the writer fell idle.
    """

    i: stream.Interface
    request: stream.Interface
    data: stream.Interface
    write_request: stream.Interface
    write_data: stream.Interface
    writer_idle: Signal
    read_stream: Any
    write_stream: Any
    count: Signal
    finish: Signal
    busy: Signal

    def __init__(self, *, size=16, stream_words=4096, axi_bytes=16):
        self.size = check_choice("size", size, SIZES)
        self.stream_words = check_size("stream_words", stream_words, 1, 1 << 24)
        self.axi_bytes = check_choice("axi_bytes", axi_bytes, (8, 16, 32))
        self.address_bits = max(1, (stream_words - 1).bit_length())
        self.word = data.ArrayLayout(signed(STREAM_BITS), size)
        self.word_bytes = 2 * size
        beat = data.StructLayout({"data": 8 * axi_bytes, "strobe": axi_bytes // GRANULE})
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Opcode.LOAD, Opcode.STORE))),
                "request": Out(stream.Signature(memory_request_layout())),
                "data": In(stream.Signature(memory_data_layout(axi_bytes))),
                "write_request": Out(stream.Signature(memory_request_layout())),
                "write_data": Out(stream.Signature(beat)),
                "writer_idle": In(1),
                "read_stream": Out(read_signature(self.address_bits, self.word)),
                "write_stream": Out(write_signature(self.address_bits, self.word)),
                "count": Out(1),
                "finish": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        store = Signal()
        offset, beats = Signal(32), Signal(24)
        address = Signal(self.address_bits)
        asked, left = Signal(24), Signal(24)  # words that are not read, or not written or sent
        loads, stores = Signal(), Signal()
        loaded, sent, last_sent = Signal(), Signal(), Signal()
        given = self.i.payload
        scaled = given.words * self.word_bytes + (self.axi_bytes - 1)
        m.d.comb += [
            self.busy.eq(loaded | (self.read_stream.valid & self.read_stream.ready)),
            *(port.payload.offset.eq(offset) for port in (self.request, self.write_request)),
            *(port.payload.beats.eq(beats) for port in (self.request, self.write_request)),
        ]
        m.d.sync += Cat(self.count, self.finish).eq(0)
        with m.FSM(name="state"):
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    store.eq(given.opcode == Opcode.STORE),
                    address.eq(
                        Mux(given.opcode == Opcode.STORE, given.source0, given.destination)[
                            : self.address_bits
                        ]
                    ),
                    offset.eq(given.offset),
                    beats.eq(scaled >> (self.axi_bytes.bit_length() - 1)),
                    *(x.eq(given.words) for x in (asked, left)),
                ]
                with m.If(self.i.valid):
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += [self.request.valid.eq(~store), self.write_request.valid.eq(store)]
                with m.If(~store & self.request.ready):
                    m.next = "load"
                with m.If(store & self.write_request.ready):
                    m.next = "store"
            with m.State("load"):
                m.d.comb += loads.eq(1)
                with m.If(loaded & (left == 1)):
                    m.d.sync += Cat(self.count, self.finish).eq(3)
                    m.next = "idle"
            with m.State("store"):
                m.d.comb += stores.eq(1)
                with m.If(last_sent):
                    m.next = "settle"
            with m.State("settle"), m.If(self.writer_idle):
                m.d.sync += Cat(self.count, self.finish).eq(3)
                m.next = "idle"

        self._load(m, loads, left, loaded)
        self._store(m, stores, left, sent, last_sent, asked, address)
        m.d.comb += self.write_stream.address.eq(address)
        with m.If(loaded | sent):
            m.d.sync += left.eq((left - 1)[:24])
        with m.If(loaded | (self.read_stream.valid & self.read_stream.ready)):
            m.d.sync += address.eq((address + 1)[: self.address_bits])
        return m

    def _load(self, m, loads, left, loaded):
        """Beats to words."""
        bits, beat_bits = 8 * self.word_bytes, 8 * self.axi_bytes
        m.d.comb += loaded.eq(self.write_stream.valid & self.write_stream.ready)
        takes = Signal()
        m.d.comb += takes.eq(self.data.valid & self.data.ready)
        if bits <= beat_bits:
            words = Signal(beat_bits)
            held = Signal(range(beat_bits // bits + 1))
            m.d.comb += [
                self.write_stream.valid.eq(held != 0),
                self.write_stream.data.eq(words[:bits]),
                self.data.ready.eq(loads & ((held == 0) | (loaded & (held == 1)))),
            ]
            with m.If(loaded):
                m.d.sync += [words.eq(words >> bits), held.eq((held - 1)[: len(held)])]
                with m.If(left == 1):
                    m.d.sync += held.eq(0)
            with m.If(takes & ~(loaded & (left == 1))):
                m.d.sync += [words.eq(self.data.payload.data), held.eq(beat_bits // bits)]
            return
        word = Signal(bits)
        part = Signal(range(bits // beat_bits))
        full = Signal()
        m.d.comb += [
            self.write_stream.valid.eq(full),
            self.write_stream.data.eq(word),
            self.data.ready.eq(loads & (~full | loaded)),
        ]
        with m.If(loaded):
            m.d.sync += full.eq(0)
        with m.If(takes):
            m.d.sync += [
                word.eq(Cat(word[beat_bits:], self.data.payload.data)),
                part.eq((part + 1)[: len(part)]),
                full.eq(part == bits // beat_bits - 1),
            ]

    def _store(self, m, stores, left, sent, last_sent, asked, address):
        """Words to beats. ``sent``: a word has become beats, or part of one."""
        bits, beat_bits = 8 * self.word_bytes, 8 * self.axi_bytes
        m.submodules.reader = reader = WordReader(
            address_bits=self.address_bits, word=self.word, side=0
        )
        wiring.connect(m, reader.port, wiring.flipped(self.read_stream))
        m.d.comb += [
            reader.i.valid.eq(stores & (asked != 0)),
            reader.i.payload.read.eq(1),
            reader.i.payload.address.eq(address),
        ]
        with m.If(reader.i.valid & reader.i.ready):
            m.d.sync += asked.eq((asked - 1)[:24])
        o = self.write_data
        granules = self.word_bytes // GRANULE
        word = reader.o.payload.word.as_value()
        final = Signal()
        m.d.comb += final.eq(left == 1)
        if bits <= beat_bits:
            # words go from the top down to their places
            count = beat_bits // bits
            parts = [Signal(bits, name=f"part_{number}") for number in range(count)]
            filled = Signal(count)
            place = Signal(range(max(count, 2)))
            full = Signal()
            ended = Signal()
            m.d.comb += [
                sent.eq(reader.o.valid & reader.o.ready),
                reader.o.ready.eq(~full | (o.ready & ~ended)),
                o.valid.eq(full),
                o.payload.data.eq(Cat(parts)),
                o.payload.strobe.eq(Cat(bit.replicate(granules) for bit in filled)),
                last_sent.eq(full & o.ready & ended),
            ]
            with m.If(full & o.ready):
                m.d.sync += [full.eq(0), filled.eq(0), ended.eq(0)]
            with m.If(sent):
                for number, part in enumerate(parts):
                    with m.If(place == number):
                        m.d.sync += part.eq(word)
                        for other in range(count):
                            m.d.sync += filled[other].eq(other <= number)
                ends = (place == count - 1) | final
                m.d.sync += [
                    full.eq(ends),
                    ended.eq(final),
                    place.eq(Mux(ends, 0, place + 1)[: len(place)]),
                ]
            return
        count = bits // beat_bits
        part = Signal(range(count))
        with m.Switch(part):
            for number in range(count):
                with m.Case(number):
                    m.d.comb += o.payload.data.eq(word.word_select(number, beat_bits))
        m.d.comb += [
            o.valid.eq(reader.o.valid & stores),
            o.payload.strobe.eq((1 << self.axi_bytes // GRANULE) - 1),
            sent.eq(o.valid & o.ready & (part == count - 1)),
            reader.o.ready.eq(sent),
            last_sent.eq(sent & final),
        ]
        with m.If(o.valid & o.ready):
            m.d.sync += part.eq(Mux(part == count - 1, 0, part + 1)[: len(part)])
