"""Integer tables of a network for a given partition: weights, multipliers, shifts, edges, norms.

``M * 2**-n ~ weight_step[oc] * operand_step[group] / output_step``; the output step is 2**-f for
the stream, 2**-12 for eps and the head's own step for q, k, v.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from golden.calibration.ranges import head_scale, norm_scale, segment_scale, silu_scale
from golden.calibration.region import RegionParameters
from golden.calibration.topology import (
    LayerSpec,
    attentions,
    edge_kind,
    layers,
    norm_sizes,
    norms,
)
from golden.calibration.trajectories import X_FRACTION, Statistics
from golden.errors import UserError
from golden.group_norm import epsilon_constant
from golden.network.samplers import Sampler
from golden.network.unet import UNet
from golden.numbers import encode_multiplier
from golden.sampler import coefficient_table

__all__ = [
    "EPS_FRACTION",
    "Tables",
    "build_tables",
    "mixed",
    "quantize_weight",
    "real_weight",
    "sampler_tables",
    "stream_fraction",
    "weight_steps",
]

Float64 = npt.NDArray[np.float64]
Spans = list[tuple[int, int]]
_T = TypeVar("_T")

EPS_FRACTION = 12
GAMMA_FRACTION = 11
STREAM_MARGIN = 1.5  # room above the largest magnitude seen
FRACTION_RANGE = (4, 12)
OCTAVES = 32 * math.log2(math.e)  # softmax logits count in 1/32 octaves


@dataclass(frozen=True)
class Tables:
    """``tensors`` as in ``Artifact`` without the biases.

    ``output_steps``, ``operand_steps``: by layer, (G,) real value of one output or operand LSB.
    """

    tensors: dict[str, npt.NDArray[Any]]
    output_steps: dict[str, Float64]
    operand_steps: dict[str, Float64]


def stream_fraction(peak: float) -> int:
    """Most fraction bits that keep ``peak`` and a margin of a half inside int16, 4..12."""
    low, high = FRACTION_RANGE
    if peak <= 0:
        return high
    return max(low, min(high, math.floor(math.log2(32767 / (STREAM_MARGIN * peak)))))


def quantize_weight(weight: Float64) -> tuple[npt.NDArray[np.int8], Float64]:
    """Symmetric int8 per output channel: integers and steps ``max|w| / 127`` (Cout,).

    A channel of zeros has step 0. Clipping the largest weights for less squared error costs half a
    dB of eps-SQNR on fashion16. ``weight`` (Cout, ...) float64.
    """
    steps = weight_steps(weight)
    rows = weight.reshape(len(weight), -1)
    integers = np.rint(rows / np.where(steps > 0, steps, 1.0)[:, None]).astype(np.int8)
    return integers.reshape(weight.shape), steps


def weight_steps(weight: Float64) -> Float64:
    """Real value of one weight LSB of each output channel, ``max|w| / 127``, (Cout,)."""
    return np.abs(weight.reshape(len(weight), -1)).max(axis=1) / 127


def real_weight(unet: UNet, spec: LayerSpec) -> Float64:
    """Weights of a layer as a conv's, (Cout, Cin, kernel, kernel) float64."""
    shape = (spec.out_channels, spec.in_channels, spec.kernel, spec.kernel)
    return _parameter(unet, f"{spec.name}.weight").reshape(shape)


def _parameter(unet: UNet, name: str) -> Float64:
    return unet.get_parameter(name).detach().to(torch.float64).cpu().numpy()


def _edge(
    statistics: Statistics, spec: LayerSpec, kind: str, spans: Spans, fraction: int
) -> tuple[dict[str, npt.NDArray[Any]], Float64]:
    """Edge tables of a layer (by suffix) and the operand's step in every group."""
    if kind == "int8_attention":
        return {}, np.array([head_scale(statistics.peaks[spec.name][a:b]) for a, b in spans])
    if kind in {"region", "wide_silu"}:
        histograms = statistics.histograms[spec.norm or ""]
        found = [silu_scale(histograms[a:b].sum(axis=0), kind == "wide_silu") for a, b in spans]
        tables: dict[str, npt.NDArray[Any]] = {
            "silu.M0": np.array([p.multiplier for p in found], dtype=np.uint16),
            "silu.n0": np.array([p.shift for p in found], dtype=np.uint8),
        }
        regions = [p for p in found if isinstance(p, RegionParameters)]
        if regions:
            tables["silu.z"] = np.array([p.zero_point for p in regions], dtype=np.uint8)
            tables["silu.k"] = np.array([p.k for p in regions], dtype=np.uint8)
        return tables, np.array([p.step for p in found])
    if kind == "int8_norm":
        histograms = statistics.histograms[spec.norm or ""]
        scales = [norm_scale(histograms[a:b].sum(axis=0)) for a, b in spans]
    else:
        wide = kind == "wide_stream"
        bits = X_FRACTION if spec.source == "image" else fraction
        power = np.array(spec.segments, dtype=np.float64)
        peaks = statistics.peaks[spec.name]
        scales = [
            segment_scale(peaks[a:b].max(axis=0), power, bits, 2047 if wide else 127, wide)
            for a, b in spans
        ]
    edge: dict[str, npt.NDArray[Any]] = {
        "edge.M": np.array([[s.multiplier] * len(s.k) for s in scales], dtype=np.uint16),
        "edge.n": np.array([[s.shift + k for k in s.k] for s in scales], dtype=np.uint8),
        "edge.k": np.array([s.k for s in scales], dtype=np.uint8),
    }
    return edge, np.array([s.step for s in scales])


