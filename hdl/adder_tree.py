"""Exact sum of one column's products."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.mac_array import PRODUCT_WIDTH, sum_width
from hdl.checks import check_size

__all__ = ["AdderTree"]


class AdderTree(wiring.Component):
    """``sum = terms[0] + ... + terms[rows - 1]`` in ``ceil(log2(rows))`` levels.

    Parameters
    ----------
    rows : int
        Number of terms, 1..64.
    pipeline : int
        Levels of adders between two registers, 1 or more.

    Members
    -------
    enable : the pipeline moves
    terms : rows x 20 bits signed
    sum : 20 + ceil(log2(rows)) bits signed: each level needs one bit more

    Timing
    ------
    ``latency`` registers, ``ceil(levels / pipeline)``; 0 for one row.
    """

    def __init__(self, *, rows, pipeline=1):
        self.rows = check_size("rows", rows, 1, 64)
        self.pipeline = check_size("pipeline", pipeline, 1, 6)
        super().__init__(
            {
                "enable": In(1),
                "terms": In(data.ArrayLayout(signed(PRODUCT_WIDTH), rows)),
                "sum": Out(signed(sum_width(rows))),
            }
        )

    @property
    def latency(self):
        """Registers between ``terms`` and ``sum``."""
        levels = (self.rows - 1).bit_length()
        return -(-levels // self.pipeline)

    def elaborate(self, platform):
        m = Module()
        values = [self.terms[row] for row in range(self.rows)]
        width = PRODUCT_WIDTH
        level = 0
        while len(values) > 1:
            level += 1
            width += 1
            registered = level % self.pipeline == 0 or len(values) == 2
            sums = []
            for index in range(0, len(values), 2):
                total = Signal(signed(width), name=f"level{level}_{index // 2}")
                pair = values[index : index + 2]
                if registered:
                    with m.If(self.enable):
                        m.d.sync += total.eq(sum(pair[1:], pair[0]))
                else:
                    m.d.comb += total.eq(sum(pair[1:], pair[0]))
                sums.append(total)
            values = sums
        m.d.comb += self.sum.eq(values[0])
        return m
