"""Elementwise integer functions carried in float64, exact because every value has 53 bits at most.

Scaling by a power of two is exact, so ``rsh(x*M, n) = floor(x * (M * 2**-n) + 1/2)`` wherever
``|x*M| + 2**(n-1)`` is at most 2**53. Processors multiply and shift 64-bit integers one by one, but
floats several at a time.
"""

import torch
from torch import Tensor

from golden.exact_matmul import EXACT_LIMIT

__all__ = ["bit_length", "moments", "power", "rounded_shift", "scaled_floor"]


def power(exponent: Tensor) -> Tensor:
    """``2**exponent`` as float64, exactly; ``exponent`` int64 in -1022..1023."""
    return torch.ldexp(torch.ones_like(exponent, dtype=torch.float64), exponent)


def scaled_floor(
    x: Tensor, scale: Tensor, offset: Tensor, low: int, top: int, kind: torch.dtype
) -> Tensor:
    """``clamp(floor(x*scale + offset), low, top)`` of integers, as integers of ``kind``.

    ``scale``, ``offset`` float64, integers times a power of two 2**-n; the caller proves that
    ``|x*scale + offset| * 2**n`` is at most 2**53.
    """
    value = x.to(torch.float64)
    value = torch.addcmul(offset, value, scale, out=value)
    if low:  # truncation is floor only from 0 on
        value.floor_()
    return value.clamp_(low, top).to(kind)


def rounded_shift(
    x: Tensor, multiplier: Tensor, shift: Tensor, low: int, top: int, kind: torch.dtype
) -> Tensor:
    """``clamp(rsh(x * multiplier, shift), low, top)`` of integers, ``low`` < 0.

    The caller proves that ``|x * multiplier| + 2**(shift - 1)`` is at most 2**53.
    """
    half = (shift > 0) * 0.5
    return scaled_floor(x, multiplier * power(-shift), half, low, top, kind)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sums and sums of squares over dimension 1 of (N, L, C) int16: two (N, C) int64.

    float64 is exact: L * 2**30 is at most 2**53, else ``OverflowError``.
    """
    if x.shape[1] << 30 > EXACT_LIMIT:
        raise OverflowError(f"sums of squares of {x.shape[1]} values pass 2**53")
    value = x.to(torch.float64)
    return value.sum(dim=1).to(torch.int64), value.square_().sum(dim=1).to(torch.int64)


def bit_length(values: Tensor) -> Tensor:
    """Bits of non-negative int64 values up to 2**62, as int64."""
    bits = torch.frexp(values.to(torch.float64)).exponent.to(torch.int64)
    # the conversion may have rounded up to the next power of two
    power = torch.bitwise_left_shift(torch.ones_like(bits), (bits - 1).clamp_(min=0))
    return bits - ((power > values) & (values > 0)).to(torch.int64)
