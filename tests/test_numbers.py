"""rsh and sat against Python's own integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.numbers import check_range, encode_multiplier, rsh, sat


@given(st.integers(-(2**61), 2**61), st.integers(0, 60))
def test_rsh_is_floor_of_the_exact_quotient_plus_one_half(a, n):
    assert int(rsh(a, n)) == (2 * a + 2**n) // 2 ** (n + 1)


@pytest.mark.parametrize(
    ("a", "n", "expected"),
    [(5, 0, 5), (1, 1, 1), (-1, 1, 0), (3, 1, 2), (-3, 1, -1), (2, 2, 1), (-2, 2, 0), (-6, 2, -1)],
)
def test_rsh_ties_go_up_for_both_signs(a, n, expected):
    assert int(rsh(a, n)) == expected


@given(st.integers(-(2**40), 2**40), st.integers(2, 32))
def test_sat_clips_at_both_limits(a, bits):
    assert int(sat(a, bits)) == max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, a))


@given(st.floats(1e-9, 65000))
def test_encoded_multiplier_is_within_half_a_unit(real):
    m, n = encode_multiplier(real)
    assert 2**15 <= m < 2**16
    assert abs(m * 2.0**-n - real) <= 0.5 * 2.0**-n * (1 + 1e-12)


def test_multipliers_at_the_ends():
    assert encode_multiplier(0.0) == (0, 0)
    assert encode_multiplier(2.0**-40) == (0, 0)  # every product would round to zero
    assert encode_multiplier(1 - 2**-20) == (2**15, 15)
    with pytest.raises(ValueError, match=r"multiplier must be in \[0, 65536\), got -1"):
        encode_multiplier(-1)


def test_floats_are_refused():
    with pytest.raises(TypeError, match="a must be integers, got float64"):
        rsh(np.array([0.5]), 1)
    with pytest.raises(ValueError, match=r"x must be in 0\.\.3, got 4"):
        check_range([0, 4], 0, 3, "x")
