"""One cell of the array: two weights and a multiplier."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.mac_array import DECODES, MULTIPLIERS, PRODUCT_WIDTH
from golden.operand import K_MAX
from hdl.checks import check_choice
from hdl.registered_multiplier import RegisteredMultiplier

__all__ = ["ProcessingElement"]

WIDE_OPERAND_WIDTH = 12  # int8 << 4


class ProcessingElement(wiring.Component):
    """``product = active * operand``, with the next weight waiting in a shadow register.

    The shadow registers of a column form a shift chain, so loading needs no address. ``swap``
    copies shadow to active; both may happen in one cycle, as the old shadow is copied.

    Parameters
    ----------
    decode : str
        ``edge``: ``operand`` is the decoded int12. ``product_shift``: ``operand`` is the int8
        mantissa and ``shift`` (0..4) is applied to the product, one register later.
    multiplier : str
        ``inferred``: a product behind a register. ``mult18x18d``: operands are registered too, one
        register more; on an ECP5 all of them lie in the multiplier.

    Members
    -------
    enable : the pipeline of the array moves
    load, weight_in (int8), weight_out (int8) : one step of the column's shift chain
    swap : the shadow becomes active at this clock edge
    operand : int12 (``edge``) or int8
    shift : 3 bits, sampled together with ``operand``; only with ``product_shift``
    product : 20 bits signed, exact for every int8 weight and int12 operand

    Timing
    ------
    ``edge``: one register (product). ``product_shift``: two (product, shifted product).
    ``mult18x18d``: one more (operands).
    """

    def __init__(self, *, decode="edge", multiplier="inferred"):
        self.decode = check_choice("decode", decode, DECODES)
        self.multiplier = check_choice("multiplier", multiplier, MULTIPLIERS)
        self.operand_width = WIDE_OPERAND_WIDTH if decode == "edge" else 8
        ports = {
            "enable": In(1),
            "load": In(1),
            "swap": In(1),
            "weight_in": In(signed(8)),
            "weight_out": Out(signed(8)),
            "operand": In(signed(self.operand_width)),
            "product": Out(signed(PRODUCT_WIDTH)),
        }
        if decode == "product_shift":
            ports["shift"] = In(3)
        super().__init__(ports)

    @property
    def latency(self):
        """Registers between ``operand`` and ``product``."""
        return 1 + (self.decode == "product_shift") + (self.multiplier == "mult18x18d")

    def elaborate(self, platform):
        m = Module()
        shadow = Signal(signed(8))
        active = Signal(signed(8))
        m.d.comb += self.weight_out.eq(shadow)
        with m.If(self.load):
            m.d.sync += shadow.eq(self.weight_in)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)

        product_width = 8 + self.operand_width
        raw = Signal(signed(product_width))
        if self.multiplier == "mult18x18d":
            m.submodules.multiplier = multiplier = RegisteredMultiplier(b_width=self.operand_width)
            m.d.comb += [
                multiplier.enable.eq(self.enable),
                multiplier.a.eq(active),
                multiplier.b.eq(self.operand),
                raw.eq(multiplier.product),
            ]
        else:
            with m.If(self.enable):
                m.d.sync += raw.eq(active * self.operand)
        if self.decode == "edge":
            m.d.comb += self.product.eq(raw)
            return m

        delayed = self.shift
        if self.multiplier == "mult18x18d":
            operand_shift = Signal(3)
            with m.If(self.enable):
                m.d.sync += operand_shift.eq(self.shift)
            delayed = operand_shift
        shift = Signal(3)
        shifted = Signal(signed(PRODUCT_WIDTH))
        selected = Signal(signed(PRODUCT_WIDTH))
        m.d.comb += selected.eq(raw)
        for k in range(1, K_MAX + 1):
            with m.If(shift == k):
                m.d.comb += selected.eq((raw << k)[:PRODUCT_WIDTH].as_signed())
        with m.If(self.enable):
            m.d.sync += [shift.eq(delayed), shifted.eq(selected)]
        m.d.comb += self.product.eq(shifted)
        return m
