"""Accumulator to activation: ``y = sat_w(rsh(acc * M, n) + b)``, one rounding, one saturation.

The same block brings a residual stream or a norm output to int8 or 12 bits (``acc`` = x, b = 0).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from golden.cycles import PipelineModel
from golden.numbers import SHIFT_MAX, Int64, as_int64, check_range, rsh

__all__ = [
    "ACC_BITS",
    "BIAS_BITS",
    "COUNT_BITS",
    "LATENCY",
    "MULTIPLIER_MAX",
    "RequantizerModel",
    "cycle_model",
    "latency",
    "requantize",
    "requantize_counted",
]

ACC_BITS = 32
BIAS_BITS = 16
COUNT_BITS = 32
MULTIPLIER_MAX = 0xFFFF
LATENCY = 8  # of a block that takes int32


def requantize_counted(
    acc: npt.ArrayLike,
    multiplier: npt.ArrayLike,
    shift: npt.ArrayLike,
    bias: npt.ArrayLike,
    width: npt.ArrayLike,
) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Return (values, saturated), both of the broadcast shape of the arguments.

    ``acc``: int32. ``multiplier``: 0..65535. ``shift``: 0..47. ``bias``: int16, in output LSBs.
    ``width``: 2..16, bits of the result, signed. ``saturated`` is True where the value was clipped.
    ``TypeError`` for numbers that are not integers, ``ValueError`` for one out of range.
    """
    a = check_range(acc, -(1 << (ACC_BITS - 1)), (1 << (ACC_BITS - 1)) - 1, "acc")
    m = check_range(multiplier, 0, MULTIPLIER_MAX, "multiplier")
    n = check_range(shift, 0, SHIFT_MAX, "shift")
    b = check_range(bias, -(1 << (BIAS_BITS - 1)), (1 << (BIAS_BITS - 1)) - 1, "bias")
    high = (1 << (check_range(width, 2, 16, "width") - 1)) - 1
    exact = rsh(a * m, n) + b  # |a * m| < 2**47
    values = np.minimum(np.maximum(exact, -high - 1), high)
    return values, values != exact


def requantize(
    acc: npt.ArrayLike,
    multiplier: npt.ArrayLike,
    shift: npt.ArrayLike,
    bias: npt.ArrayLike,
    width: npt.ArrayLike,
) -> Int64:
    """Return ``sat_width(rsh(acc * multiplier, shift) + bias)``; see ``requantize_counted``."""
    return requantize_counted(acc, multiplier, shift, bias, width)[0]


def latency(acc_width: int = ACC_BITS) -> int:
    """Cycles from an accepted beat to its values: up to 18 bits take one multiplier, no adder."""
    return LATENCY if acc_width > 18 else LATENCY - 1


class RequantizerModel(PipelineModel):
    """A rigid pipeline, and the counter of saturated lane elements.

    A beat is counted when it is delivered: one that is transferred at ``o`` in cycle c shows in
    ``saturations`` from cycle c + 2 on. ``clear`` in cycle c makes it 0 in cycle c + 1 and forgets
    every beat delivered up to cycle c, that of cycle c included. The counter stops at
    ``2**count_width - 1``.
    """

    plain_outputs: Sequence[str] = ("saturations",)

    def __init__(
        self,
        saturated: npt.ArrayLike,
        *,
        acc_width: int = ACC_BITS,
        count_width: int = COUNT_BITS,
    ) -> None:
        """``saturated``: (beats,) number of saturated lane elements of each beat."""
        super().__init__(latency(acc_width))
        self._saturated = as_int64(saturated, "saturated").tolist()
        self._limit = (1 << count_width) - 1
        self.reset()

    def reset(self) -> None:
        """Empty the pipeline and the counter."""
        super().reset()
        self._delivered = 0
        self._count = 0

    def evaluate(
        self, valid: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> tuple[dict[str, bool], dict[str, int]]:
        """See ``CycleModel``."""
        i_ready, _ = super().evaluate(valid, ready, plain)
        return i_ready, {"saturations": self._count}

    def clock(
        self, accepted: Mapping[str, int], ready: Mapping[str, bool], plain: Mapping[str, int]
    ) -> None:
        """See ``CycleModel``."""
        offered = self.pipeline.offered
        delivered = self._saturated[offered] if offered >= 0 and ready["o"] else 0
        if plain.get("clear", 0):
            self._count = 0
            self._delivered = 0
        else:
            self._count = min(self._count + self._delivered, self._limit)
            self._delivered = delivered
        super().clock(accepted, ready, plain)


def cycle_model(
    saturated: npt.ArrayLike, *, acc_width: int = ACC_BITS, count_width: int = COUNT_BITS
) -> RequantizerModel:
    """``latency(acc_width)`` registers and the counter of ``saturated``: (beats,) elements."""
    return RequantizerModel(saturated, acc_width=acc_width, count_width=count_width)
