"""Integer matrix products carried in float, exact because every partial sum is proven small.

``acc[n, y, x, o] = sum_klc weight[o, c, k, l] * operand[n, y*stride + k, x*stride + l, c]``

The one module that may hold tensor integers in a float. A sum of integers is exact in any order of
summation while the sum of the magnitudes stays at or below 2**24 in float32 and 2**53 in float64,
so neither the choice of the BLAS kernel nor the number of threads can change a bit. Patches are
gathered (no arithmetic) and multiplied as one matrix product: algorithms that transform their
input, such as Winograd, are never involved.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from golden.numbers import Int64, as_int64

__all__ = [
    "EXACT_LIMIT",
    "SINGLE_LIMIT",
    "ConvWeight",
    "conv2d",
    "conv2d_exact",
    "conv2d_requantized",
    "matmul",
    "matmul_exact",
    "patches",
]

EXACT_LIMIT = 1 << 53
SINGLE_LIMIT = 1 << 24
PATCH_ELEMENTS = 1 << 18
PARTS_MAX = 4  # more float32 products than this cost more than one in float64


def _bounded(left: Int64, right: Int64) -> tuple[Tensor, Tensor]:
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
            columns = part.flatten(2)
        else:
            columns = functional.unfold(part, (kh, kw), stride=stride)
        # (Cout, K) @ (N, K, Ho*Wo) -> (N, Cout, Ho*Wo)
        result[first : first + batch] = torch.matmul(rows, columns).numpy()
    # (N, Cout, Ho*Wo) -> (N, Cout, Ho, Wo)
    return result.reshape(n, outputs, ho, wo)


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 and no bf16 splitting inside: both would round the operands."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class ConvWeight:
    """Weights of one conv, cut into products that are exact in their float type.

    ``parts``: (first, last) rows of K = kh*kw*Cin and the (rows, Cout) float matrix; all float32
    where at most ``PARTS_MAX`` of them keep ``sum |w| * max|operand|`` at 2**24, else one in
    float64.
    """

    kernel: int
    stride: int
    padding: tuple[int, int, int, int]
    parts: tuple[tuple[int, int, Tensor], ...]

    @classmethod
    def prepare(
        cls,
        weight: npt.NDArray[np.int8],
        segments: Sequence[int],
        reaches: Sequence[int],
        stride: int,
        padding: tuple[int, int, int, int],
        device: torch.device,
    ) -> "ConvWeight":
        """Cut ``weight`` (Cout, Cin, k, k) for operands of at most ``reaches`` a segment.

        ``segments``: channels of each concatenated part. ``OverflowError`` if 2**53 does not hold.
        """
        outputs, _, kernel, _ = weight.shape
        # (Cout, Cin, kh, kw) -> (kh*kw*Cin, Cout)
        matrix = weight.astype(np.int64).transpose(2, 3, 1, 0).reshape(-1, outputs)
        reach = np.tile(np.repeat(np.array(reaches, dtype=np.int64), segments), kernel * kernel)
        bound = np.abs(matrix) * reach[:, None]
        if int(bound.sum(axis=0).max()) > EXACT_LIMIT:
            raise OverflowError(f"partial sums pass 2**53: {int(bound.sum(axis=0).max())}")
        running = bound.cumsum(axis=0)
        cuts = [0]
        while True:
            before = running[cuts[-1] - 1] if cuts[-1] else 0
            over = (running - before).max(axis=1) > SINGLE_LIMIT
            if not over.any():
                break
            cuts.append(int(over.argmax()))
        cuts.append(len(matrix))
        kind = torch.float32
        if len(cuts) - 1 > PARTS_MAX:
            cuts, kind = [0, len(matrix)], torch.float64
        whole = torch.from_numpy(matrix).to(device, kind)
        parts = tuple((a, b, whole[a:b]) for a, b in pairwise(cuts))
        return cls(kernel, stride, padding, parts)


def patches(operand: Tensor, kernel: int, stride: int, kind: torch.dtype) -> Tensor:
    """Gather the windows of an already padded (N, H, W, C): (N*Ho*Wo, kernel*kernel*C)."""
    n, height, width, channels = operand.shape
    ho, wo = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    a, b, c, d = operand.stride()
    shape = (n, ho, wo, kernel, kernel, channels)
    windows = operand.as_strided(shape, (a, b * stride, c * stride, b, c, d))
    return windows.to(kind, memory_format=torch.contiguous_format).reshape(n * ho * wo, -1)


def _output_shape(operand: Tensor, weight: ConvWeight) -> tuple[int, int, int]:
    """(N, Ho, Wo) of the conv."""
    n, height, width, _ = operand.shape
    left, right, top, bottom = weight.padding
    ho = (height + top + bottom - weight.kernel) // weight.stride + 1
    wo = (width + left + right - weight.kernel) // weight.stride + 1
    return n, ho, wo


def _columns(operand: Tensor, weight: ConvWeight) -> Iterator[tuple[slice, Tensor]]:
    """Images and their patches; on a CPU as many at a time as stay in the cache."""
    n, ho, wo = _output_shape(operand, weight)
    if any(weight.padding):
        left, right, top, bottom = weight.padding
        operand = functional.pad(operand, (0, 0, left, right, top, bottom))
    operand = operand.contiguous()
    kind = weight.parts[0][2].dtype
    batch = n
    if operand.device.type == "cpu":
        taps = weight.kernel * weight.kernel
        batch = max(1, PATCH_ELEMENTS // (taps * operand.shape[3] * ho * wo))
    for first in range(0, n, batch):
        images = slice(first, min(first + batch, n))
        yield images, patches(operand[images], weight.kernel, weight.stride, kind)


def conv2d(operand: Tensor, weight: ConvWeight) -> Tensor:
    """Cross-correlation of integers (N, H, W, Cin) int16 -> (N, Ho, Wo, Cout) int64.

    Operands must keep to the reaches that ``weight`` was prepared for.
    """
    blocks = []
    with _full_precision():
        for _, columns in _columns(operand, weight):
            products = [torch.mm(columns[:, a:b], part).long() for a, b, part in weight.parts]
            blocks.append(torch.stack(products).sum(dim=0) if products[1:] else products[0])
    return torch.cat(blocks).view(*_output_shape(operand, weight), -1)


def conv2d_requantized(
    operand: Tensor, weight: ConvWeight, scale: Tensor, bias: Tensor, bits: int
) -> Tensor:
    """``sat(rsh(acc * M, n) + b)`` of a conv, (N, H, W, Cin) int16 -> (N, Ho, Wo, Cout).

    ``scale`` (Cout,) float64, M * 2**-n exactly; ``bias`` (1 or N, Cout) float64, int16 values.
    float64 loses nothing: |acc * M| < 2**47, the half below its last bit makes 48 bits, and the
    bias is added to an integer below 2**48. Returns int16 for more than 8 bits, else int8.
    """
    shape = _output_shape(operand, weight)
    outputs = scale.shape[0]
    kind = torch.int16 if bits > 8 else torch.int8
    result = torch.empty((*shape, outputs), dtype=kind, device=operand.device)
    top = 1 << (bits - 1)
    with _full_precision():
        for images, columns in _columns(operand, weight):
            acc = torch.mm(columns[:, slice(*weight.parts[0][:2])], weight.parts[0][2])
            for first, last, part in weight.parts[1:]:
                acc = acc.to(torch.float64).add_(torch.mm(columns[:, first:last], part))
            value = (acc * scale).add_(0.5).floor_().view(-1, shape[1], shape[2], outputs)
            value += (bias[images] if len(bias) > 1 else bias)[:, None, None, :]
            result[images] = value.clamp_(-top, top - 1)
    return result


def matmul(left: Tensor, right: Tensor, bound: int) -> Tensor:
    """``left @ right`` of integers as int64, exact for |partial sums| <= ``bound``.

    float32 up to 2**24, float64 up to 2**53, else ``OverflowError``.
    """
    if bound > EXACT_LIMIT:
        raise OverflowError(f"partial sums must be at most 2**53, the bound is {bound}")
    kind = torch.float32 if bound <= SINGLE_LIMIT else torch.float64
    with _full_precision():
        return torch.matmul(left.to(kind), right.to(kind)).to(torch.int64)
