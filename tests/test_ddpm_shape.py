"""The network shape of the CIFAR-10 DDPM, 35.7 M parameters: loads, calibrates, takes a step."""

import json
import subprocess
import sys

import pytest

from golden.calibration.topology import macs
from golden.network.config import UNetConfig
from tests.test_coverage import CONFIG, INDEX, SCHEDULER

SECONDS_MAX, GIB_MAX = 600, 8  # six times and twice what two cores need
DECIBELS_MIN = 28  # 33.0 and 33.8 dB measured

MAKE = """
import json, sys, torch
from diffusers import UNet2DModel
torch.manual_seed(0)
options = json.loads(sys.argv[2])
UNet2DModel(**{k: v for k, v in options.items() if k[0] != "_"}).save_pretrained(sys.argv[1])
"""
RUN = """
import json, resource, sys, time
from pathlib import Path
import torch
torch.set_num_threads(2)
from golden.calibration.calibrate import Options, calibrate
from golden.calibration.trajectories import run_float
from golden.integer.network import IntegerNetwork
from golden.integer.reference import ReferenceNetwork
from golden.network.checkpoint import load_checkpoint

found, start, called, silence = {}, time.monotonic(), time.monotonic(), 0.0
def lap(name):
    global start
    found[name + "_seconds"] = round(time.monotonic() - start, 2)
    found[name + "_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    start = time.monotonic()
def progress(stage, share):
    global called, silence
    now = time.monotonic()
    called, silence = now, max(silence, now - called)
    if share == 1:
        print(stage, round(now - start, 1), file=sys.stderr, flush=True)

checkpoint = load_checkpoint(Path(sys.argv[1]))
found["parameters"] = sum(p.numel() for p in checkpoint.unet.parameters())
lap("load")
called = start
artifact = calibrate(checkpoint, Options(
    sampler="ddpm", steps=2, groups=2, images=1, report_images=1, wide=("conv_in", "conv_out"),
), progress)
lap("calibrate")
found["silence_seconds"] = round(silence, 2)
found["decibels"] = artifact.provenance["figures"]["eps_sqnr_db"]
found["bytes"] = len(artifact.to_bytes())
found["largest_sum"] = max(artifact.overflow.values())
lap("write")
network = IntegerNetwork(artifact)
x = network.start(7, range(1))
lap("build")
eps = network.eps(x, 0)
lap("step")
found["dtype"], found["shape"] = str(eps.dtype), list(eps.shape)
found["same"] = bool((eps.numpy() == ReferenceNetwork(artifact).eps(x.numpy(), 0)).all())
lap("reference")
timestep = artifact.provenance["timesteps"][0]
real = checkpoint.unet(x.float() / 4096, torch.tensor([timestep])).double()
noise = (eps.double() / 4096 - real).square().sum()
found["step_decibels"] = round(float(10 * torch.log10(real.square().sum() / noise)), 2)
print(json.dumps(found))
"""


def test_multiplications_of_one_step():
    assert sum(macs(UNetConfig.from_dict(CONFIG)).values()) == pytest.approx(6.2e9, rel=0.05)


@pytest.mark.long
def test_loads_calibrates_and_takes_an_integer_step(tmp_path):
    """In processes of their own, so that the peak of memory is theirs."""
    for name, options in (
        ("unet/config.json", CONFIG),
        ("scheduler/scheduler_config.json", SCHEDULER),
        ("model_index.json", INDEX),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(options))
    make = [sys.executable, "-c", MAKE, str(tmp_path / "unet"), json.dumps(CONFIG)]
    subprocess.run(make, check=True, capture_output=True, timeout=120)
    (tmp_path / "unet" / "config.json").write_text(json.dumps(CONFIG))  # as it was in 2022
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX + 120,
    )
    # an OverflowError, of a sum that no float type carries, would end here too
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found, done.stderr)
    assert found["parameters"] == 35_746_307
    assert found["dtype"] == "torch.int16"
    assert found["shape"] == [1, 3, 32, 32]
    assert found["same"]  # whatever float carried the sums, they are the plain model's
    assert found["largest_sum"] < 1 << 31
    assert min(*found["decibels"], found["step_decibels"]) > DECIBELS_MIN
    assert found["calibrate_seconds"] < SECONDS_MAX
    assert found["silence_seconds"] < 60
    assert found["step_seconds"] < 20
    assert max(value for key, value in found.items() if key.endswith("_gib")) < GIB_MAX
