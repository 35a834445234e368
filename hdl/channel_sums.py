"""Sums and sums of squares of every channel, beside each tensor on chip."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.checks import check_size

__all__ = ["ChannelSums", "gather_signature", "sums_layout", "sums_read_signature"]

STREAM_BITS = 16
S1_BITS = 32
S2_BITS = 48


def sums_layout(size):
    """Return an entry: S1 and S2 of ``size`` channels."""
    return data.StructLayout(
        {
            "S1": data.ArrayLayout(signed(S1_BITS), size),
            "S2": data.ArrayLayout(S2_BITS, size),
        }
    )


def gather_signature(size, sum_chunks):
    """Return the port that adds a stream word to an entry, as its writer sees it."""
    return wiring.Signature(
        {
            "valid": Out(1),
            "entry": Out(range(sum_chunks)),
            "clear": Out(1),
            "data": Out(data.ArrayLayout(signed(STREAM_BITS), size)),
        }
    )


def sums_read_signature(size, sum_chunks):
    """Return the port that reads an entry, as its reader sees it; data follow by one cycle."""
    return wiring.Signature(
        {"valid": Out(1), "entry": Out(range(sum_chunks)), "data": In(sums_layout(size))}
    )


class ChannelSums(wiring.Component):
    """``S1[entry] += x`` and ``S2[entry] += x**2`` in every lane, for every word.

    Each word is added to its entry's memory at once, so entries may follow each other in any
    order. Sums wrap: no legal tensor fills them.

    Parameters
    ----------
    size : int
        Lanes, 1..64.
    sum_chunks : int
        Entries, 1..4096.

    Members
    -------
    gather : valid, entry, clear (this word starts from 0), data (size x int16); always ready
    read : valid, entry, data (S1 size x int32, S2 size x uint48)

    Timing
    ------
    One word a cycle: 0 the entry is read, 1 square, 2 sum and write. A ``read`` gives its data in
    the next cycle; it sees all words gathered three cycles before, and leaves the data as they are
    until the next one.
    """

    gather: Any
    read: Any

    def __init__(self, *, size=16, sum_chunks=64):
        self.size = check_size("size", size, 1, 64)
        self.sum_chunks = check_size("sum_chunks", sum_chunks, 1, 4096)
        super().__init__(
            {
                "gather": In(gather_signature(size, sum_chunks)),
                "read": In(sums_read_signature(size, sum_chunks)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.entries = entries = Memory(
            shape=sums_layout(self.size),
            depth=self.sum_chunks,
            init=[],
            attrs={"no_rw_check": "1"},
        )
        write = entries.write_port()
        loaded = entries.read_port()
        read = entries.read_port()
        gather = self.gather
        m.d.comb += [
            read.en.eq(self.read.valid),
            read.addr.eq(self.read.entry),
            self.read.data.eq(read.data),
            loaded.en.eq(gather.valid),
            loaded.addr.eq(gather.entry),
        ]

        # cycle 1: the word, and whether its entry was written while it was read
        valid_1 = Signal()
        entry_1 = Signal.like(gather.entry)
        clear_1 = Signal()
        meets_1 = Signal()
        word_1 = Signal(data.ArrayLayout(signed(STREAM_BITS), self.size))
        # cycle 2: its square, and what it is added to
        valid_2 = Signal()
        entry_2 = Signal.like(gather.entry)
        clear_2 = Signal()
        goes_on_2 = Signal()
        word_2 = Signal(data.ArrayLayout(signed(STREAM_BITS), self.size))
        square_2 = Signal(data.ArrayLayout(2 * STREAM_BITS, self.size))
        before_2 = Signal(sums_layout(self.size))
        sums = Signal(sums_layout(self.size))
        added = Signal(sums_layout(self.size))  # sums of the word before

        m.d.sync += [
            valid_1.eq(gather.valid),
            entry_1.eq(gather.entry),
            clear_1.eq(gather.clear),
            meets_1.eq(valid_2 & (entry_2 == gather.entry)),
            word_1.eq(gather.data),
            valid_2.eq(valid_1),
            entry_2.eq(entry_1),
            clear_2.eq(clear_1),
            goes_on_2.eq(valid_2 & (entry_2 == entry_1)),
            word_2.eq(word_1),
            before_2.eq(Mux(meets_1, added, loaded.data)),
            added.eq(sums),
        ]
        m.d.comb += [
            write.en.eq(valid_2),
            write.addr.eq(entry_2),
            write.data.eq(sums),
        ]
        for lane in range(self.size):
            m.d.sync += square_2[lane].eq((word_1[lane] * word_1[lane]).as_unsigned())
            for name, bits, addend in (("S1", S1_BITS, word_2), ("S2", S2_BITS, square_2)):
                base = Signal(signed(bits), name=f"base_{name}_{lane}")
                total = Signal(signed(bits + 1), name=f"total_{name}_{lane}")
                chosen = Mux(goes_on_2, added[name][lane], before_2[name][lane])
                m.d.comb += [
                    base.eq(Mux(clear_2, 0, chosen)),
                    total.eq(base + addend[lane]),
                    sums[name][lane].eq(total[:bits]),
                ]
        return m
