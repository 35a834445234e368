"""Requantizer: golden against TFLite's rule and big integers, RTL against golden."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.bench import run_cases
from cosim.stimulus import generator
from cosim.tb_requantizer import cases, corner_operands, operands_case, random_operands
from golden.numbers import rsh
from golden.requantizer import RequantizerModel, latency, requantize, requantize_counted
from hdl.requantizer import Requantizer
from tests.amaranth_bench import run_case

VECTORS = Path(__file__).parent / "data" / "tflite_single_rounding.csv"


def big_integer(acc, multiplier, shift, bias, width):
    """The numeric contract on Python integers: (value, saturated)."""
    half = (1 << shift) >> 1
    exact = ((acc * multiplier + half) >> shift) + bias
    value = max(-(1 << (width - 1)), min((1 << (width - 1)) - 1, exact))
    return value, value != exact


# Constructor


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"lanes": 0}, ValueError, r"lanes must be in 1\.\.64, got 0"),
        ({"lanes": 65}, ValueError, r"lanes must be in 1\.\.64, got 65"),
        ({"lanes": 2.0}, TypeError, r"lanes must be an integer in 1\.\.64, got 2\.0"),
        ({"lanes": True}, TypeError, r"lanes must be an integer in 1\.\.64, got True"),
        ({"acc_width": 33}, ValueError, r"acc_width must be in 8\.\.32, got 33"),
        ({"out_width": 17}, ValueError, r"out_width must be in 2\.\.16, got 17"),
        ({"out_width": 8, "narrow_width": 9}, ValueError, r"narrow_width must be in 2\.\.8, got 9"),
        ({"bias_width": 1}, ValueError, r"bias_width must be 0 or in 2\.\.16, got 1"),
        ({"bias_width": 17}, ValueError, r"bias_width must be in 0\.\.16, got 17"),
        ({"side_width": -1}, ValueError, r"side_width must be in 0\.\.4096, got -1"),
        ({"count_width": 33}, ValueError, r"count_width must be in 8\.\.32, got 33"),
    ],
)
def test_constructor_refuses(keywords, error, text):
    with pytest.raises(error, match=text):
        Requantizer(**keywords)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("acc_width", [8, 16, 18, 19, 32])
def test_latency_is_that_of_the_golden_model(acc_width):
    assert Requantizer(acc_width=acc_width).latency == latency(acc_width)


# Golden


def test_golden_equals_tflite_single_rounding():
    header, body = VECTORS.read_text().split("x,quantized_multiplier,shift,result\n")
    assert f"sha256 of the rows below the column names: {sha256(body)}" in header
    x, quantized_multiplier, shift, result = np.loadtxt(
        body.splitlines(), dtype=np.int64, delimiter=",", unpack=True
    )
    assert len(x) == 6000
    multiplier, n = quantized_multiplier >> 15, 16 - shift
    assert np.array_equal(rsh(x * multiplier, n), result)
    fits = np.abs(result) < 1 << 15
    assert fits.sum() > 1000
    got = requantize(x, multiplier, n, np.zeros_like(x), 16)
    assert np.array_equal(got[fits], result[fits])
    assert np.array_equal(got, np.clip(result, -(1 << 15), (1 << 15) - 1))


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("width", [2, 8, 12, 16])
def test_golden_corners_equal_big_integers(width):
    operands = corner_operands(32, 16)
    names = ("acc", "multiplier", "shift", "bias")
    acc, multiplier, shift, bias = (operands[name] for name in names)
    values, saturated = requantize_counted(acc, multiplier, shift, bias, width)
    rows = zip(*(operands[name].tolist() for name in names), strict=True)
    want = [big_integer(a, m, n, b, width) for a, m, n, b in rows]
    assert list(zip(values.tolist(), saturated.tolist(), strict=True)) == want


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shift", [1, 2, 16, 46])
def test_a_tie_rounds_half_up(sign, shift):
    acc, multiplier = sign * (1 << max(0, shift - 16)), 1 << min(shift - 1, 15)
    assert acc * multiplier * 2 == sign << shift
    assert requantize(acc, multiplier, shift, 0, 16) == (1 if sign > 0 else 0)


def test_bias_comes_before_saturation():
    scaled = [40000, 70000, -40000, -70000, 65535, 65536, -65536, -65537]
    bias = [-10000, -32768, 10000, 32767, -32768, -32768, 32767, 32767]
    values, saturated = requantize_counted(scaled, 1, 0, bias, 16)
    assert values.tolist() == [30000, 32767, -30000, -32768, 32767, 32767, -32768, -32768]
    assert saturated.tolist() == [False, True, False, True, False, True, True, True]
    assert requantize(32767, 1, 0, 1, 16) == 32767
    assert requantize(-32768, 1, 0, -1, 16) == -32768


def test_golden_equals_big_integers_on_a_million_random_operands():
    rng = generator(20)
    for chunk in range(10):
        operands = random_operands(rng, 100_000, 32, 16, 16)
        width = rng.integers(2, 17, size=100_000)
        names = ("acc", "multiplier", "shift", "bias")
        acc, multiplier, shift, bias = (operands[name] for name in names)
        values, saturated = requantize_counted(acc, multiplier, shift, bias, width)
        columns = [acc, multiplier, shift, bias, width]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        want = [big_integer(*row) for row in rows]
        assert list(zip(values.tolist(), saturated.tolist(), strict=True)) == want, chunk
        assert 0.05 < saturated.mean() < 0.95


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1 << 31, 1, 0, 0, 16), "acc must be in -2147483648..2147483647, got 2147483648"),
        ((0, 65536, 0, 0, 16), "multiplier must be in 0..65535, got 65536"),
        ((0, 1, 48, 0, 16), "shift must be in 0..47, got 48"),
        ((0, 1, 0, 32768, 16), "bias must be in -32768..32767, got 32768"),
        ((0, 1, 0, 0, 17), "width must be in 2..16, got 17"),
    ],
)
def test_golden_refuses(arguments, text):
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        requantize(*arguments)


@given(
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(0, 65535),
    st.integers(0, 47),
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(2, 16),
)
def test_golden_equals_big_integers_anywhere(acc, multiplier, shift, bias, width):
    value, saturated = requantize_counted(acc, multiplier, shift, bias, width)
    assert (value, saturated) == big_integer(acc, multiplier, shift, bias, width)


def test_counter_counts_two_cycles_after_delivery_saturates_and_clears():
    model = RequantizerModel([100, 100, 7, 100], acc_width=16, count_width=8)
    seen = []
    for cycle in range(16):
        ready = {"o": cycle != 8}  # beat 1 waits a cycle
        plain = {"clear": int(cycle in (11, 12))}
        i_ready, out = model.evaluate({"i": cycle}, ready, plain)
        seen.append(out["saturations"])
        accepted = cycle if cycle < 4 and i_ready["i"] else -1
        model.clock({"i": accepted}, ready, plain)
    # Delivered: beat 0 in cycle 7, beat 1 in 9, beat 2 in 10, beat 3 in 11 (cleared, never seen).
    assert seen == [0] * 9 + [100, 100, 200] + [0] * 4


def test_counter_stops_at_its_limit():
    model = RequantizerModel([200] * 8, acc_width=16, count_width=8)
    seen = []
    for cycle in range(20):
        seen.append(model.evaluate({"i": -1}, {"o": True}, {})[1]["saturations"])
        model.clock({"i": cycle if cycle < 8 else -1}, {"o": True}, {"clear": 0})
    assert seen[8:12] == [0, 200, 255, 255]
    assert seen[-1] == 255


# RTL on Amaranth's simulator

CONFIGURATIONS = [
    pytest.param({"lanes": 16, "side_width": 9}, id="conv16"),
    pytest.param({"lanes": 3, "count_width": 8}, id="conv3"),
    pytest.param(
        {"lanes": 16, "acc_width": 16, "out_width": 12, "bias_width": 0, "count_width": 8},
        id="edge",
    ),
    pytest.param({"lanes": 5, "acc_width": 19, "narrow_width": 16, "bias_width": 4}, id="acc19"),
    pytest.param({"lanes": 4, "acc_width": 8, "out_width": 8, "narrow_width": 2}, id="acc8"),
    pytest.param({"lanes": 4, "multiplier": "mult18x18d"}, id="mult18x18d"),
    pytest.param(
        {"lanes": 4, "acc_width": 18, "bias_width": 0, "multiplier": "mult18x18d"},
        id="edge-mult18x18d",
    ),
]


@pytest.mark.parametrize("parameters", CONFIGURATIONS)
def test_rtl_equals_golden_in_every_cycle(parameters):
    for case in cases(7, parameters)[:3]:
        assert run_case(Requantizer(**parameters), case) == [], case.name


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(8, 32),
    st.integers(2, 16),
    st.integers(2, 16),
    st.sampled_from([0, *range(2, 17)]),
    st.integers(0, 1 << 30),
)
def test_rtl_of_any_parameters(lanes, acc_width, out_width, narrow_width, bias_width, seed):
    parameters = {
        "lanes": lanes,
        "acc_width": acc_width,
        "out_width": max(out_width, narrow_width),
        "narrow_width": min(out_width, narrow_width),
        "bias_width": bias_width,
    }
    operands = random_operands(
        generator(seed), 40 * lanes, acc_width, parameters["out_width"], bias_width
    )
    case = operands_case("random", operands, 2 + seed % 5, seed, parameters)
    assert run_case(Requantizer(**parameters), case) == []


# RTL under Verilator


@pytest.mark.cosim
@pytest.mark.parametrize("parameters", CONFIGURATIONS)
def test_cosim(parameters):
    result = run_cases("requantizer", parameters, cases(11, parameters), seed=11)
    assert result.passed, result.text()


@pytest.mark.cosim
def test_cosim_of_a_hundred_thousand_random_operands():
    parameters = {"lanes": 16}
    operands = random_operands(generator(12), 100_000, 32, 16, 16)
    case = operands_case("random", operands, 0, 12, parameters)
    result = run_cases("requantizer", parameters, [case], seed=12)
    assert result.passed, result.text()
    assert result.beats == 6250
