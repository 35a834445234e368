"""The integer network's steps between products in one pass over memory each, for a CPU.

``native.cpp`` is compiled once, by g++ for this very processor, into the cache folder; without a
compiler the plain operations of torch run. Operands of a product are integers held in float32, the
form in which ``golden.exact_matmul`` multiplies them; all else is an integer. Images in the
arguments are contiguous (N, H, W, C).
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golden.exact_matmul import SINGLE_LIMIT, products
from golden.files import cache_folder
from golden.integer import operations
from golden.integer.layers import Layer

__all__ = ["NativeLayer", "attends", "attention", "available", "conv", "group_norm"]

SOURCE = Path(__file__).with_name("native.cpp")
FLAGS = ["-O3", "-march=native", "-std=c++17", "-shared", "-fPIC"]
FLAGS += ["-fno-math-errno", "-fno-trapping-math"]
PARTS = ctypes.c_void_p * 4


def _processor() -> str:
    """What the compiler sees of this processor."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return line
    return platform.processor() or platform.machine()


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions; None where there is no compiler or it fails."""
    compiler = shutil.which(os.environ.get("CXX") or "g++")
    if compiler is None:
        return None
    parts = (SOURCE.read_text(encoding="utf-8"), compiler, *FLAGS, _processor())
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    try:
        folder = cache_folder() / "native"
        folder.mkdir(parents=True, exist_ok=True)
        built = folder / f"{name}.so"
        if not built.is_file():
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                made = Path(temporary) / built.name
                command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
                subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
                made.replace(built)
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.CalledProcessError):
        return None


def available() -> bool:
    """Whether the functions could be compiled and loaded."""
    return _library() is not None


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    if tensor is None:
        return ctypes.c_void_p(None)
    assert tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr())


def _call(name: str, *arguments: Any) -> None:
    getattr(_library(), name)(*arguments)


def _long(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)


@dataclass(frozen=True)
class NativeLayer:
    """Constants of one conv in the form that the functions read; lists have one entry a group."""

    layer: Layer
    tables: list[Tensor]  # (4096,) float32: operand of every u
    edges: list[tuple[Tensor, Tensor, Tensor]]  # M * 2**-n, half, 2**k of (Cin,), float64

    @classmethod
    def of(cls, layer: Layer) -> "NativeLayer":
        """Prepare ``layer``."""
        return cls(
            layer,
            [t.to(torch.float32) for t in layer.operands],
            [_edge(layer, g) for g in range(len(layer.edge))],
        )

    @property
    def can_run(self) -> bool:
        """Whether float32 products are exact and direct."""
        return self.layer.weight.is_direct

    def operand(self, source: Tensor, group: int) -> Tensor:
        """Operands, float32, of a stream or image (int16), or of attention (they are ready)."""
        if not self.edges:
            return source.to(torch.float32)
        source = source.contiguous()
        out = torch.empty(source.shape, dtype=torch.float32)
        channels = source.shape[-1]
        top = 2048 if self.layer.kind == "wide_stream" else 128
        _call(
            "edge", _at(source), _at(out), _long(source.numel() // channels), channels,
            *(_at(v) for v in self.edges[group]), ctypes.c_double(top),
        )  # fmt: skip
        return out


def _edge(layer: Layer, g: int) -> tuple[Tensor, Tensor, Tensor]:
    multiplier, shift, k = layer.channel_edge(g)
    step = torch.ldexp(torch.ones_like(k, dtype=torch.float64), k)
    return torch.ldexp(multiplier.double(), -shift), (shift > 0).double() * 0.5, step


def group_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, groups: int, E: Tensor, seeds: Tensor, floats: bool,
    table: Tensor,
) -> Tensor:  # fmt: skip
    """Operands, float32, of the stream (N, H, W, C) int16 after its norm, by ``table`` of u."""
    x = x.contiguous()
    n, height, width, channels = x.shape
    out = torch.empty(x.shape, dtype=torch.float32)
    _call(
        "group_norm", _at(x), _at(table), _at(out), _long(n), _long(height * width), channels,
        groups, _at(gamma), _at(beta), _long(int(E)), _at(seeds), int(floats),
    )  # fmt: skip
    return out


def conv(
    operand: Tensor,
    native: NativeLayer,
    group: int,
    bias: Tensor,
    residual: Tensor | None = None,
) -> Tensor:
    """One layer of its operands (N, H, W, Cin) float32, ``bias`` (1 or N, Cout) float64.

    Returns int16 (N, Ho, Wo, Cout), with ``residual`` added and saturated; q, k, v of 8 bits as
    the float32 operands of attention.
    """
    layer = native.layer
    if layer.spec.upsample:
        operand = operations.upsample(operand)
    n, ho, wo = layer.weight.output_shape(operand)
    acc = [part.contiguous() for part in products(operand, layer.weight)]
    scale, narrow = layer.scale[group], layer.spec.out_width <= 8
    outputs = len(scale)
    kind = torch.float32 if narrow else torch.int16
    result = torch.empty((n, ho, wo, outputs), dtype=kind)
    around = None if residual is None else residual.contiguous()
    bias = bias.contiguous()
    _call(
        "requantize", PARTS(*(part.data_ptr() for part in acc)), len(acc), _at(result), int(narrow),
        _at(around), _long(n), _long(ho * wo), outputs, _at(scale), _at(bias),
        _long(outputs if len(bias) > 1 else 0), int(layer.merged),
        ctypes.c_double(1 << (layer.spec.out_width - 1)),
    )  # fmt: skip
    return result


def attends(length: int, depth: int) -> bool:
    """Whether float32 holds the sums of ``attention``."""
    return max(depth << 14, length * 127 * 128) <= SINGLE_LIMIT


def attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, logit: Tensor, value: Tensor, table: Tensor
) -> Tensor:
    """Softmax(q k^T) v of (N, H, W, heads*d) int8 held in float32; so is the result.

    ``table``: numerators of distances 0..511, float32.
    """
    n, height, width, channels = q.shape
    length = height * width
    q, k, v = (t.view(n, length, heads, channels // heads).transpose(1, 2) for t in (q, k, v))
    scores = torch.matmul(q, k.transpose(2, 3)).contiguous()
    sums = torch.empty((n, heads, length), dtype=torch.int64)
    multiplier, shift = (int(part) for part in logit)
    _call(
        "numerators", _at(scores), _long(n * heads * length), _long(length),
        ctypes.c_double(multiplier * 2.0**-shift), ctypes.c_double(0.5 if shift else 0.0),
        _at(table), _at(sums),
    )  # fmt: skip
    total = torch.matmul(scores, v).contiguous()
    _call(
        "divide", _at(total), _long(n * heads * length), _long(channels // heads), _at(sums),
        _long(int(value[0])), _long(int(value[1])),
    )  # fmt: skip
    return total.transpose(1, 2).reshape(n, height, width, channels)
