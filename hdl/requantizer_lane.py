"""One lane of the requantizer: ``y = sat_w(rsh(acc * M, n) + b)`` in eight registers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.registered_multiplier import RegisteredMultiplier

__all__ = ["MULTIPLIER_WIDTH", "SHIFT_WIDTH", "RequantizerLane", "lane_latency"]

MULTIPLIER_WIDTH = 16
SHIFT_WIDTH = 6
# An FPGA multiplier takes 18 bits signed: a wider acc is split, for 32 bits into 15 unsigned and 17
# signed, which route 3 MHz better on ECP5 than 17 and 15.
_ONE_PRODUCT_WIDTH = 18
_LOW_WIDTH = 15
# For each of registers 4, 5, 6: (bits of n, what they shift by, what is left to shift after it).
_STEPS = (
    ((slice(4, 6), (0, 16, 32), 15),),
    ((slice(3, 4), (0, 8), 7), (slice(2, 3), (0, 4), 3)),
    ((slice(1, 2), (0, 2), 1), (slice(0, 1), (0, 1), 0)),
)


def lane_latency(acc_width):
    """Registers of a lane; one product needs no sum."""
    return 7 if acc_width <= _ONE_PRODUCT_WIDTH else 8


class RequantizerLane(wiring.Component):
    """Multiply, shift, round, add, saturate; every register moves with ``enable``.

    ========  ========================================================================
    register  holds
    ========  ========================================================================
    1         acc, M, n, b: the multipliers start and end at registers
    2         the two partial products
    3         ``P = acc * M``, exact
    4         ``floor(2P / 2**(16 * n[5:4]))`` in ``t_width`` + 15 bits
    5         the same shifted by ``4 * n[3:2]``, in ``t_width`` + 3 bits
    6         the same shifted by ``n[1:0]``: ``t = floor(2P / 2**n)`` in ``t_width`` bits
    7         ``(t + 2b + 1) >> 1 = rsh(P, n) + b``
    8         saturated value, and whether it was clipped
    ========  ========================================================================

    *Rounding.* Floor shifts compose and t keeps one bit below the result, so ``rsh(P, n) =
    (t + 1) >> 1`` for every n; n = 0 is ``t = 2P``.

    *Window.* Let ``top = max(out_width, bias_width)``, ``t_width = top + 2``. ``over`` is set where
    a dropped bit differs from the sign, that is, where t does not fit. Either ``t >= 2**(top+1)``,
    so ``rsh >= 2**top`` and with any b the sum is at least ``2**top - 2**(bias_width-1) >=
    2**(out_width-1)``: clipped high. Or ``t < -2**(top+1)``, so ``rsh <= -2**top``, and with a bias
    the sum is at most ``-2**top + 2**(bias_width-1) - 1 < -2**(out_width-1)``; without one it is at
    most ``-2**out_width``: clipped low. So ``over`` and the sign of P decide alone, whatever b: no
    bias brings back what a window has dropped.

    Parameters
    ----------
    acc_width, out_width, narrow_width, bias_width : int
        As in :class:`~hdl.requantizer.Requantizer`, which checks them. An acc of at most 18 bits
        takes one product, and register 3 is left out.
    registered : bool
        Registers 1 and 2 of the product are those of
        :class:`~hdl.registered_multiplier.RegisteredMultiplier`.

    Members
    -------
    enable : In(1)
        Moves all registers.
    acc, multiplier, shift, bias : In
        Operands of the beat that enters; shift is 0..47.
    narrow : In(1)
        Of the beat in register 7: saturate to ``narrow_width``.
    value : Out(signed(out_width)), saturated : Out(1)
        Of the beat in register 8.
    """

    enable: Signal
    acc: Signal
    multiplier: Signal
    shift: Signal
    bias: Signal
    narrow: Signal
    value: Signal
    saturated: Signal

    def __init__(self, *, acc_width, out_width, narrow_width, bias_width, registered=False):
        self.acc_width = acc_width
        self.out_width = out_width
        self.narrow_width = narrow_width
        self.bias_width = bias_width
        self.registered = registered
        self.t_width = max(out_width, bias_width) + 2
        self.bias_shape = signed(bias_width) if bias_width else unsigned(0)
        super().__init__(
            {
                "enable": In(1),
                "acc": In(signed(acc_width)),
                "multiplier": In(MULTIPLIER_WIDTH),
                "shift": In(SHIFT_WIDTH),
                "bias": In(self.bias_shape),
                "narrow": In(1),
                "value": Out(signed(out_width)),
                "saturated": Out(1),
            }
        )

    @property
    def latency(self):
        """Cycles from an operand to its value."""
        return lane_latency(self.acc_width)

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

        # 1: operands
        acc, multiplier = self.acc, self.multiplier
        if not self.registered:
            acc = register(acc, "acc_1")
            multiplier = register(multiplier, "multiplier_1")
        shift = register(self.shift, "shift_1")
        bias = register(self.bias, "bias_1")

        def product_of(part, name, register_name):
            """Return ``part * multiplier`` of register 2."""
            if not self.registered:
                return register(named(part * multiplier, name), register_name)
            block = RegisteredMultiplier(
                a_width=len(part) + (not part.shape().signed), b_width=MULTIPLIER_WIDTH + 1
            )
            m.submodules[name] = block
            m.d.comb += [block.enable.eq(self.enable), block.a.eq(part), block.b.eq(multiplier)]
            return block.product

        # 2, 3: product, |P| < 2**(acc_width + 15)
        product_width = self.acc_width + MULTIPLIER_WIDTH
        if self.acc_width <= _ONE_PRODUCT_WIDTH:
            product = product_of(acc, "product_next", "product_2")
        else:
            acc_low = named(acc[:_LOW_WIDTH], "acc_low")
            acc_high = named(acc[_LOW_WIDTH:].as_signed(), "acc_high")
            low = product_of(acc_low, "low_product", "low_2")
            high = product_of(acc_high, "high_product", "high_2")
            # The low bits of ``low`` are those of P; only the rest is added.
            upper = Signal(signed(product_width - _LOW_WIDTH))
            m.d.comb += upper.eq((high + low[_LOW_WIDTH:])[: len(upper)].as_signed())
            product = register(named(Cat(low[:_LOW_WIDTH], upper).as_signed(), "sum"), "product_3")
            shift = register(shift, "shift_2")
            bias = register(bias, "bias_2")
        shift = register(shift, "shift_3")
        bias = register(bias, "bias_3")

        # 4, 5, 6: t, in windows that need ``rest`` bits more than t for the shifts to come
        negative = product[-1]
        over = Const(0, 1)
        window = named(Cat(Const(0, 1), product).as_signed(), "doubled")
        for cycle, steps in enumerate(_STEPS, start=4):
            for select, amounts, rest in steps:
                window, lost = self._shifted(m, window, shift[select], amounts, self.t_width + rest)
                over = named(over | lost, f"over_{rest}")
            window = register(window, f"window_{cycle}")
            over = register(over, f"over_{cycle}")
            negative = register(negative, f"negative_{cycle}")
            bias = register(bias, f"bias_{cycle}")
            if rest:
                shift = register(shift[: rest.bit_length()], f"shift_{cycle}")

        # 7: |t| <= 2**(top + 1) and |2b + 1| < 2**top: one bit more than t holds the sum
        no_bias = Const(0, 1)  # a sign bit for the constant 1
        odd_bias = named(Cat(Const(1, 1), bias if len(bias) else no_bias).as_signed(), "odd_bias")
        doubled_sum = Signal(signed(self.t_width + 1))
        m.d.comb += doubled_sum.eq(window + odd_bias)
        rounded = register(named(doubled_sum[1:].as_signed(), "rounded"), "rounded_7")
        over = register(over, "over_7")
        negative = register(negative, "negative_7")

        # 8: saturate; the largest number has ones below its sign bit, the smallest zeros
        def fits(width):
            return rounded[width - 1 :].all() | ~rounded[width - 1 :].any()

        clipped = Signal()
        below = Signal()
        m.d.comb += [
            clipped.eq(over | ~Mux(self.narrow, fits(self.narrow_width), fits(self.out_width))),
            below.eq(Mux(over, negative, rounded[-1])),
        ]
        between = Mux(self.narrow, below, ~below)
        limit = Cat(
            (~below).replicate(self.narrow_width - 1),
            between.replicate(self.out_width - self.narrow_width),
            below,
        )
        value = Signal(signed(self.out_width))
        m.d.comb += value.eq(Mux(clipped, limit, rounded[: self.out_width]).as_signed())
        m.d.comb += [
            self.value.eq(register(value, "value_8")),
            self.saturated.eq(register(clipped, "saturated_8")),
        ]
        return m

    @staticmethod
    def _shifted(m, value, select, amounts, width):
        """Return (``value >> amounts[select]`` in ``width`` bits, 1 if it does not fit)."""
        width = min(width, len(value))
        shifted = Signal(signed(width), name=f"shifted_{amounts[1]}")
        lost = Signal(name=f"lost_{amounts[1]}")
        with m.Switch(select):
            for index, amount in enumerate(amounts):
                last = index == len(amounts) - 1
                with m.Default() if last else m.Case(index):
                    kept = value[amount : amount + width]
                    sign = value[-1].replicate(width - len(kept))
                    dropped = value[amount + width - 1 :]
                    m.d.comb += shifted.eq(Cat(kept, sign).as_signed())
                    if len(dropped) > 1:
                        m.d.comb += lost.eq(~(dropped.all() | ~dropped.any()))
        return shifted, lost
