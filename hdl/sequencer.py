"""Runs a program: header, sections, steps; stops with a cause where something is wrong."""

from dataclasses import fields
from typing import Any

from amaranth.hdl import Array, Module, Mux, ResetInserter, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import WORDS, Cause, Opcode
from golden.accelerator.legality import ALIGNMENT
from golden.accelerator.operations import Section
from golden.accelerator.program import BOUNDARIES_MAX, HEADER_BYTES, MAGIC, VERSION
from golden.scale_tables import STEP_BITS
from hdl.accelerator_layouts import memory_data_layout, memory_request_layout
from hdl.dispatcher import Dispatcher
from hdl.legality import Legality
from hdl.program_fetch import ProgramFetch

__all__ = ["REGIONS", "Sequencer"]

REGIONS = ("program", "weights", "tables", "data")
HEADER_WORDS = 32  # of 64: the rest is empty
SETTLE = 4  # cycles in which the last beat of a bus becomes visible
SECTIONS = list(Section)
_INSIDE = ("clear", "push", "ready", "words", "legal", "dispatched", "known", "idle", "progress")


class State(enum.Enum, shape=4):
    """What the sequencer does."""

    IDLE = 0
    HEADER = 1
    RANGE = 2
    GROUP = 3
    SECTION = 4
    FETCH = 5
    CHECK = 6
    DISPATCH = 7
    DRAIN = 8
    ERROR = 9
    FAILED = 10


