"""Weight-stationary dot products: ``sums[c] = sum_r weights[r][c] * (mantissa[r] << shift[r])``.

``shift[r]`` is the beat's k where row r's flag is set, else 0. The sum is exact.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from golden.cycles import RigidPipeline
from golden.numbers import Int64, check_range
from golden.operand import decoded

__all__ = ["DECODES", "MULTIPLIERS", "MacArrayModel", "latency", "mac_array", "sum_width"]

DECODES = ("edge", "product_shift")
MULTIPLIERS = ("inferred", "mult18x18d")
PRODUCT_WIDTH = 20  # int8 times int12


def sum_width(rows: int) -> int:
    """Bits of the sum of ``rows`` products of int8 and int12, signed."""
    return PRODUCT_WIDTH + (rows - 1).bit_length()


def latency(
    rows: int, decode: str = "edge", pipeline: int = 1, multiplier: str = "inferred"
) -> int:
    """Cycles from an accepted beat to its sums.

    One for the operands, one for the products (one more with ``product_shift``, one more with
    ``mult18x18d``, whose operands are registered), one for every ``pipeline`` levels of the
    adder tree.
    """
    levels = (rows - 1).bit_length()
    cell = 1 + (decode == "product_shift") + (multiplier == "mult18x18d")
    return 1 + cell + -(-levels // pipeline)


def mac_array(
    mantissa: npt.ArrayLike,
    flag: npt.ArrayLike,
    k: npt.ArrayLike,
    tile_start: npt.ArrayLike,
    weights: npt.ArrayLike,
) -> Int64:
    """Return the sums of each beat, (beats, cols).

    ``mantissa``: (beats, rows) int8; ``flag``: (beats, rows) 0 or 1; ``k``: (beats,) 0..4.
    ``tile_start``: (beats,) 0 or 1, the beat that swaps the weight banks. ``weights``:
    (tiles, rows, cols) int8, one set for each swap. Beats before the first swap see zeros.
    """
    w = check_range(weights, -128, 127, "weights")
    values = decoded(check_range(mantissa, -128, 127, "mantissa"), flag, k)
    tile = np.cumsum(check_range(tile_start, 0, 1, "tile_start")) - 1
    if tile.size and tile[-1] >= len(w):
        raise ValueError(f"tile_start must mark at most {len(w)} tiles, got {tile[-1] + 1}")
    sums = np.zeros((len(values), w.shape[2]), dtype=np.int64)
    for index in range(len(w)):
        beats = tile == index
        sums[beats] = values[beats] @ w[index]
    return sums


class MacArrayModel:
    """Cycle behaviour: a rigid pipeline behind a double-buffered set of weights.

    State: ``loaded``, the number of rows in the shadow bank, 0..rows.

    =====================  ===========================================================
    accepts                when
    =====================  ===========================================================
    beat, no tile_start    the pipeline moves (``o.ready | ~o.valid``)
    beat with tile_start   the pipeline moves and loaded = rows; this is the *swap*
    row of weights         loaded < rows, or in the cycle of the swap
    =====================  ===========================================================

    After a swap ``loaded`` is 0, or 1 if a row came in the same cycle.
    """

    inputs: Sequence[str] = ("i", "i_weights")
    outputs: Sequence[str] = ("o",)
    plain_outputs: Sequence[str] = ()

    def __init__(
        self,
        tile_start: npt.ArrayLike,
        rows: int,
        decode: str = "edge",
        pipeline: int = 1,
        multiplier: str = "inferred",
    ) -> None:
        self.rows = rows
        self.tile_start = np.asarray(tile_start, dtype=bool).tolist()
        self.pipeline = RigidPipeline(latency(rows, decode, pipeline, multiplier))
        self.loaded = 0

    def reset(self) -> None:
        """Empty the pipeline and the shadow bank."""
        self.pipeline.reset()
        self.loaded = 0

    def offered(self) -> dict[str, int]:
        """Beat in the last stage."""
        return {"o": self.pipeline.offered}

    def beat_ready(self, beat: int, o_ready: bool) -> bool:
        """Ready of ``i`` for the ``beat`` that it offers (-1: none)."""
        starts = beat >= 0 and self.tile_start[beat]
        return self.pipeline.ready(o_ready) and (not starts or self.loaded == self.rows)

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``golden.cycles.CycleModel``."""
        beat = valid["i"]
        i_ready = self.beat_ready(beat, ready["o"])
        swap = beat >= 0 and i_ready and self.tile_start[beat]
        return {"i": i_ready, "i_weights": self.loaded < self.rows or swap}, {}

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``golden.cycles.CycleModel``."""
        beat = accepted["i"]
        self.pipeline.clock(beat, ready["o"])
        if beat >= 0 and self.tile_start[beat]:
            self.loaded = 0
        if accepted["i_weights"] >= 0:
            self.loaded += 1
