"""Residual: golden against big integers, RTL against golden."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.stimulus import generator
from cosim.tb_residual import CORNERS, cases, words_case
from golden.residual import LATENCY, residual_sum
from hdl.residual import Residual
from tests.amaranth_bench import run_case
from tests.block_test import assert_level1, assert_level2, assert_rtl

INT16 = st.integers(-(1 << 15), (1 << 15) - 1)


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"lanes": 0}, ValueError, r"lanes must be in 1\.\.64, got 0"),
        ({"lanes": 65}, ValueError, r"lanes must be in 1\.\.64, got 65"),
        ({"lanes": 2.0}, TypeError, r"lanes must be an integer in 1\.\.64, got 2\.0"),
        ({"side_width": -1}, ValueError, r"side_width must be in 0\.\.4096, got -1"),
    ],
)
def test_constructor_refuses(keywords, error, text):
    with pytest.raises(error, match=text):
        Residual(**keywords)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_latency_is_that_of_the_golden_model():
    assert Residual().latency == LATENCY


# Golden


@given(INT16, INT16)
def test_golden_equals_big_integers(a, b):
    assert residual_sum(a, b) == max(-32768, min(32767, a + b))


def test_the_bench_meets_every_kind_of_corner():
    sums = {a + b for a in CORNERS for b in CORNERS}
    assert {-65536, -32769, -32768, -32767, -1, 0, 32766, 32767, 32768, 65534} <= sums


# RTL

CONFIGURATIONS = [
    pytest.param({"lanes": 16, "side_width": 9}, id="lanes16"),
    pytest.param({"lanes": 3}, id="lanes3"),
]


@pytest.mark.parametrize("parameters", CONFIGURATIONS)
def test_rtl_equals_golden_in_every_cycle(parameters):
    assert_level1("residual", parameters, cases(7, parameters)[:3])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 1 << 30))
def test_rtl_of_any_parameters(lanes, side_width, seed):
    parameters = {"lanes": lanes, "side_width": side_width}
    rng = generator(seed)
    a, b = (rng.choice([*CORNERS, *range(-300, 300)], size=(40, lanes)) for _ in range(2))
    case = words_case("random", a, b, 2 + seed % 4, seed, parameters)
    assert run_case(Residual(**parameters), case) == []


@pytest.mark.cosim
@pytest.mark.parametrize("parameters", CONFIGURATIONS)
def test_cosim(parameters):
    assert_level2("residual", parameters, seed=11)


@pytest.mark.cosim
def test_cosim_of_a_hundred_thousand_random_words():
    parameters = {"lanes": 16}
    rng = generator(12)
    a, b = (rng.integers(-(1 << 15), 1 << 15, size=(6250, 16), dtype=np.int64) for _ in range(2))
    case = words_case("random", a, b, 0, 12, parameters)
    assert assert_rtl("residual", parameters, [case], seed=12) == 6250
