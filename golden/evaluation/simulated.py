"""Simulated quantization: the float UNet with codes of any width on its edges, for comparison.

``y = conv(Q_w(w), Q_x(x)) + bias + correction[step]``: weights symmetric per output channel, every
conv's input and the outputs q, k, v in the code of the variant. GroupNorm, softmax, sums and the
sampler stay float: these are the baselines that the integer network is measured against.
"""

import copy
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from golden.calibration.baselines import affine, magnitude_split, sign_split, symmetric
from golden.calibration.region import SILU_DEPTH, U_BINS, V_FRACTION, silu_values
from golden.calibration.topology import LayerSpec, layers
from golden.calibration.trajectories import X_FRACTION, Statistics
from golden.network.unet import UNet

__all__ = ["CODES", "EdgeCode", "SimulatedUNet", "best_code", "quantize_weights", "silu_reals",
           "table_bytes"]  # fmt: skip

Float64 = npt.NDArray[np.float64]
Spans = list[tuple[int, int]]

CODES = ("symmetric", "affine", "sign_split", "region")
WIDE_BITS = 12
U_FRACTION = 7
REACHES = np.geomspace(0.25, 16.0, 61)
CONSTANT_BYTES = {"symmetric": 3, "affine": 5, "sign_split": 6, "region": 5}
"""What one edge's scales take in one group: M and n (3 bytes), a zero point (2 more with k or
rounding up to bytes), or two scales."""


@dataclass(frozen=True)
class EdgeCode:
    """One code: ``code`` a name of ``CODES``; ``numbers`` (P,): step; step, low; below, above; or
    step, z, 2**k.
    """

    code: str
    bits: int
    numbers: tuple[float, ...]

    def apply(self, values: Float64) -> Float64:
        """Decoded values, by the definitions of ``golden.calibration.baselines``."""
        top = (1 << (self.bits - 1)) - 1
        if self.code == "symmetric":
            return symmetric(values, self.numbers[0] * top, self.bits)
        if self.code == "affine":
            step, low = self.numbers
            return affine(values, low, low + step * ((1 << self.bits) - 1), self.bits)
        if self.code == "sign_split":
            below, above = self.numbers
            return sign_split(values, below * top, above * top, self.bits)
        step, _, factor = self.numbers
        return magnitude_split(values, step, round(np.log2(factor)), self.bits)


def _affine_numbers(low: float, high: float, bits: int) -> tuple[float, float]:
    step = max(high - low, 1e-12) / ((1 << bits) - 1)
    return step, low


@cache
def _candidates(code: str, bits: int) -> tuple[EdgeCode, ...]:
    """Codes of post-SiLU values to choose from."""
    top = (1 << (bits - 1)) - 1
    if code == "symmetric":
        return tuple(EdgeCode(code, bits, (r / top,)) for r in REACHES.tolist())
    if code == "affine":
        pairs = [_affine_numbers(-SILU_DEPTH, r, bits) for r in REACHES.tolist()]
        return tuple(EdgeCode(code, bits, pair) for pair in pairs)
    if code == "sign_split":
        below = SILU_DEPTH / top
        return tuple(EdgeCode(code, bits, (below, r / top)) for r in REACHES.tolist())
    points = range(1, round(0.875 * (top + 1)) + 1)
    return tuple(
        EdgeCode(code, bits, (SILU_DEPTH / z * (1 + 1e-12), float(z), 2.0**k))  # ceil gives z
        for z in points
        for k in range(1, 5)
    )


def silu_reals() -> Float64:
    """SiLU of every u = -2048..2047 as the hardware rounds it, (4096,)."""
    return np.ldexp(silu_values().astype(np.float64), -V_FRACTION)


