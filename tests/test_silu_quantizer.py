"""SiLU quantizer: pieces, golden against the real-valued code, RTL against golden."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.bench import run_cases
from cosim.stimulus import generator
from cosim.tb_silu_quantizer import (
    INPUTS,
    LOBE,
    cases,
    constants,
    inputs_case,
    separating_constants,
)
from golden.calibration.artifact import embedded_artifact
from golden.mac_array import MULTIPLIERS
from golden.numbers import encode_multiplier, rsh
from golden.silu_pieces import PIECES, fit
from golden.silu_quantizer import (
    code_rank,
    decode_region,
    ideal_code,
    ideal_wide_code,
    latency,
    quantize,
    region_code,
    silu_value,
    wide_code,
)
from hdl.silu_quantizer import SiluQuantizer
from tests.amaranth_bench import run_case

# From the smallest step whose zero point fits seven bits to a reach of 127 * 0.1.
STEPS = [0.27847 / 112, 0.003, 0.0039, 0.0055, 0.0078, 0.011, 0.02, 0.05, 0.1]
SEGMENTS = pytest.mark.parametrize("segments", [16, 32])


def silu(u):
    x = u / 128
    return x / (1 + np.exp(-x))


def scale(step):
    multiplier, shift = encode_multiplier(1 / (2048 * step), 31)
    return multiplier, shift, int(np.ceil(LOBE / step))


# Constructor


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"lanes": 0}, ValueError, r"lanes must be in 1\.\.64, got 0"),
        ({"lanes": "4"}, TypeError, r"lanes must be an integer in 1\.\.64, got '4'"),
        ({"segments": 8}, ValueError, r"segments must be in 16\.\.32, got 8"),
        ({"segments": 24}, ValueError, r"segments must be 16 or 32, got 24"),
        ({"side_width": 5000}, ValueError, r"side_width must be in 0\.\.4096, got 5000"),
    ],
)
def test_constructor_refuses(keywords, error, text):
    with pytest.raises(error, match=text):
        SiluQuantizer(**keywords)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_latency_is_that_of_the_golden_model(multiplier):
    assert SiluQuantizer(multiplier=multiplier).latency == latency(multiplier)


# Pieces and SiLU value


@SEGMENTS
def test_stored_pieces_are_those_of_the_fit(segments):
    assert fit(segments) == PIECES[segments]
    assert len(PIECES[segments].knots) == segments


@pytest.mark.parametrize(
    ("segments", "of_pieces", "of_values"), [(16, 1.05e-3, 1.3e-3), (32, 3.6e-4, 6e-4)]
)
def test_error_of_the_value(segments, of_pieces, of_values):
    # A value has steps of 4.9e-4, half of which rounding adds to the error of the pieces.
    pieces = PIECES[segments]
    magnitude = np.arange(2049)
    piece = np.searchsorted(np.array(pieces.knots) * 8, magnitude, side="right") - 1
    g = (np.array(pieces.slopes)[piece] * magnitude + np.array(pieces.intercepts)[piece]) / 64
    assert np.abs(g / 2048 + silu(-magnitude)).max() < of_pieces
    assert np.abs(silu_value(INPUTS, segments) / 2048 - silu(INPUTS)).max() < of_values


@SEGMENTS
def test_value_at_the_ends_and_at_zero(segments):
    value = dict(zip(INPUTS.tolist(), silu_value(INPUTS, segments).tolist(), strict=True))
    assert abs(value[-2048]) <= segments == 16 or value[-2048] == 0
    assert abs(value[-2048]) <= 2
    assert abs(value[0]) <= 2
    assert abs(value[2047] - 16 * 2047) <= 2
    assert min(value.values()) == -570  # the lobe: -0.27847 * 2048 = -570.3


# Codes


@SEGMENTS
@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("step", STEPS)
def test_code_is_within_one_step_of_the_ideal(step, k, segments):
    multiplier, shift, z = scale(step)
    code = region_code(silu_value(INPUTS, segments), multiplier, shift, z, k)
    ideal = ideal_code(INPUTS, multiplier, shift, z, k)
    assert np.abs(code_rank(code, z, k) - code_rank(ideal, z, k)).max() <= 1
    # The wrong side of a tie is the more likely the smaller the step is against the error.
    assert (code == ideal).mean() >= (0.97 if segments == 32 else 0.91)


@pytest.mark.parametrize("step", [6.2e-4, 0.001, 0.002, 0.004, 0.008])
def test_wide_code_is_within_one_step_of_the_ideal(step):
    multiplier, shift = encode_multiplier(1 / (2048 * step), 31)
    code = wide_code(silu_value(INPUTS), multiplier, shift)
    assert np.abs(code - ideal_wide_code(INPUTS, multiplier, shift)).max() <= 1


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("z", [0, 1, 37, 111, 112])
def test_codes_decode_in_their_order(z, k):
    codes = np.arange(256)
    value = decode_region(codes, z, k)
    assert (np.diff(value[:128]) == 1).all()
    assert (np.diff(value[128:]) == 1 << k).all()
    assert value[z] == 0
    assert value[255] == 127 << k
    rank = code_rank(codes, z, k)
    assert rank[127] + 1 == rank[128 + ((128 - z + (1 << k >> 1)) >> k)] == 128


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("step", STEPS)
def test_code_is_near_the_value_it_stands_for(step, k):
    multiplier, shift, z = scale(step)
    value = np.arange(-570, 32753)
    real = value * multiplier / 2.0**shift
    code = region_code(value, multiplier, shift, z, k)
    error = np.abs(decode_region(code, z, k) - real)
    inside = real < 127.5 * (1 << k)
    assert error[inside & (code < 128)].max() <= 0.5
    upper = inside & (code >= 128)
    assert error[upper].max(initial=0) <= (1 << k) / 2
    assert (np.diff(code_rank(code, z, k)) >= 0).all()


def test_region_and_wide_codes_of_chosen_values():
    # v * M0 / 2**n0 = v / 8: ties at odd multiples of 4.
    v = [-32768, -571, -28, -20, -12, -4, 4, 12, 20, 1000, 1012, 1019, 1020, 32767]
    codes = region_code(v, 1 << 15, 18, 10, 2)
    assert codes.tolist() == [0, 0, 7, 8, 9, 10, 11, 12, 13, 159, 160, 160, 160, 255]
    wide = wide_code(v, 1 << 15, 15)
    assert wide.tolist() == [-2048, *v[1:-1], 2047]


def test_golden_refuses():
    with pytest.raises(ValueError, match=r"u must be in -2048\.\.2047, got 2048"):
        silu_value([2048])
    with pytest.raises(ValueError, match=r"n0 must be in 0\.\.31, got 32"):
        wide_code(0, 1, 32)
    with pytest.raises(ValueError, match=r"z must be in 0\.\.112, got 113"):
        region_code(0, 1, 0, 113, 1)
    with pytest.raises(ValueError, match=r"k must be in 1\.\.4, got 0"):
        region_code(0, 1, 0, 0, 0)
    with pytest.raises(TypeError, match="u must be integers, got float64"):
        silu_value([0.5])


@given(
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(0, 65535),
    st.integers(0, 31),
    st.integers(0, 112),
    st.integers(1, 4),
)
def test_codes_equal_big_integers(v, multiplier, shift, z, k):
    def rounded(n):
        return (v * multiplier + (1 << n >> 1)) >> n

    low = rounded(shift) + z
    want = max(low, 0) if low <= 127 else 128 + min(rounded(shift + k), 127)
    assert region_code(v, multiplier, shift, z, k) == want
    assert wide_code(v, multiplier, shift) == max(-2048, min(2047, rounded(shift)))


def artifact_constants():
    """(sets,) constants of every SiLU edge and timestep group of the embedded artifact."""
    artifact = embedded_artifact()
    sets = []
    for layer in artifact.layers:
        kind = artifact.kind(layer)
        if kind in {"region", "wide_silu"}:
            table = {
                key: artifact.tensors.get(f"{layer}.silu.{key}") for key in ("M0", "n0", "z", "k")
            }
            for group in range(artifact.groups):
                one = [0 if row is None else int(row[group]) for row in table.values()]
                sets.append((int(kind == "wide_silu"), *one[:3], one[3] or 1))
    columns = np.array(sorted(set(sets)), dtype=np.int64).T
    return dict(zip(("wide", "multiplier", "shift", "zero_point", "k"), columns, strict=True))


def test_codes_of_the_embedded_artifact_are_within_one_step():
    equal, total = 0, 0
    for wide, M0, n0, z, k in zip(*artifact_constants().values(), strict=True):
        code = quantize(INPUTS, wide, M0, n0, z, k)
        if wide:
            ideal = ideal_wide_code(INPUTS, M0, n0)
            distance = np.abs(np.where(code >= 2048, code - 4096, code) - ideal)
        else:
            ideal = ideal_code(INPUTS, M0, n0, z, k)
            distance = np.abs(code_rank(code, z, k) - code_rank(ideal, z, k))
        assert distance.max() <= 1
        equal, total = equal + int((distance == 0).sum()), total + len(INPUTS)
    share = equal / total
    print(f"{total} codes of the embedded artifact, {100 * share:.2f} % equal to the ideal ones")
    assert share >= 0.95


def test_quantize_selects_by_beat():
    u = np.array([[-2048, -100, 300], [5, 6, 2047]])
    codes = quantize(u, [0, 1], [40000, 50000], [18, 17], [20, 30], [1, 2])
    v = silu_value(u)
    assert np.array_equal(codes[0], region_code(v[0], 40000, 18, 20, 1))
    assert np.array_equal(codes[1], wide_code(v[1], 50000, 17) & 0xFFF)


# RTL on Amaranth's simulator

CONFIGURATIONS = [
    pytest.param({"lanes": 16, "side_width": 9}, id="lanes16"),
    pytest.param({"lanes": 3, "segments": 16}, id="lanes3-segments16"),
    pytest.param({"lanes": 4, "multiplier": "mult18x18d"}, id="mult18x18d"),
]


@pytest.mark.parametrize("parameters", CONFIGURATIONS)
def test_rtl_equals_golden_in_every_cycle(parameters):
    for case in cases(7, parameters)[:4]:
        assert run_case(SiluQuantizer(**parameters), case) == [], case.name


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.sampled_from([16, 32]), st.integers(0, 40), st.integers(0, 1 << 30))
def test_rtl_of_any_parameters(lanes, segments, side_width, seed):
    parameters = {"lanes": lanes, "segments": segments, "side_width": side_width}
    rng = generator(seed)
    u = rng.choice(INPUTS, size=(60, lanes))
    case = inputs_case("random", u, constants(rng, 60), seed % 6, seed, parameters)
    assert run_case(SiluQuantizer(**parameters), case) == []


# RTL under Verilator


@pytest.mark.cosim
@pytest.mark.parametrize("parameters", CONFIGURATIONS)
def test_cosim(parameters):
    result = run_cases("silu_quantizer", parameters, cases(11, parameters), seed=11)
    assert result.passed, result.text()


@pytest.mark.cosim
@SEGMENTS
def test_cosim_of_all_inputs_under_many_constants(segments):
    parameters = {"lanes": 16, "segments": segments}
    rng = generator(segments)
    one = constants(rng, 64)
    fields = {name: np.repeat(values, 256) for name, values in one.items()}
    u = np.tile(INPUTS.reshape(256, 16), (64, 1))
    case = inputs_case("exhaustive", u, fields, 0, 1, parameters)
    result = run_cases("silu_quantizer", parameters, [case], seed=1)
    assert result.passed, result.text()
    assert result.beats == 64 * 256


@pytest.mark.cosim
def test_cosim_of_all_inputs_under_every_group_of_the_embedded_artifact():
    parameters = {"lanes": 32}
    one = artifact_constants()
    sets = len(one["wide"])
    fields = {name: np.repeat(values, 128) for name, values in one.items()}
    u = np.tile(INPUTS.reshape(128, 32), (sets, 1))
    case = inputs_case("artifact", u, fields, 0, 1, parameters)
    result = run_cases("silu_quantizer", parameters, [case], seed=1)
    assert result.passed, result.text()
    assert result.beats == sets * 128


@pytest.mark.parametrize("step", [1, -1])
def test_constants_tell_values_of_the_curve_apart(step):
    """Codes of a value and of its neighbour differ, so a bench sees a curve that is off by one."""
    value = silu_value(INPUTS, 32)
    fields = separating_constants(np.random.Generator(np.random.PCG64(1)), value, step)
    codes = [rsh(v * fields["multiplier"], fields["shift"]) for v in (value, value + step)]
    assert (codes[0] != codes[1]).mean() > 0.999
    assert max(np.abs(code).max() for code in codes) < 2048
