"""The blocks' integer functions on torch tensors, for whole batches on a CPU or a CUDA device.

Each equals the function of the same name in ``golden/<block>.py`` bit for bit: integer operations,
or those of ``golden.exact_float`` where they are proven to round nothing. Layout (N, H, W, C); the
stream is int16, u an index 0..4095.
``rsh(a, n) = (a + 2**(n-1)) >> n``.
"""

import numpy as np
import torch
from torch import Tensor

from golden import exact_float, exact_matmul, softmax
from golden.group_norm import (
    GAMMA_FRACTION,
    RSQRT_SEEDS,
    SLOPE_BITS,
    U_FRACTION,
)
from golden.sampler import COEFFICIENT_FRACTION
from golden.softmax import DISTANCE_MAX

__all__ = [
    "attention",
    "divide",
    "edge",
    "group_norm",
    "half",
    "largest_shift",
    "numerators",
    "residual_sum",
    "rsqrt",
    "sampler_step",
    "tables",
    "upsample",
]

U_OFFSET = 2048
ONE = 1 << 16
SHIFT_PROVEN = 47  # 2**31 + 2**(47 + 5) + 2**(47 - 8) < 2**53


def half(shift: Tensor) -> Tensor:
    """``2**(shift - 1)``, 0 for shift 0: what rounds half up before an arithmetic shift."""
    return torch.bitwise_left_shift(torch.ones_like(shift), shift) >> 1


def edge(x: Tensor, multiplier: Tensor, shift: Tensor, k: Tensor | None, top: int) -> Tensor:
    """Operands int16 of a stream or image edge: ``sat(rsh(x*M, n)) << k``.

    ``x`` int16, ``multiplier`` below 2**16, ``shift`` in 0..47: ``|x*M| + 2**46 < 2**53``.
    Saturates to ``-top .. top - 1``, 128 or 2048.
    """
    value = exact_float.rounded_shift(x, multiplier, shift, -top, top - 1, torch.int16)
    return value if k is None else (value << k).to(torch.int16)


def residual_sum(a: Tensor, b: Tensor) -> Tensor:
    """``sat16(a + b)`` of two int16 tensors."""
    return (a.to(torch.int32) + b).clamp_(-32768, 32767).to(torch.int16)


def upsample(x: Tensor) -> Tensor:
    """Nearest neighbour to twice the size, (N, H, W, C) -> (N, 2H, 2W, C)."""
    n, height, width, channels = x.shape
    twice = x[:, :, None, :, None, :].expand(n, height, 2, width, 2, channels)
    return twice.reshape(n, 2 * height, 2 * width, channels)


