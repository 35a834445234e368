"""Read master of AXI4: bursts for four clients, each with a buffer of its own."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hdl.accelerator_layouts import memory_data_layout, memory_request_layout
from hdl.checks import check_choice, check_size

__all__ = ["CLIENTS", "AxiReader"]

CLIENTS = ("tables", "program", "weights", "data")
BURST = 16
PAGE_BITS = 12


class AxiReader(wiring.Component):
    """Splits requests into INCR bursts: at most 16 beats, never across 4 KB, one ID, in order.

    The first client has priority, a burst at a time. A burst is requested only when its client's
    buffer has room for all of it, so ``m_axi_rready`` is always 1. Bases are multiples of
    ``axi_bytes``; a request has one beat at least.

    Parameters
    ----------
    axi_bytes : int
        Width of the bus, 8, 16 or 32.
    outstanding : int
        Bursts that may be under way, 1..16.
    buffer : int
        Beats that a client's buffer holds, 16..1024.

    Members
    -------
    request_<client> : stream of offset (bytes), beats
    data_<client> : stream of data, last (of the request), in the order of the requests
    base_<client> : In(64), of the client's region
    drain : In(1), request nothing more, drop what comes; held until the reset
    idle : Out(1), nothing is under way
    fault : Out(1), pulse, the cycle after a beat with an error
    m_axi_ar*, m_axi_r* : the bus

    Timing
    ------
    Three cycles from an accepted request to ``arvalid``; a client's burst every second cycle.
    Clients: rest (request is taken) -> size (length of the burst) -> want -> size or rest.
    """

    def __init__(self, *, axi_bytes=16, outstanding=4, buffer=64):
        self.axi_bytes = check_choice("axi_bytes", axi_bytes, (8, 16, 32))
        self.outstanding = check_size("outstanding", outstanding, 1, 16)
        self.buffer = check_size("buffer", buffer, BURST, 1024)
        self.o_layout = memory_data_layout(axi_bytes)
        members = {}
        for name in CLIENTS:
            members[f"request_{name}"] = In(stream.Signature(memory_request_layout()))
            members[f"data_{name}"] = Out(stream.Signature(self.o_layout))
            members[f"base_{name}"] = In(64)
        super().__init__(
            members
            | {"drain": In(1), "idle": Out(1), "fault": Out(1)}
            | {"m_axi_arvalid": Out(1), "m_axi_arready": In(1), "m_axi_araddr": Out(64)}
            | {"m_axi_arlen": Out(8), "m_axi_arsize": Out(3), "m_axi_arburst": Out(2)}
            | {"m_axi_rvalid": In(1), "m_axi_rready": Out(1), "m_axi_rdata": In(8 * axi_bytes)}
            | {"m_axi_rresp": In(2), "m_axi_rlast": In(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = SyncFIFO(width=3, depth=self.outstanding)
        free = Signal()
        m.d.comb += [
            self.m_axi_arsize.eq(self.axi_bytes.bit_length() - 1),
            self.m_axi_arburst.eq(1),
            self.m_axi_rready.eq(1),
            self.idle.eq(~self.m_axi_arvalid & ~order.r_rdy),
            order.r_en.eq(self.m_axi_rvalid & self.m_axi_rlast),
            free.eq((self.m_axi_arready | ~self.m_axi_arvalid) & order.w_rdy & ~self.drain),
        ]
        m.d.sync += self.fault.eq(self.m_axi_rvalid & self.m_axi_rresp[1])
        with m.If(self.m_axi_arready):
            m.d.sync += self.m_axi_arvalid.eq(0)
        taken = Const(0, 1)
        for index, name in enumerate(CLIENTS):
            wants, address, length, last = self._client(m, name, index, order, free & ~taken)
            with m.If(free & wants & ~taken):
                m.d.comb += [order.w_en.eq(1), order.w_data.eq(last << 2 | index)]
                m.d.sync += [
                    self.m_axi_arvalid.eq(1),
                    self.m_axi_araddr.eq(address),
                    self.m_axi_arlen.eq(length - 1),
                ]
            taken = taken | wants
        return m

    def _client(self, m, name, index, order, granted):
        """Add a client; return whether it wants a burst, and its address, length and last."""
        shift = self.axi_bytes.bit_length() - 1
        request = getattr(self, f"request_{name}")
        o = getattr(self, f"data_{name}")
        address = Signal(64, name=f"{name}_address", reset_less=True)
        left = Signal(24, name=f"{name}_left", reset_less=True)
        length = Signal(range(BURST + 1), name=f"{name}_length", reset_less=True)
        fits = Signal(name=f"{name}_fits")
        wants = Signal(name=f"{name}_wants")
        last = Signal(name=f"{name}_last", reset_less=True)
        to_page = Signal(PAGE_BITS - shift + 1, name=f"{name}_to_page")
        limit = Signal(range(BURST + 1), name=f"{name}_limit")
        room = Signal(range(self.buffer + 1), init=self.buffer, name=f"{name}_room")
        m.submodules[f"buffer_{name}"] = buffer = SyncFIFOBuffered(
            width=8 * self.axi_bytes + 1, depth=self.buffer
        )
        m.d.comb += [
            to_page.eq((1 << PAGE_BITS - shift) - address[shift:PAGE_BITS]),
            limit.eq(Mux(to_page < BURST, to_page, BURST)),
            fits.eq(room >= length),
            buffer.w_en.eq(self.m_axi_rvalid & (order.r_data[:2] == index) & ~self.drain),
            buffer.w_data[:-1].eq(self.m_axi_rdata),
            buffer.w_data[-1].eq(order.r_data[2] & self.m_axi_rlast),
            o.valid.eq(buffer.r_rdy),
            o.payload.eq(buffer.r_data),
            buffer.r_en.eq(o.ready),
        ]
        accepted = granted & wants
        m.d.sync += room.eq(room + (o.valid & o.ready) - Mux(accepted, length, 0))
        with m.FSM(name=f"{name}_state"):
            with m.State("rest"):
                m.d.comb += request.ready.eq(1)
                m.d.sync += [
                    address.eq(getattr(self, f"base_{name}") + request.payload.offset),
                    left.eq(request.payload.beats),
                ]
                with m.If(request.valid):
                    m.next = "size"
            with m.State("size"):
                m.d.sync += [
                    length.eq(Mux(left < limit, left, limit)),
                    last.eq(left <= limit),
                ]
                m.next = "want"
            with m.State("want"):
                m.d.comb += wants.eq(fits)
                with m.If(accepted):
                    m.d.sync += [left.eq(left - length), address.eq(address + (length << shift))]
                    m.next = "size"
                    with m.If(last):
                        m.next = "rest"
        return wants, address, length, last
