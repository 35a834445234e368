"""Write master of AXI4: bursts of one client, from a buffer of whole bursts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hdl.accelerator_layouts import memory_request_layout
from hdl.axi_reader import BURST, PAGE_BITS
from hdl.checks import check_choice, check_size

__all__ = ["GRANULE", "AxiWriter"]

RESPONSES_BITS = 8
GRANULE = 8
"""Bytes of a strobe."""


class AxiWriter(wiring.Component):
    """Splits requests into INCR bursts: at most 16 beats, never across 4 KB, one ID, in order.

    A burst is offered once its beats are in the buffer, so ``wvalid`` never falls within one. Bases
    are multiples of ``axi_bytes``; a request has one beat at least.

    ========  ==================================================================
    state     does
    ========  ==================================================================
    rest      ``request`` is taken
    size      length of the burst
    fill      waits for its beats
    burst     address and beats, each as fast as it is taken; then size or rest
    ========  ==================================================================

    Parameters
    ----------
    axi_bytes : int
        Width of the bus, 8, 16 or 32.
    buffer : int
        Beats, 16..1024.

    Members
    -------
    request : stream of offset (bytes), beats
    data : stream of data, strobe (a bit for each 8 bytes)
    base : In(64), of the region
    drain : In(1): no new burst; one that was begun ends
    idle : Out(1), nothing is under way: all responses are in
    fault : Out(1), pulse, the cycle after a response with an error
    m_axi_aw*, m_axi_w*, m_axi_b* : the bus

    Timing
    ------
    Three cycles from request to ``awvalid`` if the beats are there. Between two bursts pass two
    cycles.
    """

    request: stream.Interface
    data: stream.Interface

    def __init__(self, *, axi_bytes=16, buffer=64):
        self.axi_bytes = check_choice("axi_bytes", axi_bytes, (8, 16, 32))
        self.buffer = check_size("buffer", buffer, BURST, 1024)
        bits = 8 * axi_bytes
        self.i_layout = data.StructLayout({"data": bits, "strobe": axi_bytes // GRANULE})
        super().__init__(
            {
                "request": In(stream.Signature(memory_request_layout())),
                "data": In(stream.Signature(self.i_layout)),
                "base": In(64),
                "drain": In(1),
                "idle": Out(1),
                "fault": Out(1),
            }
            | {"m_axi_awvalid": Out(1), "m_axi_awready": In(1), "m_axi_awaddr": Out(64)}
            | {"m_axi_awlen": Out(8), "m_axi_awsize": Out(3), "m_axi_awburst": Out(2)}
            | {"m_axi_wvalid": Out(1), "m_axi_wready": In(1), "m_axi_wdata": Out(bits)}
            | {"m_axi_wstrb": Out(axi_bytes), "m_axi_wlast": Out(1)}
            | {"m_axi_bvalid": In(1), "m_axi_bready": Out(1), "m_axi_bresp": In(2)}
        )

    def elaborate(self, platform):
        m = Module()
        shift = self.axi_bytes.bit_length() - 1
        m.submodules.beats = beats = SyncFIFOBuffered(width=self.i_layout.size, depth=self.buffer)
        beat = Signal(self.i_layout)
        address = Signal(64, reset_less=True)
        left = Signal(24, reset_less=True)
        length = Signal(range(BURST + 1), reset_less=True)
        sent = Signal(range(BURST + 1), reset_less=True)
        pending = Signal(RESPONSES_BITS)  # responses that are not in
        to_page = Signal(PAGE_BITS - shift + 1)
        limit = Signal(range(BURST + 1))
        begun = Signal()
        writes = Signal()
        done = Signal()
        m.d.comb += [
            self.m_axi_awaddr.eq(address),
            self.m_axi_awlen.eq(length - 1),
            self.m_axi_awsize.eq(shift),
            self.m_axi_awburst.eq(1),
            beat.eq(beats.r_data),
            self.m_axi_wdata.eq(beat.data),
            self.m_axi_wstrb.eq(Cat(bit.replicate(GRANULE) for bit in beat.strobe)),
            self.m_axi_wlast.eq(sent + 1 == length),
            self.m_axi_bready.eq(1),
            beats.w_data.eq(self.data.payload),
            beats.w_en.eq(self.data.valid),
            self.data.ready.eq(beats.w_rdy),
            to_page.eq((1 << PAGE_BITS - shift) - address[shift:PAGE_BITS]),
            limit.eq(Mux(to_page < BURST, to_page, BURST)),
            writes.eq(self.m_axi_wvalid & self.m_axi_wready),
            beats.r_en.eq(writes),
            done.eq(begun & (~self.m_axi_awvalid | self.m_axi_awready) & (sent + writes == length)),
        ]
        m.d.sync += [
            self.fault.eq(self.m_axi_bvalid & self.m_axi_bresp[1]),
            pending.eq((pending + done - self.m_axi_bvalid)[:RESPONSES_BITS]),
        ]
        with m.If(self.m_axi_awready):
            m.d.sync += self.m_axi_awvalid.eq(0)
        with m.FSM(name="state"):
            with m.State("rest"):
                m.d.comb += [
                    self.request.ready.eq(~self.drain),
                    self.idle.eq(pending == 0),
                ]
                m.d.sync += [
                    address.eq(self.base + self.request.payload.offset),
                    left.eq(self.request.payload.beats),
                ]
                with m.If(self.request.valid & self.request.ready):
                    m.next = "size"
            with m.State("size"):
                m.d.comb += self.idle.eq(self.drain & (pending == 0))
                m.d.sync += [length.eq(Mux(left < limit, left, limit)), sent.eq(0)]
                m.next = "fill"
            with m.State("fill"):
                m.d.comb += self.idle.eq(self.drain & (pending == 0))
                full = pending == (1 << RESPONSES_BITS) - 1
                with m.If((beats.level >= length) & ~full & ~self.drain):
                    m.d.sync += [self.m_axi_awvalid.eq(1), begun.eq(1)]
                    m.next = "burst"
            with m.State("burst"):
                m.d.comb += self.m_axi_wvalid.eq(sent != length)
                m.d.sync += sent.eq((sent + writes)[: len(sent)])
                with m.If(done):
                    m.d.sync += [
                        begun.eq(0),
                        left.eq(left - length),
                        address.eq(address + (length << shift)),
                    ]
                    m.next = "size"
                    with m.If(left == length):
                        m.next = "rest"
        return m
