"""Checks of an artifact's tables, made when it is built and again when it is loaded.

Ranges: M in 2**15..65535 or 0, n in 0..47, n0 in 0..31, z in 0..112, k in 1..4, weights in
-127..127; the segments of an edge share one multiplier, and ``n[s] = n[0] + k[s]``; the shift of
an attention's row end, ``w + n_o - 1``, is at most 47.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.calibration.overflow import (
    WIDE_REACH,
    channel_bounds,
    int8_reach,
    overflow_faults,
    region_reach,
)
from golden.calibration.topology import LayerSpec
from golden.errors import UserError
from golden.group_norm import ELEMENTS_MAX, U_FRACTION, least_shift
from golden.softmax import EXPONENTIALS, SUM_MAX

__all__ = ["check_attention", "check_layer", "check_norm", "check_sampler", "check_table",
           "overflow_bounds"]  # fmt: skip

Tensors = Mapping[str, npt.NDArray[Any]]
RANGES = {
    "weight": (-127, 127),
    "n": (0, 47),
    "silu.n0": (0, 31),
    "silu.z": (0, 112),
    "silu.k": (1, 4),
    "edge.k": (0, 4),
    "sampler.reach": (1, 32767),
}
MULTIPLIER_MIN = 1 << 15
E_MAX = 1 << 46  # with N**2 * 32767.5**2, the largest variance, it keeps V below 2**62
COEFFICIENT_MAX = (1 << 31) - 1
SHIFT_MAX = 47


def check_table(name: str, table: npt.NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    """Dtype, shape and range of one table; ``UserError`` names it and the first bad entry."""
    if table.dtype.name != dtype:
        raise UserError(f"tensor {name}: dtype {table.dtype.name}; allowed: {dtype}")
    if table.shape != shape:
        raise UserError(f"tensor {name}: shape {table.shape}; allowed: {shape}")
    suffixes = [".".join(name.split(".")[-i:]) for i in (2, 1)]
    if suffixes[1] in {"M", "M0"}:
        bad = (table != 0) & (table < MULTIPLIER_MIN)
        allowed = f"0 or {MULTIPLIER_MIN}..65535"
    else:
        limits = next((RANGES[s] for s in suffixes if s in RANGES), None)
        if limits is None:
            return
        bad = (table < limits[0]) | (table > limits[1])
        allowed = f"{limits[0]}..{limits[1]}"
    if bad.any():
        where = [int(i) for i in np.argwhere(bad)[0]]
        raise UserError(f"tensor {name}: {int(table[bad][0])} at {where}; allowed: {allowed}")


def overflow_bounds(spec: LayerSpec, kind: str, tensors: Tensors) -> list[list[int]]:
    """Largest |acc| of each group and output channel of one layer."""
    weight = tensors[f"{spec.name}.weight"]
    groups = len(tensors[f"{spec.name}.M"])
    cache: dict[tuple[int, ...], list[int]] = {}
    bounds = []
    reaches: tuple[int, ...]
    for g in range(groups):
        if kind == "region":
            z, k = (int(tensors[f"{spec.name}.silu.{key}"][g]) for key in ("z", "k"))
            reaches = (region_reach(z, k),)
        elif kind == "int8_attention":
            reaches = (int8_reach(0),)
        elif kind.startswith("wide"):
            reaches = (WIDE_REACH,) * len(spec.segments)
        else:
            reaches = tuple(int8_reach(int(k)) for k in tensors[f"{spec.name}.edge.k"][g])
        if reaches not in cache:
            cache[reaches] = channel_bounds(weight, spec.segments, reaches)
        bounds.append(cache[reaches])
    return bounds


def check_layer(spec: LayerSpec, kind: str, tensors: Tensors) -> None:
    """Relations between the tables of one layer; ``UserError`` names layer, group and value."""
    name = spec.name
    if f"{name}.edge.M" in tensors:
        multiplier, shift, k = (
            tensors[f"{name}.edge.{key}"].astype(np.int64) for key in ("M", "n", "k")
        )
        expected = shift[:, :1] + k
        if k[:, 0].any():
            raise UserError(f"tensor {name}.edge.k: must be 0 for the first segment")
        if kind in {"wide_stream", "int8_norm"} and k.any():
            raise UserError(f"tensor {name}.edge.k: must be 0, one scale for all segments")
        if (multiplier != multiplier[:, :1]).any() or (shift != expected).any():
            raise UserError(f"tensor {name}.edge: segments must differ by a power of two, 2**k")
    for g, bounds in enumerate(overflow_bounds(spec, kind, tensors)):
        faults = overflow_faults(bounds, [int(m) for m in tensors[f"{name}.M"][g]])
        if faults:
            raise UserError(f"layer {name}, timestep group {g}: {faults[0]}")


def check_norm(name: str, elements: int, tensors: Tensors) -> None:
    """What keeps one GroupNorm inside 64 bits; ``elements``: of one group."""
    if elements > ELEMENTS_MAX:
        raise UserError(f"norm {name}: {elements} elements in a group; allowed: {ELEMENTS_MAX}")
    E = int(tensors[f"{name}.E"][0])
    if not 1 <= E <= E_MAX:
        raise UserError(f"tensor {name}.E: {E}; allowed: 1..{E_MAX}")
    shift = least_shift(elements, E, tensors[f"{name}.gamma"])
    if shift < U_FRACTION:
        raise UserError(
            f"norm {name}: F may fall to {shift}, {U_FRACTION} is allowed: "
            "norm_eps is too small, or gamma too large, for the stream's fraction bits"
        )


def check_attention(name: str, tokens: int, tensors: Tensors) -> None:
    """What keeps one softmax inside its words; ``tokens``: pixels, the length of a row.

    S = sum e <= 127 * tokens has at most w bits, sum e*v stays below 2**31 and its product with
    P <= 65535 below 2**47; the shift behind it is w + n_o - 1.
    """
    largest = EXPONENTIALS[0] * tokens
    if largest > SUM_MAX:
        raise UserError(f"attention {name}: {tokens} pixels; allowed: {SUM_MAX // EXPONENTIALS[0]}")
    allowed = SHIFT_MAX + 1 - largest.bit_length()
    shift = tensors[f"{name}.value.n"]
    if (shift > allowed).any():
        group = int(np.argmax(shift > allowed))
        raise UserError(
            f"tensor {name}.value.n: {int(shift[group])} at {[group]}; "
            f"allowed: 0..{allowed} with {tokens} pixels"
        )


def check_sampler(tensors: Tensors) -> None:
    """The sums of a sampler step stay inside 64 bits for any int32 table; x0 needs a reach."""
    table = tensors["sampler.coefficients"].astype(np.int64)
    # p and q of a step that clips: x0 before the clip is |p*x + q*eps| < 2**48
    if (np.abs(table) > COEFFICIENT_MAX).any():
        step, column = (int(i) for i in np.argwhere(np.abs(table) > COEFFICIENT_MAX)[0])
        value = int(table[step, column])
        raise UserError(
            f"tensor sampler.coefficients: {value} at {[step, column]}; "
            f"allowed: +-{COEFFICIENT_MAX}"
        )
