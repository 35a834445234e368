from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.calibration.groups import (
    group_of,
    optimal_partition,
    partition_error,
    peak_cost,
    table_cost,
    uniform_boundaries,
)
from golden.errors import UserError


def brute_force(cost, groups):
    steps = len(cost) - 1
    return min(
        sum(cost[a, b] for a, b in zip((0, *inner), (*inner, steps), strict=True))
        for inner in combinations(range(1, steps), groups - 1)
    )


@settings(max_examples=60, deadline=None)
@given(steps=st.integers(1, 9), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_partition_is_the_best_of_all(steps, seed, data):
    groups = data.draw(st.integers(1, steps))
    cost = np.random.default_rng(seed).random((steps + 1, steps + 1))
    found = optimal_partition(cost, groups)
    assert found.error == pytest.approx(brute_force(cost, groups), rel=1e-12)
    assert partition_error(cost, found.boundaries) == pytest.approx(found.error, rel=1e-12)
    assert len(found.boundaries) == groups - 1
    spans = found.spans(steps)
    assert [step for a, b in spans for step in range(a, b)] == list(range(steps))
    assert all(a < b for a, b in spans)
    assert found.error <= partition_error(cost, uniform_boundaries(steps, groups)) + 1e-12


def test_a_jump_in_range_becomes_a_boundary():
    peaks = np.array([1.0] * 7 + [9.0] * 13)
    cost = peak_cost(peaks, np.ones(20), 127)
    assert optimal_partition(cost, 2).boundaries == (7,)


def test_first_boundary_wins_ties():
    cost = np.zeros((6, 6))
    assert optimal_partition(cost, 3).boundaries == (1, 2)


def test_table_cost_is_the_best_shared_candidate():
    errors = np.random.default_rng(0).random((6, 4))
    cost = table_cost(errors)
    for a in range(6):
        for b in range(a + 1, 7):
            expected = min(sum(errors[t, c] for t in range(a, b)) for c in range(4))
            assert cost[a, b] == pytest.approx(expected, rel=1e-12)
    assert np.isinf(cost[np.tril_indices(7)]).all()


def test_peak_cost_is_uniform_rounding_noise():
    rng = np.random.default_rng(0)
    peaks, weights = rng.random(5) + 0.1, rng.random(5)
    cost = peak_cost(peaks, weights, 127)
    for a in range(5):
        for b in range(a + 1, 6):
            step = max(peaks[a:b]) / 127
            assert cost[a, b] == pytest.approx(step**2 / 12 * weights[a:b].sum(), rel=1e-12)
    # and the formula is right: measured on values spread over many steps
    values = rng.uniform(-3, 3, 200_000)
    noise = np.square(values - 3 / 127 * np.rint(values / (3 / 127))).mean()
    assert noise == pytest.approx(peak_cost(np.array([3.0]), np.ones(1), 127)[0, 1], rel=0.01)


def test_uniform_groups_differ_by_one_step_at_most():
    for steps in range(1, 40):
        for groups in range(1, steps + 1):
            edges = [0, *uniform_boundaries(steps, groups), steps]
            lengths = np.diff(edges)
            assert len(lengths) == groups
            assert lengths.min() >= 1
            assert lengths.max() - lengths.min() <= 1


def test_group_counts_boundaries_at_or_before_the_step():
    assert [group_of((3, 5), step) for step in range(7)] == [0, 0, 0, 1, 1, 2, 2]
    assert group_of((), 4) == 0


@pytest.mark.parametrize("groups", [-1, 0, 6])
def test_impossible_group_counts_are_refused(groups):
    text = rf"groups: {groups} is not possible with 5 steps; allowed: 1\.\.5"
    with pytest.raises(UserError, match=text):
        optimal_partition(np.ones((6, 6)), groups)
    with pytest.raises(UserError, match=text):
        uniform_boundaries(5, groups)
