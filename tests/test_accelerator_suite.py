"""Suites unet and image: the embedded network on the whole accelerator, every written word."""

import json

import numpy as np
import pytest

from cosim import cli
from cosim.accelerator_suite import accelerator_tasks
from cosim.bench import emit_verilog
from cosim.toolchain import lint
from golden.accelerator.configuration import SIZES
from golden.accelerator.synthetic import synthetic_artifact
from golden.calibration.artifact import embedded_artifact
from golden.network.config import UNetConfig


@pytest.mark.cosim
def test_a_step_of_the_embedded_network(tmp_path, capsys):
    report = tmp_path / "report.json"
    assert cli.run(["cosim", "--suite", "unet", "--json", str(report)]) == 0, capsys.readouterr()
    found = json.loads(report.read_text())
    assert found["passed"]
    assert [item["mismatches"] for item in found["items"]] == [0, 0]
    assert [item["beats"] for item in found["items"]] == [30848, 30848]


@pytest.mark.cosim
@pytest.mark.long
def test_an_image_of_the_embedded_network(tmp_path):
    """Every step of its reference noise, to the bytes that golden gives."""
    file = tmp_path / "image.npy"
    (task,) = accelerator_tasks("image", artifact=None, size=16, seed=1, rtl=None, image=file)
    assert len(task.steps) == embedded_artifact().steps
    (case,) = task.run(False, 3).cases
    assert case.mismatch_count == 0
    assert case.beats > 1_000_000
    image = np.load(file)
    assert image.shape == (1, 16, 16)
    assert image.min() >= 0
    assert image.max() > 100


@pytest.mark.cosim
@pytest.mark.long
def test_residual_blocks_of_the_ddpm_shape(tmp_path):
    """The first level of the CIFAR-10 DDPM: 128 channels, 32 x 32, attention over 1,024 keys."""
    config = UNetConfig(
        sample_size=(32, 32),
        block_out_channels=(128,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        attention_head_dim=None,
    )
    artifact = tmp_path / "artifact.safetensors"
    synthetic_artifact(config, ("conv_in", "conv_out")).save(artifact)
    task, _ = accelerator_tasks("unet", artifact=artifact, size=16, seed=1, rtl=None)
    (case,) = task.run(False, 3).cases
    assert case.mismatch_count == 0
    assert case.beats == 449_536


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_generated_and_clean(size, tmp_path):
    emit_verilog("accelerator", {"size": size}, tmp_path)
    assert lint(tmp_path, "accelerator") == []
