"""AXI4-Lite registers: identity, configuration, control, status, counters, interrupt."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from hdl.sequencer import REGIONS

__all__ = ["COUNTERS", "IDENTITY", "REGISTERS", "Registers"]

IDENTITY = 0x53545053
VERSION = 1
OKAY, SLVERR = 0, 2
COUNTERS = ("cycles", "array_beats", "vector_beats", "words_read", "words_written")
"""64 bits each, from the start of a run on; words are those of the bus."""
REGISTERS = {
    "identity": 0x00,
    "version": 0x04,
    "shape": 0x08,
    "stream_words": 0x0C,
    "code_words": 0x10,
    "tables": 0x14,
    "depth": 0x18,
    "blocks": 0x1C,
    "control": 0x20,
    "status": 0x24,
    "cause": 0x28,
    "address": 0x2C,
    "mask": 0x30,
    "interrupt": 0x34,
    "steps": 0x38,
    "step": 0x3C,
    **{f"{part}_{region}": 0x40 + 16 * n + 4 * k for n, region in enumerate(REGIONS)
       for k, part in enumerate(("base_low", "base_high", "size"))},
    **{f"{name}_{part}": 0x80 + 8 * n + 4 * k for n, name in enumerate(COUNTERS)
       for k, part in enumerate(("low", "high"))},
    "timeout": 0xA8,
    "saturations_array": 0xAC,
    "saturations_vector": 0xB0,
}  # fmt: skip
"""Byte addresses; docs/blocks/registers.md says what each one holds."""
ADDRESS_BITS = 8
TIMEOUT = 1 << 24
WHILE_BUSY = ("control", "mask")


class Registers(wiring.Component):
    """32-bit words. A write to a word that cannot be written, any write but *control* and *mask*
    while busy, *start* while busy, and every address without a register are answered SLVERR and
    change nothing.

    Parameters
    ----------
    size, stream_words, stream_banks, code_words, sum_chunks, depth, channel_tiles : int
        As in ``AcceleratorConfig``.
    axi_bytes, outstanding, segments : int
        Of the bus and the silu_quantizer; for the host to read.

    Members
    -------
    s_axi_* : AXI4-Lite, 32 bits
    irq : Out(1), a bit of *interrupt* that *mask* has too
    start, stop, clear : Out(1), pulses
    first_step, last_step : Out(16); timeout : Out(32)
    base_<region> : Out(64), size_<region> : Out(32)
    busy, done, error, cause, address, step : In, of sequencer
    array_beat, vector_beat, read_beat, write_beat : In(1), what is counted
    saturations_array, saturations_vector : In(32)

    Timing
    ------
    A write is answered the cycle after both its halves are there, a read the cycle after its
    address. The low half of a counter keeps the high half for the read that follows.
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
        outstanding=4,
        segments=32,
    ):
        AcceleratorConfig(
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
        self.segments = segments
        super().__init__(
            {
                "s_axi_awvalid": In(1),
                "s_axi_awready": Out(1),
                "s_axi_awaddr": In(ADDRESS_BITS),
                "s_axi_wvalid": In(1),
                "s_axi_wready": Out(1),
                "s_axi_wdata": In(32),
                "s_axi_wstrb": In(4),
                "s_axi_bvalid": Out(1),
                "s_axi_bready": In(1),
                "s_axi_bresp": Out(2),
                "s_axi_arvalid": In(1),
                "s_axi_arready": Out(1),
                "s_axi_araddr": In(ADDRESS_BITS),
                "s_axi_rvalid": Out(1),
                "s_axi_rready": In(1),
                "s_axi_rdata": Out(32),
                "s_axi_rresp": Out(2),
                "irq": Out(1),
                "start": Out(1),
                "stop": Out(1),
                "clear": Out(1),
                "first_step": Out(16),
                "last_step": Out(16),
                "timeout": Out(32, init=TIMEOUT),  # type: ignore[call-arg]  # the stubs lag behind
                **{f"base_{name}": Out(64) for name in REGIONS},
                **{f"size_{name}": Out(32) for name in REGIONS},
                "busy": In(1),
                "done": In(1),
                "error": In(1),
                "cause": In(4),
                "address": In(32),
                "step": In(16),
                "array_beat": In(1),
                "vector_beat": In(1),
                "read_beat": In(1),
                "write_beat": In(1),
                "saturations_array": In(32),
                "saturations_vector": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        mask, pending = Signal(2), Signal(2)
        was = Signal(2)
        ends = Cat(self.done, self.error)
        m.d.sync += [was.eq(ends), pending.eq(pending | (ends & ~was))]
        m.d.comb += self.irq.eq((pending & mask).any())
        counters = self._counters(m)
        writable = {
            "steps": Cat(self.first_step, self.last_step),
            "mask": mask,
            "timeout": self.timeout,
        }
        for name in REGIONS:
            base = getattr(self, f"base_{name}")
            writable[f"base_low_{name}"] = base[:32]
            writable[f"base_high_{name}"] = base[32:]
            writable[f"size_{name}"] = getattr(self, f"size_{name}")
        blocks = self.segments | self.outstanding << 8
        readable = {
            **writable,
            "identity": Const(IDENTITY, 32),
            "version": Const(VERSION, 32),
            "shape": Const(self.size | self.axi_bytes << 8 | self.stream_banks << 16, 32),
            "stream_words": Const(self.stream_words, 32),
            "code_words": Const(self.code_words, 32),
            "tables": Const(self.sum_chunks | self.channel_tiles << 16, 32),
            "depth": Const(self.depth, 32),
            "blocks": Const(blocks, 32),
            "control": Const(0, 32),
            "status": Cat(self.busy, self.done, self.error),
            "cause": self.cause,
            "address": self.address,
            "interrupt": pending,
            "step": self.step,
            "saturations_array": self.saturations_array,
            "saturations_vector": self.saturations_vector,
        }
        high = Signal(32)
        for name, counter in counters.items():
            readable[f"{name}_low"] = counter[:32]
            readable[f"{name}_high"] = high
        self._write(m, writable, pending)
        self._read(m, readable, counters, high)
        return m

    def _counters(self, m):
        """Count from ``start`` on, while busy."""
        beats = (Const(1, 1), self.array_beat, self.vector_beat, self.read_beat, self.write_beat)
        counters = {name: Signal(64, name=name) for name in COUNTERS}
        for counter, beat in zip(counters.values(), beats, strict=True):
            with m.If(self.start):
                m.d.sync += counter.eq(0)
            with m.Elif(self.busy):
                m.d.sync += counter.eq(counter + beat)
        return counters

    def _write(self, m, writable, pending):
        address, value, strobe = Signal(ADDRESS_BITS), Signal(32), Signal(4)
        has_address, has_value = Signal(), Signal()
        acts = Signal()
        refused = Signal()
        m.d.sync += Cat(self.start, self.stop, self.clear).eq(0)
        m.d.comb += [
            self.s_axi_awready.eq(~has_address),
            self.s_axi_wready.eq(~has_value),
            acts.eq(has_address & has_value & ~self.s_axi_bvalid),
        ]
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [address.eq(self.s_axi_awaddr), has_address.eq(1)]
        with m.If(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [value.eq(self.s_axi_wdata), strobe.eq(self.s_axi_wstrb), has_value.eq(1)]
        with m.If(self.s_axi_bvalid & self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        bits = Cat(bit.replicate(8) for bit in strobe)
        starting = value[0] & strobe[0]
        with m.Switch(address):
            for name, target in writable.items():
                with m.Case(REGISTERS[name]):
                    with m.If(self.busy & (name not in WHILE_BUSY)):
                        m.d.comb += refused.eq(1)
                    with m.Elif(acts):
                        keep = bits[: len(target)]
                        m.d.sync += target.eq((target & ~keep) | (value & keep))
            with m.Case(REGISTERS["interrupt"]):
                with m.If(self.busy):
                    m.d.comb += refused.eq(1)
                with m.Elif(acts & strobe[0]):
                    m.d.sync += pending.eq(pending & ~value[:2])
            with m.Case(REGISTERS["control"]):
                # a run that failed is cleared before the next one
                m.d.comb += refused.eq(starting & (self.busy | self.start | self.error))
                with m.If(acts & ~refused & strobe[0]):
                    m.d.sync += [
                        self.start.eq(value[0]),
                        self.clear.eq(value[1]),
                        self.stop.eq(value[2]),
                    ]
            with m.Default():
                m.d.comb += refused.eq(1)
        with m.If(acts):
            m.d.sync += [
                has_address.eq(0),
                has_value.eq(0),
                self.s_axi_bvalid.eq(1),
                self.s_axi_bresp.eq(Mux(refused, SLVERR, OKAY)),
            ]

    def _read(self, m, readable, counters, high):
        m.d.comb += self.s_axi_arready.eq(~self.s_axi_rvalid)
        with m.If(self.s_axi_rvalid & self.s_axi_rready):
            m.d.sync += self.s_axi_rvalid.eq(0)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [
                self.s_axi_rvalid.eq(1),
                self.s_axi_rdata.eq(0),
                self.s_axi_rresp.eq(SLVERR),
            ]
            with m.Switch(self.s_axi_araddr):
                for name, source in readable.items():
                    with m.Case(REGISTERS[name]):
                        m.d.sync += [self.s_axi_rdata.eq(source), self.s_axi_rresp.eq(OKAY)]
                        if name.endswith("_low") and name.removesuffix("_low") in counters:
                            m.d.sync += high.eq(counters[name.removesuffix("_low")][32:])
