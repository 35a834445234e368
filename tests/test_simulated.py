import numpy as np
import pytest
import torch

from golden.calibration import baselines
from golden.calibration.region import SILU_DEPTH, U_BINS
from golden.calibration.topology import layers
from golden.calibration.trajectories import X_FRACTION, Statistics, collect
from golden.errors import UserError
from golden.evaluation.simulated import (
    CODES,
    EdgeCode,
    SimulatedUNet,
    _candidates,
    _errors,
    _Quantizer,
    best_code,
    quantize_weights,
    silu_reals,
    table_bytes,
)
from golden.evaluation.variants import VARIANTS, chosen
from golden.network.samplers import make_sampler
from tests.small_network import STEPS, small_artifact, small_checkpoint

SPANS = [(0, 2), (2, STEPS)]


def statistics() -> Statistics:
    loaded = small_checkpoint()
    sampler = make_sampler("ddim", loaded.scheduler, STEPS)
    return collect(loaded.unet, sampler, 3, range(4))


@pytest.fixture(scope="module")
def measured() -> Statistics:
    return statistics()


def simulated(measured, **options) -> SimulatedUNet:
    loaded = small_checkpoint()
    sampler = make_sampler("ddim", loaded.scheduler, STEPS)
    defaults = {"bits": 8, "code": "region", "spans": SPANS, "wide": ("conv_in",)}
    return SimulatedUNet(loaded.unet, measured, sampler.timesteps, **{**defaults, **options})


def brute_levels(code: EdgeCode) -> list[float]:
    """Every value that the code can stand for."""
    top = 2 ** (code.bits - 1) - 1
    if code.code == "symmetric":
        return [code.numbers[0] * i for i in range(-top, top + 1)]
    if code.code == "affine":
        step, low = code.numbers
        zero = int(np.floor(-low / step + 0.5))
        return [step * (i - zero) for i in range(2**code.bits)]
    if code.code == "sign_split":
        below, above = code.numbers
        return [-below * i for i in range(top + 1)] + [above * i for i in range(top + 1)]
    step, point, factor = code.numbers
    return [step * (i - point) for i in range(top + 1)] + [
        step * factor * i for i in range(top + 1)
    ]


EXAMPLES = {
    "symmetric": lambda top: (4.0 / top,),
    "affine": lambda top: (4.3 / (2 * top + 1), -0.27847),
    "sign_split": lambda top: (0.27847 / top, 4.0 / top),
    "region": lambda top: (0.27847 / round(0.5 * top), float(round(0.5 * top)), 8.0),
}


@pytest.mark.parametrize("bits", [8, 7, 6])
@pytest.mark.parametrize("code", CODES)
def test_a_code_decodes_to_a_level_and_zero_to_zero(code, bits):
    made = EdgeCode(code, bits, EXAMPLES[code](2 ** (bits - 1) - 1))
    levels = np.unique(brute_levels(made))
    assert len(levels) <= 2**bits
    values = np.linspace(-0.27, 5.0, 3001)
    decoded = made.apply(values)
    away = np.abs(decoded[:, None] - levels).min(axis=1)
    assert away.max() < 1e-9
    assert made.apply(np.zeros(1))[0] == 0
    # never further than half the largest step that is next to the value, or clipped at the top
    inside = values < levels[-1]
    reach = np.diff(levels[levels >= -0.28]).max()
    assert np.abs(decoded - values)[inside].max() <= reach * (1 + 1e-9)


@pytest.mark.parametrize("code", CODES)
def test_the_device_codes_are_the_definitions(code):
    generator = torch.Generator().manual_seed(1)
    values = torch.nn.functional.silu(3 * torch.randn(2, 5, 4, 4, generator=generator))
    made = EdgeCode(code, 7, EXAMPLES[code](63))
    numbers = np.broadcast_to(np.array(made.numbers), (1, 1, len(made.numbers)))
    got = _Quantizer(code, 7, numbers, torch.device("cpu"))(values, 0).double().numpy()
    expected = made.apply(values.double().numpy())
    # float32 division may fall on the other side of a tie: rare, and never off by more than a step
    differs = np.abs(got - expected) > 1e-5
    assert differs.mean() < 0.01


@pytest.mark.parametrize("bits", [8, 7, 6])
def test_region_candidates_state_the_zero_point_that_the_definition_finds(bits):
    for made in _candidates("region", bits):
        step, point, _ = made.numbers
        assert np.ceil(SILU_DEPTH / step) == point


@pytest.mark.parametrize("code", CODES)
def test_the_best_code_is_the_best_by_brute_force(code):
    counts = np.random.default_rng(2).poisson(20 * np.exp(-(np.linspace(-4, 4, U_BINS) ** 2)))
    found = best_code(code, 6, counts, silu=True)
    errors = counts @ _errors(code, 6, True)
    own = float(counts @ (silu_reals() - found.apply(silu_reals())) ** 2)
    assert own == pytest.approx(errors.min())


def test_region_beats_affine_beats_sign_split_on_silu_of_a_normal():
    u = np.clip(np.round(np.random.default_rng(0).normal(size=200000) * 128), -2048, 2047)
    counts = np.bincount(u.astype(int) + 2048, minlength=U_BINS)
    noise = {
        code: float(
            counts @ (silu_reals() - best_code(code, 8, counts, True).apply(silu_reals())) ** 2
        )
        for code in CODES
    }
    assert noise["region"] < noise["affine"] < noise["sign_split"] < noise["symmetric"]


