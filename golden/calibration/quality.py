"""Teacher-forced eps-SQNR: the integer network against the float one on the float trajectory.

Of a step, ``10 log10(sum eps**2 / sum (eps - eps')**2)`` over all images.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from golden.calibration.trajectories import Trajectories
from golden.integer.network import IntegerNetwork

__all__ = ["eps_sqnr", "group_summary"]

EPS_FRACTION = 12
BATCH = 16
Float64 = npt.NDArray[np.float64]


def eps_sqnr(
    network: IntegerNetwork,
    trajectories: Trajectories,
    progress: Callable[[float], None] | None = None,
) -> Float64:
    """Return dB of every sampler step, (T,) float64."""
    x, eps = trajectories.x, trajectories.eps
    result = np.zeros(len(x))
    for step in range(len(x)):
        noise = 0.0
        for first in range(0, x.shape[1], BATCH):
            rows = slice(first, first + BATCH)
            codes = network.eps(torch.from_numpy(x[step, rows]).to(network.device), step)
            quantized = codes.cpu().numpy().astype(np.float64) / (1 << EPS_FRACTION)
            noise += float(np.square(eps[step, rows] - quantized).sum())
        signal = float(np.square(eps[step].astype(np.float64)).sum())
        result[step] = 10 * np.log10(signal / max(noise, 1e-30))
        if progress is not None:
            progress((step + 1) / len(x))
    return result


def group_summary(decibels: Float64, spans: list[tuple[int, int]]) -> list[dict[str, float | int]]:
    """First and last step, mean and least dB of each group."""
    return [
        {
            "group": g,
            "first_step": a,
            "last_step": b - 1,
            "eps_sqnr_db_mean": round(float(decibels[a:b].mean()), 3),
            "eps_sqnr_db_min": round(float(decibels[a:b].min()), 3),
        }
        for g, (a, b) in enumerate(spans)
    ]
