"""Accumulator to activation: ``y = sat_w(rsh(acc * M, n) + b)``, one rounding, one saturation."""

from amaranth.hdl import Assert, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.mac_array import MULTIPLIERS
from golden.numbers import SHIFT_MAX
from hdl.checks import check_choice, check_size
from hdl.requantizer_lane import MULTIPLIER_WIDTH, SHIFT_WIDTH, RequantizerLane, lane_latency

__all__ = ["Requantizer"]


class Requantizer(wiring.Component):
    """Requantization of ``lanes`` elements a beat, with a counter of saturations.

    ``y = sat_w(rsh(acc * M, n) + b)`` with ``rsh`` rounding half up. M is 0..65535, n is 0..47 (a
    larger n is not allowed), b is in output LSBs, w is ``out_width``, or ``narrow_width`` for a
    beat with ``narrow`` set, whose values come sign-extended. Exact for every operand: see
    :class:`~hdl.requantizer_lane.RequantizerLane` for the proof. With ``acc`` a stream or norm
    value and no bias it is the edge quantizer to int8 and 12 bits.

    Parameters
    ----------
    lanes : int
        Elements of a beat, 1..64.
    acc_width : int
        Bits of ``acc``, 8..32. Up to 18 a lane takes one 18 x 18 multiplier, above two.
    out_width, narrow_width : int
        Bits of a value, 2..16; ``narrow_width <= out_width``.
    bias_width : int
        Bits of ``bias``, 2..16; 0 leaves the bias out (the field stays, of width 0).
    side_width : int
        Opaque bits that travel with the beat.
    count_width : int
        Bits of the saturation counter, 8..32.
    multiplier : str
        ``inferred``, or ``mult18x18d``: the lanes use
        :class:`~hdl.registered_multiplier.RegisteredMultiplier`.

    Members
    -------
    i : stream of acc (lanes x signed(acc_width)), multiplier (lanes x 16), shift (lanes x 6),
        bias (lanes x signed(bias_width)), narrow (1), side
    o : stream of values (lanes x signed(out_width)), side
    clear : In(1)
        Clears the counter.
    saturations : Out(count_width)
        Saturated lane elements of the beats delivered since ``clear``; stays at its largest value
        instead of wrapping.

    Timing
    ------
    Latency 8 cycles (7 where ``acc_width <= 18``), one beat a cycle, ``i.ready = o.ready |
    ~o.valid``. A beat transferred at ``o`` in cycle c is counted in ``saturations`` from cycle
    c + 2 on. ``clear`` in cycle c makes ``saturations`` 0 in cycle c + 1 and forgets every beat
    delivered up to cycle c: clear wins.
    """

    i: stream.Interface
    o: stream.Interface
    clear: Signal
    saturations: Signal

    def __init__(
        self,
        *,
        lanes=16,
        acc_width=32,
        out_width=16,
        narrow_width=8,
        bias_width=16,
        side_width=0,
        count_width=32,
        multiplier="inferred",
    ):
        self.lanes = check_size("lanes", lanes, 1, 64)
        self.acc_width = check_size("acc_width", acc_width, 8, 32)
        self.out_width = check_size("out_width", out_width, 2, 16)
        self.narrow_width = check_size("narrow_width", narrow_width, 2, out_width)
        self.bias_width = check_size("bias_width", bias_width, 0, 16)
        if bias_width == 1:
            raise ValueError("bias_width must be 0 or in 2..16, got 1")
        self.side_width = check_size("side_width", side_width, 0, 4096)
        self.count_width = check_size("count_width", count_width, 8, 32)
        self.multiplier = check_choice("multiplier", multiplier, MULTIPLIERS)
        bias_shape = signed(bias_width) if bias_width else unsigned(0)
        self.i_layout = data.StructLayout(
            {
                "acc": data.ArrayLayout(signed(acc_width), lanes),
                "multiplier": data.ArrayLayout(MULTIPLIER_WIDTH, lanes),
                "shift": data.ArrayLayout(SHIFT_WIDTH, lanes),
                "bias": data.ArrayLayout(bias_shape, lanes),
                "narrow": 1,
                "side": side_width,
            }
        )
        self.o_layout = data.StructLayout(
            {
                "values": data.ArrayLayout(signed(out_width), lanes),
                "side": side_width,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
                "clear": In(1),
                "saturations": Out(count_width),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted beat to ``o.valid``."""
        return lane_latency(self.acc_width)

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        latency = self.latency
        enable = Signal()
        m.d.comb += [enable.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(enable)]

        # What travels beside the lanes; narrow is used one register before the end.
        valid = Signal(latency)
        narrow = Signal(latency - 1, reset_less=True)
        sides = [
            Signal(self.side_width, name=f"side_{c + 1}", reset_less=True) for c in range(latency)
        ]
        with m.If(enable):
            m.d.sync += [
                valid.eq(Cat(self.i.valid, valid[:-1])),
                narrow.eq(Cat(beat.narrow, narrow[:-1])),
            ]
            for previous, side in zip([beat.side, *sides], sides, strict=False):
                m.d.sync += side.eq(previous)
        m.d.comb += [self.o.valid.eq(valid[-1]), self.o.payload.side.eq(sides[-1])]

        legal = Signal(self.lanes)
        m.d.sync += Assert(legal.all())  # type: ignore[call-arg]  # the stubs lag behind
        saturated = Signal(self.lanes)
        for index in range(self.lanes):
            m.submodules[f"lane_{index}"] = lane = RequantizerLane(
                acc_width=self.acc_width,
                out_width=self.out_width,
                narrow_width=self.narrow_width,
                bias_width=self.bias_width,
                registered=self.multiplier == "mult18x18d",
            )
            m.d.comb += [
                legal[index].eq(~(self.i.valid & enable) | (beat.shift[index] <= SHIFT_MAX)),
                lane.enable.eq(enable),
                lane.acc.eq(beat.acc[index]),
                lane.multiplier.eq(beat.multiplier[index]),
                lane.shift.eq(beat.shift[index]),
                lane.bias.eq(beat.bias[index]),
                lane.narrow.eq(narrow[-1]),
                self.o.payload.values[index].eq(lane.value),
                saturated[index].eq(lane.saturated),
            ]
        self._count(m, saturated)
        return m

    def _count(self, m, saturated):
        """Count the saturated elements of delivered beats, in two registers."""
        # ``delivered`` keeps the sum over the lanes out of the counter's carry chain.
        delivered = Signal(range(self.lanes + 1))
        total = Signal(self.count_width + 1)
        m.d.comb += total.eq(self.saturations + delivered)
        with m.If(self.clear):
            m.d.sync += [delivered.eq(0), self.saturations.eq(0)]
        with m.Else():
            m.d.sync += [
                delivered.eq(Mux(self.o.valid & self.o.ready, _ones(saturated), 0)),
                self.saturations.eq(total[:-1] | total[-1].replicate(self.count_width)),
            ]


def _ones(bits):
    """Number of ones, as a balanced tree of adders."""
    if len(bits) == 1:
        return bits
    half = len(bits) // 2
    return _ones(bits[:half]) + _ones(bits[half:])
