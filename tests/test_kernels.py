"""The fused steps, on a CPU and on CUDA, give the integers of the plain network."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from golden.errors import UserError
from golden.group_norm import group_norm
from golden.integer import native, operations
from golden.integer.network import IntegerNetwork
from tests.small_network import STEPS, small_artifact

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


@pytest.fixture
def limits():
    x = IntegerNetwork(small_artifact()).start(1, range(5))
    x[0, 0, 0, :4] = torch.tensor([-32768, 32767, -1, 0])
    x[1] = 32767
    return x


def test_native_steps_equal_the_plain_network(limits):
    plain, fused = (IntegerNetwork(small_artifact(), kernels=k) for k in (False, True))
    assert fused.kernels and not plain.kernels
    for step in range(STEPS):
        assert (plain.eps(limits, step) == fused.eps(limits, step)).all(), step
    steps = torch.tensor([1, 3, 2, 4, 1])  # one group, each image its own bias
    assert (plain.eps(limits, steps) == fused.eps(limits, steps)).all()


@pytest.mark.parametrize("what", ["norm", "product", "attention"])
def test_native_steps_leave_what_they_cannot_do(what, limits, monkeypatch):
    """int64 in the norm, products that need float64, sums of attention beyond 2**24."""
    plain, fused = (IntegerNetwork(small_artifact(), kernels=k) for k in (False, True))
    if what == "norm":
        monkeypatch.setattr(
            fused, "_norms", {k: (*values[:3], False) for k, values in fused._norms.items()}
        )
    elif what == "product":
        monkeypatch.setattr(native.NativeLayer, "can_run", False)
    else:
        monkeypatch.setattr(native, "attends", lambda length, depth: False)
    assert (plain.eps(limits, 2) == fused.eps(limits, 2)).all()


def test_native_norm_at_its_corners():
    """Spread from 0 to the largest, gamma 0 and extreme, against the block's own function."""
    rng = np.random.default_rng(0)
    seeds, _ = operations.tables(torch.device("cpu"))
    table = torch.arange(4096, dtype=torch.float32)
    for spread in (0, 1, 300, 40000):
        x = np.clip(rng.normal(9, spread, (2, 12, 5, 6)), -32768, 32767).astype(np.int16)
        gamma, beta = rng.integers(-32768, 32768, (2, 12))
        gamma[:3] = 0, 32767, -32768
        expected = group_norm(x, gamma, beta, 3, 1000) + 2048
        g, b = torch.tensor(gamma), torch.tensor(beta)
        rows = torch.from_numpy(x.transpose(0, 2, 3, 1).copy())
        for floats in (True, False):
            got = native.group_norm(rows, g, b, 3, torch.tensor([1000]), seeds, floats, table)
            assert (got.numpy().transpose(0, 3, 1, 2) == expected).all(), (spread, floats)


def test_without_a_compiler_the_plain_operations_run(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    native._library.cache_clear()
    try:
        assert not IntegerNetwork(small_artifact()).kernels
        message = "kernels: none for cpu; CUDA needs triton, a CPU needs g\\+\\+"
        with pytest.raises(UserError, match=message):
            IntegerNetwork(small_artifact(), kernels=True)
    finally:
        monkeypatch.undo()
        native._library.cache_clear()
