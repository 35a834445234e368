"""Integer convolution carried in float64, exact because every partial sum is below 2**53.

``acc[n, o, y, x] = sum_ckl weight[o, c, k, l] * operand[n, c, y*stride + k, x*stride + l]``

The one module that may hold tensor integers in a float. A float64 sum of integers is exact in any
order of summation while the sum of the magnitudes stays at or below 2**53, so neither the choice of
the BLAS kernel nor the number of threads can change a bit. Patches are gathered (no arithmetic) and
multiplied as one matrix product: algorithms that transform their input, such as Winograd, are never
involved.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from golden.numbers import Int64, as_int64

__all__ = ["EXACT_LIMIT", "conv2d_exact", "matmul_exact"]

EXACT_LIMIT = 1 << 53
PATCH_ELEMENTS = 1 << 18


def _bounded(left: Int64, right: Int64) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as float64 after proving the row sums of ``|left|`` times ``max|right|`` small."""
    reach = int(np.abs(right).max(initial=0))
    rows = np.abs(left).sum(axis=-1, dtype=np.int64)
    bound = int(rows.max(initial=0)) * reach
    if bound > EXACT_LIMIT:
        raise OverflowError(f"partial sums must be at most 2**53, the bound is {bound}")
    return torch.from_numpy(left.astype(np.float64)), torch.from_numpy(right.astype(np.float64))


def matmul_exact(left: npt.ArrayLike, right: npt.ArrayLike) -> Int64:
    """``left @ right`` of integers, (..., R, K) and (..., K, S) -> (..., R, S) int64.

    ``OverflowError`` unless the largest row sum of |left| times the largest |right| is at most
    2**53.
    """
    a, b = _bounded(as_int64(left, "left"), as_int64(right, "right"))
    return torch.matmul(a, b).numpy().astype(np.int64)


def conv2d_exact(
    operand: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Int64:
    """Cross-correlation of integers, zeros at (left, right, top, bottom).

    ``operand`` (N, Cin, H, W), ``weight`` (Cout, Cin, kh, kw) -> (N, Cout, Ho, Wo) int64.
    ``OverflowError`` unless sum |weight| of each output channel times the largest |operand| is at
    most 2**53.
    """
    weights = as_int64(weight, "weight")
    outputs, _, kh, kw = weights.shape
    # (Cout, Cin, kh, kw) -> (Cout, Cin*kh*kw)
    rows, values = _bounded(weights.reshape(outputs, -1), as_int64(operand, "operand"))
    values = functional.pad(values, padding)
    n, _, height, width = values.shape
    ho, wo = (height - kh) // stride + 1, (width - kw) // stride + 1
    result = np.empty((n, outputs, ho * wo), dtype=np.int64)
    # a few images at a time: the patches are kh*kw times the input, and should stay in the cache
    batch = max(1, PATCH_ELEMENTS // max(1, rows.shape[1] * ho * wo))
    for first in range(0, n, batch):
        part = values[first : first + batch]
        if kh == kw == 1 and stride == 1:
            patches = part.flatten(2)
        else:
            patches = functional.unfold(part, (kh, kw), stride=stride)
        # (Cout, K) @ (N, K, Ho*Wo) -> (N, Cout, Ho*Wo)
        result[first : first + batch] = torch.matmul(rows, patches).numpy()
    # (N, Cout, Ho*Wo) -> (N, Cout, Ho, Wo)
    return result.reshape(n, outputs, ho, wo)
