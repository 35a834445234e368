"""How a model of an evaluation draws its images: callables that travel to worker processes.

On a CPU floats are drawn on one thread, for their sums depend on the number of threads; so a range
of images has the same bytes in whatever process it is drawn.
"""

import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.calibration.artifact import Artifact
from golden.errors import UserError
from golden.evaluation.image_store import Draw
from golden.evaluation.worker_pool import WorkerPool, finished
from golden.files import atomic_write
from golden.integer.network import IntegerNetwork
from golden.network.samplers import Sampler, sample
from golden.network.unet import UNet
from golden.threads import torch_threads

__all__ = ["FloatDraw", "FloatEps", "IntegerDraw", "drawn_by_workers", "repeatable_float32"]


def repeatable_float32(device: str) -> None:
    """Have torch compute float32 on CUDA without TF32, with algorithms that repeat."""
    if device.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


@dataclass(frozen=True)
class FloatEps:
    """The float network at a sampler step: ``x`` (N, C, H, W) float32 to eps of that shape."""

    unet: UNet
    timesteps: list[int]

    def __call__(self, x: Tensor, step: int) -> Tensor:
        """Predict eps."""
        return self.unet(x, torch.full((len(x),), self.timesteps[step], device=x.device))


@dataclass(frozen=True)
class FloatDraw:
    """Free-running images of a float model, x0 (N, C, H, W) float32."""

    eps: Callable[[Tensor, int], Tensor]
    sampler: Sampler
    seed: int
    shape: tuple[int, int, int]
    device: str

    def __call__(self, images: range) -> npt.NDArray[np.float32]:
        """Draw the ``images`` of the seed."""
        repeatable_float32(self.device)
        steps = iter(range(self.sampler.steps))  # in execution order, as the sampler calls
        with torch_threads(1 if self.device == "cpu" else None):
            x = sample(
                lambda x, _: self.eps(x, next(steps)),
                self.sampler,
                self.seed,
                images,
                self.shape,
                device=self.device,
            )
        return x.cpu().numpy()


@dataclass
class IntegerDraw:
    """Free-running images of the integer network, x0 (N, C, H, W) int16 Q3.12."""

    tables: Artifact
    seed: int
    device: str

    @cached_property
    def network(self) -> IntegerNetwork:
        """Built where it is used."""
        return IntegerNetwork(self.tables, self.device)

    def __call__(self, images: range) -> npt.NDArray[np.int16]:
        """Draw the ``images`` of the seed."""
        return self.network.sample(self.seed, images)

    def __reduce__(self) -> tuple[Any, ...]:
        return IntegerDraw, (self.tables, self.seed, self.device)


def drawn_by_workers(
    using: WorkerPool, folder: Path, draw: Draw, ranges: Sequence[range]
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield (index, ``draw(ranges[index])``), each once, as the workers finish them.

    ``folder``: where the model lies for the workers meanwhile; those of another host need one they
    share. ``UserError`` if a worker cannot read it, or a range has ended four workers.
    """
    data = pickle.dumps(draw)
    path = (folder / f"model.{hashlib.sha256(data).hexdigest()[:16]}.pickle").absolute()
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    try:
        tasks = [(path, images, using.threads) for images in ranges]
        names = [f"images {images.start}..{images.stop - 1}" for images in ranges]
        yield from finished(using, _draw_part, tasks, names)
    finally:
        path.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _model(path: Path) -> Draw:
    """A model this program wrote; its name holds its hash."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"model {path}: a worker cannot read it ({error.strerror}); workers of another host "
            "need --rows, a folder they share"
        ) from error
    return pickle.loads(data)


def _draw_part(path: Path, images: range, threads: int | None) -> npt.NDArray[Any]:
    """What a worker runs."""
    with torch_threads(threads):
        return _model(path)(images)