@cache
def _errors(code: str, bits: int, silu: bool) -> Float64:
    """Squared error of every bin of u under each candidate, (4096, candidates)."""
    values = np.ldexp(np.arange(-U_BINS // 2, U_BINS // 2, dtype=np.float64), -U_FRACTION)
    if silu:
        values = silu_reals()
    return np.stack([(values - c.apply(values)) ** 2 for c in _candidates(code, bits)], axis=1)


def best_code(code: str, bits: int, histogram: npt.NDArray[np.int64], silu: bool) -> EdgeCode:
    """The code of least squared error for (4096,) counts of u; before or after SiLU."""
    errors = histogram.astype(np.float64) @ _errors(code, bits, silu)
    return _candidates(code, bits)[int(np.argmin(errors))]


class _Quantizer:
    """Codes of one tensor at every step; applied on the device without a look at the values."""

    def __init__(self, code: str, bits: int, numbers: Float64, device: torch.device) -> None:
        # (T, channels or 1, P)
        self.code, self.bits = code, bits
        self.numbers = torch.from_numpy(numbers.astype(np.float32)).to(device)
        self.fused = self.numbers.is_cuda and find_spec("triton") is not None

    def __call__(self, x: Tensor, step: int) -> Tensor:
        if self.fused:
            from golden.evaluation.fake_quantize import fake_quantize  # noqa: PLC0415

            return fake_quantize(x, self.code, self.bits, self.numbers[step])
        return self.plain(x, step)

    def plain(self, x: Tensor, step: int) -> Tensor:
        """The same, operation by operation."""
        columns = self.numbers[step].unbind(dim=1)
        if x.ndim == 4:  # (N, C, H, W); dense layers have channels last
            columns = tuple(column[:, None, None] for column in columns)
        top = (1 << (self.bits - 1)) - 1
        if self.code == "symmetric":
            (scale,) = columns
            return scale * torch.floor(x / scale + 0.5).clamp(-top, top)
        if self.code == "affine":
            scale, low = columns
            zero = torch.floor(-low / scale + 0.5)
            levels = (1 << self.bits) - 1
            return scale * ((torch.floor(x / scale + 0.5) + zero).clamp(0, levels) - zero)
        if self.code == "sign_split":
            below, above = columns
            negative = -below * torch.floor(-x / below + 0.5).clamp(0, top)
            return torch.where(x < 0, negative, above * torch.floor(x / above + 0.5).clamp(0, top))
        scale, point, factor = columns
        fine = torch.floor(x / scale + 0.5) + point
        coarse = torch.floor(x / (scale * factor) + 0.5).clamp(max=top) * factor
        return scale * torch.where(fine <= top, fine.clamp(min=0) - point, coarse)


def quantize_weights(weight: Tensor, bits: int) -> Tensor:
    """Symmetric per output channel, ``max|w|`` at the last level, round to nearest."""
    top = (1 << (bits - 1)) - 1
    rows = weight.flatten(1)
    step = (rows.abs().amax(dim=1, keepdim=True) / top).clamp(min=1e-30)
    return ((rows / step).round() * step).view(weight.shape)


class SimulatedUNet:
    """A copy of ``unet`` with quantized weights and edges; ``eps(x, step)`` is one evaluation.

    ``code``: of post-SiLU edges, ``None`` for weights only; the other edges take ``affine`` where
    the code is affine, else ``symmetric``. ``spans``: steps a..b-1 that share scales. ``wide``:
    layers whose input has 12 bits. ``correction`` is filled by ``correct``.
    """

    def __init__(
        self,
        unet: UNet,
        statistics: Statistics,
        timesteps: list[int],
        *,
        bits: int,
        code: str | None,
        spans: Spans,
        wide: tuple[str, ...],
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.timesteps = timesteps
        self.unet = copy.deepcopy(unet).to(self.device)
        self.step = 0
        self.correction: dict[str, Tensor] = {}
        self._means: dict[str, Tensor] | None = None
        self._found: dict[str, Tensor] = {}
        for name, spec in layers(unet.config).items():
            module = self.unet.get_submodule(name)
            weight = module.get_parameter("weight")
            weight.data = quantize_weights(weight.data, bits)
            if code is not None:
                edge = self._edge(statistics, spec, code, bits, spans, wide)
                module.register_forward_pre_hook(partial(self._read, edge))
                if spec.output == "head":
                    head = self._range(
                        statistics, name, (spec.out_channels,), "symmetric", bits, spans
                    )
                    module.register_forward_hook(partial(self._write, head))
            module.register_forward_hook(partial(self._shift, name), prepend=True)

    def _range(
        self,
        statistics: Statistics,
        name: str,
        segments: tuple[int, ...],
        code: str,
        bits: int,
        spans: Spans,
    ) -> _Quantizer:
        """Min/max codes of a measured tensor, one scale a segment."""
        steps = len(self.timesteps)
        numbers = np.zeros((steps, sum(segments), 2 if code == "affine" else 1))
        edges = np.cumsum([0, *segments])
        for a, b in spans:
            for s in range(len(segments)):
                low = float(statistics.lows[name][a:b, s].min())
                high = float(statistics.highs[name][a:b, s].max())
                reach = max(-low, high, 1e-9)
                here: tuple[float, ...] = (reach / ((1 << (bits - 1)) - 1),)
                if code == "affine":
                    here = _affine_numbers(min(low, 0.0), max(high, 1e-9), bits)
                numbers[a:b, edges[s] : edges[s + 1]] = here
        return _Quantizer(code, bits, numbers, self.device)

    def _edge(
        self,
        statistics: Statistics,
        spec: LayerSpec,
        code: str,
        bits: int,
        spans: Spans,
        wide: tuple[str, ...],
    ) -> _Quantizer:
        if spec.name in wide:
            code, bits = "symmetric", WIDE_BITS
        if spec.norm is None:
            plain = "affine" if code == "affine" else "symmetric"
            return self._range(statistics, spec.name, spec.segments, plain, bits, spans)
        silu = spec.source == "silu"
        if not silu:
            code = "symmetric"
        histograms = statistics.histograms[spec.norm]
        chosen = [best_code(code, bits, histograms[a:b].sum(axis=0), silu) for a, b in spans]
        numbers = np.zeros((len(self.timesteps), 1, len(chosen[0].numbers)))
        for (a, b), found in zip(spans, chosen, strict=True):
            numbers[a:b, 0] = found.numbers
        return _Quantizer(code, bits, numbers, self.device)

    def _read(self, quantizer: _Quantizer, _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (quantizer(inputs[0], self.step),)

    def _write(self, quantizer: _Quantizer, _: nn.Module, __: Any, output: Tensor) -> Tensor:
        return quantizer(output, self.step)

    def _shift(self, name: str, _: nn.Module, __: Any, output: Tensor) -> Tensor | None:
        """Add the correction of the step; while correcting, find it first."""
        if self._means is not None:
            axes = (0, 2, 3) if output.ndim == 4 else (0, 1)
            self._found[name] = self._means[name] - output.mean(dim=axes)
            shift = self._found[name]
        elif name in self.correction:
            shift = self.correction[name][self.step]
        else:
            return None
        return output + (shift[:, None, None] if output.ndim == 4 else shift)

    @torch.no_grad()
    def correct(self, unet: UNet, x: npt.NDArray[np.int16]) -> None:
        """Measure the bias correction of every layer and step on ``x`` (T, N, C, H, W) int16.

        In execution order: each layer is measured on inputs that its predecessors, already
        corrected, have produced. ``unet``: the float network, on this device.
        """
        rows: dict[str, list[Tensor]] = {}
        means: dict[str, Tensor] = {}
        handles = []
        for name in layers(unet.config):

            def watch(
                _: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name
            ) -> None:
                means[name] = output.mean(dim=(0, 2, 3) if output.ndim == 4 else (0, 1))

            handles.append(unet.get_submodule(name).register_forward_hook(watch))
        try:
            for step in range(len(x)):
                real = torch.from_numpy(x[step].astype(np.float32) / np.float32(1 << X_FRACTION))
                real = real.to(self.device)
                t = torch.full((len(real),), self.timesteps[step], device=self.device)
                unet(real, t)
                self._means, self._found = means, {}
                self.eps(real, step)
                for name, row in self._found.items():
                    rows.setdefault(name, []).append(row)
        finally:
            self._means = None
            for handle in handles:
                handle.remove()
        self.correction = {name: torch.stack(found) for name, found in rows.items()}

    @torch.no_grad()
    def eps(self, x: Tensor, step: int) -> Tensor:
        """Predict eps of ``x`` (N, C, H, W) float32 at a sampler step."""
        self.step = step
        t = torch.full((len(x),), self.timesteps[step], device=x.device)
        return self.unet(x, t)


def table_bytes(
    unet: UNet, steps: int, groups: int, code: str | None, wide: tuple[str, ...], correction: bool
) -> int:
    """Bytes of scales and biases that hardware would hold for a variant.

    Per layer: M and n of each output channel, 3 bytes a group; b of each output channel, 2 bytes a
    step (the time embedding and the bias correction need one a step; without either one suffices);
    the edge's constants a group: symmetric 3, affine 5, sign split 6, region 5, wide 3.
    """
    total = 0
    for name, spec in layers(unet.config).items():
        total += 3 * groups * spec.out_channels
        total += 2 * spec.out_channels * (steps if correction or spec.time_projection else 1)
        if code is not None:
            coded = spec.source == "silu" or (code == "affine" and spec.norm is None)
            own = code if coded and name not in wide else "symmetric"
            total += CONSTANT_BYTES[own] * groups * len(spec.segments)
    return total