def _output_steps(statistics: Statistics, spec: LayerSpec, spans: Spans, fraction: int) -> Float64:
    if spec.output == "head":
        return np.array([head_scale(statistics.peaks[spec.name][a:b]) for a, b in spans])
    bits = EPS_FRACTION if spec.output == "eps" else fraction
    return np.full(len(spans), 2.0**-bits)


def _encode(real: Float64, what: str) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    try:
        pairs = [encode_multiplier(float(value)) for value in real.flat]
    except ValueError as error:
        raise UserError(f"{what}: scales cannot be represented ({error})") from error
    multiplier = np.array([m for m, _ in pairs], dtype=np.uint16).reshape(real.shape)
    return multiplier, np.array([n for _, n in pairs], dtype=np.uint8).reshape(real.shape)


def build_tables(
    unet: UNet, statistics: Statistics, spans: Spans, wide: tuple[str, ...], fraction: int
) -> Tables:
    """Everything but the biases. ``spans``: steps a..b-1 of each group; ``fraction``: stream's.

    ``UserError`` if a GroupNorm parameter does not fit Q4.11.
    """
    specs = layers(unet.config)
    tensors: dict[str, npt.NDArray[Any]] = {}
    outputs: dict[str, Float64] = {}
    operands: dict[str, Float64] = {}
    for name, spec in specs.items():
        weight, steps = quantize_weight(real_weight(unet, spec))
        edge, operands[name] = _edge(statistics, spec, edge_kind(spec, wide), spans, fraction)
        outputs[name] = _output_steps(statistics, spec, spans, fraction)
        ratio = steps[None] * (operands[name] / outputs[name])[:, None]
        tensors[f"{name}.weight"] = weight
        tensors[f"{name}.M"], tensors[f"{name}.n"] = _encode(ratio, f"layer {name}")
        tensors |= {f"{name}.{suffix}": table for suffix, table in edge.items()}
    for name in norms(specs):
        for key, parameter in (("gamma", "weight"), ("beta", "bias")):
            scaled = np.rint(np.ldexp(_parameter(unet, f"{name}.{parameter}"), GAMMA_FRACTION))
            if np.abs(scaled).max() > 32767:
                raise UserError(f"norm {name}: {key} is outside -16..16, the range of Q4.11")
            tensors[f"{name}.{key}"] = scaled.astype(np.int16)
        elements = norms(specs)[name] // unet.config.norm_num_groups
        elements *= math.prod(norm_sizes(unet.config)[name])
        E = epsilon_constant(elements, unet.config.norm_eps, fraction)
        tensors[f"{name}.E"] = np.array([E], dtype=np.int64)
    for name in attentions(specs):
        depth = specs[f"{name}.to_q"].out_channels // unet.config.heads(
            specs[f"{name}.to_q"].out_channels
        )
        q, k, v = (outputs[f"{name}.to_{part}"] for part in "qkv")
        for part, real in (
            ("logit", q * k / math.sqrt(depth) * OCTAVES),
            ("value", v / operands[f"{name}.to_out.0"]),
        ):
            pair = _encode(real, f"attention {name}")
            tensors[f"{name}.{part}.M"], tensors[f"{name}.{part}.n"] = pair
    return Tables(tensors, outputs, operands)


def mixed(narrow: Tables, broad: Tables, wide: Collection[str]) -> Tables:
    """The tables with the layers of ``wide`` from ``broad`` and all others from ``narrow``."""

    def pick(a: Mapping[str, _T], b: Mapping[str, _T]) -> dict[str, _T]:
        prefixes = tuple(f"{name}." for name in wide)
        # a layer's steps stand under its name, its tensors under its name and a suffix
        rest = {key: value for key, value in a.items() if not f"{key}.".startswith(prefixes)}
        return rest | {key: value for key, value in b.items() if f"{key}.".startswith(prefixes)}

    return Tables(
        pick(narrow.tensors, broad.tensors),
        pick(narrow.output_steps, broad.output_steps),
        pick(narrow.operand_steps, broad.operand_steps),
    )


def sampler_tables(sampler: Sampler) -> dict[str, npt.NDArray[Any]]:
    """``sampler.coefficients`` int32 (T, 6) Q12.20 and ``sampler.reach`` int32 (1,) Q3.12."""
    reach = sampler.scheduler.clip_sample_range if sampler.scheduler.clip_sample else 7.0
    return {
        "sampler.coefficients": coefficient_table(sampler),
        "sampler.reach": np.array([round(reach * (1 << X_FRACTION))], dtype=np.int32),
    }
