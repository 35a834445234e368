"""Contents of the scale file: which constants a tile uses at its sampler step, and their writes.

``group = number of boundaries <= step``. Every table row is selected by the group, but for the
biases, which have a row a step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from golden.numbers import SHIFT_MAX, Int64, as_int64, check_range

__all__ = [
    "BOUNDARY_BANK",
    "STEP_BITS",
    "TABLE_SET_BITS",
    "ScaleFileConfig",
    "Table",
    "TableSet",
    "WriteEvents",
    "group_of",
    "lookup",
    "writes",
]

SEGMENTS = 2  # parts of a concatenated input
BOUNDARY_BANK = 0  # the bank field of boundary writes; they concern both
STEP_BITS = 10
TABLE_SET_BITS = 8


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
