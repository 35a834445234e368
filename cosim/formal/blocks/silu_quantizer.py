"""SiLU quantizer: its stream, its curve for every u, its code for every product, and its error.

Split at the multiplier, as for the requantizer: ``curve`` says which v meets M0 there, and that the
wire behind it is ``v * M0``; ``value`` takes any product within its bounds and says which code
leaves; ``error`` sends the code through :class:`~hdl.operand.Operand` and compares what the array
would multiply with the value that was quantized.
"""

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed
from amaranth.lib import stream as streams

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, Internals, every, implies
from golden.operand import OperandMode
from golden.silu_pieces import GRID_BITS, PIECES, SLOPE_FRACTION
from golden.silu_quantizer import K_MAX, ZERO_POINT_MAX
from hdl.operand import Operand
from hdl.silu_quantizer import SiluQuantizer

__all__ = ["curve", "error", "stream", "value"]

SIDE = 3
# constant -> register in which it is used; until then it travels beside the lane
_TRAVELS = {
    "multiplier": 6,
    "shift_high": 7,
    "shift_low": 8,
    "zero_point": 9,
    "k_less_one": 9,
    "wide": 10,
}


def _followed(
    h: Harness,
    dut: SiluQuantizer,
    inside: Internals,
    o: streams.Interface,
    holds: Callable[[int, Any], Sequence[Any]],
    expect: Callable[[Any], Any],
    more: Sequence[Any] = (),
) -> Flow:
    """Follow a beat from the block's input to ``o``; ``more``: valid of the stages behind it."""
    valid = [inside["valid"][s] for s in range(dut.latency)] + list(more)
    depth = len(valid)
    stalls = not more  # registers behind the block do not move with it
    flow = Flow(h, "beat", dut.i, o, capacity=depth, wait=depth - 1, expect=expect, stalls=stalls)
    flow.follow(Stages(valid, lambda s, saved: every(holds(s + 1, saved))))
    return flow


def stream() -> Harness:
    """Every beat comes out once, in order, whatever the stalls."""
    h = Harness()
    dut = SiluQuantizer(lanes=1, side_width=SIDE)
    inside = h.add("dut", dut)
    _followed(
        h,
        dut,
        inside,
        dut.o,
        lambda register, saved: [inside[f"side_{register}"] == saved.side],
        lambda saved: dut.o.payload.side == saved.side,
    )
    h.check("ready", dut.i.ready == (dut.o.ready | ~dut.o.valid))
    return h


def _piece(magnitude: Value, segments: int, numbers: Sequence[int]) -> Value:
    """Number of the piece that ``magnitude`` lies in, from the table of knots."""
    found: Value = Const(numbers[0], signed(24))
    for knot, number in list(zip(PIECES[segments].knots, numbers, strict=True))[1:]:
        found = Mux(magnitude >= (knot << GRID_BITS), Const(number, signed(24)), found)
    return found


def curve(segments: int = 32) -> Harness:
    """``v = rsh(2**(4+F) * max(u, 0) - (slope * |u| + intercept), F)`` meets the beat's M0."""
    h = Harness()
    dut = SiluQuantizer(lanes=1, segments=segments)
    inside = h.add("dut", dut)
    lane = inside.child("lane_0")
    u = Signal(signed(12), name="saved_u")
    negative = u < 0
    magnitude = h.named(Mux(negative, -u, u)[:12], "magnitude")
    pieces = PIECES[segments]
    slope = h.named(_piece(magnitude, segments, pieces.slopes), "slope")
    intercept = h.named(_piece(magnitude, segments, pieces.intercepts), "intercept")
    half = 1 << (SLOPE_FRACTION - 1)
    line = h.named(Mux(negative, 0, 16 << SLOPE_FRACTION) - slope, "line")
    product = h.named(line * magnitude, "line_product")
    v = h.named((product - intercept + half) >> SLOPE_FRACTION, "v")

    def holds(register: int, saved: Any) -> list[Any]:
        facts = []
        if register <= 6:
            facts.append(inside[f"multiplier_{register}"] == saved.multiplier)
        if register <= 4:
            facts.append(lane[f"magnitude_{register}"] == magnitude)
        if register <= 2:
            facts.append(lane[f"negative_{register}"] == negative)
        if register == 2:
            knots = [magnitude >= (knot << GRID_BITS) for knot in pieces.knots[1:]]
            facts.append(lane["piece_2"] == sum(knots[1:], knots[0]))
        if register in (3, 4):
            facts.append(lane[f"slope_{register}"] == line)
        if register in (3, 4, 5):
            facts.append(lane[f"constant_{register}"] == half - intercept)
        if register == 5:
            facts.append(lane["product_5"] == product)
        if register == 6:
            facts.append(lane["v_6"] == v)
        return facts

    flow = _followed(h, dut, inside, dut.o, holds, lambda _: 1)
    h.m.d.comb += u.eq(flow.saved.u[0])
    # 18 bits with zeros below; the same cell as the block's, so no solver has to multiply
    multiplier = inside["multiplier_6"]
    aligned = lane["v_aligned"]
    h.check("aligned", aligned == (lane["v_6"] << 2))
    h.check("product", lane["v_product"] == aligned * multiplier)
    h.check("narrowed", lane["p"] == lane["v_product"][2:34].as_signed())
    return h


