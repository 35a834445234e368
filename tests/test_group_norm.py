"""Integer GroupNorm and its 1/sqrt against brute-force big integers and the real-valued norm."""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.group_norm import (
    RSQRT_SEEDS,
    channel_constants,
    epsilon_constant,
    group_norm,
    least_shift,
    rsqrt,
    statistics,
)


def exact_rsqrt(value: int) -> tuple[int, int]:
    """The contract in Python integers, from the bit length of V alone."""
    e = (value.bit_length() - 1) // 2
    v = (value << 30) >> (2 * e)
    y = RSQRT_SEEDS[(v >> 25) - 32]
    newton = (3 << 30) - ((v * ((y * y) >> 16)) >> 16)
    return min((((y * newton) >> 14) + (1 << 16)) >> 17, 1 << 16), e


def edges() -> list[int]:
    """Both ends of every exponent, and what float64 would round across a power of two."""
    values = {1, 2, 3, (1 << 63) - 1}
    for bits in range(1, 63):
        values |= {(1 << bits) - 1, 1 << bits, (1 << bits) + 1}
    return sorted(values)


def test_seeds_are_the_rounded_inverse_roots_of_the_bins():
    assert len(RSQRT_SEEDS) == 96
    for address, seed in enumerate(RSQRT_SEEDS, start=32):
        # the nearest integer to 2**16 / sqrt((2a + 1) / 64), by its square
        square = Fraction(1 << 38, 2 * address + 1)
        assert (seed - Fraction(1, 2)) ** 2 <= square <= (seed + Fraction(1, 2)) ** 2


@pytest.mark.parametrize("value", edges())
def test_rsqrt_at_every_exponent(value):
    r, e = rsqrt([value])
    assert (int(r[0]), int(e[0])) == exact_rsqrt(value)
    # r * 2**-(16 + e) against 1 / sqrt(V), squared to stay in integers
    scaled = int(r[0]) ** 2 * value
    assert abs(scaled / (1 << (32 + 2 * int(e[0]))) - 1) < 2.4e-4


@given(st.integers(1, (1 << 63) - 1))
def test_rsqrt_of_any_value(value):
    r, e = rsqrt([value])
    assert (int(r[0]), int(e[0])) == exact_rsqrt(value)
    assert 1 << 15 <= r[0] <= 1 << 16
    root = isqrt(value << 32)  # sqrt(V) * 2**16
    assert abs(int(r[0]) * root / (1 << (32 + int(e[0]))) - 1) < 1.2e-4


def test_rsqrt_refuses_zero():
    with pytest.raises(ValueError, match="V must be in 1"):
        rsqrt([0])


def brute_force(x, gamma, beta, groups, E):
    """Every element in Python integers."""
    n, channels, height, width = x.shape
    each = channels // groups
    elements = each * height * width
    u = np.zeros_like(x)
    for i in range(n):
        for g in range(groups):
            part = [int(v) for v in x[i, g * each : (g + 1) * each].flat]
            S1, S2 = sum(part), sum(v * v for v in part)
            r, e = exact_rsqrt(elements * S2 - S1 * S1 + E)
            for c in range(g * each, (g + 1) * each):
                slope = int(gamma[c]) * r * elements
                k = max(0, abs(slope).bit_length() - 15)
                Am = (slope + (1 << k >> 1)) >> k
                F = 27 + e - k
                offset = int(beta[c]) << (F - 11) if F >= 11 else int(beta[c]) >> (11 - F)
                B = (-S1 * Am + (elements >> 1)) // elements + offset
                shift = F - 7
                for y in range(height):
                    for column in range(width):
                        total = int(x[i, c, y, column]) * Am + B
                        total = (total + (1 << shift >> 1)) >> shift
                        u[i, c, y, column] = min(max(total, -2048), 2047)
    return u


def cases():
    rng = np.random.default_rng(2)
    shape = (2, 8, 4, 4)
    full = rng.integers(-32768, 32768, shape)
    return {
        "stream": np.clip(rng.normal(0, 700, shape), -32768, 32767).astype(np.int64),
        "both_limits": np.where(full > 0, 32767, -32768),
        "constant": np.full(shape, -1234),
        "zero": np.zeros(shape, dtype=np.int64),
        "one_outlier": np.where(np.arange(256).reshape(shape) == 77, 32767, 0),
        "faint": rng.integers(-1, 2, shape),
        "large_mean": 32000 + rng.integers(-3, 4, shape),
    }


@pytest.mark.parametrize("groups", [1, 4, 8])
@pytest.mark.parametrize("name", cases())
def test_every_element_equals_big_integers(name, groups):
    rng = np.random.default_rng(3)
    x = cases()[name]
    gamma, beta = rng.integers(-4096, 4097, 8), rng.integers(-32768, 32768, 8)
    gamma[:3], beta[:2] = (0, 2048, -32768), (0, 32767)
    E = epsilon_constant(x[0].size // groups, 1e-5, 9)
    assert (group_norm(x, gamma, beta, groups, E) == brute_force(x, gamma, beta, groups, E)).all()


@pytest.mark.parametrize("sigma", [3, 40, 700, 9000])
@pytest.mark.parametrize("mean", [0, 5000])
def test_within_one_lsb_of_the_real_norm(sigma, mean):
    rng = np.random.default_rng(sigma + mean)
    x = np.clip(np.rint(rng.normal(mean, sigma, (4, 32, 16, 16))), -32768, 32767).astype(np.int64)
    gamma, beta = rng.integers(-4000, 4001, 32), rng.integers(-4000, 4001, 32)
    E = epsilon_constant(4 * 256, 1e-5, 9)
    rows = x.reshape(4, 8, -1) / 512
    rows = rows - rows.mean(axis=2, keepdims=True)
    rows = rows / np.sqrt(np.square(rows).mean(axis=2, keepdims=True) + 1e-5)
    real = rows.reshape(x.shape) * (gamma / 2048)[:, None, None] + (beta / 2048)[:, None, None]
    # half an LSB is the rounding of u; slope, offset and 1/sqrt share the other half
    error = np.abs(group_norm(x, gamma, beta, 8, E) - np.clip(real * 128, -2048, 2047))
    assert error.max() < 1


def test_statistics_are_exact_at_the_limits():
    x = np.full((1, 4, 128, 128), -32768)
    S1, S2 = statistics(x, 1)
    assert (int(S1[0, 0]), int(S2[0, 0])) == (-(1 << 31), 1 << 46)


def test_epsilon_is_never_zero():
    assert epsilon_constant(4, 1e-9, 4) == 1
    assert epsilon_constant(1024, 1e-5, 9) == round(1024**2 * 1e-5 * 4**9)


def test_least_shift_is_reached_by_a_constant_input():
    gamma = np.array([2048, -3000])
    E = epsilon_constant(16, 1e-5, 9)
    S1, S2 = statistics(np.zeros((1, 2, 4, 4), dtype=np.int64), 2)
    _, _, F = channel_constants(S1, S2, 16, E, gamma, [0, 0])
    assert least_shift(16, E, gamma) <= F.min()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"elements": 1 << 17}, "elements must be in 1..65536"),
        ({"gamma": [1 << 15]}, "gamma must be in"),
        ({"E": 1, "S2": [[0]], "gamma": [32767], "elements": 1 << 16}, "F must be at least 7"),
    ],
)
def test_bad_constants(options, text):
    good = {"S1": [[0]], "S2": [[100]], "elements": 16, "E": 5, "gamma": [2048], "beta": [0]}
    with pytest.raises(ValueError, match=text):
        channel_constants(**{**good, **options})
