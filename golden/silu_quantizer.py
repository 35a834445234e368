"""SiLU of a norm output, and its region code: int12 -> 8 bits, or 12 bits in wide mode.

``v = silu(u) = max(u, 0) - g(|u|)`` by pieces, then ``r0 = rsh(v * M0, n0) + z`` and code
``max(r0, 0)`` if r0 <= 127, else ``128 + min(rsh(v * M0, n0 + k), 127)``; wide mode gives
``sat_12(rsh(v * M0, n0))``.
"""

import numpy as np
import numpy.typing as npt

from golden.cycles import PipelineModel
from golden.numbers import Int64, check_range, rsh, sat
from golden.silu_pieces import GRID_BITS, PIECES, SLOPE_FRACTION

__all__ = [
    "K_MAX",
    "SHIFT_MAX",
    "VALUE_FRACTION",
    "ZERO_POINT_MAX",
    "code_rank",
    "cycle_model",
    "decode_region",
    "ideal_code",
    "ideal_wide_code",
    "latency",
    "quantize",
    "region_code",
    "silu_value",
    "wide_code",
]

INPUT_FRACTION = 7
INPUT_BITS = 12
VALUE_FRACTION = 11
VALUE_BITS = 16
SHIFT_MAX = 31
ZERO_POINT_MAX = 112
K_MAX = 4
_LEVEL_MAX = 127  # m[6:0] of a code
_WIDE_BITS = 12


def silu_value(u: npt.ArrayLike, segments: int = 32) -> Int64:
    """SiLU value, int16 with 11 fraction bits, of u (int12, Q4.7), any shape.

    With |u| in a piece of the table: ``v = rsh(2**(4 + F) * max(u, 0) - (slope * |u| + intercept),
    F)``, F = SLOPE_FRACTION: one rounding, half up. ``segments``: 16 or 32.
    """
    x = check_range(u, -(1 << (INPUT_BITS - 1)), (1 << (INPUT_BITS - 1)) - 1, "u")
    pieces = PIECES[segments]
    magnitude = np.abs(x)
    piece = np.searchsorted(np.array(pieces.knots) << GRID_BITS, magnitude, side="right") - 1
    g = np.array(pieces.slopes)[piece] * magnitude + np.array(pieces.intercepts)[piece]
    ramp = np.maximum(x, 0) << (VALUE_FRACTION - INPUT_FRACTION + SLOPE_FRACTION)
    return rsh(ramp - g, SLOPE_FRACTION)


def _scaled(v: npt.ArrayLike, M0: npt.ArrayLike, n0: npt.ArrayLike, extra: int | Int64) -> Int64:
    """Return ``rsh(v * M0, n0 + extra)`` with every argument checked; |v * M0| < 2**31."""
    value = check_range(v, -(1 << (VALUE_BITS - 1)), (1 << (VALUE_BITS - 1)) - 1, "v")
    multiplier = check_range(M0, 0, 0xFFFF, "M0")
    shift = check_range(n0, 0, SHIFT_MAX, "n0")
    return rsh(value * multiplier, shift + extra)


def region_code(
    v: npt.ArrayLike, M0: npt.ArrayLike, n0: npt.ArrayLike, z: npt.ArrayLike, k: npt.ArrayLike
) -> Int64:
    """Codes 0..255 of SiLU values ``v`` (int16, 11 fraction bits); arguments broadcast.

    ``M0``: 0..65535, ``n0``: 0..31, so that one step s is 2**(n0 - 11) / M0. ``z``: 0..112.
    ``k``: 1..4.
    """
    zero_point = check_range(z, 0, ZERO_POINT_MAX, "z")
    exponent = check_range(k, 1, K_MAX, "k")
    low = _scaled(v, M0, n0, 0) + zero_point
    high = np.minimum(_scaled(v, M0, n0, exponent), _LEVEL_MAX)
    return np.where(low <= _LEVEL_MAX, np.maximum(low, 0), 128 + high)


def wide_code(v: npt.ArrayLike, M0: npt.ArrayLike, n0: npt.ArrayLike) -> Int64:
    """int12 of SiLU values: ``sat_12(rsh(v * M0, n0))``; arguments broadcast."""
    return sat(_scaled(v, M0, n0, 0), _WIDE_BITS)


