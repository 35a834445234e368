"""Sums over the passes of a tile: ``acc[pixel] = sums`` on ``first``, else ``+= sums``.

Two banks: one fills while the finished one drains in pixel order.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from golden.cycles import RigidPipeline
from golden.numbers import Int64, as_int64, check_range

__all__ = ["DRAIN_LATENCY", "FILL_LATENCY", "AccumulatorModel", "accumulator", "tile_ends"]

FILL_LATENCY = 4  # accepted beat -> its sum can be read
DRAIN_LATENCY = 2  # read issued -> beat at the output


def tile_ends(last: npt.ArrayLike, end: npt.ArrayLike) -> Int64:
    """Return the indices of the beats that finish a tile: both ``last`` and ``end``."""
    return as_int64(np.flatnonzero(as_int64(last) & as_int64(end)))


def accumulator(
    sums: npt.ArrayLike,
    pixel: npt.ArrayLike,
    first: npt.ArrayLike,
    last: npt.ArrayLike,
    end: npt.ArrayLike,
    acc_width: int = 32,
) -> tuple[Int64, Int64, Int64]:
    """Return (acc, pixel, end) of each output beat: (out, cols), (out,), (out,).

    ``sums``: (beats, cols). ``pixel``: (beats,) 0.. ; ``first``: overwrite; ``last`` and ``end``
    together finish the tile, whose pixels 0..pixel then come out in order. ``ValueError`` if a
    pixel of a finished tile was never written or a sum leaves ``acc_width`` bits signed.
    """
    values = as_int64(sums)
    index = check_range(pixel, 0, 1 << 30, "pixel").tolist()
    is_first = as_int64(first).tolist()
    finish = (as_int64(last) & as_int64(end)).tolist()
    limit = 1 << (acc_width - 1)
    entries: dict[int, Int64] = {}
    acc: list[Int64] = []
    pixels: list[int] = []
    ends: list[int] = []
    for beat, row in enumerate(values):
        p = index[beat]
        entries[p] = row.copy() if is_first[beat] else entries[p] + row
        if np.any(entries[p] >= limit) or np.any(entries[p] < -limit):
            raise ValueError(f"sum of beat {beat} must fit {acc_width} bits signed")
        if finish[beat]:
            for q in range(p + 1):
                if q not in entries:
                    raise ValueError(f"tile must write pixels 0..{p}, pixel {q} is missing")
                acc.append(entries[q])
                pixels.append(q)
                ends.append(int(q == p))
            entries = {}
    cols = values.shape[1]
    return np.array(acc, dtype=np.int64).reshape(-1, cols), as_int64(pixels), as_int64(ends)


class AccumulatorModel:
    """Cycle behaviour of the two banks.

    ==========  ==============================================  =========================
    bank state  meaning                                         leaves it
    ==========  ==============================================  =========================
    filling     takes beats; ``i.ready`` = 1                    accepts the finishing beat
    settling    ``FILL_LATENCY - 1`` cycles until the last      by itself
                sum is written
    draining    one read a cycle while the output moves; waits  its last read is issued
                for its turn (banks drain in turn)
    ==========  ==============================================  =========================

    ``i.ready`` looks at the bank whose turn it is to fill: 1 unless it settles or drains.
    The drain is a rigid pipeline of ``DRAIN_LATENCY`` registers.
    """

    inputs: Sequence[str] = ("i",)
    outputs: Sequence[str] = ("o",)
    plain_outputs: Sequence[str] = ()

    def __init__(self, pixel: npt.ArrayLike, last: npt.ArrayLike, end: npt.ArrayLike) -> None:
        finish = as_int64(last) & as_int64(end)
        self.finish_pixels = np.where(finish == 1, as_int64(pixel) + 1, 0).tolist()
        self.drain = RigidPipeline(DRAIN_LATENCY)
        self.reset()

    def reset(self) -> None:
        """Both banks empty."""
        self.drain.reset()
        self.busy = [False, False]
        self.fill_bank = 0
        self.settling: deque[int] = deque([0] * (FILL_LATENCY - 1), maxlen=FILL_LATENCY - 1)
        self.waiting: deque[int] = deque()  # pixels of the tiles that drain, oldest first
        self.drain_bank = 0
        self.drained = 0
        self.next_beat = 0

    def offered(self) -> dict[str, int]:
        """Beat in the output register."""
        return {"o": self.drain.offered}

    @property
    def input_ready(self) -> bool:
        """Ready of ``i``; a function of the state alone."""
        return not self.busy[self.fill_bank]

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``golden.cycles.CycleModel``."""
        return {"i": self.input_ready}, {}

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``golden.cycles.CycleModel``."""
        issued = -1
        if self.waiting and self.drain.ready(ready["o"]):
            issued = self.next_beat
            self.next_beat += 1
            self.drained += 1
            if self.drained == self.waiting[0]:
                self.waiting.popleft()
                self.drained = 0
                self.busy[self.drain_bank] = False
                self.drain_bank ^= 1
        self.drain.clock(issued, ready["o"])
        settled = self.settling[-1]
        pixels = self.finish_pixels[accepted["i"]] if accepted["i"] >= 0 else 0
        self.settling.appendleft(pixels)
        if settled:
            self.waiting.append(settled)
        if pixels:
            self.busy[self.fill_bank] = True
            self.fill_bank ^= 1
