"""Fused kernels of the integer network for CUDA, in Triton: every operation on integers.

Products of int8 are summed in int32, everything else is int64, so nothing is rounded but where the
formula says so. Where an operand has more than 8 bits it is cut in two, ``x = 64 * high + low``
with both in int8, and the two products are joined in int32: a wrap of a part cancels, because the
sum itself stays below 2**31 (``golden.calibration.overflow``). Tensors are contiguous
(N, H, W, C); ``TRITON_INTERPRET=1`` runs the same kernels on a CPU.
"""

import triton
import triton.language as tl

__all__ = ["DIRECT", "REQUANTIZED", "TABLE", "attention", "conv", "group_norm"]

DIRECT = tl.constexpr(0)
TABLE = tl.constexpr(1)
REQUANTIZED = tl.constexpr(2)


@triton.jit
def _half(n):
    """``2**(n - 1)``, 0 for n = 0, of int64 n."""
    return ((n * 0 + 1) << n) >> 1


@triton.jit
def _bit_length(v):
    """Bits of non-negative int64 values."""
    bits = v * 0
    for i in tl.static_range(6):
        large = (v >> (32 >> i)) > 0
        bits = tl.where(large, bits + (32 >> i), bits)
        v = tl.where(large, v >> (32 >> i), v)
    return bits + v


@triton.jit
def _clamp(v, low, high):
    return tl.minimum(tl.maximum(v, low), high)


