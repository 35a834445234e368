"""Timestep-group scale register file: the constants of a tile at its sampler step."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.scale_file import (
    LOOKUP_BACK,
    LOOKUP_FRONT,
    READ_LATENCY,
    STEP_BITS,
    TABLE_SET_BITS,
    ScaleFileConfig,
    Table,
)
from hdl.checks import check_size

__all__ = ["ScaleFile", "TileLookup"]

PATHS = ("conv", "activation", "edge")
DATA_BITS = 32
GROUP_BITS = 4  # at most 16 groups
IN_FLIGHT_BITS = 8


def operand_layout():
    """Return the layout of an OPERAND row."""
    return data.StructLayout({"zero_point": 7, "k": 3})


def silu_layout():
    """Return the layout of a SILU row."""
    return data.StructLayout({"multiplier": 16, "shift": 5, "zero_point": 7, "k": 3})


def scale_layout():
    """Return the layout of an EDGE row, and of a lane of a SCALE row."""
    return data.StructLayout({"multiplier": 16, "shift": 6})


def tile_layout(side_width, channel_tile_bits):
    """Return the payload of a lookup: the tile's fields, which every beat carries."""
    return data.StructLayout(
        {
            "bank": 1,
            "table_set": TABLE_SET_BITS,
            "step": STEP_BITS,
            "segment": 1,
            "channel_tile": channel_tile_bits,
            "start": 1,
            "side": side_width,
        }
    )


def bank_layout():
    """Return what a bank knows of its contents."""
    return data.StructLayout(
        {
            "table_set": TABLE_SET_BITS,
            "step_first": STEP_BITS,
            "step_last": STEP_BITS,
            "group_first": GROUP_BITS,
            "loaded": 1,
        }
    )


class TileLookup(wiring.Component):
    """One path through the scale file: group of the step, check of the bank, table row.

    Two registers stand before the check (the beat; the beat and its group) and two after it
    (the beat and its row numbers; the beat and its constants). The front moves if its last
    register is a bubble, or its beat passes and the back moves (``o.ready | ~o.valid``). A
    waiting beat's group follows the boundary registers.

    Parameters
    ----------
    config : ScaleFileConfig
    side_width : int
        Opaque bits that travel with the beat.
    row_bits : int
        Bits of ``table_row``, which selects a row of this path's table.
    row_layout : data.StructLayout
        A row of this path's table.
    by_segment : bool
        The row is {group row, segment} instead of {group row}.

    Members
    -------
    i : stream of ``tile_layout``
    o : stream of constants (``row_layout``), bank, scale_row, bias_row, side
    boundaries : first step of groups 1.. (STEP_BITS + 1 bits each: 2**STEP_BITS is never reached)
    banks : table_set, first and last step, first group, loaded, of both banks
    starts (2) : a tile enters the bank in this cycle
    table_row, constants : read of the path's table, in the same cycle
    """

    def __init__(self, *, config, side_width, row_layout, by_segment):
        self.config = config
        self.side_width = side_width
        self.by_segment = by_segment
        self.row_bits = config.group_row_bits + (1 if by_segment else 0) + 1
        self.i_layout = tile_layout(side_width, config.channel_tile_bits)
        self.o_layout = data.StructLayout(
            {
                "constants": row_layout,
                "bank": 1,
                "scale_row": config.scale_row_bits,
                "bias_row": config.bias_row_bits,
                "side": side_width,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(self.i_layout)),
                "o": Out(stream.Signature(self.o_layout)),
                "boundaries": In(data.ArrayLayout(STEP_BITS + 1, max(1, config.groups - 1))),
                "banks": In(data.ArrayLayout(bank_layout(), 2)),
                "starts": Out(2),
                "table_row": Out(self.row_bits),
                "constants": In(row_layout),
            }
        )

    @property
    def latency(self):
        """Cycles from an accepted beat to ``o.valid`` if its bank is loaded."""
        return LOOKUP_FRONT + LOOKUP_BACK

    def elaborate(self, platform):
        m = Module()
        config = self.config
        back_moves = Signal()
        front_moves = Signal()
        passes = Signal()

        # front: the beat, then the beat with its group
        first = Signal(self.i_layout)
        first_valid = Signal()
        checked = Signal(self.i_layout)
        checked_valid = Signal()
        group = Signal(GROUP_BITS)
        grouped_step = Signal(STEP_BITS)
        reached = Signal(max(1, config.groups - 1))
        m.d.comb += [
            self.i.ready.eq(front_moves),
            grouped_step.eq(Mux(front_moves, first.step, checked.step)),
        ]
        for index in range(config.groups - 1):
            m.d.comb += reached[index].eq(self.boundaries[index] <= grouped_step)
        m.d.sync += group.eq(sum(reached[1:], reached[0])[:GROUP_BITS])
        with m.If(front_moves):
            m.d.sync += [
                first.eq(self.i.payload),
                first_valid.eq(self.i.valid),
                checked.eq(first),
                checked_valid.eq(first_valid),
            ]

        bank = Signal(bank_layout())
        hit = Signal()
        m.d.comb += [
            bank.eq(self.banks[checked.bank]),
            hit.eq(
                bank.loaded
                & (bank.table_set == checked.table_set)
                & (bank.step_first <= checked.step)
                & (checked.step <= bank.step_last)
            ),
            back_moves.eq(self.o.ready | ~self.o.valid),
            passes.eq(checked_valid & hit & back_moves),
            front_moves.eq(~checked_valid | passes),
            self.starts.eq(
                Cat(passes & checked.start & ~checked.bank, passes & checked.start & checked.bank)
            ),
        ]

        # back: the beat and its rows, then the beat and its constants
        group_row = Signal(config.group_row_bits)
        step_row = Signal(config.step_row_bits)
        m.d.comb += [
            group_row.eq((group - bank.group_first)[: config.group_row_bits]),
            step_row.eq((checked.step - bank.step_first)[: config.step_row_bits]),
        ]
        rowed = Signal(self.o_layout)
        rowed_valid = Signal()
        rowed_segment = Signal()
        output = Signal(self.o_layout)
        group_row_at = config.channel_tile_bits
        m.d.comb += [
            self.table_row.eq(
                Cat(
                    rowed_segment if self.by_segment else [],
                    rowed.scale_row[group_row_at:],
                    rowed.bank,
                )
            ),
            output.eq(rowed),
            output.constants.eq(self.constants),
        ]
        with m.If(back_moves):
            m.d.sync += [
                rowed_valid.eq(passes),
                rowed.bank.eq(checked.bank),
                rowed.scale_row.eq(Cat(checked.channel_tile, group_row)),
                rowed.bias_row.eq(Cat(checked.channel_tile, step_row)),
                rowed.side.eq(checked.side),
                rowed_segment.eq(checked.segment),
                self.o.valid.eq(rowed_valid),
                self.o.payload.eq(output),
            ]
        return m


