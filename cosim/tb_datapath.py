"""Bench of ``datapath``: random tiles on three paths through random table sets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from cosim.scale_programs import Program, random_program, random_step
from cosim.stimulus import Parameters, generator, make_case, stall_choices
from golden.cycles import Allowed, Case
from golden.datapath import Beats, DatapathConfig, DatapathModel, datapath
from golden.numbers import Int64
from golden.scale_tables import Table, TableSet, WriteEvents, writes

__all__ = ["cases", "config_of", "datapath_case"]

FEW = 2  # tiles
TILES = (0, 1, 2, 5)  # of a path and set
BEATS_MAX = 120  # of a vector tile
CASES = 13
CLEARS = 2000  # cycles in which the counters may be cleared
RARE = 0.003
DENSE = 12  # every step begins a group; a path runs empty before its first change of step
CROWD = 30  # tiles of one beat
RESETS = (1, 6)


def config_of(parameters: Parameters) -> DatapathConfig:
    """Return the golden sizes of the block's ``parameters``; the rest keep their defaults."""
    known = {name: parameters[name] for name in asdict(DatapathConfig()) if name in parameters}
    if not known.get("vector_lanes"):
        known["vector_lanes"] = known.get("cols", DatapathConfig.cols)
    return DatapathConfig(**known)  # type: ignore[arg-type]  # names were checked above


def datapath_case(
    name: str,
    parameters: Parameters,
    boundaries: Sequence[int],
    sets: Sequence[TableSet],
    conv: Beats,
    weights: Int64,
    activation: Beats,
    edge: Beats,
    *,
    stalls_index: int,
    seed: int,
    reset_at: int | None = None,
    drained: bool = False,
) -> Case:
    """Return the case of three paths that use ``sets`` in order.

    ``conv``, ``activation``, ``edge``: as ``golden.datapath.datapath`` takes them, with a field
    ``set``, the index into ``sets``, which never decreases. The next contents of a bank are written
    once every path has delivered all tiles of the present ones. ``drained``: activation and edge
    deliver all that they have before they take the first tile of another step.
    """
    config = config_of(parameters)
    events = writes(config.scale_file, boundaries, sets)
    outputs = datapath(config, boundaries, sets, conv, weights, activation, edge)
    tile_fields = ("bank", "table_set", "step", "segment")
    payloads: dict[str, Beats] = {
        "i_write": events.payload,
        "i_weights": {"weights": weights.reshape(-1, config.cols)},
        "i_conv": {
            key: conv[key]
            for key in (
                "codes", "pad", "mode", "tile_start", "first", "last", "end", "pixel", "narrow",
                *tile_fields, "channel_tile",
            )
        },
        "i_activation": _with_tile(activation, ("u", "wide", "start", "end"), tile_fields),
        "i_edge": _with_tile(edge, ("x", "wide", "start", "end"), tile_fields),
        "o_conv": outputs.conv,
        "o_activation": outputs.activation,
        "o_edge": outputs.edge,
    }  # fmt: skip
    model = DatapathModel(config, events, sets, conv, activation, edge, outputs)
    paths = {"activation": activation, "edge": edge} if drained else {}
    emptied = {
        path: int(np.argmax(np.diff(beats["step"]) != 0)) + 1 for path, beats in paths.items()
    }
    clear = generator(seed, stalls_index, 1).random(CLEARS) < RARE
    finish = np.flatnonzero(conv["last"] & conv["end"])
    delivered_set = {
        "o_conv": np.repeat(conv["set"][finish], conv["pixel"][finish] + 1),
        "o_activation": activation["set"],
        "o_edge": edge["set"],
    }
    return make_case(
        name, "datapath", parameters, model, payloads,
        stall_choices((*model.inputs, *model.outputs), stalls_index, seed), seed,
        reset_at=reset_at, groups=outputs.conv_group,
        allowed=_writer(events, delivered_set, len(sets), emptied),
        plain_in={"clear": clear.astype(np.int64)},
    )  # fmt: skip


def _with_tile(beats: Beats, own: Sequence[str], fields: Sequence[str]) -> Beats:
    zeros = np.zeros(len(beats["bank"]), dtype=np.int64)
    return {key: beats.get(key, zeros) for key in (*own, *fields, "channel_tile")}


def _writer(
    events: WriteEvents, delivered_set: Mapping[str, Int64], sets: int, emptied: Mapping[str, int]
) -> Allowed:
    """Allow the writes of set n + 2 once every path has delivered its beats of set n.

    ``emptied``: beats of a path that must have left before the next goes in.
    """
    write_set = np.cumsum(np.r_[0, (events.payload["table"] == Table.COMMIT)[:-1]])
    limits = np.searchsorted(write_set, np.arange(sets + 2), "right").tolist()
    needs = {
        stream: np.searchsorted(values, np.arange(sets), "right").tolist()
        for stream, values in delivered_set.items()
    }
    done = 0

    def allowed(got: Mapping[str, int]) -> Mapping[str, int]:
        nonlocal done
        while done < sets and all(got[stream] >= need[done] for stream, need in needs.items()):
            done += 1
        waits = {f"i_{p}": n for p, n in emptied.items() if got[f"o_{p}"] < n}
        return waits | {"i_write": limits[min(done + 1, sets + 1)]}

    return allowed


