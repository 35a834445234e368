"""Random tiles for the three paths of ``datapath``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cosim.scale_programs import Program, random_step
from golden.datapath import Beats, DatapathConfig
from golden.numbers import Int64
from golden.operand import OperandMode
from golden.scale_tables import TableSet

__all__ = ["Part", "every_input", "large_sums", "random_part"]

FEW = 2  # tiles
TILES = (0, 1, 2, 5)  # of a path and set
BEATS_MAX = 120  # of a vector tile
CROWD = 30  # tiles of one beat
SPARSE = 0.2  # of the passes have few weights
LARGEST = 0.85 * (1 << 31)
SMALLER = (3, 6, 0, 9, 2, 12, 5, 4)  # bits less than the largest, by set
INPUTS = np.arange(-2048, 2048)
CURVE_SHIFTS = (15, 19, 20)  # for small values of the curve, and for all; one a set
STREAMED = 8  # tiles of a set


class Part(NamedTuple):
    """Tables and the tiles that use them. ``weights``: (tiles, rows, cols) int8."""

    boundaries: list[int]
    sets: list[TableSet]
    conv: Beats
    weights: Int64
    activation: Beats
    edge: Beats


def _tiles_of(
    rng: np.random.Generator, sets: Sequence[TableSet], first: int
) -> list[tuple[int, TableSet]]:
    """Return the set of each tile and its index; the first two sets have ``first`` tiles each.

    The others have any number, so that a path is ahead of another by a set now and then.
    """
    counts = [first if index < 2 else int(rng.choice(TILES)) for index in range(len(sets))]
    return [(index, sets[index]) for index, count in enumerate(counts) for _ in range(count)]


def _columns(tiles: Sequence[Beats]) -> dict[str, Int64]:
    return {key: np.concatenate([tile[key] for tile in tiles]) for key in tiles[0]}


def _tile_fields(
    rng: np.random.Generator, boundaries: list[int], tables: TableSet, index: int
) -> dict[str, int]:
    return {
        "bank": tables.bank,
        "table_set": tables.table_set,
        "step": random_step(rng, boundaries, tables),
        "set": index,
    }


def _conv_tile(
    rng: np.random.Generator, config: DatapathConfig, fields: dict[str, int], pixels: int,
    passes: int, high: bool = False,
) -> dict[str, Int64]:  # fmt: skip
    """Return the beats of one output tile. ``high``: wide, codes near 2047 in hi passes."""
    number, pixel = np.divmod(np.arange(passes * pixels), pixels)
    shape = (passes * pixels, config.rows)
    fields = fields | {
        "channel_tile": int(rng.integers(0, config.channel_tiles)),
        "narrow": 0 if high else int(rng.integers(0, 2)),
    }
    mode = np.full(passes, OperandMode.HI) if high else rng.integers(0, 4, size=passes)
    return {key: np.full(len(pixel), value) for key, value in fields.items()} | {
        "mode": mode[number],
        "segment": rng.integers(0, 2, size=passes)[number],
        "first": (number == 0).astype(np.int64),
        "last": (number == passes - 1).astype(np.int64),
        "pixel": pixel,
        "tile_start": (pixel == 0).astype(np.int64),
        "end": (pixel == pixels - 1).astype(np.int64),
        "codes": rng.integers(2000 if high else 0, 2048 if high else 4096, size=shape),
        "pad": (rng.random(shape) < (0 if high else 0.1)).astype(np.int64),
    }


def _conv(
    rng: np.random.Generator, config: DatapathConfig, program: Program
) -> tuple[dict[str, Int64], Int64]:
    """Return the beats of random output tiles of one or more passes, and their weights."""
    boundaries, sets = program
    tiles, weights = [], []
    for index, tables in _tiles_of(rng, sets, FEW):
        pixels = int(min(config.depth, rng.choice([1, 2, 5, config.rows, config.depth])))
        passes = int(rng.integers(1, 4))
        fields = _tile_fields(rng, boundaries, tables, index)
        tiles.append(_conv_tile(rng, config, fields, pixels, passes))
        shape = (passes, config.rows, config.cols)
        kept = rng.random(shape) < np.where(rng.random((passes, 1, 1)) < SPARSE, 0.2, 1)
        weights.append(rng.integers(-127, 128, size=shape) * kept)
    return _columns(tiles), np.concatenate(weights)


def _vector_tile(
    rng: np.random.Generator, fields: dict[str, int], data: str, values: Int64
) -> dict[str, Int64]:
    """Return the beats of one tile with ``values`` (beats, lanes)."""
    fields = fields | {"segment": int(rng.integers(0, 2)), "wide": int(rng.integers(0, 2))}
    place = np.arange(len(values))
    return {key: np.full(len(values), value) for key, value in fields.items()} | {
        "start": (place == 0).astype(np.int64),
        "end": (place == len(values) - 1).astype(np.int64),
        data: values,
    }


def _vector(
    rng: np.random.Generator, config: DatapathConfig, program: Program, data: str, bits: int
) -> dict[str, Int64]:
    """Return the beats of random tiles of the activation (u) or edge (x) path.

    Tiles of the first two sets have one beat, so that many are in flight. Half of the elements
    are small ones, of any number of bits.
    """
    boundaries, sets = program
    tiles = []
    for index, tables in _tiles_of(rng, sets, CROWD):
        beats = int(rng.integers(1, BEATS_MAX + 1)) if index >= 2 else 1
        fields = _tile_fields(rng, boundaries, tables, index)
        limit, shape = 1 << (bits - 1), (beats, config.vector_lanes)
        less = np.where(rng.random(shape) < 0.5, 0, rng.integers(0, bits, size=shape))
        values = rng.integers(-limit, limit, size=shape) >> less
        tiles.append(_vector_tile(rng, fields, data, values))
    return _columns(tiles)


def random_part(rng: np.random.Generator, config: DatapathConfig, program: Program) -> Part:
    """Return random tiles of all paths."""
    conv, weights = _conv(rng, config, program)
    u, x = (_vector(rng, config, program, data, bits) for data, bits in (("u", 12), ("x", 16)))
    return Part(*program, conv, weights, u, x)


def large_sums(rng: np.random.Generator, config: DatapathConfig, program: Program) -> Part:
    """Return ``random_part`` with a tile of one pixel in every set whose sums are large.

    They come near the limits of int32 on either side, by many passes; in other sets they are some
    bits smaller. Shifts bring them to the limits of the output.
    """
    boundaries, sets = program
    sets = [_to_limits(rng, tables, 31 - less) for tables, less in zip(sets, SMALLER, strict=True)]
    tiles, weights = [], []
    for index, tables in enumerate(sets):
        largest_pass = config.rows * 127 * 127 * 16
        passes = max(1, int(LARGEST / 2 ** SMALLER[index] / largest_pass))
        fields = _tile_fields(rng, boundaries, tables, index)
        tiles.append(_conv_tile(rng, config, fields, 1, passes, high=True))
        sign = rng.choice([-1, 1], size=config.cols)
        weights.append(sign * rng.integers(120, 128, size=(passes, config.rows, config.cols)))
    part = random_part(rng, config, (boundaries, sets))
    return part._replace(conv=_columns(tiles), weights=np.concatenate(weights))


def every_input(rng: np.random.Generator, config: DatapathConfig, program: Program) -> Part:
    """Return tiles with all 4096 u in every lane, and long ones on the other paths.

    The constants of the activation path make the low bits of the curve's values count; the edge
    path's saturate most x of a set. All streams of data move at once.
    """
    boundaries = program[0]
    sets = [_shown(rng, *one) for one in zip(program[1], CURVE_SHIFTS, strict=False)]
    conv, weights = [], []
    vectors: dict[str, list[Beats]] = {"u": [], "x": []}
    for index, tables in enumerate(sets):
        for _ in range(STREAMED):
            fields = _tile_fields(rng, boundaries, tables, index)
            conv.append(_conv_tile(rng, config, fields, config.depth, 1))
            weights.append(rng.integers(-127, 128, size=(1, config.rows, config.cols)))
        lanes = [rng.permutation(INPUTS) for _ in range(config.vector_lanes)]
        for data, values in (("u", np.stack(lanes, axis=1)), ("x", np.stack(lanes, axis=1) * 16)):
            fields = _tile_fields(rng, boundaries, tables, index)
            tile = _vector_tile(rng, fields, data, values)
            vectors[data].append(tile | {"wide": np.ones_like(tile["wide"])})
    paths = (_columns(vectors[data]) for data in ("u", "x"))
    return Part(boundaries, sets, _columns(conv), np.concatenate(weights), *paths)


def _to_limits(rng: np.random.Generator, tables: TableSet, shift: int) -> TableSet:
    """Return ``tables`` with large multipliers and shifts about ``shift``.

    31 stays: with more, bit 46 of a product would not saturate alone.
    """
    shape = tables.shift.shape
    return replace(
        tables,
        multiplier=rng.integers(61_000, 1 << 16, size=shape),
        shift=shift + (rng.integers(-1, 2, size=shape) if shift < 31 else np.zeros(shape, int)),
    )


def _shown(rng: np.random.Generator, tables: TableSet, shift: int) -> TableSet:
    """Return ``tables`` for values of the curve below 2 ** (shift - 4), and x beyond 12 bits."""
    count = len(tables.silu)
    silu = tables.silu.copy()
    silu[:, 0] = rng.integers(1 << 15, 1 << 16, size=count)
    silu[:, 1] = shift
    shape = tables.edge_multiplier.shape
    return replace(
        tables,
        silu=silu,
        edge_multiplier=rng.integers(1 << 14, 1 << 16, size=shape),
        edge_shift=rng.integers(8, 14, size=shape),
    )
