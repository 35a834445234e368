"""AXI protocol of the bus masters and of the registers: what the other side may rely on.

Rules of AMBA AXI (ARM IHI 0022) for what these ports use: valid and its payload stay until ready; a
burst lies inside 4 KB and has at most 16 beats here; last is on the last beat; a response follows
its request, one for each.
"""

from typing import Any

from amaranth.hdl import Cat, Mux, Signal, Value

from cosim.formal.harness import Harness, Internals, every, implies
from hdl.axi_reader import CLIENTS, AxiReader
from hdl.axi_writer import AxiWriter
from hdl.registers import Registers

__all__ = ["reader", "registers", "writer"]

AXI_BYTES = 8
SHIFT = 3
PAGE = 4096 >> SHIFT  # beats
BURST = 16


def _stays(h: Harness, name: str, valid: Any, ready: Any, *payload: Any) -> None:
    """``valid`` and what comes with it stay until ``ready``."""
    waits = h.register(valid & ~ready, f"{name}_waits")
    word = Cat(*(Value.cast(part) for part in payload))
    before = h.register(word, f"{name}_before")
    h.check(f"{name}_stays", implies(waits, valid))
    h.check(f"{name}_payload_stays", implies(waits, word == before))
    stalled = h.register(waits & valid & ready, f"{name}_stalled")
    h.cover(f"{name}_taken_after_a_stall", stalled)


def _fits(address: Any, length: Any) -> Value:
    """``length`` beats from ``address`` on stay inside the page of 4 KB."""
    return address[SHIFT:12] + length <= PAGE


def _burst(h: Harness, name: str, valid: Any, address: Any, length: Any) -> None:
    """What every request says. ``length``: the field of AXI, beats - 1."""
    h.check(f"{name}_length", implies(valid, length < BURST))
    h.check(f"{name}_inside_a_page", implies(valid, _fits(address, length + 1)))
    h.check(f"{name}_aligned", implies(valid, address[:SHIFT] == 0))
    h.cover(f"{name}_of_16", valid & (length == BURST - 1))
    h.cover(
        f"{name}_cut_at_a_page", valid & (length > 0) & (address[SHIFT:12] + length + 1 == PAGE)
    )


def reader() -> Harness:
    """Read requests are legal bursts, stable until taken; read data are always taken."""
    h = Harness()
    dut = AxiReader(axi_bytes=AXI_BYTES, outstanding=2, buffer=16)
    inside = h.add("dut", dut)
    for name in CLIENTS:
        request = getattr(dut, f"request_{name}").payload
        h.assume(f"{name}_beats", request.beats != 0)
        h.assume(f"{name}_offset", request.offset[:SHIFT] == 0)
        h.assume(f"{name}_base", getattr(dut, f"base_{name}")[:SHIFT] == 0)
    _stays(h, "ar", dut.m_axi_arvalid, dut.m_axi_arready, dut.m_axi_araddr, dut.m_axi_arlen,
           dut.m_axi_arsize, dut.m_axi_arburst)  # fmt: skip
    _burst(h, "ar", dut.m_axi_arvalid, dut.m_axi_araddr, dut.m_axi_arlen)
    h.check("ar_full_width_incr", (dut.m_axi_arsize == SHIFT) & (dut.m_axi_arburst == 1))
    h.check("r_always_ready", dut.m_axi_rready)
    for name in CLIENTS:
        _client(h, inside, name)
    return h


def _client(h: Harness, inside: Internals, name: str) -> None:
    """States of a client: 0 rests, 1 finds the size, 2 wants its burst."""
    address, left, length = (inside[f"{name}_{part}"] for part in ("address", "left", "length"))
    state, last = inside[f"{name}_state_state"], inside[f"{name}_last"]
    page = PAGE - address[SHIFT:12]
    limit = Mux(page < BURST, page, BURST)
    h.check(f"{name}_state", state <= 2)
    h.check(f"{name}_address_aligned", implies(state != 0, address[:SHIFT] == 0))
    h.check(f"{name}_left", implies(state != 0, left != 0))
    size = Mux(left < limit, left, limit)
    h.check(f"{name}_size", implies(state == 2, (length == size) & (last == (left <= limit))))