def _tiles_of(
    rng: np.random.Generator, sets: Sequence[TableSet], first: int
) -> list[tuple[int, TableSet]]:
    """Return the set of each tile and its index; the first two sets have ``first`` tiles each.

    The others have any number, so that a path is ahead of another by a set now and then.
    """
    counts = [first if index < 2 else int(rng.choice(TILES)) for index in range(len(sets))]
    return [(index, sets[index]) for index, count in enumerate(counts) for _ in range(count)]


def _conv(
    rng: np.random.Generator, config: DatapathConfig, program: Program
) -> tuple[dict[str, Int64], Int64]:
    """Return the beats of random output tiles of one or more passes, and their weights."""
    boundaries, sets = program
    columns: dict[str, list[Int64]] = {}
    weights = []
    for index, tables in _tiles_of(rng, sets, FEW):
        pixels = int(min(config.depth, rng.choice([1, 2, 5, config.rows, config.depth])))
        passes = int(rng.integers(1, 4))
        tile = {
            "bank": tables.bank,
            "table_set": tables.table_set,
            "step": random_step(rng, boundaries, tables),
            "channel_tile": int(rng.integers(0, config.channel_tiles)),
            "narrow": int(rng.integers(0, 2)),
            "set": index,
        }
        for number in range(passes):
            weights.append(rng.integers(-127, 128, size=(config.rows, config.cols)))
            one_pass = tile | {
                "mode": int(rng.integers(0, 4)),
                "segment": int(rng.integers(0, 2)),
                "first": int(number == 0),
                "last": int(number == passes - 1),
            }
            for key, value in one_pass.items():
                columns.setdefault(key, []).append(np.full(pixels, value, dtype=np.int64))
            pixel = np.arange(pixels)
            columns.setdefault("pixel", []).append(pixel)
            columns.setdefault("tile_start", []).append((pixel == 0).astype(np.int64))
            columns.setdefault("end", []).append((pixel == pixels - 1).astype(np.int64))
            shape = (pixels, config.rows)
            columns.setdefault("codes", []).append(rng.integers(0, 4096, size=shape))
            columns.setdefault("pad", []).append((rng.random(shape) < 0.1).astype(np.int64))
    beats = {key: np.concatenate(parts) for key, parts in columns.items()}
    return beats, np.stack(weights)


def _vector(
    rng: np.random.Generator,
    config: DatapathConfig,
    program: Program,
    data: str,
    bits: int,
) -> dict[str, Int64]:
    """Return the beats of random tiles of the activation (u) or edge (x) path.

    Tiles of the first two sets have one beat, so that many are in flight. Half of the elements
    are small ones, of any number of bits.
    """
    boundaries, sets = program
    columns: dict[str, list[Int64]] = {}
    for index, tables in _tiles_of(rng, sets, CROWD):
        beats = int(rng.integers(1, BEATS_MAX + 1)) if index >= 2 else 1
        tile = {
            "bank": tables.bank,
            "table_set": tables.table_set,
            "step": random_step(rng, boundaries, tables),
            "segment": int(rng.integers(0, 2)),
            "wide": int(rng.integers(0, 2)),
            "set": index,
        }
        for key, value in tile.items():
            columns.setdefault(key, []).append(np.full(beats, value, dtype=np.int64))
        place = np.arange(beats)
        columns.setdefault("start", []).append((place == 0).astype(np.int64))
        columns.setdefault("end", []).append((place == beats - 1).astype(np.int64))
        limit = 1 << (bits - 1)
        shape = (beats, config.vector_lanes)
        less = np.where(rng.random(shape) < 0.5, 0, rng.integers(0, bits, size=shape))
        columns.setdefault(data, []).append(rng.integers(-limit, limit, size=shape) >> less)
    return {key: np.concatenate(parts) for key, parts in columns.items()}


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return five stall classes over random tiles, some cut off by a reset."""
    config = config_of(parameters)
    result = []
    for index in range(CASES):
        rng = generator(seed, index)
        program = random_program(rng, config.scale_file, dense=index == DENSE)
        conv, weights = _conv(rng, config, program)
        reset_at = int(rng.integers(20, 900)) if index in RESETS else None
        result.append(
            datapath_case(
                f"stalls{index}" + ("-reset" if reset_at else ""), parameters, *program,
                conv, weights, _vector(rng, config, program, "u", 12),
                _vector(rng, config, program, "x", 16),
                stalls_index=0 if index == DENSE else index, seed=seed, reset_at=reset_at,
                drained=index == DENSE,
            )
        )  # fmt: skip
    return result