class Sequencer(wiring.Component):
    """Header, section *start*, section *step* for each step, section *finish*.

    ========  ==============================================================================
    state     leaves it
    ========  ==============================================================================
    idle      ``start``
    header    its words are read
    range     by itself: they agree with the configuration and the step range
    group     the boundaries up to the step are counted
    section   its place is inside the region; everything of the section before is forgotten
    fetch     an instruction is there; none, where one must be: cause END
    check     legality has judged it
    dispatch  its unit's queue has room; END goes to drain
    drain     nothing is in flight; next section or step, or idle with ``done``
    error     nothing is outstanding on the bus
    failed    ``clear``; all units are in reset until then
    ========  ==============================================================================

    An error of the bus, a table value, a timeout or ``stop`` leads to error from everywhere but
    idle. The first cause is kept.

    Parameters
    ----------
    size, stream_words, stream_banks, code_words, sum_chunks, depth, channel_tiles : int
        As in ``AcceleratorConfig``.
    axi_bytes : int
        Bytes of a beat: 8, 16 or 32.

    Members
    -------
    start, stop, clear : In(1), pulses
    first_step, last_step : In(16); timeout : In(32), cycles, 0 for none
    size_<region> : In(32), bytes
    request, data : to and from client ``program`` of axi_reader
    reader_idle, writer_idle : In(1)
    fault_read, fault_write, fault_table : In(1), pulses
    busy, done, error : Out(1); cause : Out(4); address : Out(32), of the last instruction
    step : Out(16)
    drain : Out(1), to axi_reader and axi_writer
    units_reset : Out(1), of everything but this block and the registers
    others : of :class:`~hdl.dispatcher.Dispatcher`
    """

    start: Signal
    stop: Signal
    clear: Signal
    first_step: Signal
    last_step: Signal
    timeout: Signal
    request: stream.Interface
    data: stream.Interface
    reader_idle: Signal
    writer_idle: Signal
    fault_read: Signal
    fault_write: Signal
    fault_table: Signal
    busy: Signal
    done: Signal
    error: Signal
    cause: Signal
    address: Signal
    step: Signal
    drain: Signal
    units_reset: Signal
    counts: Any

    def __init__(
        self,
        *,
        size=16,
        stream_words=4096,
        stream_banks=2,
        code_words=4096,
        sum_chunks=64,
        depth=256,
        channel_tiles=32,
        axi_bytes=16,
    ):
        self.config = AcceleratorConfig(
            size, stream_words, stream_banks, code_words, sum_chunks, depth, channel_tiles
        )
        self.size = size
        self.stream_words = stream_words
        self.stream_banks = stream_banks
        self.code_words = code_words
        self.sum_chunks = sum_chunks
        self.depth = depth
        self.channel_tiles = channel_tiles
        self.axi_bytes = axi_bytes
        self.dispatcher = Dispatcher()
        passed: dict[str, Any] = dict(self.dispatcher.signature.members)
        for name in _INSIDE:
            del passed[name]
        self._passed = tuple(passed)
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "clear": In(1),
                "first_step": In(16),
                "last_step": In(16),
                "timeout": In(32),
                **{f"size_{name}": In(32) for name in REGIONS},
                "request": Out(stream.Signature(memory_request_layout())),
                "data": In(stream.Signature(memory_data_layout(axi_bytes))),
                "reader_idle": In(1),
                "writer_idle": In(1),
                "fault_read": In(1),
                "fault_write": In(1),
                "fault_table": In(1),
                "busy": Out(1),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(4),
                "address": Out(32),
                "step": Out(16),
                "drain": Out(1),
                "units_reset": Out(1),
                **passed,
            }
        )

    def elaborate(self, platform):
        m = Module()
        front = Module()
        front.submodules.fetch = fetch = ProgramFetch(axi_bytes=self.axi_bytes)
        front.submodules.dispatcher = dispatcher = self.dispatcher
        front.submodules.legality = legality = Legality(
            size=self.size,
            stream_words=self.stream_words,
            code_words=self.code_words,
            sum_chunks=self.sum_chunks,
            depth=self.depth,
            channel_tiles=self.channel_tiles,
        )
        m.submodules.front = ResetInserter(self.units_reset)(front)
        wiring.connect(m, fetch.request, wiring.flipped(self.request))
        wiring.connect(m, wiring.flipped(self.data), fetch.data)
        for name in self._passed:
            inner, outer = getattr(dispatcher, name), getattr(self, name)
            flow = self.signature.members[name]
            if isinstance(outer, stream.Interface) or not flow.is_port:
                wiring.connect(m, inner, wiring.flipped(outer))
            elif flow.flow == In:
                m.d.comb += inner.eq(outer)
            else:
                m.d.comb += outer.eq(inner)

        words = fetch.o.payload.words
        steps = Signal(32)
        group = Signal(5)
        groups = Signal(5)
        boundaries = Array(
            Signal(STEP_BITS + 1, name=f"boundary_{n}") for n in range(BOUNDARIES_MAX)
        )
        places = {
            s: (Signal(32, name=f"{s.value}_offset"), Signal(32, name=f"{s.value}_size"))
            for s in Section
        }
        section = Signal(2)
        number = Signal(range(HEADER_WORDS + 1))  # of the header's word; of the boundary
        bad = Signal()
        sound = Signal()
        self._header(m, words, number, steps, groups, boundaries, places, sound)
        offset, size = Signal(32), Signal(32)
        for index, (at, length) in enumerate(places.values()):
            with m.If(section == index):
                m.d.comb += [offset.eq(at), size.eq(length)]
        m.d.comb += [
            dispatcher.words.eq(words),
            dispatcher.legal.eq(legality.legal),
            legality.words.eq(words),
            legality.external.steps.eq(steps),
            legality.external.groups.eq(groups + 1),
            legality.external.step.eq(self.step),
            legality.external.group.eq(group),
            legality.external.row_known.eq(dispatcher.known.row),
        ]
        for name in REGIONS:
            m.d.comb += legality.external[f"{name}_bytes"].eq(getattr(self, f"size_{name}"))
        for unit in ("array", "vector", "mover"):
            m.d.comb += legality.external[f"count_{unit}"].eq(dispatcher.dispatched[unit])
        held = Mux(
            words[0][16],
            dispatcher.known.banks[1].as_value(),
            dispatcher.known.banks[0].as_value(),
        )
        bank = Signal(dispatcher.known.shape()["banks"].shape.elem_shape)
        m.d.comb += [
            bank.eq(held),
            legality.external.set_known.eq(bank.known),
            legality.external.set.eq(bank.table_set),
            legality.external.set_chunks.eq(bank.chunks),
            legality.external.set_norm_chunks.eq(bank.norm_chunks),
        ]

        state = Signal(State)
        fails = Signal()
        cause = Signal(4)
        settled = Signal(range(SETTLE + 1))
        begins_header = Signal()
        begins_section = Signal()
        m.d.comb += [
            fetch.start.eq((begins_header | begins_section) & ~fails),
            fetch.offset.eq(Mux(begins_header, 0, offset)),
            fetch.size.eq(Mux(begins_header, 4 * HEADER_WORDS, size)),
            dispatcher.clear.eq(begins_section),
            self.units_reset.eq(state == State.FAILED),
            self.drain.eq(state == State.ERROR),
        ]

        def fail(why):
            m.d.comb += [fails.eq(1), cause.eq(why)]

        with m.Switch(state):
            with m.Case(State.IDLE):
                with m.If(self.clear):
                    m.d.sync += self.done.eq(0)
                with m.If(self.start):
                    m.d.comb += begins_header.eq(1)
                    m.d.sync += [
                        self.busy.eq(1),
                        self.done.eq(0),
                        self.step.eq(self.first_step),
                        self.address.eq(0),
                        number.eq(0),
                        bad.eq(0),
                        state.eq(State.HEADER),
                    ]
                    with m.If(self.size_program < HEADER_BYTES):
                        fail(Cause.CONFIGURATION)
            with m.Case(State.HEADER), m.If(fetch.o.valid):
                m.d.sync += [number.eq((number + 1)[: len(number)]), bad.eq(bad | ~sound)]
                m.d.comb += fetch.o.ready.eq(number[:4] == WORDS - 1)
                with m.If(number == HEADER_WORDS - 1):
                    m.d.comb += fetch.stop.eq(1)
                    m.d.sync += [section.eq(0), state.eq(State.RANGE)]
            with m.Case(State.RANGE):
                m.d.sync += [number.eq(0), group.eq(0), state.eq(State.GROUP)]
                inside_range = (self.step <= self.last_step) & (self.last_step < steps)
                with m.If(bad | ~inside_range):
                    fail(Cause.CONFIGURATION)
            with m.Case(State.GROUP):
                m.d.sync += number.eq((number + 1)[: len(number)])
                with m.If(number == groups):
                    m.d.sync += state.eq(State.SECTION)
                with m.Elif(boundaries[number[:4]] <= self.step):
                    m.d.sync += group.eq((group + 1)[: len(group)])
            with m.Case(State.SECTION):
                m.d.comb += begins_section.eq(1)
                m.d.sync += [self.address.eq(offset), state.eq(State.FETCH)]
                aligned = offset[: ALIGNMENT.bit_length() - 1] == 0
                with m.If(~aligned | (offset + size > self.size_program)):
                    fail(Cause.EXTERNAL)
            with m.Case(State.FETCH), m.If(fetch.o.valid):
                m.d.sync += [
                    self.address.eq(fetch.o.payload.address),
                    state.eq(State.CHECK),
                ]
                m.d.comb += legality.start.eq(~fetch.o.payload.short)
                with m.If(fetch.o.payload.short):
                    fail(Cause.END)
            with m.Case(State.CHECK), m.If(legality.done):
                ends = words[0][:8] == Opcode.END
                m.d.sync += state.eq(Mux(ends, State.DRAIN, State.DISPATCH))
                with m.If(legality.cause != 0):
                    fail(legality.cause)
            with m.Case(State.DISPATCH):
                m.d.comb += [dispatcher.push.eq(1), fetch.o.ready.eq(dispatcher.ready)]
                with m.If(dispatcher.ready):
                    m.d.sync += state.eq(State.FETCH)
            with m.Case(State.DRAIN):
                m.d.comb += fetch.stop.eq(1)
                with m.If(dispatcher.idle & fetch.idle):
                    m.d.sync += [number.eq(0), group.eq(0), state.eq(State.GROUP)]
                    with m.If(section == SECTIONS.index(Section.FINISH)):
                        m.d.sync += [self.busy.eq(0), self.done.eq(1), state.eq(State.IDLE)]
                    with m.Elif(section == SECTIONS.index(Section.START)):
                        m.d.sync += section.eq(SECTIONS.index(Section.STEP))
                    with m.Elif(self.step == self.last_step):
                        m.d.sync += section.eq(SECTIONS.index(Section.FINISH))
                    with m.Else():
                        m.d.sync += self.step.eq((self.step + 1)[:16])
            with m.Case(State.ERROR):
                m.d.sync += settled.eq(0)
                with m.If(self.reader_idle & self.writer_idle):
                    m.d.sync += settled.eq((settled + 1)[: len(settled)])
                    with m.If(settled == SETTLE):
                        m.d.sync += [
                            self.busy.eq(0),
                            self.error.eq(1),
                            state.eq(State.FAILED),
                        ]
            with m.Case(State.FAILED), m.If(self.clear):
                m.d.sync += [self.error.eq(0), self.cause.eq(0), state.eq(State.IDLE)]

        runs = (state != State.ERROR) & (state != State.FAILED)
        outside = self._outside(m, dispatcher.progress)
        with m.If(runs & (self.busy & (outside != 0) | fails)):
            m.d.sync += [
                self.cause.eq(Mux(outside != 0, outside, cause)),
                state.eq(State.ERROR),
            ]
        return m

    def _outside(self, m, progress):
        """Return the cause that a unit, the bus, the clock or the host gives; 0 for none."""
        cause = Signal(4)
        quiet = Signal(32)
        late = Signal()
        m.d.comb += late.eq((self.timeout != 0) & (quiet >= self.timeout))
        with m.If(progress | ~self.busy):
            m.d.sync += quiet.eq(0)
        with m.Else():
            m.d.sync += quiet.eq((quiet + 1)[:32])
        for fault, found in (
            (self.stop, Cause.STOPPED),
            (late, Cause.TIMEOUT),
            (self.fault_table, Cause.TABLE_VALUE),
            (self.fault_write, Cause.WRITE_ERROR),
            (self.fault_read, Cause.READ_ERROR),
        ):
            with m.If(fault):
                m.d.comb += cause.eq(found)
        return cause

    def _header(self, m, words, number, steps, groups, boundaries, places, sound):
        """Keep word ``number`` of the header, or compare it."""
        word = Signal(32)
        config = self.config
        names = [entry.name for entry in fields(config)]
        constants = [MAGIC, VERSION, *(getattr(config, name) for name in names)]
        m.d.comb += [word.eq(words[number[:4]]), sound.eq(1)]
        at_steps = len(constants)
        at_boundaries = at_steps + 2
        at_places = at_boundaries + BOUNDARIES_MAX
        assert at_places + 2 * len(places) == HEADER_WORDS
        with m.Switch(number):
            for index, value in enumerate(constants):
                with m.Case(index):
                    m.d.comb += sound.eq(word == value)
            with m.Case(at_steps):
                m.d.sync += steps.eq(word)
            with m.Case(at_steps + 1):
                m.d.sync += groups.eq(word[: len(groups)])
                m.d.comb += sound.eq(word <= BOUNDARIES_MAX)
            for index, boundary in enumerate(boundaries):
                with m.Case(at_boundaries + index):
                    # a step that is never reached, for a boundary beyond all of them
                    m.d.sync += boundary.eq(
                        Mux(word < 1 << STEP_BITS, word, 1 << STEP_BITS)[: len(boundary)]
                    )
            for index, (offset, size) in enumerate(places.values()):
                with m.Case(at_places + 2 * index):
                    m.d.sync += offset.eq(word)
                with m.Case(at_places + 2 * index + 1):
                    m.d.sync += size.eq(word)
