"""The norm's RTL against golden; golden against big integers: ``tests/test_group_norm.py``."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.stimulus import generator
from cosim.tb_group_norm import Chunk, cases, chunks_case, corner_chunks, random_chunks
from golden.norm_lane import LATENCY, lane_constants
from hdl.group_norm import GroupNorm
from tests.amaranth_bench import run_case
from tests.block_test import assert_level1, assert_level2, assert_rtl


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"lanes": 0}, ValueError, r"lanes must be in 1\.\.64, got 0"),
        ({"lanes": 4.0}, TypeError, r"lanes must be an integer in 1\.\.64, got 4\.0"),
        ({"side_width": -1}, ValueError, r"side_width must be in 0\.\.4096, got -1"),
    ],
)
def test_constructor_refuses(keywords, error, text):
    with pytest.raises(error, match=text):
        GroupNorm(**keywords)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_latency_is_that_of_the_golden_model():
    assert GroupNorm().latency == LATENCY


# Constants and their short form against big integers


def whole(x, Am, mean, beta, F):
    """u of the numeric contract on Python integers."""
    B = mean + (beta << (F - 11) if F >= 11 else beta >> (11 - F))
    shift = F - 7
    u = (x * Am + B + ((1 << shift) >> 1)) >> shift
    return max(-2048, min(2047, u))


@settings(max_examples=300)
@given(
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(-(1 << 15), 1 << 15),
    st.integers(-(1 << 30), 1 << 30),
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(7, 57),
)
def test_short_constants_give_the_same_u(x, Am, mean, beta, F):
    B = mean + (beta << (F - 11) if F >= 11 else beta >> (11 - F))
    offset, apart, shift = (int(value) for value in lane_constants(B, F, beta))
    assert abs(offset) <= (1 << 30) + (1 << 15)
    assert -(1 << 15) <= apart < 1 << 15
    assert 0 <= shift <= 50
    level = ((16 * (x * Am + offset) >> shift) + apart + 8) >> 4
    assert max(-2048, min(2047, level)) == whole(x, Am, mean, beta, F)


def test_a_case_expects_what_big_integers_give():
    seen = set()
    for chunk in corner_chunks(4) + random_chunks(generator(3), 4, 40):
        columns = [values.tolist() for values in (chunk.Am, chunk.mean, chunk.beta, chunk.F)]
        for word, u in zip(chunk.x.tolist(), chunk.u.tolist(), strict=True):
            want = [whole(x, *c) for x, *c in zip(word, *columns, strict=False)]
            assert u == want + [0] * (4 - len(want))
            seen |= set(want)
    assert {-2048, 2047, 0} <= seen
    assert len(seen) > 300


# RTL

CONFIGURATIONS = [
    pytest.param({"lanes": 16, "side_width": 5}, id="lanes16"),
    pytest.param({"lanes": 3}, id="lanes3"),
]


def test_rtl_equals_golden_in_every_cycle():
    parameters = {"lanes": 3, "side_width": 5}
    assert_level1("group_norm", parameters, cases(7, parameters)[:3])


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 1 << 30))
def test_rtl_of_any_parameters(lanes, side_width, seed):
    parameters = {"lanes": lanes, "side_width": side_width}
    chunks = random_chunks(generator(seed), lanes, 12)
    case = chunks_case("random", chunks, 2 + seed % 5, seed, parameters)
    assert run_case(GroupNorm(**parameters), case) == []


def test_chunks_of_enough_words_follow_each_other_without_a_bubble():
    lanes = 4
    ones = np.ones(lanes, dtype=np.int64)
    x = np.zeros((lanes + 6, lanes), dtype=np.int64)
    chunks = [Chunk(ones, ones, ones, 20 * ones, x) for _ in range(10)]
    case = chunks_case("long", chunks, 0, 1, {"lanes": lanes})
    assert np.diff(np.flatnonzero(case.trace.outputs["o"].valid)).max() == 1


@pytest.mark.cosim
@pytest.mark.parametrize("parameters", CONFIGURATIONS)
def test_cosim(parameters):
    assert_level2("group_norm", parameters, seed=11)


@pytest.mark.cosim
def test_cosim_of_many_chunks():
    parameters = {"lanes": 16}
    case = chunks_case("random", random_chunks(generator(12), 16, 500), 0, 12, parameters)
    assert assert_rtl("group_norm", parameters, [case], seed=12) > 3000
