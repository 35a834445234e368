"""Choice of the 12-bit edges, counts of multiplications, and sensitivity of the image."""

from typing import cast

import numpy as np
import pytest
import torch

from golden.calibration.calibrate import Options, calibrate
from golden.calibration.sensitivity import image_sensitivity
from golden.calibration.topology import layers, macs, norm_sizes
from golden.calibration.trajectories import Trajectories
from golden.calibration.wide import choose, extra_macs
from golden.network.presets import PRESETS
from golden.network.samplers import SchedulerConfig, make_sampler
from golden.network.unet import UNet
from tests.small_network import small_checkpoint


@pytest.mark.parametrize("name", [*PRESETS, "small"])
def test_macs_and_sizes_are_those_of_the_float_network(name):
    config = small_checkpoint().config if name == "small" else PRESETS[name]
    unet = UNet(config)
    counted: dict[str, int] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for layer in layers(config):

        def count(module, inputs, output, layer=layer):
            pixels = output.shape[2] * output.shape[3] if output.ndim == 4 else output.shape[1]
            counted[layer] = module.weight.numel() * pixels

        unet.get_submodule(layer).register_forward_hook(count)
    for norm in norm_sizes(config):

        def size(module, inputs, output, norm=norm):
            sizes[norm] = tuple(output.shape[2:])

        unet.get_submodule(norm).register_forward_hook(size)
    with torch.no_grad():
        unet(torch.zeros(1, config.in_channels, *config.sample_size), torch.zeros(1).long())
    assert macs(config) == counted
    assert norm_sizes(config) == sizes


def test_the_best_gain_for_each_multiplication_comes_first():
    floor = np.full(3, 1.0)
    noise = {"a": np.full(3, 8.0), "b": np.full(3, 4.0), "c": np.zeros(3), "d": np.full(3, 50.0)}
    counts = {"first": 5, "a": 20, "b": 5, "c": 1, "d": 900, "rest": 69}
    # b: log(63/59)/5 beats a: log(63/55)/20; c gains nothing; d never fits
    assert choose(floor, noise, counts, 0.03, ["first"]) == ["b", "a"]
    assert choose(floor, noise, counts, 0.012, ["first"]) == ["b"]
    assert choose(floor, noise, counts, 0.001, ["first"]) == []
    assert choose(floor, noise, counts, 1.0) == ["b", "a", "d"]
    assert extra_macs(counts, ("first", "b")) == pytest.approx(10 / 1000)


@pytest.mark.parametrize("budget", [0.0, 0.05, 1.0])
def test_the_budget_is_kept_and_used(budget):
    artifact = calibrate(
        small_checkpoint(), Options(steps=3, groups=1, images=2, report_images=0, budget=budget)
    )
    used = artifact.provenance["figures"]["extra_macs"]
    share = extra_macs(macs(artifact.config), ("conv_in",))
    assert used <= max(budget, share)
    assert "conv_in" in artifact.wide
    noise = artifact.provenance["figures"]["edge_noise"]
    if budget == 1.0:  # everything that gains fits
        assert {n for n, row in noise.items() if row["share"] > 0} <= set(artifact.wide)
    else:
        assert all(row["extra_macs"] <= budget for row in noise.values())


class Zero(torch.nn.Module):
    """A network that predicts no noise at all, whatever it sees."""

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, timestep):
        return torch.zeros_like(x)


def test_sensitivity_of_a_network_that_ignores_its_input():
    """Without clipping x' = b*x + d*eps: a disturbance is scaled by d, then by every later b."""
    sampler = make_sampler("ddim", SchedulerConfig(clip_sample=False), 8)
    eps = np.ones((8, 2, 1, 32, 32), dtype=np.float32)
    x = np.zeros(eps.shape, dtype=np.int16)
    found = image_sensitivity(cast(UNet, Zero()), sampler, Trajectories(x, eps), seed=3)
    gains = []
    for i, row in enumerate(sampler.table):
        gains.append((row.d * np.prod([later.b for later in sampler.table[i + 1 :]])) ** 2)
    assert found == pytest.approx(np.array(gains) / np.mean(gains), rel=1e-3)


def test_sensitivity_of_a_real_network_repeats():
    checkpoint = small_checkpoint()
    sampler = make_sampler("ddpm", checkpoint.scheduler, 4)
    rng = np.random.default_rng(0)
    trajectories = Trajectories(
        rng.integers(-4096, 4096, (4, 2, 1, 8, 8)).astype(np.int16),
        rng.normal(size=(4, 2, 1, 8, 8)).astype(np.float32),
    )
    shares: list[float] = []
    first, second = (
        image_sensitivity(checkpoint.unet, sampler, trajectories, 1, progress=shares.append)
        for _ in range(2)
    )
    assert (first == second).all()
    assert (first > 0).all()
    assert first.mean() == pytest.approx(1)
    assert shares[-1] == 1.0
