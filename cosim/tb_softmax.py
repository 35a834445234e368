"""Bench of ``softmax``: rows of one key up, ragged last words, every distance, S at its limits."""

from collections.abc import Sequence

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.numbers import SHIFT_MAX, Int64
from golden.softmax import SoftmaxModel, numerators, row_scale

__all__ = ["cases", "corner_rows", "random_rows", "rows_case"]

LIMIT = 1 << 15
ROWS = 60
SUMS_MOST = 127 * 16


def corner_rows(lanes: int, keys_max: int) -> list[Int64]:
    """Return logits of rows: one key, equal ones, every distance, both limits, S of any size."""
    lengths = {min(count, keys_max) for count in (1, 2, lanes - 1, lanes, lanes + 1, 3 * lanes)}
    lengths = {max(length, 1) for length in lengths}
    rows = [
        np.full(length, level) for length in sorted(lengths) for level in (-LIMIT, 0, LIMIT - 1)
    ]
    rows += [np.full(keys_max, -7)]  # the largest S
    for length in (2 * lanes, 2 * lanes + 1):
        rows += [np.resize([LIMIT - 1, -LIMIT], min(length, keys_max))]
    # distances 0..513, in rows of three words beside their maximum
    for start in range(0, 514, 3 * lanes):
        row = np.concatenate([100 - np.arange(start, start + 3 * lanes), [100]])
        rows.append(row[-keys_max:])
    # e is 1 at a distance of 224: S is 128 or 256, and its neighbours
    for largest, ones in ((1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)):
        rows.append(np.array([0] * largest + [-224] * ones)[:keys_max])
    return [row.astype(np.int64) for row in rows]


