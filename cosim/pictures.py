"""Pictures of what a network draws: float samples, and beside them those of an artifact.

Both start from the same noise. The quantized network sees x_t rounded to Q3.12 and returns eps in
Q3.12; the sampler between is float. ``psnr_db = 10 log10(4 / mean((float - quantized)**2))``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.calibration.artifact import Artifact
from golden.calibration.quantized_unet import QuantizedUNet
from golden.errors import UserError
from golden.network.checkpoint import Checkpoint
from golden.network.image import grid, to_bytes, write_png
from golden.network.samplers import Sampler, sample

__all__ = ["draw", "quantized_model", "write_samples"]

BATCH = 64
FRACTION_BITS = 12
Images = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]


def quantized_model(artifact: Artifact, sampler: Sampler) -> Callable[[Tensor, Tensor], Tensor]:
    """Return eps(x, timestep) of the artifact's integer convs; ``UserError`` on another sampler."""
    artifact.require(sampler=sampler.name, steps=sampler.steps)
    network = QuantizedUNet(artifact)
    step_of = {timestep: step for step, timestep in enumerate(sampler.timesteps)}
    one = 1 << FRACTION_BITS

    def model(x: Tensor, timestep: Tensor) -> Tensor:
        codes = np.floor(x.cpu().numpy().astype(np.float64) * one + 0.5)
        x_t = np.clip(codes, -32768, 32767).astype(np.int16)
        eps = network(x_t, step_of[int(timestep[0])])
        return torch.from_numpy(eps.astype(np.float32) / np.float32(one)).to(x.device)

    return model


def draw(
    model: Callable[[Tensor, Tensor], Tensor],
    sampler: Sampler,
    seed: int,
    count: int,
    shape: tuple[int, int, int],
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Sample images 0..count-1 of ``seed``, (count, *shape) float32, at most 64 at a time."""
    parts = []
    batches = [range(i, min(i + BATCH, count)) for i in range(0, count, BATCH)]
    for number, images in enumerate(batches):

        def observe(step: int, x: Tensor, eps: Tensor, number: int = number) -> None:
            if progress is not None:
                progress(number * sampler.steps + step + 1, len(batches) * sampler.steps)

        part = sample(model, sampler, seed, images, shape, device=device, observe=observe)
        parts.append(part.cpu().numpy())
    return np.concatenate(parts)


def write_samples(
    out: Path,
    checkpoint: Checkpoint,
    sampler: Sampler,
    artifact: Artifact | None = None,
    *,
    seed: int = 0,
    count: int = 16,
    device: torch.device | str = "cpu",
    scale: int = 4,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a PNG of ``count`` float images and, right of them, the artifact's; return figures.

    Figures: ``samples``, ``seed``, ``steps``, ``sampler``, ``checkpoint`` (sha256), ``out`` and
    ``psnr_db``, which is ``None`` without an artifact.
    """
    if artifact is not None and artifact.checkpoint_sha256 != checkpoint.sha256:
        was, now = artifact.checkpoint_sha256[:12], checkpoint.sha256[:12]
        raise UserError(f"artifact was made from checkpoint {was}..., not from this one ({now}...)")
    shape = (checkpoint.config.in_channels, *checkpoint.config.sample_size)
    models: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"float": checkpoint.unet.to(device)}
    if artifact is not None:
        models["quantized"] = quantized_model(artifact, sampler)
    images = {}
    for kind, model in models.items():

        def told(done: int, total: int, kind: str = kind) -> None:
            if progress is not None:
                progress(f"{kind} samples", done, total)

        images[kind] = draw(model, sampler, seed, count, shape, device=device, progress=told)
    sheets = [grid(to_bytes(part), min(8, count), scale, gap=2) for part in images.values()]
    gutter = np.full((sheets[0].shape[0], 4 * scale, sheets[0].shape[2]), 255, np.uint8)
    write_png(out, np.concatenate([x for sheet in sheets for x in (sheet, gutter)][:-1], axis=1))
    psnr = None
    if artifact is not None:
        error = float(np.mean(np.square(images["float"] - images["quantized"])))
        psnr = round(10 * float(np.log10(4 / max(error, 1e-12))), 2)
    return {
        "samples": count,
        "seed": seed,
        "steps": sampler.steps,
        "sampler": sampler.name,
        "checkpoint": checkpoint.sha256,
        "psnr_db": psnr,
        "out": str(out),
    }
