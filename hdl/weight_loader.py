"""Weights of CONVs from external memory: beats of the bus become rows of the array."""

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import SIZES
from golden.accelerator.legality import ALIGNMENT
from hdl.accelerator_layouts import memory_data_layout, memory_request_layout
from hdl.checks import check_choice

__all__ = ["FIFO_SETS", "I_LAYOUT", "WeightLoader"]

FIFO_SETS = 4
HALVES = 16  # requests under way, where a request can begin or end in the middle of a beat
I_LAYOUT = data.StructLayout({"offset": 32, "passes": 16, "tiles": 10, "chunks": 8})
"""A CONV: bytes in the region, sets of a channel tile, pixel tiles, channel tiles."""


class WeightLoader(wiring.Component):
    """For each channel tile, once for each pixel tile: ``passes`` sets of ``size`` rows.

    A set has ``size * size`` bytes, row by row, byte ``c`` of a row for column ``c``. The sets of
    the next channel tile follow those of this one. At ``size`` 4 and ``axi_bytes`` 32 a set is
    half a beat: the halves that a request does not name are thrown away.

    ========  =====================================================================
    state     ``tiles``, ``chunks``: requests that are left
    ========  =====================================================================
    rest      ``i`` is taken
    ask       a request; the next pixel tile; after the last the next channel tile;
              after the last of these rest
    ========  =====================================================================

    Parameters
    ----------
    size : int
        Rows and columns of the array: 4, 8, 16 or 32.
    axi_bytes : int
        Bytes of a beat: 8, 16 or 32.

    Members
    -------
    i : stream of offset (multiple of 64), passes (1..65535), tiles (1..1023), chunks (1..255)
    request : stream of offset (multiple of ``axi_bytes``), beats, to client ``weights`` of
        axi_reader
    data : stream of data, last (beat of the request)
    o : stream of weights (size x int8), as mac_array takes them

    Timing
    ------
    A request a cycle, the first in the cycle after ``i`` is taken; the next ``i`` is taken when
    the last request is, whatever data are still to come. A row a cycle as far as the beats go,
    through a buffer of four sets. ``data.ready`` depends on registers only.
    """

    i: stream.Interface
    request: stream.Interface
    data: stream.Interface
    o: stream.Interface

    def __init__(self, *, size=16, axi_bytes=16):
        self.size = check_choice("size", size, SIZES)
        self.axi_bytes = check_choice("axi_bytes", axi_bytes, (8, 16, 32))
        self.halves = size * size < axi_bytes
        self.weights_layout = data.StructLayout({"weights": data.ArrayLayout(signed(8), size)})
        super().__init__(
            {
                "i": In(stream.Signature(I_LAYOUT)),
                "request": Out(stream.Signature(memory_request_layout())),
                "data": In(stream.Signature(memory_data_layout(axi_bytes))),
                "o": Out(stream.Signature(self.weights_layout)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = SyncFIFOBuffered(
            width=8 * self.size, depth=FIFO_SETS * self.size
        )
        m.d.comb += [
            self.o.valid.eq(rows.r_rdy),
            self.o.payload.eq(rows.r_data),
            rows.r_en.eq(self.o.ready),
        ]
        halves = None
        if self.halves:
            m.submodules.halves = halves = SyncFIFO(width=2, depth=HALVES)
        self._ask(m, halves)
        if self.axi_bytes > self.size:
            self._cut(m, rows, halves)
        else:
            self._gather(m, rows)
        return m

    def _ask(self, m, halves):
        """Request the sets of each tile; ``halves`` keeps which ends of them to throw away."""
        set_bytes = self.size * self.size
        unit = min(set_bytes, ALIGNMENT)  # of addresses
        unit_bits, set_bits = unit.bit_length() - 1, set_bytes.bit_length() - 1
        i, request = self.i, self.request
        address = Signal(32 - unit_bits)
        passes = Signal(I_LAYOUT["passes"].shape)
        tiles = Signal(I_LAYOUT["tiles"].shape)
        tiles_left = Signal.like(tiles)
        chunks_left = Signal(I_LAYOUT["chunks"].shape)
        asks, takes, moves, legal = Signal(), Signal(), Signal(), Signal()
        given = i.payload
        m.d.comb += [
            i.ready.eq(~asks),
            takes.eq(i.valid & i.ready),
            moves.eq(request.valid & request.ready),
            legal.eq(
                (given.offset[: ALIGNMENT.bit_length() - 1] == 0)
                & (given.passes != 0)
                & (given.tiles != 0)
                & (given.chunks != 0)
            ),
        ]
        m.d.sync += Assert(~takes | legal)  # type: ignore[call-arg]  # the stubs lag behind
        if halves is None:
            beat_bits = self.axi_bytes.bit_length() - 1
            m.d.comb += [
                request.valid.eq(asks),
                request.payload.offset.eq(Cat(Const(0, unit_bits), address)),
                request.payload.beats.eq(passes << (set_bits - beat_bits)),
            ]
        else:
            m.d.comb += [
                request.valid.eq(asks & halves.w_rdy),
                request.payload.offset.eq(Cat(Const(0, unit_bits + 1), address[1:])),
                request.payload.beats.eq((passes + address[0] + 1) >> 1),
                halves.w_en.eq(moves),
                halves.w_data.eq(Cat(address[0], address[0] ^ passes[0])),
            ]
        with m.If(takes):
            m.d.sync += [
                asks.eq(1),
                address.eq(given.offset[unit_bits:]),
                passes.eq(given.passes),
                tiles.eq(given.tiles),
                tiles_left.eq(given.tiles),
                chunks_left.eq(given.chunks),
            ]
        with m.If(moves):
            m.d.sync += tiles_left.eq((tiles_left - 1)[: len(tiles)])
            with m.If(tiles_left == 1):
                step = passes << (set_bits - unit_bits)
                m.d.sync += [
                    tiles_left.eq(tiles),
                    chunks_left.eq((chunks_left - 1)[: len(chunks_left)]),
                    address.eq((address + step)[: len(address)]),
                ]
                with m.If(chunks_left == 1):
                    m.d.sync += asks.eq(0)

    def _cut(self, m, rows, halves):
        """Cut a beat of several rows."""
        each, row_bits = self.axi_bytes // self.size, 8 * self.size
        held = Signal(8 * self.axi_bytes)
        left = Signal(range(each + 1))
        takes = Signal()
        m.d.comb += [
            rows.w_en.eq(left != 0),
            rows.w_data.eq(held[:row_bits]),
            self.data.ready.eq((left == 0) | ((left == 1) & rows.w_rdy)),
            takes.eq(self.data.valid & self.data.ready),
        ]
        with m.If(rows.w_en & rows.w_rdy):
            m.d.sync += [held.eq(held >> row_bits), left.eq((left - 1)[: len(left)])]
        beat = self.data.payload
        with m.If(takes):
            m.d.sync += [held.eq(beat.data), left.eq(each)]
        if halves is not None:
            first = Signal(init=1)
            m.d.comb += halves.r_en.eq(takes & beat.last)
            skips, trims = first & halves.r_data[0], beat.last & halves.r_data[1]
            with m.If(takes):
                m.d.sync += [
                    first.eq(beat.last),
                    held.eq(Mux(skips, beat.data >> 4 * self.axi_bytes, beat.data)),
                    left.eq(Mux(skips | trims, each // 2, each)),
                ]

    def _gather(self, m, rows):
        """Gather a row from one beat or several."""
        each, beat = self.size // self.axi_bytes, self.data.payload.data
        ends = Const(1, 1)
        row = beat
        if each > 1:
            held = Signal(8 * (self.size - self.axi_bytes))
            index = Signal(range(each))
            ends = index == each - 1
            row = Cat(held, beat)
            with m.If(self.data.valid & self.data.ready):
                m.d.sync += [
                    held.eq(Cat(held, beat)[len(beat) :]),
                    index.eq((index + 1)[: len(index)]),
                ]
        m.d.comb += [
            rows.w_en.eq(self.data.valid & ends),
            rows.w_data.eq(row),
            self.data.ready.eq(rows.w_rdy | ~ends),
        ]
