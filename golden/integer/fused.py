"""The integer network by the kernels of ``golden.integer.kernels``: few and large CUDA programs.

A norm and the code of its one reader are one kernel, a conv with its edge, its requantization and
the residual sum after it another, an attention a third. The same integers as
``golden.integer.network``, whose passes it replaces on CUDA devices.
"""

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from golden.calibration.artifact import Artifact
from golden.integer.layers import Layer

__all__ = ["FusedLayer", "attention", "available", "conv", "fuse", "group_norm"]

NARROW = 128


def available(device: torch.device) -> bool:
    """Whether the kernels run: a CUDA device, or a CPU under ``TRITON_INTERPRET=1``."""
    if find_spec("triton") is None:
        return False
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


@dataclass(frozen=True)
class FusedLayer:
    """Constants of one conv; lists have one entry a group."""

    layer: Layer
    weight: Tensor  # (k*k*Cin, Cout) int8
    multiplier: list[Tensor]  # (Cout,) int64
    shift: list[Tensor]
    bias: Tensor  # of every step, (T, Cout) int64
    edge: list[tuple[Tensor, Tensor, Tensor]]  # M, n, k (Cin,) int64 of stream and image edges
    narrow: bool  # every operand is an int8


def _is_narrow(layer: Layer) -> bool:
    if layer.kind == "int8_attention":
        return True
    if layer.operands:
        return all(int(t.min()) >= -NARROW and int(t.max()) < NARROW for t in layer.operands)
    return layer.kind != "wide_stream" and all(k is None for _, _, k in layer.edge)


def fuse(artifact: Artifact, layer: Layer, device: torch.device) -> FusedLayer:
    """The constants of a layer in the form that the kernels read."""
    name = layer.spec.name

    def table(key: str) -> Tensor:
        return torch.from_numpy(artifact.tensors[f"{name}.{key}"].astype("int64")).to(device)

    weight = torch.from_numpy(artifact.tensors[f"{name}.weight"]).to(device)
    # (Cout, Cin, kh, kw) -> (kh*kw*Cin, Cout)
    flat = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]).contiguous()
    return FusedLayer(
        layer=layer,
        weight=flat,
        multiplier=list(table("M")),
        shift=list(table("n")),
        bias=table("b"),
        edge=[layer.channel_edge(g) for g in range(len(layer.edge))],
        narrow=_is_narrow(layer),
    )


@cache
def _kernels() -> Any:
    return import_module("golden.integer.kernels")  # needs triton


def _power(value: int, least: int, most: int) -> int:
    """The next power of two, kept to ``least``..``most``."""
    return min(most, max(least, 1 << (value - 1).bit_length()))


def conv(
    source: Tensor,
    fused: FusedLayer,
    group: int,
    steps: Tensor,
    residual: Tensor | None = None,
    *,
    ready: bool = False,
) -> Tensor:
    """One layer with its edge, (N, H, W, Cin) -> (N, Ho, Wo, Cout) int16, or int8 for q, k and v.

    ``ready``: the source holds operands already. ``residual``: int16, added and saturated.
    """
    kernels, layer, spec = _kernels(), fused.layer, fused.layer.spec
    source = source.contiguous()
    n, height, width, inputs = source.shape
    left, right, above, below = spec.padding
    size = layer.weight.kernel
    up = int(spec.upsample)
    ho = ((height << up) + above + below - size) // spec.stride + 1
    wo = ((width << up) + left + right - size) // spec.stride + 1
    outputs = fused.weight.shape[1]
    mode, table, edge = kernels.DIRECT, source, (source, source, source)
    if layer.operands and not ready:
        mode, table = kernels.TABLE, layer.operands[group]
    elif fused.edge:
        mode, edge = kernels.REQUANTIZED, fused.edge[group]
    bias = fused.bias[steps]
    kind = torch.int16 if spec.out_width > 8 else torch.int8
    result = torch.empty((n, ho, wo, outputs), dtype=kind, device=source.device)
    pixels = n * ho * wo
    rows, cols = 128, _power(outputs, 16, 64)
    depth = _power(inputs, 32, 64)
    kernels.conv[(-(-pixels // rows), -(-outputs // cols))](
        source, fused.weight, table, *edge, fused.multiplier[group], fused.shift[group],
        bias, outputs if len(bias) > 1 else 0, source if residual is None else residual, result,
        pixels, height, width, ho, wo, outputs,
        2048 if layer.kind == "wide_stream" else 128, 1 << (spec.out_width - 1),
        INPUTS=inputs, KERNEL=size, STRIDE=spec.stride, LEFT=left, ABOVE=above, UP=up, EDGE=mode,
        WIDE=not fused.narrow, RESIDUAL=residual is not None, ROWS=rows, COLS=cols, DEPTH=depth,
    )  # fmt: skip
    return result


def group_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, groups: int, E: Tensor, seeds: Tensor,
    table: Tensor | None,
) -> Tensor:  # fmt: skip
    """U + 2048 of the stream (N, H, W, C) int16, or ``table`` of it; int16."""
    x = x.contiguous()
    n, height, width, channels = x.shape
    result = torch.empty_like(x)
    repeat = channels // groups
    cols = _power(repeat, 1, 1 << 16)
    rows = _power(height * width, 16, max(16, 2048 // cols))
    _kernels().group_norm[(n, groups)](
        x, gamma, beta, E, seeds, x if table is None else table, result,
        channels,
        PIXELS=height * width, REPEAT=repeat, LOOKUP=table is not None, ROWS=rows, COLS=cols,
    )  # fmt: skip
    return result


def attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, logit: Tensor, value: Tensor, table: Tensor
) -> Tensor:
    """Softmax(q k^T) v, (N, H, W, heads*d) int8."""
    n, height, width, channels = q.shape
    length, depth = height * width, channels // heads
    result = torch.empty_like(q)
    rows = 32
    _kernels().attention[(-(-length // rows), n * heads)](
        q, k, v, logit, value, table, result, channels, heads,
        LENGTH=length, DEPTH=depth, ROWS=rows, COLS=_power(length, 32, 64),
        WIDTH=_power(depth, 32, 1 << 16),
    )  # fmt: skip
    return result
