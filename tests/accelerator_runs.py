"""Running compiled programs from their bytes, and what the network says they must give."""

from functools import cache

import numpy as np

from cosim.accelerator_run.golden_run import data_region
from golden.accelerator.configuration import AcceleratorConfig
from golden.accelerator.executor import Executor
from golden.accelerator.synthetic import synthetic_artifact
from golden.integer.reference import ReferenceNetwork
from golden.network.config import UNetConfig
from golden.network.samplers import START, noise_q12
from golden.sampler import sampler_step

SEED = 5
ROOMY = AcceleratorConfig(size=8, code_words=8192)


@cache
def several_heads():
    """Heads smaller than a chunk, two concatenations that end inside one, noise, three channels."""
    config = UNetConfig(
        sample_size=(8, 12),
        block_out_channels=(12, 20),
        down_block_types=("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    wide = ("conv_in", "conv_out", "up_blocks.1.resnets.0.conv_shortcut")
    return synthetic_artifact(config, wide, steps=2, groups=2)


def words(x, size):
    """Bytes of x (C, H, W) in the data region."""
    lanes = np.zeros((x[0].size, size), "<i2")
    lanes[:, : len(x)] = x.reshape(len(x), -1).T
    return lanes.tobytes()


def filled_data(program, artifact):
    """The data region before a run: start noise, and that of the steps."""
    return bytearray(data_region(program, artifact, SEED))


def run(program, artifact, steps, observer=None):
    """Run a range of steps of the encoded program; return the data region."""
    data = filled_data(program, artifact)
    Executor(program.header.config, program.regions, data, observer).run(steps)
    return data


def reference_x(artifact, steps):
    """X (C, H, W) after some steps, from the reference network."""
    network = ReferenceNetwork(artifact)
    shape = (artifact.config.in_channels, *artifact.config.sample_size)
    x = noise_q12(SEED, 0, START, shape)[None].astype(np.int64)
    for step in range(steps):
        coefficients = artifact.tensors["sampler.coefficients"][step]
        noise = noise_q12(SEED, 0, step, shape)[None] if coefficients[5] else 0
        reach = int(artifact.tensors["sampler.reach"][0])
        x = sampler_step(x, network.eps(x, step), coefficients, reach, noise)
    return x[0]
