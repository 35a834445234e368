"""Softmax's RTL against golden; golden against big integers: ``tests/test_softmax.py``."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.stimulus import generator
from cosim.tb_softmax import cases, corner_rows, random_rows, rows_case
from golden.softmax import LATENCY, scale_latency
from hdl.softmax import Softmax
from tests.amaranth_bench import run_case
from tests.block_test import assert_level1, assert_level2, assert_rtl


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"lanes": 0}, ValueError, r"lanes must be in 1\.\.64, got 0"),
        ({"lanes": 4.0}, TypeError, r"lanes must be an integer in 1\.\.64, got 4\.0"),
        ({"keys_max": 0}, ValueError, r"keys_max must be in 1\.\.132104, got 0"),
        ({"keys_max": 132105}, ValueError, r"keys_max must be in 1\.\.132104, got 132105"),
        ({"ahead": 1}, ValueError, r"ahead must be in 2\.\.16, got 1"),
        ({"side_width": -1}, ValueError, r"side_width must be in 0\.\.4096, got -1"),
    ],
)
def test_constructor_refuses(keywords, error, text):
    with pytest.raises(error, match=text):
        Softmax(**keywords)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("lanes", [1, 3, 16, 32])
def test_latencies_are_those_of_the_golden_model(lanes):
    block = Softmax(lanes=lanes)
    assert (block.latency, block.scale_latency) == (LATENCY, scale_latency(lanes))


def brute(row, multiplier, shift):
    """The numeric contract on Python integers: numerators, P, n."""
    e = []
    for logit in row:
        d = min(max(row) - logit, 511)
        places = d >> 5
        e.append((round(127 * 2 ** (-(d & 31) / 32)) + (1 << places >> 1)) >> places)
    S = sum(e)
    R = min((1 << (15 + S.bit_length())) // S, 65535)
    return e, (R * multiplier + (1 << 15)) >> 16, S.bit_length() + shift - 1


def test_a_case_expects_what_big_integers_give():
    rows = corner_rows(4, 40) + random_rows(generator(3), 4, 40, 50)
    case = rows_case("all", rows, (50_000, 21), 0, 1, {"lanes": 4, "keys_max": 40})
    e, P, n = (case.payloads[s][f] for s, f in (("o", "e"), ("o_scale", "P"), ("o_scale", "n")))
    start = 0
    sums = set()
    for number, row in enumerate(rows):
        count = -(-len(row) // 4)
        want = brute(row.tolist(), 50_000, 21)
        got = e[start : start + count].ravel()
        assert got[: len(row)].tolist() == want[0]
        assert not got[len(row) :].any()
        assert (P[number], n[number]) == want[1:]
        sums.add(sum(want[0]))
        start += count
    assert start == len(e)
    assert {127, 128, 129, 255, 256, 257, 127 * 40} <= sums


def test_a_scale_leaves_a_row_every_two_cycles():
    rows = [np.array([5, -3])] * 40
    case = rows_case("short", rows, (40_000, 20), 0, 1, {"lanes": 2, "ahead": 4})
    taken = np.flatnonzero(case.trace.outputs["o_scale"].valid)
    assert len(taken) == 40
    assert taken[-1] - taken[0] <= 2 * 40 + 20  # a wait where only one first pass was ahead


def test_rtl_equals_golden_in_every_cycle():
    parameters = {"lanes": 4, "keys_max": 64, "side_width": 5}
    assert_level1("softmax", parameters, cases(7, parameters)[:3])


@settings(max_examples=8, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(2, 5),
    st.integers(0, 40),
    st.integers(0, 1 << 30),
)
def test_rtl_of_any_parameters(lanes, keys_max, ahead, side_width, seed):
    parameters = {
        "lanes": lanes, "keys_max": keys_max, "ahead": ahead, "side_width": side_width
    }  # fmt: skip
    rows = random_rows(generator(seed), lanes, keys_max, 12)
    case = rows_case("random", rows, (seed % 65536, 20), 2 + seed % 5, seed, parameters)
    assert run_case(Softmax(**parameters), case) == []


@pytest.mark.cosim
@pytest.mark.parametrize(
    "parameters",
    [{"lanes": 16, "side_width": 5}, {"lanes": 3, "keys_max": 17, "ahead": 2}],
    ids=["lanes16", "lanes3"],
)
def test_cosim(parameters):
    assert_level2("softmax", parameters, seed=11)


@pytest.mark.cosim
def test_cosim_of_many_sums():
    parameters = {"lanes": 16}
    rows = random_rows(generator(12), 16, 4096, 2000)
    case = rows_case("random", rows, (0xFFFF, 20), 0, 12, parameters)
    assert assert_rtl("softmax", parameters, [case], seed=12) > 8000
