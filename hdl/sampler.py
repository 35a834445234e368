"""Sampler update of an image: one denoising step of every element, and the bytes at the end."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.checks import check_size
from hdl.sampler_lane import LANE_LATENCY, ROW_LAYOUT, WIDTH, SamplerLane

__all__ = ["Sampler"]


class Sampler(wiring.Component):
    """``x0 = clamp(rsh(p*x + q*eps, 20), -reach, reach)``,
    ``x' = sat16(rsh(a*x0 + b*x + d*eps + c*noise, 20))``; ``rsh`` rounds half up.

    x, eps, noise are Q3.12, the coefficients of the step Q12.20. A beat with ``image`` set gives
    the byte ``clamp(rsh((x + 4096) * 255, 13), 0, 255)`` of x instead. Exact for every operand.

    ========  ==========================================  =================================
    state     takes                                       leaves it
    ========  ==========================================  =================================
    row held  beats, at one a cycle                       a row is offered
    draining  nothing; beats in flight leave              the last of them has left
    loading   the row                                     by itself, in the same cycle
    ========  ==========================================  =================================

    So a beat sees the last row that was accepted before it, and a row never waits for ``i``.

    Parameters
    ----------
    lanes : int
        Elements of a beat, 1..64. One is enough: an image has three channels at most.
    side_width : int
        Opaque bits that travel with the beat.

    Members
    -------
    i : stream of x, eps, noise (lanes x signed(16)), image (1), side
    i_row : stream of p, q, a, b, d, c (signed(32)), reach (15): constants of a step; all are 0
        after reset
    o : stream of values (lanes x signed(16), a byte zero-extended), side

    Timing
    ------
    Latency 10 cycles, one beat a cycle; ``i.ready = (o.ready | ~o.valid) & ~i_row.valid``,
    ``i_row.ready`` = no beat in flight. The first beat of a row is accepted a cycle after it.
    """

    i: stream.Interface
    i_row: stream.Interface
    o: stream.Interface

    def __init__(self, *, lanes=1, side_width=0):
        self.lanes = check_size("lanes", lanes, 1, 64)
        self.side_width = check_size("side_width", side_width, 0, 4096)
        word = data.ArrayLayout(signed(WIDTH), lanes)
        self.i_layout = data.StructLayout(
            {"x": word, "eps": word, "noise": word, "image": 1, "side": side_width}
        )
        self.o_layout = data.StructLayout({"values": word, "side": side_width})
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "i_row": In(stream.Signature(ROW_LAYOUT)),
                "o": Out(stream.Signature(self.o_layout)),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted beat to ``o.valid``."""
        return LANE_LATENCY

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        enable = Signal()
        valid = Signal(self.latency)
        row = Signal(ROW_LAYOUT)
        m.d.comb += [
            enable.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(enable & ~self.i_row.valid),
            self.i_row.ready.eq(~valid.any()),
            self.o.valid.eq(valid[-1]),
        ]
        with m.If(self.i_row.valid & self.i_row.ready):
            m.d.sync += row.eq(self.i_row.payload)

        # What travels beside the lanes; image is used one register before the end.
        image = Signal(self.latency - 1, reset_less=True)
        sides = [
            Signal(self.side_width, name=f"side_{c + 1}", reset_less=True)
            for c in range(self.latency)
        ]
        with m.If(enable):
            m.d.sync += [
                valid.eq(Cat(self.i.valid & self.i.ready, valid[:-1])),
                image.eq(Cat(beat.image, image[:-1])),
            ]
            for previous, side in zip([beat.side, *sides], sides, strict=False):
                m.d.sync += side.eq(previous)
        m.d.comb += self.o.payload.side.eq(sides[-1])

        for index in range(self.lanes):
            m.submodules[f"lane_{index}"] = lane = SamplerLane()
            m.d.comb += [
                lane.enable.eq(enable),
                lane.row.eq(row),
                lane.x.eq(beat.x[index]),
                lane.eps.eq(beat.eps[index]),
                lane.noise.eq(beat.noise[index]),
                lane.image.eq(image[-1]),
                self.o.payload.values[index].eq(lane.value),
            ]
        return m
