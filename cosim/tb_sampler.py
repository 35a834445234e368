"""Bench of ``sampler``: rows of the samplers' own tables, random and extreme ones; image bytes."""

from itertools import product

import numpy as np
import numpy.typing as npt

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.network.samplers import SchedulerConfig, make_sampler
from golden.numbers import Int64, rsh
from golden.order import Wait
from golden.sampler import (
    COEFFICIENT_FRACTION,
    SamplerModel,
    coefficient_table,
    image_byte,
    sampler_step,
)

__all__ = ["CORNERS", "cases", "corner_words", "rows_case", "table_rows"]

LIMIT = 1 << 15
COEFFICIENT_LIMIT = 1 << 31
CORNERS = (-LIMIT, -LIMIT + 1, -4097, -4096, -1, 0, 1, 4095, 4096, LIMIT - 2, LIMIT - 1)
COEFFICIENT_CORNERS = (-COEFFICIENT_LIMIT, -(1 << 20), -1, 0, 1, (1 << 19) - 1, 1 << 19, 1 << 20,
                       COEFFICIENT_LIMIT - 1)  # fmt: skip
REACHES = (0, 1, 4095, 4096, LIMIT - 1)
NAMES = ("p", "q", "a", "b", "d", "c")
BEATS_OF_A_ROW = (0, 1, 2, 11, 30)
ROWS = 64
TIES = 30


