import math

import numpy as np
import pytest

from golden.calibration.baselines import (
    affine,
    best_sqnr,
    magnitude_split,
    sign_split,
    sqnr,
    static_peak,
    symmetric,
)
from golden.calibration.region import (
    SILU_DEPTH,
    candidate_errors,
    candidates,
    refine,
    region_operands,
    region_parameters,
    silu_values,
    squared_errors,
    wide_operands,
    wide_parameters,
)


def histogram_of(u):
    return np.bincount(np.clip(np.rint(u * 128), -2048, 2047).astype(int) + 2048, minlength=4096)


def silu(x):
    return x / (1 + np.exp(-x))


def test_depth_is_the_minimum_of_silu():
    lowest = silu(np.linspace(-2, -1, 1_000_001)).min()
    assert lowest < 0
    assert -lowest < SILU_DEPTH < -lowest + 1e-5


def test_every_candidate_holds_the_contract():
    for p in candidates():
        assert 1 << 15 <= p.multiplier < 1 << 16
        assert 0 <= p.shift <= 31
        assert 1 <= p.zero_point <= 112
        assert 1 <= p.k <= 4
        assert p.zero_point == math.ceil(SILU_DEPTH / p.step)
        operands = region_operands(p, silu_values())
        assert operands.min() >= -p.zero_point
        assert operands.max() <= 127 << p.k
        # real zero is code z, exactly
        assert region_operands(p, np.zeros(1, dtype=int))[0] == 0


@pytest.mark.parametrize("step", [0.0025, 0.0123, 0.1])
@pytest.mark.parametrize("k", [1, 4])
def test_decoded_codes_round_the_float_silu(step, k):
    p = region_parameters(step, k)
    assert p.step == pytest.approx(step, rel=2**-15)
    u = np.arange(-2048, 2048)
    real = silu(u / 128)
    got = p.step * region_operands(p, silu_values())
    # half a step of its region, and the error of the straight pieces (one LSB of v)
    fine = real < (127.5 - p.zero_point) * p.step - 2**-11
    limit = np.where(fine, 0.5, 0.5 * 2**k) * p.step + 2**-11
    inside = real < p.reach
    assert (np.abs(got - real) <= limit)[inside].all()
    assert (got[~inside] == p.reach).all()


def test_limits_of_the_parameters():
    assert region_parameters(SILU_DEPTH / 112 * 1.0001, 1).zero_point == 112
    with pytest.raises(ValueError, match="step must be at least"):
        region_parameters(SILU_DEPTH / 113, 1)
    with pytest.raises(ValueError, match=r"k must be in 1\.\.4, got 5"):
        region_parameters(0.01, 5)
    with pytest.raises(ValueError, match="step must be below"):
        region_parameters(1e5, 1)


def test_errors_equal_a_loop_over_the_samples():
    rng = np.random.default_rng(0)
    u = rng.integers(-600, 900, 300)
    counts = np.bincount(u + 2048, minlength=4096)
    table = candidate_errors(counts[None])
    for index in (0, 57, len(candidates()) - 1):
        p = candidates()[index]
        values = silu_values()[u + 2048]
        real = sum(
            (int(v) / 2048 - p.step * int(o)) ** 2
            for v, o in zip(values, region_operands(p, values), strict=True)
        )
        assert table[0, index] == pytest.approx(real, rel=1e-9)


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_search_beats_every_coarse_candidate_and_a_fine_scan(spread):
    histogram = histogram_of(np.random.default_rng(1).normal(0, spread, 20_000))
    errors = candidate_errors(histogram[None])[0]
    found = refine(histogram, candidates()[int(np.argmin(errors))])
    least = float(histogram @ squared_errors(found))
    assert least <= errors.min()
    scan = [
        float(histogram @ squared_errors(region_parameters(step, k)))
        for step in np.geomspace(SILU_DEPTH / 112 * 1.001, 0.2, 300)
        for k in (1, 2, 3, 4)
    ]
    assert least <= 1.03 * min(scan)


def test_wide_code_reaches_the_peak_and_rounds_within_half_a_step():
    for peak in (0.1, 1.0, 15.9):
        p = wide_parameters(peak)
        reach = max(peak, SILU_DEPTH)
        assert p.step == pytest.approx(reach / 2047, rel=2**-15)
        values = silu_values()
        inside = values <= reach * 2048
        error = np.abs(values / 2048 - p.step * wide_operands(p, values))[inside]
        assert error.max() <= p.step * (0.5 + 2**-10)


def test_codes_of_post_silu_activations_rank_as_stated():
    values = silu(np.random.default_rng(0).standard_normal(50_000))
    db = {
        code: best_sqnr(code, values)
        for code in ("symmetric", "sign_split", "affine", "magnitude_split")
    }
    assert sorted(db, key=lambda code: db[code]) == list(db)
    assert db["magnitude_split"] == pytest.approx(42.6, abs=0.3)


def test_integer_region_code_is_as_good_as_the_real_one():
    u = np.random.default_rng(0).standard_normal(50_000)
    histogram = histogram_of(u)
    errors = candidate_errors(histogram[None])[0]
    found = refine(histogram, candidates()[int(np.argmin(errors))])
    power = histogram @ (silu_values() / 2048.0) ** 2
    db = 10 * np.log10(power / (histogram @ squared_errors(found)))
    assert db == pytest.approx(best_sqnr("magnitude_split", silu(u)), abs=0.3)


def test_baselines_at_their_corners():
    values = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])
    assert symmetric(values, 1.0, bits=2).tolist() == [-1, -1, 0, 1, 1, 1]  # a tie goes up
    assert affine(values, -1.0, 2.0, bits=2).tolist() == [-1, -1, 0, 1, 1, 2]
    assert sign_split(values, 1.0, 2.0, bits=2).tolist() == [-1, -1, 0, 0, 2, 2]
    assert magnitude_split(np.zeros(1), 0.1, 2).tolist() == [0.0]
    assert static_peak(np.array([[1.0, 5.0], [3.0, 2.0]])).tolist() == [3.0, 5.0]
    assert sqnr(np.array([10.0]), np.array([9.0])) == pytest.approx(20.0)
    with pytest.raises(ValueError, match="got 'octal'"):
        best_sqnr("octal", values)
