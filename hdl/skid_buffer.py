"""Two entries between two blocks, so that ``ready`` comes from a register."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SkidBuffer"]


class SkidBuffer(wiring.Component):
    """A first-in first-out buffer of two beats.

    Parameters
    ----------
    layout : shape-like
        Payload of both streams.

    Members
    -------
    i, o : streams of ``layout``

    Timing
    ------
    Latency 1, one beat a cycle; ``i.ready`` and ``o.valid`` are registers.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, layout):
        self.layout = layout
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "o": Out(stream.Signature(layout)),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted beat to ``o.valid``."""
        return 1

    def elaborate(self, platform):
        m = Module()
        head = Signal(self.layout)
        tail = Signal(self.layout)
        head_valid = Signal()
        tail_valid = Signal()
        m.d.comb += [
            self.i.ready.eq(~tail_valid),
            self.o.valid.eq(head_valid),
            self.o.payload.eq(head),
        ]
        with m.If(self.o.ready | ~head_valid):
            with m.If(tail_valid):
                m.d.sync += [head.eq(tail), tail_valid.eq(0)]
            with m.Else():
                m.d.sync += [head.eq(self.i.payload), head_valid.eq(self.i.valid)]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [tail.eq(self.i.payload), tail_valid.eq(1)]
        return m
