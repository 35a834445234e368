"""Norm of whole words as the hardware does it: constants in short words, chunk by chunk."""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from golden.cycles import BUBBLE
from golden.group_norm import U_FRACTION
from golden.numbers import Int64, as_int64

__all__ = ["LATENCY", "GroupNormModel", "lane_constants"]

LATENCY = 7
_HELD = 5  # registers that have a constant beside them
_POINT = 4


def lane_constants(
    B: npt.ArrayLike, F: npt.ArrayLike, beta: npt.ArrayLike
) -> tuple[Int64, Int64, Int64]:
    """Return offset, beta and shift of each channel: ``B = offset + beta * 2**(shift - 4)``.

    ``B``, ``F``: of ``channel_constants``; ``beta`` int16 Q4.11, broadcast to them. Below shift 4
    ``offset`` is the whole of B, and beta 0.
    """
    b, shift = as_int64(B, "B"), as_int64(F, "F") - U_FRACTION
    apart = np.where(shift >= _POINT, as_int64(beta, "beta"), 0)
    return b - (apart << np.maximum(shift - _POINT, 0)), apart, shift


class GroupNormModel:
    """One rigid pipeline, whose first word of a chunk waits for the chunk's constants.

    Constants are taken while the waiting set is not full; the last channel, or lane ``lanes - 1``,
    fills it. It is free again as the chunk's first word enters register 5.
    """

    inputs: Sequence[str] = ("i_constants", "i")
    outputs: Sequence[str] = ("o",)
    plain_outputs: Sequence[str] = ()

    def __init__(self, channel_last: npt.ArrayLike, word_last: npt.ArrayLike, lanes: int) -> None:
        """``channel_last``, ``word_last``: (beats,) 0 or 1, of constants and of words."""
        self.channel_last = np.asarray(channel_last).tolist()
        ends = np.asarray(word_last) == 1
        self.first = np.concatenate([[True], ends[:-1]]).tolist()
        self.lanes = lanes
        self.reset()

    def reset(self) -> None:
        """Empty the pipeline and the set; the next word is the first of a chunk."""
        self.stages: deque[int] = deque([BUBBLE] * LATENCY, maxlen=LATENCY)
        self.lane = 0
        self.full = self.leaving = False
        self.due = True

    def offered(self) -> dict[str, int]:
        """Beat in the last register."""
        return {"o": self.stages[-1]}

    def _moves(self, ready: Mapping[str, bool]) -> bool:
        return ready["o"] or self.stages[-1] < 0

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``CycleModel``."""
        waits = self.due and (not self.full or self.leaving)
        return {"i_constants": not self.full, "i": self._moves(ready) and not waits}, {}

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``CycleModel``."""
        channel, word = accepted["i_constants"], accepted["i"]
        if self._moves(ready):
            before = self.stages[_HELD - 2]
            if before >= 0 and self.first[before]:
                self.full = self.leaving = False
            self.stages.appendleft(word)
        if word >= 0:
            self.leaving |= self.first[word]
            self.due = word + 1 >= len(self.first) or self.first[word + 1]
        if channel >= 0:
            self.lane += 1
            if self.channel_last[channel] or self.lane == self.lanes:
                self.lane, self.full = 0, True
