"""Teacher-forced eps-SQNR: the integer network against the float one on the float trajectory.

Of a step, ``10 log10(sum eps**2 / sum (eps - eps')**2)`` over all images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from golden.calibration.trajectories import Trajectories
from golden.integer.network import IntegerNetwork
from golden.threads import spread

__all__ = ["eps_sqnr", "group_summary", "relative_noise"]

EPS_FRACTION = 12
BATCH = 16
Float64 = npt.NDArray[np.float64]


def relative_noise(
    network: IntegerNetwork,
    trajectories: Trajectories,
    steps: Sequence[int],
    progress: Callable[[float], None] | None = None,
) -> Float64:
    """Return ``sum (eps - eps')**2 / sum eps**2`` at ``steps``, (len(steps),) float64."""
    x, eps = trajectories.x, trajectories.eps

    def ratio(step: int) -> float:
        noise = 0.0
        for first in range(0, x.shape[1], BATCH):
            rows = slice(first, first + BATCH)
            codes = network.eps(torch.from_numpy(x[step, rows]).to(network.device), step)
            integer = codes.cpu().numpy().astype(np.float64) / (1 << EPS_FRACTION)
            noise += float(np.square(eps[step, rows] - integer).sum())
        signal = float(np.square(eps[step].astype(np.float64)).sum())
        return noise / max(signal, 1e-30)

    result = np.zeros(len(steps))
    for place, found in enumerate(spread(ratio, steps, network.device)):
        result[place] = found
        if progress is not None:
            progress((place + 1) / len(steps))
    return result


def eps_sqnr(
    network: IntegerNetwork,
    trajectories: Trajectories,
    progress: Callable[[float], None] | None = None,
) -> Float64:
    """Return dB of every sampler step, (T,) float64."""
    noise = relative_noise(network, trajectories, range(len(trajectories.x)), progress)
    return -10 * np.log10(np.maximum(noise, 1e-30))


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
