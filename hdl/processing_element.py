"""One cell of the array: two weights and a multiplier."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.mac_array import DECODES, PRODUCT_WIDTH
from golden.operand import K_MAX
from hdl.checks import check_choice

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
    """

    def __init__(self, *, decode="edge"):
        self.decode = check_choice("decode", decode, DECODES)
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
        return 1 if self.decode == "edge" else 2

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
        with m.If(self.enable):
            m.d.sync += raw.eq(active * self.operand)
        if self.decode == "edge":
            m.d.comb += self.product.eq(raw)
            return m

        shift = Signal(3)
        shifted = Signal(signed(PRODUCT_WIDTH))
        selected = Signal(signed(PRODUCT_WIDTH))
        m.d.comb += selected.eq(raw)
        for k in range(1, K_MAX + 1):
            with m.If(shift == k):
                m.d.comb += selected.eq((raw << k)[:PRODUCT_WIDTH].as_signed())
        with m.If(self.enable):
            m.d.sync += [shift.eq(self.shift), shifted.eq(selected)]
        m.d.comb += self.product.eq(shifted)
        return m
