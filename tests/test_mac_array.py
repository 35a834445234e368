"""mac_array and its cell: exact products, banks that swap without a bubble."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.stimulus import make_case, stall_choices
from cosim.tb_mac_array import cases
from golden.cycles import simulate, stall_pattern
from golden.mac_array import MULTIPLIERS, MacArrayModel, latency, mac_array, sum_width
from hdl.mac_array import MacArray
from tests.block_test import assert_level1, assert_level2, assert_rtl


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"rows": 0}, r"rows must be in 1\.\.64, got 0"),
        ({"cols": 65}, r"cols must be in 1\.\.64, got 65"),
        ({"decode": "late"}, "decode must be one of edge, product_shift, got 'late'"),
        ({"pipeline": 0}, r"pipeline must be in 1\.\.6, got 0"),
        (
            {"multiplier": "wallace"},
            "multiplier must be one of inferred, mult18x18d, got 'wallace'",
        ),
    ],
)
def test_bad_parameters(parameters, text):
    with pytest.raises(ValueError, match=text):
        MacArray(**parameters)


def test_sizes_of_the_wrong_kind():
    with pytest.raises(TypeError, match=r"cols must be an integer in 1\.\.64, got 4\.0"):
        MacArray(cols=4.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_golden_equals_a_loop_over_python_integers(rows, cols, seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    beats = 12
    start = np.array([1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])
    mantissa = rng.integers(-128, 128, size=(beats, rows))
    flag = rng.integers(0, 2, size=(beats, rows))
    k = rng.integers(0, 5, size=beats)
    weights = rng.integers(-128, 128, size=(3, rows, cols))
    sums = mac_array(mantissa, flag, k, start, weights)
    for beat in range(beats):
        for col in range(cols):
            total = 0
            for row in range(rows):
                shift = int(k[beat]) if flag[beat, row] else 0
                total += int(weights[beat // 4, row, col]) * int(mantissa[beat, row]) * 2**shift
            assert int(sums[beat, col]) == total
            assert abs(total) < 2 ** (sum_width(rows) - 1)


@pytest.mark.parametrize("rows", [1, 3, 4, 16])
def test_tiles_of_rows_beats_follow_each_other_without_a_bubble(rows):
    tiles = 6
    start = (np.arange(tiles * rows) % rows == 0).astype(int)
    model = MacArrayModel(start, rows)
    trace = simulate(
        model,
        sent={"i": tiles * rows, "i_weights": tiles * rows},
        delivered={"o": tiles * rows},
        stalls={name: stall_pattern("never", 0) for name in ("i", "i_weights", "o")},
    )
    delivered = np.flatnonzero(trace.outputs["o"].valid)
    assert np.array_equal(np.diff(delivered), np.ones(tiles * rows - 1))
    assert delivered[0] == rows + latency(rows)  # the first set has to be loaded


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
@pytest.mark.parametrize("decode", ["edge", "product_shift"])
@pytest.mark.parametrize(("rows", "cols", "pipeline"), [(1, 1, 1), (3, 2, 2), (4, 4, 1)])
def test_level1(rows, cols, decode, pipeline, multiplier):
    parameters = {"rows": rows, "cols": cols, "decode": decode, "pipeline": pipeline}
    parameters["multiplier"] = multiplier
    parameters["side_width"] = 5
    assert_level1("mac_array", parameters, cases(1, parameters)[:3])


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("rows", "cols", "decode"),
    [(4, 4, "edge"), (4, 4, "product_shift"), (8, 8, "edge"), (6, 3, "edge"), (16, 16, "edge")],
)
def test_rtl(rows, cols, decode):
    assert_level2("mac_array", {"rows": rows, "cols": cols, "decode": decode, "side_width": 5})


@pytest.mark.cosim
def test_rtl_with_registered_multipliers():
    parameters = {"rows": 6, "cols": 3, "side_width": 5, "multiplier": "mult18x18d"}
    assert_level2("mac_array", parameters)


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("decode", "multiplier"),
    [("edge", "inferred"), ("product_shift", "inferred"), ("edge", "mult18x18d")],
)
def test_all_products_of_int8_through_one_cell(decode, multiplier):
    values = np.arange(-128, 128)
    mantissa = np.tile(values, 256)[:, None]
    weights = values[:, None, None]
    start = (np.arange(65536) % 256 == 0).astype(np.int64)
    one = np.ones(65536, dtype=np.int64)
    parameters = {"rows": 1, "cols": 1, "decode": decode, "side_width": 0}
    parameters["multiplier"] = multiplier
    sums = mac_array(mantissa, one[:, None], 4 * one, start, weights)
    assert len(np.unique(sums)) == len({int(a) * int(b) for a in values for b in values})
    payloads = {
        "i": {"mantissa": mantissa, "flag": one[:, None], "k": 4 * one, "tile_start": start,
              "side": 0 * one},
        "i_weights": {"weights": weights.reshape(-1, 1)},
        "o": {"sums": sums, "side": 0 * one},
    }  # fmt: skip
    case = make_case(
        "all products", "mac_array", parameters, MacArrayModel(start, 1, decode, 1, multiplier),
        payloads,
        stall_choices(("i", "i_weights", "o"), 0, 1), 1,
    )  # fmt: skip
    assert_rtl("mac_array", parameters, [case])
