"""Scale of a softmax row: ``R = min(floor(2**(15 + w) / S), 65535)``, ``P = rsh(R * M, 16)``."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MULTIPLIER_WIDTH", "SHIFT_WIDTH", "RowReciprocal", "reciprocal_latency"]

MULTIPLIER_WIDTH = 16
SHIFT_WIDTH = 6
_QUOTIENT_BITS = 15  # below the leading one
_LEAST_BITS = 7  # of S: the largest numerator is 127
_AROUND = 5  # registers that are no step of the division


def reciprocal_latency():
    """Registers from S to P and n."""
    return _AROUND + _QUOTIENT_BITS


class RowReciprocal(wiring.Component):
    """One division a row, a quotient bit a register, so that rows may follow each other at once.

    ========  ========================================================================
    register  holds
    ========  ========================================================================
    1         S and its number of bits w
    2         ``D = S << (W - w)``, W = ``sum_width``: the leading one in the top bit
    3         remainder ``2**W - D``, of the quotient's leading one
    4..18     a quotient bit each: ``2r >= D``, and the remainder that it leaves
    19        ``R * M``
    20        ``P = rsh(R * M, 16)`` and ``n = w + shift - 1``
    ========  ========================================================================

    ``2**(15 + w) / S = 2**(15 + W) / D`` lies in (2**15, 2**16], so the leading one is known. It is
    2**16 only for ``D = 2**(W - 1)``; then the remainder stays D, every bit is 1, and R is 65535
    without a comparison.

    Parameters
    ----------
    sum_width : int
        Bits of S, 7..24.

    Members
    -------
    enable : In(1)
        Moves all registers.
    total : In(sum_width)
        S, at least 127.
    multiplier : In(16), shift : In(6)
        M_o and n_o, which hold still while a row is on its way; ``w + shift - 1`` is at most 47.
    P : Out(16), n : Out(6)
        Of the S twenty registers ago.
    """

    enable: Signal
    total: Signal
    multiplier: Signal
    shift: Signal
    P: Signal
    n: Signal

    def __init__(self, *, sum_width):
        self.sum_width = sum_width
        super().__init__(
            {
                "enable": In(1),
                "total": In(sum_width),
                "multiplier": In(MULTIPLIER_WIDTH),
                "shift": In(SHIFT_WIDTH),
                "P": Out(MULTIPLIER_WIDTH),
                "n": Out(SHIFT_WIDTH),
            }
        )

    @property
    def latency(self):
        """Cycles from S to P and n."""
        return reciprocal_latency()

    def elaborate(self, platform):
        m = Module()
        width = self.sum_width

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

        # 1
        bits = Signal(range(width + 1))
        for place in range(_LEAST_BITS - 1, width):
            with m.If(self.total[place]):
                m.d.comb += bits.eq(place + 1)
        total = register(self.total, "total_1")
        bits = register(bits, "bits_1")

        # 2
        left = named((width - bits)[: max(1, (width - _LEAST_BITS).bit_length())], "left")
        divisor = named((total << left)[:width], "divisor")
        divisor = register(divisor, "divisor_2")
        bits = register(bits, "bits_2")

        # 3: D is at least 2**(W - 1), so the remainder is at most that
        remainder = register(named((-divisor)[:width], "remainder_next"), "remainder_3")
        divisor = register(divisor, "divisor_3")
        bits = register(bits, "bits_3")

        # 4..18: the remainder is at most D, twice it one bit longer
        quotient = Const(1, 1)
        for step in range(_QUOTIENT_BITS):
            place = step + 4
            less = Signal(signed(width + 2), name=f"less_{place}")
            bit = Signal(name=f"bit_{place}")
            kept = Signal(width, name=f"kept_{place}")
            m.d.comb += [
                less.eq(Cat(Const(0, 1), remainder) - divisor),
                bit.eq(~less[-1]),
                kept.eq(Mux(bit, less[:width], Cat(Const(0, 1), remainder)[:width])),
            ]
            quotient = register(named(Cat(bit, quotient), f"next_{place}"), f"quotient_{place}")
            remainder = register(kept, f"remainder_{place}")
            divisor = register(divisor, f"divisor_{place}")
            bits = register(bits, f"bits_{place}")

        # 19, 20: R * M < 2**32
        product = register(named(quotient * self.multiplier, "product"), "product_19")
        bits = register(bits, "bits_19")
        doubled = named(product[MULTIPLIER_WIDTH - 1 :] + 1, "doubled")
        scale = named(doubled[1 : 1 + MULTIPLIER_WIDTH], "scale")
        shift = named((bits + self.shift - 1)[:SHIFT_WIDTH], "shift_next")
        m.d.comb += [self.P.eq(register(scale, "P_20")), self.n.eq(register(shift, "n_20"))]
        return m
