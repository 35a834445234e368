"""Integer matrix products carried in float, exact because every partial sum is proven small.

``acc[n, y, x, o] = sum_klc weight[o, c, k, l] * operand[n, y*stride + k, x*stride + l, c]``

With ``golden.exact_float`` the one place that may hold tensor integers in a float. A sum of
integers is exact in any order of summation while no partial sum can pass 2**24 in float32 and
2**53 in float64, so neither the choice of the kernel nor the number of threads can change a bit. A
conv is either oneDNN's direct algorithm, asked for by that name, or patches gathered (no
arithmetic) and multiplied as one matrix product: algorithms that transform their input, such as
Winograd, are never involved.
"""

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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
    "full_precision",
    "matmul",
    "matmul_exact",
    "patches",
    "products",
]

EXACT_LIMIT = 1 << 53
SINGLE_LIMIT = 1 << 24
PATCH_ELEMENTS = 1 << 18
PARTS_MAX = 4  # more float32 products than this cost more than one in float64
MERGED_SHIFT_MAX = 37  # 2**47 + 2**(37 + 15) + 2**36 < 2**53


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
def full_precision() -> Iterator[None]:
    """No TF32 and no bf16 splitting inside: both would round the operands.

    The setting is the process's: threads that multiply need it around all of them.
    """
    convs: Any = torch.backends.mkldnn.conv  # type: ignore[attr-defined]  # no stub
    before = torch.get_float32_matmul_precision(), convs.fp32_precision
    torch.set_float32_matmul_precision("highest")
    convs.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        convs.fp32_precision = before[1]


@dataclass(frozen=True)
class ConvWeight:
    """Weights of one conv, cut into products that are exact in their float type.

    ``parts``: (first, last) input channels and their (kh*kw*channels, Cout) float matrix; all
    float32 where at most ``PARTS_MAX`` of them keep every partial sum within 2**24, else one in
    float64. ``direct``: the same parts as (Cout, channels, kh, kw) where oneDNN multiplies them.
    """

    kernel: int
    stride: int
    padding: tuple[int, int, int, int]
    parts: tuple[tuple[int, int, Tensor], ...]
    direct: tuple[Tensor, ...]

    @property
    def is_direct(self) -> bool:
        """Whether ``products`` takes it: float32, by a direct convolution or 1x1."""
        plain = self.kernel == 1 and self.stride == 1 and not any(self.padding)
        return bool(self.direct) or (plain and self.parts[0][2].dtype == torch.float32)

    def output_shape(self, operand: Tensor) -> tuple[int, int, int]:
        """(N, Ho, Wo) of the conv of ``operand`` (N, H, W, Cin)."""
        n, height, width, _ = operand.shape
        left, right, top, bottom = self.padding
        ho = (height + top + bottom - self.kernel) // self.stride + 1
        return n, ho, (width + left + right - self.kernel) // self.stride + 1

    @classmethod
    def prepare(
        cls,
        weight: npt.NDArray[np.int8],
        segments: Sequence[int],
        reaches: Sequence[int],
        stride: int,
        padding: tuple[int, int, int, int],
        device: torch.device,
        least: Sequence[int] | None = None,
    ) -> "ConvWeight":
        """Cut ``weight`` (Cout, Cin, k, k) for operands within ``least``..``reaches`` a segment.

        ``segments``: channels of each concatenated part; ``least``: at most 0, the negated
        ``reaches`` if None. ``OverflowError`` if 2**53 does not hold.
        """
        outputs, inputs, kernel, _ = weight.shape
        values = weight.astype(np.int64)
        high = np.repeat(np.array(reaches, dtype=np.int64), segments)[:, None, None]
        low = -high
        if least is not None:
            low = np.repeat(np.array(least, dtype=np.int64), segments)[:, None, None]
        # a sum of any of the products, in any order, lies between these two: (Cin, Cout) each
        above = np.maximum(values * low, values * high).sum(axis=(2, 3)).T
        below = np.minimum(values * low, values * high).sum(axis=(2, 3)).T
        bound = int(max(above.sum(axis=0).max(), -below.sum(axis=0).min()))
        if bound > EXACT_LIMIT:
            raise OverflowError(f"partial sums pass 2**53: {bound}")
        cuts, kind = _cuts(above, below), torch.float32
        if len(cuts) > PARTS_MAX:
            cuts, kind = [(0, inputs)], torch.float64
        # (Cout, Cin, kh, kw) -> (kh, kw, Cin, Cout)
        taps = torch.from_numpy(values).permute(2, 3, 1, 0).to(device, kind)
        parts = tuple((a, b, taps[:, :, a:b].reshape(-1, outputs)) for a, b in cuts)
        direct: tuple[Tensor, ...] = ()
        if kernel > 1 and kind == torch.float32 and _has_direct(device):
            direct = tuple(
                taps[:, :, a:b].permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
                for a, b in cuts
            )
        return cls(kernel, stride, padding, parts, direct)