def corner_words(lanes: int) -> Int64:
    """Return (3, beats, lanes): every triple of corner values as x, eps, noise."""
    triples = np.array(list(product(CORNERS, repeat=3)), dtype=np.int64)
    return np.resize(triples, (-(-len(triples) // lanes) * lanes, 3)).T.reshape(3, -1, lanes)


def table_rows(rng: np.random.Generator, count: int) -> Int64:
    """Return (count, 7) p, q, a, b, d, c, reach: a third of DDIM and DDPM, random, extreme."""
    tables = [
        coefficient_table(make_sampler(name, SchedulerConfig(clip_sample=clip), 50))
        for name in ("ddim", "ddpm")
        for clip in (True, False)
    ]
    real = rng.permutation(np.concatenate(tables).astype(np.int64))[:count]
    size = rng.integers(10, 32, size=(count, 6))
    anything = rng.integers(-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT, size=(count, 6)) >> (31 - size)
    anything = np.clip(anything, -COEFFICIENT_LIMIT, COEFFICIENT_LIMIT - 1)
    extreme = rng.choice(COEFFICIENT_CORNERS, size=(count, 6))
    kind = np.arange(count)[:, None] % 3
    rows = np.where(kind == 0, real, np.where(kind == 1, anything, extreme))
    return np.concatenate([rows, rng.choice(REACHES, size=(count, 1))], axis=1)


def _solved(rng: np.random.Generator, rest: Int64, odd: int) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Return words w with ``rest + odd*w`` a half or one below, modulo 2**20; which are int16."""
    half = 1 << (COEFFICIENT_FRACTION - 1)
    target = half - rng.integers(0, 2, size=rest.shape)
    word = (target - rest) * pow(odd, -1, 2 * half) % (2 * half)
    word = np.where(word >= half, word - 2 * half, word)
    return word, (word >= -LIMIT) & (word < LIMIT)


def tie_words(
    rng: np.random.Generator, lanes: int, beats: int, *, of_x0: bool
) -> tuple[Int64, Int64]:
    """Return words (3, beats, lanes) and their row (7,): every sum at a tie or just below one.

    So the lowest bit of each product decides a result. ``of_x0``: the sum of x0, else that of x'.
    """
    p, q, a, b, d, c = (2 * rng.integers(-(1 << 18), 1 << 18, size=6) + 1).tolist()
    tries = 32 * beats * lanes  # one in 16 is an int16
    x, eps = rng.integers(-LIMIT // 2, LIMIT // 2, size=(2, tries))
    if of_x0:
        row = (p, q, 1 << COEFFICIENT_FRACTION, 0, 0, 0, LIMIT - 1)
        noise = rng.integers(-LIMIT, LIMIT, size=tries)
        eps, fits = _solved(rng, p * x, q)
    else:
        row = (p, q, a, b, d, c, LIMIT // 8)
        x0 = np.clip(rsh(p * x + q * eps, COEFFICIENT_FRACTION), -row[6], row[6])
        noise, fits = _solved(rng, a * x0 + b * x + d * eps, c)
    found = np.stack([x, eps, noise])[:, fits][:, : beats * lanes]
    return np.resize(found, (3, beats, lanes)), np.array(row)


def reach_words(rng: np.random.Generator, lanes: int, reach: int) -> tuple[Int64, Int64]:
    """Return words (3, beats, lanes) and a row (7,) that passes x0 on; x a power of two from it."""
    apart = [sign * (1 << k) + one for k in range(15) for sign in (1, -1) for one in (-1, 0, 1)]
    x = np.concatenate([np.array(apart) - reach, np.array(apart) + reach])
    x = rng.permutation(x[(x >= -LIMIT) & (x < LIMIT)])
    one = 1 << COEFFICIENT_FRACTION
    words = np.zeros((3, -(-len(x) // lanes), lanes), np.int64)
    words[0] = np.resize(x, words[0].shape)
    return words, np.array((one, 0, one, 0, 0, 0, reach))


def _values(words: Int64, image: Int64, row_of_beat: Int64, rows: Int64) -> Int64:
    """Return (beats, lanes) of ``words`` (3, beats, lanes)."""
    values = np.zeros_like(words[0])
    for number, (*coefficients, reach) in enumerate(rows.tolist()):
        beats = np.flatnonzero(row_of_beat == number)
        x, eps, noise = words[:, beats]
        values[beats] = sampler_step(x, eps, coefficients, reach, noise)
    bytes_ = image_byte(words[0]).astype(np.int64)
    return np.where(image[:, None] == 1, bytes_, values)


def rows_case(
    name: str,
    words: Int64,
    lengths: Int64,
    rows: Int64,
    index: int,
    seed: int,
    parameters: Parameters,
) -> Case:
    """Return a case of ``words`` (3, beats, lanes) int16: x, eps, noise.

    ``rows`` (rows, 7): row r is loaded before its ``lengths[r]`` beats. A fourth of the beats, at
    random, is asked for bytes. ``index`` chooses the stalls; index 1 is cut by a reset.
    """
    rng = generator(seed, index, 1)
    beats = words.shape[1]
    row_of_beat = np.repeat(np.arange(len(rows)), lengths)[:beats]
    image = (rng.random((beats,)) < 0.25).astype(np.int64)
    side = side_values(rng, int(parameters.get("side_width", 0)), beats)
    before = [0, *np.cumsum(lengths).tolist()]  # beats of the rows in front of each
    order = {
        "i": [Wait(before[row], {"i_row": row + 1}) for row in range(len(rows))],
        "i_row": [Wait(row, {"i": before[row]}) for row in range(len(rows))],
    }
    x, eps, noise = words
    payloads = {
        "i": {"x": x, "eps": eps, "noise": noise, "image": image, "side": side},
        "i_row": {key: rows[:, place] for place, key in enumerate((*NAMES, "reach"))},
        "o": {"values": _values(words, image, row_of_beat, rows), "side": side},
    }
    return make_case(
        name, "sampler", parameters, SamplerModel(), payloads,
        stall_choices(("i", "i_row", "o"), index, seed), seed,
        reset_at=int(rng.integers(1, beats)) if index == 1 else None, order=order,
    )  # fmt: skip


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return corner triples under long rows without stalls, then short rows under every stall."""
    lanes = int(parameters["lanes"])
    rng = generator(seed, 0)
    words = np.tile(corner_words(lanes), (1, 6, 1))
    rows = table_rows(rng, 12)
    one, half = 1 << 20, 1 << 19
    rows[4:6] = (0, 0, 0, one, one, 0, 4096)  # x + eps, at and beside both limits
    rows[6:8] = (0, 0, 0, half, 0, 0, 4096)  # x/2: ties
    rows[8:10] = (half, 0, one, 0, 0, 0, LIMIT - 1)  # ties of x0
    lengths = np.full(12, words.shape[1] // 12)
    lengths[-1] += words.shape[1] % 12
    result = [rows_case("corners", words, lengths, rows, 0, seed, parameters)]
    rng = generator(seed, 6)
    aimed = [tie_words(rng, lanes, TIES, of_x0=number % 3 == 2) for number in range(18)]
    reaches = [*REACHES, *rng.integers(1, LIMIT, size=12).tolist()]
    aimed += [reach_words(rng, lanes, reach) for reach in reaches]
    words = np.concatenate([found for found, _ in aimed], axis=1)
    lengths = np.array([found.shape[1] for found, _ in aimed])
    rows = np.array([row for _, row in aimed])
    result.append(rows_case("aimed", words, lengths, rows, 0, seed, parameters))
    for index in range(1, 6):
        rng = generator(seed, index)
        # at first rows that no beat uses, one after the other
        lengths = np.r_[
            np.zeros(ROWS - 40, np.int64), rng.permutation(np.resize(BEATS_OF_A_ROW, 40))
        ]
        beats = int(lengths.sum())
        words = rng.integers(-LIMIT, LIMIT, size=(3, beats, lanes)) >> rng.integers(0, 8)
        corner = rng.random(words.shape) < 0.1
        words[corner] = rng.choice(CORNERS, size=int(corner.sum()))
        name = f"stalls{index}" + ("-reset" if index == 1 else "")
        result.append(
            rows_case(name, words, lengths, table_rows(rng, ROWS), index, seed, parameters)
        )
    return result
