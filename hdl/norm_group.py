"""Constants of a group: ``1/sqrt`` of its variance times its size, and its mean in 33 bits."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.group_norm import ELEMENTS_MAX, ONE, RSQRT_SEEDS, SEED_FIRST, SEED_SHIFT

__all__ = ["GROUP_LAYOUT", "SUMS_LAYOUT", "NormGroup"]

LIMB = 17
ACC_BITS = 66
V_BITS = 64
S1_BITS = 32
S2_BITS = 48
MEAN_FRACTION = 33
DIVIDEND_BITS = S1_BITS + MEAN_FRACTION
MANTISSA_BITS = 32
SCALE_BITS = 2 * LIMB
PRODUCT_LATENCY = 2

SUMS_LAYOUT = data.StructLayout(
    {"S1": signed(S1_BITS), "S2": S2_BITS, "elements": LIMB, "E": V_BITS - 1}
)
"""Sums of a group, its elements (1..2**16), and E."""

GROUP_LAYOUT = data.StructLayout({"scale": SCALE_BITS, "e": 5, "mean": signed(50)})
"""``r * elements``, e, and ``floor(S1 * 2**33 / elements)``."""


class NormGroup(wiring.Component):
    """``V = N*S2 - S1**2 + E``, ``(r, e) = rsqrt(V)``, ``scale = r*N``, ``mean = S1*2**33 // N``.

    One multiplier of 18 x 18 takes 17-bit limbs one after the other; the division runs beside it, a
    bit a cycle. The multiplier's program, by cycle after a group was taken:

    ========  ==========================================================================
    cycle     does
    ========  ==========================================================================
    0..5      ``N*S2`` in three products, ``S1**2`` in three: V
    8..12     V shifted by 32, 16, 8, 4, 2 where so many upper bits are 0; e
    13        seed y of ``1/sqrt`` from 7 bits of the mantissa v
    14..      ``y**2``; ``v * (y**2 >> 16)``, the Newton step ``3 - v*y**2``; times y; r
    last      ``r*N``
    ========  ==========================================================================

    Source of the arithmetic: ``golden.group_norm.rsqrt`` and ``channel_constants``.

    Members
    -------
    i : stream of S1, S2, elements, E
    o : stream of scale, e, mean
    fault : Out(1)
        Pulse: V is not positive; nothing comes out.

    Timing
    ------
    66 cycles from a group to its constants, whatever the numbers; the next group after that.
    """

    i: stream.Interface
    o: stream.Interface
    fault: Signal

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(SUMS_LAYOUT)),
                "o": Out(stream.Signature(GROUP_LAYOUT)),
                "fault": Out(1),
            }
        )

    @property
    def latency(self):
        """Cycles from a taken group to ``o.valid``."""
        return DIVIDEND_BITS + 1

    def elaborate(self, platform):
        m = Module()
        held = Signal(SUMS_LAYOUT)
        running = Signal()
        cycle = Signal(range(DIVIDEND_BITS))
        takes = Signal()
        ends = Signal()
        m.d.comb += [
            self.i.ready.eq(~running & ~self.o.valid),
            takes.eq(self.i.valid & self.i.ready),
            ends.eq(running & (cycle == DIVIDEND_BITS - 1)),
        ]
        with m.If(takes):
            m.d.sync += [held.eq(self.i.payload), running.eq(1), cycle.eq(0)]
        with m.Elif(running):
            m.d.sync += cycle.eq((cycle + 1)[: len(cycle)])
        with m.If(ends):
            m.d.sync += [running.eq(0), self.o.valid.eq(1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        self._divide(m, takes, running, held)
        self._root(m, running, cycle, held)
        with m.If(self.fault):
            m.d.sync += running.eq(0)
        return m

    def _divide(self, m, takes, running, held):
        """``mean``: a quotient bit a cycle, of the magnitude; then its sign."""
        left = Signal(DIVIDEND_BITS)
        rest = Signal(LIMB + 1)
        quotient = Signal(50)
        grown = Signal(LIMB + 1)
        fits = Signal()
        first = self.i.payload.S1
        m.d.comb += [
            grown.eq(Cat(left[-1], rest)),
            fits.eq(grown >= held.elements),
        ]
        with m.If(takes):
            m.d.sync += [
                left.eq(Cat(Const(0, MEAN_FRACTION), Mux(first < 0, -first, first)[:S1_BITS])),
                rest.eq(0),
                quotient.eq(0),
            ]
        with m.Elif(running):
            m.d.sync += [
                left.eq(Cat(Const(0, 1), left)),
                rest.eq(Mux(fits, (grown - held.elements)[: len(rest)], grown)),
                quotient.eq(Cat(fits, quotient)),
            ]
        # the floor of a negative quotient is away from 0 unless it is whole
        below = Signal(signed(51))
        m.d.comb += below.eq(-(quotient + (rest != 0)))
        m.d.comb += self.o.payload.mean.eq(Mux(held.S1 < 0, below, quotient))

    def _root(self, m, running, cycle, held):
        """V, its mantissa and exponent, a Newton step, and the scale."""
        a, b = Signal(signed(LIMB + 1)), Signal(signed(LIMB + 1))
        product = Signal(signed(2 * LIMB + 2))
        acc = Signal(signed(ACC_BITS))
        m.d.sync += product.eq(a * b)

        size = Signal(S1_BITS)
        m.d.comb += size.eq(Mux(held.S1 < 0, -held.S1, held.S1)[:S1_BITS])
        wide = Signal(V_BITS)
        e = Signal(5)
        y = Signal(LIMB)
        seeds = Array(Const(seed, LIMB) for seed in RSQRT_SEEDS)
        square = Signal(LIMB)
        newton = Signal(2 * LIMB)
        r = Signal(LIMB)
        v = wide[V_BITS - MANTISSA_BITS :]
        step = {}  # cycle -> statements

        def at(number, *statements):
            step.setdefault(number, []).extend(statements)

        def multiply(number, left, right, shift=0, *, negative=False, clear=None):
            """A product enters in a cycle and is in ``acc`` after two more."""
            at(number, a.eq(left), b.eq(right))
            shifted = Cat(Const(0, shift), product).as_signed()
            base = acc if clear is None else clear
            total = base - shifted if negative else base + shifted
            at(number + PRODUCT_LATENCY, acc.eq(total[:ACC_BITS].as_signed()))

        low, high = size[:LIMB], size[LIMB:]
        multiply(0, held.elements, held.S2[:LIMB], clear=held.E)
        multiply(1, held.elements, held.S2[LIMB : 2 * LIMB], LIMB)
        multiply(2, held.elements, held.S2[2 * LIMB :], 2 * LIMB)
        multiply(3, low, low, negative=True)
        multiply(4, low, high, LIMB + 1, negative=True)
        multiply(5, high, high, 2 * LIMB, negative=True)
        at(8, wide.eq(acc[:V_BITS]), e.eq(V_BITS // 2 - 1))
        for number, places in enumerate((32, 16, 8, 4, 2)):
            empty = ~wide[V_BITS - places :].any()
            at(
                9 + number,
                wide.eq(Mux(empty, Cat(Const(0, places), wide)[:V_BITS], wide)),
                e.eq((e - Mux(empty, places // 2, 0))[:5]),
            )
        at(14, y.eq(seeds[(v[SEED_SHIFT:] - SEED_FIRST)[:7]]))
        multiply(15, y, y, clear=Const(0, 1))
        at(18, square.eq(acc[16 : 16 + LIMB]))
        multiply(19, v[:LIMB], square, clear=Const(0, 1))
        multiply(20, v[LIMB:], square, LIMB)
        at(23, newton.eq(((3 << 30) - acc[16 : 16 + 2 * LIMB])[: 2 * LIMB]))
        multiply(24, y, newton[:LIMB], clear=Const(0, 1))
        multiply(25, y, newton[LIMB:], LIMB)
        rounded = Signal(LIMB + 2)
        m.d.comb += rounded.eq((acc[14:] + (1 << 16)) >> 17)
        at(28, r.eq(Mux(rounded > ONE, ONE, rounded)))
        multiply(29, r, held.elements, clear=Const(0, 1))
        at(32, self.o.payload.scale.eq(acc[:SCALE_BITS]), self.o.payload.e.eq(e))

        m.d.comb += self.fault.eq(running & (cycle == 8) & (acc <= 0))
        with m.If(running), m.Switch(cycle):
            for number, statements in sorted(step.items()):
                with m.Case(number):
                    m.d.sync += statements


assert ELEMENTS_MAX < 1 << LIMB
