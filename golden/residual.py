"""Residual sum of two stream tensors: ``sat16(a + b)``; both count in the same LSB."""

import numpy.typing as npt

from golden.cycles import PipelineModel
from golden.numbers import Int64, check_range, sat

__all__ = ["LATENCY", "cycle_model", "residual_sum"]

LATENCY = 2


def residual_sum(a: npt.ArrayLike, b: npt.ArrayLike) -> Int64:
    """Return the saturated sum of ``a`` and ``b``, int16 of one shape."""
    low, high = -(1 << 15), (1 << 15) - 1
    return sat(check_range(a, low, high, "a") + check_range(b, low, high, "b"), 16)


def cycle_model() -> PipelineModel:
    """Two registers: sum, saturation."""
    return PipelineModel(LATENCY)
