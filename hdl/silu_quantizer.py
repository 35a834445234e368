"""SiLU of a norm output and its region code: int12 -> 8 bits, or 12 bits in wide mode."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.mac_array import MULTIPLIERS
from hdl.checks import check_choice, check_size
from hdl.silu_lane import CODE_WIDTH, INPUT_WIDTH, SiluLane

__all__ = ["SiluQuantizer"]


class SiluQuantizer(wiring.Component):
    """SiLU by linear pieces, quantized with the constants of the beat's timestep group.

    ``v = silu(u)`` with 11 fraction bits, then ``r0 = rsh(v * M0, n0) + z`` and the code
    ``max(r0, 0)`` if r0 <= 127, else ``128 + min(rsh(v * M0, n0 + k), 127)``. A beat with ``wide``
    set gives ``sat_12(rsh(v * M0, n0))``. Within one step of the code of the real-valued SiLU.

    Parameters
    ----------
    lanes : int
        Elements of a beat, 1..64.
    segments : int
        Pieces of the curve: 16 or 32.
    side_width : int
        Opaque bits that travel with the beat.
    multiplier : str
        ``inferred``, or ``mult18x18d``: the lanes use
        :class:`~hdl.registered_multiplier.RegisteredMultiplier`.

    Members
    -------
    i : stream of u (lanes x signed(12), Q4.7), wide (1), multiplier (16, M0), shift (5, n0),
        zero_point (7, z in 0..112), k (3, in 1..4), side
    o : stream of codes (lanes x 12: a region code zero-extended, or int12 as two's complement),
        side

    Timing
    ------
    Latency 11 cycles (``mult18x18d``: 13), one beat a cycle, ``i.ready = o.ready | ~o.valid``.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, lanes=16, segments=32, side_width=0, multiplier="inferred"):
        self.lanes = check_size("lanes", lanes, 1, 64)
        self.segments = check_size("segments", segments, 16, 32)
        if segments not in (16, 32):
            raise ValueError(f"segments must be 16 or 32, got {segments}")
        self.side_width = check_size("side_width", side_width, 0, 4096)
        self.multiplier = check_choice("multiplier", multiplier, MULTIPLIERS)
        self.i_layout = data.StructLayout(
            {
                "u": data.ArrayLayout(signed(INPUT_WIDTH), lanes),
                "wide": 1,
                "multiplier": 16,
                "shift": 5,
                "zero_point": 7,
                "k": 3,
                "side": side_width,
            }
        )
        self.o_layout = data.StructLayout(
            {"codes": data.ArrayLayout(CODE_WIDTH, lanes), "side": side_width}
        )
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted beat to ``o.valid``."""
        return 13 if self.multiplier == "mult18x18d" else 11

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        enable = Signal()
        m.d.comb += [enable.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(enable)]

        def delayed(source, name, cycles):
            """``source`` after ``cycles`` registers: the constants wait for their lane's value."""
            for cycle in range(1, cycles + 1):
                copy = Signal(len(source), name=f"{name}_{cycle}", reset_less=True)
                with m.If(enable):
                    m.d.sync += copy.eq(source)
                source = copy
            return source

        valid = Signal(self.latency)
        with m.If(enable):
            m.d.sync += valid.eq(Cat(self.i.valid, valid[:-1]))
        m.d.comb += [
            self.o.valid.eq(valid[-1]),
            self.o.payload.side.eq(delayed(beat.side, "side", self.latency)),
        ]

        # Wide codes have no zero point.
        offset = Signal(7)
        exponent = Signal(2)
        m.d.comb += [
            offset.eq(Mux(beat.wide, 0, beat.zero_point)),
            exponent.eq((beat.k - 1)[:2]),
        ]
        multiplier = delayed(beat.multiplier, "multiplier", 6)
        shift_high = delayed(beat.shift[3:], "shift_high", self.latency - 4)
        shift_low = delayed(beat.shift[:3], "shift_low", self.latency - 3)
        zero_point = delayed(offset, "zero_point", self.latency - 2)
        k_less_one = delayed(exponent, "k_less_one", self.latency - 2)
        wide = delayed(beat.wide, "wide", self.latency - 1)
        for index in range(self.lanes):
            m.submodules[f"lane_{index}"] = lane = SiluLane(
                segments=self.segments, registered=self.multiplier == "mult18x18d"
            )
            m.d.comb += [
                lane.enable.eq(enable),
                lane.u.eq(beat.u[index]),
                lane.multiplier.eq(multiplier),
                lane.shift_high.eq(shift_high),
                lane.shift_low.eq(shift_low),
                lane.zero_point.eq(zero_point),
                lane.k_less_one.eq(k_less_one),
                lane.wide.eq(wide),
                self.o.payload.codes[index].eq(lane.code),
            ]
        return m
