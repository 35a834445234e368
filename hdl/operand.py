"""A row's code becomes what the array multiplies: an int8 mantissa and a shift flag."""

from amaranth.hdl import Cat, Const, Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.operand import CODE_BITS, K_MAX, OperandMode
from hdl.checks import check_size

__all__ = ["Operand"]


class Operand(wiring.Component):
    """Row decoder between the code stream and :class:`~hdl.mac_array.MacArray`.

    ======  ========================  ====  ==========
    mode    mantissa                  flag  k
    ======  ========================  ====  ==========
    region  m - z (r = 0), m (r = 1)  r     the tile's
    int8    code                      1     the tile's
    hi      a >> 4                    1     4
    lo      a & 15                    0     0
    ======  ========================  ====  ==========

    The array multiplies by ``mantissa * 2**(k if flag else 0)``; z is 0..112, k is 0..4.
    A set ``pad`` bit forces mantissa and flag of its row to 0.

    Parameters
    ----------
    rows : int
        Lanes of a beat, 1..64.
    side_width : int
        Opaque bits that travel with the beat.

    Members
    -------
    i : stream of codes (rows x 12 bits; region and int8 use the low 8), pad (rows x 1),
        mode (``golden.operand.OperandMode``), zero_point (7), k (3), side
    o : stream of mantissa (rows x int8), flag (rows x 1), k (3), side

    Timing
    ------
    Latency 1 cycle, one beat a cycle, ``i.ready = o.ready | ~o.valid``.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, rows=16, side_width=0):
        self.rows = check_size("rows", rows, 1, 64)
        self.side_width = check_size("side_width", side_width, 0, 4096)
        self.i_layout = data.StructLayout(
            {
                "codes": data.ArrayLayout(CODE_BITS, rows),
                "pad": data.ArrayLayout(1, rows),
                "mode": 2,
                "zero_point": 7,
                "k": 3,
                "side": side_width,
            }
        )
        self.o_layout = data.StructLayout(
            {
                "mantissa": data.ArrayLayout(signed(8), rows),
                "flag": data.ArrayLayout(1, rows),
                "k": 3,
                "side": side_width,
            }
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
        return 1

    def elaborate(self, platform):
        m = Module()
        beat = self.i.payload
        enable = Signal()
        m.d.comb += enable.eq(self.o.ready | ~self.o.valid)
        m.d.comb += self.i.ready.eq(enable)

        is_region = Signal()
        is_int8 = Signal()
        is_hi = Signal()
        m.d.comb += [
            is_region.eq(beat.mode == OperandMode.REGION),
            is_int8.eq(beat.mode == OperandMode.INT8),
            is_hi.eq(beat.mode == OperandMode.HI),
        ]
        o_beat = Signal(self.o_layout)
        with m.If(enable):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(o_beat)]
        m.d.comb += [
            o_beat.side.eq(beat.side),
            o_beat.k.eq(beat.k),
        ]
        with m.If(is_hi):
            m.d.comb += o_beat.k.eq(K_MAX)
        with m.Elif(beat.mode == OperandMode.LO):
            m.d.comb += o_beat.k.eq(0)

        for row in range(self.rows):
            code = beat.codes[row]
            region = Signal(name=f"region_{row}")
            offset = Signal(7, name=f"offset_{row}")
            # m - z lies in -112..127 and m in 0..127: eight bits signed hold both.
            from_region = Signal(signed(8), name=f"from_region_{row}")
            mantissa = Signal(8, name=f"mantissa_{row}")
            flag = Signal(name=f"flag_{row}")
            difference = code[:7] - offset
            m.d.comb += [
                region.eq(code[7]),
                offset.eq(beat.zero_point & ~region.replicate(7)),
                from_region.eq(difference[:8].as_signed()),
                flag.eq(~beat.pad[row] & ((is_region & region) | is_int8 | is_hi)),
            ]
            with m.If(beat.pad[row]):
                m.d.comb += mantissa.eq(0)
            with m.Elif(is_region):
                m.d.comb += mantissa.eq(from_region)
            with m.Elif(is_int8):
                m.d.comb += mantissa.eq(code[:8])
            with m.Elif(is_hi):
                m.d.comb += mantissa.eq(code[4:12])
            with m.Else():
                m.d.comb += mantissa.eq(Cat(code[:4], Const(0, unsigned(4))))
            m.d.comb += [
                o_beat.mantissa[row].eq(mantissa.as_signed()),
                o_beat.flag[row].eq(flag),
            ]
        return m
