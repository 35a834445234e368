"""What the benches of all blocks share: stall choices and how a case is put together."""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np

from golden.cycles import (
    STALL_PATTERNS,
    Bools,
    Case,
    CycleModel,
    CycleTrace,
    simulate,
    stall_pattern,
    truncate,
)
from golden.numbers import Int64
from golden.order import Answer, Order

__all__ = ["Parameters", "generator", "make_case", "side_values", "stall_choices"]

Parameters = Mapping[str, int | str]


def generator(seed: int, *keys: int) -> np.random.Generator:
    """Return a generator that depends on ``seed`` and ``keys`` alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *keys])))


def side_values(rng: np.random.Generator, width: int, beats: int) -> Int64:
    """Return (beats,) random opaque bits of ``width`` (0..62)."""
    return rng.integers(0, 1 << width, size=beats, dtype=np.int64)


def stall_choices(names: Sequence[str], index: int, seed: int) -> dict[str, Bools]:
    """Return a stall pattern for each stream.

    Index 0: nobody stalls; index 1..: each stream takes its own next pattern, so that every
    stream meets every pattern and no two go together for long.
    """
    chosen = {}
    for place, name in enumerate(names):
        pattern = "never"
        if index:
            turns = islice(cycle(STALL_PATTERNS), index + place * (1 + index % 3), None)
            pattern = next(iter(turns))
        chosen[name] = stall_pattern(pattern, seed * 1009 + index * 101 + place)
    return chosen


def make_case(
    name: str,
    block: str,
    parameters: Parameters,
    model: CycleModel,
    payloads: Mapping[str, Mapping[str, Int64]],
    stalls: Mapping[str, Bools],
    seed: int,
    *,
    reset_at: int | None = None,
    groups: Int64 | None = None,
    plain_in: Mapping[str, Int64] | None = None,
    order: Order | None = None,
    answers: Mapping[str, Answer] | None = None,
) -> Case:
    """Simulate ``model`` until every beat has moved; cut at cycle ``reset_at`` if given."""

    def beats(stream: str) -> int:
        return min((len(values) for values in payloads[stream].values()), default=0)

    trace: CycleTrace = simulate(
        model,
        sent={stream: beats(stream) for stream in model.inputs},
        delivered={stream: beats(stream) for stream in model.outputs},
        stalls=stalls,
        plain_in=plain_in,
        order=order,
        answers=answers,
    )
    if reset_at is not None:
        trace = truncate(trace, reset_at % max(1, trace.cycles))
    return Case(
        name, block, dict(parameters), payloads, trace, seed, groups,
        order=order or {}, answers=answers or {},
    )  # fmt: skip
