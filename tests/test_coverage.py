"""Shapes of real checkpoints, small: float as diffusers, integers the same twice."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from golden.calibration.calibrate import Options, calibrate
from golden.calibration.topology import layers
from golden.calibration.wide import can_be_wide
from golden.errors import UserError
from golden.integer.network import IntegerNetwork
from golden.integer.reference import ReferenceNetwork
from golden.network.checkpoint import Checkpoint, load_checkpoint
from golden.network.config import UNetConfig
from golden.network.samplers import SchedulerConfig
from golden.network.unet import UNet

torch.set_num_threads(1)

# diffusers imports torch's deprecated script decorators, and warns about them
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

# as published with google/ddpm-cifar10-32
CONFIG: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.1.1",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_large",
}
INDEX = {
    "_class_name": "DDPMPipeline",
    "_diffusers_version": "0.1.1",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}
BASE: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [8, 12],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": None,
    "norm_num_groups": 4,
}
THREE_LEVELS = {
    "block_out_channels": [8, 8, 12],
    "down_block_types": ["AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "AttnUpBlock2D"],
}
DDPM: dict[str, Any] = {"sampler": "ddpm"}
MILD = {"beta_end": 0.002}  # without a clip, x_t of an untrained network stays below 8
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "3 channels, padding 0": ({"downsample_padding": 0}, {}, {}),
    "4 channels, padding 1": ({"in_channels": 4, "out_channels": 4}, {}, {}),
    "2 channels, not square": ({"in_channels": 2, "out_channels": 2, "sample_size": [8, 16]}, {},
                               {}),
    "heads": ({"attention_head_dim": 4}, {}, {}),
    "3 levels, attention at 2, padding 0": ({**THREE_LEVELS, "downsample_padding": 0}, {}, {}),
    "2 layers a block": ({"layers_per_block": 2}, {}, {}),
    "time embedding as in 2020": ({"flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6},
                                  {}, {}),
    "DDPM, fixed_large": ({}, {"variance_type": "fixed_large"}, DDPM),
    "DDIM, no clip": ({}, {"clip_sample": False}, {}),
    "DDPM, no clip": ({}, {"clip_sample": False}, DDPM),
}  # fmt: skip


def random_checkpoint(options, scheduler):
    config = UNetConfig.from_dict({**BASE, **options})
    with torch.random.fork_rng():
        torch.manual_seed(9)
        unet = UNet(config)
        for module in unet.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, torch.nn.GroupNorm):
                torch.nn.init.uniform_(module.weight, 0.7, 1.3)
                torch.nn.init.normal_(module.bias, std=0.1)
        unet.conv_out.weight.data.mul_(0.3)
    unet.eval().requires_grad_(False)
    return Checkpoint(config, SchedulerConfig.from_dict({**MILD, **scheduler}), unet, "cd" * 32)


def calibrated(checkpoint, options, wide, rounding):
    """Ranges of 16 images: those of 2, of 8x8 pixels, clip five times as much, up to 12 dB."""
    return calibrate(
        checkpoint,
        Options(steps=3, groups=2, images=16, report_images=4, wide=wide, weighted_groups=False,
                second_pass=False, rounding=rounding, **options),
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_integers_end_to_end(name):
    network, scheduler, options = CASES[name]
    checkpoint = random_checkpoint(network, scheduler)
    artifact = calibrated(checkpoint, options, ("conv_in", "conv_out"), "nearest")
    decibels = artifact.provenance["figures"]["eps_sqnr_db_min"]
    assert decibels > 20, decibels  # 22.3 to 28.7 measured, untrained networks of 8 to 12 channels
    fast, plain = IntegerNetwork(artifact), ReferenceNetwork(artifact)
    rng = np.random.default_rng(4)
    shape = (2, checkpoint.config.in_channels, *checkpoint.config.sample_size)
    x = rng.integers(-32768, 32768, shape).astype(np.int16)
    for step in range(3):
        assert (fast.eps(torch.from_numpy(x), step).numpy() == plain.eps(x, step)).all()
    images = range(5, 7)
    result = plain.sample(11, images)
    assert (fast.sample(11, images) == result).all()
    assert result.std() > 0


@pytest.mark.parametrize("name", ["heads", "3 levels, attention at 2, padding 0",
                                  "2 layers a block"])  # fmt: skip
def test_12_bit_inputs_everywhere(name):
    """What 8-bit inputs lose is the inputs' and not a fault of the shape."""
    network, scheduler, options = CASES[name]
    checkpoint = random_checkpoint(network, scheduler)
    wide = tuple(n for n, spec in layers(checkpoint.config).items() if can_be_wide(spec))
    decibels = calibrated(checkpoint, options, wide, "output").provenance["figures"]["eps_sqnr_db"]
    # 26.7 to 37.4 measured
    assert min(decibels) > 25, decibels
    assert sum(decibels) / len(decibels) > 28, decibels


@pytest.mark.parametrize("name", CASES)
def test_float_equals_diffusers(name):
    from diffusers import UNet2DModel

    checkpoint = random_checkpoint(*CASES[name][:2])
    oracle: Any = UNet2DModel(**{**BASE, **CASES[name][0]})
    oracle.eval()
    oracle.load_state_dict(checkpoint.unet.state_dict())
    x = torch.randn(2, checkpoint.config.in_channels, *checkpoint.config.sample_size,
                    generator=torch.manual_seed(1))  # fmt: skip
    t = torch.tensor([3, 700])
    with torch.no_grad():
        expected = oracle(x, t).sample
        assert (checkpoint.unet(x, t) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_pipeline_as_diffusers_writes_it(tmp_path, safe):
    """Folder and option names of google/ddpm-cifar10-32, fewer channels."""
    from diffusers import UNet2DModel

    options = {**CONFIG, "block_out_channels": [8, 12, 12, 12], "norm_num_groups": 4}
    oracle: Any = UNet2DModel(**{k: v for k, v in options.items() if k[0] != "_"})
    oracle.eval()
    oracle.save_pretrained(tmp_path / "unet", safe_serialization=safe)
    (tmp_path / "scheduler").mkdir()
    for name, content in (
        ("unet/config.json", options),
        ("scheduler/scheduler_config.json", SCHEDULER),
        ("model_index.json", INDEX),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    loaded = load_checkpoint(tmp_path)
    assert loaded.scheduler.variance_type == "fixed_large"
    assert loaded.config.downsample_padding == 0
    x = torch.randn(1, 3, 32, 32, generator=torch.manual_seed(2))
    with torch.no_grad():
        expected = oracle(x, torch.tensor([500])).sample
        found = loaded.unet(x, torch.tensor([500]))
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("size", [4, 7, 72, 128, [8, 72], [4, 8]])
def test_sizes_outside_8_to_64_are_refused(size):
    with pytest.raises(UserError, match=r"sample_size = \d+ is not supported; .* 8\.\.64"):
        UNetConfig.from_dict({**BASE, "sample_size": size})


@pytest.mark.parametrize("size", [8, 64, [64, 8]])
def test_sizes_from_8_to_64_are_taken(size):
    UNetConfig.from_dict({**BASE, "sample_size": size})


def test_channels_that_differ_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**BASE, "out_channels": 2}))
    with pytest.raises(UserError, match=r"out_channels = 2 .*; allowed: in_channels, 3"):
        load_checkpoint(tmp_path)
