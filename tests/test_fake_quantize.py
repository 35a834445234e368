"""The fused kernel gives the values of the plain operations, on CUDA and interpreted on a CPU."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

COMPARE = """
import sys
import numpy as np
import torch
from golden.evaluation.fake_quantize import fake_quantize
from golden.evaluation.simulated import CODES, _Quantizer, _candidates
device = torch.device(sys.argv[1])
draw = torch.Generator().manual_seed(1)
for code in CODES:
    for shape, channels in (((2, 3, 4, 5), 1), ((2, 3, 4, 5), 3), ((2, 7, 3), 3), ((1, 40, 30), 1)):
        some = _candidates(code, 8)[20:60:20][:2]
        rows = np.array([[some[c % 2].numbers for c in range(channels)]])
        quantizer = _Quantizer(code, 8, rows, device)
        x = (2 * torch.randn(shape, generator=draw)).to(device)
        got = fake_quantize(x, code, 8, quantizer.numbers[0])
        assert torch.equal(got, quantizer.plain(x, 0)), (code, shape)
        assert got.unique().numel() > 4, code
"""


def _compare(device, environment):
    run = subprocess.run(
        [sys.executable, "-c", COMPARE, device],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(find_spec("triton") is None, reason="triton comes with torch for CUDA only")
def test_interpreted_kernel_equals_the_plain_operations():
    _compare("cpu", {"TRITON_INTERPRET": "1"})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_kernel_equals_the_plain_operations_on_cuda():
    _compare("cuda", {})
