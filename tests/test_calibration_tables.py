import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.calibration.ranges import (
    head_scale,
    norm_scale,
    segment_scale,
    silu_scale,
    with_rare_noise,
)
from golden.calibration.region import RegionParameters, WideParameters
from golden.calibration.tables import quantize_weight, stream_fraction
from golden.calibration.topology import LayerSpec, edge_kind, layers
from golden.calibration.trajectories import collect
from golden.errors import UserError
from golden.network.presets import preset
from golden.network.samplers import make_sampler
from golden.network.unet import UNet
from golden.requantizer import requantize
from tests.small_network import small_artifact, small_checkpoint


def test_weights_are_within_half_a_step_and_reach_the_largest():
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (6, 5, 3, 3))
    weight[2] = 0
    weight[3] *= 1e-6
    integers, steps = quantize_weight(weight)
    assert integers.dtype == np.int8
    assert np.abs(integers.astype(int)).max(axis=(1, 2, 3)).tolist() == [127, 127, 0] + [127] * 3
    assert steps[2] == 0
    error = np.abs(weight - steps[:, None, None, None] * integers).max(axis=(1, 2, 3))
    assert (error <= steps / 2 * (1 + 1e-9)).all()


def test_weights_on_the_grid_are_kept_exactly():
    integers = np.arange(-127, 128).reshape(1, 255, 1, 1)
    got, steps = quantize_weight((integers * 0.0625).astype(np.float64))
    assert (got == integers).all()
    assert steps[0] == 0.0625


@pytest.mark.parametrize(
    ("peak", "fraction"), [(0.0, 12), (1.0, 12), (32.0, 9), (42.6, 9), (42.7, 8), (1e6, 4)]
)
def test_stream_fraction_leaves_a_margin(peak, fraction):
    assert stream_fraction(peak) == fraction


@settings(max_examples=100, deadline=None)
@given(
    first=st.floats(0.01, 60), second=st.floats(0.01, 60), fraction=st.integers(4, 12),
    wide=st.booleans(),
)  # fmt: skip
def test_min_max_edges_clip_nothing(first, second, fraction, wide):
    levels, width = (2047, 12) if wide else (127, 8)
    peaks = np.array([first, second])
    scale = segment_scale(peaks, np.array([8.0, 4.0]), fraction, levels, wide)
    assert scale.k[0] == 0
    assert 0 <= scale.k[1] <= (0 if wide else 4)
    for peak, k in zip(peaks, scale.k, strict=True):
        x = min(int(peak * 2**fraction), 32767)
        code = int(requantize(x, scale.multiplier, scale.shift + k, 0, width))
        assert code <= levels
        value = code * 2**k * scale.step
        # half a step, and the relative error of a 16-bit multiplier
        assert abs(value - x / 2**fraction) <= scale.step * 2**k * 0.5 + value * 2**-15


def test_the_larger_second_segment_gets_a_coarser_step():
    rising, falling = np.array([1.0, 8.0]), np.array([8.0, 1.0])
    assert segment_scale(rising, np.ones(2), 9, 127, shared=False).k == (0, 3)
    assert segment_scale(falling, np.ones(2), 9, 127, shared=False).k == (0, 0)
    assert segment_scale(rising, np.ones(2), 9, 2047, shared=True).k == (0, 0)


def test_dead_edges_get_a_harmless_scale():
    scale = segment_scale(np.zeros(1), np.ones(1), 9, 127, shared=False)
    assert scale.step == 2**-9
    assert head_scale(np.zeros((3, 1))) == 1.0
    empty = np.zeros(4096, dtype=np.int64)
    empty[2048] = 5  # only u = 0 was seen
    assert isinstance(silu_scale(empty, wide=False), RegionParameters)
    assert isinstance(silu_scale(empty, wide=True), WideParameters)


def test_norm_scale_finds_the_best_reach():
    u = np.clip(np.rint(np.random.default_rng(0).normal(0, 128, 50_000)), -2048, 2047).astype(int)
    scale = norm_scale(np.bincount(u + 2048, minlength=4096))
    error = np.square(u / 128 - scale.step * requantize(u, scale.multiplier, scale.shift, 0, 8))
    for reach in np.linspace(1.5, 8, 40):
        step = reach / 127
        other = np.square(u / 128 - step * np.clip(np.rint(u / 128 / step), -128, 127))
        assert error.mean() <= 1.05 * other.mean()


@pytest.mark.parametrize("name", ["fashion16", "fashion32"])
def test_every_conv_of_the_float_network_is_a_layer(name):
    unet = UNet(preset(name))
    specs = layers(unet.config)
    weights = {key for key, p in unet.named_parameters() if p.ndim in {2, 4}}
    time = {key for key in weights if "time_emb" in key}
    assert {f"{name}.weight" for name in specs} == weights - time
    for spec in specs.values():
        shape = unet.get_parameter(f"{spec.name}.weight").shape
        assert tuple(shape[:2]) == (spec.out_channels, spec.in_channels)
        assert shape[2:] in {(), (spec.kernel, spec.kernel)}


def test_edge_kinds():
    specs = layers(preset("fashion16"))
    assert {edge_kind(s, ("conv_out",)) for s in specs.values()} == {
        "wide_stream", "region", "int8_stream", "int8_norm", "int8_attention", "wide_silu",
    }  # fmt: skip
    assert edge_kind(LayerSpec("a", "stream", (4,), 4), ("a",)) == "wide_stream"
    with pytest.raises(UserError, match="wide edge a: not available"):
        edge_kind(LayerSpec("a", "norm", (4,), 4), ("a",))


def test_noise_rarer_than_the_calibration_images_had_is_not_clipped():
    """x_t of 5 sigma enters conv_in whole at the first step; no other peak is moved."""
    artifact = small_artifact()
    multiplier, shift = (int(artifact.tensors[f"conv_in.edge.{key}"][0, 0]) for key in "Mn")
    assert 1700 < int(requantize(5 << 12, multiplier, shift, 0, 12)) < 2047
    checkpoint = small_checkpoint()
    sampler = make_sampler("ddim", checkpoint.scheduler, 3)
    seen = collect(checkpoint.unet, sampler, 0, range(2))
    wider = with_rare_noise(seen, layers(checkpoint.config), sampler)
    added = wider.peaks["conv_in"] - seen.peaks["conv_in"]
    assert wider.peaks["conv_in"][0] == pytest.approx(5.5, abs=0.1)
    assert (np.diff(added[:, 0]) < 0).all()
    assert added[-1] < 0.05
    assert all(wider.peaks[name] is peak for name, peak in seen.peaks.items() if name != "conv_in")
