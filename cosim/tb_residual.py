"""Bench of ``residual``: all pairs of corner values, random words near both limits."""

from itertools import product

import numpy as np

from cosim.stimulus import Parameters, generator, make_case, side_values, stall_choices
from golden.cycles import Case
from golden.numbers import Int64
from golden.residual import cycle_model, residual_sum

__all__ = ["CORNERS", "cases", "words_case"]

BEATS = 400
LIMIT = 1 << 15
CORNERS = (-LIMIT, -LIMIT + 1, -LIMIT // 2 - 1, -LIMIT // 2, -1, 0, 1,
           LIMIT // 2 - 1, LIMIT // 2, LIMIT - 2, LIMIT - 1)  # fmt: skip


def words_case(
    name: str, a: Int64, b: Int64, index: int, seed: int, parameters: Parameters
) -> Case:
    """Return a case of words ``a`` and ``b`` (beats, lanes) int16; ``index`` chooses the stalls.

    Index 1 is cut by a reset.
    """
    rng = generator(seed, index, 1)
    beats = len(a)
    side = side_values(rng, int(parameters.get("side_width", 0)), beats)
    return make_case(
        name,
        "residual",
        parameters,
        cycle_model(),
        {"i": {"a": a, "b": b, "side": side}, "o": {"values": residual_sum(a, b), "side": side}},
        stall_choices(("i", "o"), index, seed),
        seed,
        reset_at=int(rng.integers(1, beats)) if index == 1 else None,
    )


def cases(seed: int, parameters: Parameters) -> list[Case]:
    """Return the corner pairs without stalls, then random words under every stall class."""
    lanes = int(parameters["lanes"])
    pairs = np.array(list(product(CORNERS, CORNERS)), dtype=np.int64)
    shape = (-(-len(pairs) // lanes), lanes)
    a, b = (np.resize(column, shape) for column in pairs.T)
    result = [words_case("corners", a, b, 0, seed, parameters)]
    for index in range(1, 6):
        rng = generator(seed, index)
        a = rng.integers(-LIMIT, LIMIT, size=(BEATS, lanes))
        # half of the sums within 4 of a limit
        aimed = rng.choice([-LIMIT, LIMIT - 1], size=a.shape) - a + rng.integers(-4, 5, a.shape)
        free = rng.integers(-LIMIT, LIMIT, size=a.shape)
        b = np.where(rng.random(a.shape) < 0.5, np.clip(aimed, -LIMIT, LIMIT - 1), free)
        name = f"stalls{index}" + ("-reset" if index == 1 else "")
        result.append(words_case(name, a, b, index, seed, parameters))
    return result
