"""Ranges of every edge in every group, and what sharing one range over steps costs.

Raw-stream edges, q, k, v and attention outputs take the largest magnitude seen (min/max): clipping
there repeats along a trajectory. x_t takes what noise of 5.5 sigma would reach: its largest values
are the noise's, and few images show few of them. Region codes and the int8 input of q, k, v
minimise the summed squared error over their histograms. Costs are noise-to-signal ratios, so that
edges add up.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from golden.calibration.groups import peak_cost, table_cost
from golden.calibration.region import (
    U_BINS,
    V_FRACTION,
    RegionParameters,
    WideParameters,
    candidate_errors,
    candidates,
    refine,
    silu_values,
    weighted_sums,
    wide_parameters,
)
from golden.calibration.topology import LayerSpec, edge_kind
from golden.calibration.trajectories import Statistics
from golden.network.samplers import Sampler
from golden.numbers import encode_multiplier
from golden.requantizer import requantize

__all__ = [
    "SegmentScale",
    "edge_cost",
    "head_scale",
    "norm_scale",
    "segment_scale",
    "silu_scale",
    "total_cost",
    "with_rare_noise",
]

Float64 = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

U_FRACTION = 7
NORM_REACHES = np.geomspace(0.5, 16.0, 61)
SEGMENT_K_MAX = 4
NOISE_REACH = 5.5  # sigma: one value in 26 million lies outside
LEVELS = {
    "int8_stream": 127,
    "int8_attention": 127,
    "int8_norm": 127,
    "wide_stream": 2047,
    "wide_silu": 2047,
}


@dataclass(frozen=True)
class SegmentScale:
    """Scale of an int8 or 12-bit edge in one group.

    ``multiplier``, ``shift``: of the first segment; segment s has shift + k[s]. ``step``: real
    value of one operand LSB.
    """

    multiplier: int
    shift: int
    k: tuple[int, ...]
    step: float


def with_rare_noise(
    statistics: Statistics, specs: dict[str, LayerSpec], sampler: Sampler
) -> Statistics:
    """``statistics`` with the peaks of x_t that noise of ``NOISE_REACH`` would have reached.

    ``peak[t] + sqrt(1 - alpha[t]) * (NOISE_REACH - peak[0])``: x_t holds that share of the noise.
    """
    alphas = sampler.scheduler.alphas_cumprod().double().numpy()[sampler.timesteps]
    share = np.sqrt(1 - alphas)[:, None]
    peaks = {
        name: peak + share * np.maximum(NOISE_REACH - peak[0], 0.0)
        for name, peak in statistics.peaks.items()
        if specs[name].source == "image"
    }
    return replace(statistics, peaks={**statistics.peaks, **peaks})


def _u_values() -> Counts:
    return np.arange(-U_BINS // 2, U_BINS // 2, dtype=np.int64)


def _encoded(step: float, fraction: int) -> tuple[int, int, float]:
    """M, n and the exact step for an input with ``fraction`` fraction bits.

    A step finer than the input's own LSB gains nothing: it is raised to that.
    """
    lsb = 2.0**-fraction
    multiplier, shift = encode_multiplier(lsb / max(step, lsb))
    return multiplier, shift, lsb * 2.0**shift / multiplier


@cache
def _norm_candidates() -> tuple[SegmentScale, ...]:
    encoded = [_encoded(float(reach) / 127, U_FRACTION) for reach in NORM_REACHES]
    return tuple(SegmentScale(m, n, (0,), step) for m, n, step in encoded)


@cache
def _norm_error_matrix() -> Float64:
    """Squared error of each bin of u under each candidate, (4096, candidates)."""
    u = _u_values()
    exact = u * 2.0**-U_FRACTION
    columns = [
        (exact - c.step * requantize(u, c.multiplier, c.shift, 0, 8)) ** 2
        for c in _norm_candidates()
    ]
    return np.stack(columns, axis=1)


def norm_scale(histogram: Counts) -> SegmentScale:
    """int8 scale of u with the least squared error over (4096,) counts."""
    errors = weighted_sums(histogram[None], _norm_error_matrix())[0]
    return _norm_candidates()[int(np.argmin(errors))]


def silu_scale(histogram: Counts, wide: bool) -> RegionParameters | WideParameters:
    """Region code (or wide form) of a post-SiLU edge for (4096,) counts of u."""
    if wide:
        seen = silu_values()[np.flatnonzero(histogram)]
        return wide_parameters(float(np.abs(seen).max(initial=0)) * 2.0**-V_FRACTION)
    errors = candidate_errors(histogram[None])[0]
    return refine(histogram, candidates()[int(np.argmin(errors))])


def segment_scale(
    peaks: Float64, power: Float64, fraction: int, levels: int, shared: bool
) -> SegmentScale:
    """Min/max scale of an edge with one or two segments.

    ``peaks`` (segments,) largest magnitudes; ``power`` (segments,): weight of each segment's
    rounding noise (its share of channels will do). ``shared``: one scale for all (wide edges). The
    exponents k are those of least summed noise that clip nothing.
    """
    best: tuple[float, float, tuple[int, ...]] | None = None
    for k in range(1 if shared or len(peaks) == 1 else SEGMENT_K_MAX + 1):
        exponents = (0,) + (k,) * (len(peaks) - 1)
        step = max(float(p) / (levels << e) for p, e in zip(peaks, exponents, strict=True))
        noise = sum((step * 2**e) ** 2 * w for e, w in zip(exponents, power, strict=True))
        if best is None or noise < best[0]:
            best = (noise, step, exponents)
    assert best is not None
    multiplier, shift, step = _encoded(best[1], fraction)
    return SegmentScale(multiplier, shift, best[2], step)


def head_scale(peaks: Float64) -> float:
    """Step of q, k, v or the attention output: min/max int8; any positive step if it is dead."""
    peak = float(peaks.max())
    return peak / 127 if peak > 0 else 1.0


def edge_cost(
    statistics: Statistics, spec: LayerSpec, kind: str, weights: Float64 | float = 1.0
) -> Float64:
    """(T + 1, T + 1) noise-to-signal ratio, summed over steps, if steps a..b-1 share a scale.

    ``weights`` (T,): of each step in the sum.
    """
    if kind in {"region", "int8_norm", "wide_silu"}:
        histograms = statistics.histograms[spec.norm or ""]
        values = silu_values() * 2.0**-V_FRACTION
        if kind == "int8_norm":
            values = _u_values() * 2.0**-U_FRACTION
        energy = np.maximum((histograms * values**2).sum(axis=1), 1e-30) / weights
        if kind == "wide_silu":
            peaks = np.where(histograms > 0, np.abs(values), 0).max(axis=1)
            return peak_cost(peaks, histograms.sum(axis=1) / energy, LEVELS[kind])
        errors = (
            candidate_errors(histograms)
            if kind == "region"
            else weighted_sums(histograms, _norm_error_matrix())
        )
        return table_cost(errors / energy[:, None])
    peaks, squares = statistics.peaks[spec.name], statistics.mean_squares[spec.name]
    costs = [
        peak_cost(peaks[:, i], weights / np.maximum(squares[:, i], 1e-30), LEVELS[kind])
        for i in range(peaks.shape[1])
    ]
    return np.mean(costs, axis=0)


def total_cost(
    statistics: Statistics,
    specs: dict[str, LayerSpec],
    wide: tuple[str, ...],
    weights: Float64 | float = 1.0,
) -> Float64:
    """Summed cost of all edges and of the int8 outputs q, k, v: one partition serves them all.

    ``weights`` (T,): of each step in the sum.
    """
    total: Float64 | None = None
    for spec in specs.values():
        cost = edge_cost(statistics, spec, edge_kind(spec, wide), weights)
        if spec.output == "head":
            squares = statistics.mean_squares[spec.name][:, 0]
            each = weights / np.maximum(squares, 1e-30)
            cost = cost + peak_cost(statistics.peaks[spec.name][:, 0], each, 127)
        total = cost if total is None else total + cost
    assert total is not None
    return total
