"""Sums over the passes of a tile, in two banks that fill and drain in turn."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hdl.checks import check_size

__all__ = ["Accumulator"]


class Accumulator(wiring.Component):
    """``acc[pixel] = sums`` where the beat is flagged ``first``, else ``acc[pixel] += sums``.

    The beat flagged ``last`` and ``end`` finishes the tile: its pixel is the tile's highest, and
    pixels 0..pixel then drain in order, one a cycle, while the next tile fills the other bank.
    Beats to one pixel may follow each other at any distance.

    ========  ===============================================  ==========================
    bank      meaning                                          leaves it
    ========  ===============================================  ==========================
    filling   takes beats                                      accepts the finishing beat
    settling  3 cycles until the last sum is written           by itself
    draining  a read a cycle while the output moves; the       its last read is issued
              banks drain in turn
    ========  ===============================================  ==========================

    ``i.ready`` is 1 unless the bank whose turn it is to fill settles or drains. Sums leave
    32 bits only if the artifact's overflow proof is violated; they wrap then.

    Parameters
    ----------
    depth : int
        Pixels of a tile at most, 1..4096.
    cols : int
        Lanes, 1..64.
    sum_width, acc_width : int
        Bits of an incoming sum and of an entry, both signed.
    side_width : int
        Opaque bits of the finishing beat, which come out with every beat of the tile.

    Members
    -------
    i : stream of sums (cols x sum_width), pixel, first, last, end, side
    o : stream of acc (cols x acc_width), pixel, end (the tile's last beat), side

    Timing
    ------
    One beat a cycle. Cycle 0 accepts and reads; 1 registers the entry; 2 adds it, or a newer
    sum, 3 writes. The drain issues reads from cycle 4 on; a read is at ``o`` two cycles later.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, depth=256, cols=16, sum_width=24, acc_width=32, side_width=0):
        self.depth = check_size("depth", depth, 1, 4096)
        self.cols = check_size("cols", cols, 1, 64)
        self.acc_width = check_size("acc_width", acc_width, 8, 48)
        self.sum_width = check_size("sum_width", sum_width, 2, acc_width)
        self.side_width = check_size("side_width", side_width, 0, 4096)
        self.pixel_width = max(1, (depth - 1).bit_length())
        self.i_layout = data.StructLayout(
            {
                "sums": data.ArrayLayout(signed(sum_width), cols),
                "pixel": self.pixel_width,
                "first": 1,
                "last": 1,
                "end": 1,
                "side": side_width,
            }
        )
        self.o_layout = data.StructLayout(
            {
                "acc": data.ArrayLayout(signed(acc_width), cols),
                "pixel": self.pixel_width,
                "end": 1,
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
        """Cycles from the finishing beat of a tile to ``o.valid`` of its pixel 0."""
        return 6

    def elaborate(self, platform):
        m = Module()
        entry = data.ArrayLayout(signed(self.acc_width), self.cols)
        # No read meets a write of its address in a way that matters: newer sums are forwarded,
        # and a bank drains only after its last write.
        m.submodules.entries = memory = Memory(
            shape=entry,
            depth=2 << self.pixel_width,
            init=[],
            attrs={"no_rw_check": "1"},
        )
        fill_read = memory.read_port()
        drain_read = memory.read_port()
        write = memory.write_port()

        beat = self.i.payload
        fill_bank = Signal()
        drain_bank = Signal()
        busy = Array([Signal(name=f"busy_{bank}") for bank in range(2)])
        complete = Array([Signal(name=f"complete_{bank}") for bank in range(2)])
        last_pixel = Array(
            [Signal(self.pixel_width, name=f"last_pixel_{bank}") for bank in range(2)]
        )
        tile_side = Array([Signal(self.side_width, name=f"side_{bank}") for bank in range(2)])
        fires = Signal()
        finishes = Signal()
        m.d.comb += [
            self.i.ready.eq(~busy[fill_bank]),
            fires.eq(self.i.valid & self.i.ready),
            finishes.eq(fires & beat.last & beat.end),
        ]
        with m.If(finishes):
            m.d.sync += [
                fill_bank.eq(~fill_bank),
                busy[fill_bank].eq(1),
                last_pixel[fill_bank].eq(beat.pixel),
                tile_side[fill_bank].eq(beat.side),
            ]
        settled, settled_bank = self._elaborate_fill(
            m, Cat(beat.pixel, fill_bank), fires, finishes, fill_read, write
        )
        with m.If(settled):
            m.d.sync += complete[settled_bank].eq(1)

        # drain: issue a read, hold its data in the memory's register, then in the output's
        moves = Signal()
        issues = Signal()
        issues_end = Signal()
        drain_pixel = Signal(self.pixel_width)
        read_valid = Signal()
        read_pixel = Signal(self.pixel_width)
        read_end = Signal()
        read_side = Signal(self.side_width)
        m.d.comb += [
            moves.eq(self.o.ready | ~self.o.valid),
            issues.eq(complete[drain_bank]),
            issues_end.eq(drain_pixel == last_pixel[drain_bank]),
            drain_read.addr.eq(Cat(drain_pixel, drain_bank)),
            drain_read.en.eq(moves),
        ]
        with m.If(moves):
            m.d.sync += [
                read_valid.eq(issues),
                read_pixel.eq(drain_pixel),
                read_end.eq(issues_end),
                read_side.eq(tile_side[drain_bank]),
                self.o.valid.eq(read_valid),
                self.o.payload.acc.eq(drain_read.data),
                self.o.payload.pixel.eq(read_pixel),
                self.o.payload.end.eq(read_end),
                self.o.payload.side.eq(read_side),
            ]
            with m.If(issues):
                m.d.sync += drain_pixel.eq((drain_pixel + 1)[: self.pixel_width])
                with m.If(issues_end):
                    m.d.sync += [
                        drain_pixel.eq(0),
                        complete[drain_bank].eq(0),
                        busy[drain_bank].eq(0),
                        drain_bank.eq(~drain_bank),
                    ]
        return m

    def _elaborate_fill(self, m, read_address, fires, finishes, read, write):
        """Read, register, add, write; return (settled, bank) of a tile's last write."""
        beat = self.i.payload
        entry_layout = data.ArrayLayout(signed(self.acc_width), self.cols)
        # read, add, write: where a beat stands; written, older: sums that a read may have missed
        names = ("read", "add", "write", "written", "older")
        valid = [Signal(name=f"{name}_valid") for name in names[:4]]
        address = [Signal(self.pixel_width + 1, name=f"{name}_address") for name in names[:4]]
        sums = [Signal(self.i_layout["sums"].shape, name=f"{name}_sums") for name in names[:2]]
        finish = [Signal(name=f"{name}_finish") for name in names[:3]]
        total = [Signal(entry_layout, name=f"{name}_total") for name in names[2:]]
        entry = Signal(entry_layout)
        overwrite = Signal()
        m.d.comb += [read.addr.eq(read_address), read.en.eq(1)]
        m.d.sync += [
            valid[0].eq(fires),
            address[0].eq(read_address),
            sums[0].eq(beat.sums),
            overwrite.eq(beat.first),
            finish[0].eq(finishes),
            sums[1].eq(sums[0]),
            finish[1].eq(finish[0]),
            finish[2].eq(finish[1]),
            total[1].eq(total[0]),
            total[2].eq(total[1]),
            entry.eq(read.data),
        ]
        for stage in range(1, 4):
            m.d.sync += [
                valid[stage].eq(valid[stage - 1]),
                address[stage].eq(address[stage - 1]),
            ]
        with m.If(overwrite):
            m.d.sync += entry.eq(0)

        # A beat's read is too old if one of the three beats ahead of it went to its pixel: its sum
        # is then in `write`, `written` or `older`. The newest one counts.
        newest = Signal(2)
        same = [Signal(name=f"same_as_{name}") for name in names[1:4]]
        for stage in range(1, 4):
            m.d.comb += same[stage - 1].eq(valid[stage] & (address[stage] == address[0]))
        with m.If(overwrite):
            m.d.sync += newest.eq(0)
        with m.Else():
            m.d.sync += newest.eq(Mux(same[0], 1, Mux(same[1], 2, Mux(same[2], 3, 0))))
        for col in range(self.cols):
            augend = Signal(signed(self.acc_width), name=f"augend_{col}")
            added = Signal(signed(self.acc_width + 1), name=f"added_{col}")
            with m.Switch(newest):
                with m.Case(0):
                    m.d.comb += augend.eq(entry[col])
                for index in range(3):
                    with m.Case(index + 1):
                        m.d.comb += augend.eq(total[index][col])
            m.d.comb += added.eq(augend + sums[1][col])
            m.d.sync += total[0][col].eq(added[: self.acc_width].as_signed())
        m.d.comb += [
            write.addr.eq(address[2]),
            write.data.eq(total[0]),
            write.en.eq(valid[2]),
        ]
        return finish[2], address[2][-1]