def writer() -> Harness:
    """Write requests are legal bursts; data are stable, as many as asked, last on the last."""
    h = Harness()
    dut = AxiWriter(axi_bytes=AXI_BYTES, buffer=16)
    inside = h.add("dut", dut)
    h.assume("beats", dut.request.payload.beats != 0)
    h.assume("offset", dut.request.payload.offset[:SHIFT] == 0)
    h.assume("base", dut.base[:SHIFT] == 0)
    _stays(h, "aw", dut.m_axi_awvalid, dut.m_axi_awready, dut.m_axi_awaddr, dut.m_axi_awlen,
           dut.m_axi_awsize, dut.m_axi_awburst)  # fmt: skip
    _burst(h, "aw", dut.m_axi_awvalid, dut.m_axi_awaddr, dut.m_axi_awlen)
    h.check("aw_full_width_incr", (dut.m_axi_awsize == SHIFT) & (dut.m_axi_awburst == 1))
    h.check("b_always_ready", dut.m_axi_bready)
    waits = h.register(dut.m_axi_wvalid & ~dut.m_axi_wready, "w_waits")
    last = h.register(dut.m_axi_wlast, "wlast_before")
    h.check("w_stays", implies(waits, dut.m_axi_wvalid & (dut.m_axi_wlast == last)))
    asks = dut.m_axi_awvalid & dut.m_axi_awready
    sends = dut.m_axi_wvalid & dut.m_axi_wready
    return _writer_inside(h, dut, inside, asks, sends)


def _writer_inside(h: Harness, dut: Any, inside: Internals, asks: Any, sends: Any) -> Harness:
    """States: 0 rests, 1 finds the size, 2 fills, 3 is in its burst."""
    state, begun = inside["state_state"], inside["begun"]
    length, sent, left, address = (inside[n] for n in ("length", "sent", "left", "address"))
    page = PAGE - address[SHIFT:12]
    limit = Mux(page < BURST, page, BURST)
    burst = state == 3
    counted = Signal(range(BURST + 2), name="counted")  # beats of this burst
    asked = Signal(name="asked")  # its request was taken
    leaves = h.named(burst & inside["done"], "leaves")
    h.m.d.sync += [
        counted.eq(Mux(leaves | ~burst, 0, (counted + sends)[: len(counted)])),
        asked.eq(Mux(leaves | ~burst, 0, asked | asks)),
    ]
    h.check("counted_is_sent", implies(burst, counted == sent))
    h.check("asked_once", implies(burst, asked == ~dut.m_axi_awvalid))
    h.check("begun_in_a_burst", begun == burst)
    h.check("no_request_elsewhere", implies(~burst, ~dut.m_axi_awvalid & ~dut.m_axi_wvalid))
    h.check("sent_at_most", implies(burst, sent <= length))
    h.check("last_on_the_last", implies(dut.m_axi_wvalid, dut.m_axi_wlast == (sent + 1 == length)))
    h.check("leaves_whole", implies(leaves, (counted + sends == length) & (asked | asks)))
    h.check("address_aligned", implies(state != 0, address[:SHIFT] == 0))
    h.check("left_of_it", implies(state != 0, left != 0))
    size = Mux(left < limit, left, limit)
    h.check("size_of_it", implies(state >= 2, length == size))
    h.check("nothing_sent_yet", implies(state == 2, sent == 0))
    h.cover("burst_of_two_whole", leaves & (length == 2))
    return h


def registers() -> Harness:
    """One response for each access, none without one, stable until taken, the cycle after."""
    h = Harness()
    dut = Registers(size=4)
    inside = h.add("dut", dut)
    _stays(h, "b", dut.s_axi_bvalid, dut.s_axi_bready, dut.s_axi_bresp)
    _stays(h, "r", dut.s_axi_rvalid, dut.s_axi_rready, dut.s_axi_rdata, dut.s_axi_rresp)
    h.check("b_okay_or_slverr", implies(dut.s_axi_bvalid, ~dut.s_axi_bresp[0]))
    h.check("r_okay_or_slverr", implies(dut.s_axi_rvalid, ~dut.s_axi_rresp[0]))
    counts = {}
    for name in ("aw", "w", "ar", "b", "r"):
        valid, ready = getattr(dut, f"s_axi_{name}valid"), getattr(dut, f"s_axi_{name}ready")
        counts[name] = valid & ready
    owed = {}
    for request, response in (("aw", "b"), ("w", "b"), ("ar", "r")):
        count = Signal(3, name=f"{request}_owed")
        h.m.d.sync += count.eq((count + counts[request] - counts[response])[:3])
        owed[request] = count
    has_address, has_value = inside["has_address"], inside["has_value"]
    b, r = dut.s_axi_bvalid, dut.s_axi_rvalid
    h.check("b_has_its_address", owed["aw"] == has_address + b)
    h.check("b_has_its_value", owed["w"] == has_value + b)
    h.check("r_has_its_address", owed["ar"] == r)
    both = h.register(has_address & has_value & ~b, "both")
    h.check("b_comes_next", implies(both, b))
    taken = h.register(counts["ar"], "ar_taken")
    h.check("r_comes_next", implies(taken, r))
    ready = [dut.s_axi_awready | has_address, dut.s_axi_wready | has_value, dut.s_axi_arready | r]
    h.check("no_access_waits_for_another", every(ready))
    h.cover("value_before_address", has_value & ~has_address & dut.s_axi_awvalid)
    h.cover("refused", b & dut.s_axi_bresp[1])
    return h
