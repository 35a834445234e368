import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from golden.calibration.artifact import Artifact
from golden.calibration.bias import round_biases
from golden.calibration.calibrate import Options, calibrate, noise_sha256
from golden.calibration.quality import group_summary
from golden.calibration.topology import EDGE_KINDS
from golden.calibration.trajectories import collect, run_float
from golden.errors import UserError
from golden.integer.network import IntegerNetwork
from golden.integer.reference import ReferenceNetwork
from golden.network.samplers import make_sampler, noise_q12
from golden.silu_quantizer import decode_region, quantize, silu_value
from tests.small_network import GROUPS, STEPS, small_artifact, small_checkpoint
from tests.test_exact_matmul import brute_force_conv


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return small_artifact()


@pytest.fixture(scope="module")
def sampler():
    return make_sampler("ddim", small_checkpoint().scheduler, STEPS)


def all_wide(artifact: Artifact) -> Artifact:
    sources = {"image", "silu", "stream"}
    names = tuple(name for name, spec in artifact.layers.items() if spec.source in sources)
    return calibrate(
        small_checkpoint(),
        Options(steps=STEPS, groups=GROUPS, seed=3, images=4, report_images=2, wide=names),
    )


def big_integer_requantize(acc, multiplier, shift, bias, width):
    product = int(acc) * int(multiplier)
    rounded = (product + (1 << (shift - 1)) >> shift) if shift else product
    return min(max(rounded + int(bias), -(1 << (width - 1))), (1 << (width - 1)) - 1)


def test_figures_are_honest(artifact):
    figures = artifact.provenance["figures"]
    assert figures["group_error"] <= figures["group_error_uniform"]
    assert len(figures["eps_sqnr_db"]) == STEPS
    assert figures["eps_sqnr_db_mean"] == pytest.approx(np.mean(figures["eps_sqnr_db"]), abs=2e-3)
    assert figures["eps_sqnr_db_min"] == min(figures["eps_sqnr_db"])
    assert [row["first_step"] for row in figures["groups"]] == [0, *artifact.boundaries]
    seed, noise = artifact.provenance["calibration"]["seed"], artifact.provenance["reference_noise"]
    assert noise["seed"] != seed
    assert noise["sha256"] == noise_sha256(noise["seed"], noise["images"], (1, 8, 8))


def test_quantized_network_is_close_to_float(artifact):
    # random weights, 8 and 12 channels, a stream that grows to 9 before its int8 edges: 20 dB,
    # an error of a tenth of the amplitude
    assert artifact.provenance["figures"]["eps_sqnr_db_min"] > 20


def test_wide_edges_bring_it_closer(artifact):
    better = all_wide(artifact).provenance["figures"]["eps_sqnr_db_mean"]
    assert better > artifact.provenance["figures"]["eps_sqnr_db_mean"] + 1


def test_every_edge_kind_is_exercised(artifact):
    kinds = {artifact.kind(name) for name in artifact.layers}
    assert kinds == set(EDGE_KINDS)


@pytest.mark.parametrize("step", range(STEPS))
def test_capture_is_the_integer_arithmetic_of_the_contract(artifact, step):
    """Each layer again, from its source alone: block functions, brute force, big integers."""
    x_t = noise_q12(9, 0, step, (1, 8, 8))
    captures = ReferenceNetwork(artifact).capture(step, x_t)
    assert [c.name for c in captures] == list(artifact.layers)
    assert {c.group for c in captures} == {artifact.group(step)}
    for c in captures:
        k = c.constants
        source = c.source.astype(np.int64)
        if c.kind in {"region", "wide_silu"}:
            lanes = quantize(
                source.reshape(1, -1), [int(c.kind == "wide_silu")], [k.M0], [k.n0], [k.z],
                [k.k[0]],
            ).reshape(source.shape)  # fmt: skip
            signed = np.where(lanes >= 2048, lanes - 4096, lanes)
            assert (c.codes == (lanes if c.kind == "region" else signed)).all()
            if c.kind == "region":
                operand = decode_region(lanes, k.z, k.k[0])
                # within a step of the value that it stands for, unless it saturates
                steps = silu_value(source) * k.M0 / 2**k.n0
                inside = steps < 127 * 2 ** k.k[0]
                assert np.abs(operand - steps)[inside].max() <= 0.5 * 2 ** k.k[0]
            else:
                operand = signed
        else:
            width = 12 if c.kind == "wide_stream" else 8
            edges = np.cumsum([0, *c.segments])
            operand = np.zeros_like(source)
            for s, (a, b) in enumerate(pairwise(edges)):
                codes = source[a:b]
                if c.kind != "int8_attention":
                    codes = np.array(
                        [
                            big_integer_requantize(v, k.edge_M[s], k.edge_n[s], 0, width)
                            for v in codes.flat
                        ]
                    ).reshape(codes.shape)
                assert (c.codes[a:b] == codes).all()
                operand[a:b] = codes << (0 if c.kind == "wide_stream" else k.k[s])
        if c.upsample:
            operand = operand.repeat(2, axis=1).repeat(2, axis=2)
        acc = brute_force_conv(operand[None], c.weight, c.stride, c.padding)[0]
        assert np.abs(acc).max() <= artifact.overflow[c.name]
        for o in range(len(acc)):
            expected = [
                big_integer_requantize(v, k.M[o], int(k.n[o]), k.b[o], c.out_width)
                for v in acc[o].flat
            ]
            assert c.output[o].flatten().tolist() == expected
        if step:
            return  # every layer once, then the first layer of the other steps


