"""The CUDA kernels give the integers of the plain network: on CUDA, or interpreted on a CPU."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from golden.errors import UserError
from golden.integer.network import IntegerNetwork
from tests.small_network import small_artifact

NO_TRITON = find_spec("triton") is None
ON_CUDA = torch.cuda.is_available()
COMPARE = """
import sys
import torch
from golden.integer.network import IntegerNetwork
from tests.small_network import STEPS, small_artifact
device = sys.argv[1]
plain = IntegerNetwork(small_artifact(), device, kernels=False)
fused = IntegerNetwork(small_artifact(), device, kernels=True)
assert fused.kernels and not plain.kernels
x = plain.start(1, range(3))
x[0, 0, 0, :4] = torch.tensor([-32768, 32767, -1, 0])
for step in (0, STEPS - 1):
    assert (plain.eps(x, step) == fused.eps(x, step)).all(), step
steps = torch.tensor([1, 3, 2])  # one group, each image its own bias
assert {plain.artifact.group(int(step)) for step in steps} == {1}
assert (plain.eps(x, steps) == fused.eps(x, steps)).all()
"""


@pytest.mark.long
@pytest.mark.skipif(NO_TRITON, reason="the kernels need triton, which torch brings with CUDA")
def test_interpreted_kernels_equal_the_plain_network():
    run = subprocess.run(
        [sys.executable, "-c", COMPARE, "cpu"],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(NO_TRITON or not ON_CUDA, reason="no CUDA device here")
def test_a_trajectory_on_cuda_equals_that_on_the_cpu():
    artifact = small_artifact()
    on_cuda = IntegerNetwork(artifact, "cuda").sample(11, range(3, 6))
    assert (on_cuda == IntegerNetwork(artifact, "cpu").sample(11, range(3, 6))).all()
    assert on_cuda.dtype == np.int16


@pytest.mark.skipif(ON_CUDA and not NO_TRITON, reason="here they can run")
def test_kernels_are_refused_where_they_cannot_run():
    with pytest.raises(UserError, match="kernels: not to be had on cpu; they need CUDA and triton"):
        IntegerNetwork(small_artifact(), kernels=True)
    assert not IntegerNetwork(small_artifact()).kernels
