"""Scales of softmax's rows: {multiplier, shift} of each row of a block, in two banks."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.array_layouts import scale_read_signature
from hdl.checks import check_size

__all__ = ["RowScales", "scale_write_signature"]

MULTIPLIER_BITS, SHIFT_BITS = 16, 6


def scale_write_signature(row_bits):
    """Return the write port of row_scales, as its writer sees it."""
    return wiring.Signature(
        {
            "valid": Out(1),
            "bank": Out(1),
            "row": Out(row_bits),
            "multiplier": Out(MULTIPLIER_BITS),
            "shift": Out(SHIFT_BITS),
        }
    )


class RowScales(wiring.Component):
    """Two banks of ``depth`` rows; the vector unit writes one while the array reads the other.

    Parameters
    ----------
    depth : int
        Rows of a bank, 1..4096.

    Members
    -------
    write : valid, bank, row, multiplier, shift; always taken
    read : valid, bank, row; multiplier and shift in the next cycle

    Timing
    ------
    A read sees what was written in the cycles before it.
    """

    write: wiring.PureInterface
    read: wiring.PureInterface

    def __init__(self, *, depth=256):
        self.depth = check_size("depth", depth, 1, 4096)
        self.row_bits = max(1, (depth - 1).bit_length())
        super().__init__(
            {
                "write": In(scale_write_signature(self.row_bits)),
                "read": In(scale_read_signature(self.row_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = memory = Memory(
            shape=MULTIPLIER_BITS + SHIFT_BITS,
            depth=2 << self.row_bits,
            init=[],
            attrs={"no_rw_check": "1"},
        )
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.addr.eq(Cat(self.write.row, self.write.bank)),
            write.data.eq(Cat(self.write.multiplier, self.write.shift)),
            write.en.eq(self.write.valid),
            read.addr.eq(Cat(self.read.row, self.read.bank)),
            read.en.eq(self.read.valid),
            Cat(self.read.multiplier, self.read.shift).eq(read.data),
        ]
        return m
