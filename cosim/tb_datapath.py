"""Bench of ``datapath``: random tiles on three paths through random table sets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, stall_choices
from cosim.tb_scale_file import random_program
from golden.cycles import Case
from golden.datapath import Beats, DatapathConfig, DatapathModel, datapath
from golden.numbers import Int64
from golden.scale_tables import Table, TableSet, WriteEvents, writes

__all__ = ["cases", "config_of", "datapath_case"]

TILES_PER_SET = 2


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
) -> Case:
    """Return the case of three paths that use ``sets`` in order.

    ``conv``, ``activation``, ``edge``: as ``golden.datapath.datapath`` takes them, with a field
    ``set``, the index into ``sets``, which never decreases. The next contents of a bank are written
    once every path has delivered all tiles of the present ones.
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
        allowed=_writer(events, delivered_set, len(sets)),
        plain_in={"clear": np.zeros(1, dtype=np.int64)},
    )  # fmt: skip


def _with_tile(beats: Beats, own: Sequence[str], fields: Sequence[str]) -> Beats:
    zeros = np.zeros(len(beats["bank"]), dtype=np.int64)
    return {key: beats.get(key, zeros) for key in (*own, *fields, "channel_tile")}


def _writer(events: WriteEvents, delivered_set: Mapping[str, Int64], sets: int):  # type: ignore[no-untyped-def]  # the closure below is golden.cycles.Allowed
    """Allow the writes of set n + 2 once every path has delivered its beats of set n."""
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
        return {"i_write": limits[min(done + 1, sets + 1)]}

    return allowed


def _tiles_of(sets: Sequence[TableSet], per_set: int) -> list[tuple[int, TableSet]]:
    return [(index, tables) for index, tables in enumerate(sets) for _ in range(per_set)]


def _conv(
    rng: np.random.Generator, config: DatapathConfig, sets: Sequence[TableSet]
) -> tuple[dict[str, Int64], Int64]:
    """Return the beats of random output tiles of one or more passes, and their weights."""
    columns: dict[str, list[Int64]] = {}
    weights = []
    for index, tables in _tiles_of(sets, TILES_PER_SET):
        pixels = int(min(config.depth, rng.choice([1, 2, 5, config.rows, config.depth])))
        passes = int(rng.integers(1, 4))
        tile = {
            "bank": tables.bank,
            "table_set": tables.table_set,
            "step": int(rng.integers(tables.step_base, tables.step_last + 1)),
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
    sets: Sequence[TableSet],
    data: str,
    bits: int,
) -> dict[str, Int64]:
    """Return the beats of random tiles of the activation (u) or edge (x) path."""
    columns: dict[str, list[Int64]] = {}
    for index, tables in _tiles_of(sets, TILES_PER_SET):
        beats = int(rng.integers(1, 20))
        tile = {
            "bank": tables.bank,
            "table_set": tables.table_set,
            "step": int(rng.integers(tables.step_base, tables.step_last + 1)),
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
        columns.setdefault(data, []).append(rng.integers(-limit, limit, size=shape))
    return {key: np.concatenate(parts) for key, parts in columns.items()}


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return five stall classes over random tiles, the second cut off by a reset."""
    config = config_of(parameters)
    result = []
    for index in range(6):
        rng = generator(seed, index)
        boundaries, sets = random_program(rng, config.scale_file)
        conv, weights = _conv(rng, config, sets)
        reset_at = int(rng.integers(20, 600)) if index == 1 else None
        result.append(
            datapath_case(
                f"stalls{index}" + ("-reset" if reset_at else ""), parameters, boundaries, sets,
                conv, weights, _vector(rng, config, sets, "u", 12),
                _vector(rng, config, sets, "x", 16),
                stalls_index=index, seed=seed, reset_at=reset_at,
            )
        )  # fmt: skip
    return result