def test_weights_keep_their_largest_value_and_have_few_levels():
    weight = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    coded = quantize_weights(weight, 6)
    assert torch.all(coded[1] == 0)
    for row, real in zip(coded, weight, strict=True):
        assert float(row.abs().max()) == pytest.approx(float(real.abs().max()))
        assert len(row.unique()) <= 63
        assert float((row - real).abs().max()) <= float(real.abs().max()) / 31 / 2 * (1 + 1e-5)


def test_a_conv_reads_the_code_of_the_step(measured):
    """Weights and input of one layer by the definitions of ``baselines``, in float64."""
    model = simulated(measured)
    loaded = small_checkpoint()
    name = next(n for n, s in layers(loaded.config).items() if s.source == "silu")
    spec = layers(loaded.config)[name]
    seen: dict[str, torch.Tensor] = {}
    module = model.unet.get_submodule(name)
    norm = model.unet.get_submodule(spec.norm or "")
    handles = [
        norm.register_forward_hook(lambda _, i, o: seen.update(u=o.clone())),
        module.register_forward_hook(lambda _, i, o: seen.update(x=i[0].clone(), y=o.clone())),
    ]
    x = torch.from_numpy(measured.trajectories.x[3].astype(np.float32) / (1 << X_FRACTION))
    model.eps(x, 3)
    for handle in handles:
        handle.remove()
    counts = measured.histograms[spec.norm or ""][2:].sum(axis=0)
    step, _, factor = best_code("region", 8, counts, True).numbers
    exact = torch.nn.functional.silu(seen["u"]).double().numpy()
    expected = baselines.magnitude_split(exact, step, round(np.log2(factor)))
    off = np.abs(seen["x"].double().numpy() - expected) > 1e-5
    assert off.mean() < 0.005
    weight = loaded.unet.get_parameter(f"{name}.weight").double()
    top = weight.flatten(1).abs().amax(dim=1)[:, None, None, None] / 127
    coded = (weight / top).round() * top
    bias = loaded.unet.get_parameter(f"{name}.bias").double()
    y = torch.nn.functional.conv2d(seen["x"].double(), coded, bias, padding=1)
    assert torch.allclose(seen["y"].double(), y, atol=1e-4)


def test_the_correction_zeroes_the_mean_error_of_every_layer(measured):
    loaded, model = small_checkpoint(), simulated(measured, bits=6)
    x = measured.trajectories.x
    model.correct(loaded.unet, x)
    step = 2
    real = torch.from_numpy(x[step].astype(np.float32) / (1 << X_FRACTION))
    means = {}
    handles = []
    heads = {n for n, s in layers(loaded.config).items() if s.output == "head"}
    for key, unet in (("float", loaded.unet), ("coded", model.unet)):
        for name in layers(loaded.config).keys() - heads:  # a head's code comes after the mean

            def hook(_, inputs, output, key=key, name=name):
                means[key, name] = output.mean(dim=(0, 2, 3) if output.ndim == 4 else (0, 1))

            handles.append(unet.get_submodule(name).register_forward_hook(hook))
    t = torch.full((len(real),), model.timesteps[step])
    loaded.unet(real, t)
    model.eps(real, step)
    for handle in handles:
        handle.remove()
    names = {name for _, name in means}
    assert len(names) > 8
    for name in names:
        assert torch.allclose(means["float", name], means["coded", name], atol=2e-5), name


def test_the_float_network_is_left_alone(measured):
    loaded = small_checkpoint()
    before = {name: tensor.clone() for name, tensor in loaded.unet.state_dict().items()}
    model = simulated(measured, bits=6)
    model.correct(loaded.unet, measured.trajectories.x[:, :1])
    for name, tensor in loaded.unet.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in loaded.unet.modules())


def test_more_bits_and_wide_edges_are_closer(measured):
    loaded = small_checkpoint()
    x = torch.from_numpy(measured.trajectories.x[1].astype(np.float32) / (1 << X_FRACTION))
    real = torch.from_numpy(measured.trajectories.eps[1])

    def noise(**options):
        return float((simulated(measured, **options).eps(x, 1) - real).square().mean())

    wide = tuple(n for n, s in layers(loaded.config).items() if s.source in ("silu", "image"))
    assert noise(bits=8) < noise(bits=7) < noise(bits=6)
    assert noise(bits=6, wide=wide) < noise(bits=6)
    assert noise(bits=8, code=None) < noise(bits=8)


def test_table_bytes_by_hand():
    unet = small_checkpoint().unet
    specs = layers(unet.config)
    channels = sum(s.out_channels for s in specs.values())
    timed = sum(s.out_channels for s in specs.values() if s.time_projection)
    weights = table_bytes(unet, STEPS, 1, None, (), False)
    assert weights == 3 * channels + 2 * (channels + timed * (STEPS - 1))
    segments = sum(len(s.segments) for s in specs.values())
    silu = sum(1 for s in specs.values() if s.source == "silu")
    static = table_bytes(unet, STEPS, 1, None, (), True)
    assert static == 3 * channels + 2 * channels * STEPS
    region = table_bytes(unet, STEPS, 2, "region", (), True)
    assert region == 6 * channels + 2 * channels * STEPS + 2 * (3 * segments + 2 * silu)
    assert table_bytes(unet, STEPS, 2, "region", tuple(specs), True) == region - 4 * silu


def test_variants_are_picked_by_part_of_their_name():
    assert chosen(None) == VARIANTS
    assert {v.code for v in chosen("sign split, static affine")} == {"sign_split", "affine"}
    with pytest.raises(UserError, match="nonsense"):
        chosen("nonsense")


def test_the_small_network_has_every_kind_of_edge():
    assert {s.source for s in small_artifact().layers.values()} == {
        "image", "stream", "silu", "norm", "attention",
    }  # fmt: skip
