"""Fake quantization of a tensor in one Triton kernel: the float32 operations of ``simulated``.

Each code is a chain of divisions, floors and clamps; one kernel for all of it reads and writes the
tensor once. Divisions round to nearest, so the values are those of the plain operations, bit for
bit; ``TRITON_INTERPRET=1`` runs it on a CPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["fake_quantize"]

CODES = {"symmetric": 0, "affine": 1, "sign_split": 2, "region": 3}
BLOCK = 1024


@triton.jit
def _nearest(x, step):
    return tl.floor(tl.div_rn(x, step) + 0.5)


@triton.jit
def _clamp(x, low, high):
    return tl.minimum(tl.maximum(x, low), high)


@triton.jit
def _kernel(
    source,
    result,
    numbers,
    elements,
    inner,
    channels,
    columns: tl.constexpr,
    code: tl.constexpr,
    top: tl.constexpr,
    levels: tl.constexpr,
    block: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    live = at < elements
    row = numbers + (at // inner) % channels * columns
    x = tl.load(source + at, live, 0.0)
    first = tl.load(row, live, 1.0)
    if code == 0:
        y = first * _clamp(_nearest(x, first), -top, top)
    elif code == 1:
        zero = _nearest(-tl.load(row + 1, live, 0.0), first)
        y = first * (_clamp(_nearest(x, first) + zero, 0.0, levels) - zero)
    elif code == 2:
        above = tl.load(row + 1, live, 1.0)
        negative = -first * _clamp(_nearest(-x, first), 0.0, top)
        y = tl.where(x < 0, negative, above * _clamp(_nearest(x, above), 0.0, top))
    else:
        point = tl.load(row + 1, live, 0.0)
        factor = tl.load(row + 2, live, 1.0)
        fine = _nearest(x, first) + point
        coarse = tl.minimum(_nearest(x, first * factor), top) * factor
        y = first * tl.where(fine <= top, tl.maximum(fine, 0.0) - point, coarse)
    tl.store(result + at, y, live)


def fake_quantize(x: Tensor, code: str, bits: int, numbers: Tensor) -> Tensor:
    """Decoded codes of ``x``, (N, C, H, W) or channels last, float32.

    ``numbers`` (C or 1, P): what ``golden.evaluation.simulated.EdgeCode`` holds, of each channel.
    """
    x = x.contiguous()
    result = torch.empty_like(x)
    channels, columns = numbers.shape
    inner = x[0, 0].numel() if x.ndim == 4 else 1
    grid = (triton.cdiv(x.numel(), BLOCK),)
    _kernel[grid](
        x,
        result,
        numbers,
        x.numel(),
        inner,
        channels,
        columns,
        CODES[code],
        float((1 << (bits - 1)) - 1),
        float((1 << bits) - 1),
        BLOCK,
    )
    return result
