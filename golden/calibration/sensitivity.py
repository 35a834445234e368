"""How much an error of eps at each step moves the final image.

At some steps the float trajectory is continued with eps disturbed by Gaussian noise of a hundredth
of its own size: ``w[i] = mean (x0' - x0)**2 / mean (disturbance)**2``, per unit of eps squared. The
steps between are interpolated geometrically.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.calibration.trajectories import X_FRACTION, Trajectories
from golden.network.samplers import Sampler, noise
from golden.network.unet import UNet
from golden.threads import spread

__all__ = ["image_sensitivity"]

Float64 = npt.NDArray[np.float64]
PROBES = 10
SIZE = 0.01
DISTURBANCE = 1 << 20  # step number of the noise that disturbs: no sampler step has it


def _finish(
    unet: UNet, sampler: Sampler, x: Tensor, first: int, seed: int, images: range
) -> Tensor:
    """Continue with steps ``first``.. to the image."""
    for i in range(first, sampler.steps):
        t = torch.full((len(x),), sampler.timesteps[i], dtype=torch.int64, device=x.device)
        fresh = noise(seed, images, i, tuple(x.shape[1:])) if sampler.table[i].c else None
        x = sampler.step(i, x, unet(x, t), None if fresh is None else fresh.to(x.device))
    return x


def image_sensitivity(
    unet: UNet,
    sampler: Sampler,
    trajectories: Trajectories,
    seed: int,
    images: int = 4,
    progress: Callable[[float], None] | None = None,
) -> Float64:
    """Weight of an error of eps, relative to eps, at every step; (T,), mean 1.

    ``trajectories``: float ones of images 0.. of ``seed``.
    """
    steps = sampler.steps
    probes = np.unique(np.linspace(0, steps - 1, min(PROBES, steps)).round().astype(int))
    device = next(unet.parameters()).device
    chosen = range(min(images, trajectories.x.shape[1]))

    @torch.no_grad()  # of the thread
    def moved(i: int) -> float:
        codes = trajectories.x[i, : len(chosen)].astype(np.float32) / np.float32(1 << X_FRACTION)
        x = torch.from_numpy(codes).to(device)
        eps = torch.from_numpy(trajectories.eps[i, : len(chosen)]).to(device)
        size = SIZE * eps.square().mean().sqrt()
        shape = tuple(x.shape[1:])
        disturbance = size * noise(seed, chosen, DISTURBANCE, shape).to(device)
        fresh = noise(seed, chosen, i, shape).to(device) if sampler.table[i].c else None
        ends = [
            _finish(unet, sampler, sampler.step(i, x, e, fresh), i + 1, seed, chosen)
            for e in (eps, eps + disturbance)
        ]
        return float((ends[1] - ends[0]).square().mean()) / SIZE**2

    measured = []
    for count, found in enumerate(spread(moved, (int(p) for p in probes), device)):
        measured.append(max(found, 1e-12))
        if progress is not None:
            progress((count + 1) / len(probes))
    weights = np.exp(np.interp(np.arange(steps), probes, np.log(measured)))
    return weights / weights.mean()
