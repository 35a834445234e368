"""Residual sum of two stream words: ``y = sat16(a + b)`` in every lane."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.checks import check_size

__all__ = ["Residual"]

WIDTH = 16


class Residual(wiring.Component):
    """Saturating sum of two words of the residual stream, which count in the same LSB.

    ``y = min(max(a + b, -2**15), 2**15 - 1)``, nothing is rounded.

    Parameters
    ----------
    lanes : int
        Elements of a beat, 1..64.
    side_width : int
        Opaque bits that travel with the beat.

    Members
    -------
    i : stream of a, b (lanes x signed(16)), side
    o : stream of values (lanes x signed(16)), side

    Timing
    ------
    Latency 2 cycles (sum, saturation), one beat a cycle, ``i.ready = o.ready | ~o.valid``.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, lanes=16, side_width=0):
        self.lanes = check_size("lanes", lanes, 1, 64)
        self.side_width = check_size("side_width", side_width, 0, 4096)
        word = data.ArrayLayout(signed(WIDTH), lanes)
        self.i_layout = data.StructLayout({"a": word, "b": word, "side": side_width})
        self.o_layout = data.StructLayout({"values": word, "side": side_width})
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted beat to ``o.valid``."""
        return 2

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        moves = Signal()
        valid = Signal()
        side = Signal(self.side_width, reset_less=True)
        m.d.comb += [moves.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(moves)]
        with m.If(moves):
            m.d.sync += [
                valid.eq(self.i.valid),
                side.eq(beat.side),
                self.o.valid.eq(valid),
                self.o.payload.side.eq(side),
            ]
        for lane in range(self.lanes):
            # one bit more holds the sum; its two top bits differ where 16 bits do not
            total = Signal(signed(WIDTH + 1), name=f"total_{lane}", reset_less=True)
            limit = Signal(signed(WIDTH), name=f"limit_{lane}")
            clips = Signal(name=f"clips_{lane}")
            m.d.comb += [
                clips.eq(total[-1] ^ total[-2]),
                limit.eq(Mux(total[-1], -(1 << (WIDTH - 1)), (1 << (WIDTH - 1)) - 1)),
            ]
            with m.If(moves):
                m.d.sync += [
                    total.eq(beat.a[lane] + beat.b[lane]),
                    self.o.payload.values[lane].eq(Mux(clips, limit, total[:WIDTH].as_signed())),
                ]
        return m
