"""Sampling spread over workers by seed range: the same bytes however many there are.

Shard i of a range holds its images ``i * size .. (i + 1) * size - 1``, where ``size`` depends on
nothing but the caller. A shard is a task of Dask distributed that reads the model's file itself;
one whose worker dies is drawn again elsewhere, and results are put together by image index. On a
CPU each float shard runs on one thread: float sums depend on the number of threads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from golden.calibration.artifact import Artifact
from golden.errors import UserError
from golden.evaluation.worker_pool import WorkerPool, finished, pool, worker_count
from golden.integer.network import IntegerNetwork
from golden.network.checkpoint import load_checkpoint
from golden.network.image import to_bytes
from golden.network.samplers import make_sampler, sample
from golden.sampler import image_byte
from golden.threads import torch_threads

__all__ = [
    "SHARD",
    "FloatSource",
    "IntegerSource",
    "Samples",
    "Source",
    "draw",
    "draw_shard",
    "ranges",
    "useful",
]

SHARD = 64
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FloatSource:
    """A float checkpoint folder and its sampler. ``sha256``: of the weights, checked if given."""

    checkpoint: Path
    sampler: str
    steps: int
    sha256: str | None = None


@dataclass(frozen=True)
class IntegerSource:
    """An artifact file. ``sha256``: of its checkpoint's weights, checked if given."""

    artifact: Path
    sha256: str | None = None


Source = FloatSource | IntegerSource


@dataclass(frozen=True)
class Samples:
    """x0 (N, C, H, W), int16 Q3.12 or float32, and the same as ``images`` uint8."""

    x0: npt.NDArray[Any]
    images: npt.NDArray[np.uint8]


def ranges(images: range, size: int = SHARD) -> list[range]:
    """Cut ``images`` into shards of ``size``, the last one shorter."""
    if images.step != 1 or not len(images) or images.start < 0:
        raise ValueError(f"images must be a rising range of at least one index, got {images}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    return [range(i, min(i + size, images.stop)) for i in range(images.start, images.stop, size)]


def useful(count: int, device: torch.device | str, workers: int | None, size: int = SHARD) -> int:
    """``worker_count``, but no more than there are shards of ``count`` images."""
    return min(worker_count(device, workers), -(-count // size))


@cache
def _float_model(source: FloatSource, device: str) -> Any:
    loaded = load_checkpoint(source.checkpoint)
    _same(source.checkpoint, loaded.sha256, source.sha256)
    sampler = make_sampler(source.sampler, loaded.scheduler, source.steps)
    shape = (loaded.config.in_channels, *loaded.config.sample_size)
    return loaded.unet.to(device), sampler, shape


@cache
def _integer_model(source: IntegerSource, device: str) -> IntegerNetwork:
    artifact = Artifact.load(source.artifact)
    _same(source.artifact, artifact.checkpoint_sha256, source.sha256)
    return IntegerNetwork(artifact, device)


def _same(path: Path, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise UserError(f"{path}: is of weights {found[:12]}..., not {wanted[:12]}... as asked")


def draw_shard(
    source: Source,
    seed: int,
    images: range,
    device: str = "cpu",
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Samples:
    """Draw one shard in this process; its model stays loaded.

    ``threads``: of torch on a CPU for integers, as they are if None; floats always take one.
    """
    if isinstance(source, IntegerSource):
        network = _integer_model(source, device)
        with torch_threads(threads if device == "cpu" else None):
            codes = network.sample(seed, images, progress)
        return Samples(codes, image_byte(codes))
    model, sampler, shape = _float_model(source, device)

    def observe(step: int, *_: Any) -> None:
        if progress is not None:
            progress((step + 1) / sampler.steps)

    with torch_threads(1 if device == "cpu" else None):
        drawn = sample(model, sampler, seed, images, shape, device=device, observe=observe)
    x0 = drawn.cpu().numpy()
    return Samples(x0, to_bytes(x0))


def _task(source: Source, seed: int, images: range, device: str, threads: int | None) -> Any:
    """What a worker runs."""
    found = draw_shard(source, seed, images, device, threads)
    return found.x0, found.images


def draw(
    source: Source,
    seed: int,
    images: range,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    device: torch.device | str = "cpu",
    size: int = SHARD,
    progress: Progress | None = None,
    using: WorkerPool | None = None,
) -> Samples:
    """Draw ``images`` of ``seed`` in shards of ``size``; every byte the same however many workers.

    ``workers``: None takes all CUDA devices of the host, or this process on a CPU. ``scheduler``:
    address of a running Dask cluster to use instead, whose workers read the same paths. ``using``:
    a ``pool`` kept open over several calls. ``progress(done, total)`` counts images. ``UserError``
    if the model is refused, no worker is found, or a shard has ended four workers.
    """
    parts = ranges(images, size)
    if using is None:
        count = useful(len(images), device, workers, size)
        with pool(count, scheduler, device) as opened:
            return _drawn(opened, source, seed, parts, str(device), progress)
    return _drawn(using, source, seed, parts, str(device), progress)


def _drawn(
    using: WorkerPool,
    source: Source,
    seed: int,
    parts: list[range],
    device: str,
    progress: Progress | None,
) -> Samples:
    total = sum(len(part) for part in parts)
    found: dict[int, Samples] = {}
    if using.client is None:
        for part in parts:
            before = sum(len(done.images) for done in found.values())

            def told(share: float, before: int = before, count: int = len(part)) -> None:
                if progress is not None:
                    progress(before + int(share * count), total)

            found[part.start] = draw_shard(source, seed, part, device, progress=told)
    else:
        for start, samples in _finished(using, source, seed, parts, device):
            found[start] = samples
            if progress is not None:
                progress(sum(len(done.images) for done in found.values()), total)
    ordered = [found[start] for start in sorted(found)]
    return Samples(
        np.concatenate([part.x0 for part in ordered]),
        np.concatenate([part.images for part in ordered]),
    )


def _finished(
    using: WorkerPool, source: Source, seed: int, parts: list[range], device: str
) -> Iterator[tuple[int, Samples]]:
    """Shards as the cluster finishes them."""
    tasks = [(source, seed, part, device, using.threads) for part in parts]
    names = [f"images {part.start}..{part.stop - 1}" for part in parts]
    for index, result in finished(using, _task, tasks, names):
        yield parts[index].start, Samples(*result)
