"""Constants of the layers on a device: an artifact's tables in the form of every step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from golden.calibration.artifact import Artifact
from golden.calibration.overflow import WIDE_REACH, int8_reach
from golden.calibration.region import (
    RegionParameters,
    WideParameters,
    region_operands,
    silu_values,
    wide_operands,
)
from golden.calibration.topology import LayerSpec, norm_sizes
from golden.exact_matmul import MERGED_SHIFT_MAX, ConvWeight
from golden.integer import operations
from golden.requantizer import requantize

__all__ = ["Layer", "prepare", "prepare_norm", "tensor"]


def tensor(values: npt.ArrayLike, device: torch.device) -> Tensor:
    """``values`` as int64 on ``device``."""
    return torch.from_numpy(np.array(values, dtype=np.int64)).to(device)


@dataclass(frozen=True)
class Layer:
    """Constants of one conv on the device; lists have one entry a group."""

    spec: LayerSpec
    kind: str
    weight: ConvWeight
    operands: list[Tensor]  # silu and norm edges: operand of every u, (4096,) int16
    edge: list[tuple[Tensor, Tensor, Tensor | None]]  # M, n, k: scalars or (Cin,)
    scale: list[Tensor]  # M * 2**-n, float64: for exact_matmul
    merged: bool  # whether bias and half may be added as one
    bias: Tensor  # of every step, (T, Cout), float64: for exact_matmul

    def channel_edge(self, g: int) -> tuple[Tensor, Tensor, Tensor]:
        """M, n, k of every input channel in group ``g``, each (Cin,) int64."""
        multiplier, shift, k = self.edge[g]
        inputs = sum(self.spec.segments)
        shifted = torch.zeros_like(shift) if k is None else k
        return (
            multiplier.expand(inputs).contiguous(),
            shift.expand(inputs).contiguous(),
            shifted.expand(inputs).contiguous(),
        )


@dataclass(frozen=True)
class _Edge:
    """One edge in one group: ``table`` of every u, or ``values`` M, n, k; ``reaches`` a segment."""

    table: npt.NDArray[np.int64] | None = None
    values: tuple[Tensor, Tensor, Tensor | None] | None = None
    reaches: Sequence[int] = ()

    @property
    def above(self) -> Sequence[int]:
        """Largest operand of every segment."""
        return self.reaches if self.table is None else [max(0, int(self.table.max()))]

    @property
    def below(self) -> Sequence[int]:
        """Least operand of every segment."""
        if self.table is None:
            return [-reach for reach in self.reaches]
        return [min(0, int(self.table.min()))]


def prepare_norm(
    artifact: Artifact, name: str, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """gamma, beta, E, and whether float64 is proven exact."""
    gamma, beta, E = (artifact.tensors[f"{name}.{key}"] for key in ("gamma", "beta", "E"))
    height, width = norm_sizes(artifact.config)[name]
    elements = height * width * len(gamma) // artifact.config.norm_num_groups
    proven = operations.largest_shift(elements, int(E[0])) <= operations.SHIFT_PROVEN
    return tensor(gamma, device), tensor(beta, device), tensor(E, device), proven


def _edge(artifact: Artifact, spec: LayerSpec, g: int, device: torch.device) -> _Edge:
    """Constants of one edge in one group."""
    tensors, kind = artifact.tensors, artifact.kind(spec.name)
    if kind in {"region", "wide_silu"}:
        keys = ("M0", "n0", "z", "k") if kind == "region" else ("M0", "n0")
        entry = [int(tensors[f"{spec.name}.silu.{key}"][g]) for key in keys]
        if kind == "region":
            return _Edge(table=region_operands(RegionParameters(*entry), silu_values()))
        return _Edge(table=wide_operands(WideParameters(*entry), silu_values()))
    if kind == "int8_attention":
        return _Edge(reaches=[int8_reach(0)])
    rows = [tensors[f"{spec.name}.edge.{key}"][g].astype(np.int64) for key in "Mnk"]
    if kind == "int8_norm":
        u = np.arange(-operations.U_OFFSET, operations.U_OFFSET)
        return _Edge(table=requantize(u, rows[0], rows[1], 0, 8) << rows[2])
    if len(spec.segments) == 1:
        # one element, not a scalar: a scalar would not widen int16
        values = [tensor(row[:1], device) for row in rows]
    else:
        values = [tensor(np.repeat(row, spec.segments), device) for row in rows]
    wide = kind == "wide_stream"
    return _Edge(
        values=(values[0], values[1], values[2] if rows[2].any() else None),
        reaches=[WIDE_REACH if wide else int8_reach(int(k)) for k in rows[2]],
    )


def prepare(artifact: Artifact, spec: LayerSpec, device: torch.device) -> Layer:
    """Constants of one conv, and its weights cut into exact products."""
    tensors, name = artifact.tensors, spec.name
    edges = [_edge(artifact, spec, g, device) for g in range(artifact.groups)]
    multiplier, shift = (tensors[f"{name}.{key}"].astype(np.int64) for key in "Mn")
    return Layer(
        spec=spec,
        kind=artifact.kind(name),
        weight=ConvWeight.prepare(
            tensors[f"{name}.weight"],
            spec.segments,
            [max(reaches) for reaches in zip(*(e.above for e in edges), strict=True)],
            spec.stride,
            spec.padding,
            device,
            [min(reaches) for reaches in zip(*(e.below for e in edges), strict=True)],
        ),
        operands=[
            torch.from_numpy(e.table.astype(np.int16)).to(device)
            for e in edges
            if e.table is not None
        ],
        edge=[e.values for e in edges if e.values is not None],
        scale=[
            torch.from_numpy(row).to(device)
            for row in np.ldexp(multiplier.astype(np.float64), -shift)
        ],
        merged=bool(shift[multiplier > 0].max(initial=0) <= MERGED_SHIFT_MAX),
        bias=tensor(tensors[f"{name}.b"], device).to(torch.float64),
    )
