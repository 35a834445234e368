"""Softmax in 7 bits with the division deferred to the end of the row.

``L = sat16(rsh(qk * M_l, n_l))`` counts 1/32 octaves, ``e = rsh(E[d & 31], d >> 5)`` with
``d = min(max L - L, 511)`` and ``E[i] = round(127 * 2**(-i/32))``; one reciprocal a row turns
``sum e*v`` into the int8 output.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from golden.cycles import BUBBLE
from golden.exact_matmul import matmul_exact
from golden.numbers import Int64, check_range, rsh, sat

__all__ = [
    "EXPONENTIALS",
    "LATENCY",
    "SoftmaxModel",
    "attention",
    "logits",
    "numerators",
    "row_scale",
    "scale_latency",
    "weighted_sum",
]

DISTANCE_MAX = 511
OCTAVE_BITS = 5
SUM_MAX = 1 << 24
LATENCY = 4  # accepted word of the second pass -> its e
EXPONENTIALS = tuple(round(127 * 2 ** (-i / 32)) for i in range(1 << OCTAVE_BITS))
"""``127 * 2**(-i/32)``, i = 0..31: the numerators of one octave."""


def logits(scores: npt.ArrayLike, multiplier: int, shift: int) -> Int64:
    """Return L int16 in 1/32 octaves of ``scores`` = q k^T, int32, any shape."""
    s = check_range(scores, -(1 << 31), (1 << 31) - 1, "scores")
    return sat(rsh(s * multiplier, shift), 16)


def numerators(L: npt.ArrayLike) -> Int64:
    """Return e 0..127 of logits (..., row) int16; the largest of a row gives 127."""
    values = check_range(L, -(1 << 15), (1 << 15) - 1, "L")
    distance = np.minimum(values.max(axis=-1, keepdims=True) - values, DISTANCE_MAX)
    octave = np.array(EXPONENTIALS, dtype=np.int64)[distance & ((1 << OCTAVE_BITS) - 1)]
    return rsh(octave, distance >> OCTAVE_BITS)


def row_scale(total: npt.ArrayLike, multiplier: int, shift: int) -> tuple[Int64, Int64]:
    """Return (P, n) of each row so that ``o = sat8(rsh(sum(e*v) * P, n))``.

    ``total``: S = sum of a row's numerators, 1..2**24. ``R = min(2**(15 + w) / S, 65535)`` with
    w = bits of S, ``P = rsh(R * M_o, 16)``, ``n = w + n_o - 1``.
    """
    S = check_range(total, 1, SUM_MAX, "total")
    w = np.frexp(S.astype(np.float64))[1].astype(np.int64)
    R = np.minimum((np.int64(1) << (15 + w)) // S, 65535)
    return rsh(R * multiplier, 16), w + shift - 1


def weighted_sum(e: npt.ArrayLike, v: npt.ArrayLike, multiplier: int, shift: int) -> Int64:
    """Return o (..., rows, d) int8 of numerators (..., rows, L) and values v (..., L, d) int8."""
    weights = check_range(e, 0, 127, "e")
    values = check_range(v, -128, 127, "v")
    P, n = row_scale(weights.sum(axis=-1, keepdims=True), multiplier, shift)
    return sat(rsh(matmul_exact(weights, values) * P, n), 8)


def attention(
    q: npt.ArrayLike,
    k: npt.ArrayLike,
    v: npt.ArrayLike,
    logit: tuple[int, int],
    value: tuple[int, int],
) -> Int64:
    """Return softmax(q k^T) v as int8, (N, heads, L, d), of q, k, v of that shape, int8.

    ``logit`` (M_l, n_l): from q k^T to 1/32 octaves, with 1/sqrt(d) and both steps inside.
    ``value`` (M_o, n_o): from the step of v to that of the output.
    """
    keys = check_range(k, -128, 127, "k").swapaxes(-1, -2)
    scores = matmul_exact(check_range(q, -128, 127, "q"), keys)
    return weighted_sum(numerators(logits(scores, *logit)), v, *value)


def scale_latency(lanes: int) -> int:
    """Cycles from the last word of a row's second pass to its scale: e, sums, reciprocal."""
    return LATENCY + (lanes - 1).bit_length() + 1 + 20


class SoftmaxModel:
    """Two outputs of one pipeline, and the queue of row maxima.

    All registers move when neither output holds a beat that is not taken; a beat that is taken
    while the other output waits is not offered again. The last word of a first pass puts a maximum
    into the queue ``2 + ceil(log2(lanes))`` registers on; the last word of a second pass takes it
    out as it is accepted, and words of a second pass wait while the queue is empty.
    """

    inputs: Sequence[str] = ("i",)
    outputs: Sequence[str] = ("o", "o_scale")
    plain_outputs: Sequence[str] = ()

    def __init__(self, second: npt.ArrayLike, last: npt.ArrayLike, lanes: int) -> None:
        """``second``, ``last``: (beats,) 0 or 1, of the words in the order in which they come."""
        self.second = np.asarray(second) == 1
        self.ends = np.asarray(last) == 1
        self.words = (np.cumsum(self.second) - 1).tolist()
        self.rows = (np.cumsum(self.second & self.ends) - 1).tolist()
        self.depth = scale_latency(lanes)
        self.found_at = 1 + (lanes - 1).bit_length()
        self.reset()

    def reset(self) -> None:
        """Empty the pipeline and the queue."""
        self.stages: deque[int] = deque([BUBBLE] * self.depth, maxlen=self.depth)
        self.waiting = {"o": BUBBLE, "o_scale": BUBBLE}
        self.maxima = 0

    def offered(self) -> dict[str, int]:
        """Beats that wait at the outputs."""
        return dict(self.waiting)

    def _moves(self, ready: Mapping[str, bool]) -> bool:
        return all(beat < 0 or ready[name] for name, beat in self.waiting.items())

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``golden.cycles.CycleModel``."""
        beat = valid["i"]
        waits = beat >= 0 and self.second[beat] and not self.maxima
        return {"i": bool(self._moves(ready) and not waits)}, {}

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``golden.cycles.CycleModel``."""
        if not self._moves(ready):
            for name, beat in self.waiting.items():
                self.waiting[name] = BUBBLE if ready[name] else beat
            return
        new = accepted["i"]
        self.stages.appendleft(new)
        found, word, row = (self.stages[n] for n in (self.found_at, LATENCY - 1, self.depth - 1))
        self.maxima += int(found >= 0 and not self.second[found] and self.ends[found])
        self.maxima -= int(new >= 0 and self.second[new] and self.ends[new])
        last = row >= 0 and self.second[row] and self.ends[row]
        self.waiting = {
            "o": self.words[word] if word >= 0 and self.second[word] else BUBBLE,
            "o_scale": self.rows[row] if last else BUBBLE,
        }
