"""The trained network that comes with the package, at ten steps: what eight bits leave of eps."""

import numpy as np
import pytest
import torch

from golden.calibration.artifact import Artifact
from golden.calibration.calibrate import Options, calibrate
from golden.network.checkpoint import embedded_checkpoint

torch.set_num_threads(1)  # test files run side by side


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return calibrate(embedded_checkpoint(), Options(steps=10, groups=4, images=4, report_images=2))


def test_eps_is_within_a_thirtieth_of_its_amplitude(artifact):
    figures = artifact.provenance["figures"]
    # the last step sees noise of sigma 0.01 under an image of amplitude 1: weights of 8 bits
    # leave it 24 dB at most, and it moves the image by 0.01 at most
    assert np.mean(figures["eps_sqnr_db"][:-1]) > 33
    assert figures["eps_sqnr_db_mean"] > 30
    assert figures["eps_sqnr_db_min"] > 12


def test_dynamic_programming_is_no_worse_than_uniform_groups(artifact):
    figures = artifact.provenance["figures"]
    assert figures["group_error"] <= figures["group_error_uniform"]


def test_nothing_can_overflow(artifact):
    assert max(artifact.overflow.values()) < 1 << 31
    assert artifact.stream_fraction == 9  # Q6.9, as the numeric contract has it


def test_region_codes_use_two_regions(artifact):
    for name in artifact.layers:
        if artifact.kind(name) == "region":
            z, k = (artifact.tensors[f"{name}.silu.{key}"] for key in ("z", "k"))
            assert (z < 112).all()
            assert (k >= 1).all()
