"""One lane of the norm: ``u = sat12((((x*slope + offset) * 16 >> shift) + beta + 8) >> 4)``."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CONSTANTS_LAYOUT", "LANE_LATENCY", "U_WIDTH", "X_WIDTH", "NormLane"]

LANE_LATENCY = 7
X_WIDTH = 16
U_WIDTH = 12
_FINE = 3  # bits of the shift that its second half takes
_POINT = 4  # bits of beta below those of u
_TOTAL_WIDTH = 33  # |x*slope| <= 2**30, |offset| <= 2**30 + 2**15
_WIDE = _TOTAL_WIDTH + _POINT

CONSTANTS_LAYOUT = data.StructLayout(
    {"slope": signed(17), "offset": signed(32), "beta": signed(16), "shift": 6}
)
"""Constants of a channel: |slope| <= 2**15, |offset| <= 2**30 + 2**15, shift 0..50."""


class NormLane(wiring.Component):
    """``rsh(x*Am + B, F - 7)`` with no word longer than 38 bits; registers move with ``enable``.

    With ``shift = F - 7`` and ``B = offset + beta * 2**(shift - 4)`` both roundings fall together:
    ``floor((y + beta * 2**(shift-4) + 2**(shift-1)) / 2**shift)`` with ``y = x*Am + offset`` is
    ``floor((floor(16*y / 2**shift) + beta + 8) / 16)``, where 16 divides ``2**shift``. Below shift
    4 the whole of B is ``offset``, ``beta`` is 0, and ``(16*y >> shift) + 8 >> 4`` is the same.

    ========  ==================================================  ==================
    register  holds                                               constant beside it
    ========  ==================================================  ==================
    1         x                                                   slope
    2         ``x*slope``                                         offset
    3         ``y = x*slope + offset``                            shift / 8
    4         ``16*y`` shifted by multiples of 8                  shift % 8
    5         ``16*y >> shift``                                   beta
    6         the same, plus ``beta + 8``
    7         u
    ========  ==================================================  ==================

    Members
    -------
    enable : In(1)
        Moves all registers.
    first : In(5)
        Bit j: the beat that enters register j + 1 is the first of a chunk; it takes the constant of
        that register from ``constants``.
    constants : In(CONSTANTS_LAYOUT)
        Constants of the chunk, until its first beat is in register 5.
    x : In(signed(16))
        Of the beat that enters.
    u : Out(signed(12))
        Of the beat in register 7.
    """

    enable: Signal
    first: Signal
    constants: data.View
    x: Signal
    u: Signal

    def __init__(self):
        super().__init__(
            {
                "enable": In(1),
                "first": In(5),
                "constants": In(CONSTANTS_LAYOUT),
                "x": In(signed(X_WIDTH)),
                "u": Out(signed(U_WIDTH)),
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

        def constant(source, number, name):
            """Return ``source`` as the chunk in register ``number`` has it."""
            copy = Signal(source.shape(), name=name, reset_less=True)
            with m.If(self.enable & self.first[number - 1]):
                m.d.sync += copy.eq(source)
            return copy

        def named(value, name):
            signal = Signal(value.shape(), name=name)
            m.d.comb += signal.eq(value)
            return signal

        given = self.constants
        # 1, 2
        x = register(self.x, "x_1")
        slope = constant(given.slope, 1, "slope")
        product = register(named(x * slope, "product_next"), "product")

        # 3
        offset = constant(given.offset, 2, "offset")
        total = Signal(signed(_TOTAL_WIDTH))
        m.d.comb += total.eq((product + offset)[:_TOTAL_WIDTH].as_signed())
        total = register(total, "total_3")

        # 4, 5
        coarse = constant(given.shift[_FINE:], 3, "coarse")
        fine = constant(given.shift[:_FINE], 4, "fine")
        wide = named(Cat(Const(0, _POINT), total).as_signed(), "wide")
        places = named(Cat(Const(0, _FINE), coarse), "places")
        wide = register(named(wide >> places, "wide_coarse"), "wide_4")
        wide = register(named(wide >> fine, "wide_fine"), "wide_5")

        # 6
        beta = constant(given.beta, 5, "beta")
        half = Const(1 << (_POINT - 1), signed(_POINT + 1))
        affine = named(wide + beta + half, "affine_next")
        affine = register(named(affine[_POINT : _WIDE + 1].as_signed(), "level_next"), "level")

        # 7: it fits where all bits from u's sign up are equal
        above = named(affine[U_WIDTH - 1 :], "above")
        fits = named(above.all() | ~above.any(), "fits")
        limit = named(Cat((~affine[-1]).replicate(U_WIDTH - 1), affine[-1]), "limit")
        result = Signal(U_WIDTH)
        m.d.comb += result.eq(Mux(fits, affine[:U_WIDTH], limit))
        m.d.comb += self.u.eq(register(result, "u_7").as_signed())
        return m
