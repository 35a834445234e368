"""TABLE: blocks of external memory into the scale file, the norm tables and the sampler's row."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import SIZES
from golden.accelerator.instruction import Opcode
from golden.accelerator.program import GROUP_HEADER_WORDS, NORM_HEADER_WORDS
from golden.calibration.artifact_checks import E_MAX
from golden.group_norm import ELEMENTS_MAX
from golden.numbers import SHIFT_MAX
from golden.operand import K_MAX
from golden.scale_tables import ScaleFileConfig, Table
from hdl.accelerator_layouts import (
    NORM_WRITE,
    instruction_layout,
    memory_data_layout,
    memory_request_layout,
)
from hdl.checks import check_choice, check_size
from hdl.sampler_lane import ROW_LAYOUT

__all__ = ["TableLoader"]

WORD_BITS = 32
ZERO_POINT_MAX = 112
ROW_WORDS = 8
INDEX_BITS = 14


class TableLoader(wiring.Component):
    """Requests the blocks of a TABLE and writes a word of 32 bits a cycle.

    ========  ==========================================================================
    block     becomes
    ========  ==========================================================================
    group     OPERAND and EDGE of both segments, SILU, then SCALE lane by lane
    step      two biases a word, lane by lane
    norm      words of ``norm_write``
    row       the sampler's row
    ========  ==========================================================================

    After the blocks of a layer comes the COMMIT: step 0, group 0. Requests run ahead of data as
    far as the reader takes them. A value that no artifact has (z above 112, k above 4, a shift
    above 47, E or elements out of range) is not written: ``fault``, and nothing follows until the
    reset.

    Parameters
    ----------
    size : int
        Lanes: 4, 8, 16 or 32.
    channel_tiles : int
        Of the scale file, which has one group and one step.
    axi_bytes : int
        Bytes of a beat: 8, 16 or 32.

    Members
    -------
    i : stream of TABLE instructions; their offsets are those of the group and step that run
    request : stream of offset, beats, to client ``tables`` of axi_reader
    data : stream of data, last (beat of the request)
    scale_write : stream to the scale file's ``i_write``
    norm_write : valid, bank, index, data
    row : stream to the sampler's row
    finish : Out(1), pulse: the tables of ``finish_bank`` are loaded, or (``finish_row``) the row
    fault : Out(1), pulse

    Timing
    ------
    A word a cycle while data come; a step block takes two cycles a word.
    """

    i: stream.Interface
    request: stream.Interface
    data: stream.Interface
    scale_write: stream.Interface
    norm_write: wiring.PureInterface
    row: stream.Interface
    finish: Signal
    finish_bank: Signal
    finish_row: Signal
    fault: Signal

    def __init__(self, *, size=16, channel_tiles=32, axi_bytes=16):
        self.size = check_choice("size", size, SIZES)
        self.channel_tiles = check_size("channel_tiles", channel_tiles, 1, 255)
        self.axi_bytes = check_choice("axi_bytes", axi_bytes, (8, 16, 32))
        config = ScaleFileConfig(1, 1, 1, channel_tiles, size)
        self.lane_bits = (size - 1).bit_length()
        self.write_layout = data.StructLayout(
            {
                "table": 3,
                "bank": 1,
                "row": config.row_bits,
                "lane": self.lane_bits,
                "data": WORD_BITS,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(instruction_layout(Opcode.TABLE))),
                "request": Out(stream.Signature(memory_request_layout())),
                "data": In(stream.Signature(memory_data_layout(axi_bytes))),
                "scale_write": Out(stream.Signature(self.write_layout)),
                "norm_write": Out(NORM_WRITE),
                "row": Out(stream.Signature(ROW_LAYOUT)),
                "finish": Out(1),
                "finish_bank": Out(1),
                "finish_row": Out(1),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        work = Signal(self.i.payload.shape())
        busy = Signal()
        asking = Signal()
        takes = Signal()
        m.d.comb += [self.i.ready.eq(~busy & ~asking), takes.eq(self.i.valid & self.i.ready)]
        with m.If(takes):
            m.d.sync += [work.eq(self.i.payload), busy.eq(1), asking.eq(1)]
        self._ask(m, takes, work, asking)
        word, drop = self._words(m)
        self._write(m, takes, work, busy, word, drop)
        return m

    def _beats(self, words):
        """Return the beats that hold ``words``."""
        each = self.axi_bytes * 8 // WORD_BITS
        return (words + (each - 1)) >> (each.bit_length() - 1)

    def _ask(self, m, takes, work, asking):
        """Request the blocks, one after the other."""
        lanes = Cat(Const(0, self.lane_bits), work.chunks)
        norm_lanes = Cat(Const(0, self.lane_bits), work.norm_chunks)
        request = self.request
        with m.FSM(name="ask"):
            with m.State("idle"), m.If(takes):
                m.next = "group"
                with m.If(self.i.payload.sampler_row):
                    m.next = "row"
            for state, offset, words, following in (
                ("group", work.group_offset, lanes + GROUP_HEADER_WORDS, "step"),
                ("step", work.step_offset, lanes >> 1, "norm"),
                ("norm", work.norm_offset, norm_lanes + NORM_HEADER_WORDS, "idle"),
                ("row", work.step_offset, Const(ROW_WORDS), "idle"),
            ):
                with m.State(state):
                    m.d.comb += [
                        request.valid.eq(1),
                        request.payload.offset.eq(offset),
                        request.payload.beats.eq(self._beats(words)),
                    ]
                    with m.If(request.ready):
                        m.next = following
                        last = following == "idle"
                        with m.If(last | ((state == "step") & (work.norm_chunks == 0))):
                            m.d.sync += asking.eq(0)
                            m.next = "idle"

    def _words(self, m):
        """Cut beats into words; ``drop`` throws the rest of a request's last beat away."""
        each = self.axi_bytes * 8 // WORD_BITS
        word = stream.Signature(WORD_BITS).create()
        drop = Signal()
        held = Signal(8 * self.axi_bytes)
        held_last = Signal()
        left = Signal(range(each + 1))
        takes = Signal()
        ends = Signal()
        m.d.comb += [
            word.valid.eq(left != 0),
            word.payload.eq(held[:WORD_BITS]),
            ends.eq((word.valid & word.ready & (left == 1)) | (drop & held_last)),
            self.data.ready.eq((left == 0) | ends),
            takes.eq(self.data.valid & self.data.ready),
        ]
        with m.If(word.valid & word.ready):
            m.d.sync += [held.eq(held >> WORD_BITS), left.eq((left - 1)[: len(left)])]
        with m.If(ends):
            m.d.sync += left.eq(0)
        with m.If(takes):
            m.d.sync += [
                held.eq(self.data.payload.data),
                held_last.eq(self.data.payload.last),
                left.eq(each),
            ]
        return word, drop

    def _header(self, m, index, word, bad):
        """Write a word of the group block's header, or pass over it."""
        written = self.scale_write.payload
        known = Signal()
        wrong_k = word.payload[7:10] > K_MAX
        wrong_z = word.payload[:7] > ZERO_POINT_MAX
        with m.Switch(index):
            for first, table, wrong in (
                (0, Table.OPERAND, wrong_z | wrong_k),
                (2, Table.EDGE, word.payload[16:22] > SHIFT_MAX),
            ):
                with m.Case(first, first + 1):
                    m.d.comb += [known.eq(1), written.table.eq(table), bad.eq(word.valid & wrong)]
            with m.Case(4):
                wrong = (word.payload[21:28] > ZERO_POINT_MAX) | (word.payload[28:31] > K_MAX)
                m.d.comb += [known.eq(1), written.table.eq(Table.SILU), bad.eq(word.valid & wrong)]
        m.d.comb += [
            written.row.eq(index[0] & (index < 4)),
            written.data.eq(word.payload),
            self.scale_write.valid.eq(word.valid & known & ~bad),
            word.ready.eq(self.scale_write.ready | ~known | bad),
        ]

    def _write(self, m, takes, work, busy, word, drop):
        """Write the words of each block, check them, commit."""
        index = Signal(INDEX_BITS)
        lane = Signal(self.lane_bits)
        tile = Signal(8)
        high = Signal()  # second bias of a word
        written = self.scale_write.payload
        row_words = Signal(WORD_BITS * ROW_WORDS)
        lanes_left = Signal(8 + self.lane_bits + 1)
        low_E = Signal(WORD_BITS)
        bad = Signal()
        moves = Signal()
        m.d.comb += [
            written.bank.eq(work.bank),
            self.norm_write.bank.eq(work.bank),
            self.norm_write.index.eq(index[:13]),
            self.norm_write.data.eq(word.payload),
            self.finish_bank.eq(work.bank),
            self.finish_row.eq(work.sampler_row),
            self.row.payload.eq(row_words[: ROW_LAYOUT.size]),
        ]
        layer_lanes = Cat(Const(0, self.lane_bits), work.chunks)

        def next_lane():
            m.d.sync += [
                lane.eq((lane + 1)[: self.lane_bits]),
                tile.eq((tile + (lane == self.size - 1))[: len(tile)]),
                lanes_left.eq((lanes_left - 1)[: len(lanes_left)]),
            ]

        with m.FSM(name="write"):
            with m.State("idle"), m.If(takes):
                m.d.sync += [index.eq(0), lane.eq(0), tile.eq(0), high.eq(0)]
                m.next = "header"
                with m.If(self.i.payload.sampler_row):
                    m.next = "row"
            with m.State("header"):
                self._header(m, index, word, bad)
                with m.If(word.valid & word.ready):
                    m.d.sync += [index.eq(index + 1), lanes_left.eq(layer_lanes)]
                    with m.If(index == GROUP_HEADER_WORDS - 1):
                        m.next = "scale"
                with m.If(bad):
                    m.next = "stopped"
            with m.State("scale"):
                m.d.comb += [
                    self.scale_write.valid.eq(word.valid & ~bad),
                    word.ready.eq(self.scale_write.ready | bad),
                    written.table.eq(Table.SCALE),
                    written.row.eq(tile),
                    written.lane.eq(lane),
                    written.data.eq(word.payload),
                    bad.eq(word.valid & (word.payload[16:22] > SHIFT_MAX)),
                ]
                with m.If(word.valid & word.ready):
                    next_lane()
                    with m.If(lanes_left == 1):
                        m.d.comb += drop.eq(1)
                        m.d.sync += [lane.eq(0), tile.eq(0), lanes_left.eq(layer_lanes)]
                        m.next = "bias"
                with m.If(bad):
                    m.next = "stopped"
            with m.State("bias"):
                m.d.comb += [
                    self.scale_write.valid.eq(word.valid),
                    word.ready.eq(self.scale_write.ready & high),
                    written.table.eq(Table.BIAS),
                    written.row.eq(tile),
                    written.lane.eq(lane),
                    written.data.eq(Mux(high, word.payload[16:], word.payload[:16])),
                    moves.eq(word.valid & self.scale_write.ready),
                ]
                with m.If(moves):
                    m.d.sync += high.eq(~high)
                    next_lane()
                    with m.If(lanes_left == 1):
                        m.d.comb += drop.eq(1)
                        m.d.sync += [
                            index.eq(0),
                            lanes_left.eq(
                                Cat(Const(0, self.lane_bits), work.norm_chunks) + NORM_HEADER_WORDS
                            ),
                        ]
                        m.next = "norm"
                        with m.If(work.norm_chunks == 0):
                            m.next = "commit"
            with m.State("norm"):
                E = Cat(low_E, word.payload)
                m.d.comb += [
                    word.ready.eq(1),
                    self.norm_write.valid.eq(word.valid & ~bad),
                    bad.eq(
                        word.valid
                        & (
                            ((index == 1) & ((E == 0) | (E > E_MAX)))
                            | ((index == 2) & ((word.payload == 0) | (word.payload > ELEMENTS_MAX)))
                        )
                    ),
                ]
                with m.If(word.valid):
                    m.d.sync += [
                        index.eq(index + 1),
                        lanes_left.eq((lanes_left - 1)[: len(lanes_left)]),
                    ]
                    with m.If(index == 0):
                        m.d.sync += low_E.eq(word.payload)
                    with m.If(lanes_left == 1):
                        m.d.comb += drop.eq(1)
                        m.next = "commit"
                with m.If(bad):
                    m.next = "stopped"
            with m.State("commit"):
                m.d.comb += [
                    self.scale_write.valid.eq(1),
                    written.table.eq(Table.COMMIT),
                    written.data.eq(work.table_set),
                ]
                with m.If(self.scale_write.ready):
                    m.next = "finish"
            with m.State("row"):
                m.d.comb += word.ready.eq(1)
                with m.If(word.valid):
                    m.d.sync += [
                        row_words.eq(Cat(row_words[WORD_BITS:], word.payload)),
                        index.eq(index + 1),
                    ]
                    with m.If(index == ROW_WORDS - 1):
                        m.d.comb += drop.eq(1)
                        m.next = "give"
            with m.State("give"):
                m.d.comb += self.row.valid.eq(1)
                with m.If(self.row.ready):
                    m.next = "finish"
            with m.State("finish"):
                m.d.comb += self.finish.eq(1)
                m.d.sync += busy.eq(0)
                m.next = "idle"
            with m.State("stopped"):
                m.d.comb += word.ready.eq(0)
        m.d.sync += self.fault.eq(bad)
