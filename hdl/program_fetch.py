"""Instructions of a section from external memory, read ahead."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.instruction import INSTRUCTION_BYTES, WORDS
from hdl.accelerator_layouts import memory_data_layout, memory_request_layout
from hdl.checks import check_choice

__all__ = ["ProgramFetch"]

AHEAD = 3  # instructions that are asked for and not handed on


class ProgramFetch(wiring.Component):
    """Hands out 64 bytes after the other; behind the last whole ones a beat with ``short``.

    Parameters
    ----------
    axi_bytes : int
        Bytes of a beat: 8, 16 or 32.

    Members
    -------
    start : In(1), pulse: begin at ``offset`` (a multiple of 64) of the region, up to ``offset +
        size``; only while ``idle``
    stop : In(1): ask for nothing more, drop what comes
    request, data : to and from client ``program`` of axi_reader
    o : stream of words (16 x 32), address (bytes in the region), short (no instruction is left)
    idle : Out(1), nothing is asked for

    Timing
    ------
    An instruction takes as many cycles as it has beats, and one.
    """

    start: Signal
    stop: Signal
    offset: Signal
    size: Signal
    request: stream.Interface
    data: stream.Interface
    o: stream.Interface
    idle: Signal

    def __init__(self, *, axi_bytes=16):
        self.axi_bytes = check_choice("axi_bytes", axi_bytes, (8, 16, 32))
        self.o_layout = data.StructLayout(
            {"words": data.ArrayLayout(32, WORDS), "address": 32, "short": 1}
        )
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "offset": In(32),
                "size": In(32),
                "request": Out(stream.Signature(memory_request_layout())),
                "data": In(stream.Signature(memory_data_layout(axi_bytes))),
                "o": Out(stream.Signature(self.o_layout)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = 8 * self.axi_bytes
        words = Signal(self.o_layout["words"].shape)
        place, address = Signal(32), Signal(32)  # of the next request, of the next instruction
        left, whole = Signal(33), Signal()  # bytes that were not asked for
        running, full = Signal(), Signal()
        pending = Signal(range(AHEAD + 1))
        asks, ends, leaves = Signal(), Signal(), Signal()
        m.d.comb += [
            whole.eq(left >= INSTRUCTION_BYTES),
            self.request.valid.eq(running & whole & (pending != AHEAD)),
            self.request.payload.offset.eq(place),
            self.request.payload.beats.eq(INSTRUCTION_BYTES // self.axi_bytes),
            asks.eq(self.request.valid & self.request.ready),
            self.data.ready.eq(~full | ~running),
            ends.eq(self.data.valid & self.data.ready & self.data.payload.last),
            self.o.valid.eq(running & (full | (~whole & (pending == 0)))),
            self.o.payload.words.eq(words),
            self.o.payload.address.eq(address),
            self.o.payload.short.eq(~full),
            leaves.eq(self.o.valid & self.o.ready & full),
            self.idle.eq(~running & (pending == 0)),
        ]
        m.d.sync += pending.eq((pending + asks - ends)[: len(pending)])
        with m.If(asks):
            m.d.sync += [
                place.eq((place + INSTRUCTION_BYTES)[:32]),
                left.eq((left - INSTRUCTION_BYTES)[:33]),
            ]
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += words.eq(Cat(words.as_value()[bits:], self.data.payload.data))
        with m.If(leaves):
            m.d.sync += [full.eq(0), address.eq((address + INSTRUCTION_BYTES)[:32])]
        with m.If(ends):
            m.d.sync += full.eq(1)
        with m.If(self.stop):
            m.d.sync += [running.eq(0), full.eq(0)]
        with m.If(self.start):
            m.d.sync += [
                running.eq(1),
                full.eq(0),
                place.eq(self.offset),
                address.eq(self.offset),
                left.eq(self.size),
            ]
        return m
