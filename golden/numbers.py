"""Rounding shift and saturation, the only two ways a tensor element loses bits.

``rsh(a, n) = floor(a / 2**n + 1/2)`` (round half up) and ``sat(a, w) = min(max(a, -2**(w-1)),
2**(w-1) - 1)``.
"""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["Int64", "as_int64", "check_range", "encode_multiplier", "rsh", "sat"]

Int64 = npt.NDArray[np.int64]
MULTIPLIER_BITS = 16
SHIFT_MAX = 47


def as_int64(values: npt.ArrayLike, what: str = "values") -> Int64:
    """Return integers of any shape as int64; ``TypeError`` if ``values`` are not integers
    or booleans.
    """
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iub":
        raise TypeError(f"{what} must be integers, got {array.dtype}")
    return array.astype(np.int64)


def check_range(values: npt.ArrayLike, low: int, high: int, what: str) -> Int64:
    """Return ``values`` as int64; ``ValueError`` unless every one lies in [low, high]."""
    array = as_int64(values, what)
    if array.size and (array.min() < low or array.max() > high):
        bad = array[(array < low) | (array > high)].flat[0]
        raise ValueError(f"{what} must be in {low}..{high}, got {bad}")
    return array


def rsh(a: npt.ArrayLike, n: npt.ArrayLike) -> Int64:
    """Arithmetic right shift that rounds half up; ``n = 0`` returns ``a``.

    ``a``: any shape, |a| < 2**62. ``n``: broadcast to it, 0..62.
    """
    value = as_int64(a, "a")
    shift = check_range(n, 0, 62, "shift")
    half_up = (value >> np.maximum(shift - 1, 0)) & 1
    return (value >> shift) + np.where(shift > 0, half_up, 0)


def sat(a: npt.ArrayLike, bits: int) -> Int64:
    """Saturate to ``bits`` bits signed, [-2**(bits-1), 2**(bits-1) - 1]."""
    return np.clip(as_int64(a, "a"), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def encode_multiplier(real: float, shift_max: int = SHIFT_MAX) -> tuple[int, int]:
    """Return (M, n) with ``real`` ~ M * 2**-n, M in [2**15, 2**16) and n in 0..shift_max.

    0 gives (0, 0). A value too small for ``shift_max`` gives (0, 0) too: every product of it rounds
    to zero. ``ValueError`` if ``real`` is negative, not finite, or 2**16 or more.
    """
    if not (math.isfinite(real) and 0 <= real < (1 << MULTIPLIER_BITS)):
        raise ValueError(f"multiplier must be in [0, 65536), got {real}")
    if real == 0:
        return 0, 0
    mantissa, exponent = math.frexp(real)  # real = mantissa * 2**exponent, mantissa in [0.5, 1)
    m = round(mantissa * (1 << MULTIPLIER_BITS))
    n = MULTIPLIER_BITS - exponent
    if m == 1 << MULTIPLIER_BITS:
        m, n = m >> 1, n - 1
    if n > shift_max:
        return 0, 0
    if n < 0:
        raise ValueError(f"multiplier must be in [0, 65536), got {real}")
    return m, n
