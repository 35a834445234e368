"""Bench of ``group_norm``: ragged chunks of any length, every shift, both limits of u."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.group_norm import U_BITS, U_FRACTION
from golden.norm_lane import GroupNormModel, lane_constants
from golden.numbers import Int64, rsh, sat

__all__ = ["Chunk", "cases", "chunks_case", "corner_chunks", "random_chunks"]

LIMIT = 1 << 15
SHIFT_MAX = 50
X_CORNERS = (-LIMIT, -LIMIT + 1, -1, 0, 1, LIMIT - 2, LIMIT - 1)


@dataclass(frozen=True)
class Chunk:
    """Constants of 1..lanes channels, (channels,) int64 each, and words x (words, lanes) int16.

    ``mean``: B less its share of beta, |mean| <= 2**30.
    """

    Am: Int64
    mean: Int64
    beta: Int64
    F: Int64
    x: Int64

    @property
    def B(self) -> Int64:
        """Offset of the numeric contract."""
        up, down = np.maximum(self.F - 11, 0), np.maximum(11 - self.F, 0)
        return self.mean + ((self.beta << up) >> down)

    @property
    def u(self) -> Int64:
        """(words, lanes) int12; 0 in lanes without a channel."""
        count = len(self.Am)
        total = self.x[:, :count] * self.Am + self.B
        u = sat(rsh(total, np.broadcast_to(self.F - U_FRACTION, total.shape)), U_BITS)
        return np.pad(u, ((0, 0), (0, self.x.shape[1] - count)))


def corner_chunks(lanes: int) -> list[Chunk]:
    """Return chunks of corner constants at every shift, each with all corners of x in each lane."""
    corners = [
        (Am, mean, beta)
        for Am in (-LIMIT, -1, 0, LIMIT)
        for mean in (-(1 << 30), -8, 7, 1 << 30)
        for beta in (-LIMIT, -8, 0, LIMIT - 1)
    ]
    every = [(*corner, shift) for shift in range(SHIFT_MAX + 1) for corner in corners]
    chunks = []
    x = np.array([np.roll(X_CORNERS, row) for row in range(len(X_CORNERS))])
    x = np.resize(x.T, (lanes, len(X_CORNERS))).T
    # a prime step, so that a chunk has all kinds of shifts
    chosen = [every[(index * 1009) % len(every)] for index in range(len(every))]
    for start in range(0, len(chosen), 4 * lanes):
        Am, mean, beta, shift = np.array(chosen[start : start + lanes], dtype=np.int64).T
        chunks.append(Chunk(Am, mean, beta, shift + U_FRACTION, x))
    return chunks


def random_chunks(rng: np.random.Generator, lanes: int, count: int) -> list[Chunk]:
    """Return ragged chunks of 1 to 40 words, constants such that about half of u is in range."""
    chunks = []
    for _ in range(count):
        channels = int(rng.integers(1, lanes + 1)) if rng.random() < 0.5 else lanes
        words = int(rng.choice([1, 2, 5, 9, lanes, lanes + 6, 40]))
        shift = rng.integers(0, SHIFT_MAX + 1, size=channels)
        # shifts that give a u of a few hundred are those near bits(x*Am) - 8
        bits = rng.integers(0, 16, size=channels)
        shift = np.where(rng.random(channels) < 0.7, np.minimum(bits + 8, SHIFT_MAX), shift)
        Am = rng.integers(-(1 << bits), (1 << bits) + 1)
        mean = np.clip(-Am * rng.integers(-LIMIT, LIMIT, size=channels), -(1 << 30), 1 << 30)
        beta = rng.integers(-4096, 4096, size=channels)
        x = rng.integers(-LIMIT, LIMIT, size=(words, lanes))
        chunks.append(Chunk(Am, mean, beta, shift + U_FRACTION, x))
    return chunks


def chunks_case(
    name: str, chunks: Sequence[Chunk], index: int, seed: int, parameters: Parameters
) -> Case:
    """Return a case of ``chunks``; ``index`` chooses the stalls, index 1 is cut by a reset.

    A chunk of all lanes needs no flag on its last channel: half of them have none.
    """
    lanes = int(parameters["lanes"])
    rng = generator(seed, index, 1)
    constants: dict[str, list[Int64]] = {
        name: [] for name in ("slope", "offset", "beta", "shift", "last")
    }
    for number, chunk in enumerate(chunks):
        offset, beta, shift = lane_constants(chunk.B, chunk.F, chunk.beta)
        last = np.zeros(len(shift), dtype=np.int64)
        last[-1] = len(last) < lanes or number % 2
        for field, values in zip(constants, (chunk.Am, offset, beta, shift, last), strict=True):
            constants[field].append(values)
    given = {field: np.concatenate(values) for field, values in constants.items()}
    x = np.concatenate([chunk.x for chunk in chunks])
    ends = np.concatenate([np.arange(len(c.x)) == len(c.x) - 1 for c in chunks]).astype(np.int64)
    side = side_values(rng, int(parameters.get("side_width", 0)), len(x))
    payloads = {
        "i_constants": given,
        "i": {"x": x, "last": ends, "side": side},
        "o": {"u": np.concatenate([chunk.u for chunk in chunks]), "side": side},
    }
    return make_case(
        name, "group_norm", parameters, GroupNormModel(given["last"], ends, lanes), payloads,
        stall_choices(("i_constants", "i", "o"), index, seed), seed,
        reset_at=int(rng.integers(1, len(x))) if index == 1 else None,
    )  # fmt: skip


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return the corners without stalls, then random chunks under every stall class."""
    lanes = int(parameters["lanes"])
    result = [chunks_case("corners", corner_chunks(lanes), 0, seed, parameters)]
    for index in range(1, 7):
        chunks = random_chunks(generator(seed, index), lanes, 40)
        name = f"stalls{index}" + ("-reset" if index == 1 else "")
        result.append(chunks_case(name, chunks, index, seed, parameters))
    return result
