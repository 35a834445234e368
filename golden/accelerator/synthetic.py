"""Artifacts of a given shape with random tables: networks that nobody trained, for any size.

Scales are chosen so that values neither vanish nor saturate everywhere.
"""

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.calibration.artifact import Artifact
from golden.calibration.topology import LayerSpec, attentions, edge_kind, layers, norm_sizes, norms
from golden.group_norm import epsilon_constant
from golden.network.config import UNetConfig

__all__ = ["synthetic_artifact"]

STREAM_FRACTION = 9
TYPICAL = 600  # of a stream value, in its LSBs
OPERAND = 40  # of an operand
Tensors = dict[str, npt.NDArray[Any]]


def _layer(
    spec: LayerSpec, kind: str, steps: int, groups: int, draw: np.random.Generator
) -> Tensors:
    out, fan_in = spec.out_channels, spec.in_channels * spec.kernel**2
    shape = (out, spec.in_channels, spec.kernel, spec.kernel)
    operand = OPERAND * (8 if kind.startswith("wide") else 1)
    target = OPERAND if spec.out_width == 8 else TYPICAL
    shift = round(math.log2(math.sqrt(fan_in) * 70 * operand * 48000 / target))
    tables: Tensors = {
        "weight": draw.integers(-127, 128, shape).astype(np.int8),
        "M": draw.integers(1 << 15, 1 << 16, (groups, out)).astype(np.uint16),
        "n": np.full((groups, out), min(shift, 47), np.uint8),
        "b": draw.integers(-target // 8, target // 8 + 1, (steps, out)).astype(np.int16),
    }
    scale = draw.integers(1 << 15, 1 << 16, (groups, 1)).astype(np.uint16)
    if kind in {"region", "wide_silu"}:
        tables["silu.M0"] = scale[:, 0]
        tables["silu.n0"] = np.full(groups, 16 if kind == "wide_silu" else 20, np.uint8)
        if kind == "region":
            tables["silu.z"] = draw.integers(8, 30, groups).astype(np.uint8)
            tables["silu.k"] = draw.integers(1, 5, groups).astype(np.uint8)
    elif kind != "int8_attention":
        parts = len(spec.segments)
        base = {"int8_norm": 17, "int8_stream": 20, "wide_stream": 16}[kind]
        k = np.zeros((groups, parts), np.uint8)
        if kind == "int8_stream" and parts == 2:
            k[:, 1] = draw.integers(0, 3, groups)
        tables["edge.M"] = np.repeat(scale, parts, axis=1)
        tables["edge.n"] = (base + k).astype(np.uint8)
        tables["edge.k"] = k
    return {f"{spec.name}.{key}": table for key, table in tables.items()}


def synthetic_artifact(
    config: UNetConfig, wide: Collection[str], *, steps: int = 1, groups: int = 1, seed: int = 0
) -> Artifact:
    """An artifact of ``config`` whose layers ``wide`` read 12 bits; it uses noise in all steps."""
    draw = np.random.Generator(np.random.PCG64(seed))
    specs, sizes = layers(config), norm_sizes(config)
    tensors: Tensors = {}
    for spec in specs.values():
        tensors |= _layer(spec, edge_kind(spec, wide), steps, groups, draw)
    for name, channels in norms(specs).items():
        elements = channels // config.norm_num_groups * sizes[name][0] * sizes[name][1]
        E = epsilon_constant(elements, config.norm_eps, STREAM_FRACTION)
        tensors[f"{name}.gamma"] = draw.integers(1000, 3000, channels).astype(np.int16)
        tensors[f"{name}.beta"] = draw.integers(-500, 500, channels).astype(np.int16)
        tensors[f"{name}.E"] = np.array([E], np.int64)
    for path in attentions(specs):
        for part, shift in (("logit", 22), ("value", 15)):
            scale = draw.integers(1 << 15, 1 << 16, groups)
            tensors[f"{path}.{part}.M"] = scale.astype(np.uint16)
            tensors[f"{path}.{part}.n"] = np.full(groups, shift, np.uint8)
    one = 1 << 20
    row = [one, -one // 2, one // 2, one // 4, one // 8, one // 16]
    tensors["sampler.coefficients"] = np.tile(np.array(row, np.int32), (steps, 1))
    tensors["sampler.reach"] = np.array([4096], np.int32)
    return Artifact(
        config=config,
        checkpoint_sha256="0" * 64,
        sampler="ddpm",
        steps=steps,
        boundaries=tuple(range(1, groups)),
        stream_fraction=STREAM_FRACTION,
        wide=tuple(sorted(wide)),
        tensors=tensors,
    )