class _Code:
    """What the registers hold of a beat whose product ``v * M0`` is ``product``."""

    def __init__(self, h: Harness, inside: Internals, product: Any) -> None:
        self.h, self.inside, self.product = h, inside, product
        self.lane = inside.child("lane_0")
        self._specified: Value | None = None

    def rounded(self, shift: Any, name: str) -> Value:
        """``rsh(product, shift)``, as it is written."""
        half = self.h.named(Mux(shift == 0, 0, Const(1, 1) << (shift - 1)[:6])[:36], f"{name}_half")
        return self.h.named((self.product + half) >> shift, name)

    def specified(self, saved: Any) -> Value:
        """The code as the numeric contract has it."""
        if self._specified is None:
            h = self.h
            scaled = self.rounded(saved.shift, "scaled")
            coarse = self.rounded((saved.shift + saved.k)[:6], "coarsely_scaled")
            low = h.named(scaled + saved.zero_point, "r0")
            region = Mux(low <= 127, Mux(low < 0, 0, low), 128 + Mux(coarse > 127, 127, coarse))[
                :12
            ]
            wide = Mux(scaled > 2047, 2047, Mux(scaled < -2048, -2048, scaled))[:12]
            self._specified = h.named(Mux(saved.wide, wide, region), "specified")
        return self._specified

    def holds(self, register: int, saved: Any) -> list[Any]:
        """One bit for each fact about ``register``, 1 to 11."""
        h, lane, n = self.h, self.lane, saved.shift
        constants = {
            "multiplier": saved.multiplier,
            "shift_high": n[3:],
            "shift_low": n[:3],
            "zero_point": Mux(saved.wide, 0, saved.zero_point),
            "k_less_one": (saved.k - 1)[:2],
            "wide": saved.wide,
        }
        facts = [
            self.inside[f"{name}_{register}"] == constants[name]
            for name, last in _TRAVELS.items()
            if register <= last
        ]
        if register == 7:
            facts.append(lane["p_7"] == self.product)
        if register in (8, 9, 10):
            facts.append(lane[f"below_{register}"] == self.product[-1])
        doubled = Cat(Const(0, 1), self.product).as_signed()
        if register == 8:
            exact = h.named(doubled >> Cat(Const(0, 3), n[3:]), "exact_8")
            window = lane["window_8"]
            facts.append(Mux(lane["over_8"], ~_fits(exact, len(window)), exact == window))
        if register == 9:
            t = h.named(doubled >> n, "t_exact_9")
            facts.append(Mux(lane["over_9"], ~_fits(t, 13), lane["t_9"] == t))
        if register == 10:
            facts += self._sums(h.named(doubled >> n, "t_exact_10"), saved)
        if register == 11:
            facts.append(lane["code_11"] == self.specified(saved))
        return facts

    def _sums(self, t: Value, saved: Any) -> list[Any]:
        lane, over = self.lane, self.lane["over_10"]
        low = (t + 2 * Mux(saved.wide, 0, saved.zero_point) + 1) >> 1
        high = self.h.named(((t >> saved.k) + 1) >> 1, "high_exact")
        full = lane["full_10"]
        return [
            over == ~_fits(t, 13)[0],
            over | (lane["low_10"] == low),
            implies(over, full),
            implies(~over & (t >= 0), full == (high > 127)),
            implies(~over & (t >= 0) & ~full, lane["high_10"] == high),
        ]


