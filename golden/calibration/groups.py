"""Timestep groups: the partition of the T sampler steps that quantizes best.

``error(boundaries) = sum over groups [a, b) of cost[a, b]`` where ``cost[a, b]`` is the error of
steps a..b-1 if they share one set of scales. Dynamic programming over contiguous groups finds the
minimum exactly: ``best[g][b] = min over a < b of best[g-1][a] + cost[a, b]``.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from golden.errors import UserError

__all__ = [
    "Partition",
    "group_of",
    "optimal_partition",
    "partition_error",
    "peak_cost",
    "table_cost",
    "uniform_boundaries",
]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Partition:
    """``boundaries``: the first step of every group but the first; ``error``: summed cost."""

    boundaries: tuple[int, ...]
    error: float

    def spans(self, steps: int) -> list[tuple[int, int]]:
        """Half-open range of steps of each group."""
        edges = [0, *self.boundaries, steps]
        return list(pairwise(edges))


def group_of(boundaries: tuple[int, ...], step: int) -> int:
    """Group of a step: the number of boundaries at or before it."""
    return sum(boundary <= step for boundary in boundaries)


def _check(steps: int, groups: int) -> None:
    if not 1 <= groups <= steps:
        raise UserError(f"groups: {groups} is not possible with {steps} steps; allowed: 1..{steps}")


def optimal_partition(cost: Float64, groups: int) -> Partition:
    """The partition of least summed cost; earlier boundaries win ties.

    ``cost`` (T + 1, T + 1): ``cost[a, b]`` for steps a..b-1, used for a < b only. ``UserError``
    unless 1 <= groups <= T.
    """
    steps = cost.shape[0] - 1
    _check(steps, groups)
    best = np.full((groups + 1, steps + 1), np.inf)
    start = np.zeros((groups + 1, steps + 1), dtype=np.int64)
    best[0, 0] = 0.0
    for g in range(1, groups + 1):
        for b in range(g, steps + 1):
            totals = best[g - 1, :b] + cost[:b, b]
            start[g, b] = np.argmin(totals)
            best[g, b] = totals[start[g, b]]
    boundaries = []
    b = steps
    for g in range(groups, 1, -1):
        b = int(start[g, b])
        boundaries.append(b)
    return Partition(tuple(reversed(boundaries)), float(best[groups, steps]))


def uniform_boundaries(steps: int, groups: int) -> tuple[int, ...]:
    """Groups of equal length (to within one step); ``UserError`` unless 1 <= groups <= steps."""
    _check(steps, groups)
    return tuple(g * steps // groups for g in range(1, groups))


def partition_error(cost: Float64, boundaries: tuple[int, ...]) -> float:
    """Summed cost of given boundaries."""
    edges = [0, *boundaries, cost.shape[0] - 1]
    return float(sum(cost[a, b] for a, b in pairwise(edges)))


def table_cost(errors: Float64) -> Float64:
    """Cost of sharing the best of some candidates: ``min_c sum_t errors[t, c]``.

    ``errors`` (T, candidates) -> (T + 1, T + 1), infinite where a >= b.
    """
    steps = errors.shape[0]
    cost = np.full((steps + 1, steps + 1), np.inf)
    for a in range(steps):
        cost[a, a + 1 :] = np.cumsum(errors[a:], axis=0).min(axis=1)
    return cost


def peak_cost(peaks: Float64, weights: Float64, levels: int) -> Float64:
    """Cost of a min/max scale: rounding noise ``(max peak / levels)**2 / 12`` for each weight.

    ``peaks``, ``weights`` (T,); ``levels``: codes on one side of zero, 127 for int8. Returns
    (T + 1, T + 1), infinite where a >= b.
    """
    steps = peaks.shape[0]
    cost = np.full((steps + 1, steps + 1), np.inf)
    for a in range(steps):
        reach = np.maximum.accumulate(peaks[a:])
        cost[a, a + 1 :] = (reach / levels) ** 2 / 12 * np.cumsum(weights[a:])
    return cost
