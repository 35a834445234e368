"""Codes of post-SiLU activations: the search for {M0, n0, z, k} and for the 12-bit wide form.

``step = 2**n0 / (M0 * 2**11)`` is the real value of one operand LSB, so ``v * M0 / 2**n0`` counts
steps. Since u has 12 bits, the histogram of u over 4096 bins holds everything about the edge, and
the error of a candidate is the sum over bins of ``count * (v*2**-11 - step*decoded(code(v)))**2``,
computed with the hardware's own integer functions: what is searched is what will run.
"""

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import torch

from golden.numbers import Int64, encode_multiplier
from golden.silu_quantizer import decode_region, region_code, silu_value, wide_code
from golden.threads import torch_threads

__all__ = [
    "SILU_DEPTH",
    "U_BINS",
    "V_FRACTION",
    "RegionParameters",
    "WideParameters",
    "candidate_errors",
    "candidates",
    "refine",
    "region_operands",
    "region_parameters",
    "silu_values",
    "weighted_sums",
    "wide_operands",
    "wide_parameters",
]

Float64 = npt.NDArray[np.float64]

SILU_DEPTH = 0.27847  # -min silu(x), rounded up: the lobe always fits below zero
V_FRACTION = 11
U_BINS = 4096
ZERO_POINT_MAX = 112
K_VALUES = (1, 2, 3, 4)
SHIFT0_MAX = 31
STEPS_IN_GRID = 48
STEP_MAX = 0.25
REFINEMENTS = 13


@dataclass(frozen=True)
class RegionParameters:
    """Constants of one edge in one timestep group; ``k = z = 0`` never occurs for a region code."""

    multiplier: int
    shift: int
    zero_point: int
    k: int

    @property
    def step(self) -> float:
        """Real value of one operand LSB."""
        return math.ldexp(1.0, self.shift - V_FRACTION) / self.multiplier

    @property
    def reach(self) -> float:
        """Largest value that has a code."""
        return 127 * self.step * (1 << self.k)


@dataclass(frozen=True)
class WideParameters:
    """Constants of a 12-bit post-SiLU edge."""

    multiplier: int
    shift: int

    @property
    def step(self) -> float:
        """Real value of one operand LSB."""
        return math.ldexp(1.0, self.shift - V_FRACTION) / self.multiplier


@cache
def silu_values() -> Int64:
    """Return v of every u = -2048..2047, (4096,) int64; do not write to it."""
    values = silu_value(np.arange(-U_BINS // 2, U_BINS // 2))
    values.setflags(write=False)
    return values


def region_parameters(step: float, k: int) -> RegionParameters:
    """The region code whose step is nearest to ``step``; z follows from the encoded step.

    ``ValueError`` if the step is so small that z would pass 112, or k is not 1..4.
    """
    if k not in K_VALUES:
        raise ValueError(f"k must be in 1..4, got {k}")
    multiplier, shift = encode_multiplier(math.ldexp(1 / step, -V_FRACTION), SHIFT0_MAX)
    if multiplier == 0:
        raise ValueError(f"step must be below 2**4, got {step}")
    found = RegionParameters(multiplier, shift, 0, k)
    zero_point = math.ceil(SILU_DEPTH / found.step)
    if zero_point > ZERO_POINT_MAX:
        raise ValueError(f"step must be at least {SILU_DEPTH / ZERO_POINT_MAX:.6f}, got {step}")
    return RegionParameters(multiplier, shift, zero_point, k)


def region_operands(parameters: RegionParameters, values: npt.ArrayLike) -> Int64:
    """What the array multiplies for each v (int16): decoded region codes."""
    p = parameters
    codes = region_code(values, p.multiplier, p.shift, p.zero_point, p.k)
    return decode_region(codes, p.zero_point, p.k)


def wide_operands(parameters: WideParameters, values: npt.ArrayLike) -> Int64:
    """What the array multiplies for each v (int16), both passes together."""
    return wide_code(values, parameters.multiplier, parameters.shift)


def wide_parameters(peak: float) -> WideParameters:
    """The 12-bit code that just reaches ``peak`` (a real value, not less than the lobe's depth)."""
    reach = max(peak, SILU_DEPTH)
    return WideParameters(*encode_multiplier(math.ldexp(2047 / reach, -V_FRACTION), SHIFT0_MAX))


@cache
def candidates() -> tuple[RegionParameters, ...]:
    """The coarse grid: geometric steps from the smallest allowed one, every k."""
    smallest = SILU_DEPTH / ZERO_POINT_MAX * 1.0001
    steps = np.geomspace(smallest, STEP_MAX, STEPS_IN_GRID)
    return tuple(region_parameters(float(step), k) for step in steps for k in K_VALUES)


@lru_cache(maxsize=2048)  # edges and groups try the same candidates; 64 MB
def squared_errors(parameters: RegionParameters) -> Float64:
    """Squared error of every bin of u, (4096,) float64; do not write to it."""
    values = silu_values()
    exact = np.ldexp(values.astype(np.float64), -V_FRACTION)
    errors = (exact - parameters.step * region_operands(parameters, values)) ** 2
    errors.setflags(write=False)
    return errors


@cache
def _error_matrix() -> Float64:
    """Squared errors of the coarse grid, (4096, candidates)."""
    return np.stack([squared_errors(p) for p in candidates()], axis=1)


def weighted_sums(histograms: npt.NDArray[np.int64], values: Float64) -> Float64:
    """``histograms`` (T, 4096) times ``values`` (4096, n) on one thread: (T, n).

    A product of numpy takes as many threads as there are cores, and its sums depend on them.
    """
    with torch_threads(1):
        counts = torch.tensor(histograms, dtype=torch.float64)
        return torch.mm(counts, torch.tensor(values)).numpy()


def candidate_errors(histograms: npt.NDArray[np.int64]) -> Float64:
    """Summed squared error of each step under each coarse candidate.

    ``histograms`` (T, 4096) counts of u -> (T, candidates).
    """
    return weighted_sums(histograms, _error_matrix())


def refine(histogram: npt.NDArray[np.int64], coarse: RegionParameters) -> RegionParameters:
    """Search steps between the coarse grid's neighbours of ``coarse``, all k; (4096,) counts.

    The first of equal errors wins, so the result depends on nothing but the histogram.
    """
    ratio = (STEP_MAX / (SILU_DEPTH / ZERO_POINT_MAX)) ** (1 / (STEPS_IN_GRID - 1))
    best, least = coarse, float((histogram * squared_errors(coarse)).sum())
    for k in K_VALUES:
        for factor in np.geomspace(1 / ratio, ratio, REFINEMENTS):
            try:
                trial = region_parameters(coarse.step * float(factor), k)
            except ValueError:  # past the smallest step
                continue
            error = float((histogram * squared_errors(trial)).sum())
            if error < least:
                best, least = trial, error
    return best
