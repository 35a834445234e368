"""AXI4-Lite registers: identity, configuration, control, status, counters, interrupt."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.accelerator.configuration import AcceleratorConfig
from hdl.register_map import ADDRESS_BITS, PARAMETERS, compiled
from hdl.sequencer import REGIONS

__all__ = ["COUNTERS", "Registers"]

OKAY, SLVERR = 0, 2
COUNTERS = ("cycles", "array_beats", "vector_beats", "words_read", "words_written")
"""64 bits each, from the start of a run on; words are those of the bus."""


class Registers(wiring.Component):
    """Decode of ``hdl/data/registers.rdl``, 32-bit words.

    A write to a word that cannot be written, any write but *control* and *mask* while busy,
    *start* while busy, and every address without a register are answered SLVERR and change
    nothing. The lowest two bits of an address do not matter.

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
        self.map = compiled({name: getattr(self, name) for name in PARAMETERS})
        resets = {
            f"{register.name}.{field.name}": field.reset
            for register in self.map
            for field in register.fields
        }
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
                "timeout": Out(32, init=resets["timeout.cycles"]),  # type: ignore[call-arg]  # stubs
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
        was, cleared = Signal(2), Signal(2)
        ends = Cat(self.done, self.error)
        # an end in the cycle of a clear is not lost
        m.d.sync += [was.eq(ends), pending.eq((pending & ~cleared) | (ends & ~was))]
        m.d.comb += self.irq.eq((pending & mask).any())
        pulses = Cat(self.start, self.clear, self.stop)
        counters = self._counters(m)
        high = Signal(32)
        # each register's bits; what is missing here holds its reset value for ever
        held = {
            "control": pulses,
            "status": Cat(self.busy, self.done, self.error),
            "cause": self.cause,
            "address": self.address,
            "mask": mask,
            "interrupt": pending,
            "steps": Cat(self.first_step, self.last_step),
            "step": self.step,
            "timeout": self.timeout,
            "saturations_array": self.saturations_array,
            "saturations_vector": self.saturations_vector,
            **{f"{name}_low": counter[:32] for name, counter in counters.items()},
            **{f"{name}_high": high for name in counters},
        }
        for region in REGIONS:
            base = getattr(self, f"base_{region}")
            held[f"{region}_base_low"], held[f"{region}_base_high"] = base[:32], base[32:]
            held[f"{region}_size"] = getattr(self, f"size_{region}")
        self._agrees(held)
        self._write(m, held, {"interrupt": cleared})
        self._read(m, held, counters, high)
        return m

    def _agrees(self, held):
        """Refuse a description that this file does not implement."""
        for register in self.map:
            value = held.get(register.name)
            width = max(field.low + field.width for field in register.fields)
            constant = not (register.moves or register.writable)
            if constant != (value is None) or not (constant or len(value) == width):
                raise ValueError(f"register {register.path}: the RTL has no such {width} bits")
        unknown = held.keys() - {register.name for register in self.map}
        if unknown:
            raise ValueError(f"registers.rdl describes no register {', '.join(sorted(unknown))}")

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

    def _write(self, m, held, cleared):
        address, value, strobe = Signal(ADDRESS_BITS), Signal(32), Signal(4)
        has_address, has_value = Signal(name="has_address"), Signal(name="has_value")
        acts = Signal()
        refused = Signal()
        m.d.sync += held["control"].eq(0)
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
        writes = value & bits
        with m.Switch(address[2:]):  # a byte's address names its word
            for register in self.map:
                if not register.writable:
                    continue
                target = held[register.name]
                with m.Case(register.address >> 2):
                    if register.name == "control":
                        # a run that failed is cleared before the next one
                        starting = writes[0] & (self.busy | self.start | self.error)
                        m.d.comb += refused.eq(starting)
                    elif not register.while_busy:
                        m.d.comb += refused.eq(self.busy)
                    with m.If(acts & ~refused):
                        for field in register.fields:
                            part = slice(field.low, field.low + field.width)
                            if field.access == "w1c":
                                m.d.comb += cleared[register.name][part].eq(writes[part])
                            elif field.pulse:
                                m.d.sync += target[part].eq(writes[part])
                            else:
                                kept = target[part] & ~bits[part]
                                m.d.sync += target[part].eq(kept | writes[part])
            with m.Default():
                m.d.comb += refused.eq(1)
        with m.If(acts):
            m.d.sync += [
                has_address.eq(0),
                has_value.eq(0),
                self.s_axi_bvalid.eq(1),
                self.s_axi_bresp.eq(Mux(refused, SLVERR, OKAY)),
            ]

    def _read(self, m, held, counters, high):
        m.d.comb += self.s_axi_arready.eq(~self.s_axi_rvalid)
        with m.If(self.s_axi_rvalid & self.s_axi_rready):
            m.d.sync += self.s_axi_rvalid.eq(0)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [
                self.s_axi_rvalid.eq(1),
                self.s_axi_rdata.eq(0),
                self.s_axi_rresp.eq(SLVERR),
            ]
            with m.Switch(self.s_axi_araddr[2:]):
                for register in self.map:
                    shown = held[register.name] if register.moves else Const(register.reset, 32)
                    with m.Case(register.address >> 2):
                        m.d.sync += [self.s_axi_rdata.eq(shown), self.s_axi_rresp.eq(OKAY)]
                        if register.name.removesuffix("_low") in counters:
                            m.d.sync += high.eq(counters[register.name.removesuffix("_low")][32:])
