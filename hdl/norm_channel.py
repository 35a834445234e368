"""Constants of a channel from those of its group: slope, offset, beta and shift of a norm lane."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.group_norm import GAMMA_FRACTION, SLOPE_BITS, U_FRACTION
from hdl.norm_group import GROUP_LAYOUT, LIMB, MEAN_FRACTION
from hdl.norm_lane import CONSTANTS_LAYOUT

__all__ = ["CHANNEL_LAYOUT", "NormChannel"]

ACC_BITS = 68
SLOPE_WIDE = 51  # |gamma * r * N| <= 2**48
POINT = 4  # of beta below u, as in norm_lane
CYCLES = 19

CHANNEL_LAYOUT = data.StructLayout(
    {"gamma": signed(16), "beta": signed(16), "group": GROUP_LAYOUT, "last": 1}
)
"""gamma and beta (Q4.11) of a channel, what is known of its group, and a mark that goes along."""


class NormChannel(wiring.Component):
    """``Am = rsh(gamma * scale, k)``, ``mean = (N//2 - S1*Am) // N``, ``F = 27 + e - k``.

    The division is one product: with ``M = floor(S1 * 2**33 / N)`` of the group,
    ``floor((2**32 - M'*Am) / 2**33)`` is the mean, where ``M' = M`` for a positive slope and
    ``M + 1`` for a negative one. ``M'*Am / 2**33`` lies below ``S1*Am / N`` by less than 2**-17,
    and what is rounded down is a multiple of ``1 / 2N >= 2**-17``; for odd N a half in place of
    ``(N//2) / N`` changes no floor, since ``2*S1*Am + N`` is odd.

    ========  ==========================================================================
    cycle     does
    ========  ==========================================================================
    0, 1      ``gamma * scale`` in two products
    5..10     the slope and its magnitude shifted by 32, 16 .. 1 while it is too long; k
    11        Am, M', shift
    12..14    ``M' * Am`` in three products
    17        mean, and for a shift below 4 beta within the offset
    ========  ==========================================================================

    Source of the formulas: ``golden.group_norm.channel_constants``; the form of the constants is
    that of :class:`~hdl.norm_lane.NormLane`.

    Members
    -------
    i : stream of gamma, beta, group, last
    o : stream of slope, offset, beta, shift, last
    fault : Out(1)
        Pulse: ``F`` is below 7; nothing comes out.

    Timing
    ------
    19 cycles from a channel to its constants, whatever the numbers; the next channel after that.
    """

    i: stream.Interface
    o: stream.Interface
    fault: Signal

    def __init__(self):
        layout = data.StructLayout({**CONSTANTS_LAYOUT.members, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(CHANNEL_LAYOUT)),
                "o": Out(stream.Signature(layout)),
                "fault": Out(1),
            }
        )

    @property
    def latency(self):
        """Cycles from a taken channel to ``o.valid``."""
        return CYCLES

    def elaborate(self, platform):
        m = Module()
        held = Signal(CHANNEL_LAYOUT)
        running = Signal()
        cycle = Signal(range(CYCLES))
        takes = Signal()
        shift = Signal(signed(8))
        m.d.comb += [
            self.i.ready.eq(~running & (self.o.ready | ~self.o.valid)),
            takes.eq(self.i.valid & self.i.ready),
            self.fault.eq(running & (cycle == CYCLES - 2) & (shift < 0)),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(takes):
            m.d.sync += [held.eq(self.i.payload), running.eq(1), cycle.eq(0)]
        with m.Elif(running):
            m.d.sync += cycle.eq((cycle + 1)[: len(cycle)])
            with m.If(self.fault):
                m.d.sync += running.eq(0)
            with m.Elif(cycle == CYCLES - 2):
                m.d.sync += [running.eq(0), self.o.valid.eq(1)]
        program = self._program(m, held, shift)
        with m.If(running), m.Switch(cycle):
            for number, statements in sorted(program.items()):
                with m.Case(number):
                    m.d.sync += statements
        m.d.comb += self.o.payload.last.eq(held.last)
        return m

    def _program(self, m, held, shift):
        """Return the statements of each cycle."""
        a, b = Signal(signed(LIMB + 1)), Signal(signed(LIMB + 1))
        product = Signal(signed(2 * LIMB + 2))
        m.d.sync += product.eq(a * b)
        acc = Signal(signed(ACC_BITS))
        slope = Signal(signed(SLOPE_WIDE + 1))  # a bit below the point
        size = Signal(SLOPE_WIDE)
        k = Signal(6)
        mean = Signal(signed(51))
        known = held.group
        out = self.o.payload
        scale = known.scale
        limbs = [mean[:LIMB], mean[LIMB : 2 * LIMB], mean[2 * LIMB :].as_signed()]

        def shifted(places):
            return Cat(Const(0, places), product).as_signed()

        rounded = Signal(signed(SLOPE_WIDE + 1))
        m.d.comb += rounded.eq((slope + 1) >> 1)
        half = Const(1 << (MEAN_FRACTION - 1), ACC_BITS)
        small = Signal(signed(16))  # beta below a short shift
        with m.Switch(shift[:2]):
            for number in range(POINT):
                with m.Case(number):
                    m.d.comb += small.eq(held.beta >> (POINT - number))

        def narrow(value):
            return value[:ACC_BITS].as_signed()

        steps = {
            0: [a.eq(held.gamma), b.eq(scale[:LIMB])],
            1: [a.eq(held.gamma), b.eq(scale[LIMB:])],
            2: [acc.eq(product)],
            3: [acc.eq(narrow(acc + shifted(LIMB)))],
            4: [
                slope.eq(Cat(Const(0, 1), acc[:SLOPE_WIDE])),
                size.eq(Mux(acc < 0, -acc, acc)[:SLOPE_WIDE]),
                k.eq(0),
            ],
        }
        for number, places in enumerate((32, 16, 8, 4, 2, 1)):
            long = size[SLOPE_BITS + places - 1 :].any()
            steps[5 + number] = [
                size.eq(Mux(long, size >> places, size)),
                slope.eq(Mux(long, slope >> places, slope)),
                k.eq((k + Mux(long, places, 0))[:6]),
            ]
        positive = known.mean + (rounded < 0)
        steps |= {
            11: [
                out.slope.eq(rounded[:17].as_signed()),
                mean.eq(positive),
                shift.eq(16 + GAMMA_FRACTION - U_FRACTION + known.e - k),
            ],
            12: [a.eq(out.slope), b.eq(limbs[0])],
            13: [a.eq(out.slope), b.eq(limbs[1])],
            14: [a.eq(out.slope), b.eq(limbs[2]), acc.eq(narrow(half - product))],
            15: [acc.eq(narrow(acc - shifted(LIMB)))],
            16: [acc.eq(narrow(acc - shifted(2 * LIMB)))],
            17: [
                out.offset.eq(
                    (acc[MEAN_FRACTION:].as_signed() + Mux(shift < POINT, small, 0))[:32]
                ),
                out.beta.eq(Mux(shift < POINT, 0, held.beta)),
                out.shift.eq(shift[:6]),
            ],
        }
        return steps
