"""Images per second of the integer network beside the float one, on the same device.

``images_per_second = batch / (steps * median(seconds of a step))``; repetitions of the two take
turns, so that a busy machine slows both. The float network runs in the faster of two memory
layouts. The ceiling is what the device's float32 matrix product would give if the convs were one of
it: ``rate / (steps * MACs)``.
"""

import platform
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from golden.calibration.artifact import Artifact
from golden.calibration.topology import macs
from golden.errors import UserError
from golden.integer.network import IntegerNetwork
from golden.network.checkpoint import Checkpoint
from golden.network.samplers import Sampler, make_sampler, noise

__all__ = ["device_name", "golden_speed", "matmul_rate"]

BATCH_TOP = {"cpu": 256, "cuda": 4096}
MATRIX = {"cpu": 1024, "cuda": 8192}
SEARCH_REPEATS = 3
LAYOUTS = {"float32": torch.contiguous_format, "float32, channels last": torch.channels_last}
Progress = Callable[[str, int, int], None]
Step = Callable[[int, int], None]


@dataclass(frozen=True)
class _Timer:
    device: torch.device

    def seconds(self, work: Callable[[], Any]) -> float:
        """Wall time of ``work``, the device's queue included."""
        self._settle()
        started = time.perf_counter()
        work()
        self._settle()
        return time.perf_counter() - started

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def device_name(device: torch.device) -> str:
    """Name of the CUDA device or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def matmul_rate(device: torch.device, repeats: int = 5) -> float:
    """Multiplications per second of a float32 matrix product without TF32: best of ``repeats``."""
    size = MATRIX[device.type]
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        torch.mm(a, b)
        taken = min(_Timer(device).seconds(lambda: torch.mm(a, b)) for _ in range(repeats))
    finally:
        torch.set_float32_matmul_precision(before)
    return size**3 / taken


def _float_step(
    checkpoint: Checkpoint, sampler: Sampler, device: torch.device, layout: torch.memory_format
) -> Step:
    model = deepcopy(checkpoint.unet).to(device)
    model.to(memory_format=layout)  # type: ignore[call-overload]  # not in the stub
    shape = (checkpoint.config.in_channels, *checkpoint.config.sample_size)
    starts: dict[int, torch.Tensor] = {}

    @torch.no_grad()
    def step(batch: int, i: int) -> None:
        if batch not in starts:
            starts.clear()
            starts[batch] = noise(0, range(batch), -1, shape).to(device, memory_format=layout)
        x = starts[batch]
        t = torch.full((batch,), sampler.timesteps[i], dtype=torch.int64, device=device)
        fresh = noise(0, range(batch), i, shape).to(device) if sampler.table[i].c else None
        sampler.step(i, x, model(x, t), fresh)

    return step


def _integer_step(network: IntegerNetwork) -> Step:
    starts: dict[int, torch.Tensor] = {}

    def step(batch: int, i: int) -> None:
        if batch not in starts:
            starts.clear()
            starts[batch] = network.start(0, range(batch))
        network.step(starts[batch], i, 0, range(batch))

    return step


def _best_batch(step: Step, steps: int, timer: _Timer, top: int) -> tuple[int, float]:
    """The batch of most images a second among 1, 2, 4..., and images a second of one step.

    Ends after two that are no better.
    """
    best, best_rate, batch, worse = 1, 0.0, 1, 0
    while batch <= top and worse < 2:
        try:
            step(batch, steps // 2)
            taken = [
                timer.seconds(lambda: step(batch, steps // 2))  # noqa: B023 - called at once
                for _ in range(SEARCH_REPEATS)
            ]
        except torch.OutOfMemoryError:
            break
        rate = batch / median(taken)
        worse = 0 if rate > best_rate else worse + 1
        if rate > best_rate:
            best, best_rate = batch, rate
        batch *= 2
    return best, best_rate


def golden_speed(
    checkpoint: Checkpoint,
    artifact: Artifact,
    device: torch.device | str,
    *,
    repeats: int = 15,
    batch_top: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time both networks; figures as ``stepscale bench`` writes them below ``golden``.

    ``batch_top``: largest batch tried, 256 on a CPU and 4096 on CUDA if None. ``UserError`` if the
    artifact is of another checkpoint, or ``repeats`` is below 3.
    """
    if not 3 <= repeats <= 1000:
        raise UserError(f"repeats = {repeats} is not allowed; allowed: an integer in 3..1000")
    if artifact.checkpoint_sha256 != checkpoint.sha256:
        was, now = artifact.checkpoint_sha256[:12], checkpoint.sha256[:12]
        raise UserError(f"artifact was made from checkpoint {was}..., not from this one ({now}...)")
    target = torch.device(device)
    timer, top = _Timer(target), batch_top or BATCH_TOP[target.type]
    sampler = make_sampler(artifact.sampler, checkpoint.scheduler, artifact.steps)
    network = IntegerNetwork(artifact, target)
    steps = {"integer": _integer_step(network)} | {
        name: _float_step(checkpoint, sampler, target, layout) for name, layout in LAYOUTS.items()
    }
    found = {}
    for what, step in steps.items():
        if progress is not None:
            progress(f"batch of the {what} network", 0, 1)
        found[what] = _best_batch(step, artifact.steps, timer, top)
    faster = max(LAYOUTS, key=lambda name: found[name][1])
    both = steps["integer"], steps[faster]
    batches = found["integer"][0], found[faster][0]
    taken: tuple[list[float], list[float]] = ([], [])
    for r in range(repeats):
        i = r * artifact.steps // repeats
        for step, batch, times in zip(both, batches, taken, strict=True):
            step(batch, i)  # the other network has emptied the caches
            times.append(timer.seconds(lambda: step(batch, i)))  # noqa: B023 - called at once
        if progress is not None:
            progress("steps of both networks in turn", r + 1, repeats)
    integer, real = (
        batch / (artifact.steps * median(times))
        for batch, times in zip(batches, taken, strict=True)
    )
    work = sum(macs(checkpoint.config).values())
    rate = matmul_rate(target)
    ceiling = rate / (artifact.steps * work)
    return {
        "images_per_second": integer,
        "ratio_to_float32": integer / real,
        "batch": batches[0],
        "float32": {"images_per_second": real, "batch": batches[1], "layout": faster},
        "ceiling": {
            "images_per_second": ceiling,
            "share": integer / ceiling,
            "float32_gmacs_per_second": rate / 1e9,
            "conv_gmacs_per_image_step": work / 1e9,
        },
        "device": target.type,
        "device_name": device_name(target),
        "threads": torch.get_num_threads(),
        "sampler": artifact.sampler,
        "steps": artifact.steps,
        "repeats": repeats,
        "kernels": network.kernels,
    }
