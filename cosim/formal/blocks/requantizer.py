"""Requantizer: its stream, its counter, and its value for every acc, M, n and b.

The multiplication is split, since a solver of bit vectors is lost in 32 x 16 bits:

1. ``products``: the operands of a beat meet at the multipliers, which give ``low = acc[:15] * M``
   and ``high = acc[15:] * M``.
2. ``sum_of_products``: ``low + 2**15 * high = acc * M`` for all integers, with ``acc = 2**15 *
   acc[15:] + acc[:15]``, and both stay within the bounds that the next proof takes for granted.
3. ``value``: for *any* low and high within these bounds, what leaves is ``sat_w(rsh(low + 2**15 *
   high, n) + b)`` and whether it was clipped.

An acc of at most 18 bits has one product, and any value of it within its bounds is followed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed

from cosim.formal.flow import Flow, Stages
from cosim.formal.harness import Harness, Internals, every, implies, ones
from golden.numbers import SHIFT_MAX
from hdl.requantizer import Requantizer

__all__ = ["counter", "products", "stream", "sum_of_products", "value"]

LOW = 15
SIDE = 3
LARGEST = 0xFFFF  # M


def _followed(
    h: Harness,
    dut: Requantizer,
    inside: Internals,
    lane_holds: Callable[[int, Any], Sequence[Any]],
    expect: Callable[[Any], Any],
) -> Flow:
    """Follow a beat through the registers 1..latency."""
    latency = dut.latency
    flow = Flow(h, "beat", dut.i, dut.o, capacity=latency, wait=latency - 1, expect=expect)
    narrow, valid = inside["narrow"], inside["valid"]

    def holds(s: int, saved: Any) -> Value:
        narrow_travels = narrow[s] == saved.narrow if s < latency - 1 else 1
        return every([narrow_travels, *lane_holds(s + 1, saved)])

    flow.follow(Stages([valid[s] for s in range(latency)], holds))
    return flow


def stream() -> Harness:
    """Every beat comes out once, in order, whatever the stalls."""
    h = Harness()
    dut = Requantizer(lanes=1, side_width=SIDE)
    inside = h.add("dut", dut)
    _followed(
        h,
        dut,
        inside,
        lambda register, saved: [inside[f"side_{register}"] == saved.side],
        lambda saved: dut.o.payload.side == saved.side,
    )
    h.check("ready", dut.i.ready == (dut.o.ready | ~dut.o.valid))
    return h


def counter(lanes: int = 2, width: int = 8) -> Harness:
    """``saturations`` counts the clipped elements of delivered beats and stays at its largest."""
    h = Harness()
    dut = Requantizer(lanes=lanes, count_width=width)
    inside = h.add("dut", dut)
    h.cuts = ["dut.saturated"]
    leaves = dut.o.valid & dut.o.ready
    pending = Signal(range(lanes + 1), name="pending")
    total = Signal(width, name="total")
    largest = (1 << width) - 1
    with h.m.If(dut.clear):
        h.m.d.sync += [pending.eq(0), total.eq(0)]
    with h.m.Else():
        added = h.named(total + pending, "added")
        h.m.d.sync += [
            pending.eq(Mux(leaves, ones(list(inside["saturated"])), 0)),
            total.eq(Mux(added > largest, largest, added)[:width]),
        ]
    h.check("counts", dut.saturations == total)
    h.check("pending", inside["delivered"] == pending)
    h.cover("counted", dut.saturations == 3)
    return h


def products() -> Harness:
    """The operands of a beat meet at the multipliers, whose wires are the two products."""
    h = Harness()
    dut = Requantizer(lanes=1)
    inside = h.add("dut", dut)
    lane = inside.child("lane_0")

    def holds(register: int, saved: Any) -> list[Any]:
        if register > 1:
            return []
        return [lane["acc_1"] == saved.acc[0], lane["multiplier_1"] == saved.multiplier[0]]

    _followed(h, dut, inside, holds, lambda _: 1)
    # the same cell as the block's: yosys merges both, so no solver has to multiply
    acc, multiplier = lane["acc_1"], lane["multiplier_1"]
    h.check("low", lane["low_product"] == acc[:LOW] * multiplier)
    h.check("high", lane["high_product"] == acc[LOW:].as_signed() * multiplier)
    return h


def _bounds(acc_width: int) -> list[tuple[int, int]]:
    """Smallest and largest value of each product."""
    if acc_width <= 18:
        return [(-(1 << (acc_width - 1)) * LARGEST, ((1 << (acc_width - 1)) - 1) * LARGEST)]
    top = 1 << (acc_width - LOW - 1)
    return [(0, ((1 << LOW) - 1) * LARGEST), (-top * LARGEST, (top - 1) * LARGEST)]


def sum_of_products(acc_width: int = 32) -> str:
    """Return "" if the two products add up to the whole one for all integers, else what fails."""
    import z3  # noqa: PLC0415 (only this proof needs it as a library)

    low, high, multiplier = z3.Ints("low high multiplier")
    top = 1 << (acc_width - LOW - 1)
    operands = z3.And(
        *(low >= 0, low < 1 << LOW, high >= -top, high < top),
        *(multiplier >= 0, multiplier <= LARGEST),
    )
    products = (low * multiplier, high * multiplier)
    acc = high * (1 << LOW) + low
    claims = {"sum": acc * multiplier == products[0] + (1 << LOW) * products[1]}
    for name, product, (least, most) in zip(
        ("low", "high"), products, _bounds(acc_width), strict=True
    ):
        claims[f"bounds of {name}"] = z3.And(product >= least, product <= most)
    for name, claim in claims.items():
        solver = z3.Solver()
        solver.add(operands, z3.Not(claim))
        if solver.check() != z3.unsat:
            return name
    return ""


def value(acc_width: int = 32, **parameters: int) -> Harness:
    """The value for any products; the wires of the products are cut and take any value."""
    h = Harness()
    dut = Requantizer(lanes=1, acc_width=acc_width, **parameters)
    inside = h.add("dut", dut)
    lane = inside.child("lane_0")
    names = ["product_next"] if acc_width <= 18 else ["low_product", "high_product"]
    h.cuts = [f"dut.lane_0.{name}" for name in names]
    bounds = _bounds(acc_width)
    now = [lane[name] for name in names]
    kept = [Signal.like(wire, name=f"saved_{name}") for wire, name in zip(now, names, strict=True)]
    h.assume("shift", dut.i.payload.shift[0] <= SHIFT_MAX)
    for kind, wires in ((h.assume, now), (h.check, kept)):
        inside_bounds = [
            (wire >= least) & (wire <= most)
            for wire, (least, most) in zip(wires, bounds, strict=True)
        ]
        kind("bounds", every(inside_bounds))
    product = Signal(signed(acc_width + 16), name="product")
    h.m.d.comb += product.eq(kept[0] if len(kept) == 1 else kept[0] + (kept[1] << LOW))
    watch = _Value(h, dut, lane, product, kept)
    flow = _followed(h, dut, inside, watch.holds, watch.right)
    h.check("saved_shift", implies(flow.tracking, flow.saved.shift[0] <= SHIFT_MAX))
    with h.m.If((dut.o.ready | ~dut.o.valid) & flow.markers[0]):
        h.m.d.sync += [copy.eq(wire) for copy, wire in zip(kept, now, strict=True)]
    return h


class _Value:
    """What the registers of a lane hold of a beat whose product is ``product``."""

    def __init__(
        self, h: Harness, dut: Requantizer, lane: Internals, product: Any, kept: Sequence[Any]
    ) -> None:
        self.h, self.dut, self.lane, self.product, self.kept = h, dut, lane, product, kept
        self.t_width = max(dut.out_width, dut.bias_width) + 2
        self._specified: tuple[Value, Value] | None = None

    def specified(self, saved: Any) -> tuple[Value, Value]:
        """``sat_w(floor((P + 2**(n-1)) / 2**n) + b)`` and whether it clips, as it is written."""
        if self._specified is None:
            h, dut, n = self.h, self.dut, saved.shift[0]
            half = h.named(Mux(n == 0, 0, Const(1, 1) << (n - 1)[:6])[:SHIFT_MAX], "half")
            exact = h.named(h.named(self.product + half, "a_plus_half") >> n, "rsh")
            if dut.bias_width:
                exact = h.named(exact + saved.bias[0], "rsh_plus_bias")
            limits = [(1 << (width - 1)) - 1 for width in (dut.narrow_width, dut.out_width)]
            most = Signal(signed(dut.out_width), name="most")
            h.m.d.comb += most.eq(Mux(saved.narrow, *limits))
            least = h.named(-1 - most, "least")
            high, low = exact > most, exact < least
            clipped = Mux(high, most, Mux(low, least, exact))
            self._specified = (h.named(clipped, "specified"), h.named(high | low, "clips"))
        return self._specified

    def right(self, saved: Any) -> Value:
        wanted, clips = self.specified(saved)
        got = self.dut.o.payload["values"][0]
        return every([got == wanted, self.lane["saturated"] == clips])

    def holds(self, register: int, saved: Any) -> list[Any]:
        """One bit for each fact about ``register``, 1 to the latency."""
        lane, one_product = self.lane, len(self.kept) == 1
        label = register + (one_product and register >= 2)
        if register == self.dut.latency:
            return [self.right(saved)]
        if label == 7:
            return self._rounded(saved)
        if label >= 4:
            return self._window(label, saved)
        facts = [lane[f"shift_{label}"] == saved.shift[0]]
        if self.dut.bias_width:
            facts.append(lane[f"bias_{label}"] == saved.bias[0])
        if label == 2:
            facts += [lane["low_2"] == self.kept[0], lane["high_2"] == self.kept[1]]
        if label == 3:
            facts.append(lane["product_2" if one_product else "product_3"] == self.product)
        return facts

    def _doubled(self) -> Value:
        return Cat(Const(0, 1), self.product).as_signed()

    def _window(self, label: int, saved: Any) -> list[Any]:
        """Floor of 2P shifted by the high bits of n, or ``over`` if that does not fit."""
        lane, n = self.lane, saved.shift[0]
        left = {4: 4, 5: 2, 6: 0}[label]
        exact = self.h.named(self._doubled() >> Cat(Const(0, left), n[left:]), f"exact_{label}")
        window, over = lane[f"window_{label}"], lane[f"over_{label}"]
        facts = [
            lane[f"negative_{label}"] == self.product[-1],
            Mux(over, ~_fits(exact, len(window)), exact == window),
        ]
        if left:
            facts.append(lane[f"shift_{label}"] == n[:left])
        if self.dut.bias_width:
            facts.append(lane[f"bias_{label}"] == saved.bias[0])
        return facts

    def _rounded(self, saved: Any) -> list[Any]:
        lane = self.lane
        t = self.h.named(self._doubled() >> saved.shift[0], "t")
        total = t + 2 * saved.bias[0] + 1 if self.dut.bias_width else t + 1
        return [
            lane["negative_7"] == self.product[-1],
            Mux(lane["over_7"], ~_fits(t, self.t_width), lane["rounded_7"] == (total >> 1)),
        ]


def _fits(number: Any, width: int) -> Value:
    return (number >= -(1 << (width - 1))) & (number < (1 << (width - 1)))
