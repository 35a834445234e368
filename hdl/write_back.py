"""Writes what leaves the requantizer: residual, stream words or codes, channel sums, counts."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.instruction import Opcode
from golden.operand import CODE_BITS
from hdl.accelerator_layouts import instruction_layout, read_signature, write_signature
from hdl.channel_sums import gather_signature
from hdl.residual import Residual

__all__ = ["WriteBack"]

STREAM_BITS = 16
QUEUE = 4
COUNT_DELAY = 2
"""Cycles from an accepted write to its ``count``; its sums can be read in the cycle after that."""


class WriteBack(wiring.Component):
    """Values in, words out, in the order of array_walk: output chunks, tiles, pixels.

    Pixels of a chunk are consecutive words from ``destination + chunk * destination_plane``; a
    chunk ends with the tile that holds its last row. ``residual``: the word at the same place from
    ``auxiliary`` is added, saturating. ``narrow``: the low 12 bits of the values become codes; a
    MATMUL writes the lanes ``lane_first .. lane_first + channels - 1`` of its chunks only.

    Parameters
    ----------
    size, stream_words, code_words, sum_chunks : int
        As in ``AcceleratorConfig``.

    Members
    -------
    i : stream of values (size x int16), end (last pixel of a tile)
    i_instruction : stream of instructions, CONV and MATMUL, each before its values; 4 wait inside
    read_residual : read port of the stream scratchpad
    write_stream : its write port
    write_codes : write port of the code scratchpad, with a bit a lane
    gather : of channel_sums: valid, entry, clear, data; the words that were written
    count : pulse: a chunk is written and its sums can be read from the next cycle on
    finish, finish_bank : pulse with the last ``count`` of an instruction, and its bank

    Timing
    ------
    A value taken in cycle t asks for its residual word in t + 1 and is written in t + 5; one word
    a cycle if the memories grant at once, over chunks and instructions. ``count`` comes two cycles
    after the write was accepted.
    """

    i: stream.Interface
    i_instruction: stream.Interface
    read_residual: Any
    write_stream: Any
    write_codes: Any
    gather: Any
    count: Signal
    finish: Signal
    finish_bank: Signal

    def __init__(self, *, size=16, stream_words=4096, code_words=4096, sum_chunks=64):
        AcceleratorConfig(
            size=size, stream_words=stream_words, code_words=code_words, sum_chunks=sum_chunks
        )
        self.size = size
        self.stream_words = stream_words
        self.code_words = code_words
        self.sum_chunks = sum_chunks
        self.stream_bits = max(1, (stream_words - 1).bit_length())
        self.code_bits = max(1, (code_words - 1).bit_length())
        self.word = data.ArrayLayout(signed(STREAM_BITS), size)
        self.i_layout = data.StructLayout({"values": self.word, "end": 1})
        self.instruction = instruction_layout(Opcode.CONV, Opcode.MATMUL)
        codes = data.ArrayLayout(CODE_BITS, size)
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "i_instruction": In(stream.Signature(self.instruction)),
                "read_residual": Out(read_signature(self.stream_bits, self.word)),
                "write_stream": Out(write_signature(self.stream_bits, self.word)),
                "write_codes": Out(write_signature(self.code_bits, codes, mask=size)),
                "gather": Out(gather_signature(size, sum_chunks)),
                "count": Out(1),
                "finish": Out(1),
                "finish_bank": Out(1),
            }
        )
        address = max(self.stream_bits, self.code_bits)
        kind = {"narrow": 1, "sums": 1, "bank": 1}
        self._job = data.StructLayout(
            {
                **kind,
                "residual": 1,
                "sums_clear": 1,
                "entry": self.gather.entry.shape(),
                "destination": address,
                "destination_plane": 16,
                "auxiliary": self.stream_bits,
                "auxiliary_plane": 16,
                "chunks": 8,
                "rows": 10,
                "tile_rows": 10,
                "matmul": 1,
                "lane_first": 8,
                "channels": 13,
            }
        )
        self._side = data.StructLayout(
            {
                **kind,
                "clear": 1,
                "entry": self.gather.entry.shape(),
                "address": address,
                "mask": size,
                "last": 1,
                "last_of_instruction": 1,
            }
        )
        self._beat = data.StructLayout(
            {"values": self.word, "residual": 1, "auxiliary": self.stream_bits, "side": self._side}
        )

    @property
    def latency(self):
        """Cycles from a value to its write."""
        return 3 + Residual(lanes=self.size).latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.residual = residual = Residual(lanes=self.size, side_width=self._side.size)
        beat = Signal(self._beat)
        valid = Signal()
        taken = Signal()
        moves = residual.i.ready
        granted = Signal()
        m.d.comb += [
            granted.eq(self.read_residual.ready | ~beat.residual),
            taken.eq((granted & moves) | ~valid),
            self.read_residual.valid.eq(valid & beat.residual),
            self.read_residual.address.eq(beat.auxiliary),
        ]
        self._elaborate_walk(m, beat, valid, taken)

        # cycle 2: the residual word comes; cycle 3: it is added
        waits = Signal(self._beat)
        waits_valid = Signal()
        arrives = Signal()
        kept = Signal(self.word)
        word = Signal(self.word)
        m.d.comb += word.eq(Mux(arrives, self.read_residual.data, kept))
        m.d.sync += [arrives.eq(valid & granted & moves), kept.eq(word)]
        with m.If(moves):
            m.d.sync += [
                waits.eq(beat),
                waits_valid.eq(valid & granted),
                residual.i.valid.eq(waits_valid),
                residual.i.payload.a.eq(Mux(waits.residual, word, 0)),
                residual.i.payload.b.eq(waits["values"]),
                residual.i.payload.side.eq(waits.side),
            ]
        self._elaborate_write(m, residual.o)
        return m

    def _elaborate_queue(self, m):
        """Keep of each instruction what is needed here; return the queue."""
        m.submodules.queue = queue = SyncFIFO(width=self._job.size, depth=QUEUE)
        job = Signal(self._job)
        offered = self.i_instruction.payload
        for name, _ in self._job:
            if name not in ("matmul", "entry"):
                m.d.comb += job[name].eq(offered[name][: len(Signal(self._job[name].shape))])
        m.d.comb += [
            job.matmul.eq(offered.opcode == Opcode.MATMUL),
            job.entry.eq(offered.sums0[: len(job.entry)]),
            queue.w_data.eq(job),
            queue.w_en.eq(self.i_instruction.valid),
            self.i_instruction.ready.eq(queue.w_rdy),
        ]
        return queue

    def _elaborate_walk(self, m, beat, valid, taken):
        """Places of the value that enters; ``beat`` holds it from the next cycle on."""
        queue = self._elaborate_queue(m)
        offered = Signal(self._job)
        job = Signal(self._job)
        running = Signal()
        address, chunk_address = Signal.like(job.destination), Signal.like(job.destination)
        auxiliary, chunk_auxiliary = Signal.like(job.auxiliary), Signal.like(job.auxiliary)
        next_address, next_auxiliary = Signal.like(address), Signal.like(auxiliary)
        rows_left = Signal(10)
        chunks_left = Signal(8)
        entry = Signal.like(job.entry)
        first = Signal()  # word of its chunk
        begin = Signal(signed(14))  # first lane that a MATMUL writes, counted from this chunk
        end = Signal(signed(14))
        enters = Signal()
        chunk_ends = Signal()
        ends = Signal()
        starts = Signal()
        m.d.comb += [
            offered.eq(queue.r_data),
            queue.r_en.eq(starts),
            self.i.ready.eq(running & taken),
            enters.eq(self.i.valid & self.i.ready),
            chunk_ends.eq(self.i.payload.end & (rows_left <= job.tile_rows)),
            ends.eq(chunk_ends & (chunks_left == 1)),
            starts.eq(queue.r_rdy & (~running | (enters & ends))),
            next_address.eq((chunk_address + job.destination_plane)[: len(address)]),
            next_auxiliary.eq((chunk_auxiliary + job.auxiliary_plane)[: len(auxiliary)]),
        ]
        with m.If(enters):
            m.d.sync += [
                address.eq((address + 1)[: len(address)]),
                auxiliary.eq((auxiliary + 1)[: len(auxiliary)]),
                first.eq(chunk_ends),
            ]
            with m.If(self.i.payload.end):
                m.d.sync += rows_left.eq((rows_left - job.tile_rows)[:10])
            with m.If(chunk_ends):
                m.d.sync += [
                    Cat(address, chunk_address).eq(next_address.replicate(2)),
                    Cat(auxiliary, chunk_auxiliary).eq(next_auxiliary.replicate(2)),
                    rows_left.eq(job.rows),
                    chunks_left.eq((chunks_left - 1)[:8]),
                    entry.eq((entry + 1)[: len(entry)]),
                    begin.eq((begin - self.size)[:14].as_signed()),
                    end.eq((end - self.size)[:14].as_signed()),
                ]
            with m.If(ends):
                m.d.sync += running.eq(0)
        with m.If(starts):
            m.d.sync += [
                running.eq(1),
                job.eq(offered),
                Cat(address, chunk_address).eq(offered.destination.replicate(2)),
                Cat(auxiliary, chunk_auxiliary).eq(offered.auxiliary.replicate(2)),
                rows_left.eq(offered.rows),
                chunks_left.eq(offered.chunks),
                entry.eq(offered.entry),
                first.eq(1),
                begin.eq(offered.lane_first),
                end.eq((offered.lane_first + offered.channels)[:14].as_signed()),
            ]

        side = Signal(self._side)
        m.d.comb += [
            side.narrow.eq(job.narrow),
            side.sums.eq(job.sums),
            side.bank.eq(job.bank),
            side.clear.eq(job.sums_clear & first),
            side.entry.eq(entry),
            side.address.eq(address),
            side.last.eq(chunk_ends),
            side.last_of_instruction.eq(ends),
        ]
        for lane in range(self.size):
            live = (begin <= lane) & (end > lane)
            m.d.comb += side.mask[lane].eq(~job.matmul | live)
        with m.If(taken):
            m.d.sync += [
                valid.eq(enters),
                beat["values"].eq(self.i.payload["values"]),
                beat.residual.eq(job.residual),
                beat.auxiliary.eq(auxiliary),
                beat.side.eq(side),
            ]

    def _elaborate_write(self, m, o):
        """Write to one of the memories; count when it was accepted."""
        side = Signal(self._side)
        accepted = Signal()
        m.d.comb += [
            side.eq(o.payload.side),
            o.ready.eq(Mux(side.narrow, self.write_codes.ready, self.write_stream.ready)),
            accepted.eq(o.valid & o.ready),
            self.write_stream.valid.eq(o.valid & ~side.narrow),
            self.write_stream.address.eq(side.address[: self.stream_bits]),
            self.write_stream.data.eq(o.payload["values"]),
            self.write_codes.valid.eq(o.valid & side.narrow),
            self.write_codes.address.eq(side.address[: self.code_bits]),
            self.write_codes.mask.eq(side.mask),
            self.gather.valid.eq(accepted & side.sums & ~side.narrow),
            self.gather.entry.eq(side.entry),
            self.gather.clear.eq(side.clear),
            self.gather.data.eq(o.payload["values"]),
        ]
        for lane in range(self.size):
            m.d.comb += self.write_codes.data[lane].eq(o.payload["values"][lane][:CODE_BITS])
        done = Signal(3)
        m.d.comb += done.eq(
            Cat(accepted & side.last, accepted & side.last_of_instruction, side.bank)
        )
        for stage in range(COUNT_DELAY):
            later = Signal(3, name=f"done_{stage + 1}")
            m.d.sync += later.eq(done)
            done = later
        m.d.comb += Cat(self.count, self.finish, self.finish_bank).eq(done)
