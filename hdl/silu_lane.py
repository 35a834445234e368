"""One lane of the SiLU quantizer: int12 -> SiLU by pieces -> region code or 12 bits."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.silu_pieces import GRID_BITS, PIECES, SLOPE_FRACTION
from hdl.registered_multiplier import RegisteredMultiplier

__all__ = ["CODE_WIDTH", "INPUT_WIDTH", "SiluLane"]

INPUT_WIDTH = 12
CODE_WIDTH = 12
_VALUE_WIDTH = 16
_CELL_WIDTH = INPUT_WIDTH - GRID_BITS  # |u| = 2048 is cell 256: nine bits
_RAMP = 16 << SLOPE_FRACTION  # slope of max(u, 0): 2**(11 - 7) LSBs of v for an input step
_T_WIDTH = 13
_OPERAND_WIDTH = 18


class SiluLane(wiring.Component):
    """Magnitude, piece, line, scale, shift, code; every register moves with ``enable``.

    ========  ========================================================================
    register  holds
    ========  ========================================================================
    1         ``a = |u|`` and the sign of u
    2         number of the piece that a lies in
    3         slope and constant of the line of v: of ``-g``, and for u >= 0 of ``16a - g``
    4         the same, beside the multiplier
    5         slope * a
    6         ``v = (slope * a + constant) >> F``, the half of *round half up* in the constant
    7         ``p = v * M0``
    8         ``floor(2p / 2**n0)``, shifted by ``n0[4:3]``, 20 bits kept
    9         shifted by ``n0[2:0]``: ``t`` in 13 bits, and ``over`` if it does not fit
    10        ``r0 = ((t + 1) >> 1) + z`` and ``rsh(p, n0 + k)``
    11        the code
    ========  ========================================================================

    With ``registered``, registers 4 and 5 are those of a multiplier. So are two more behind v, and
    p has another behind those, since a multiplier may lie far from its lane: p is in register 9,
    all that follows two later.

    *Rounding.* Floor shifts compose and t keeps one bit below the result: ``rsh(p, n0) =
    (t + 1) >> 1`` and ``rsh(p, n0 + k) = ((t >> k) + 1) >> 1``.

    *Window.* t beyond -4096..4095 is only flagged. Above, rsh(p, n0) >= 2048: a wide code is 2047,
    r0 > 127, and rsh(p, n0 + k) >= 128, so the region code is 255. Below, rsh(p, n0) <= -2048: a
    wide code is -2048, and r0 < 0 gives 0.

    Parameters
    ----------
    segments : int
        Pieces of g, 16 or 32.
    registered : bool
        Both products are made in :class:`~hdl.registered_multiplier.RegisteredMultiplier`.

    Members
    -------
    enable : In(1)
        Moves all registers.
    u : In(signed(12))
        Input of the beat that enters.
    multiplier : In(16)
        M0 of the beat in register 6.
    shift_high : In(2), shift_low : In(3)
        ``n0[4:3]`` of the beat whose p is there, ``n0[2:0]`` of the beat one register on.
    zero_point : In(7), k_less_one : In(2)
        Of the beat whose t is there; the zero point is 0 for a wide beat.
    wide : In(1)
        Of the beat in the last register but one.
    code : Out(12)
        Of the beat in the last register: region code, or int12 as two's complement.
    """

    enable: Signal
    u: Signal
    multiplier: Signal
    shift_high: Signal
    shift_low: Signal
    zero_point: Signal
    k_less_one: Signal
    wide: Signal
    code: Signal

    def __init__(self, *, segments, registered=False):
        self.segments = segments
        self.registered = registered
        super().__init__(
            {
                "enable": In(1),
                "u": In(signed(INPUT_WIDTH)),
                "multiplier": In(16),
                "shift_high": In(2),
                "shift_low": In(3),
                "zero_point": In(7),
                "k_less_one": In(2),
                "wide": In(1),
                "code": Out(CODE_WIDTH),
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

        def registered_product(number, factor, name):
            """Return the signed ``number`` times the unsigned ``factor``, two steps later."""
            block = RegisteredMultiplier(a_width=len(number), b_width=len(factor) + 1)
            m.submodules[f"{name}_product"] = block
            m.d.comb += [block.enable.eq(self.enable), block.a.eq(number), block.b.eq(factor)]
            return block.product

        # 1: |-2048| = 2048 needs all twelve bits, unsigned
        sign = self.u[-1]
        flipped = named(self.u ^ sign.replicate(INPUT_WIDTH), "flipped")
        magnitude_next = named((flipped + sign)[:INPUT_WIDTH], "magnitude_next")
        magnitude = register(magnitude_next, "magnitude_1")
        negative = register(sign, "negative_1")

        # 2: the piece of each cell of 2**GRID_BITS inputs
        pieces = PIECES[self.segments]
        cell = named(magnitude[GRID_BITS:], "cell")
        piece = register(self._piece(m, cell), "piece_2")
        magnitude = register(magnitude, "magnitude_2")
        negative = register(negative, "negative_2")

        # 3: line of v; -g has slopes below 2**9 in size
        half = 1 << (SLOPE_FRACTION - 1)
        fall = named(self._lookup(piece, [-slope for slope in pieces.slopes]), "fall")
        constant = named(
            self._lookup(piece, [half - intercept for intercept in pieces.intercepts]), "constant"
        )
        slope = Signal(signed(12))
        m.d.comb += slope.eq(Mux(negative, fall, fall + _RAMP))
        slope = register(slope, "slope_3")
        constant = register(constant, "constant_3")
        magnitude = register(magnitude, "magnitude_3")

        # 4, 5: |slope * a| < 2**23; a line read from a table lies far from its multiplier
        if self.registered:
            product = registered_product(slope, magnitude, "slope")
        else:
            slope = register(slope, "slope_4")
            magnitude = register(magnitude, "magnitude_4")
            product = _product(m, slope, magnitude, "slope")
            product = register(named(product, "product"), "product_5")
        constant = register(register(constant, "constant_4"), "constant_5")

        # 6: -571 <= v <= 32752
        total = named(product + constant, "total")
        value = named(total[SLOPE_FRACTION:][:_VALUE_WIDTH].as_signed(), "v")

        # 6, 7: |v * M0| < 2**31
        value = register(value, "v_6")
        if self.registered:
            scaled = registered_product(value, self.multiplier, "v")
            scaled = register(named(scaled[:32].as_signed(), "p"), "p_9")
        else:
            scaled = _product(m, value, self.multiplier, "v")
            scaled = register(named(scaled[:32].as_signed(), "p"), "p_7")

        # 8, 9: t
        window = named(Cat(Const(0, 1), scaled).as_signed(), "doubled")
        below = scaled[-1]
        window, lost16 = _shifted(m, window, self.shift_high[1], 16, _T_WIDTH + 15)
        window, lost8 = _shifted(m, window, self.shift_high[0], 8, _T_WIDTH + 7)
        over = register(named(lost16 | lost8, "over_8_next"), "over_8")
        below = register(below, "below_8")
        window = register(window, "window_8")
        lost = over
        for bit in (2, 1, 0):
            amount = 1 << bit
            window, lost_here = _shifted(m, window, self.shift_low[bit], amount, 12 + amount)
            lost = lost | lost_here
        t = register(window, "t_9")
        over = register(named(lost, "over_9_next"), "over_9")
        below = register(below, "below_9")

        # 10: -4096 + 1 <= t + 2z + 1 <= 4095 + 255
        offset = Cat(Const(1, 1), self.zero_point, Const(0, 1)).as_signed()
        doubled_sum = named(t + offset, "doubled_sum")
        low = register(named(doubled_sum[1:].as_signed(), "low"), "low_10")
        # The upper region has t > 0, so t >> k, k >= 1, is read without its sign.
        half_t = named(t[1:-1], "half_t")
        quarter = named(Mux(self.k_less_one[1], half_t[2:], half_t[:9]), "quarter")
        coarse = named(Mux(self.k_less_one[0], quarter[1:], quarter[:8]), "coarse")
        beyond = Signal()
        m.d.comb += beyond.eq(
            (~self.k_less_one[1] & half_t[9:].any()) | (~self.k_less_one[0] & quarter[8])
        )
        high_next = named((coarse[1:] + coarse[0])[:8], "high_next")
        high = register(high_next[:7], "high_10")
        full = register(named(beyond | high_next[7] | over, "full"), "full_10")
        over = register(over, "over_10")
        below = register(below, "below_10")

        # 11: where t was out of its window, ``low`` and ``high`` mean nothing
        negative = named(Mux(over, below, low[-1]), "negative")
        upper = named(~negative & (over | low[7:-1].any()), "upper")
        clipped = named(over | (low[11] & ~low[-1]), "clipped")
        zeros, ones, use_high = Signal(), Signal(), Signal()
        m.d.comb += [
            zeros.eq(Mux(self.wide, clipped, 1) & negative),
            ones.eq(Mux(self.wide, clipped, upper & full) & ~negative),
            use_high.eq(~self.wide & upper),
        ]
        code = Signal(CODE_WIDTH)
        with m.If(zeros):
            m.d.comb += code[:7].eq(0)
        with m.Elif(ones):
            m.d.comb += code[:7].eq(0x7F)
        with m.Elif(use_high):
            m.d.comb += code[:7].eq(high)
        with m.Else():
            m.d.comb += code[:7].eq(low[:7])
        with m.If(~self.wide):
            m.d.comb += code[7:].eq(upper)
        with m.Elif(clipped):
            m.d.comb += code[7:].eq(Cat((~negative).replicate(4), negative))
        with m.Else():
            m.d.comb += code[7:].eq(low[7:12])
        m.d.comb += self.code.eq(register(code, "code_11"))
        return m

    def _piece(self, m, cell):
        """Number of the piece: how many knots are passed."""
        knots = PIECES[self.segments].knots
        table = [sum(knot <= index for knot in knots) - 1 for index in range(256)]
        width = (len(knots) - 1).bit_length()
        # |u| = 2048, the only input with the top bit of the cell set, is in the last piece.
        piece = Signal(width)
        looked_up = self._lookup(cell[:-1], table)[:width]
        m.d.comb += piece.eq(Mux(cell[-1], len(knots) - 1, looked_up))
        return piece

    @staticmethod
    def _lookup(index, values):
        """``values[index]``: each bit is a column of the table, read by the index."""
        width = max(value.bit_length() for value in values) + 1
        columns = [
            sum(((value >> bit) & 1) << row for row, value in enumerate(values))
            for bit in range(width)
        ]
        return Cat(
            Const(column, len(values)).bit_select(index, 1) for column in columns
        ).as_signed()


def _product(m, number, factor, name):
    """Return the signed ``number`` times the unsigned ``factor``, exact.

    ``number`` takes the high end of an 18-bit operand: at the low end its sign would drive several
    pins of an FPGA's multiplier, which costs 2 MHz of routing. Zeros below cost no gate.
    """
    zeros = Const(0, _OPERAND_WIDTH - len(number))
    aligned = Signal(signed(_OPERAND_WIDTH), name=f"{name}_aligned")
    product = Signal(signed(_OPERAND_WIDTH + len(factor)), name=f"{name}_product")
    m.d.comb += [aligned.eq(Cat(zeros, number).as_signed()), product.eq(aligned * factor)]
    return product[len(zeros) :].as_signed()


def _shifted(m, value, select, amount, width):
    """Return (``value >> (amount if select else 0)`` in ``width`` bits, 1 if it does not fit)."""
    shifted = Signal(signed(width), name=f"shifted_{amount}")
    lost = Signal(name=f"lost_{amount}")

    def misfit(bits):
        return ~(bits.all() | ~bits.any()) if len(bits) > 1 else Const(0, 1)

    long = value[amount : amount + width]
    m.d.comb += [
        shifted.eq(
            Mux(
                select, Cat(long, value[-1].replicate(width - len(long))), value[:width]
            ).as_signed()
        ),
        lost.eq(Mux(select, misfit(value[amount + width - 1 :]), misfit(value[width - 1 :]))),
    ]
    return shifted, lost
