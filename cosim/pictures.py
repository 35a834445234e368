"""Pictures of what a network draws: float samples, and beside them those of the integer model.

Both start from the same noise; the integer model is integers from noise to byte.
``psnr_db = 10 log10(4 / mean((float - integer)**2))`` over all images.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.calibration.artifact import Artifact
from golden.errors import UserError
from golden.evaluation import shards
from golden.evaluation.worker_pool import pool
from golden.integer.network import IntegerNetwork
from golden.network.checkpoint import Checkpoint
from golden.network.image import grid, to_bytes, write_png
from golden.network.samplers import Sampler, sample
from golden.sampler import image_byte

__all__ = ["Spread", "draw", "draw_integer", "write_image", "write_samples"]

BATCH = 64
X_FRACTION = 12
Images = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Spread:
    """Files that every worker reads, and the workers, as for ``golden.evaluation.shards.draw``."""

    checkpoint: Path
    artifact: Path | None = None
    workers: int | None = None
    scheduler: str | None = None


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


def draw_integer(
    artifact: Artifact,
    seed: int,
    count: int,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.int16]:
    """Sample images 0..count-1 of ``seed`` in integers, (count, C, H, W) int16 Q3.12."""
    network = IntegerNetwork(artifact, device)
    parts = []
    batches = [range(i, min(i + BATCH, count)) for i in range(0, count, BATCH)]
    for number, images in enumerate(batches):

        def told(share: float, number: int = number) -> None:
            if progress is not None:
                steps = artifact.steps
                progress(number * steps + round(share * steps), len(batches) * steps)

        parts.append(network.sample(seed, images, told))
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
    spread: Spread | None = None,
) -> dict[str, Any]:
    """Write a PNG of ``count`` float images and, right of them, the artifact's; return figures.

    ``spread``: draw in shards from the files that ``checkpoint`` and ``artifact`` came from.
    Figures: ``samples``, ``seed``, ``steps``, ``sampler``, ``checkpoint`` (sha256), ``out`` and
    ``psnr_db``, which is ``None`` without an artifact.
    """
    if artifact is not None and artifact.checkpoint_sha256 != checkpoint.sha256:
        was, now = artifact.checkpoint_sha256[:12], checkpoint.sha256[:12]
        raise UserError(f"artifact was made from checkpoint {was}..., not from this one ({now}...)")
    if artifact is not None:
        artifact.require(sampler=sampler.name, steps=sampler.steps)
    shape = (checkpoint.config.in_channels, *checkpoint.config.sample_size)

    def told(kind: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(kind, done, total) if progress is not None else None

    codes = None
    if spread is None:
        model = checkpoint.unet.to(device)
        real = draw(
            model, sampler, seed, count, shape, device=device, progress=told("float samples")
        )
        if artifact is not None:
            codes = draw_integer(
                artifact, seed, count, device=device, progress=told("integer samples")
            )
    else:
        jobs: list[tuple[str, shards.Source]] = [
            (
                "float samples",
                shards.FloatSource(
                    spread.checkpoint, sampler.name, sampler.steps, checkpoint.sha256
                ),
            )
        ]
        if spread.artifact is not None:
            jobs.append(
                ("integer samples", shards.IntegerSource(spread.artifact, checkpoint.sha256))
            )
        found = []
        with pool(shards.useful(count, device, spread.workers), spread.scheduler, device) as using:
            for kind, source in jobs:
                found.append(
                    shards.draw(
                        source, seed, range(count), device=device, progress=told(kind), using=using
                    ).x0
                )
        real, codes = found[0], found[1] if found[1:] else None
    pictures = [to_bytes(real)]
    psnr = None
    if codes is not None:
        pictures.append(image_byte(codes))
        error = float(np.mean(np.square(real - codes / np.float32(1 << X_FRACTION))))
        psnr = round(10 * float(np.log10(4 / max(error, 1e-12))), 2)
    sheets = [grid(part, min(8, count), scale, gap=2) for part in pictures]
    gutter = np.full((sheets[0].shape[0], 4 * scale, sheets[0].shape[2]), 255, np.uint8)
    write_png(out, np.concatenate([x for sheet in sheets for x in (sheet, gutter)][:-1], axis=1))
    return {
        "samples": count,
        "seed": seed,
        "steps": sampler.steps,
        "sampler": sampler.name,
        "checkpoint": checkpoint.sha256,
        "psnr_db": psnr,
        "out": str(out),
    }


def write_image(
    out: Path,
    checkpoint: Checkpoint,
    sampler: Sampler,
    image: npt.NDArray[np.int16],
    *,
    seed: int,
    scale: int = 8,
    progress: Progress | None = None,
) -> float:
    """Write a PNG: the float image 0 of ``seed``, and right of it ``image`` (C, H, W), bytes.

    Return the PSNR between them in dB.
    """
    shape = (checkpoint.config.in_channels, *checkpoint.config.sample_size)

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress("float image", done, total)

    wanted = draw(checkpoint.unet, sampler, seed, 1, shape, progress=told)
    pair = np.stack([to_bytes(wanted)[0], image.astype(np.uint8)])
    write_png(out, grid(pair, 2, scale, gap=2 * scale))
    reals = image.astype(np.float64) / 127.5 - 1
    error = float(np.mean((np.clip(wanted[0], -1, 1) - reals) ** 2))
    return 10 * math.log10(4 / error) if error else math.inf
