"""One lane of the sampler update: x of the next step, or the byte of a finished image."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LANE_LATENCY", "ROW_LAYOUT", "WIDTH", "SamplerLane"]

LANE_LATENCY = 10
WIDTH = 16
_COEFFICIENT_WIDTH = 32
_FRACTION = 20
_REACH_WIDTH = 15
_HALF = WIDTH  # bits of the lower half of a coefficient: an FPGA multiplier takes 18 bits signed
_PRODUCT_WIDTH = _COEFFICIENT_WIDTH + WIDTH
_ONE = 1 << 12  # 1.0 in Q3.12
_BYTE_FRACTION = 13

ROW_LAYOUT = data.StructLayout(
    {name: signed(_COEFFICIENT_WIDTH) for name in "pqabdc"} | {"reach": _REACH_WIDTH}
)
"""Constants of a sampler step: Q12.20, and the largest magnitude of x0."""


class SamplerLane(wiring.Component):
    """Estimate of x0, clamp, sum of four products, saturation; registers move with ``enable``.

    ========  ========================================================================
    register  holds
    ========  ========================================================================
    1         x, eps, noise
    2         partial products of p*x, q*eps, b*x, d*eps, c*noise, two each
    3         the five products, at most 2**46
    4         ``p*x + q*eps``, ``b*x + d*eps``, ``c*noise + 2**19``
    5         ``rsh(p*x + q*eps, 20)``; ``rest = b*x + d*eps + c*noise + 2**19``
    6         x0, clamped to +-reach
    7         partial products of a*x0
    8         a*x0
    9         ``(a*x0 + rest) >> 20``
    10        the same saturated to 16 bits, or the byte
    ========  ========================================================================

    The byte ``clamp(rsh((x + 4096) * 255, 13), 0, 255)``: register 2 holds ``x + 4096`` and
    ``x + 4112``, 3 holds ``256 * (x + 4112) - (x + 4096)``, which is the product and the half for
    rounding, 4 the byte.

    Members
    -------
    enable : In(1)
        Moves all registers.
    row : In(ROW_LAYOUT)
        Constants; they hold still while a value is on its way.
    x, eps, noise : In(signed(16)), Q3.12
        Operands of the beat that enters.
    image : In(1)
        Of the beat in register 9: its byte is wanted.
    value : Out(signed(16))
        Of the beat in register 10.
    """

    enable: Signal
    row: data.View
    x: Signal
    eps: Signal
    noise: Signal
    image: Signal
    value: Signal

    def __init__(self):
        super().__init__(
            {
                "enable": In(1),
                "row": In(ROW_LAYOUT),
                "x": In(signed(WIDTH)),
                "eps": In(signed(WIDTH)),
                "noise": In(signed(WIDTH)),
                "image": In(1),
                "value": Out(signed(WIDTH)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        def register(source, name):
            """Return ``source`` one step later; without reset, since a valid bit guards data."""
            copy = Signal(source.shape(), name=name, reset_less=True)
            with m.If(self.enable):
                m.d.sync += copy.eq(source)
            return copy

        def named(value, name):
            signal = Signal(value.shape(), name=name)
            m.d.comb += signal.eq(value)
            return signal

        def product(coefficient, factor, name):
            """Coefficient times int16 in two registers; |product| <= 2**46."""
            low = register(named(coefficient[:_HALF] * factor, f"{name}_low_next"), f"{name}_low")
            high = named(coefficient[_HALF:].as_signed() * factor, f"{name}_high_next")
            high = register(high, f"{name}_high")
            # The low bits of ``low`` are those of the product; only the rest is added.
            upper = Signal(signed(_PRODUCT_WIDTH - _HALF), name=f"{name}_upper")
            m.d.comb += upper.eq((high + low[_HALF:].as_signed())[: len(upper)].as_signed())
            return register(named(Cat(low[:_HALF], upper).as_signed(), f"{name}_next"), name)

        # 1
        x = register(self.x, "x_1")
        eps = register(self.eps, "eps_1")
        noise = register(self.noise, "noise_1")

        # 2, 3
        px = product(self.row.p, x, "px")
        qe = product(self.row.q, eps, "qe")
        bx = product(self.row.b, x, "bx")
        de = product(self.row.d, eps, "de")
        cn = product(self.row.c, noise, "cn")

        # 4: each sum of two is at most 2**47
        estimate = register(named(px + qe, "estimate"), "estimate_4")
        pair = register(named(bx + de, "pair"), "pair_4")
        half = Const(1 << (_FRACTION - 1), signed(_FRACTION + 1))
        rounded_noise = register(named(cn + half, "rounded_noise"), "rounded_noise_4")

        # 5: one bit below the result is kept, and one half added to it
        kept = named(estimate[_FRACTION - 1 :].as_signed(), "kept")
        doubled = named(kept + Const(1, signed(2)), "doubled")
        rounded = register(named(doubled[1:].as_signed(), "rounded"), "rounded_5")
        rest = register(named(pair + rounded_noise, "rest"), "rest_5")

        # 6
        reach = named(Cat(self.row.reach, Const(0, 1)).as_signed(), "reach")
        least = named((-reach)[:WIDTH].as_signed(), "least")
        clamped = Signal(signed(WIDTH))
        with m.If(rounded > reach):
            m.d.comb += clamped.eq(reach)
        with m.Elif(rounded < least):
            m.d.comb += clamped.eq(least)
        with m.Else():
            m.d.comb += clamped.eq(rounded[:WIDTH].as_signed())
        x0 = register(clamped, "x0_6")
        rest = register(rest, "rest_6")

        # 7, 8
        ax = product(self.row.a, x0, "ax")
        rest = register(rest, "rest_7")
        rest = register(rest, "rest_8")

        # 9: the sum of four products and a half is below 2**49
        total = named(ax + rest, "total")
        shifted = register(named(total[_FRACTION:].as_signed(), "shifted"), "shifted_9")

        # 10
        above = named(shifted[WIDTH - 1 :], "above")
        fits = named(above.all() | ~above.any(), "fits")
        limit = named(Cat((~shifted[-1]).replicate(WIDTH - 1), shifted[-1]), "limit")
        byte = self._byte(m, named, register, x)
        result = Signal(WIDTH)
        with m.If(self.image):
            m.d.comb += result.eq(byte)
        with m.Elif(fits):
            m.d.comb += result.eq(shifted[:WIDTH])
        with m.Else():
            m.d.comb += result.eq(limit)
        m.d.comb += self.value.eq(register(result, "value_10").as_signed())
        return m

    @staticmethod
    def _byte(m, named, register, x):
        """Byte of x, a register 1, beside the other beat in register 9."""
        shifted_x = register(named(x + Const(_ONE, signed(14)), "offset"), "offset_2")
        # 16 more, times 256, is the half of the rounding
        rounded_x = register(named(x + Const(_ONE + 16, signed(14)), "offset_16"), "offset_16_2")
        scaled = named(Cat(Const(0, 8), rounded_x).as_signed() - shifted_x, "scaled")
        level = register(named(scaled[_BYTE_FRACTION:].as_signed(), "level"), "level_3")
        clipped = Signal(8)
        m.d.comb += clipped.eq(Mux(level[-1], 0, Mux(level[8:].any(), 255, level[:8])))
        byte = register(clipped, "byte_4")
        for stage in range(5, LANE_LATENCY):
            byte = register(byte, f"byte_{stage}")
        return byte