def test_capture_ends_with_what_the_network_returns(artifact):
    x_t = noise_q12(9, 1, 0, (1, 8, 8))
    network = ReferenceNetwork(artifact)
    assert (network.capture(1, x_t)[-1].output == network.eps(x_t[None], 1)[0]).all()
    assert (network.capture(1, x_t[None])[-1].output == network.eps(x_t[None], 1)[0]).all()


def test_batch_and_mixed_steps_change_nothing(artifact):
    network = IntegerNetwork(artifact)
    x = torch.from_numpy(np.stack([noise_q12(4, i, 0, (1, 8, 8)) for i in range(3)]))
    first = artifact.boundaries[0]
    steps = [0, first - 1, 0]
    together = network.eps(x, torch.tensor(steps))
    assert together.dtype == torch.int16
    for i in range(3):
        assert (network.eps(x[i : i + 1], steps[i])[0] == together[i]).all()
    with pytest.raises(ValueError, match="must belong to one timestep group"):
        network.eps(x, torch.tensor([0, first, 0]))
    with pytest.raises(ValueError, match="step must be in"):
        network.eps(x, STEPS)
    with pytest.raises(ValueError, match=r"x_t must be \(N, 1, 8, 8\)"):
        network.eps(x[:, :, :4], 0)


def test_layers_follow_the_float_network(artifact, sampler):
    """conv outputs of one step against the float layers, within what the formats allow."""
    unet = small_checkpoint().unet
    x_t = noise_q12(9, 0, -1, (1, 8, 8))
    outputs: dict[str, torch.Tensor] = {}
    handles = [
        unet.get_submodule(name).register_forward_hook(
            lambda _, inputs, out, name=name: outputs.__setitem__(name, out)
        )
        for name in artifact.layers
    ]
    with torch.no_grad():
        unet(torch.from_numpy(x_t[None] / np.float32(4096)), torch.tensor([sampler.timesteps[0]]))
        embedding = unet.embed(torch.tensor([sampler.timesteps[0]]))
    for handle in handles:
        handle.remove()
    for c in ReferenceNetwork(artifact).capture(0, x_t):
        spec = artifact.layers[c.name]
        if spec.output == "head":
            continue
        real = outputs[c.name][0].double()
        if real.ndim == 2:  # (L, C) -> (C, H, W)
            real = real.T.reshape(c.output.shape)
        if spec.time_projection:
            with torch.no_grad():
                real = real + unet.get_submodule(spec.time_projection)(embedding)[0][:, None, None]
        fraction = 12 if spec.output == "eps" else artifact.stream_fraction
        got = c.output / 2.0**fraction
        noise = np.square(real.numpy() - got).sum()
        db = 10 * np.log10(np.square(real.numpy()).sum() / noise)
        assert db > 17, c.name  # 8-bit edges and weights of a dozen channels


def test_bias_correction_removes_the_mean_error_of_every_channel(sampler):
    """On what it was measured on, nothing but the rounding of b and of each element is left."""
    artifact = calibrate(
        small_checkpoint(),
        Options(steps=STEPS, groups=GROUPS, seed=3, images=4, report_images=0, second_pass=False),
    )
    unet = small_checkpoint().unet
    x_all = run_float(unet, sampler, 3, range(4)).x
    real: dict[str, torch.Tensor] = {}
    means: dict[str, np.ndarray] = {}
    for step in range(STEPS):
        handles = [
            unet.get_submodule(name).register_forward_hook(
                lambda _, inputs, out, name=name: real.__setitem__(name, out.double())
            )
            for name, spec in artifact.layers.items()
            if spec.kernel == 3 or spec.source == "stream"
        ]
        timesteps = torch.full((4,), sampler.timesteps[step])
        with torch.no_grad():
            unet(torch.from_numpy(x_all[step] / np.float32(4096)), timesteps)
            embedding = unet.embed(timesteps[:1])
        for handle in handles:
            handle.remove()
        ReferenceNetwork(artifact)._run(
            x_all[step],
            step,
            lambda spec, source, codes, output: means.__setitem__(
                spec.name, output.mean(axis=(0, 2, 3))
            ),
        )
        assert len(real) > 15
        for name, output in real.items():
            spec = artifact.layers[name]
            target = output.mean(dim=(0, 2, 3))
            if spec.time_projection:
                with torch.no_grad():
                    target = target + unet.get_submodule(spec.time_projection)(embedding)[0]
            fraction = 12 if spec.output == "eps" else artifact.stream_fraction
            error = means[name] - target.numpy() * 2.0**fraction
            # b rounds by half an LSB at most; the elements' own rounding averages to well below
            assert np.abs(error).max() <= 0.5 + 0.1, name


