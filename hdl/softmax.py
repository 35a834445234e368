"""Softmax of rows of logits: 7-bit numerators, and one scale a row in place of a division each."""

from amaranth.hdl import Array, Assert, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.softmax import EXPONENTIALS
from hdl.checks import check_size
from hdl.row_reciprocal import MULTIPLIER_WIDTH, SHIFT_WIDTH, RowReciprocal, reciprocal_latency

__all__ = ["Softmax"]

_LOGIT_WIDTH = 16
_NUMERATOR_WIDTH = 7
_DISTANCE_WIDTH = 9
_OCTAVE_BITS = 5
_NUMERATOR_LATENCY = 4
_LARGEST = 127


class Softmax(wiring.Component):
    """``d = min(max L - L, 511)``, ``e = rsh(E[d & 31], d >> 5)``, ``S = sum e`` of w bits; then
    ``P = rsh(min(floor(2**(15 + w) / S), 65535) * M_o, 16)`` and ``n = w + n_o - 1``.

    L counts 1/32 octaves, ``E[i] = round(127 * 2**(-i/32))``, ``rsh`` rounds half up. The words of
    a row come twice. Its first pass (``second`` 0) leaves the row's maximum in a queue, its second
    pass takes it from there. Rows go in order in both passes, and up to ``ahead`` first passes may
    come before the second pass that is due: with the next row's first pass in between, or several
    where rows are short, the second pass does not wait.

    ========  ========================================================================
    register  holds
    ========  ========================================================================
    1         logits, which lanes count, and the row's maximum (second pass)
    2         d; 511, whose e is 0, in a lane that does not count
    3         ``E[d & 31]`` and ``d >> 5``
    4         e, at ``o``
    5..       sum of the lanes, a level of adders each, then the row's sum S
    after     see :class:`~hdl.row_reciprocal.RowReciprocal`
    ========  ========================================================================

    In the first pass register 1 is followed by a level of comparisons each, then by the row's
    maximum so far; behind the row's last word it enters the queue.

    Parameters
    ----------
    lanes : int
        Logits of a word, 1..64.
    keys_max : int
        Logits of a row at most, 1..132104: S has ``bits(127 * keys_max)`` bits.
    ahead : int
        First passes that may be ahead, 2..16.
    side_width : int
        Opaque bits that travel with a beat of the second pass.

    Members
    -------
    i : stream of logits (lanes x signed(16)), keys (lanes 0..keys-1 count; 1..lanes), second
        (pass), last (word of the pass), side
    o : stream of e (lanes x 7), side: a beat for each of the second pass
    o_scale : stream of P (16), n (6): a beat for each row
    multiplier : In(16), shift : In(6)
        M_o and n_o, which hold still while a row is on its way; ``w + n_o - 1`` is at most 47.

    Timing
    ------
    One word a cycle; a row's scale follows its last word at once, however short rows are.
    e after 4 cycles, the scale ``25 + ceil(log2(lanes))`` cycles after the last word of the second
    pass, a row's maximum ``2 + ceil(log2(lanes))`` after the last word of the first. All registers
    move together: ``moves = (o.ready | ~o.valid) & (o_scale.ready | ~o_scale.valid)``; a beat that
    is taken at one output while the other waits is not offered again. ``i.ready = moves``, but a
    word of the second pass waits while the queue is empty.
    """

    i: stream.Interface
    o: stream.Interface
    o_scale: stream.Interface
    multiplier: Signal
    shift: Signal

    def __init__(self, *, lanes=16, keys_max=4096, ahead=4, side_width=0):
        self.lanes = check_size("lanes", lanes, 1, 64)
        self.keys_max = check_size("keys_max", keys_max, 1, 132104)
        self.ahead = check_size("ahead", ahead, 2, 16)
        self.side_width = check_size("side_width", side_width, 0, 4096)
        self.sum_width = (_LARGEST * keys_max).bit_length()
        self.levels = (lanes - 1).bit_length()
        self.i_layout = data.StructLayout(
            {
                "logits": data.ArrayLayout(signed(_LOGIT_WIDTH), lanes),
                "keys": lanes.bit_length(),
                "second": 1,
                "last": 1,
                "side": side_width,
            }
        )
        self.o_layout = data.StructLayout(
            {"e": data.ArrayLayout(_NUMERATOR_WIDTH, lanes), "side": side_width}
        )
        self.o_scale_layout = data.StructLayout({"P": MULTIPLIER_WIDTH, "n": SHIFT_WIDTH})
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
                "o_scale": Out(stream.Signature(self.o_scale_layout)),
                "multiplier": In(MULTIPLIER_WIDTH),
                "shift": In(SHIFT_WIDTH),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted word of the second pass to ``o.valid``."""
        return _NUMERATOR_LATENCY

    @property
    def scale_latency(self):
        """Cycles from the last word of a row's second pass to ``o_scale.valid``."""
        return _NUMERATOR_LATENCY + self.levels + 1 + reciprocal_latency()

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        moves = Signal()
        waits = Signal()
        takes = Signal()
        m.d.comb += [
            moves.eq((self.o.ready | ~self.o.valid) & (self.o_scale.ready | ~self.o_scale.valid)),
            self.i.ready.eq(moves & ~waits),
            takes.eq(self.i.valid & self.i.ready),
        ]

        # 1
        first_valid = Signal(self.levels + 1)
        second_valid = Signal(_NUMERATOR_LATENCY + self.levels)
        last = Signal(_NUMERATOR_LATENCY + self.levels, reset_less=True)
        logits = Signal(self.i_layout["logits"].shape, reset_less=True)
        counts = Signal(self.lanes, reset_less=True)
        with m.If(moves):
            m.d.sync += [
                first_valid.eq(Cat(takes & ~beat.second, first_valid[:-1])),
                second_valid.eq(Cat(takes & beat.second, second_valid[:-1])),
                last.eq(Cat(beat.last, last[:-1])),
                logits.eq(beat.logits),
                counts.eq(Cat(lane < beat.keys for lane in range(self.lanes))),
            ]

        row_max = self._maximum(m, moves, waits, takes, logits, counts, first_valid[-1], last)
        numerators = self._numerators(m, moves, logits, counts, row_max)
        self._sides(m, moves, second_valid)
        for lane, e in enumerate(numerators):
            m.d.comb += self.o.payload.e[lane].eq(e)
        self._scale(m, moves, numerators, second_valid[-1], last[-1])
        return m

    def _tree(self, m, moves, values, join, name):
        """Join ``values`` pair by pair, a register behind each of ``levels`` levels."""
        level = 0
        while len(values) > 1:
            level += 1
            joined = []
            for index in range(0, len(values), 2):
                result = join(m, values[index : index + 2], f"{name}_{level}_{index // 2}")
                kept = Signal(result.shape(), name=f"{name}_{level}_{index // 2}", reset_less=True)
                with m.If(moves):
                    m.d.sync += kept.eq(result)
                joined.append(kept)
            values = joined
        return values[0]

    def _maximum(self, m, moves, waits, takes, logits, counts, ends_valid, last):
        """Row maxima of first passes into the queue; return that of the word in register 1."""
        least = Const(-(1 << (_LOGIT_WIDTH - 1)), signed(_LOGIT_WIDTH))
        masked = []
        for lane in range(self.lanes):
            value = Signal(signed(_LOGIT_WIDTH), name=f"masked_{lane}")
            m.d.comb += value.eq(Mux(counts[lane], logits[lane], least))
            masked.append(value)
        word_max = self._tree(m, moves, masked, _larger, "largest")

        so_far = Signal(signed(_LOGIT_WIDTH), init=least.value)
        found = Signal(signed(_LOGIT_WIDTH))
        pushes, pops = Signal(), Signal()
        queue = Array(
            Signal(signed(_LOGIT_WIDTH), name=f"maximum_{entry}", reset_less=True)
            for entry in range(self.ahead)
        )
        head = Signal(range(self.ahead))
        tail = Signal(range(self.ahead))
        held = Signal(range(self.ahead + 1))
        m.d.comb += [
            found.eq(Mux(word_max > so_far, word_max, so_far)),
            pushes.eq(moves & ends_valid & last[self.levels]),
            pops.eq(takes & self.i.payload.second & self.i.payload.last),
            waits.eq(self.i.valid & self.i.payload.second & (held == 0)),
        ]
        with m.If(moves & ends_valid):
            m.d.sync += so_far.eq(Mux(last[self.levels], least, found))
        with m.If(pushes):
            m.d.sync += [queue[tail].eq(found), tail.eq(_next(tail, self.ahead))]
        with m.If(pops):
            m.d.sync += head.eq(_next(head, self.ahead))
        with m.If(pushes & ~pops):
            m.d.sync += held.eq((held + 1)[: len(held)])
        with m.Elif(pops & ~pushes):
            m.d.sync += held.eq((held - 1)[: len(held)])
        m.d.sync += Assert(~pushes | (held != self.ahead))  # type: ignore[call-arg]

        row_max = Signal(signed(_LOGIT_WIDTH), reset_less=True)
        with m.If(moves):
            m.d.sync += row_max.eq(queue[head])
        return row_max

    def _numerators(self, m, moves, logits, counts, row_max):
        """Return e of each lane, register 4."""
        numerators = []
        for lane in range(self.lanes):
            away = Signal(signed(_LOGIT_WIDTH + 1), name=f"away_{lane}")
            distance = Signal(_DISTANCE_WIDTH, name=f"distance_{lane}", reset_less=True)
            octave = Signal(_NUMERATOR_WIDTH, name=f"octave_{lane}", reset_less=True)
            places = Signal(_DISTANCE_WIDTH - _OCTAVE_BITS, name=f"places_{lane}", reset_less=True)
            doubled = Signal(_NUMERATOR_WIDTH + 1, name=f"doubled_{lane}")
            rounded = Signal(_NUMERATOR_WIDTH + 1, name=f"rounded_{lane}")
            e = Signal(_NUMERATOR_WIDTH, name=f"e_{lane}", reset_less=True)
            far = Signal(name=f"far_{lane}")
            m.d.comb += [
                # not negative: the maximum is that of this row
                away.eq(row_max - logits[lane]),
                far.eq(away[_DISTANCE_WIDTH:].any() | ~counts[lane]),
                # one bit below the result is kept, and one half added to it
                doubled.eq(Cat(Const(0, 1), octave) >> places),
                rounded.eq((doubled + 1)[1:]),
            ]
            with m.If(moves):
                m.d.sync += [
                    distance.eq(away[:_DISTANCE_WIDTH] | far.replicate(_DISTANCE_WIDTH)),
                    octave.eq(_exponential(distance[:_OCTAVE_BITS])),
                    places.eq(distance[_OCTAVE_BITS:]),
                    e.eq(rounded[:_NUMERATOR_WIDTH]),
                ]
            numerators.append(e)
        return numerators

    def _sides(self, m, moves, second_valid):
        """Valid of ``o``, which falls once its beat is taken, and side."""
        side = self.i.payload.side
        for register in range(1, _NUMERATOR_LATENCY + 1):
            copy = Signal(self.side_width, name=f"side_{register}", reset_less=True)
            with m.If(moves):
                m.d.sync += copy.eq(side)
            side = copy
        m.d.comb += self.o.payload.side.eq(side)
        with m.If(moves):
            m.d.sync += self.o.valid.eq(second_valid[_NUMERATOR_LATENCY - 2])
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

    def _scale(self, m, moves, numerators, valid, ends):
        """Sum of a row, and its scale."""
        word_sum = self._tree(m, moves, numerators, _added, "sum")
        total = Signal(self.sum_width)
        fresh = Signal(init=1)
        kept = Signal(self.sum_width)
        grown = Signal(range((1 << self.sum_width) + (1 << len(word_sum))))
        m.d.comb += [kept.eq(Mux(fresh, 0, total)), grown.eq(kept + word_sum)]
        with m.If(moves & valid):
            m.d.sync += [total.eq(grown[: self.sum_width]), fresh.eq(ends)]

        m.submodules.reciprocal = reciprocal = RowReciprocal(sum_width=self.sum_width)
        done = Signal(reciprocal.latency)  # of the registers total, 1 .. latency - 1
        m.d.comb += [
            reciprocal.enable.eq(moves),
            reciprocal.total.eq(total),
            reciprocal.multiplier.eq(self.multiplier),
            reciprocal.shift.eq(self.shift),
            self.o_scale.payload.P.eq(reciprocal.P),
            self.o_scale.payload.n.eq(reciprocal.n),
        ]
        with m.If(moves):
            m.d.sync += [
                done.eq(Cat(valid & ends, done[:-1])),
                self.o_scale.valid.eq(done[-1]),
            ]
        with m.Elif(self.o_scale.ready):
            m.d.sync += self.o_scale.valid.eq(0)


def _larger(m, values, name):
    """Return the larger of one or two numbers."""
    if len(values) == 1:
        return values[0]
    result = Signal(values[0].shape(), name=f"{name}_next")
    m.d.comb += result.eq(Mux(values[0] > values[1], *values))
    return result


def _added(m, values, name):
    """Return the sum of one or two numbers, a bit longer."""
    result = Signal(len(values[0]) + 1, name=f"{name}_next")
    m.d.comb += result.eq(values[0] + values[1] if len(values) == 2 else values[0])
    return result


def _next(pointer, count):
    """Return the place after ``pointer`` in a ring of ``count``."""
    return Mux(pointer == count - 1, 0, (pointer + 1)[: len(pointer)])


def _exponential(index):
    """``EXPONENTIALS[index]``: each bit is a column of the table, read by the index."""
    columns = [
        sum(((value >> bit) & 1) << row for row, value in enumerate(EXPONENTIALS))
        for bit in range(_NUMERATOR_WIDTH)
    ]
    return Cat(Const(column, len(EXPONENTIALS)).bit_select(index, 1) for column in columns)
