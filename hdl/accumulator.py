"""Sums over the passes of a tile, in two banks that fill and drain in turn."""

from amaranth.hdl import Array, Module, Mux, Signal, signed
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
    draining  a read a cycle while the output moves; the       its last beat enters the
              banks drain in turn                              output register
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
    One beat a cycle. Cycle 0 accepts and reads; 1 selects the entry or a newer sum; 2 adds;
    3 writes. The drain issues reads from cycle 4 on; a read is at ``o`` two cycles later.
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
        reads, writes = [], []
        for bank in range(2):
            m.submodules[f"bank_{bank}"] = memory = Memory(shape=entry, depth=self.depth, init=[])
            reads.append(memory.read_port())
            writes.append(memory.write_port())

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

        settled, settled_bank = self._elaborate_fill(m, fires, finishes, fill_bank, reads, writes)
        with m.If(settled):
            m.d.sync += complete[settled_bank].eq(1)

        # drain: issue a read, hold its data in the memory's register, then in the output's
        moves = Signal()
        issues = Signal()
        issues_end = Signal()
        drain_pixel = Signal(self.pixel_width)
        read_valid = Signal()
        read_bank = Signal()
        read_pixel = Signal(self.pixel_width)
        read_end = Signal()
        read_side = Signal(self.side_width)
        m.d.comb += [
            moves.eq(self.o.ready | ~self.o.valid),
            issues.eq(complete[drain_bank]),
            issues_end.eq(drain_pixel == last_pixel[drain_bank]),
        ]
        with m.If(moves):
            m.d.sync += [
                read_valid.eq(issues),
                read_bank.eq(drain_bank),
                read_pixel.eq(drain_pixel),
                read_end.eq(issues_end),
                read_side.eq(tile_side[drain_bank]),
                self.o.valid.eq(read_valid),
                self.o.payload.acc.eq(Mux(read_bank, reads[1].data, reads[0].data)),
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
                        drain_bank.eq(~drain_bank),
                    ]
            with m.If(read_valid & read_end):
                m.d.sync += busy[read_bank].eq(0)

        for bank in range(2):
            drains = Signal(name=f"drains_{bank}")
            m.d.comb += [
                drains.eq(busy[bank]),
                reads[bank].addr.eq(Mux(drains, drain_pixel, beat.pixel)),
                # a stalled drain keeps its data in the memory's register
                reads[bank].en.eq(~drains | moves),
            ]
        return m

    def _elaborate_fill(self, m, fires, finishes, fill_bank, reads, writes):
        """Read, select, add, write; return (settled, bank) of a tile's last write."""
        beat = self.i.payload
        names = ("select", "add", "write", "written")
        valid = [Signal(name=f"{name}_valid") for name in names]
        address = [Signal(self.pixel_width + 1, name=f"{name}_address") for name in names]
        sums = [Signal(self.i_layout["sums"].shape, name=f"{name}_sums") for name in names[:2]]
        finish = [Signal(name=f"{name}_finish") for name in names[:3]]
        entry = data.ArrayLayout(signed(self.acc_width), self.cols)
        base = Signal(entry)
        total = [Signal(entry, name=f"{name}_total") for name in names[2:]]
        overwrite = Signal()
        newest = Signal()

        m.d.sync += [
            valid[0].eq(fires),
            address[0].eq((fill_bank << self.pixel_width) | beat.pixel),
            sums[0].eq(beat.sums),
            overwrite.eq(beat.first),
            finish[0].eq(finishes),
        ]
        for stage in range(1, 4):
            m.d.sync += [
                valid[stage].eq(valid[stage - 1]),
                address[stage].eq(address[stage - 1]),
            ]
        m.d.sync += [
            sums[1].eq(sums[0]),
            finish[1].eq(finish[0]),
            finish[2].eq(finish[1]),
            total[1].eq(total[0]),
        ]

        # A beat in `select` may find its entry one, two or three beats ahead of it: in `add`
        # (taken next cycle, from `write`), in `write`, or in `written`.
        same = [Signal(name=f"same_as_{name}") for name in names[1:]]
        for stage in range(1, 4):
            m.d.comb += same[stage - 1].eq(valid[stage] & (address[stage] == address[0]))
        selected = Signal(entry)
        m.d.comb += selected.eq(
            Mux(
                same[1],
                total[0],
                Mux(
                    same[2],
                    total[1],
                    Mux(address[0][-1], reads[1].data, reads[0].data),
                ),
            )
        )
        m.d.sync += newest.eq(same[0] & ~overwrite)
        m.d.sync += base.eq(Mux(overwrite, 0, selected))
        for col in range(self.cols):
            augend = Signal(signed(self.acc_width), name=f"augend_{col}")
            added = Signal(signed(self.acc_width + 1), name=f"added_{col}")
            m.d.comb += [
                augend.eq(Mux(newest, total[0][col], base[col])),
                added.eq(augend + sums[1][col]),
            ]
            m.d.sync += total[0][col].eq(added[: self.acc_width].as_signed())

        for bank in range(2):
            m.d.comb += [
                writes[bank].addr.eq(address[2][: self.pixel_width]),
                writes[bank].data.eq(total[0]),
                writes[bank].en.eq(valid[2] & (address[2][-1] == bank)),
            ]
        return finish[2], address[2][-1]