def test_same_seed_same_bytes_and_another_seed_others(artifact):
    def again(seed):
        return calibrate(
            small_checkpoint(),
            Options(
                steps=STEPS,
                groups=GROUPS,
                seed=seed,
                images=4,
                report_images=2,
                wide=("conv_in", "conv_out"),
            ),
        )

    assert again(3).to_bytes() == artifact.to_bytes()
    assert again(4).to_bytes() != artifact.to_bytes()


def test_ddpm_one_group_and_group_per_step():
    for sampler, groups in (("ddpm", 1), ("ddim", 3)):
        artifact = calibrate(
            small_checkpoint(),
            Options(steps=3, sampler=sampler, groups=groups, images=2, report_images=0),
        )
        assert artifact.groups == groups
        assert artifact.sampler == sampler
        assert Artifact.from_bytes(artifact.to_bytes()).to_bytes() == artifact.to_bytes()


def test_statistics_cover_what_was_sampled(sampler):
    checkpoint = small_checkpoint()
    shares: list[float] = []
    statistics = collect(checkpoint.unet, sampler, 1, range(3), shares.append)
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    x = statistics.trajectories.x
    assert x.shape == statistics.trajectories.eps.shape == (STEPS, 3, 1, 8, 8)
    assert (x[0, 2] == noise_q12(1, 2, -1, (1, 8, 8))).all()
    peaks = np.abs(x.astype(int)).max(axis=(1, 2, 3, 4)) / 4096
    assert statistics.peaks["conv_in"][:, 0] == pytest.approx(peaks, abs=2**-12)
    assert (statistics.histograms["conv_norm_out"].sum(axis=1) == 3 * 8 * 64).all()
    assert not checkpoint.unet.conv_in._forward_hooks


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"groups": 6, "steps": 5}, r"groups: 6 is not possible with 5 steps"),
        ({"groups": 0}, r"groups: 0 is not possible"),
        ({"steps": 0}, r"steps = 0 is not supported"),
        ({"sampler": "heun"}, r"sampler 'heun' is not known"),
        ({"images": 0}, r"images: 0; allowed: 1 or more"),
        ({"budget": 1.5}, r"budget: 1.5; allowed: 0..1"),
        ({"rounding": "up"}, r"rounding: 'up'; allowed: output, nearest"),
        ({"wide": ("conv_mid",)}, r"wide edge conv_mid: no such layer"),
        ({"wide": ("mid_block.attentions.0.to_q",)}, r"wide edge .*to_q: not available"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(options, text):
    calls = []
    with pytest.raises(UserError, match=text):
        calibrate(small_checkpoint(), Options(**options), lambda *call: calls.append(call))
    assert not calls


def test_progress_names_stages_and_reaches_the_end():
    shares: dict[str, list[float]] = {}
    calibrate(
        small_checkpoint(),
        Options(steps=2, groups=2, images=2, report_images=1),
        lambda stage, share: shares.setdefault(stage, []).append(share),
    )
    assert list(shares) == [
        "trajectories",
        "sensitivity of the image",
        "bias of wide edges",
        "noise of each edge",
        "bias before rounding",
        "weights",
        "bias correction",
        "own trajectories",
        "second bias correction",
        "report trajectories",
        "report",
    ]
    assert all(values[-1] == 1.0 for values in shares.values())


def test_a_norm_parameter_out_of_range_is_refused():
    checkpoint = small_checkpoint()
    with torch.random.fork_rng():
        unet = type(checkpoint.unet)(checkpoint.config)
    unet.load_state_dict(checkpoint.unet.state_dict())
    unet.requires_grad_(False)
    unet.conv_norm_out.weight[3] = 17.0
    with pytest.raises(UserError, match=r"norm conv_norm_out: gamma is outside -16\.\.16"):
        calibrate(dataclasses.replace(checkpoint, unet=unet), Options(steps=2, groups=1, images=1))


def test_a_bias_out_of_range_is_refused():
    with pytest.raises(UserError, match="layer a: a bias of 40000 LSBs, over int16"):
        round_biases({"a": np.full((2, 1), 4e4)}, {"a": np.zeros((2, 1))})


def test_group_summary():
    rows = group_summary(np.array([1.0, 3.0, 5.0]), [(0, 2), (2, 3)])
    assert rows[0] == {
        "group": 0, "first_step": 0, "last_step": 1, "eps_sqnr_db_mean": 2.0,
        "eps_sqnr_db_min": 1.0,
    }  # fmt: skip
    assert rows[1]["first_step"] == 2
