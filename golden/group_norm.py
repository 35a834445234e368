"""GroupNorm of the residual stream in integers: exact sums, one Newton step of ``1/sqrt``.

Over the N elements of a group ``S1 = sum x``, ``S2 = sum x**2``, ``V = N*S2 - S1**2 + E``, then
``u = sat12(rsh(x*Am + B, F - 7))`` with a slope Am and an offset B for each channel. The input's
scale cancels, so no constant depends on the timestep group.
"""

import math

import numpy as np
import numpy.typing as npt

from golden.numbers import Int64, as_int64, check_range, rsh, sat

__all__ = [
    "ELEMENTS_MAX",
    "GAMMA_FRACTION",
    "RSQRT_SEEDS",
    "U_FRACTION",
    "channel_constants",
    "epsilon_constant",
    "group_norm",
    "least_shift",
    "rsqrt",
    "statistics",
]

ELEMENTS_MAX = 1 << 16
U_FRACTION = 7
U_BITS = 12
GAMMA_FRACTION = 11
SLOPE_BITS = 15
MANTISSA_FRACTION = 30
SEED_SHIFT = 25
SEED_FIRST = 1 << (MANTISSA_FRACTION - SEED_SHIFT)  # seed address of v = 1
ONE = 1 << 16


def _seed(address: int) -> int:
    """``2**16 / sqrt(v)`` at the middle of the 2**-5 wide bin of v, rounded."""
    # v = (2*address + 1) / 64, so 2**16 / sqrt(v) = sqrt(2**38 / (2*address + 1))
    return min((math.isqrt((1 << 40) // (2 * address + 1)) + 1) >> 1, ONE)


RSQRT_SEEDS = tuple(_seed(address) for address in range(SEED_FIRST, 4 * SEED_FIRST))
"""First guess of ``2**16 / sqrt(v)``, v in [1, 4): entry ``(v >> 25) - 32`` for v in Q2.30."""


def rsqrt(V: npt.ArrayLike) -> tuple[Int64, Int64]:
    """Return (r, e) with ``1 / sqrt(V) ~ r * 2**-(16 + e)``, r in 2**15..2**16.

    ``V``: 1..2**63 - 1, any shape. ``V = v * 4**e`` with v in [1, 4) truncated to Q2.30, one Newton
    step on a seed of 96 entries. The relative error of r stays below 1.2e-4.
    """
    value = check_range(V, 1, (1 << 63) - 1, "V")
    # exact floor(log2 V): frexp of an int64 may round up to the next power of two
    log2 = np.frexp(value.astype(np.float64))[1].astype(np.int64) - 1
    log2 -= (np.int64(1) << np.minimum(log2, 62)) > value
    log2 = np.where(log2 == 63, 62, log2)
    e = log2 >> 1
    up = np.maximum(MANTISSA_FRACTION - 2 * e, 0)
    down = np.maximum(2 * e - MANTISSA_FRACTION, 0)
    v = (value << up) >> down
    y = np.array(RSQRT_SEEDS, dtype=np.int64)[(v >> SEED_SHIFT) - SEED_FIRST]
    newton = (3 << MANTISSA_FRACTION) - ((v * (y * y >> 16)) >> 16)
    r = ((y * newton >> 14) + (1 << 16)) >> 17
    return np.minimum(r, ONE), e


def statistics(x: npt.ArrayLike, groups: int) -> tuple[Int64, Int64]:
    """Return S1 and S2, both (N, groups), of a stream ``x`` (N, C, H, W) int16; exact."""
    values = check_range(x, -(1 << 15), (1 << 15) - 1, "x")
    # (N, C, H, W) -> (N, groups, C/groups * H * W)
    rows = values.reshape(len(values), groups, -1)
    return rows.sum(axis=2), np.square(rows).sum(axis=2)


def epsilon_constant(elements: int, eps: float, fraction: int) -> int:
    """``E = round(elements**2 * eps * 2**(2*fraction))``, at least 1 so that V is never 0."""
    return max(1, round(elements**2 * eps * 4**fraction))


def _bit_length(values: Int64) -> Int64:
    """Bits of non-negative integers below 2**53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def channel_constants(
    S1: npt.ArrayLike,
    S2: npt.ArrayLike,
    elements: int,
    E: int,
    gamma: npt.ArrayLike,
    beta: npt.ArrayLike,
) -> tuple[Int64, Int64, Int64]:
    """Return slope Am, offset B and F of every channel, all (N, C).

    ``S1``, ``S2`` (N, groups); ``elements``: of one group, 1..2**16; ``gamma``, ``beta`` (C,) int16
    Q4.11. ``u * 2**(F - 7) = x*Am + B``; |Am| <= 2**15. ``ValueError`` if a constant is out of
    range.
    """
    if not 1 <= elements <= ELEMENTS_MAX:
        raise ValueError(f"elements must be in 1..{ELEMENTS_MAX}, got {elements}")
    g = check_range(gamma, -(1 << 15), (1 << 15) - 1, "gamma")
    b = check_range(beta, -(1 << 15), (1 << 15) - 1, "beta")
    s1, s2 = as_int64(S1, "S1"), as_int64(S2, "S2")
    r, e = rsqrt(elements * s2 - s1 * s1 + E)
    # (N, groups) -> (N, C)
    repeat = len(g) // s1.shape[1]
    r, e, s1 = (values.repeat(repeat, axis=1) for values in (r, e, s1))
    slope = g * r * elements
    k = np.maximum(0, _bit_length(np.abs(slope)) - SLOPE_BITS)
    Am = rsh(slope, k)
    F = 16 + GAMMA_FRACTION + e - k
    if F.min(initial=U_FRACTION) < U_FRACTION:
        raise ValueError(f"F must be at least {U_FRACTION}, got {F.min()}")
    mean = (-s1 * Am + (elements >> 1)) // elements
    up, down = np.maximum(F - GAMMA_FRACTION, 0), np.maximum(GAMMA_FRACTION - F, 0)
    return Am, mean + ((b << up) >> down), F


def least_shift(elements: int, E: int, gamma: npt.ArrayLike) -> int:
    """Smallest F that any input can lead to; below 7 the norm cannot be computed."""
    largest = int(np.abs(as_int64(gamma, "gamma")).max(initial=0)) * ONE * elements
    k = max(0, largest.bit_length() - SLOPE_BITS)
    return 16 + GAMMA_FRACTION + ((E.bit_length() - 1) >> 1) - k


def group_norm(
    x: npt.ArrayLike, gamma: npt.ArrayLike, beta: npt.ArrayLike, groups: int, E: int
) -> Int64:
    """Return u (N, C, H, W) int12 Q4.7 of the stream ``x`` (N, C, H, W) int16.

    ``gamma``, ``beta`` (C,) int16 Q4.11; ``E``: ``epsilon_constant`` of the layer. Within one LSB
    of the real-valued norm of the same integers, before saturation.
    """
    values = check_range(x, -(1 << 15), (1 << 15) - 1, "x")
    elements = values[0].size // groups
    S1, S2 = statistics(values, groups)
    Am, B, F = (c[:, :, None, None] for c in channel_constants(S1, S2, elements, E, gamma, beta))
    return sat(rsh(values * Am + B, F - U_FRACTION), U_BITS)