@triton.jit
def conv(
    source,
    weight,
    table,
    edge_multiplier,
    edge_shift,
    edge_k,
    multiplier,
    shift,
    bias,
    bias_stride,
    residual,
    result,
    pixels,
    height,
    width,
    out_height,
    out_width,
    outputs,
    top,
    out_top,
    INPUTS: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    LEFT: tl.constexpr,
    ABOVE: tl.constexpr,
    UP: tl.constexpr,
    EDGE: tl.constexpr,
    WIDE: tl.constexpr,
    RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """``sat(rsh(acc * M, n) + b)``, then ``sat16(residual + that)`` if ``RESIDUAL``.

    ``source`` (N, height, width, INPUTS); ``weight`` (KERNEL*KERNEL*INPUTS, outputs) int8; ``UP``:
    0, or 1 for nearest-neighbour twice the size; one program computes ROWS pixels of COLS channels.
    """
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(1) * COLS + tl.arange(0, COLS)
    inside, wanted = m < pixels, o < outputs
    image = (m // (out_height * out_width)).to(tl.int64)
    place = m % (out_height * out_width)
    y, x = place // out_width * STRIDE - ABOVE, place % out_width * STRIDE - LEFT
    first = tl.zeros((ROWS, COLS), dtype=tl.int32)
    second = tl.zeros((ROWS, COLS), dtype=tl.int32)
    for block in range(tl.cdiv(KERNEL * KERNEL * INPUTS, DEPTH)):
        entry = block * DEPTH + tl.arange(0, DEPTH)
        if INPUTS % DEPTH == 0:
            tap = block // (INPUTS // DEPTH)
            c = entry - tap * INPUTS
            row, col = y + tap // KERNEL, x + tap % KERNEL
            known = inside & (row >= 0) & (row < height << UP) & (col >= 0) & (col < width << UP)
            at = (image * height + (row >> UP)) * width + (col >> UP)
            here = tl.broadcast_to(known[:, None], (ROWS, DEPTH))
            address = at[:, None] * INPUTS + c[None, :]
        else:
            taps = entry // INPUTS
            c = entry % INPUTS
            rows = y[:, None] + (taps // KERNEL)[None, :]
            cols = x[:, None] + (taps % KERNEL)[None, :]
            here = (rows >= 0) & (rows < height << UP) & (cols >= 0) & (cols < width << UP)
            here = here & inside[:, None] & (taps < KERNEL * KERNEL)[None, :]
            at = (image[:, None] * height + (rows >> UP)) * width + (cols >> UP)
            address = at * INPUTS + c[None, :]
        value = tl.load(source + address, mask=here, other=0).to(tl.int32)
        if EDGE == TABLE:
            value = tl.load(table + value, mask=here, other=0).to(tl.int32)
        if EDGE == REQUANTIZED:
            M = tl.load(edge_multiplier + c)[None, :]
            n = tl.load(edge_shift + c)[None, :]
            code = _clamp((value.to(tl.int64) * M + _half(n)) >> n, -top, top - 1)
            value = (code << tl.load(edge_k + c)[None, :]).to(tl.int32)
            value = tl.where(here, value, 0)
        used = (entry < KERNEL * KERNEL * INPUTS)[:, None] & wanted[None, :]
        w = tl.load(weight + entry[:, None] * outputs + o[None, :], mask=used, other=0)
        if WIDE:
            first = tl.dot((value >> 6).to(tl.int8), w, acc=first, out_dtype=tl.int32)
            second = tl.dot((value & 63).to(tl.int8), w, acc=second, out_dtype=tl.int32)
        else:
            second = tl.dot(value.to(tl.int8), w, acc=second, out_dtype=tl.int32)
    acc = (first * 64 + second).to(tl.int64) if WIDE else second.to(tl.int64)
    M = tl.load(multiplier + o, mask=wanted, other=0)[None, :]
    n = tl.load(shift + o, mask=wanted, other=0)[None, :]
    stored = inside[:, None] & wanted[None, :]
    b = tl.load(bias + image[:, None] * bias_stride + o[None, :], mask=stored, other=0)
    out = _clamp(((acc * M + _half(n)) >> n) + b, -out_top, out_top - 1)
    to = m.to(tl.int64)[:, None] * outputs + o[None, :]
    if RESIDUAL:
        out = _clamp(out + tl.load(residual + to, mask=stored, other=0), -32768, 32767)
    tl.store(result + to, out.to(result.dtype.element_ty), mask=stored)


@triton.jit
def group_norm(
    source,
    gamma,
    beta,
    epsilon,
    seeds,
    table,
    result,
    channels,
    PIXELS: tl.constexpr,
    REPEAT: tl.constexpr,
    LOOKUP: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """U + 2048, or ``table`` of it if ``LOOKUP``, int16; one program does a group of an image.

    ``source``, ``result`` (N, PIXELS, channels) int16; ``REPEAT`` channels a group.
    """
    start = tl.program_id(0).to(tl.int64) * PIXELS
    part = tl.arange(0, COLS)
    used = part < REPEAT
    c = tl.program_id(1) * REPEAT + part
    S1 = tl.zeros((ROWS, COLS), dtype=tl.int64)
    S2 = tl.zeros((ROWS, COLS), dtype=tl.int64)
    for block in range(tl.cdiv(PIXELS, ROWS)):
        p = block * ROWS + tl.arange(0, ROWS)
        here = (p < PIXELS)[:, None] & used[None, :]
        at = (start + p)[:, None] * channels + c[None, :]
        x = tl.load(source + at, mask=here, other=0).to(tl.int32)
        S1 += x
        S2 += x * x
    elements: tl.constexpr = PIXELS * REPEAT
    s1 = tl.sum(tl.sum(S1, axis=1), axis=0)
    V = elements * tl.sum(tl.sum(S2, axis=1), axis=0) - s1 * s1 + tl.load(epsilon)
    e = (_bit_length(V) - 1) >> 1
    v = (V << tl.maximum(30 - 2 * e, 0)) >> tl.maximum(2 * e - 30, 0)
    guess = tl.load(seeds + (v >> 25) - 32)
    newton = 3221225472 - ((v * (guess * guess >> 16)) >> 16)
    r = tl.minimum(((guess * newton >> 14) + 65536) >> 17, 65536)
    slope = tl.load(gamma + c, mask=used, other=0) * r * elements
    k = tl.maximum(_bit_length(tl.abs(slope)) - 15, 0)
    Am = (slope + _half(k)) >> k
    F = 27 + e - k
    numerator = elements // 2 - s1 * Am
    mean = numerator // elements
    mean = tl.where(numerator - mean * elements < 0, mean - 1, mean)
    offset = tl.load(beta + c, mask=used, other=0)
    B = mean + ((offset << tl.maximum(F - 11, 0)) >> tl.maximum(11 - F, 0))
    n = F - 7
    B += ((n * 0 + 2048) << n) + _half(n)
    for block in range(tl.cdiv(PIXELS, ROWS)):
        p = block * ROWS + tl.arange(0, ROWS)
        here = (p < PIXELS)[:, None] & used[None, :]
        at = (start + p)[:, None] * channels + c[None, :]
        x = tl.load(source + at, mask=here, other=0).to(tl.int64)
        u = _clamp((x * Am[None, :] + B[None, :]) >> n[None, :], 0, 4095)
        if LOOKUP:
            u = tl.load(table + u, mask=here, other=0)
        tl.store(result + at, u.to(tl.int16), mask=here)


@triton.jit
def _distances(
    q,
    k,
    base,
    first,
    LENGTH: tl.constexpr,
    channels,
    d,
    used,
    M,
    n,
    COLS: tl.constexpr,
):
    """Logits (rows, COLS) of the keys from ``first`` on, int64; absent keys lie below all."""
    j = first + tl.arange(0, COLS)
    here = (j < LENGTH)[None, :]
    at = base + j.to(tl.int64)[None, :] * channels + d[:, None]
    keys = tl.load(k + at, mask=here & used[:, None], other=0)
    scores = tl.dot(q, keys, out_dtype=tl.int32).to(tl.int64)
    logits = _clamp((scores * M + _half(n)) >> n, -32768, 32767)
    return tl.where(here, logits, -65536)


@triton.jit
def attention(
    q,
    k,
    v,
    logit,
    value,
    table,
    result,
    channels,
    heads,
    LENGTH: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Softmax(q k^T) v of (N, LENGTH, heads*DEPTH) int8, the same shape int8.

    ``logit``, ``value``: multiplier and shift, int64; ``table``: numerators of distances 0..511.
    One program does ROWS queries of a head; WIDTH is the next power of two of DEPTH.
    """
    image, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    base = image.to(tl.int64) * LENGTH * channels + head * DEPTH
    d = tl.arange(0, WIDTH)
    used = d < DEPTH
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    own = base + i.to(tl.int64)[:, None] * channels + d[None, :]
    here = (i < LENGTH)[:, None] & used[None, :]
    queries = tl.load(q + own, mask=here, other=0)
    M, n = tl.load(logit), tl.load(logit + 1)
    most = tl.full((ROWS,), -65536, dtype=tl.int64)
    for block in range(tl.cdiv(LENGTH, COLS)):
        logits = _distances(queries, k, base, block * COLS, LENGTH, channels, d, used, M, n, COLS)
        most = tl.maximum(most, tl.max(logits, axis=1))
    S = tl.zeros((ROWS,), dtype=tl.int64)
    total = tl.zeros((ROWS, WIDTH), dtype=tl.int32)
    for block in range(tl.cdiv(LENGTH, COLS)):
        logits = _distances(queries, k, base, block * COLS, LENGTH, channels, d, used, M, n, COLS)
        j = block * COLS + tl.arange(0, COLS)
        known = (j < LENGTH)[None, :] & (i < LENGTH)[:, None]
        distance = tl.minimum(most[:, None] - logits, 511)
        e = tl.load(table + distance, mask=known, other=0).to(tl.int32)
        S += tl.sum(e, axis=1)
        at = base + j.to(tl.int64)[:, None] * channels + d[None, :]
        values = tl.load(v + at, mask=(j < LENGTH)[:, None] & used[None, :], other=0)
        total = tl.dot(e.to(tl.int8), values, acc=total, out_dtype=tl.int32)
    S = tl.maximum(S, 1)
    bits = _bit_length(S)
    R = tl.minimum((1 << (15 + bits)) // S, 65535)
    P = (R * tl.load(value) + 32768) >> 16
    shift = bits + tl.load(value + 1) - 1
    out = (total.to(tl.int64) * P[:, None] + _half(shift)[:, None]) >> shift[:, None]
    tl.store(result + own, _clamp(out, -128, 127).to(tl.int8), mask=here)
