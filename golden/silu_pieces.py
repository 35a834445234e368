"""``g(a) = a * sigmoid(-a)`` on |u| = 0..2048 (Q4.7), as straight pieces with optimal knots.

``g(a) ~ (slope * a + intercept) / 2**SLOPE_FRACTION`` in LSBs of the SiLU value (2**-11), constant
slope and intercept from one knot to the next. Knots lie on a grid of 2**GRID_BITS inputs, so a
comparison with one reads eight bits. ``fit`` derives the tables; ``PIECES`` stores them.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from golden.numbers import Int64

__all__ = ["GRID_BITS", "PIECES", "SLOPE_FRACTION", "Pieces", "fit"]

INPUT_FRACTION = 7
INPUT_MAX = 2048  # |-2048|
VALUE_FRACTION = 11
GRID_BITS = 3
SLOPE_FRACTION = 6
_EXTRA = 24  # fraction bits of the sampled curve below one LSB of the value: the fit is integer
_SLOPE_LIMIT = 16 << SLOPE_FRACTION  # |g'| <= 1/2 is 8 LSBs of the value an input step


@dataclass(frozen=True)
class Pieces:
    """A table of pieces.

    ``knots``: (segments,) first cell of each piece, in units of 2**GRID_BITS inputs, ``knots[0]``
    = 0. ``slopes``, ``intercepts``: (segments,) with SLOPE_FRACTION fraction bits.
    """

    knots: tuple[int, ...]
    slopes: tuple[int, ...]
    intercepts: tuple[int, ...]


def _samples() -> Int64:
    """Return g at every input, (2049,), with _EXTRA bits below one LSB of the value."""
    scale = 1 << (VALUE_FRACTION + _EXTRA)
    inputs = [a / (1 << INPUT_FRACTION) for a in range(INPUT_MAX + 1)]
    return np.array([round(scale * x / (1 + math.exp(x))) for x in inputs], dtype=np.int64)


def _line(curve: Int64, start: int, stop: int) -> tuple[int, int, int]:
    """Best line for inputs start..stop-1: (spread, slope, centre).

    ``spread`` is twice the largest error; it is convex in the slope, so a ternary search finds it.
    """
    inputs = np.arange(start, stop, dtype=np.int64)

    def spread(slope: int) -> tuple[int, int]:
        rest = curve[start:stop] - ((slope * inputs) << (_EXTRA - SLOPE_FRACTION))
        return int(rest.max() - rest.min()), int(rest.max() + rest.min()) >> 1

    low, high = -_SLOPE_LIMIT, _SLOPE_LIMIT
    while high - low > 1:
        middle = (low + high) // 2
        if spread(middle)[0] <= spread(middle + 1)[0]:
            high = middle
        else:
            low = middle
    slope = min((low, high), key=lambda candidate: spread(candidate)[0])
    width, centre = spread(slope)
    return width, slope, centre


def _cut(curve: Int64, segments: int, limit: int) -> list[int] | None:
    """Knots of the fewest pieces whose spread is at most ``limit``; None if over ``segments``.

    The spread of a piece only grows with the piece, so taking the longest piece each time is
    optimal (the dynamic programme over knots collapses to it).
    """
    cells = INPUT_MAX >> GRID_BITS
    knots = [0]
    while knots[-1] < cells:
        start = knots[-1] << GRID_BITS
        low, high = knots[-1], cells
        while low < high:
            middle = (low + high + 1) // 2
            stop = (middle << GRID_BITS) + (middle == cells)
            if _line(curve, start, stop)[0] <= limit:
                low = middle
            else:
                high = middle - 1
        if low == knots[-1] or len(knots) > segments:
            return None
        knots.append(low)
    return knots if len(knots) <= segments + 1 else None


def fit(segments: int) -> Pieces:
    """Return the pieces with the least maximum error over all 2049 inputs, by bisection.

    Deterministic: the curve is sampled once to integers, everything after is integer. Pieces that
    the optimum leaves over are empty (their knot lies beyond the last cell) and are not returned.
    """
    curve = _samples()
    low, high = 0, 64 << _EXTRA
    while high - low > 1 << (_EXTRA - 10):
        middle = (low + high) // 2
        if _cut(curve, segments, middle) is None:
            low = middle
        else:
            high = middle
    knots = _cut(curve, segments, high)
    assert knots is not None
    slopes, intercepts = [], []
    for first, last in itertools.pairwise(knots):
        stop = (last << GRID_BITS) + (last == INPUT_MAX >> GRID_BITS)
        _, slope, centre = _line(curve, first << GRID_BITS, stop)
        slopes.append(slope)
        half = 1 << (_EXTRA - SLOPE_FRACTION - 1)
        intercepts.append((centre + half) >> (_EXTRA - SLOPE_FRACTION))
    return Pieces(tuple(knots[:-1]), tuple(slopes), tuple(intercepts))


# ``fit`` of each supported number of segments; a test derives them again. Set by rows.
# fmt: off
PIECES = {
    16: Pieces(
        knots=(
            0, 3, 6, 9, 12, 15, 18, 22, 27, 35, 49, 59, 70, 83, 101, 133,
        ),
        slopes=(
            466, 372, 283, 201, 128, 66, 8, -46, -87, -98, -77, -53, -32, -16, -5, 0,
        ),
        intercepts=(
            132, 2338, 6549, 12389, 19343, 26738, 35098, 44586, 53428, 56259, 48018, 36692,
            24922, 14292, 5448, 134,
        ),
    ),
    32: Pieces(
        knots=(
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22, 25, 28, 32, 46, 52, 57,
            63, 69, 76, 84, 94, 105, 120, 148, 175,
        ),
        slopes=(
            498, 466, 434, 403, 372, 341, 311, 282, 254, 227, 188, 139, 95, 57, 23, -6, -36,
            -63, -84, -100, -88, -76, -63, -50, -38, -27, -18, -11, -6, -2, 0, 0,
        ),
        intercepts=(
            12, 252, 749, 1478, 2453, 3678, 5105, 6718, 8497, 10425, 13561, 18235, 23141, 27983,
            32852, 37466, 42749, 48115, 52800, 56882, 52470, 47499, 41574, 35035, 28408, 21711,
            15646, 10413, 6255, 2439, 71, 13,
        ),
    ),
}
# fmt: on
