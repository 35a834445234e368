"""Integer softmax against big integers and the real-valued one."""

import math

import numpy as np
import pytest

from golden.numbers import encode_multiplier
from golden.softmax import EXPONENTIALS, attention, logits, numerators, row_scale, weighted_sum


def brute_row(scores, values, logit, value):
    """One row in Python integers."""
    M, n = logit
    L = [min(max((s * M + (1 << n >> 1)) >> n, -32768), 32767) for s in scores]
    e = []
    for entry in L:
        d = min(max(L) - entry, 511)
        shift = d >> 5
        e.append((round(127 * 2 ** (-(d & 31) / 32)) + (1 << shift >> 1)) >> shift)
    S = sum(e)
    w = S.bit_length()
    R = min((1 << (15 + w)) // S, 65535)
    P = (R * value[0] + (1 << 15)) >> 16
    shift = w + value[1] - 1
    out = []
    for column in zip(*values, strict=True):
        total = sum(a * b for a, b in zip(e, column, strict=True)) * P
        out.append(min(max((total + (1 << shift >> 1)) >> shift, -128), 127))
    return out


@pytest.mark.parametrize("seed", range(4))
def test_attention_equals_big_integers(seed):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.integers(-128, 128, (2, 2, 9, 5)) for _ in range(3))
    logit, value = (encode_multiplier(x) for x in (rng.uniform(1e-4, 0.1), rng.uniform(0.3, 3)))
    got = attention(q, k, v, logit, value)
    for i in range(2):
        for head in range(2):
            for row in range(9):
                scores = [
                    sum(int(a) * int(b) for a, b in zip(q[i, head, row], key, strict=True))
                    for key in k[i, head]
                ]
                expected = brute_row(scores, v[i, head].tolist(), logit, value)
                assert got[i, head, row].tolist() == expected


def test_numerators_of_every_distance():
    L = np.array([[0, *range(-600, 0)]])
    e = numerators(L)[0]
    assert e[0] == 127
    exact = 127 * 2.0 ** (L[0] / 32)
    # the table rounds once, the shift once more
    assert np.abs(e - exact).max() <= 1
    assert EXPONENTIALS[0] == 127
    assert (e[1:89] == 0).all()  # beyond 511 every distance counts as 511: 127 >> 15


def test_numerators_do_not_depend_on_the_level():
    rng = np.random.default_rng(1)
    L = rng.integers(-300, 300, (3, 20))
    assert (numerators(L) == numerators(L + 12345)).all()


@pytest.mark.parametrize("total", [1, 126, 127, 128, 255, 256, 8128, (1 << 19) - 1, 1 << 24])
def test_row_scale_divides_by_the_sum(total):
    P, n = row_scale([total], 1 << 15, 15)  # a real scale of 1
    assert P[0] / 2.0 ** n[0] == pytest.approx(1 / total, rel=2**-13)


def test_equal_scores_give_the_mean():
    v = np.array([[[[100], [-20], [7], [30]]]])
    e = np.full((1, 1, 1, 4), 127)
    assert weighted_sum(e, v, 1 << 15, 15)[0, 0, 0, 0] == round(117 / 4)


def test_close_to_the_real_softmax():
    rng = np.random.default_rng(5)
    q, k, v = (np.clip(rng.normal(0, 40, (4, 2, 64, 32)), -127, 127).astype(int) for _ in range(3))
    step, out = 0.03, 0.01
    scale = step * step / math.sqrt(32)
    octaves = encode_multiplier(scale * 32 * math.log2(math.e))
    got = attention(q, k, v, octaves, encode_multiplier(step / out))
    real = q @ k.swapaxes(-1, -2) * scale
    weights = np.exp(real - real.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    exact = weights @ (v * step) / out
    error = np.abs(got - np.clip(exact, -128, 127))
    # a numerator is off by at most 1 (two roundings) and 1.1 % (half of 1/32 octave); an error de
    # of one moves the row's mean by de * |v - mean| / S
    e = 127 * np.exp(real - real.max(axis=-1, keepdims=True))
    distance = np.abs((v * step / out)[:, :, None, :, :] - exact[:, :, :, None, :])
    moved = ((1 + 0.011 * e)[..., None] * distance).sum(axis=3) / e.sum(axis=-1)[..., None]
    assert (error <= 1 + moved).all()
    assert np.sqrt(np.square(error).mean()) < 1


def test_logits_saturate_and_round_half_up():
    assert logits([3, -3, 1 << 30, -(1 << 30)], 1 << 15, 16).tolist() == [2, -1, 32767, -32768]


def test_bad_values():
    with pytest.raises(ValueError, match=r"e must be in 0\.\.127"):
        weighted_sum([[[[128]]]], [[[[1]]]], 1 << 15, 15)
    with pytest.raises(ValueError, match="total must be in 1"):
        row_scale([0], 1 << 15, 15)
