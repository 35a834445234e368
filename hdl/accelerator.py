"""The accelerator: a program in external memory, from noise to image."""

from amaranth.hdl import Cat, Const, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.writes import PORTS
from hdl.array_unit import ArrayUnit
from hdl.axi_reader import CLIENTS, AxiReader
from hdl.axi_writer import AxiWriter
from hdl.channel_sums import ChannelSums
from hdl.code_scratchpad import CodeScratchpad
from hdl.mover import Mover
from hdl.registers import Registers
from hdl.row_scales import RowScales
from hdl.scale_file import ScaleFile
from hdl.sequencer import REGIONS, Sequencer
from hdl.stream_scratchpad import StreamScratchpad
from hdl.table_loader import TableLoader
from hdl.vector_unit import VectorUnit
from hdl.weight_loader import WeightLoader

__all__ = ["Accelerator"]

LANE_BITS = 16  # of a traced word


class Accelerator(wiring.Component):
    """Registers, sequencer, units and memories of docs/accelerator.md.

    Parameters
    ----------
    size, stream_words, stream_banks, code_words, sum_chunks, depth, channel_tiles : int
        As in ``AcceleratorConfig``; programs are compiled for them.
    axi_bytes : int
        Bytes of a beat of the bus: 8, 16 or 32.
    outstanding : int
        Read bursts that may be under way, 1..16.
    buffer : int
        Beats that a client of the reader holds, 16..1024.
    segments : int
        Pieces of the SiLU: 16 or 32.
    decode : str
        ``edge`` or ``product_shift``, of mac_array.
    pipeline : int
        Of mac_array.
    multiplier : str
        ``inferred`` or ``mult18x18d``, of mac_array, requantizers and silu_quantizer.
    trace : bool
        Adds ports that show each written word, and when units take and finish instructions.

    Members
    -------
    s_axi_* : AXI4-Lite, registers; m_axi_* : AXI4, external memory; irq : Out(1)
    trace_<writer>_<memory>_valid, _address, _data, and _mask of codes : Out, a written word
    trace_start, trace_finish : Out(4): array, vector, mover, loader

    Timing
    ------
    One clock. docs/accelerator.md says what a step takes.
    """

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
        outstanding=8,
        buffer=64,
        segments=32,
        decode="edge",
        pipeline=1,
        multiplier="inferred",
        trace=0,
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
        self.outstanding = outstanding
        self.buffer = buffer
        self.segments = segments
        self.decode = decode
        self.pipeline = pipeline
        self.multiplier = multiplier
        self.trace = trace
        shape = {
            "size": size,
            "stream_words": stream_words,
            "stream_banks": stream_banks,
            "code_words": code_words,
            "sum_chunks": sum_chunks,
            "depth": depth,
            "channel_tiles": channel_tiles,
        }
        unit = {name: value for name, value in shape.items() if name != "stream_banks"}
        self.registers = Registers(
            **shape, axi_bytes=axi_bytes, outstanding=outstanding, segments=segments
        )
        self.sequencer = Sequencer(**shape, axi_bytes=axi_bytes)
        self.reader = AxiReader(axi_bytes=axi_bytes, outstanding=outstanding, buffer=buffer)
        self.writer = AxiWriter(axi_bytes=axi_bytes)
        self.array = ArrayUnit(**unit, decode=decode, pipeline=pipeline, multiplier=multiplier)
        self.vector = VectorUnit(**unit, segments=segments, multiplier=multiplier)
        self.mover = Mover(size=size, stream_words=stream_words, axi_bytes=axi_bytes)
        self.table_loader = TableLoader(size=size, channel_tiles=channel_tiles, axi_bytes=axi_bytes)
        self.weight_loader = WeightLoader(size=size, axi_bytes=axi_bytes)
        self.scale_file = ScaleFile(
            groups=1,
            resident_groups=1,
            steps=1,
            channel_tiles=channel_tiles,
            lanes=size,
            conv_side=self.array.conv_side,
            activation_side=1,
            edge_side=1,
            read_side=self.array.read_side,
        )
        self.stream = StreamScratchpad(
            size=size, stream_words=stream_words, stream_banks=stream_banks
        )
        self.codes = CodeScratchpad(size=size, code_words=code_words)
        self.sums = ChannelSums(size=size, sum_chunks=sum_chunks)
        self.row_scales = RowScales(depth=depth)
        buses = {
            name: member
            for part in (self.registers, self.reader, self.writer)
            for name, member in part.signature.members.items()
            if name.startswith(("s_axi_", "m_axi_"))
        }
        self._buses = tuple(buses)
        self._traced = {
            "array_stream": self.array.write_stream,
            "array_codes": self.array.write_codes,
            "vector_stream": self.vector.write_stream,
            "vector_codes": self.vector.write_codes,
            "mover_stream": self.mover.write_stream,
        }
        assert tuple(self._traced) == PORTS
        members = {**buses, "irq": Out(1)}
        if trace:
            for name in PORTS:
                members[f"trace_{name}_valid"] = Out(1)
                members[f"trace_{name}_address"] = Out(24)
                members[f"trace_{name}_data"] = Out(LANE_BITS * size)
                if name.endswith("codes"):
                    members[f"trace_{name}_mask"] = Out(size)
            members |= {"trace_start": Out(4), "trace_finish": Out(4)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        units = Module()
        m.submodules.registers = registers = self.registers
        m.submodules.sequencer = sequencer = self.sequencer
        m.submodules.engines = ResetInserter(sequencer.units_reset)(units)
        for name in ("reader", "writer", "array", "vector", "mover", "table_loader",
                     "weight_loader", "scale_file", "stream", "codes", "sums",
                     "row_scales"):  # fmt: skip
            units.submodules[name] = getattr(self, name)
        self._host(m, registers, sequencer)
        self._memory(m, registers, sequencer)
        self._instructions(m, sequencer)
        self._tables(m)
        self._scratchpads(m)
        if self.trace:
            self._trace(m)
        return m

    def _join(self, m, *pairs):
        for source, target in pairs:
            wiring.connect(m, source, target)

    def _host(self, m, registers, sequencer):
        for name in ("start", "stop", "clear", "first_step", "last_step", "timeout"):
            m.d.comb += getattr(sequencer, name).eq(getattr(registers, name))
        for name in ("busy", "done", "error", "cause", "address", "step"):
            m.d.comb += getattr(registers, name).eq(getattr(sequencer, name))
        m.d.comb += [
            self.irq.eq(registers.irq),
            registers.array_beat.eq(self.array.busy),
            registers.vector_beat.eq(self.vector.busy),
            registers.read_beat.eq(self.reader.m_axi_rvalid & self.reader.m_axi_rready),
            registers.write_beat.eq(self.writer.m_axi_wvalid & self.writer.m_axi_wready),
            registers.saturations_array.eq(self.array.saturations),
            registers.saturations_vector.eq(self.vector.saturations),
            self.array.clear.eq(registers.start),
            self.vector.clear.eq(registers.start),
        ]

    def _memory(self, m, registers, sequencer):
        reader, writer = self.reader, self.writer
        for name in REGIONS:
            m.d.comb += [
                getattr(reader, f"base_{name}").eq(getattr(registers, f"base_{name}")),
                getattr(sequencer, f"size_{name}").eq(getattr(registers, f"size_{name}")),
            ]
        clients = {
            "tables": self.table_loader,
            "program": sequencer,
            "weights": self.weight_loader,
            "data": self.mover,
        }
        assert tuple(clients) == CLIENTS
        for name, client in clients.items():
            self._join(m, (client.request, getattr(reader, f"request_{name}")),
                       (getattr(reader, f"data_{name}"), client.data))  # fmt: skip
        self._join(m, (self.mover.write_request, writer.request),
                   (self.mover.write_data, writer.data))  # fmt: skip
        m.d.comb += [
            writer.base.eq(registers.base_data),
            self.mover.writer_idle.eq(writer.idle),
            reader.drain.eq(sequencer.drain),
            writer.drain.eq(sequencer.drain),
            sequencer.reader_idle.eq(reader.idle),
            sequencer.writer_idle.eq(writer.idle),
            sequencer.fault_read.eq(reader.fault),
            sequencer.fault_write.eq(writer.fault),
            sequencer.fault_table.eq(self.table_loader.fault | self.vector.fault),
        ]
        for name in self._buses:
            part = next(p for p in (registers, reader, writer) if hasattr(p, name))
            inner, outer = getattr(part, name), getattr(self, name)
            if self.signature.members[name].flow == In:
                m.d.comb += inner.eq(outer)
            else:
                m.d.comb += outer.eq(inner)

    def _instructions(self, m, sequencer):
        loader = self.table_loader
        self._join(
            m,
            (sequencer.o_array, self.array.i),
            (sequencer.o_vector, self.vector.i),
            (sequencer.o_mover, self.mover.i),
            (sequencer.o_loader, loader.i),
            (sequencer.o_weights, self.weight_loader.i),
            (self.weight_loader.o, self.array.i_weights),
        )
        m.d.comb += [
            self.array.counts.eq(sequencer.counts),
            self.vector.counts.eq(sequencer.counts),
            sequencer.finish_loader.eq(loader.finish),
            sequencer.finish_bank_loader.eq(loader.finish_bank),
            sequencer.finish_row.eq(loader.finish_row),
            sequencer.finish_sample.eq(self.vector.finish_sample),
        ]
        for name in ("array", "vector", "mover"):
            unit = getattr(self, name)
            m.d.comb += [
                getattr(sequencer, f"count_{name}").eq(unit.count),
                getattr(sequencer, f"finish_{name}").eq(unit.finish),
            ]
            if name != "mover":
                m.d.comb += getattr(sequencer, f"finish_bank_{name}").eq(unit.finish_bank)

    def _tables(self, m):
        scales, array, vector = self.scale_file, self.array, self.vector
        self._join(
            m,
            (self.table_loader.scale_write, scales.i_write),
            (self.table_loader.norm_write, vector.norm_write),
            (self.table_loader.row, vector.i_row),
            (array.o_lookup, scales.i_conv),
            (scales.o_conv, array.i_lookup),
            (array.o_constants, scales.i_read),
            (scales.o_read, array.i_constants),
            (vector.o_activation, scales.i_activation),
            (scales.o_activation, vector.i_activation),
            (vector.o_edge, scales.i_edge),
            (scales.o_edge, vector.i_edge),
        )
        m.d.comb += [
            scales.release_conv.eq(array.released),
            scales.release_conv_bank.eq(array.released_bank),
            scales.release_activation.eq(vector.released_activation),
            scales.release_activation_bank.eq(vector.released_bank),
            scales.release_edge.eq(vector.released_edge),
            scales.release_edge_bank.eq(vector.released_bank),
        ]

    def _scratchpads(self, m):
        array, vector, mover = self.array, self.vector, self.mover
        self._join(
            m,
            (array.read_residual, self.stream.read_residual),
            (vector.read_stream, self.stream.read_vector),
            (mover.read_stream, self.stream.read_mover),
            (array.write_stream, self.stream.write_array),
            (vector.write_stream, self.stream.write_vector),
            (mover.write_stream, self.stream.write_mover),
            (array.read_operand, self.codes.read_operand),
            (array.read_stationary, self.codes.read_stationary),
            (array.write_codes, self.codes.write_array),
            (vector.write_codes, self.codes.write_vector),
            (array.gather, self.sums.gather),
            (vector.read_sums, self.sums.read),
            (vector.write_scale, self.row_scales.write),
            (array.read_scale, self.row_scales.read),
        )

    def _trace(self, m):
        """Show what is written, a cycle later: nothing depends on these ports."""
        for name, port in self._traced.items():
            lanes = [
                Cat(lane, Const(0, LANE_BITS - len(lane))) if len(lane) < LANE_BITS else lane
                for lane in (port.data[n] for n in range(self.size))
            ]
            m.d.sync += [
                getattr(self, f"trace_{name}_valid").eq(port.valid & port.ready),
                getattr(self, f"trace_{name}_address").eq(port.address),
                getattr(self, f"trace_{name}_data").eq(Cat(lanes)),
            ]
            if name.endswith("codes"):
                m.d.sync += getattr(self, f"trace_{name}_mask").eq(port.mask)
        units = (self.array, self.vector, self.mover, self.table_loader)
        starts = Signal(4)
        m.d.comb += starts.eq(Cat(unit.i.valid & unit.i.ready for unit in units))
        m.d.sync += [
            self.trace_start.eq(starts),
            self.trace_finish.eq(Cat(unit.finish for unit in units)),
        ]