def _fits(number: Any, width: int) -> Value:
    return (number >= -(1 << (width - 1))) & (number < (1 << (width - 1)))


def _cut_product(h: Harness, dut: SiluQuantizer, inside: Internals) -> tuple[_Code, Any, Any]:
    """Free the product; return (facts, the wire, its copy for the followed beat)."""
    wire = inside["lane_0.p"]
    h.cuts = ["dut.lane_0.p"]
    product = Signal(signed(32), name="product")
    for kind, number in ((h.assume, wire), (h.check, product)):
        kind("bounds", (number >= -0x8000 * 0xFFFF) & (number <= 0x7FFF * 0xFFFF))
    payload = dut.i.payload
    h.assume("z", payload.zero_point <= ZERO_POINT_MAX)
    h.assume("k", (payload.k >= 1) & (payload.k <= K_MAX))
    return _Code(h, inside, product), wire, product


def _keep_product(h: Harness, flow: Flow, wire: Any, product: Any) -> None:
    saved = flow.saved
    in_range = (saved.zero_point <= ZERO_POINT_MAX) & (saved.k >= 1) & (saved.k <= K_MAX)
    h.check("saved_constants", implies(flow.tracking, in_range))
    with h.m.If((flow.o.ready | ~flow.o.valid) & flow.markers[5]):
        h.m.d.sync += product.eq(wire)


def value() -> Harness:
    """The code for any product, M0 and v within their ranges, n0, z, k and mode."""
    h = Harness()
    dut = SiluQuantizer(lanes=1)
    inside = h.add("dut", dut)
    watch, wire, product = _cut_product(h, dut, inside)

    def right(saved: Any) -> Value:
        return dut.o.payload.codes[0] == watch.specified(saved)

    _keep_product(h, _followed(h, dut, inside, dut.o, watch.holds, right), wire, product)
    return h


def error() -> Harness:
    """A region code, decoded, is within half a step of the value, or the value is out of reach.

    Half a step is ``2**(n0-1)`` of the product below and ``2**(n0+k-1)`` in the upper region.
    """
    h = Harness()
    dut = SiluQuantizer(lanes=1, side_width=10)
    operand = Operand(rows=1)
    inside = h.add("dut", dut)
    h.add("operand", operand)
    o, decoded = dut.o.payload, operand.o.payload
    inputs = operand.i.payload
    for port in (operand.i.valid, operand.i.payload, dut.o.ready):
        h.close(port)
    h.m.d.comb += [
        operand.i.valid.eq(dut.o.valid),
        dut.o.ready.eq(operand.i.ready),
        inputs.codes[0].eq(o.codes[0]),
        inputs.zero_point.eq(o.side[:7]),
        inputs.k.eq(o.side[7:]),
        inputs.mode.eq(OperandMode.REGION),
    ]
    watch, wire, product = _cut_product(h, dut, inside)
    payload = dut.i.payload
    h.assume("side", (payload.side == Cat(payload.zero_point, payload.k)) & ~payload.wide)

    def near(saved: Any) -> Value:
        mantissa = Value.cast(decoded.mantissa[0])
        upper = decoded.flag[0]
        value = h.named(Mux(upper, mantissa << saved.k, mantissa), "decoded")
        difference = h.named((value << saved.shift) - product, "difference")
        step = h.named(Const(1, 1) << (saved.shift + Mux(upper, saved.k, 0)), "step")
        close = (2 * difference <= step) & (2 * difference > -step) | (difference == 0)
        lowest = ~upper & (mantissa + saved.zero_point == 0) & (difference > 0)
        highest = upper & (mantissa == 127) & (difference < 0)
        return h.named(close | lowest | highest, "near")

    box: list[Value] = []

    def near_once(saved: Any) -> Value:
        if not box:
            box.append(near(saved))
        return box[0]

    def holds(register: int, saved: Any) -> list[Any]:
        if register <= dut.latency:
            side = [inside[f"side_{register}"] == saved.side]
            return [*side, *watch.holds(register, saved)]
        return [near_once(saved), decoded.k == saved.k]

    flow = _followed(h, dut, inside, operand.o, holds, near_once, [operand.o.valid])
    saved = flow.saved
    travels = (saved.side == Cat(saved.zero_point, saved.k)) & ~saved.wide
    h.check("saved_side", implies(flow.tracking, travels))
    _keep_product(h, flow, wire, product)
    return h
