"""Norm of whole words: every lane its channel's constants, the next chunk's waiting beside them."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.checks import check_size
from hdl.norm_lane import CONSTANTS_LAYOUT, LANE_LATENCY, U_WIDTH, X_WIDTH, NormLane

__all__ = ["GroupNorm"]

_HELD = 5  # registers that have a constant beside them


class GroupNorm(wiring.Component):
    """``u = sat12(rsh(x*Am + B, F - 7))``, a lane a channel; ``rsh`` rounds half up.

    A chunk is up to ``lanes`` channels: their constants come at ``i_constants`` one after the
    other, lane 0 first, the last one flagged; lanes behind it give 0. Then any number of words
    pass, the last one flagged. Constants of a chunk wait in a set of their own while the words of
    the chunk before it pass; its first word takes them along, a register a cycle.

    ============  ==========================================================================
    state         means
    ============  ==========================================================================
    filling       ``i_constants.ready``; the flagged channel, or lane ``lanes - 1``, ends it
    full          the first word of the chunk may enter
    leaving       it entered; filling again once it is in register 5
    ============  ==========================================================================

    Parameters
    ----------
    lanes : int
        Channels of a chunk, 1..64.
    side_width : int
        Opaque bits that travel with a beat.

    Members
    -------
    i_constants : stream of slope (17), offset (32), beta (16), all signed, shift (6, 0..50),
        last: one channel a beat, see :class:`~hdl.norm_lane.NormLane`
    i : stream of x (lanes x signed(16)), last (word of the chunk), side
    o : stream of u (lanes x signed(12), Q4.7), side

    Timing
    ------
    One word a cycle, latency 7, one rigid pipeline: ``moves = o.ready | ~o.valid``; ``i.ready =
    moves``, but the first word of a chunk waits until the set is full and not leaving.
    ``i_constants.ready`` while filling. A chunk of at least ``lanes + 6`` words hides the filling
    of the next one's set: no bubble between them.
    """

    i_constants: stream.Interface
    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, lanes=16, side_width=0):
        self.lanes = check_size("lanes", lanes, 1, 64)
        self.side_width = check_size("side_width", side_width, 0, 4096)
        self.i_constants_layout = data.StructLayout({**CONSTANTS_LAYOUT.members, "last": 1})
        self.i_layout = data.StructLayout(
            {
                "x": data.ArrayLayout(signed(X_WIDTH), lanes),
                "last": 1,
                "side": side_width,
            }
        )
        self.o_layout = data.StructLayout(
            {"u": data.ArrayLayout(signed(U_WIDTH), lanes), "side": side_width}
        )
        super().__init__(
            {
                "i_constants": In(stream.Signature(self.i_constants_layout)),
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted word to ``o.valid``."""
        return LANE_LATENCY

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        moves = Signal()
        takes = Signal()
        due = Signal(init=1)  # the next word is the first of a chunk
        full = Signal()
        leaving = Signal()
        waits = Signal()
        first = Signal(_HELD - 1)  # of the beats in registers 1..4
        enters = Signal(_HELD)  # of the beats that enter registers 1..5
        valid = Signal(LANE_LATENCY)
        m.d.comb += [
            moves.eq(self.o.ready | ~self.o.valid),
            waits.eq(due & (~full | leaving)),
            self.i.ready.eq(moves & ~waits),
            takes.eq(self.i.valid & self.i.ready),
            enters.eq(Cat(takes & due, first)),
            self.o.valid.eq(valid[-1]),
        ]
        with m.If(moves):
            m.d.sync += [first.eq(enters[:-1]), valid.eq(Cat(takes, valid[:-1]))]
        with m.If(takes):
            m.d.sync += due.eq(beat.last)

        released = Signal()
        m.d.comb += released.eq(moves & enters[-1])
        with m.If(released):
            m.d.sync += [full.eq(0), leaving.eq(0)]
        with m.Elif(takes & due):
            m.d.sync += leaving.eq(1)

        constants = self._fill(m, full, released)
        for lane in range(self.lanes):
            unit = NormLane()
            m.submodules[f"lane_{lane}"] = unit
            m.d.comb += [
                unit.enable.eq(moves),
                unit.first.eq(enters),
                unit.constants.eq(constants[lane]),
                unit.x.eq(beat.x[lane]),
                self.o.payload.u[lane].eq(unit.u),
            ]
        self._side(m, moves)
        return m

    def _fill(self, m, full, released):
        """Return the waiting set; a lane that gets no channel stays 0 since ``released``."""
        channel = self.i_constants.payload
        filled = Signal()
        lane = Signal(range(max(self.lanes, 2)))
        ends = Signal()
        m.d.comb += [
            self.i_constants.ready.eq(~full),
            filled.eq(self.i_constants.valid & ~full),
            ends.eq(channel.last | (lane == self.lanes - 1)),
        ]
        with m.If(filled):
            m.d.sync += lane.eq((lane + 1)[: len(lane)])
            with m.If(ends):
                m.d.sync += [lane.eq(0), full.eq(1)]
        width = CONSTANTS_LAYOUT.size
        held = []
        for number in range(self.lanes):
            entry = Signal(CONSTANTS_LAYOUT, name=f"constants_{number}")
            with m.If(filled & (lane == number)):
                m.d.sync += entry.as_value().eq(channel.as_value()[:width])
            with m.If(released):
                m.d.sync += entry.as_value().eq(0)
            held.append(entry)
        return held

    def _side(self, m, moves):
        side = self.i.payload.side
        for number in range(1, LANE_LATENCY + 1):
            copy = Signal(self.side_width, name=f"side_{number}", reset_less=True)
            with m.If(moves):
                m.d.sync += copy.eq(side)
            side = copy
        m.d.comb += self.o.payload.side.eq(side)
