"""Timestep-group scale registers: which constants a tile uses at its sampler step.

``group = number of boundaries <= step``. Every table row is selected by the group, but for the
biases, which have a row a step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from golden.cycles import LockstepPipeline, RigidPipeline
from golden.numbers import SHIFT_MAX, Int64, as_int64, check_range

__all__ = [
    "BOUNDARY_BANK",
    "ScaleFileConfig",
    "ScaleFileModel",
    "Table",
    "TableSet",
    "TileLookupModel",
    "WriteEvents",
    "group_of",
    "lookup",
    "writes",
]

SEGMENTS = 2  # parts of a concatenated input
BOUNDARY_BANK = 0  # the bank field of boundary writes; they concern both
STEP_BITS = 10
TABLE_SET_BITS = 8
LOOKUP_FRONT = 2  # registers before the bank is checked
LOOKUP_BACK = 2  # registers after it
READ_LATENCY = 2
COMMIT_CYCLES = 2  # between the acceptance of a COMMIT and the first cycle in which tiles pass


class Table(IntEnum):
    """Target of a write beat and the layout of its 32 data bits, LSB first."""

    OPERAND = 0  # z (7), k (3);             row = {group row, segment}
    SCALE = 1  # M (16), n (6);              row = {group row, channel tile}, one lane
    BIAS = 2  # b (16 signed);               row = {step row, channel tile}, one lane
    SILU = 3  # M0 (16), n0 (5), z (7), k (3); row = group row
    EDGE = 4  # M (16), n (6);               row = {group row, segment}
    BOUNDARY = 5  # first step of group row + 1, both banks
    COMMIT = 6  # table_set (8), first step (10), last step (10), first group (4)


@dataclass(frozen=True)
class ScaleFileConfig:
    """Sizes of the scale file; see ``hdl.scale_file.ScaleFile``."""

    groups: int = 8
    resident_groups: int = 8
    steps: int = 8
    channel_tiles: int = 4
    lanes: int = 16

    @property
    def segment_bits(self) -> int:
        """Bits that select a segment."""
        return 1

    @property
    def group_row_bits(self) -> int:
        """Bits that select a resident group."""
        return (self.resident_groups - 1).bit_length()

    @property
    def step_row_bits(self) -> int:
        """Bits that select a resident step."""
        return (self.steps - 1).bit_length()

    @property
    def channel_tile_bits(self) -> int:
        """Bits that select a channel tile."""
        return (self.channel_tiles - 1).bit_length()

    @property
    def scale_row_bits(self) -> int:
        """Bits of a row of the SCALE table."""
        return self.group_row_bits + self.channel_tile_bits

    @property
    def bias_row_bits(self) -> int:
        """Bits of a row of the BIAS table."""
        return self.step_row_bits + self.channel_tile_bits

    @property
    def row_bits(self) -> int:
        """Bits of the row field of a write beat, at least 1."""
        return max(
            1,
            self.scale_row_bits,
            self.bias_row_bits,
            self.group_row_bits + self.segment_bits,
            (self.groups - 2).bit_length() if self.groups > 1 else 0,
        )


@dataclass(frozen=True, eq=False)
class TableSet:
    """Constants of one layer for a range of groups and steps, as one bank holds them.

    It must hold every group that its steps belong to.
    ``bank`` 0 or 1; ``table_set`` 0..255 names the layer. ``group_base``, ``step_base``: what row
    0 stands for. ``operand_z`` (0..112), ``operand_k`` (0..4), ``edge_multiplier``,
    ``edge_shift``: (groups, 2), by segment. ``multiplier``, ``shift``: (groups, channels);
    ``bias``: (steps, channels), channels = channel_tiles x lanes. ``silu``: (groups, 4) with
    M0, n0, z, k.
    """

    bank: int
    table_set: int
    group_base: int
    step_base: int
    operand_z: Int64
    operand_k: Int64
    multiplier: Int64
    shift: Int64
    bias: Int64
    silu: Int64
    edge_multiplier: Int64
    edge_shift: Int64

    @property
    def step_last(self) -> int:
        """Last sampler step that the set holds."""
        return self.step_base + len(self.bias) - 1

    @property
    def group_last(self) -> int:
        """Last timestep group that the set holds."""
        return self.group_base + len(self.multiplier) - 1

    def check(self, config: ScaleFileConfig) -> None:
        """``ValueError`` unless the set fits ``config`` and every value its field."""
        groups, channels = len(self.multiplier), config.channel_tiles * config.lanes
        shapes = {
            "operand_z": (groups, SEGMENTS),
            "operand_k": (groups, SEGMENTS),
            "multiplier": (groups, channels),
            "shift": (groups, channels),
            "bias": (len(self.bias), channels),
            "silu": (groups, 4),
            "edge_multiplier": (groups, SEGMENTS),
            "edge_shift": (groups, SEGMENTS),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")
        if not 1 <= groups <= config.resident_groups:
            raise ValueError(f"groups must be in 1..{config.resident_groups}, got {groups}")
        if not 1 <= len(self.bias) <= config.steps:
            raise ValueError(f"steps must be in 1..{config.steps}, got {len(self.bias)}")
        check_range(self.operand_z, 0, 112, "operand_z")
        check_range(self.operand_k, 0, 4, "operand_k")
        check_range(self.multiplier, 0, 65535, "multiplier")
        check_range(self.shift, 0, SHIFT_MAX, "shift")
        check_range(self.bias, -32768, 32767, "bias")
        check_range(self.edge_multiplier, 0, 65535, "edge_multiplier")
        check_range(self.edge_shift, 0, SHIFT_MAX, "edge_shift")
        for column, high in enumerate((65535, 31, 112, 7)):
            check_range(self.silu[:, column], 0, high, "silu")


def group_of(boundaries: npt.ArrayLike, step: npt.ArrayLike) -> Int64:
    """Return the timestep group of each ``step``: the number of boundaries <= it."""
    return as_int64(np.searchsorted(as_int64(boundaries), as_int64(step), side="right"))


@dataclass(frozen=True)
class WriteEvents:
    """Beats of ``i_write``: ``payload`` by field, and what the cycle model needs of each.

    ``commits``: (beats,) index of the committed set, -1 for other beats.
    """

    payload: Mapping[str, Int64]
    commits: Int64


def writes(
    config: ScaleFileConfig, boundaries: Sequence[int], sets: Sequence[TableSet]
) -> WriteEvents:
    """Return the write beats: boundaries (increasing first steps) first, then each set."""
    if len(boundaries) > config.groups - 1:
        raise ValueError(f"boundaries must be at most {config.groups - 1}, got {len(boundaries)}")
    beats: list[tuple[int, int, int, int, int]] = []
    commits: list[int] = []
    for row, step in enumerate(boundaries):
        beats.append((Table.BOUNDARY, BOUNDARY_BANK, row, 0, int(step)))
    tile_bits = config.channel_tile_bits
    for index, tables in enumerate(sets):
        tables.check(config)
        bank = tables.bank
        for group in range(len(tables.multiplier)):
            for segment in range(SEGMENTS):
                row = (group << config.segment_bits) | segment
                z, k = int(tables.operand_z[group, segment]), int(tables.operand_k[group, segment])
                beats.append((Table.OPERAND, bank, row, 0, z | k << 7))
                scale = int(tables.edge_multiplier[group, segment])
                scale |= int(tables.edge_shift[group, segment]) << 16
                beats.append((Table.EDGE, bank, row, 0, scale))
            m0, n0, z, k = (int(value) for value in tables.silu[group])
            beats.append((Table.SILU, bank, group, 0, m0 | n0 << 16 | z << 21 | k << 28))
            for channel in range(tables.multiplier.shape[1]):
                tile, lane = divmod(channel, config.lanes)
                scale = int(tables.multiplier[group, channel])
                scale |= int(tables.shift[group, channel]) << 16
                beats.append((Table.SCALE, bank, group << tile_bits | tile, lane, scale))
        for step in range(len(tables.bias)):
            for channel in range(tables.bias.shape[1]):
                tile, lane = divmod(channel, config.lanes)
                bias = int(tables.bias[step, channel]) & 0xFFFF
                beats.append((Table.BIAS, bank, step << tile_bits | tile, lane, bias))
        commits += [-1] * (len(beats) - len(commits))
        data = tables.table_set | tables.step_base << 8 | tables.step_last << 18
        beats.append((Table.COMMIT, bank, 0, 0, data | tables.group_base << 28))
        commits.append(index)
    commits += [-1] * (len(beats) - len(commits))
    columns = np.array(beats, dtype=np.int64).reshape(-1, 5).T
    names = ("table", "bank", "row", "lane", "data")
    return WriteEvents(dict(zip(names, columns, strict=True)), as_int64(np.array(commits, int)))


def _set_of(sets: Sequence[TableSet], bank: int, table_set: int, step: int) -> TableSet:
    found = [
        tables
        for tables in sets
        if (tables.bank, tables.table_set) == (bank, table_set)
        and tables.step_base <= step <= tables.step_last
    ]
    if len(found) != 1:
        raise ValueError(
            f"bank {bank}, table set {table_set}, step {step}: {len(found)} sets match, need 1"
        )
    return found[0]


def lookup(
    config: ScaleFileConfig,
    boundaries: Sequence[int],
    sets: Sequence[TableSet],
    tiles: Mapping[str, Int64],
) -> dict[str, Int64]:
    """Return the constants of each tile.

    ``tiles``: (n,) arrays bank, table_set, step, segment, channel_tile. Result, (n,) unless said:
    group, scale_row, bias_row, operand_z, operand_k, silu (n, 4), edge_multiplier, edge_shift,
    multiplier, shift, bias (n, lanes).
    """
    names = ("bank", "table_set", "step", "segment", "channel_tile")
    unique, inverse = np.unique(
        np.stack([as_int64(tiles[name]) for name in names], axis=1), axis=0, return_inverse=True
    )
    rows: list[dict[str, int | Int64]] = []
    for bank, table_set, step, segment, channel_tile in unique.tolist():
        tables = _set_of(sets, bank, table_set, step)
        group = int(group_of(boundaries, step))
        row = group - tables.group_base
        if not 0 <= row < len(tables.multiplier):
            raise ValueError(f"table set {table_set} must hold group {group} of step {step}")
        lanes = slice(channel_tile * config.lanes, (channel_tile + 1) * config.lanes)
        rows.append(
            {
                "group": group,
                "scale_row": row << config.channel_tile_bits | channel_tile,
                "bias_row": (step - tables.step_base) << config.channel_tile_bits | channel_tile,
                "operand_z": tables.operand_z[row, segment],
                "operand_k": tables.operand_k[row, segment],
                "silu": tables.silu[row],
                "edge_multiplier": tables.edge_multiplier[row, segment],
                "edge_shift": tables.edge_shift[row, segment],
                "multiplier": tables.multiplier[row, lanes],
                "shift": tables.shift[row, lanes],
                "bias": tables.bias[step - tables.step_base, lanes],
            }
        )
    keys = rows[0] if rows else {}
    stacked = {key: np.array([row[key] for row in rows], dtype=np.int64) for key in keys}
    return {key: values[inverse.ravel()] for key, values in stacked.items()}


class TileLookupModel:
    """One path's lookup: two registers, the check of the bank, two registers.

    A beat waits in front of the check until its bank holds its table set and step. The
    front moves if its last register is a bubble or its beat passes the check and the back moves
    (``o.ready | ~o.valid``). It takes no beat before the schedule is known, nor while a BOUNDARY
    is offered.
    """

    def __init__(self, tiles: Mapping[str, Int64]) -> None:
        self.bank = tiles["bank"].tolist()
        self.table_set = tiles["table_set"].tolist()
        self.step = tiles["step"].tolist()
        self.start = tiles["start"].tolist()
        self.back = RigidPipeline(LOOKUP_BACK)
        self.reset()

    def reset(self) -> None:
        """Empty every register."""
        self.front = [-1] * LOOKUP_FRONT
        self.back.reset()

    def passes(self, o_ready: bool, loaded: Sequence[TableSet | None]) -> int:
        """Return the beat that passes the check in this cycle, or -1."""
        beat = self.front[-1]
        if beat < 0 or not self.back.ready(o_ready):
            return -1
        tables = loaded[self.bank[beat]]
        hit = (
            tables is not None
            and tables.table_set == self.table_set[beat]
            and tables.step_base <= self.step[beat] <= tables.step_last
        )
        return beat if hit else -1

    @property
    def empty(self) -> bool:
        """True if no beat waits in front of the check."""
        return all(beat < 0 for beat in self.front)

    def moves(self, passing: int) -> bool:
        """Return whether the front moves."""
        return self.front[-1] < 0 or passing >= 0

    def clock(self, accepted: int, passing: int, o_ready: bool) -> None:
        """Advance by one cycle."""
        self.back.clock(passing, o_ready)
        if self.moves(passing):
            self.front = [accepted, *self.front[:-1]]


class ScaleFileModel:
    """Cycle behaviour: three lookups, the read port, and the banks behind them.

    ===========  ===========================================  ================================
    bank         meaning                                      leaves it
    ===========  ===========================================  ================================
    open         takes writes; tiles that name it wait        COMMIT was accepted two cycles
                                                              ago (``COMMIT_CYCLES``)
    loaded       tiles with its table set and step pass       any write to it, or a BOUNDARY,
                                                              is accepted
    ===========  ===========================================  ================================

    ``in_flight[bank]`` counts the tiles that passed (beats with ``start``) and were not released;
    ``bank_busy`` is in_flight > 0. A write is accepted if its bank (BOUNDARY: both) is not busy
    and no tile enters it in this cycle; ``i_write.ready`` without a beat says that of both banks.
    A BOUNDARY also waits until no beat stands in front of a check. The schedule is known from the
    second cycle after a COMMIT on, until a BOUNDARY is accepted.
    """

    inputs: Sequence[str] = ("i_write", "i_conv", "i_activation", "i_edge", "i_read")
    outputs: Sequence[str] = ("o_conv", "o_activation", "o_edge", "o_read")
    plain_outputs: Sequence[str] = ("bank_busy",)
    PATHS = ("conv", "activation", "edge")

    def __init__(
        self,
        tiles: Mapping[str, Mapping[str, Int64]],
        events: WriteEvents,
        sets: Sequence[TableSet],
    ) -> None:
        self.sets = sets
        self.lookups = {path: TileLookupModel(tiles[path]) for path in self.PATHS}
        self.read = LockstepPipeline(READ_LATENCY)
        self.write_table = events.payload["table"].tolist()
        self.write_bank = events.payload["bank"].tolist()
        self.commits = events.commits.tolist()
        self.reset()

    def reset(self) -> None:
        """Both banks open, nothing in flight."""
        for path in self.PATHS:
            self.lookups[path].reset()
        self.read.reset()
        self.loaded: list[TableSet | None] = [None, None]
        self.loading: list[tuple[int, TableSet] | None] = [None, None]  # cycles left, set
        self.known = False
        self.known_next = False
        self.in_flight = [0, 0]
        self.passing = dict.fromkeys(self.PATHS, -1)

    def offered(self) -> dict[str, int]:
        """Beat in the last register of every path."""
        beats = {f"o_{path}": self.lookups[path].back.offered for path in self.PATHS}
        return beats | {"o_read": self.read.offered}

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``golden.cycles.CycleModel``."""
        starts = [False, False]
        i_ready = {}
        write = valid["i_write"]
        is_boundary = write >= 0 and self.write_table[write] == Table.BOUNDARY
        for path in self.PATHS:
            unit = self.lookups[path]
            beat = unit.passes(ready[f"o_{path}"], self.loaded)
            self.passing[path] = beat
            i_ready[f"i_{path}"] = unit.moves(beat) and self.known and not is_boundary
            if beat >= 0 and unit.start[beat]:
                starts[unit.bank[beat]] = True
        idle = [self.in_flight[bank] == 0 and not starts[bank] for bank in range(2)]
        if is_boundary:
            empty = all(unit.empty for unit in self.lookups.values())
            i_ready["i_write"] = idle[0] and idle[1] and empty
        elif write >= 0:
            i_ready["i_write"] = idle[self.write_bank[write]]
        else:
            i_ready["i_write"] = idle[0] and idle[1]
        i_ready["i_read"] = ready["o_read"]
        busy = sum((self.in_flight[bank] > 0) << bank for bank in range(2))
        return i_ready, {"bank_busy": busy}

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``golden.cycles.CycleModel``; ``plain``: release_<path> and release_<path>_bank."""
        for path in self.PATHS:
            unit = self.lookups[path]
            beat = self.passing[path]
            if beat >= 0 and unit.start[beat]:
                self.in_flight[unit.bank[beat]] += 1
            if plain[f"release_{path}"]:
                self.in_flight[plain[f"release_{path}_bank"]] -= 1
            unit.clock(accepted[f"i_{path}"], beat, ready[f"o_{path}"])
        self.read.clock(accepted["i_read"], ready["o_read"])
        self._clock_banks(accepted["i_write"])

    def _clock_banks(self, write: int) -> None:
        """Count down what is committed, then open what is written."""
        self.known, self.known_next = self.known or self.known_next, False
        for bank, loading in enumerate(self.loading):
            if loading is not None:
                left, tables = loading
                self.loading[bank] = (left - 1, tables) if left > 1 else None
                if left == 1:
                    self.loaded[bank] = tables
        if write < 0:
            return
        table, bank = self.write_table[write], self.write_bank[write]
        for opened in (0, 1) if table == Table.BOUNDARY else (bank,):
            self.loaded[opened] = None
            self.loading[opened] = None
        if table == Table.COMMIT:
            self.loading[bank] = (COMMIT_CYCLES, self.sets[self.commits[write]])
            self.known_next = True
        elif table == Table.BOUNDARY:
            self.known = False
