"""Other 8-bit codes of an activation, for comparison: symmetric, affine, sign split, static.

Real values in, the real values of their codes out, rounding half up. ``magnitude_split`` is the
region code without the hardware's integer steps. Nothing of this runs in the integer network.
"""

import math

import numpy as np
import numpy.typing as npt

from golden.calibration.region import SILU_DEPTH, ZERO_POINT_MAX

__all__ = [
    "affine",
    "best_sqnr",
    "magnitude_split",
    "sign_split",
    "sqnr",
    "static_peak",
    "symmetric",
]

Float64 = npt.NDArray[np.float64]


def _round(values: Float64) -> Float64:
    return np.floor(values + 0.5)


def symmetric(values: Float64, reach: float, bits: int = 8) -> Float64:
    """``step * clip(round(x / step))`` with 2**bits - 1 levels, zero in the middle."""
    levels = (1 << (bits - 1)) - 1
    step = reach / levels
    return step * np.clip(_round(values / step), -levels, levels)


def affine(values: Float64, low: float, high: float, bits: int = 8) -> Float64:
    """2**bits levels from ``low`` to ``high``, shifted so that zero is one of them."""
    levels = (1 << bits) - 1
    step = (high - low) / levels
    zero_point = math.floor(-low / step + 0.5)
    return step * (np.clip(_round(values / step) + zero_point, 0, levels) - zero_point)


def sign_split(values: Float64, depth: float, reach: float, bits: int = 8) -> Float64:
    """One bit for the sign: 2**(bits-1) levels from -depth to 0, as many from 0 to reach."""
    levels = (1 << (bits - 1)) - 1
    below, above = depth / levels, reach / levels
    negative = -below * np.clip(_round(-values / below), 0, levels)
    return np.where(values < 0, negative, above * np.clip(_round(values / above), 0, levels))


def magnitude_split(values: Float64, step: float, k: int, bits: int = 8) -> Float64:
    """Region code of NUMERICS section 4: fine steps near zero, 2**k times coarser above."""
    top = (1 << (bits - 1)) - 1
    zero_point = np.ceil(SILU_DEPTH / step)
    fine = _round(values / step) + zero_point
    coarse = np.minimum(_round(values / (step * 2**k)), top) * 2**k
    return step * np.where(fine <= top, np.maximum(fine, 0) - zero_point, coarse)


def static_peak(peaks: Float64) -> Float64:
    """One range for all steps, (T, segments) -> (segments,): the baseline without groups."""
    return peaks.max(axis=0)


def sqnr(values: Float64, coded: Float64) -> float:
    """``10 log10(sum x**2 / sum (x - x')**2)`` in dB."""
    noise = float(np.square(values - coded).sum())
    return float(10 * np.log10(np.square(values).sum() / max(noise, 1e-30)))


def best_sqnr(code: str, values: Float64, bits: int = 8) -> float:
    """SQNR of a code with its parameters searched for the least squared error.

    ``code``: symmetric, affine, sign_split or magnitude_split.
    """
    low, high = float(values.min()), float(values.max())
    reaches = [high * share for share in np.linspace(0.3, 1.0, 71)]
    if code == "symmetric":
        return max(sqnr(values, symmetric(values, reach, bits)) for reach in reaches)
    if code == "affine":
        return max(sqnr(values, affine(values, low, reach, bits)) for reach in reaches)
    if code == "sign_split":
        return max(sqnr(values, sign_split(values, -low, reach, bits)) for reach in reaches)
    if code != "magnitude_split":
        raise ValueError(f"code must be a name of this module, got {code!r}")
    top = (1 << (bits - 1)) - 1
    zero_points = range(1, ZERO_POINT_MAX * (top + 1) // 128 + 1)
    trials = [(SILU_DEPTH / z, k) for z in zero_points for k in range(1, 5)]
    return max(sqnr(values, magnitude_split(values, step, k, bits)) for step, k in trials)
