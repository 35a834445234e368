"""Counters of an instruction's passes: lo in dx in dy in input chunk in tile in chunk."""

from amaranth.hdl import Cat, Mux, Signal

from golden.accelerator.instruction import Format

__all__ = ["PassLoop"]


class PassLoop:
    """The nest of counters: lo in dx in dy in input chunk in tile in chunk.

    ``next_*`` say which of them moves on in this cycle; at most one does.
    """

    def __init__(self, m, work, begins, advance):
        self.lo = Signal()
        self.dx = Signal(2)
        self.dy = Signal(2)
        self.part = Signal(9)
        self.chunk = Signal(8)
        self.last_tile = Signal()
        self.first = Signal()
        self.last = Signal()
        self.next_tap = Signal()
        self.next_part = Signal()
        self.next_tile = Signal()
        self.next_chunk = Signal()
        self.last_of_instruction = Signal()
        reach = work.kernel3 << 1
        final_part = Signal(9)
        final_chunk = Signal(8)
        ends_dx = Signal()
        ends_tap = Signal()
        last_chunk = Signal()
        m.d.sync += [
            final_part.eq((work.chunks0 + work.chunks1 - 1)[:9]),
            final_chunk.eq((work.chunks - 1)[:8]),
        ]
        m.d.comb += [
            ends_dx.eq((self.lo | (work.format != Format.WIDE)) & (self.dx == reach)),
            ends_tap.eq(ends_dx & (self.dy == reach)),
            self.last.eq(ends_tap & (self.part == final_part)),
            self.first.eq(~Cat(self.lo, self.dx, self.dy, self.part).any()),
            last_chunk.eq(self.chunk == final_chunk),
            self.next_tap.eq(advance & ends_dx & ~ends_tap),
            self.next_part.eq(advance & ends_tap & ~self.last),
            self.next_tile.eq(advance & self.last & ~self.last_tile),
            self.next_chunk.eq(advance & self.last & self.last_tile & ~last_chunk),
            self.last_of_instruction.eq(self.last & self.last_tile & last_chunk),
        ]
        with m.If(advance):
            m.d.sync += self.lo.eq((work.format == Format.WIDE) & ~self.lo)
            with m.If(self.lo | (work.format != Format.WIDE)):
                m.d.sync += self.dx.eq(Mux(self.dx == reach, 0, self.dx + 1)[:2])
            with m.If(ends_dx):
                m.d.sync += self.dy.eq(Mux(self.dy == reach, 0, self.dy + 1)[:2])
            with m.If(ends_tap):
                m.d.sync += self.part.eq(Mux(self.last, 0, self.part + 1)[:9])
        with m.If(self.next_chunk):
            m.d.sync += self.chunk.eq((self.chunk + 1)[:8])
        with m.If(begins):
            m.d.sync += [Cat(self.lo, self.dx, self.dy, self.part).eq(0), self.chunk.eq(0)]