def random_rows(rng: np.random.Generator, lanes: int, keys_max: int, count: int) -> list[Int64]:
    """Return logits of ``count`` rows of up to six words, of any level and spread."""
    rows = []
    for _ in range(count):
        length = int(rng.integers(1, min(6 * lanes, keys_max) + 1))
        spread = int(rng.choice([1, 8, 60, 300, 700, 2 * LIMIT]))
        level = int(rng.integers(-LIMIT, LIMIT))
        row = level + rng.integers(-spread // 2, spread // 2 + 1, size=length)
        rows.append(np.clip(row, -LIMIT, LIMIT - 1))
    return rows


def row_of_sum(total: int, keys_max: int) -> Int64 | None:
    """Return logits whose numerators add up to ``total``, at least 127; None if no row does.

    Greedy: the largest numerators first.
    """
    distances = {int(e): d for d, e in reversed(list(enumerate(_numerators_by_distance())))}
    values = sorted(distances, reverse=True)
    row, rest = [0], total - 127
    while rest and len(row) < keys_max:
        value = next(value for value in values if value <= rest)
        row.append(-distances[value])
        rest -= value
    return None if rest else np.array(row, dtype=np.int64)


def _numerators_by_distance() -> Int64:
    """E of every distance up to the last that gives one above 0."""
    return numerators(np.stack([np.zeros(256, np.int64), -np.arange(256)], axis=1))[:, 1]


def sum_rows(rng: np.random.Generator, keys_max: int) -> list[Int64]:
    """Return logits of rows of every S, or of many if they are more than a few thousand."""
    most = 127 * keys_max
    totals = np.arange(127, most + 1)
    if most > SUMS_MOST:
        small = np.exp2(rng.uniform(7, np.log2(127 * 64), 200)).astype(np.int64)
        totals = np.r_[small, rng.integers(most // 2, most, 3)]
    rows = (row_of_sum(int(total), keys_max) for total in rng.permutation(totals))
    return [row for row in rows if row is not None]


def _order(rng: np.random.Generator, rows: int, least: int, ahead: int) -> list[tuple[int, int]]:
    """Return (pass, row) in an order that the block takes: rows in order, few first passes ahead.

    From row to row another number of first passes is ahead, ``least`` (1: the second follows at
    once) to ``ahead``.
    """
    order: list[tuple[int, int]] = []
    first = 0
    for row in range(rows):
        target = min(row + int(rng.integers(least, ahead + 1)), rows)
        while first < target:
            order.append((0, first))
            first += 1
        order.append((1, row))
    return order


def rows_case(
    name: str,
    rows: Sequence[Int64],
    scale: tuple[int, int],
    index: int,
    seed: int,
    parameters: Parameters,
    least_ahead: int = 1,
) -> Case:
    """Return a case of ``rows`` of logits, int16; ``scale``: M_o, n_o.

    ``least_ahead``: first passes that are ahead of every second one. Lanes that do not count are
    random. ``index`` chooses the stalls; index 1 is cut by a reset.
    """
    lanes, ahead = int(parameters["lanes"]), int(parameters.get("ahead", 4))
    rng = generator(seed, index, 1)
    words, counted = [], []
    for row in rows:
        count = -(-len(row) // lanes)
        padded = rng.integers(-LIMIT, LIMIT, size=count * lanes)
        padded[: len(row)] = row
        words.append(padded.reshape(count, lanes))
        counted.append(np.minimum(len(row) - lanes * np.arange(count), lanes))
    order = _order(rng, len(rows), least_ahead, ahead)
    lasts = [np.arange(len(word)) == len(word) - 1 for word in words]
    fields = {
        "logits": np.concatenate([words[row] for _, row in order]),
        "keys": np.concatenate([counted[row] for _, row in order]),
        "second": np.concatenate([np.full(len(words[row]), which) for which, row in order]),
        "last": np.concatenate([lasts[row] for _, row in order]).astype(np.int64),
    }
    beats = len(fields["second"])
    side = side_values(rng, int(parameters.get("side_width", 0)), beats)
    e = [numerators(row) for row in rows]
    P, n = row_scale([values.sum() for values in e], *scale)
    padded_e = [np.pad(values, (0, -len(values) % lanes)).reshape(-1, lanes) for values in e]
    payloads = {
        "i": {**fields, "side": side},
        "o": {"e": np.concatenate(padded_e), "side": side[fields["second"] == 1]},
        "o_scale": {"P": P, "n": n},
    }
    return make_case(
        name, "softmax", parameters, SoftmaxModel(fields["second"], fields["last"], lanes),
        payloads, stall_choices(("i", "o", "o_scale"), index, seed), seed,
        reset_at=int(rng.integers(1, beats)) if index == 1 else None,
        plain_in={"multiplier": np.array([scale[0]]), "shift": np.array([scale[1]])},
    )  # fmt: skip


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return the corner rows without stalls, then random rows under every stall class."""
    lanes, keys_max = int(parameters["lanes"]), int(parameters.get("keys_max", 4096))
    shift_max = SHIFT_MAX + 1 - (127 * keys_max).bit_length()
    corners = corner_rows(lanes, keys_max)
    result = [rows_case("corners", corners, (0xFFFF, shift_max), 0, seed, parameters)]
    # rows of one word, as fast as they can come: a scale every second cycle
    words = [row[:lanes] for row in random_rows(generator(seed, 7), lanes, keys_max, ROWS)]
    ahead = int(parameters.get("ahead", 4))
    result.append(rows_case("words", words, (1 << 15, 0), 0, seed, parameters, ahead))
    # the largest multiplier: P shows every bit of R
    sums = sum_rows(generator(seed, 8), keys_max)
    result.append(rows_case("sums", sums, (0xFFFF, 0), 0, seed, parameters))
    for index in range(1, 7):
        rng = generator(seed, index)
        scale = (int(rng.integers(1 << 15, 1 << 16)), int(rng.integers(0, shift_max + 1)))
        if index == 2:
            scale = (0, 0)  # a dead channel
        rows = random_rows(rng, lanes, keys_max, ROWS)
        name = f"stalls{index}" + ("-reset" if index == 1 else "")
        result.append(rows_case(name, rows, scale, index, seed, parameters))
    return result
