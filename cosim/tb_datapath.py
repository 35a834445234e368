"""Bench of ``datapath``: random tiles on three paths through random table sets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cosim.datapath_traffic import Part, every_input, large_sums, random_part
from cosim.scale_order import bank_waits, restart
from cosim.scale_programs import random_program
from cosim.scale_writes import all_writes, joined_writes
from cosim.stimulus import Parameters, generator, make_case, stall_choices
from golden.cycles import Case
from golden.datapath import Beats, DatapathConfig, DatapathModel, DatapathOutputs, datapath
from golden.numbers import Int64
from golden.order import Order, Wait
from golden.scale_tables import Table, WriteEvents

__all__ = ["cases", "config_of", "datapath_case"]

CASES = 15
TWICE = (2, 3, 7, 8)  # boundaries are written anew under sets of the same names
CLEARS = 2000  # cycles in which the counters may be cleared
RARE = 0.003
DENSE = 12  # every step begins a group; a path runs empty before its first change of step
EVERY = 13  # input of the curve
LARGE = 14  # sums
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
    parts: Sequence[Part],
    *,
    stalls_index: int,
    seed: int,
    events: WriteEvents | None = None,
    reset_at: int | None = None,
    drained: bool = False,
) -> Case:
    """Return the case of three paths that use the sets of ``parts`` in order.

    Tiles are as ``golden.datapath.datapath`` takes them, with a field ``set``, the index into the
    part's sets, which never decreases. The next contents of a bank are written once every path has
    delivered all tiles of the present ones; a part's boundaries once all tiles of the parts before
    have gone in. ``events``: the writes, if not in the plain order. ``drained``: activation and
    edge deliver all that they have before they take the first tile of another step.
    """
    config = config_of(parameters)
    sets = [tables for part in parts for tables in part.sets]
    if events is None:
        events = joined_writes(config.scale_file, [(part.boundaries, part.sets) for part in parts])
    conv, activation, edge = (_joined(parts, path) for path in ("conv", "activation", "edge"))
    weights = np.concatenate([part.weights for part in parts])
    outputs = _joined_outputs([datapath(config, *part) for part in parts])
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
    entered_set = {"conv": conv["set"], "activation": activation["set"], "edge": edge["set"]}
    starts = np.cumsum([len(part.sets) for part in parts])[:-1].tolist()
    order = _order(events, delivered_set, entered_set, len(sets), starts, emptied)
    return make_case(
        name, "datapath", parameters, model, payloads,
        stall_choices((*model.inputs, *model.outputs), stalls_index, seed), seed,
        reset_at=reset_at, groups=outputs.conv_group, order=order,
        plain_in={"clear": clear.astype(np.int64)},
    )  # fmt: skip


def _joined(parts: Sequence[Part], path: str) -> dict[str, Int64]:
    """Return the beats of a path, ``set`` counted on from part to part."""
    beats = [dict(getattr(part, path)) for part in parts]
    before = 0
    for part, mine in zip(parts, beats, strict=True):
        mine["set"] = mine["set"] + before
        before += len(part.sets)
    return {key: np.concatenate([mine[key] for mine in beats]) for key in beats[0]}


def _joined_outputs(found: Sequence[DatapathOutputs]) -> DatapathOutputs:
    """Return the outputs of parts that follow each other as those of one."""
    values = [vars(one) for one in found]
    joined: dict[str, Any] = {}
    for name, first in values[0].items():
        columns = [one[name] for one in values]
        if isinstance(first, Mapping):
            joined[name] = {key: np.concatenate([one[key] for one in columns]) for key in first}
        else:
            joined[name] = np.concatenate(columns)
    return DatapathOutputs(**joined)


def _with_tile(beats: Beats, own: Sequence[str], fields: Sequence[str]) -> Beats:
    zeros = np.zeros(len(beats["bank"]), dtype=np.int64)
    return {key: beats.get(key, zeros) for key in (*own, *fields, "channel_tile")}


def _order(
    events: WriteEvents, delivered_set: Mapping[str, Int64], entered_set: Mapping[str, Int64],
    sets: int, starts: Sequence[int], emptied: Mapping[str, int],
) -> Order:  # fmt: skip
    """Who waits for whom; see ``datapath_case``.

    ``starts``: the first set of each later part. ``emptied``: beats of a path that must have left
    before the next goes in.
    """
    write_set = np.cumsum(np.r_[0, (events.payload["table"] == Table.COMMIT)[:-1]])
    order: dict[str, list[Wait]] = {"i_write": bank_waits(write_set, delivered_set, sets)}
    for path, beats in emptied.items():
        order[f"i_{path}"] = [Wait(beats, {f"o_{path}": beats})]
    for first in starts:
        restart(order, int(np.searchsorted(write_set, first)), {
            f"i_{path}": int(np.searchsorted(found, first)) for path, found in entered_set.items()
        })  # fmt: skip
    return order


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return every stall class over random tiles, some cut off by a reset; then the made cases."""
    config = config_of(parameters)
    result = []
    for index in range(CASES):
        rng = generator(seed, index)
        programs = [random_program(rng, config.scale_file, dense=index == DENSE)]
        if index in TWICE and config.groups > 1:
            programs.append(random_program(rng, config.scale_file, programs[0][1]))
        make = {EVERY: every_input, LARGE: large_sums}.get(index, random_part)
        parts = [make(rng, config, program) for program in programs]
        reset_at = int(rng.integers(20, 900)) if index in RESETS else None
        used = [(part.boundaries, part.sets) for part in parts]
        stalls_index = 0 if index in (DENSE, EVERY, LARGE) else index
        result.append(
            datapath_case(
                f"stalls{index}" + ("-reset" if reset_at else ""), parameters, parts,
                stalls_index=stalls_index, seed=seed, reset_at=reset_at,
                drained=index == DENSE, events=all_writes(rng, config.scale_file, used),
            )
        )  # fmt: skip
    return result