def decode_region(code: npt.ArrayLike, z: npt.ArrayLike, k: npt.ArrayLike) -> Int64:
    """Integer that a code 0..255 stands for, in steps s: ``m << k`` or ``m - z``."""
    c = check_range(code, 0, 255, "code")
    m = c & _LEVEL_MAX
    exponent = check_range(k, 1, K_MAX, "k")
    return np.where(c > _LEVEL_MAX, m << exponent, m - check_range(z, 0, ZERO_POINT_MAX, "z"))


def code_rank(code: npt.ArrayLike, z: npt.ArrayLike, k: npt.ArrayLike) -> Int64:
    """Place of a code in the order of decoded values: 0..127, then 128 + rsh(128 - z, k) onwards.

    Code numbers jump between the regions: the first code of the upper region that a value just
    above the lower one reaches is ``128 + rsh(128 - z, k)``, of rank 128.
    """
    c = check_range(code, 0, 255, "code")
    first = rsh(128 - check_range(z, 0, ZERO_POINT_MAX, "z"), check_range(k, 1, K_MAX, "k"))
    return np.where(c > _LEVEL_MAX, c - first, c)


def quantize(
    u: npt.ArrayLike,
    wide: npt.ArrayLike,
    M0: npt.ArrayLike,
    n0: npt.ArrayLike,
    z: npt.ArrayLike,
    k: npt.ArrayLike,
    *,
    segments: int = 32,
) -> Int64:
    """12-bit lanes of the block: region code zero-extended, or int12 as two's complement.

    ``u``: (beats, lanes) int12. ``wide``: (beats,) 0 or 1; ``M0``, ``n0``, ``z``, ``k``: (beats,);
    scalars broadcast. Returns (beats, lanes), 0..4095.
    """
    x = np.asarray(u)

    def per_beat(values: npt.ArrayLike, low: int, high: int, what: str) -> Int64:
        array = check_range(values, low, high, what)
        return array.reshape(array.shape + (1,) * (x.ndim - array.ndim)) if array.ndim else array

    v = silu_value(x, segments)
    multiplier, shift = per_beat(M0, 0, 0xFFFF, "M0"), per_beat(n0, 0, SHIFT_MAX, "n0")
    zero_point, exponent = per_beat(z, 0, ZERO_POINT_MAX, "z"), per_beat(k, 1, K_MAX, "k")
    narrow = region_code(v, multiplier, shift, zero_point, exponent)
    broad = wide_code(v, multiplier, shift) & ((1 << _WIDE_BITS) - 1)
    return np.where(per_beat(wide, 0, 1, "wide") == 1, broad, narrow)


def _ideal_steps(u: npt.ArrayLike, M0: npt.ArrayLike, n0: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Real SiLU of u in steps of 2**(n0 - 11) / M0. A test reference: float, not a block."""
    x = np.asarray(u, dtype=np.float64) / (1 << INPUT_FRACTION)
    scale = np.asarray(M0, dtype=np.float64) * 2.0 ** (VALUE_FRACTION - np.asarray(n0, float))
    return x / (1 + np.exp(-x)) * scale


def ideal_code(
    u: npt.ArrayLike, M0: npt.ArrayLike, n0: npt.ArrayLike, z: npt.ArrayLike, k: npt.ArrayLike
) -> Int64:
    """Region code of the real-valued SiLU of ``u`` (Q4.7), rounded half up in float64."""
    steps = _ideal_steps(u, M0, n0)
    low = np.floor(steps + 0.5) + np.asarray(z)
    high = np.minimum(np.floor(steps / 2.0 ** np.asarray(k, float) + 0.5), _LEVEL_MAX)
    return np.where(low <= _LEVEL_MAX, np.maximum(low, 0), 128 + high).astype(np.int64)


def ideal_wide_code(u: npt.ArrayLike, M0: npt.ArrayLike, n0: npt.ArrayLike) -> Int64:
    """int12 code of the real-valued SiLU of ``u`` (Q4.7), rounded half up in float64."""
    return np.clip(np.floor(_ideal_steps(u, M0, n0) + 0.5), -2048, 2047).astype(np.int64)


def latency(multiplier: str = "inferred") -> int:
    """Return the registers of the block: two more around v * M0 with ``mult18x18d``."""
    return 13 if multiplier == "mult18x18d" else 11


def cycle_model(multiplier: str = "inferred") -> PipelineModel:
    """``latency(multiplier)`` registers that advance together."""
    return PipelineModel(latency(multiplier))