def rsqrt(V: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """(r, e) with ``1/sqrt(V) ~ r * 2**-(16 + e)``; ``seeds``: ``RSQRT_SEEDS`` as int64."""
    e = (exact_float.bit_length(V) - 1) >> 1
    v = (V << (30 - 2 * e).clamp(min=0)) >> (2 * e - 30).clamp(min=0)
    y = seeds[(v >> 25) - 32]
    newton = (3 << 30) - ((v * (y * y >> 16)) >> 16)
    r = ((y * newton >> 14) + ONE) >> 17
    return r.clamp(max=ONE), e


def largest_shift(elements: int, E: int) -> int:
    """Largest F of ``group_norm`` where gamma is not 0, whatever the input; r is at least 2**14."""
    V = elements * elements * (1 << 30) + E
    return 16 + GAMMA_FRACTION + ((V.bit_length() - 1) >> 1) - max(0, elements.bit_length() - 1)


def group_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, groups: int, E: Tensor, seeds: Tensor, floats: bool
) -> Tensor:
    """U + 2048, an index 0..4095 (int32), of the stream (N, H, W, C) int16.

    ``floats``: the last step in float64, where ``largest_shift`` is at most ``SHIFT_PROVEN``. Then
    |x*Am|, |mean| <= 2**30 + 1, |beta term|, index offset <= 2**(F + 4) and half <= 2**(F - 8) sum
    to less than 2**53; a channel with gamma = 0 has multiples of 2**(F - 11) below 2**(F + 6).
    """
    n, height, width, channels = x.shape
    repeat = channels // groups
    elements = height * width * repeat
    # per channel first: (N, H*W, C) sums along contiguous channels
    rows = x.view(n, height * width, channels)
    S1, S2 = (s.view(n, groups, repeat).sum(dim=2) for s in exact_float.moments(rows))
    r, e = rsqrt(elements * S2 - S1 * S1 + E, seeds)
    # (N, groups) -> (N, C)
    r, e, S1 = (s.repeat_interleave(repeat, dim=1) for s in (r, e, S1))
    slope = gamma * r * elements
    k = (exact_float.bit_length(slope.abs()) - SLOPE_BITS).clamp(min=0)
    Am = (slope + half(k)) >> k
    F = 16 + GAMMA_FRACTION + e - k
    mean = torch.div(-S1 * Am + elements // 2, elements, rounding_mode="floor")
    B = mean + ((beta << (F - GAMMA_FRACTION).clamp(min=0)) >> (GAMMA_FRACTION - F).clamp(min=0))
    shift = F - U_FRACTION
    # the index's offset joins B: |B| + 2**(F + 4) + |x*Am| < 2**63 while V < 2**62
    B += torch.bitwise_left_shift(torch.full_like(shift, U_OFFSET), shift) + half(shift)
    Am, B, shift = (s[:, None, :] for s in (Am, B, shift))
    if floats:
        factor = exact_float.power(-shift)
        u = exact_float.scaled_floor(
            rows, Am * factor, B * factor, 0, 2 * U_OFFSET - 1, torch.int32
        )
    else:
        u = ((rows * Am + B) >> shift).clamp_(0, 2 * U_OFFSET - 1).to(torch.int32)
    return u.view(x.shape)


def numerators(scores: Tensor, logit: Tensor, table: Tensor) -> Tensor:
    """Numerators 0..127 (int16) of the scores of whole rows, (N, heads, L, L) integers.

    ``table``: of ``tables``, the numerator of every distance 0..511 from the row's maximum.
    float64 is exact: scores of at most 2**14 a product of q and k, M < 2**16 and n <= 47 leave
    2**30 * depth + 2**46 below 2**53.
    """
    scores = exact_float.rounded_shift(scores, logit[0], logit[1], -32768, 32767, torch.int32)
    distance = (scores.amax(dim=3, keepdim=True) - scores).clamp_(max=DISTANCE_MAX)
    return torch.index_select(table, 0, distance.view(-1)).view(scores.shape)


def divide(total: Tensor, S: Tensor, value: Tensor) -> Tensor:
    """int8 output of a row: ``total`` = sum e*v over ``S`` = sum e, times the scale ``value``."""
    w = exact_float.bit_length(S)
    R = torch.div(torch.ones_like(w) << (15 + w), S, rounding_mode="floor").clamp_(max=65535)
    P = (R * value[0] + (1 << 15)) >> 16
    n = w + (value[1] - 1)
    total = total * P
    total += half(n)
    total >>= n
    return total.clamp_(-128, 127).to(torch.int8)


def sampler_step(
    x: Tensor, eps: Tensor, coefficients: tuple[int, ...], reach: int, noise: Tensor | None
) -> Tensor:
    """X of the next step, int16 Q3.12; ``coefficients``: p, q, a, b, d, c of the step."""
    p, q, a, b, d, c = coefficients
    rounding = 1 << (COEFFICIENT_FRACTION - 1)
    now, predicted = x.to(torch.int64), eps.to(torch.int64)
    total = b * now + d * predicted + rounding
    if a:
        x0 = (p * now + q * predicted + rounding) >> COEFFICIENT_FRACTION
        total += a * x0.clamp_(-reach, reach)
    if c:
        if noise is None:
            raise ValueError("this step needs noise")
        total += c * noise.to(torch.int64)
    return (total >> COEFFICIENT_FRACTION).clamp_(-32768, 32767).to(torch.int16)


def attention(
    q: Tensor, k: Tensor, v: Tensor, logit: Tensor, value: Tensor, table: Tensor
) -> Tensor:
    """Softmax(q k^T) v, int8 (N, heads, L, d) each.

    ``logit``, ``value`` (2,) int64: multiplier and shift; ``table``: as for ``numerators``.
    """
    length, depth = q.shape[2:]
    scores = exact_matmul.matmul(q, k.transpose(2, 3), depth << 14)
    e = numerators(scores, logit, table)
    total = exact_matmul.matmul(e, v, length * 127 * 128)
    return divide(total, e.sum(dim=3, keepdim=True), value)


def tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """``RSQRT_SEEDS``, and the softmax numerator of every distance 0..511, on ``device``."""
    distances = -np.arange(DISTANCE_MAX + 1)
    return (
        torch.tensor(RSQRT_SEEDS, dtype=torch.int64, device=device),
        torch.from_numpy(softmax.numerators(distances)).to(device, torch.int16),
    )