def _has_direct(device: torch.device) -> bool:
    """Whether oneDNN's direct convolution is at hand."""
    machine = platform.machine().lower() in {"x86_64", "amd64"}
    return device.type == "cpu" and machine and torch.backends.mkldnn.is_available()


def _cuts(above: Int64, below: Int64) -> list[tuple[int, int]]:
    """Runs of input channels whose sums of ``above`` and ``-below`` (Cin, Cout) keep to 2**24.

    Runs of one channel may pass it: there are more than ``PARTS_MAX`` then.
    """
    cuts, first, inputs = [], 0, len(above)
    while first < inputs:
        up, down = above[first:].cumsum(axis=0), -below[first:].cumsum(axis=0)
        over = np.maximum(up, down).max(axis=1) > SINGLE_LIMIT
        if over[0]:
            return [(0, inputs)] * (PARTS_MAX + 1)
        last = first + int(over.argmax()) if over.any() else inputs
        cuts.append((first, last))
        first = last
    return cuts


def patches(operand: Tensor, kernel: int, stride: int, kind: torch.dtype) -> Tensor:
    """Gather the windows of an already padded (N, H, W, C): (N*Ho*Wo, kernel*kernel*C)."""
    n, height, width, channels = operand.shape
    ho, wo = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    a, b, c, d = operand.stride()
    shape = (n, ho, wo, kernel, kernel, channels)
    windows = operand.as_strided(shape, (a, b * stride, c * stride, b, c, d))
    return windows.to(kind, memory_format=torch.contiguous_format).reshape(n * ho * wo, -1)


def _direct(operand: Tensor, weight: ConvWeight) -> list[Tensor]:
    """Every part's product, (N*Ho*Wo, Cout) float32, by oneDNN's direct convolution."""
    left, right, top, bottom = weight.padding
    around = (top, left)
    if left != right or top != bottom:
        operand = functional.pad(operand, (0, 0, left, right, top, bottom))
        around = (0, 0)
    products = []
    for (first, last, _), part in zip(weight.parts, weight.direct, strict=True):
        # (N, H, W, C) -> (N, C, H, W) in memory of channels last
        values = operand[..., first:last].to(torch.float32, memory_format=torch.contiguous_format)
        acc = torch.mkldnn_convolution(
            values.permute(0, 3, 1, 2), part, None, around, (weight.stride,) * 2, (1, 1), 1
        )
        products.append(acc.permute(0, 2, 3, 1).reshape(-1, part.shape[0]))
    return products


def products(operand: Tensor, weight: ConvWeight) -> list[Tensor]:
    """Every part's product, (N*Ho*Wo, Cout) float32, of integers (N, H, W, Cin) held in float32.

    For ``weight.is_direct`` only; inside ``full_precision``.
    """
    if weight.direct:
        return _direct(operand, weight)
    rows = operand.reshape(-1, operand.shape[3])
    return [torch.mm(rows[:, first:last], part) for first, last, part in weight.parts]


