"""Writes of the scale file as a careless host might send them: rows in any order, strays."""

from collections.abc import Sequence

import numpy as np

from cosim.scale_programs import Program
from golden.scale_tables import BOUNDARY_BANK, ScaleFileConfig, Table, WriteEvents, writes

__all__ = ["all_writes", "joined_writes"]

STRAYS = 10
NO_TABLE = 7


def joined_writes(config: ScaleFileConfig, programs: Sequence[Program]) -> WriteEvents:
    """Return the writes of ``programs``, one after the other, in the plain order."""
    parts = []
    before = 0
    for boundaries, sets in programs:
        part = writes(config, boundaries, sets)
        commits = np.where(part.commits >= 0, part.commits + before, -1)
        parts.append(WriteEvents(part.payload, commits))
        before += len(sets)
    payload = {
        name: np.concatenate([part.payload[name] for part in parts]) for name in parts[0].payload
    }
    return WriteEvents(payload, np.concatenate([part.commits for part in parts]))


def all_writes(
    rng: np.random.Generator, config: ScaleFileConfig, programs: Sequence[Program]
) -> WriteEvents:
    """Return ``joined_writes`` with the rows of a set in any order, and strays among them."""
    return _with_strays(rng, config, _shuffled(rng, joined_writes(config, programs)))


def _shuffled(rng: np.random.Generator, events: WriteEvents) -> WriteEvents:
    """Return ``events`` with the rows between two commits in any order, boundaries first."""
    table = events.payload["table"]
    turn = 2 * np.cumsum(np.r_[0, events.commits[:-1] >= 0]) + (table != Table.BOUNDARY)
    place = np.where(events.commits >= 0, 1.0, rng.random(len(turn)))
    place = np.where(table == Table.BOUNDARY, np.arange(len(turn)), place)
    order = np.lexsort((place, turn))
    payload = {name: values[order] for name, values in events.payload.items()}
    return WriteEvents(payload, events.commits[order])


def _with_strays(
    rng: np.random.Generator, config: ScaleFileConfig, events: WriteEvents
) -> WriteEvents:
    """Return ``events`` with writes among them that change no contents.

    They go to a table that does not exist, and to boundary registers beyond the last whose number
    differs from that of one written just before in one bit. None stands right in front of
    boundaries that are written anew: it would close the bank of a tile that they wait for.
    """
    payload = events.payload
    is_boundary = payload["table"] == Table.BOUNDARY
    anew = np.flatnonzero(is_boundary[1:] & ~is_boundary[:-1]) + 1
    boundaries = np.flatnonzero(is_boundary)
    written = rng.choice(boundaries, STRAYS) if len(boundaries) else boundaries
    rows = payload["row"][written] ^ 1 << rng.integers(0, config.row_bits, size=len(written))
    written, rows = written[rows >= config.groups - 1], rows[rows >= config.groups - 1]
    other = rng.integers(0, len(events.commits), size=STRAYS)
    place = np.r_[written + 1, other]
    stray = {
        "table": np.r_[np.full(len(written), Table.BOUNDARY), np.full(STRAYS, NO_TABLE)],
        "bank": np.r_[np.full(len(written), BOUNDARY_BANK), payload["bank"][other]],
        "row": np.r_[rows, payload["row"][other]],
        "lane": np.zeros(len(place), dtype=np.int64),
        "data": rng.integers(0, 1 << 32, size=len(place)),
    }
    kept = ~np.isin(place, anew)
    mixed = {name: np.insert(payload[name], place[kept], stray[name][kept]) for name in payload}
    return WriteEvents(mixed, np.insert(events.commits, place[kept], -1))
