"""A network of a few thousand random weights with every kind of edge, and its artifact."""

from functools import cache

import torch

from golden.calibration.artifact import Artifact
from golden.calibration.calibrate import Options, calibrate
from golden.network.checkpoint import Checkpoint
from golden.network.config import UNetConfig
from golden.network.samplers import SchedulerConfig
from golden.network.unet import UNet

STEPS, GROUPS = 5, 2
torch.set_num_threads(1)  # test files run side by side


@cache
def small_checkpoint() -> Checkpoint:
    config = UNetConfig(
        sample_size=(8, 8),
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 12),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=None,
        norm_num_groups=4,
        downsample_padding=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        unet = UNet(config)
        for module in unet.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
                module.bias = torch.nn.Parameter(0.1 * torch.randn(module.out_channels))
            elif isinstance(module, torch.nn.GroupNorm):
                torch.nn.init.uniform_(module.weight, 0.7, 1.3)
                torch.nn.init.normal_(module.bias, std=0.1)
    unet.eval().requires_grad_(False)
    return Checkpoint(config, SchedulerConfig(), unet, "ab" * 32)


@cache
def small_artifact() -> Artifact:
    return calibrate(
        small_checkpoint(),
        Options(
            steps=STEPS,
            groups=GROUPS,
            seed=3,
            images=4,
            report_images=2,
            wide=("conv_in", "conv_out"),
        ),
    )