class ScaleFile(wiring.Component):
    """Two banks of table sets, three lookups by tile and one read port by row.

    ``group = number of boundary registers <= step``. A tile names its bank and its table set; it
    waits at the input until that bank holds the set and the step. A set must hold every group
    that its steps belong to. Group and step change between two tiles without a bubble.

    ======  ==============================================  ===================================
    bank    meaning                                         leaves it
    ======  ==============================================  ===================================
    open    takes writes; tiles that name it wait           a COMMIT is accepted
    loaded  tiles with its table set and step pass          another write to it, or a BOUNDARY
                                                            (which opens both), is accepted
    ======  ==============================================  ===================================

    A bank is *busy* from the first beat of a tile (``start``) until its release. A write is
    accepted if its bank (BOUNDARY: both) is not busy and no tile enters it in this cycle.

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
    i_write : stream of table (``golden.scale_file.Table``), bank, row, lane, data (32 bits)
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
    ``i_read.ready = o_read.ready``. A COMMIT is seen by tiles in the next cycle.
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
        write = self.i_write.payload
        writes = Signal()
        banks = Signal(data.ArrayLayout(bank_layout(), 2))
        boundaries = Signal(
            data.ArrayLayout(STEP_BITS + 1, max(1, self.groups - 1)),
            init=[1 << STEP_BITS] * max(1, self.groups - 1),
        )
        m.d.comb += writes.eq(self.i_write.valid & self.i_write.ready)
        self._elaborate_banks(m, write, writes, banks, boundaries)

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
                read.addr.eq(unit.table_row),
                unit.constants.eq(read.data),
                table_write.addr.eq(Cat(write.row[: unit.row_bits - 1], write.bank)),
                table_write.data.eq(write.data[: row_layout.size]),
                table_write.en.eq(writes & (write.table == tables[path])),
            ]
        self._elaborate_read(m, write, writes)
        return m

    def _elaborate_banks(self, m, write, writes, banks, boundaries):
        """Boundary registers, what each bank holds, and the tiles in flight."""
        idle = Signal(2)
        is_boundary = Signal()
        m.d.comb += [
            is_boundary.eq(write.table == Table.BOUNDARY),
            self.i_write.ready.eq(
                Mux(
                    self.i_write.valid & ~is_boundary,
                    Mux(write.bank, idle[1], idle[0]),
                    idle.all(),
                )
            ),
        ]
        for index in range(self.groups - 1):
            with m.If(writes & is_boundary & (write.row == index)):
                m.d.sync += boundaries[index].eq(write.data[:STEP_BITS])
        for bank in range(2):
            own = Signal(name=f"writes_bank_{bank}")
            m.d.comb += own.eq(writes & (is_boundary | (write.bank == bank)))
            with m.If(own):
                m.d.sync += banks[bank].loaded.eq(write.table == Table.COMMIT)
                with m.If(write.table == Table.COMMIT):
                    m.d.sync += [
                        banks[bank].table_set.eq(write.data[:8]),
                        banks[bank].step_first.eq(write.data[8:18]),
                        banks[bank].step_last.eq(write.data[18:28]),
                        banks[bank].group_first.eq(write.data[28:32]),
                    ]
            in_flight = Signal(IN_FLIGHT_BITS, name=f"in_flight_{bank}")
            starts = [self.lookups[path].starts[bank] for path in PATHS]
            releases = [
                getattr(self, f"release_{path}") & (getattr(self, f"release_{path}_bank") == bank)
                for path in PATHS
            ]
            entered = sum(starts[1:], starts[0])
            left = sum(releases[1:], releases[0])
            m.d.sync += in_flight.eq((in_flight + entered - left)[:IN_FLIGHT_BITS])
            m.d.comb += [
                self.bank_busy[bank].eq(in_flight != 0),
                idle[bank].eq(~self.bank_busy[bank] & ~Cat(starts).any()),
            ]

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
                shape=shape, depth=2 << row_bits, init=[]
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
