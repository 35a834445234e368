"""Words in, their lanes out: ``o[block][r][c] = i[block][c][r]``, in one square of registers."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.checks import check_size

__all__ = ["Transposer"]


class Transposer(wiring.Component):
    """Transposes blocks of ``size`` x ``size`` int8 while the next block comes in.

    The square shifts down the rows or along the columns. A block that entered down the rows
    leaves along the columns, and the block behind it enters on the same way; so the way changes
    from block to block, and one square holds the end of one block and the beginning of the next.

    ======================  ==================================================================
    state                   a shift happens when
    ======================  ==================================================================
    block leaves            its row is taken, and, once the next block has begun, a word comes
    nothing leaves          a word comes
    ======================  ==================================================================

    Parameters
    ----------
    size : int
        Words of a block and lanes of a word, 2..64.

    Members
    -------
    i : stream of words (size x int8)
    o : stream of rows (size x int8): row r holds lane r of all words of a block

    Timing
    ------
    Row 0 is at ``o`` in the cycle after the last word of a block was accepted; a word and a row a
    cycle. ``i.ready`` depends on ``o.ready``, ``o.valid`` within a block on ``i.valid``.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, size=16):
        self.size = check_size("size", size, 2, 64)
        self.word = data.ArrayLayout(signed(8), size)
        super().__init__(
            {"i": In(stream.Signature(self.word)), "o": Out(stream.Signature(self.word))}
        )

    def elaborate(self, platform):
        m = Module()
        size = self.size
        filled = Signal(range(size))  # words of the block that enters
        left = Signal(range(size + 1))  # rows of the block that leaves
        along = Signal()  # the shift goes along the columns
        leaves = Signal()
        shifts = Signal()
        last_word = Signal()
        m.d.comb += [
            leaves.eq(left != 0),
            # a shift without a word would tear a block that has begun
            self.o.valid.eq(leaves & (self.i.valid | (filled == 0))),
            # the next block may not end before the one that leaves has gone
            self.i.ready.eq(~leaves | self.o.ready),
            shifts.eq((self.o.valid & self.o.ready) | (self.i.valid & ~leaves)),
            last_word.eq(self.i.valid & (filled == size - 1)),
        ]
        with m.If(shifts):
            with m.If(self.i.valid):
                m.d.sync += filled.eq((filled + 1)[: len(filled)])
            with m.If(leaves):
                m.d.sync += left.eq((left - 1)[: len(left)])
            with m.If(last_word):
                m.d.sync += [filled.eq(0), left.eq(size), along.eq(~along)]

        cells = [
            [Signal(signed(8), name=f"cell_{row}_{col}") for col in range(size)]
            for row in range(size)
        ]
        for row in range(size):
            m.d.comb += self.o.payload[row].eq(cells[0][row])
            with m.If(along):
                m.d.comb += self.o.payload[row].eq(cells[row][0])
            for col in range(size):
                below = cells[row + 1][col] if row + 1 < size else self.i.payload[col]
                right = cells[row][col + 1] if col + 1 < size else self.i.payload[row]
                with m.If(shifts & along):
                    m.d.sync += cells[row][col].eq(right)
                with m.If(shifts & ~along):
                    m.d.sync += cells[row][col].eq(below)
        return m
