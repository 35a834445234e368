"""Sampler's RTL against golden; golden against the float sampler: ``tests/test_sampler.py``."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.stimulus import generator
from cosim.tb_sampler import CORNERS, cases, rows_case, table_rows
from golden.sampler import LATENCY
from hdl.sampler import Sampler
from tests.amaranth_bench import run_case
from tests.block_test import assert_level1, assert_level2, assert_rtl


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"lanes": 0}, ValueError, r"lanes must be in 1\.\.64, got 0"),
        ({"lanes": True}, TypeError, r"lanes must be an integer in 1\.\.64, got True"),
        ({"side_width": 4097}, ValueError, r"side_width must be in 0\.\.4096, got 4097"),
    ],
)
def test_constructor_refuses(keywords, error, text):
    with pytest.raises(error, match=text):
        Sampler(**keywords)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_latency_is_that_of_the_golden_model():
    assert Sampler().latency == LATENCY


def brute(x, eps, noise, row, image):
    """The numeric contract on Python integers."""
    if image:
        return max(0, min(255, ((x + 4096) * 255 + 4096) >> 13))
    p, q, a, b, d, c, reach = row
    half = 1 << 19
    x0 = max(-reach, min(reach, (p * x + q * eps + half) >> 20))
    return max(-32768, min(32767, (a * x0 + b * x + d * eps + c * noise + half) >> 20))


def test_a_case_expects_what_big_integers_give_and_meets_every_limit():
    case = cases(7, {"lanes": 1})[0]
    i, rows, o = (case.payloads[name] for name in ("i", "i_row", "o"))
    table = list(zip(*(rows[key].tolist() for key in (*"pqabdc", "reach")), strict=True))
    beats = len(i["x"])
    row_of_beat = np.minimum(np.arange(beats) // (beats // 12), 11)
    columns = [i[key].ravel().tolist() for key in ("x", "eps", "noise")]
    words = zip(*columns, row_of_beat, i["image"].tolist(), strict=True)
    want = [brute(x, eps, noise, table[row], image) for x, eps, noise, row, image in words]
    got = o["values"].ravel()
    assert got.tolist() == want
    assert {0, 255} <= set(got[i["image"] == 1].tolist())
    assert {-32768, 32767} <= set(got[i["image"] == 0].tolist())


def test_rtl_equals_golden_in_every_cycle():
    parameters = {"lanes": 1, "side_width": 5}
    assert_level1("sampler", parameters, cases(7, parameters)[1:3])


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 3), st.integers(0, 40), st.integers(0, 1 << 30))
def test_rtl_of_any_parameters(lanes, side_width, seed):
    parameters = {"lanes": lanes, "side_width": side_width}
    rng = generator(seed)
    lengths = rng.integers(0, 12, size=6)
    lengths[0] = 3
    words = rng.choice([*CORNERS, *range(-5000, 5000)], size=(3, int(lengths.sum()), lanes))
    rows = table_rows(rng, 6)
    case = rows_case("random", words, lengths, rows, 2 + seed % 4, seed, parameters)
    assert run_case(Sampler(**parameters), case) == []


@pytest.mark.cosim
@pytest.mark.parametrize("lanes", [1, 16])
def test_cosim(lanes):
    assert_level2("sampler", {"lanes": lanes, "side_width": 5}, seed=11)


@pytest.mark.cosim
def test_cosim_of_a_byte_of_every_value_and_a_hundred_thousand_random_words():
    parameters = {"lanes": 16}
    rng = generator(12)
    x, eps, noise = rng.integers(-(1 << 15), 1 << 15, size=(3, 8192, 16), dtype=np.int64)
    x[:4096] = np.arange(-(1 << 15), 1 << 15).reshape(4096, 16)
    lengths = np.full(64, 128)
    words, rows = np.stack([x, eps, noise]), table_rows(rng, 64)
    case = rows_case("random", words, lengths, rows, 0, 12, parameters)
    assert assert_rtl("sampler", parameters, [case], seed=12) == 8192
