"""Timestep-group scale register file: the constants of a tile at its sampler step."""

from amaranth.hdl import Assert, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.scale_file import LOOKUP_BACK, LOOKUP_FRONT, READ_LATENCY
from golden.scale_tables import STEP_BITS, ScaleFileConfig, Table
from hdl.checks import check_size
from hdl.tile_lookup import TileLookup, bank_layout, operand_layout, scale_layout, silu_layout

__all__ = ["ScaleFile"]

PATHS = ("conv", "activation", "edge")
DATA_BITS = 32
IN_FLIGHT_BITS = 8


class ScaleFile(wiring.Component):
    """Two banks of table sets, three lookups by tile and one read port by row.

    ``group = number of boundary registers <= step``. A tile names its bank and its table set; it
    waits at the input until that bank holds the set and the step. A set must hold every group
    that its steps belong to. Group and step change between two tiles without a bubble.

    ======  ==============================================  ===================================
    bank    meaning                                         leaves it
    ======  ==============================================  ===================================
    shut    takes no writes; tiles pass if it is loaded     a write to it is offered while it is
            with their table set and step                   not busy: open from the next cycle
    open    takes writes; tiles that name it wait           a COMMIT is accepted; or a tile has
                                                            entered in the cycle of the offer
    ======  ==============================================  ===================================

    A COMMIT loads a bank, any other accepted write to it, or a BOUNDARY, empties it. A bank is
    *busy* from the first beat of a tile (``start``) until its release. As a bank opens a cycle
    before its first write is taken, tiles that enter and writes never wait for each other within
    a cycle. A BOUNDARY waits until no bank is busy and no beat stands in front of a check, and no
    tile beat is taken while it is offered, nor before a COMMIT that follows it: a group is never
    computed from boundaries that change.

    Parameters
    ----------
    groups : int
        Timestep groups, 1..16: one boundary register fewer.
    resident_groups : int
        Groups that a bank holds, 1..groups.
    steps : int
        Sampler steps whose biases a bank holds, 1..1024.
    channel_tiles, lanes : int
        A bank holds M, n and b of channel_tiles x lanes output channels.
    conv_side, activation_side, edge_side, read_side : int
        Opaque bits that travel with a beat of each path.

    Members
    -------
    i_write : stream of table (``golden.scale_tables.Table``), bank, row, lane, data (32 bits)
    i_conv, i_activation, i_edge : streams of bank, table_set, step (execution order, 0..T-1),
        segment, channel_tile, start, side; the same in every beat of a tile but for start, side
    o_conv, o_activation, o_edge : streams of constants ({z, k}; {M0, n0, z, k}; {M, n}), bank,
        scale_row, bias_row, side
    i_read : stream of bank, scale_row, bias_row, side
    o_read : stream of multiplier, shift, bias (each x lanes), side
    release_*, release_*_bank : a tile of that path has left the requantizer or quantizer
    bank_busy (2) : tiles of the bank are in flight

    Timing
    ------
    Lookups: 4 cycles, one beat a cycle. Read: 2 cycles; it moves with its consumer,
    ``i_read.ready = o_read.ready``. Tiles may use a set from the third cycle
    after its COMMIT on.
    """

    def __init__(
        self,
        *,
        groups=8,
        resident_groups=8,
        steps=8,
        channel_tiles=4,
        lanes=16,
        conv_side=0,
        activation_side=0,
        edge_side=0,
        read_side=0,
    ):
        self.groups = check_size("groups", groups, 1, 16)
        self.resident_groups = check_size("resident_groups", resident_groups, 1, groups)
        self.steps = check_size("steps", steps, 1, 1024)
        self.channel_tiles = check_size("channel_tiles", channel_tiles, 1, 256)
        self.lanes = check_size("lanes", lanes, 1, 64)
        self.conv_side = check_size("conv_side", conv_side, 0, 4096)
        self.activation_side = check_size("activation_side", activation_side, 0, 4096)
        self.edge_side = check_size("edge_side", edge_side, 0, 4096)
        self.read_side = check_size("read_side", read_side, 0, 8192)
        self.config = config = ScaleFileConfig(groups, resident_groups, steps, channel_tiles, lanes)
        self.write_layout = data.StructLayout(
            {
                "table": 3,
                "bank": 1,
                "row": config.row_bits,
                "lane": max(1, (lanes - 1).bit_length()),
                "data": DATA_BITS,
            }
        )
        self.read_layout = data.StructLayout(
            {
                "bank": 1,
                "scale_row": config.scale_row_bits,
                "bias_row": config.bias_row_bits,
                "side": read_side,
            }
        )
        self.o_read_layout = data.StructLayout(
            {
                "multiplier": data.ArrayLayout(16, lanes),
                "shift": data.ArrayLayout(6, lanes),
                "bias": data.ArrayLayout(signed(16), lanes),
                "side": read_side,
            }
        )
        self.lookups = {
            "conv": TileLookup(
                config=config, side_width=conv_side, row_layout=operand_layout(), by_segment=True
            ),
            "activation": TileLookup(
                config=config,
                side_width=activation_side,
                row_layout=silu_layout(),
                by_segment=False,
            ),
            "edge": TileLookup(
                config=config, side_width=edge_side, row_layout=scale_layout(), by_segment=True
            ),
        }
        ports = {
            "i_write": In(stream.Signature(self.write_layout)),
            "i_read": In(stream.Signature(self.read_layout)),
            "o_read": Out(stream.Signature(self.o_read_layout)),
            "bank_busy": Out(2),
        }
        for path, unit in self.lookups.items():
            ports[f"i_{path}"] = In(stream.Signature(unit.i_layout))
            ports[f"o_{path}"] = Out(stream.Signature(unit.o_layout))
            ports[f"release_{path}"] = In(1)
            ports[f"release_{path}_bank"] = In(1)
        super().__init__(ports)

    @property
    def latency(self):
        """Cycles from an accepted tile beat to its constants if its bank is loaded."""
        return LOOKUP_FRONT + LOOKUP_BACK

    @property
    def read_latency(self):
        """Cycles of movement from ``i_read`` to ``o_read``."""
        return READ_LATENCY

    def elaborate(self, platform):
        m = Module()
        write = Signal(self.write_layout)
        writes = Signal()
        banks = Signal(data.ArrayLayout(bank_layout(), 2))
        boundaries = Signal(
            data.ArrayLayout(STEP_BITS + 1, max(1, self.groups - 1)),
            init=[1 << STEP_BITS] * max(1, self.groups - 1),
        )
        accepts = Signal()
        m.d.comb += accepts.eq(self.i_write.valid & self.i_write.ready)
        m.d.sync += writes.eq(accepts)
        with m.If(accepts):
            m.d.sync += write.eq(self.i_write.payload)
        commits = Signal()
        m.d.comb += commits.eq(writes & (write.table == Table.COMMIT))
        is_open = Signal(2)
        emptied = self._elaborate_admission(m, accepts, commits, is_open)
        self._elaborate_contents(m, write, writes, commits, emptied, banks, boundaries)

        tables = {"conv": Table.OPERAND, "activation": Table.SILU, "edge": Table.EDGE}
        for path in PATHS:
            unit = self.lookups[path]
            m.submodules[f"lookup_{path}"] = unit
            row_layout = unit.o_layout["constants"].shape
            m.submodules[f"table_{path}"] = memory = Memory(
                shape=row_layout, depth=1 << unit.row_bits, init=[]
            )
            read = memory.read_port(domain="comb")
            table_write = memory.write_port()
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{path}")), unit.i)
            wiring.connect(m, wiring.flipped(getattr(self, f"o_{path}")), unit.o)
            m.d.comb += [
                unit.boundaries.eq(boundaries),
                unit.banks.eq(banks),
                unit.shut.eq(~is_open),
                read.addr.eq(unit.table_row),
                unit.constants.eq(read.data),
                table_write.addr.eq(Cat(write.row[: unit.row_bits - 1], write.bank)),
                table_write.data.eq(write.data[: row_layout.size]),
                table_write.en.eq(writes & (write.table == tables[path])),
            ]
        self._elaborate_read(m, write, writes)
        return m

    def _elaborate_admission(self, m, accepts, commits, is_open):
        """Decide who may enter: writes and tiles; return which banks a write empties."""
        offered = self.i_write.payload
        offers_boundary = Signal()
        waiting = Signal()
        takes = Signal(2)
        emptied = Signal(2)
        m.d.comb += [
            offers_boundary.eq(self.i_write.valid & (offered.table == Table.BOUNDARY)),
            waiting.eq(Cat(unit.waiting for unit in self.lookups.values()).any()),
        ]
        with m.If(offers_boundary):  # no beat before a check: none enters a bank in this cycle
            m.d.comb += self.i_write.ready.eq(~self.bank_busy.any() & ~waiting)
        with m.Elif(self.i_write.valid):
            m.d.comb += self.i_write.ready.eq(Mux(offered.bank, takes[1], takes[0]))
        with m.Else():
            m.d.comb += self.i_write.ready.eq(takes.any())
        known = Signal()  # a table set was committed after the last boundary
        for unit in self.lookups.values():
            m.d.comb += unit.open.eq(known & ~offers_boundary)
        with m.If(commits):
            m.d.sync += known.eq(1)
        with m.If(accepts & offers_boundary):
            m.d.sync += known.eq(0)
        for bank in range(2):
            m.d.comb += emptied[bank].eq(accepts & (offers_boundary | (offered.bank == bank)))
            in_flight = Signal(IN_FLIGHT_BITS, name=f"in_flight_{bank}")
            starts = [self.lookups[path].starts[bank] for path in PATHS]
            releases = [
                getattr(self, f"release_{path}") & (getattr(self, f"release_{path}_bank") == bank)
                for path in PATHS
            ]
            entered = sum(starts[1:], starts[0])
            left = sum(releases[1:], releases[0])
            legal = Signal(name=f"legal_{bank}")
            m.d.comb += legal.eq(left <= in_flight + entered)
            m.d.sync += [
                in_flight.eq((in_flight + entered - left)[:IN_FLIGHT_BITS]),
                Assert(legal),  # type: ignore[call-arg]  # the stubs lag behind
            ]
            offers = Signal(name=f"offers_{bank}")
            m.d.comb += [
                offers.eq(self.i_write.valid & ~offers_boundary & (offered.bank == bank)),
                self.bank_busy[bank].eq(in_flight != 0),
                takes[bank].eq(is_open[bank] & ~self.bank_busy[bank]),
            ]
            with m.If(self.bank_busy[bank] | (accepts & offers & (offered.table == Table.COMMIT))):
                m.d.sync += is_open[bank].eq(0)
            with m.Elif(offers):
                m.d.sync += is_open[bank].eq(1)
        return emptied

    def _elaborate_contents(self, m, write, writes, commits, emptied, banks, boundaries):
        """Boundary registers, and what each bank holds; loaded comes a cycle after it."""
        for index in range(self.groups - 1):
            with m.If(writes & (write.table == Table.BOUNDARY) & (write.row == index)):
                m.d.sync += boundaries[index].eq(write.data[:STEP_BITS])
        for bank in range(2):
            committed = Signal(name=f"committed_{bank}")
            m.d.sync += committed.eq(0)
            with m.If(commits & (write.bank == bank)):
                m.d.sync += [
                    committed.eq(1),
                    banks[bank].table_set.eq(write.data[:8]),
                    banks[bank].step_first.eq(write.data[8:18]),
                    banks[bank].step_last.eq(write.data[18:28]),
                    banks[bank].group_first.eq(write.data[28:32]),
                ]
            with m.If(committed):
                m.d.sync += banks[bank].loaded.eq(1)
            with m.If(emptied[bank]):
                m.d.sync += [committed.eq(0), banks[bank].loaded.eq(0)]

    def _elaborate_read(self, m, write, writes):
        """SCALE and BIAS tables: one lane written, all lanes read."""
        config = self.config
        scale_words = data.ArrayLayout(scale_layout().size, self.lanes)
        bias_words = data.ArrayLayout(signed(16), self.lanes)
        request = self.i_read.payload
        moves = Signal()
        m.d.comb += [moves.eq(self.o_read.ready), self.i_read.ready.eq(moves)]
        reads = {}
        for name, table, shape, row_bits, row in (
            ("scale", Table.SCALE, scale_words, config.scale_row_bits, request.scale_row),
            ("bias", Table.BIAS, bias_words, config.bias_row_bits, request.bias_row),
        ):
            m.submodules[f"table_{name}"] = memory = Memory(
                shape=shape, depth=2 << row_bits, init=[], attrs={"no_rw_check": "1"}
            )
            reads[name] = memory.read_port()
            port = memory.write_port(granularity=1)
            m.d.comb += [
                reads[name].addr.eq(Cat(row, request.bank)),
                reads[name].en.eq(moves),
                port.addr.eq(Cat(write.row[:row_bits], write.bank)),
            ]
            lane_bits = shape.elem_shape.width if name == "bias" else scale_layout().size
            for lane in range(self.lanes):
                m.d.comb += [
                    port.data[lane].eq(write.data[:lane_bits]),
                    port.en[lane].eq(writes & (write.table == table) & (write.lane == lane)),
                ]
        read_valid = Signal()
        read_side = Signal(self.read_side)
        output = self.o_read.payload
        with m.If(moves):
            m.d.sync += [
                read_valid.eq(self.i_read.valid),
                read_side.eq(request.side),
                self.o_read.valid.eq(read_valid),
                output.side.eq(read_side),
            ]
            for lane in range(self.lanes):
                m.d.sync += [
                    output.multiplier[lane].eq(reads["scale"].data[lane][:16]),
                    output.shift[lane].eq(reads["scale"].data[lane][16:22]),
                    output.bias[lane].eq(reads["bias"].data[lane]),
                ]