def _products(operand: Tensor, weight: ConvWeight) -> Iterator[tuple[slice, list[Tensor]]]:
    """Images and every part's product, (images*Ho*Wo, Cout).

    On a CPU as many images at a time as have patches that stay in the cache.
    """
    n, ho, wo = weight.output_shape(operand)
    if weight.direct:
        yield slice(0, n), _direct(operand, weight)
        return
    if any(weight.padding):
        left, right, top, bottom = weight.padding
        operand = functional.pad(operand, (0, 0, left, right, top, bottom))
    operand = operand.contiguous()
    batch = n
    if operand.device.type == "cpu":
        taps = weight.kernel * weight.kernel
        batch = max(1, PATCH_ELEMENTS // (taps * operand.shape[3] * ho * wo))
    for first in range(0, n, batch):
        images = slice(first, min(first + batch, n))
        columns = (
            patches(operand[images, ..., a:b], weight.kernel, weight.stride, part.dtype)
            for a, b, part in weight.parts
        )
        yield images, [torch.mm(c, p[2]) for c, p in zip(columns, weight.parts, strict=True)]


def conv2d(operand: Tensor, weight: ConvWeight) -> Tensor:
    """Cross-correlation of integers (N, H, W, Cin) int16 -> (N, Ho, Wo, Cout) int64.

    Operands must keep to the reaches that ``weight`` was prepared for.
    """
    blocks = []
    with full_precision():
        for _, products in _products(operand, weight):
            blocks.append(torch.stack([p.long() for p in products]).sum(dim=0))
    return torch.cat(blocks).view(*weight.output_shape(operand), -1)


def conv2d_requantized(
    operand: Tensor, weight: ConvWeight, scale: Tensor, bias: Tensor, bits: int, merged: bool
) -> Tensor:
    """``sat(rsh(acc * M, n) + b)`` of a conv, (N, H, W, Cin) int16 -> (N, Ho, Wo, Cout).

    ``scale`` (Cout,) float64, M * 2**-n exactly; ``bias`` (1 or N, Cout) float64, int16 values.
    float64 loses nothing: |acc * M| < 2**47, the half below its last bit makes 48 bits, and the
    bias is added to an integer below 2**48. ``merged``: bias and half are added as one, where every
    n with M > 0 is at most ``MERGED_SHIFT_MAX``: acc*M + b*2**n + 2**(n-1) stays below 2**53, and
    M = 0 leaves b + 1/2. Returns int16 for more than 8 bits, else int8.
    """
    shape = weight.output_shape(operand)
    outputs = scale.shape[0]
    kind = torch.int16 if bits > 8 else torch.int8
    result = torch.empty((*shape, outputs), dtype=kind, device=operand.device)
    top = 1 << (bits - 1)
    with full_precision():
        for images, products in _products(operand, weight):
            acc = products[0].to(torch.float64)
            for product in products[1:]:
                acc += product
            # (images*Ho*Wo, Cout) -> (images, Ho*Wo, Cout)
            acc = acc.view(-1, shape[1] * shape[2], outputs)
            added = (bias[images] if len(bias) > 1 else bias)[:, None, :]
            if merged:
                torch.addcmul(added + 0.5, acc, scale, out=acc).floor_()
            else:
                acc.mul_(scale).add_(0.5).floor_().add_(added)
            result[images] = acc.clamp_(-top, top - 1).view(-1, *shape[1:], outputs)
    return result


def matmul(left: Tensor, right: Tensor, bound: int) -> Tensor:
    """``left @ right`` of integers, exact for |partial sums| <= ``bound``.

    int32 by float32 up to 2**24, int64 by float64 up to 2**53, else ``OverflowError``.
    """
    if bound > EXACT_LIMIT:
        raise OverflowError(f"partial sums must be at most 2**53, the bound is {bound}")
    small = bound <= SINGLE_LIMIT
    kind = torch.float32 if small else torch.float64
    with full_precision():
        product = torch.matmul(left.to(kind), right.to(kind))
    return product.to(torch.int32 if small else torch.int64)
