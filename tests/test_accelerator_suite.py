"""Suites unet and image: the embedded network on the whole accelerator, every written word."""

import json

import numpy as np
import pytest

from cosim import cli
from cosim.accelerator_suite import accelerator_tasks
from golden.calibration.artifact import embedded_artifact


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
    assert case.mismatches == 0
    assert case.beats > 1_000_000
    image = np.load(file)
    assert image.shape == (1, 16, 16)
    assert image.min() >= 0
    assert image.max() > 100
